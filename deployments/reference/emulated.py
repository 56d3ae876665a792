"""What the emulated cloud can be told: faults and switches."""

from __future__ import annotations

from backup_to_image.emulator.faults import CATALOGUE
from backup_to_image.emulator.switches import SWITCHES
from deployments.reference.page import code, list_of, table

__all__ = ["emulator_page"]

_STAGES = {
    "before": "instead of the call, which has no effect",
    "effect": "the call itself goes another way",
    "after": "the call has had its effect, only the answer suffers",
    "standing": "no request is struck; it holds as long as it is armed",
}


def emulator_page() -> str:
    """Both catalogues, whole."""
    faults = [
        (
            code(fault.name),
            fault.stage,
            list_of(fault.operations) or ("—" if fault.stage == "standing" else "any call"),
            fault.says,
            ", ".join(
                f"{code(name)} ({'none' if value is None else str(value).lower()})" for name, value in fault.parameters.items()
            ),
        )
        for fault in CATALOGUE.values()
    ]
    switches = [(code(one.name), list_of(one.values), one.decides, one.source) for one in SWITCHES]
    parts = [
        "# Faults and switches",
        (
            "What the emulated cloud can be told to do wrong, and what it can be told where the cloud's pages leave a "
            "question open. How to arm and set them: [the emulated cloud](../emulator.md#faults)."
        ),
        "## Faults",
        (
            "Besides its own parameters each takes `operation` (the calls that it strikes, instead of those here), `project`,"
            " `skip` and `times`."
        ),
        table(("fault", "strikes", "which calls", "what happens", "parameters (default)"), faults),
        table(("strikes", "which means"), _STAGES.items()),
        "## Switches",
        (
            "Every client has to be right with each value. *Asked in* names the section of the contract (`BEHAVIOUR.md`) that"
            " raises the question."
        ),
        table(("switch", "values, the default first", "decides", "asked in"), switches),
    ]
    return "\n\n".join(parts)
