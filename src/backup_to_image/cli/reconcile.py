"""`b2i reconcile`: what is open, finished where it was begun."""

from __future__ import annotations

import click

from backup_to_image.cli.options import Options, common_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  b2i reconcile
  b2i reconcile --json

Put it into cron where there is no Prefect: every ten minutes is plenty.
"""

_COLOURS = {"finished": "green", "failed": "red", "running": "yellow", "not_begun": "yellow"}


@click.command("reconcile", epilog=_EPILOG)
@common_options
@click.pass_obj
def command(options: Options) -> int:
    """Finish what runs that were killed or gave up waiting have left: waits, shares already ordered, teardowns.

    Nothing is begun: an image or a server that was never asked for is told, not made. Safe to repeat, and beside live runs.
    Exit codes: 0 nothing is open, or it is finished or still in its time; 4 something is past its deadline, the cloud works on;
    5 something failed.
    """
    from backup_to_image.cli.output import Output
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from rich.markup import escape
        from rich.table import Table

        from backup_to_image.steps.reconcile import reconcile

        async with connected(options, output) as ctx:
            told = await reconcile(ctx)
        output.result({"orders": [one.model_dump(mode="json") for one in told]})
        table = Table(show_edge=False, pad_edge=False)
        for column in ("order", "since (UTC)", "outcome", "what was found, and what to do"):
            table.add_column(column, overflow="fold")
        for one in told:
            late = ", past its deadline" if one.overdue and one.outcome not in {"finished", "failed"} else ""
            outcome = f"[{_COLOURS.get(one.outcome, 'dim')}]{one.outcome.replace('_', ' ')}{late}[/]"
            words = escape(one.words) + (f"\n→ {escape(one.action)}" if one.action else "")
            table.add_row(f"{one.verb} {escape(one.subject)}", f"{one.since:%Y-%m-%d %H:%M}", outcome, words)
        output.show(table if told else "No order is open.")
        if any(one.outcome == "failed" for one in told):
            return 5
        return 4 if any(one.overdue and one.outcome == "running" for one in told) else 0

    return perform(options, work, blank={"orders": [], "error": None})
