"""How a launch is told: the plan before it, the servers after it."""

from __future__ import annotations

from backup_to_image.model import LaunchDelivery, LaunchPlan, Report
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["launch_fields", "launch_grid", "told_launch", "told_plan"]

_WORDS = {"made": "launched", "adopted": "was there already, adopted", "partly": "is there, but not all is as ordered"}
_VERDICT = {True: "ok", False: "NO", None: "?"}


def told_launch(launch: LaunchDelivery) -> Told:
    """The servers, their addresses, and what each probe said."""
    partly = launch.outcome == "partly"
    return Told(
        exit_code=5 if partly else 0,
        outcome=launch.outcome,
        title=f"{_title(launch)}: {launch.order_name}",
        content=launch_fields(launch),
        grids=(launch_grid(launch),),
    )


def told_plan(plan: LaunchPlan, image_id: str) -> Told:
    """The exact request, what happens to each disk, every reason against it. Nothing was made."""
    rows = tuple(
        (disk.device or ("system" if disk.system else ""), disk.disk_id, str(disk.size_gb), disk.becomes) for disk in plan.disks
    )
    request = plan.request.model_dump_json(indent=2, exclude_none=True) if plan.request else ""
    against = len(plan.refusals)
    return Told(
        exit_code=0 if plan.ok else 3,
        outcome=None if plan.ok else "refused",
        title="Nothing speaks against it" if plan.ok else f"Refused for {against} reason{'' if against == 1 else 's'}",
        content={"image_id": image_id, "plan": plan.model_dump(mode="json")},
        grids=(Grid(title="Disks", columns=("device", "disk", "GB", "what happens to it"), rows=rows),),
        report=Report(subject=f"launch order {plan.order_name}", checks=plan.checks),
        code=f"Request:\n{request}" if request else "",
        notes=("Nothing was made." if request else "No request: see the refusals above. Nothing was made.",),
    )


def launch_fields(launch: LaunchDelivery) -> Fields:
    """`launch --json`."""
    return {
        "outcome": launch.outcome,
        "launch_id": launch.launch_id,
        "server_id": launch.server_id,
        "server_ids": list(launch.server_ids),
        "image_id": launch.image_id,
        "adopted": launch.adopted,
        "job_id": launch.job_id,
        "addresses": list(launch.addresses),
        "probes": [probe.model_dump(mode="json") for probe in launch.probes],
        "probed": launch.probed,
        "disks": [one.model_dump(mode="json") for one in launch.disks],
        "drift": [one.model_dump(mode="json") for one in launch.drift],
        "drift_unknown": launch.drift_unknown,
        "drill": launch.drill,
        "verified": launch.verified,
        "verified_why": launch.verified_why,
        "left_behind": list(launch.left_behind),
    }


def launch_grid(launch: LaunchDelivery) -> Grid:
    """The same as a table."""
    remove = f"`b2i teardown {launch.launch_id}`"
    pairs: list[tuple[str, str | None]] = [
        ("server", f"{', '.join(launch.server_names)}  {', '.join(launch.server_ids)}".strip()),
        ("addresses", ", ".join(launch.addresses)),
        ("launch id", launch.launch_id if launch.drill else f"{launch.launch_id} (remove it with {remove})"),
    ]
    if launch.drill:
        left = ", ".join(launch.left_behind)
        pairs.append(("left behind", f"{left}; {remove} removes it" if left else "nothing: the server was taken down again"))
    pairs += [("disks", f"{_VERDICT[one.ok]}: {one.answer}") for one in launch.disks]
    pairs += [("other than the source", str(one)) for one in launch.drift]
    pairs.append(("other than the source", f"not known: {launch.drift_unknown}" if launch.drift_unknown else None))
    pairs += [(f"probe {one.probe}", f"{_VERDICT[one.ok]}: {one.answer} ({one.seconds:.0f} s)") for one in launch.probes]
    if launch.probed:
        pairs.append(("image", "marked as verified" if launch.verified else f"not marked as verified: {launch.verified_why}"))
    else:
        pairs.append(("probes", "not probed: the order asks for none, ACTIVE is all the proof"))
    return Grid.of(_title(launch), pairs)


def _title(launch: LaunchDelivery) -> str:
    if launch.drill:
        return "Drill: " + ("its server is not all as ordered" if launch.outcome == "partly" else "its server was as ordered")
    return f"Server {_WORDS.get(launch.outcome, launch.outcome)}"
