"""Which modules share a process: what they share is costly to make, and one of it is enough."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Together", "group_of"]

_HOUSES = {
    "a house at work": ("approvals", "command_doors", "door", "nights", "secrets", "upgrade"),
    "a house in trouble": ("cancel", "commands_killed", "reconciler", "recovery", "restarts"),
}
"""Those that need a whole installation: a Prefect server, a worker and an emulated region. One is slow to make, and one alone
would be what all the others wait for at the end: two, of about the same length."""


def group_of(nodeid: str) -> str:
    """What a test shares a process with: an installation, a Prefect server, a region; itself alone where it shares nothing."""
    module, _, _ = nodeid.partition("::")
    if module == "tests/guards/test_site.py":
        return "site"
    folder, _, name = module.rpartition("/")
    if folder == "tests/prefect":
        about = name.removeprefix("test_").removesuffix(".py")
        return next((house for house, modules in _HOUSES.items() if about in modules), "prefect")
    if folder == "tests/browser":
        return "browser"
    return "doctor" if module == "tests/cli/test_doctor.py" else nodeid


class Together(LoadScopeScheduling):
    """Each test wherever there is room, but those of a group in one process.

    `--dist loadgroup` would do it by marks, which the processes write into the ids of their tests; pytest 9.2 takes no such ids.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
