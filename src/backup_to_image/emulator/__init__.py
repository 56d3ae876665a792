"""A faithful pretend cloud: IAM, IMS, ECS, CBR, VPC, EVS and EIP of one region, strict, slow, and able to go wrong by name.

Written from the contract (`backup_to_image.contract`) and BEHAVIOUR.md; it imports nothing of the client, so that both cannot be
wrong together. In-process: `Emulator(clock=FakeClock()).transport()`; on sockets: `serve.py`.

How the pieces fit
    emulator.py   `Emulator`: everything below as one object
    front.py      the ASGI app: port -> service, contract -> operation, faults, caller, checks, handler, journal, answer
    routing.py    the contract compiled: `Operation` (validators for path, headers, query, body) and `Router`
    auth.py, signing.py   tokens and AK/SK, and how each service turns a stranger away
    cloud.py      `Cloud`: the state that handlers work on; store.py keeps it (memory to answer, SQLite to survive)
    things.py     the documents: every kind with its fields, in one table
    jobs.py       asynchronous work: jobs that pass through INIT, RUNNING, SUCCESS or FAIL by the clock
    faults.py, strikes.py   what can be told to go wrong, and how it strikes the wire
    switches.py   the open questions of BEHAVIOUR.md 14
    seeding.py, seeds/      the companies one can start with
    control.py, account.py  `/_emulator/...` on the first port
    guests.py     what listens in launched servers: real ports on loopback, settled around every request and by the ticker
    serve.py      seven sockets, a ticker, clean shutdown

How a service is written (iam.py is the smallest, ims.py the model)
    A module named like the service exports `SERVICE = Service(name, routes, malformed, transitions, discovery)`; it is found by
    name.

    routes: operationId -> handler. A handler is a plain function `def get_thing(cloud: Cloud, call: Call) -> Answer`. When it is
        called, the request has been authenticated, `call.project` is the caller's project (and the one in the URL), and path,
        query, headers and body fit the contract: `call.path["server_id"]`, `call.query.get("limit", 25)` (typed), `call.body`. It
        says no with `raise Refusal(400, "Ecs.0114", "words")` before it changes anything; the error body's shape is made by
        wire.error_body. It ends with `Answer(200, body)`, `Answer(204)`. Handlers never sleep and never look at the wall clock.
    things: `cloud.get(kind, id)`, `cloud.own(kind, id, project)`, `cloud.walk(kind, project, **equal)` (oldest first),
        `cloud.new(kind, doc)`, `cloud.save(kind, doc)` after every change, `cloud.remove(kind, id)`. Documents are plain JSON
        dicts with `id`, `created_at`, `project`; the fields of each kind are listed in things.py. Turn them into the wire's shape
        in the module (`def server_body(...)`).
    time: `cloud.stamp()` is now as text. Something that takes time gets `doc["due"] = cloud.due(seconds)` (seconds at speed 1)
        and is saved; when that moment has come, `transitions[kind](cloud, doc, when)` is called before the next request is looked
        at, `due` already cleared. A chain of states sets the next `due` in there, counted from `when`: `cloud.due(30, when)`.
    jobs: `jobs.start(cloud, call, "ecs-job", ...)`, see jobs.py; the faults job-fails and job-stuck then work by themselves.
    malformed: `(operation, problem) -> Refusal`: the service's own code for a request that does not fit the contract.
    faults with stage "effect" reach the handler as `call.struck.get("source-started")` (their parameters, or None).
    switches: `cloud.switches["refusals"]`.
    helpers: path template -> read-only answer beside the contract, for ready-made clients that cannot do without (ecs_native.py).
    discovery: GET path -> version document, where OpenStack's clients look for one.
"""

from .emulator import Emulator
from .seeding import SeedError

__all__ = ["Emulator", "SeedError"]
