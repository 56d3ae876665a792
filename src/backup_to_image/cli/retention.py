"""`b2i retention`: which images of a policy stay and which go, by which rule; with --apply they go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.steps.retention.remove_image import Removal
    from backup_to_image.steps.retention.retire import Expendable, Retired, RetirementPlan
    from backup_to_image.steps.retention.rules import Decision

__all__ = ["BLANK", "command"]

_EPILOG = """\b
Examples:
  b2i retention policies/nightly.yaml             what would go, and why; nothing is deleted
  b2i retention policies/nightly.yaml --apply
  b2i retention policies/nightly.yaml --json --fail-on-findings
  b2i --prefect retention nightly                  by the policy's deployment, on its worker
"""

BLANK: dict[str, Any] = {
    "policy": None,
    "keep": [],
    "delete": [],
    "waiting": [],
    "max_deletions": None,
    "frees_gb": None,
    "deleted": [],
    "deleted_backups": [],
    "gone": [],
    "kept_after_all": [],
    "left": [],
    "stopped": None,
    "notes": [],
    "error": None,
}
_BACKUPS = {
    "goes": "is deleted too",
    "returns": "goes back to its CBR policy",
    "stays": "stays until somebody deletes it",
}


@click.command("retention", epilog=_EPILOG)
@click.argument("policy", metavar="POLICY.yaml")
@click.option("--apply", "apply_it", is_flag=True, help="Delete what the plan says; without it nothing is deleted.")
@click.option("--fail-on-findings", is_flag=True, help="End with 5 if images are to go, or wait for the next run.")
@common_options
@click.pass_obj
def command(options: Options, policy: str, apply_it: bool, fail_on_findings: bool) -> int:
    """Decide which images of the servers of POLICY.yaml stay and which go, each by a rule; with --apply delete those.

    An image that any rule keeps, stays; so does the newest good one of a server and its newest verified one, what is held,
    protected, shared or used by a drill, and all that does not carry our mark. Safe to repeat, and beside another run.
    Exit codes: 1 a list could not be read, and nothing was decided; 4 a deletion was granted and is not over; 5 something that
    was to go is left, and why.
    """
    from backup_to_image.cli.session import connected, perform

    # What was done until a signal came belongs to the result too, so the keys fill as things happen.
    keys = {key: list[Any]() if isinstance(value, list) else value for key, value in BLANK.items()}

    async def work(output: Output) -> int:
        if options.prefect:
            return await _in_prefect(policy, options, output, keys, apply_it=apply_it, fail_on_findings=fail_on_findings)
        from backup_to_image.steps.policy_file import read_policy
        from backup_to_image.steps.retention.retire import Retirement
        from backup_to_image.steps.survey import Survey

        read = read_policy(Path(policy)).policy
        keys["policy"] = read.name
        async with connected(options, output, cloud_name=read.cloud) as ctx:
            retirement = Retirement(read, ctx, Survey(ctx))
            plan = await retirement.plan()
            _tell_plan(plan, keys, output)
            if not apply_it:
                output.result({})
                if plan.delete:
                    output.show(f"Nothing was deleted. `b2i retention {policy} --apply` deletes them.")
                return 5 if fail_on_findings and (plan.delete or plan.waiting) else 0
            done = await retirement.apply(plan, told=lambda removal: _note(keys, removal))
            keys["stopped"] = done.stopped or None
            output.result({})
            _show_end(output, done)
        return done.exit_code or (5 if fail_on_findings and plan.waiting else 0)

    return perform(options, work, blank=keys)


async def _in_prefect(
    policy: str, options: Options, output: Output, keys: dict[str, Any], *, apply_it: bool, fail_on_findings: bool
) -> int:
    """The same, done by the policy's deployment: the file that its worker has counts."""
    from backup_to_image.cli.submit import own_block, policy_name, show_error, submit_retention

    name = keys["policy"] = policy_name(Path(policy))
    result = await submit_retention(name, block=own_block(options, output), apply=apply_it, tell=output.say)
    findings = False
    if result.plan:
        _tell_plan(result.plan, keys, output)
        findings = bool(result.plan.waiting or (result.plan.delete and not apply_it))
    for removal in result.done.removals if result.done else ():
        _note(keys, removal)
    keys["stopped"] = (result.done.stopped or None) if result.done else None
    keys["deleted"] += result.gone
    output.result({"error": result.error.model_dump() if result.error else None})
    if result.done:
        _show_end(output, result.done)
    elif result.plan and result.plan.delete and not apply_it:
        output.show(f"Nothing was deleted. `b2i --prefect retention {policy} --apply` deletes them.")
    show_error(result.error, output)
    return result.exit_code or (5 if fail_on_findings and findings else 0)


def _tell_plan(plan: RetirementPlan, keys: dict[str, Any], output: Output) -> None:
    keys.update(_plan_json(plan))
    _show_plan(output, plan)
    for note in plan.notes:
        output.note(note)


def _plan_json(plan: RetirementPlan) -> dict[str, Any]:
    return {
        "keep": [_decision_json(one) for one in plan.keep],
        "delete": [_expendable_json(one) for one in plan.delete],
        "waiting": [_expendable_json(one) for one in plan.waiting],
        "max_deletions": plan.most,
        "frees_gb": plan.frees_gb,
        "notes": list(plan.notes),
    }


def _decision_json(one: Decision) -> dict[str, Any]:
    told = one.model_dump(mode="json", include={"image_id", "image_name", "server_id", "backup_id", "rule", "gb"})
    return told | {"taken_at": one.taken_at.isoformat().replace("+00:00", "Z")}


def _expendable_json(one: Expendable) -> dict[str, Any]:
    return _decision_json(one.decision) | {"backup": one.doomed.backup}


def _note(keys: dict[str, Any], removal: Removal) -> None:
    """Put what became of one image where it belongs."""
    doomed = removal.doomed
    told = {"image_id": doomed.image_id, "backup_id": doomed.backup_id, "code": removal.code, "reason": removal.reason}
    if removal.image == "deleted" and not removal.told_before:
        keys["deleted"].append(doomed.image_id)
    if removal.image == "gone":
        keys["gone"].append(doomed.image_id)
    if removal.image == "kept":
        keys["kept_after_all"].append({"image_id": doomed.image_id, "reason": removal.reason})
    if removal.backup == "deleted":
        keys["deleted_backups"].append(doomed.backup_id)
    if removal.failed:
        keys["left"].append(told | {"what": "image" if removal.image == "left" else "backup", "late": removal.late})


def _show_plan(output: Output, plan: RetirementPlan) -> None:
    """Every image with its decision, by server and the newest first, and what that comes to."""
    from rich.markup import escape
    from rich.table import Table

    verdicts = {one.decision.image_id: "[red]goes[/]" for one in plan.delete}
    verdicts |= {one.decision.image_id: "[yellow]waits[/]" for one in plan.waiting}
    fates = {one.decision.image_id: one.doomed.backup for one in (*plan.delete, *plan.waiting)}
    decisions = [*plan.keep, *(one.decision for one in (*plan.delete, *plan.waiting))]
    names = plan.server_names
    table = Table(title=f"Images of policy {escape(plan.policy)}", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("image", "server", "age", "", "by which rule", "GB", "its backup"):
        table.add_column(column, overflow="fold", justify="right" if column in {"age", "GB"} else "left")
    for one in sorted(decisions, key=lambda one: (names.get(one.server_id, one.server_id), -one.taken_at.timestamp())):
        fate = fates.get(one.image_id)
        table.add_row(
            escape(one.image_name),
            escape(names.get(one.server_id) or one.server_id),
            _age(plan, one),
            verdicts.get(one.image_id, "[green]stays[/]"),
            escape(one.rule),
            str(one.gb or ""),
            _BACKUPS[fate] if fate else "stays with it",
        )
    output.show(table if decisions else f"Policy {plan.policy} has no images yet.")
    if plan.delete:
        going = [one for one in plan.delete if one.doomed.backup == "goes"]
        output.show(
            f"To go: {_many(len(plan.delete), 'image')}, and with them {_many(len(going), 'backup')}: {plan.frees_gb} GB."
        )
    if plan.waiting:
        output.show(f"To wait for the next run: {len(plan.waiting)} more; max_deletions allows {plan.most} at a time.")
    if plan.returning:
        total = sum(one.decision.gb for one in plan.returning)
        output.show(f"Back to its own CBR policy goes each of {_many(len(plan.returning), 'automatic backup')} ({total} GB):")
    for one in plan.returning:
        expires = one.doomed.backup_expires_at
        until = f", expires on {expires:%Y-%m-%d}" if expires and expires > plan.decided_at else ", may be deleted there at once"
        output.show(f"  {one.doomed.backup_id}  {one.decision.gb} GB  of {escape(one.decision.image_name)}{until}")


def _show_end(output: Output, done: Retired) -> None:
    """What became of it, one line for each that did not go as planned."""
    from rich.markup import escape

    backups = [one for one in done.removals if one.backup == "deleted"]
    freed = sum(one.doomed.gb for one in backups)
    output.show(
        f"Deleted, and proven to be gone: {_many(len(done.deleted), 'image')}, {_many(len(backups), 'backup')}: {freed} GB."
    )
    for one in done.removals:
        name = escape(f"{one.doomed.image_name} ({one.doomed.image_id})")
        why = escape(": ".join(part for part in (one.code, one.reason) if part))
        if one.image == "kept":
            output.show(f"  [green]kept after all[/] {name}: {why}")
        elif one.image == "gone":
            output.show(f"  was gone already {name}")
        elif one.image == "left":
            output.show(f"  [red]left[/] {name}: {why}")
        elif one.backup in {"left", "lost"}:
            output.show(f"  [red]{one.backup}[/] backup {one.doomed.backup_id} of {name}: {why}")
    if done.stopped:
        output.show(f"[red]{escape(done.stopped)}[/]")


def _age(plan: RetirementPlan, one: Decision) -> str:
    from backup_to_image.steps.context import minutes

    age = plan.decided_at - one.taken_at
    return f"{age.days} d" if age.days >= 2 else minutes(age)


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
