"""One thin Prefect wrapper per verb, grouped by the cloud's noun. The rules are in `backup_to_image.steps`.

None of them caches: Prefect's records are no ledger, each step looks at the cloud and adopts what is there.
"""
