"""How a change of OS is told: the plan before it, the server after it."""

from __future__ import annotations

from backup_to_image.model import ChangeDelivery, ChangePlan, Report
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["change_known", "told_change", "told_change_plan"]

_WORDS = {"made": "changed", "adopted": "was changed already, adopted", "partly": "is changed, but see below"}


def change_known(plan: ChangePlan) -> Fields:
    """What is known of server and image before anything is changed, to be told with an error."""
    found: Fields = {}
    if plan.server:
        found |= {"server_id": plan.server.id, "server_name": plan.server.name, "status": plan.server.status}
    if plan.image:
        found["image_id"] = plan.image.id
    return found


def told_change_plan(plan: ChangePlan) -> Told:
    """The exact request, what happens to each disk, every reason against it. Nothing was changed."""
    rows = tuple(
        (whose, disk.device, disk.disk_id, str(disk.size_gb), disk.becomes)
        for whose, those in (("server", plan.disks), ("image", plan.not_restored))
        for disk in those
    )
    request = plan.request.model_dump_json(indent=2, exclude_none=True) if plan.request else ""
    name = plan.server.name if plan.server else "the server"
    report = Report(subject=f"the change of {name}'s OS", checks=plan.checks)
    against = len(report.refusals)
    told = plan.model_dump(mode="json", exclude={"server", "image"})
    ids = {"server_id": plan.server and plan.server.id, "image_id": plan.image and plan.image.id}
    return Told(
        exit_code=0 if plan.ok else 3,
        outcome=None if plan.ok else "refused",
        title="Nothing speaks against it" if plan.ok else f"Refused for {against} reason{'' if against == 1 else 's'}",
        content=change_known(plan) | {"plan": ids | told},
        grids=(Grid(title="Disks", columns=("of", "device", "disk", "GB", "what happens to it"), rows=rows),),
        report=report,
        code=f"Request:\n{request}" if request else "",
        notes=("Nothing was changed." if request else "No request: see the refusals above. Nothing was changed.",),
    )


def told_change(done: ChangeDelivery) -> Told:
    """The server, its disks, and what each probe said."""
    old = f"{done.old_system_disk_id} (deleted)" if done.old_system_disk_id and not done.left_behind else None
    pairs = [
        ("server", f"{done.server_name}  {done.server_id}, {done.status}"),
        ("image", done.image_id),
        ("system disk", done.system_disk_id),
        ("old system disk", old),
        ("left behind", ", ".join(done.left_behind)),
        ("data disks", f"{', '.join(done.data_disks) or 'none'} (as they were)"),
        ("missing", ", ".join(done.missing_disks)),
        ("addresses", ", ".join(done.addresses)),
    ]
    pairs += [(f"probe {one.probe}", f"{'ok' if one.ok else 'NO'}: {one.answer} ({one.seconds:.0f} s)") for one in done.probes]
    if not done.probed:
        pairs.append(("probes", "not probed: none was asked for, ACTIVE and the new disk are all the proof"))
    title = f"The OS {_WORDS.get(done.outcome, done.outcome)}"
    return Told(
        exit_code=5 if done.outcome == "partly" else 0,
        outcome=done.outcome,
        title=f"{title}: {done.server_name}",
        content=done.model_dump(mode="json"),
        grids=(Grid.of(title, pairs),),
    )
