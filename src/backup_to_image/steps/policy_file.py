"""A policy as its file says it, with the files that it names read too: every mistake of all of them at once."""

from __future__ import annotations

from pathlib import Path

from backup_to_image.errors import UsageError
from backup_to_image.model import LaunchOrder, Value
from backup_to_image.model.policy import Policy
from backup_to_image.yamlfile import load_file

__all__ = ["PolicyFile", "read_policy"]


class PolicyFile(Value):
    """A policy, and the launch order of its drills."""

    path: Path
    policy: Policy
    drill: LaunchOrder | None = None
    """None where the policy verifies nothing."""


def read_policy(path: Path) -> PolicyFile:
    """Read a policy; the launch order that it names lies relative to it. Raises UsageError with every mistake as file:line."""
    policy = load_file(path, Policy, "policy")
    if policy.verify == "none":
        return PolicyFile(path=path, policy=policy)
    drill = load_file(path.parent / Path(policy.verify.launch).expanduser(), LaunchOrder, "launch order")
    where, problems = f"{path}: verify.launch: {policy.verify.launch}", list[str]()
    if drill.count != 1:
        problems.append(f"{where} launches {drill.count} servers; a drill takes one of each image.")
    if drill.network.fixed_ip is not None:
        problems.append(f"{where} has a fixed_ip, which two drills at once cannot share.")
    if drill.cloud is not None and drill.cloud != policy.cloud:
        problems.append(f"{where} is for cloud {drill.cloud!r}; drills are launched where the images are.")
    if problems:
        raise UsageError(problems)
    return PolicyFile(path=path, policy=policy, drill=drill)
