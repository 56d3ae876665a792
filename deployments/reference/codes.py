"""What the cloud's codes mean, by service and class, and what to do about them at three in the morning."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from backup_to_image.doctor.tables import Row
from backup_to_image.doctor.tables import table as known
from backup_to_image.errors import ErrorClass
from deployments.reference.page import code, table

__all__ = ["SERVICES", "codes_page"]


class _Service(NamedTuple):
    page: str
    title: str
    families: tuple[str, ...]
    says: str
    first: str


SERVICES = (
    _Service(
        "codes-images",
        "Codes of the image service (IMS)",
        ("IMG",),
        (
            "They refuse the making of an image, its sharing and its acceptance, and stand as the reason in a job that has "
            "failed. Almost all of them come with HTTP 400, so the code decides, never the status."
        ),
        (
            "`b2i validate BACKUP` looks at every rule again and tells all reasons at once; `b2i doctor` shows the image "
            "quota and the rights; `b2i share IMAGE` lists the members."
        ),
    ),
    _Service(
        "codes-backups",
        "Codes of the backup service (CBR)",
        ("BackupService",),
        (
            "They refuse a backup, a vault or the deletion of a backup. Some refusals for good come with HTTP 500: the code "
            "decides."
        ),
        (
            "`b2i backups --server SERVER` shows the backups with their states and why one cannot be used; `b2i doctor` the "
            "vaults, with what is free in each."
        ),
    ),
    _Service(
        "codes-servers",
        "Codes of the server service (ECS)",
        ("Ecs", "Common"),
        (
            "They refuse a launch, a teardown or a change of OS, or stand in the job of one. A launch that failed may have "
            "left disks and addresses, which are billed: the error names them."
        ),
        (
            "`b2i launch IMAGE --spec ORDER.yaml --dry-run` checks the whole order without making anything; `b2i doctor` "
            "shows the quotas; after a failed launch `b2i teardown LAUNCH_ID` removes what is left and proves it."
        ),
    ),
    _Service(
        "codes-disks-and-networks",
        "Codes of disks, networks and addresses (EVS, VPC, EIP)",
        ("EVS", "VPC"),
        "They come up where a launch looks for its network, and where a teardown removes disks and addresses.",
        "`b2i teardown LAUNCH_ID` again: it looks at what is there, removes what it may, and names the rest.",
    ),
    _Service(
        "codes-log-in",
        "Codes of log-in and gateway (IAM, APIGW, Pdp)",
        ("IAM", "APIGW", "Pdp"),
        (
            "They refuse the log-in or the token, or come from the gateway in front of all services. A password that was "
            "refused is not sent again: failed log-ins lock the user."
        ),
        (
            "`b2i doctor`: it logs in once and says who, where, and which right each step lacks. It also shows by how much "
            "this clock is off."
        ),
    ),
)

_CLASSES = {
    ErrorClass.CONFIGURE: (
        "Somebody has to act",
        (
            "Rights, quota, money, a vault: the cloud would do it and may not. It hits every server of the night in the same "
            "way, and does not get better by itself. At three: if `b2i board` shows servers that are late by more than they "
            "may be, call whoever can grant it; otherwise leave it for the morning. Then give the same command again: it does"
            " only what is missing."
        ),
    ),
    ErrorClass.PERMANENT: (
        "This order will never do",
        (
            "The same request would be refused for ever, and nothing was made. At three: nothing; other servers are not "
            "touched by it, and the server keeps the image that it has. In the morning choose another backup or correct the "
            "order."
        ),
    ),
    ErrorClass.WAIT: (
        "It passes",
        (
            "The cloud is busy or in the middle of something. `b2i` waits by itself, within its time-out, and sends again "
            "what surely made nothing. At three: nothing. If the time was up, the same command goes on, or `b2i reconcile`."
        ),
    ),
    ErrorClass.UNCLEAR: (
        "The service has trouble",
        (
            "Nobody knows whether it took effect, so `b2i` has looked before it said so. At three: give the same command "
            "again after some minutes, once; it adopts what is there. If it repeats, look whether the cloud reports an "
            "incident, open a ticket with the request id that stands in the message, and go back to bed: what was asked for "
            "is in the journal."
        ),
    ),
}


def codes_page(service: _Service) -> str:
    """The codes of a service, those first about which somebody has to do something."""
    rows = [row for row in known().values() if row.code.partition(".")[0] in service.families]
    parts = [
        f"# {service.title}",
        f"{service.says} How errors read, and what `b2i` does about each class by itself: [errors](../errors.md).",
        f"**Look first:** {service.first}",
    ]
    for kind, (title, at_three) in _CLASSES.items():
        mine = [row for row in rows if row.error_class is kind]
        if mine:
            parts += [f"## {title}", f"Class {kind.value}. {at_three}", table(("code", "means", "do"), _told(mine))]
    return "\n\n".join(parts)


def _told(rows: list[Row]) -> list[tuple[str, str, str]]:
    """A line for each code; codes in a row with one meaning are one line."""
    found: list[tuple[str, str, str]] = []
    for (cause, action), several in groupby(rows, lambda row: (row.cause, row.action)):
        runs: list[list[str]] = []
        for row in several:
            if runs and _number(row.code) == _number(runs[-1][-1]) + 1:
                runs[-1].append(row.code)
            else:
                runs.append([row.code])
        told = [code(run[0]) if len(run) == 1 else f"{code(run[0])} to {code(run[-1])}" for run in runs]
        found.append((", ".join(told), cause, action))
    return found


def _number(name: str) -> int:
    return int(name.rpartition(".")[2])
