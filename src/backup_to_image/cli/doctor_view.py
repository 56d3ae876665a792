"""What `b2i doctor` found, as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from backup_to_image.cli.output import pairs
from backup_to_image.steps.checkup import STEPS

if TYPE_CHECKING:
    from backup_to_image.steps.checkup import Checkup
    from backup_to_image.steps.contract_check import Comparison

__all__ = ["log_in_lines", "rights_table", "vaults_table", "write_comparison"]

_STEP = {"open": "[green]open[/]", "blocked": "[bold red]blocked[/]", "unclear": "[yellow]unclear[/]"}
_OUTCOME = {
    "granted": "[green]granted[/]",
    "missing": "[bold red]missing[/]",
    "unclear": "[yellow]unclear[/]",
    "not tried": "[dim]not tried[/]",
}


def log_in_lines(login: dict[str, Any]) -> Table:
    """Who this is."""
    left = login["token_seconds_left"]
    return pairs(
        "Log-in",
        [
            ("user", login["user"]),
            ("account", login["account"]),
            ("project", f"{login['project_name'] or ''}  {login['project_id']}".strip()),
            ("region", login["region"]),
            ("address", login["auth_url"]),
            ("by", login["method"]),
            ("roles", ", ".join(login["roles"])),
            ("token", f"until {login['token_expires_at']}, {left / 3600:.1f} h from now" if left is not None else None),
        ],
    )


def rights_table(checkup: Checkup, *, verbose: bool) -> Table:
    """Step by step, what may be done: what is wrong in full, what is granted as a number, unless more was asked for."""
    table = Table(title="Rights, step by step", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("step", "", "what was seen, and what to do"):
        table.add_column(column, overflow="fold")
    for step in STEPS:
        rights = [right for right in checkup.rights if right.step == step]
        granted = [right.action for right in rights if right.outcome == "granted"]
        changes = [right.action for right in rights if right.changes]
        reads = f"{len(granted)} of {len(rights) - len(changes)} reads granted"
        lines = [reads + (f": {', '.join(granted)}" if verbose else "")]
        for right in rights:
            if right.outcome != "granted" and not right.changes:
                words = f"{right.action} ({right.does}): {right.why}" + (f"\n  → {right.remedy}" if right.remedy else "")
                lines.append(f"{_OUTCOME[right.outcome]} {escape(words)}")
        if changes:
            lines.append(f"[dim]not tried, since it changes something: {', '.join(changes)}[/]")
        table.add_row(f"[bold]{step}[/]", _STEP[checkup.steps[step]], "\n".join(lines))
    return table


def vaults_table(vaults: Iterable[dict[str, Any]]) -> Table:
    """The vaults, with what is free in them."""
    table = Table(title="Vaults", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("vault", "id", "state", "for", "GB", "free GB"):
        table.add_column(column, overflow="fold", justify="right" if "GB" in column else "left")
    for vault in vaults:
        kind = f"{vault['object_type']}, {vault['protect_type']}" + (", locked backups" if vault["locked"] else "")
        table.add_row(escape(vault["name"]), vault["id"], vault["status"], kind, str(vault["size_gb"]), str(vault["free_gb"]))
    return table


def write_comparison(compared: list[Comparison]) -> Iterator[Any]:
    """Every operation, how it answered, and what is different; fields that no page names come last, as information."""
    asked = [one for one in compared if one.asked]
    differing = [one for one in asked if any(each.matters for each in one.differences)]
    yield f"[bold]Contract[/]: {len(asked)} reading operations asked, {len(differing)} answered otherwise than documented."
    for one in differing:
        yield f"  [red]{one.operation}[/] ({', '.join(map(str, one.statuses))})"
        for each in one.differences:
            if each.matters:
                yield f"    {each.kind}: {escape(each.where)}: {escape(each.told)}" + (
                    f" ({each.count} times)" if each.count > 1 else ""
                )
    for one in asked:
        if one.refused:
            yield f"  [yellow]{one.operation}[/] was refused: {escape(one.refused)}"
    for one in compared:
        if one.not_asked:
            yield f"  [dim]{one.operation} was not asked: {escape(one.not_asked)}[/]"
    extra = {one.operation: [each.where for each in one.differences if not each.matters] for one in asked}
    for operation, fields in extra.items():
        if fields:
            yield f"  [dim]{operation} has fields that no page names: {escape(', '.join(fields))}[/]"
