"""In which ways each fault of the catalogue is tried, and which of them no command can meet yet."""

from __future__ import annotations

from typing import Any

__all__ = ["NEVER_ASKED", "VARIANTS"]

NEVER_ASKED = {
    "delete-ignored": "no command deletes an image yet",
}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "throttled-429": ({}, {"retry_after": 40}),
    "job-fails": ({}, {"code": "IMG.0060"}, {"code": "Ecs.0319"}),
    "job-stuck": ({"seconds": 900.0}, {"seconds": None}),
    "leftovers": tuple({"leave": list(leave)} for leave in (["data_disks"], ["system_disk", "eip"], ["server"])),
    "guest-silent": ({"profile": "dead"},),
    "clock-skew": ({"seconds": 3600.0}, {"seconds": -3600.0}),
    "unknown-enum": ({}, {"field": "name"}),
}
