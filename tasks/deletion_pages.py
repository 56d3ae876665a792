"""Words for the end of a sweep and of a policy's retention: a page in Markdown, one sentence for the state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from backup_to_image.steps.board import age
from backup_to_image.steps.deletion_left import due
from backup_to_image.steps.retention.remove_image import Removal
from backup_to_image.steps.retention.retire import Expendable, Retired, RetirementPlan
from backup_to_image.steps.retention.rules import Decision
from backup_to_image.steps.sweep import Swept
from tasks.pages import cell

__all__ = [
    "cancelled_retention_page",
    "cancelled_retention_sentence",
    "cancelled_sweep_sentence",
    "plan_sentence",
    "retention_page",
    "retired_sentence",
    "sweep_page",
    "sweep_sentence",
]

_MOST_ROWS = 200
_BACKUPS = {"goes": "is deleted too", "returns": "goes back to its CBR policy", "stays": "stays until somebody deletes it"}


# -- the sweep --------------------------------------------------------------------------------------------------------------


def sweep_sentence(swept: Swept, *, applied: bool) -> str:
    """What was found and what became of it, in one sentence."""
    words: list[str] = []
    if swept.removed:
        size = f" ({_gb(one.gb for one in swept.removed)})" if any(one.gb for one in swept.removed) else ""
        words.append(f"removed {_counted(Counter(one.kind for one in swept.removed))}{size}")
    if swept.left:
        words.append(f"{len(swept.left)} left: {_names([one.name for one in swept.left])}")
    actions = Counter(one.action for one in swept.found)
    if actions["due"]:
        words.append(f"{actions['due']} due")
    words += [f"{actions[action]} {told}" for action, told in _ACTIONS.items() if actions[action]]
    if swept.listed:
        words.append(f"{_many(len(swept.listed), 'image')} listed that no sweep removes")
    told = "; ".join(words) or "nothing to sweep"
    unread = f" What could not be read: {', '.join(swept.unread)}." if swept.unread else ""
    nothing = " Nothing was removed." if not applied and swept.found else ""
    return f"{told[0].upper()}{told[1:]}.{nothing}{unread}"


_ACTIONS = {"marked": "seen for the first time", "waits": "waiting for the grace time", "kept": "kept"}


def cancelled_sweep_sentence(so_far: Swept | None, looked: Swept | None, unread: str) -> str:
    """What a sweep that was cancelled has removed."""
    if unread:
        return f"The sweep was cancelled; what it has removed is not to be seen: {unread}."
    if so_far is None or looked is None:
        return "The sweep was cancelled before it removed anything."
    what = _names([f"{one.kind} {one.name}" for one in so_far.removed])
    return f"The sweep was cancelled: {len(so_far.removed)} of {len(due(looked))} are gone{f' ({what})' if what else ''}."


def sweep_page(swept: Swept, words: str, *, seen_at: datetime) -> str:
    """Everything that was found, one row each; what is left although it was to go stands first."""
    parts = ["# Sweep", f"**{words}**", f"Seen at {seen_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."]
    if swept.unread:
        parts.append("Not to be read:\n\n" + "\n".join(f"* {cell(what)}: {cell(why)}" for what, why in swept.unread.items()))
    if swept.left:
        rows = [f"| {one.kind} {cell(one.name)} `{one.id}` | {cell(one.reason)} | {one.code or ''} |" for one in swept.left]
        parts.append(_table("Left although it was to go", ["| What | Why | Code |", "|---|---|---|"], rows))
    if swept.found:
        rows = [
            f"| {one.kind} {cell(one.name)} `{one.id}` | {age(timedelta(seconds=one.age_s))} | {one.gb} | {one.action}"
            f"{_from(one.due) if one.action in {'marked', 'waits'} else ''} | {cell(one.why)} |"
            for one in swept.found
        ]
        head = ["| What | Age | GB | Becomes | Why |", "|---|--:|--:|---|---|"]
        parts.append(_table("Found", head, rows))
    if swept.removed:
        rows = [f"| {one.kind} {cell(one.name)} `{one.id}` | {one.gb} |" for one in swept.removed]
        parts.append(_table("Removed, and proven to be gone", ["| What | GB |", "|---|--:|"], rows))
    if swept.listed:
        rows = [f"| {cell(one.name)} `{one.id}` | {one.gb} | {cell(one.why)} |" for one in swept.listed]
        parts.append(_table("Listed, and left to people", ["| Image | GB | Why |", "|---|--:|---|"], rows))
    return "\n\n".join(parts)


def _from(moment: datetime) -> str:
    return f", {moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC at the earliest"


# -- retention --------------------------------------------------------------------------------------------------------------


def plan_sentence(plan: RetirementPlan) -> str:
    """What a policy's retention would delete, in one sentence."""
    return f"{plan.policy}: {_planned(plan)}. Nothing was deleted."


def retired_sentence(plan: RetirementPlan, done: Retired) -> str:
    """What a policy's retention has deleted, in one sentence."""
    backups = [one for one in done.removals if one.backup == "deleted"]
    words = [f"{_many(len(done.deleted), 'image')} deleted, {_many(len(backups), 'backup')} with them"]
    words[0] += f" ({_gb(one.doomed.gb for one in backups)})" if backups else ""
    counts = Counter(one.image for one in done.removals)
    words += [f"{counts['gone']} gone before"] if counts["gone"] else []
    words += [f"{counts['kept']} kept after all"] if counts["kept"] else []
    for told, those in (
        ("left", [one for one in done.failed if not one.late]),
        ("not over", [one for one in done.failed if one.late]),
    ):
        words += [f"{len(those)} {told}: {_names([one.doomed.image_name for one in those])}"] if those else []
    words += [f"{len(plan.waiting)} left to the next run"] if plan.waiting else []
    words += [done.stopped.rstrip(".")] if done.stopped else []
    return f"{plan.policy}: {'; '.join(words)}."


def cancelled_retention_sentence(plan: RetirementPlan | None, gone: Sequence[str], unread: str) -> str:
    """What a retention that was cancelled has deleted."""
    if unread:
        return f"The retention was cancelled; what it has deleted is not to be seen: {unread}."
    if plan is None:
        return "The retention was cancelled before it deleted anything."
    return f"The retention of {plan.policy} was cancelled: {len(gone)} of {_many(len(plan.delete), 'image')} are gone."


def retention_page(plan: RetirementPlan, words: str, done: Retired | None = None) -> str:
    """Every image with its decision; what goes stands first, and what did not go as planned before that."""
    parts = [f"# Retention of {cell(plan.policy)}", f"**{cell(words)}**", _plan_line(plan)]
    if plan.notes:
        parts.append("\n".join(f"* {cell(note)}" for note in plan.notes[:_MOST_ROWS]))
    if done is not None:
        rows = [
            f"| {_image(one)} | {_became(one)} | {cell(one.reason)} | {one.code or ''} |" for one in _by_trouble(done.removals)
        ]
        parts += [_table("What became of them", ["| Image | | Why | Code |", "|---|---|---|---|"], rows)] if rows else []
    parts += _decisions("To go" if done is None else "What was to go", plan, plan.delete)
    if plan.returning:
        total = _gb(one.decision.gb for one in plan.returning)
        rows = [f"| `{one.doomed.backup_id}` | {one.decision.gb} | {_expires(one, plan)} |" for one in plan.returning]
        head = ["| Backup | GB | There |", "|---|--:|---|"]
        parts.append(_table(f"Automatic backups that go back to their CBR policy ({total})", head, rows))
    parts += _decisions("To wait for the next run", plan, plan.waiting)
    parts += _decisions("To stay", plan, plan.keep)
    return "\n\n".join(parts)


def cancelled_retention_page(plan: RetirementPlan | None, gone: Sequence[str], words: str) -> str:
    """What was to go, and which of it is gone."""
    parts = [f"# {cell(words)}"]
    if plan:
        rows = [
            f"| {cell(one.decision.image_name)} `{one.decision.image_id}` | "
            f"{'gone' if one.decision.image_id in gone else 'still there'} |"
            for one in plan.delete
        ]
        parts.append(_table("What was to go", ["| Image | |", "|---|---|"], rows))
    parts.append("What the cloud was asked to delete, it goes on deleting. The next run looks at everything again and goes on.")
    return "\n\n".join(parts)


def _planned(plan: RetirementPlan) -> str:
    words = [f"{_many(len(plan.keep), 'image')} to stay", f"{len(plan.delete)} to go"]
    words[1] += f", {plan.frees_gb} GB with their backups" if plan.frees_gb else ""
    words += [f"{len(plan.waiting)} to wait for the next run"] if plan.waiting else []
    back = plan.returning
    if back:
        words.append(f"{_many(len(back), 'automatic backup')} back to their CBR policy ({_gb(one.decision.gb for one in back)})")
    return "; ".join(words)


def _plan_line(plan: RetirementPlan) -> str:
    line = f"Decided at {plan.decided_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {_planned(plan)}."
    return f"{line} One run deletes at most {_many(plan.most, 'image')} (`max_deletions`)."


def _decisions(heading: str, plan: RetirementPlan, those: Sequence[Expendable | Decision]) -> list[str]:
    rows: list[str] = []
    for one in those:
        decision, fate = (one, "stays with it") if isinstance(one, Decision) else (one.decision, _BACKUPS[one.doomed.backup])
        server = plan.server_names.get(decision.server_id) or decision.server_id
        rows.append(
            f"| {cell(decision.image_name)} `{decision.image_id}` | {cell(server)} | "
            f"{decision.taken_at.astimezone(UTC):%Y-%m-%d %H:%M} | {cell(decision.rule)} | {decision.gb or ''} | {fate} |"
        )
    head = ["| Image | Server | Backup of (UTC) | By which rule | GB | Its backup |", "|---|---|---|---|--:|---|"]
    return [_table(heading, head, rows)] if rows else []


def _by_trouble(removals: Sequence[Removal]) -> list[Removal]:
    return sorted(removals, key=lambda one: (not one.failed, one.image == "deleted"))


def _image(removal: Removal) -> str:
    return f"{cell(removal.doomed.image_name)} `{removal.doomed.image_id}`"


def _became(removal: Removal) -> str:
    image = {"deleted": "deleted", "gone": "was gone already", "kept": "kept after all", "left": "**left**"}[removal.image]
    if removal.backup == "":
        return image
    backup = f"**{removal.backup}**" if removal.backup in {"left", "lost"} else removal.backup
    return f"{image}; backup {backup}"


def _expires(one: Expendable, plan: RetirementPlan) -> str:
    expires = one.doomed.backup_expires_at
    later = expires is not None and expires > plan.decided_at
    return f"expires on {expires:%Y-%m-%d}" if expires and later else "may be deleted at once"


# -- both -------------------------------------------------------------------------------------------------------------------


def _table(heading: str, head: list[str], rows: list[str]) -> str:
    more = f"\n\nAnd {len(rows) - _MOST_ROWS} more." if len(rows) > _MOST_ROWS else ""
    return f"## {heading}: {len(rows)}\n\n" + "\n".join([*head, *rows[:_MOST_ROWS]]) + more


def _counted(counts: Counter[str]) -> str:
    return ", ".join(_many(count, kind) for kind, count in counts.items())


def _names(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _gb(sizes: Iterable[int]) -> str:
    return f"{sum(sizes)} GB"
