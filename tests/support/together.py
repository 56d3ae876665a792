"""Which modules share a process: what they share is costly to make, and one of it is enough."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Together", "group_of"]

_HOUSE = (
    "approvals",
    "cancel",
    "command_doors",
    "commands_killed",
    "door",
    "nights",
    "reconciler",
    "recovery",
    "restarts",
    "secrets",
    "upgrade",
)
"""Those that need a whole installation: a Prefect server, a worker and an emulated region."""


def group_of(nodeid: str) -> str:
    """What a test shares a process with: an installation, a Prefect server, a region; itself alone where it shares nothing."""
    module, _, _ = nodeid.partition("::")
    if module == "tests/guards/test_site.py":
        return "site"
    folder, _, name = module.rpartition("/")
    if folder == "tests/prefect":
        return "house" if name.removeprefix("test_").removesuffix(".py") in _HOUSE else "prefect"
    if folder == "tests/browser":
        return "browser"
    return "doctor" if module == "tests/cli/test_doctor.py" else nodeid


class Together(LoadScopeScheduling):
    """Each test wherever there is room, but those of a group in one process.

    `--dist loadgroup` would do it by marks, which the processes write into the ids of their tests; pytest 9.2 takes no such ids.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
