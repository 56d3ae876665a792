"""Words for the end of a run: pages in Markdown, one sentence for the state, lines for the log."""

from __future__ import annotations

from collections import Counter
from datetime import UTC

from backup_to_image.console import Console, Kind
from backup_to_image.errors import B2iError, PartlyDone, Refused, StillRunning, UsageError
from backup_to_image.model import Delivery, Report
from backup_to_image.run_results import RunError, RunResult
from backup_to_image.steps.fleet.night_left import NightLeft
from backup_to_image.steps.leftovers import Leftovers
from backup_to_image.steps.reconcile import Reconciled

__all__ = [
    "NO_CONSOLE",
    "cell",
    "checks_page",
    "console_lines",
    "go_on",
    "heading",
    "leftover_lines",
    "log_lines",
    "night_left_page",
    "night_left_sentence",
    "orders_page",
    "orders_sentence",
    "paragraph",
    "result_page",
    "sentence",
    "thing",
    "title",
    "verdict",
    "with_lists",
]

_TITLES = {
    "made": "Image made",
    "adopted": "Image was there already, adopted",
    "refused": "Refused, nothing was made",
    "still_running": "Still running in the cloud",
    "failed": "Failed",
    "partly": "Partly done",
}
NO_CONSOLE = Console()
_MOST_ROWS = 200
_KINDS = {"job": "image job", "member": "shared with"}
_LINKED: dict[str, Kind] = {"backup": "backup", "image": "image", "server": "server", "vault": "vault"}
_ORDER = {"refused": 0, "warned": 1, "passed": 2, "unknowable": 2}


def title(result: RunResult) -> str:
    """What came of the run, in a few words."""
    if result.leftovers:
        return "Cancelled; this is in the cloud" if result.leftovers.made else "Cancelled, nothing was made"
    return _TITLES.get(result.outcome or "", "Checked, nothing speaks against it")


def verdict(report: Report) -> str:
    """A report in one line."""
    refused = len(report.refusals)
    return f"{refused} of {len(report.checks)} checks refuse" if refused else f"{len(report.checks)} checks, none refuses"


def sentence(delivery: Delivery) -> str:
    """A delivery in one sentence, as the run's state shows it."""
    words = [f"Image {delivery.image_name} ({delivery.image_id}) is {_normal(delivery.status)}"]
    if delivery.adopted:
        words[0] += ", adopted" + (" though made by somebody else" if delivery.adopted == "foreign" else "")
    if delivery.doubtful:
        words.append(f"doubtful: {delivery.doubtful}")
    if delivery.shared_with:
        words.append(f"shared with {', '.join(delivery.shared_with)}")
    launch = delivery.launch
    if launch:
        silent = [probe.probe for probe in launch.probes if not probe.ok]
        probes = f"no answer to {', '.join(silent)}" if silent else "probes answered" if launch.probed else "not probed"
        words.append(f"server {', '.join(launch.server_names)} {'adopted' if launch.adopted else 'launched'}, {probes}")
    return "; ".join(words) + "."


def console_lines(delivery: Delivery, console: Console) -> list[str]:
    """Where the console shows what there is now, for the log, in which addresses become links."""
    image, launch = delivery.image_id, delivery.launch
    things: list[tuple[Kind, str]] = [("image", image)] if image else []
    things.extend(("server", ident) for ident in (launch.server_ids if launch else ()))
    return [f"{kind} {ident} in the console: {page}" for kind, ident in things if (page := console.page(kind, ident))]


def go_on(error: B2iError, backup: str) -> str:
    """How to go on after such an end: in the run's menu, and from a terminal; nothing where the form is what is wrong."""
    if isinstance(error, UsageError):
        return ""
    command = " ".join(filter(None, ("b2i create", backup, error.option)))
    if error.option:
        return f"When that is mended: Copy to new run with Next attempt ticked, or `{command}`."
    if isinstance(error, Refused):
        return f"When that is mended: Retry in this run's menu, Copy to new run for another form, or `{command}`."
    now = error.retryable or isinstance(error, StillRunning | PartlyDone)
    return f"{'Go on with' if now else 'When that is mended:'} Retry in this run's menu, or `{command}`."


def paragraph(error: B2iError, on: str = "") -> str:
    """An error as one paragraph: the UI shows a state's message without line breaks. `on`: how to go on."""
    helps = "" if isinstance(error, UsageError) else f"Waiting helps: {_yes(error.retryable)}."
    return " ".join(f"{error.message} {error.action} {helps} {on}".split())


def log_lines(error: B2iError, on: str = "") -> list[str]:
    """An error for the log: a line per reason, then what to do, whether waiting helps, and how to go on."""
    if isinstance(error, Refused):
        lines = [f"refused, {check.rule}: {check.why}. {check.action}".strip() for check in error.report.refusals]
        return [*lines, f"Nothing was made. Waiting helps: {_yes(error.retryable)}.", *filter(None, [on])]
    lines = list(error.problems) if isinstance(error, UsageError) else [error.message]
    if isinstance(error, PartlyDone):
        lines.append(f"What exists: {sentence(error.delivery)}")
    if error.action:
        lines.append(f"What to do: {error.action}")
    if not isinstance(error, UsageError):
        lines.append(f"Waiting helps: {_yes(error.retryable)}.")
    return [*lines, *filter(None, [on])]


def night_left_sentence(left: NightLeft) -> str:
    """What a cancelled night has in the cloud, in one sentence."""
    if left.unread:
        return f"The night was cancelled; what it has in the cloud is not to be seen: {left.unread}."
    counted = f"{len(left.there)} servers have their image or it is being made, {len(left.asked)} more were asked for"
    return f"The night was cancelled: {counted}, {len(left.untouched)} were not begun."


def night_left_page(left: NightLeft) -> str:
    """The same, server by server, and how to go on."""
    parts = [f"# {night_left_sentence(left)}", f"As the cloud said at {left.seen_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."]
    rows = [("there", one) for one in left.there] + [("asked for", one) for one in left.asked]
    if rows:
        table = ["| Server | Image | |", "|---|---|---|"]
        table += [f"| {cell(one.server_name)} | {state} | {cell(one.reason)} |" for state, one in rows[:_MOST_ROWS]]
        parts.append("\n".join(table))
    if len(rows) > _MOST_ROWS:
        parts.append(f"And {len(rows) - _MOST_ROWS} more.")
    parts.append("The cloud goes on with what it was asked for. **Retry** in this run's menu, or the next night, adopts it.")
    return "\n\n".join(parts)


def leftover_lines(result: RunResult, left: Leftovers) -> list[str]:
    """What a cancelled run has in the cloud, for the log: a line per thing, then what to do."""
    things = [" ".join(filter(None, (_KINDS.get(one.kind, one.kind), one.name, one.id, one.status))) for one in left.made]
    lines = [f"In the cloud: {'; '.join(things)}."] if things else []
    lines += [f"Not to be seen: {what}: {why}" for what, why in left.unread.items()]
    if result.error:
        lines = [result.error.message, *lines] + ([f"What to do: {result.error.action}"] if result.error.action else [])
    return lines


def heading(title: str, error: RunError | None, on: str) -> list[str]:
    """How every page begins: what came of it, what went wrong and what to do, and how to go on (`on`)."""
    parts = [f"# {title}"]
    if error:
        parts.append(error.message.replace("\n", "  \n"))
        if error.action:
            parts.append(f"**What to do:** {error.action}")
        parts.append(f"Waiting helps: {_yes(error.retryable)}. Code: `{error.code}`")
    return [*parts, f"**{on}**"] if on else parts


def thing(kind: str, ident: str, console: Console, name: str = "") -> str:
    """One thing of the cloud in Markdown, with a link to where the console shows it."""
    if kind in _LINKED:
        return console.link(_LINKED[kind], ident, name)
    return " ".join(filter(None, (cell(name), f"`{ident}`" if ident else "")))


def result_page(result: RunResult, on: str = "", console: Console = NO_CONSOLE) -> str:
    """What came of the run, on a page. `on`: how to go on; `console`: where links to the things in the cloud lead."""
    parts = heading(title(result), result.error, on)
    if result.leftovers:
        parts += _leftover_parts(result.leftovers, console)
    elif result.handle:
        at_work = (f"* {kind} {thing(kind, ident, console)}" for kind, ident in result.handle.items())
        parts.append("Still at work:\n\n" + "\n".join(at_work))
    if result.delivery:
        parts += _delivery_parts(result.delivery, console)
    if result.report:
        parts.append(f"Checks: {verdict(result.report)}; each is on the page of checks beside this one.")
    parts.append("Running the same order again is harmless: each step adopts what is there.")
    return "\n\n".join(parts)


def with_lists(page: str, console: Console) -> str:
    """A page with links to the console's lists of what it tells of."""
    return f"{page}\n\n{console.lists}" if console.lists else page


def checks_page(report: Report) -> str:
    """Every rule that was looked at, one row each; what refuses stands first."""
    rows = ["| | Check | What was seen | What to do | Waiting helps |", "|---|---|---|---|---|"]
    for check in sorted(report.checks, key=lambda check: _ORDER[check.verdict]):
        refused = check.verdict == "refused"
        waiting = ("yes" if check.waiting_helps else "no") if refused else ""
        why = check.why + (f" ({check.code})" if check.code else "")
        mark = f"**{check.verdict}**" if refused else check.verdict
        rows.append(f"| {mark} | {cell(check.rule)} | {cell(why)} | {cell(check.action)} | {waiting} |")
    return f"# Checks of {report.subject}\n\n{verdict(report)}.\n\n" + "\n".join(rows)


def orders_sentence(orders: tuple[Reconciled, ...], started: tuple[str, ...]) -> str:
    """What became of the open orders, in one sentence."""
    if not orders and not started:
        return "No order is open."
    counts = Counter(order.outcome for order in orders)
    words = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(counts.items())]
    late = sum(order.overdue and order.outcome not in {"finished", "failed"} for order in orders)
    words += [f"{late} past the deadline"] if late else []
    words += [f"started again: {', '.join(started)}"] if started else []
    many = "1 order was" if len(orders) == 1 else f"{len(orders)} orders were"
    return f"{many} open: {'; '.join(words)}." if orders else f"{'; '.join(words)}."


def orders_page(orders: tuple[Reconciled, ...], started: tuple[str, ...]) -> str:
    """Every order that was open, one row each: what was found or done, and what to do."""
    parts = ["# Open orders", orders_sentence(orders, started)]
    if orders:
        rows = ["| Order | Since (UTC) | Outcome | What was found, and what to do |", "|---|---|---|---|"]
        for order in orders:
            late = ", **past its deadline**" if order.overdue and order.outcome not in {"finished", "failed"} else ""
            words = f"{order.words}. {order.action}".strip()
            outcome = order.outcome.replace("_", " ") + late
            rows.append(f"| {order.verb} {cell(order.subject)} | {order.since:%Y-%m-%d %H:%M} | {outcome} | {cell(words)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def _yes(helps: bool) -> str:
    return "yes" if helps else "no"


def _leftover_parts(left: Leftovers, console: Console) -> list[str]:
    rows = ["| | | The cloud says | Made at (UTC) |", "|---|---|---|---|"]
    for one in left.things:
        what = thing(one.kind, one.id, console, one.name)
        status = _normal(one.status) if one.kind == "image" else one.status
        made = f"{one.made_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if one.made_at else ""
        rows.append(f"| {_KINDS.get(one.kind, one.kind)} | {what} | {cell(status)} | {made} |")
    parts = [f"As the cloud said at {left.seen_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC:", "\n".join(rows)]
    if left.unread:
        parts.append("Not to be seen:\n\n" + "\n".join(f"* {what}: {why}" for what, why in left.unread.items()))
    if left.made:
        if "backup" in left.handle:
            parts.append(f"From a terminal: `b2i create {left.handle['backup']}`.")
        parts.append(_rid_of(left))
    return parts


def _rid_of(left: Leftovers) -> str:
    """How to be rid of what the order made: by hand, since whoever cancels may still want it."""
    launch = left.handle.get("launch")
    ways = [f"`b2i teardown {launch}` removes the servers with their disks"] if launch else []
    if left.backup_made:
        ways.append("delete the image in the console once it is Normal, and then the backup that was made for it")
    else:
        ways.append("once the image is Normal, delete it in the console, which frees its backup for another one")
    return f"**If it is not wanted:** {'; then '.join(ways)}. What is older than this run was there before."


def _delivery_parts(delivery: Delivery, console: Console) -> list[str]:
    rows = [
        ("image", console.link("image", delivery.image_id or "", delivery.image_name or "")),
        ("status", _normal(delivery.status)),
        ("made by", {False: "this order", True: "an earlier run", "foreign": "somebody else"}[delivery.adopted]),
        ("doubtful", delivery.doubtful),
        ("backup", console.link("backup", delivery.backup_id) + (f" of {delivery.server_name}" if delivery.server_name else "")),
        ("image job", f"`{delivery.job_id}`" if delivery.job_id else None),
        ("shared with", ", ".join(f"`{project}`" for project in delivery.shared_with)),
    ]
    if delivery.launch:
        launch = delivery.launch
        rows += [
            (
                "server",
                ", ".join(
                    console.link("server", ident, name)
                    for name, ident in zip(launch.server_names, launch.server_ids, strict=False)
                ),
            ),
            ("addresses", ", ".join(launch.addresses)),
            ("launch", f"`{launch.launch_id}`, removed with `b2i teardown {launch.launch_id}`"),
            ("probes", "not probed: ACTIVE is all the proof" if not launch.probed else None),
        ]
        rows += [(f"probe {one.probe}", f"{'ok' if one.ok else '**no**'}: {one.answer}") for one in launch.probes]
    table = ["| | |", "|---|---|", *(f"| {name} | {cell(value)} |" for name, value in rows if value)]
    parts = ["\n".join(table)]
    if delivery.steps:
        steps = ["| Step | Seconds | Requests |", "|---|--:|--:|"]
        steps += [f"| {one.step} | {one.seconds:.1f} | {one.requests} |" for one in delivery.steps]
        steps.append(f"| **all** | {delivery.seconds:.1f} | {delivery.requests} |")
        parts.append("\n".join(steps))
    return parts


def _normal(status: str | None) -> str:
    return "Normal" if status == "active" else status or "unknown"


def cell(text: str) -> str:
    """A text from outside inside a table."""
    return text.replace("|", "\\|").replace("\n", " ")
