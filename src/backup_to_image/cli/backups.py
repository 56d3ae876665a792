"""`b2i backups`: what could become an image, and why not."""

from __future__ import annotations

from datetime import datetime

import click

from backup_to_image.cli.options import Options, common_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  b2i backups --usable
  b2i backups --server shop-db-01 --json
"""


@click.command("backups", epilog=_EPILOG)
@click.option("--server", metavar="S", help="Only backups of this server (id or name).")
@click.option("--usable", is_flag=True, help="Only those that could become a new image.")
@common_options
@click.pass_obj
def command(options: Options, server: str | None, usable: bool) -> int:
    """List backups, newest first: which could become an image, and why the others cannot. Read-only."""
    from backup_to_image.cli.output import Output
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from rich.markup import escape
        from rich.table import Table

        from backup_to_image.steps.select import server_backups

        async with connected(options, output) as ctx:
            rows = [row async for row in server_backups(server, ctx, usable=usable)]
            output.result(
                {
                    "backups": [
                        {
                            "id": backup.id,
                            "name": backup.name,
                            "server_id": backup.resource_id if backup.kind == "server" else None,
                            "server_name": backup.resource_name or None,
                            "status": backup.status,
                            "created_at": _told(backup.created_at),
                            "taken_at": _told(backup.taken_at),
                            "replica": backup.replica,
                            "size_gb": backup.size_gb,
                            "image_ids": list(backup.image_ids),
                            "usable": not reason,
                            "why_not": reason or None,
                        }
                        for backup, reason in rows
                    ]
                }
            )
            table = Table(show_edge=False, pad_edge=False)
            for column in ("backup", "of", "made (UTC)", "GB", "can become an image"):
                table.add_column(column, overflow="fold", justify="right" if column == "GB" else "left")
            for backup, reason in rows:
                made = f"{backup.latest_at:%Y-%m-%d %H:%M}" if backup.latest_at else ""
                if made and not backup.taken_at:
                    made = f"before {made}"
                verdict = f"[dim]no: {escape(reason)}[/]" if reason else "[green]yes[/]"
                if backup.replica:
                    verdict += ", a replica"
                table.add_row(
                    backup.id, escape(backup.resource_name or backup.resource_id), made, str(backup.size_gb or ""), verdict
                )
            output.show(table if rows else "No such backups.")
        return 0

    return perform(options, work, blank={"backups": [], "error": None})


def _told(moment: datetime | None) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None
