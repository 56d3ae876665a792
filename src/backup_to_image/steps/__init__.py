"""The rules, in plain async Python: each step first looks for its own result and adopts it, else makes it once.

`pipeline.py` composes them; `flows/` composes the same ones as Prefect tasks.
"""
