"""`b2i nightly`: a fleet by policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model.night import NightPlan, NightReport, ServerNight

__all__ = ["command"]

BLANK: dict[str, Any] = {
    "policy": None,
    "night": None,
    "outcome": None,
    "servers": None,
    "made": [],
    "adopted": [],
    "skipped": [],
    "failed": [],
    "late": [],
    "retired": [],
    "left_behind": [],
    "seconds": None,
    "requests": None,
    "deadline": None,
    "notes": [],
    "plan": None,
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i nightly policies/nightly-shop.yaml --dry-run     what would happen, server by server; nothing is made
  b2i nightly policies/nightly-shop.yaml
  b2i nightly policies/nightly-shop.yaml --json

Run the same command again at any time in the same night: it adopts what is there and makes only what is missing.
"""

_COLOURS = {"made": "green", "adopted": "green", "skipped": "dim", "partly": "yellow", "late": "yellow", "failed": "red"}
_SHOWN_WHOLE = 50
_ACTIONS = {"make": "green", "adopt": "green", "back_up": "green", "skip": "dim", "refuse": "red"}


@click.command("nightly", epilog=_EPILOG)
@click.argument("policy", type=click.Path(path_type=Path), metavar="POLICY.yaml")
@click.option("--dry-run", is_flag=True, help="Say what would happen, server by server, and what it needs; make nothing.")
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.html", help="Write the night as one HTML file."
)
@common_options
@click.pass_obj
def command(options: Options, policy: Path, dry_run: bool, report: Path | None) -> int:
    """Give every server that POLICY.yaml means its full-ECS image of tonight, as many at a time as the cloud takes.

    One server's failure is its own. Exit codes: 0 every server has its image, or was skipped for a reason that the policy allows;
    3 refused, nothing made; 4 the rest is still running, the same command resumes; 5 some of the fleet failed, or the night
    failed by the policy's `failed_when`.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        if options.prefect:
            return await _in_prefect(policy, report, options, output, dry_run=dry_run)
        from backup_to_image.night_pages import keep_night, summary
        from backup_to_image.steps.fleet.night import retirement_of, run_night, survey_for
        from backup_to_image.steps.fleet.night_plan import check_members, plan_night
        from backup_to_image.steps.pipeline import image_from_backup
        from backup_to_image.steps.policy_file import read_policy

        file = read_policy(policy)
        wanted = file.policy
        output.blank["policy"] = wanted.name
        async with connected(options, output, cloud_name=wanted.cloud) as ctx:
            if dry_run:
                survey = survey_for(wanted, ctx)
                plan = await plan_night(wanted, ctx, survey, retirement=retirement_of(wanted, ctx))
                return _show_plan(await check_members(plan, wanted, ctx, survey), output)
            detail = output.say if options.verbose else None

            def stopped(so_far: NightReport) -> None:
                output.blank |= night_json(so_far)
                output.say(summary(so_far))

            told = await run_night(wanted, ctx, make=image_from_backup, drill=file.drill, detail=detail, stopped=stopped)
            page = keep_night(told, ctx, wanted.zone, file=report)
            output.result(night_json(told) | {"report": str(page) if page else None})
            _show_report(told, page, output)
            return told.exit_code

    return perform(options, work, blank=BLANK)


async def _in_prefect(policy: Path, file: Path | None, options: Options, output: Output, *, dry_run: bool) -> int:
    """The same, done by the policy's deployment: the file that its worker has counts."""
    from backup_to_image.cli.submit import own_block, policy_name, show_error, submit_night
    from backup_to_image.night_pages import write_night

    name = output.blank["policy"] = policy_name(policy)
    result = await submit_night(name, block=own_block(options, output), dry_run=dry_run, tell=output.say)
    if result.plan:
        _show_plan(result.plan, output)
    if result.report:
        page = write_night(result.report, file, tell=output.note) if file else None
        output.result(night_json(result.report) | {"report": str(page) if page else None})
        _show_report(result.report, page, output)
    if result.error:
        output.result({"outcome": result.outcome, "error": result.error.model_dump()})
        show_error(result.error, output)
    return result.exit_code


def night_json(report: NightReport) -> dict[str, Any]:
    """`nightly --json`: servers by id."""

    def told(one: ServerNight) -> dict[str, Any]:
        return {
            "server": one.server_id,
            "name": one.server_name,
            "backup_id": one.backup_id,
            "image_id": one.image_id,
            "image_name": one.image_name,
            "code": one.code or None,
            "reason": one.reason,
            "action": one.action or None,
            "doubtful": one.doubtful,
            "shared_with": list(one.shared_with),
            "verified": one.verified.model_dump(mode="json") if one.verified else None,
        }

    return {
        "policy": report.policy,
        "night": report.night,
        "outcome": report.outcome,
        "servers": len(report.servers),
        "made": [told(one) for one in report.with_outcome("made")],
        "adopted": [told(one) for one in report.with_outcome("adopted")],
        "skipped": [told(one) for one in report.with_outcome("skipped")],
        "failed": [told(one) for one in report.with_outcome("failed", "partly")],
        "late": [told(one) for one in report.with_outcome("late")],
        "retired": list(report.retired),
        "left_behind": list(report.left_behind),
        "seconds": round(report.seconds, 1),
        "requests": report.requests,
        "deadline": report.deadline.isoformat(),
        "notes": list(report.notes),
    }


def _show_plan(plan: NightPlan, output: Output) -> int:
    """Print what a night would do; 0 if it would begin, 3 if not."""
    from rich.markup import escape
    from rich.table import Table

    from backup_to_image.night_pages import plan_rows, plan_sentence, quota_line

    shown = {"members": {"__all__": {"server_id", "server_name", "action", "reason", "code"}}, "refusals": True}
    told = plan.model_dump(mode="json", include=shown)
    found = {
        "members": told["members"],
        "needed": plan.needed,
        "going": plan.going,
        "refusals": told["refusals"],
        "quota": None,
    }
    if plan.quota:
        found["quota"] = plan.quota.model_dump() | {"free": plan.quota.free}
    output.result(
        {"policy": plan.policy, "outcome": "refused" if plan.refusals else None, "servers": len(plan.members), "plan": found}
        | {"notes": list(plan.notes)}
    )
    table = Table(title=f"What a night of {plan.policy} would do", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("server", "would", "why, and what to do"):
        table.add_column(column, overflow="fold")
    for row in plan_rows(plan):
        words = escape(row.why) + (f"\n→ {escape(row.advice)}" if row.advice else "")
        table.add_row(escape(row.server), f"[{_ACTIONS[row.action]}]{row.what}[/]", words)
    if plan.members:
        output.show(table)
    output.show(quota_line(plan))
    for note in plan.notes:
        output.note(note)
    for refusal in plan.refusals:
        output.show(f"[bold red]refused[/] {escape(str(refusal))}")
    output.show(plan_sentence(plan))
    return 3 if plan.refusals else 0


def _show_report(report: NightReport, page: Path | None, output: Output) -> None:
    """The night for people: a large fleet's servers only where somebody should look; ids are in the JSON."""
    from rich.markup import escape
    from rich.table import Table

    from backup_to_image.night_pages import summary

    shown = [one for one in report.servers if one.bad or one.doubtful or one.outcome == "skipped"]
    if len(report.servers) <= _SHOWN_WHOLE:
        shown = list(report.servers)
    table = Table(title=f"Night of {report.night}, {report.policy}", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("server", "outcome", "image, or why not and what to do"):
        table.add_column(column, overflow="fold")
    for one in sorted(shown, key=lambda one: not one.bad):
        words = [escape(one.image_name)] if one.image_name else []
        if one.bad or one.outcome == "skipped":
            words.append(escape(one.reason if one.code in one.reason else f"{one.code}: {one.reason}"))
        words += [f"doubtful: {escape(one.doubtful)}"] if one.doubtful else []
        words += [f"→ {escape(one.action)}"] if one.action else []
        table.add_row(escape(one.server_name), f"[{_COLOURS[one.outcome]}]{one.outcome}[/]", "\n".join(words))
    if shown:
        output.show(table)
    if len(shown) < len(report.servers):
        output.show(f"{len(report.servers) - len(shown)} servers whose night went well are not shown.")
    output.show(escape(summary(report)))
    for left in report.left_behind:
        output.show(f"[red]left behind, and billed:[/] {escape(left)}")
    for note in report.notes:
        output.note(note)
    if page:
        output.show(f"The whole night, with who waited for what: {escape(str(page))}")
