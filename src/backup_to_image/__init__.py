"""Turn a CBR backup of a server into a full-ECS image: never twice, never lost.

`docs/architecture.md` is the map. From the outside in: `cli` (the command `b2i`) and `blocks` (Prefect) hold the doors,
`steps` the rules, `journal` the memory, `otc` the client of the cloud, `waiting` the one place that waits.
"""

__version__ = "0.1.0"
