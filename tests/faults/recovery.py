"""What an operator does who reads the report."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from tests.faults.judge import Judge, Order
from tests.support.region import Ended

__all__ = ["follow"]


def follow(judge: Judge, order: Order, ended: Ended) -> tuple[str, ...]:
    """What an operator does who reads the report; the words to add to the same command."""
    hint = ended.told["error"]["action"] if ended.told["error"] else ""
    if order.is_night:
        hint = " ".join(one["action"] for one in (*ended.told["failed"], *ended.told["late"]))
    if "--after-failure" in hint and order.is_night:
        judge.run(Order(("create", order.backup or "", "--after-failure"), backup=order.backup, within=timedelta(hours=2)))
        return ()
    if "--after-failure" in hint:
        return ("--after-failure",)
    stuck = [(kind, job) for kind in ("ims-job", "ecs-job", "evs-job") for job in judge.region.things(kind) if is_stuck(job)]
    for kind, job in stuck:  # only those who run the region can help it on
        judge.region.change(kind, job, due=judge.region.emulator.cloud.due(0))
    if re.search(r"with `--another` launches it", hint) and ended.told.get("image_id"):
        spec = order.arguments[order.arguments.index("--launch" if order.command == "create" else "--spec") + 1]
        judge.run(
            Order(("launch", ended.told["image_id"], "--spec", spec, "--another"), called=order.called, probes=order.probes)
        )
        return ()
    launch_id = ended.told.get("launch_id")
    if order.called and launch_id and not stuck:
        for name in (order.called, f"{order.called}-0001", f"{order.called}-0002"):  # asked for by the name of what is left
            if judge.run(Order(("teardown", launch_id, "--yes-i-mean", name), launch_id=launch_id)).code == 0:
                break
    return ()


def is_stuck(job: dict[str, Any]) -> bool:
    return job["status"] in {"INIT", "RUNNING"} and not job["due"]
