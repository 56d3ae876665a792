"""`b2i doctor`: can I log in, what may I do, what is there room for, and does this cloud answer as its pages say."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from backup_to_image.cli.output import Output
    from backup_to_image.journal import Journal
    from backup_to_image.model import Check, Quota, Vault
    from backup_to_image.otc import Credentials
    from backup_to_image.otc.raw import RawCloud
    from backup_to_image.settings import Settings
    from backup_to_image.steps.checkup import Checkup
    from backup_to_image.steps.contract_check import Comparison

__all__ = ["BLANK", "command"]

BLANK: dict[str, Any] = {
    "login": None,
    "steps": None,
    "rights": [],
    "quotas": None,
    "vaults": None,
    "journal": None,
    "settings": None,
    "checks": [],
    "findings": [],
    "contract": None,
    "requests": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i doctor
  b2i doctor --json --fail-on-findings       for a monitor: 5 if something is missing
  b2i doctor --contract                      does this cloud answer as its pages say

Exit codes: 0 also with findings, 5 with findings and --fail-on-findings, 1 the cloud cannot be reached, 2 log-in or settings.
"""


@click.command("doctor", epilog=_EPILOG)
@click.option("--contract", is_flag=True, help="Compare the cloud's answers with the documented ones; about 50 requests more.")
@click.option("--fail-on-findings", is_flag=True, help="End with 5 if something is missing, used up or different.")
@common_options
@click.pass_obj
def command(options: Options, contract: bool, fail_on_findings: bool) -> int:
    """Say who this log-in is, which right each step lacks, which quotas and vaults there are, and where journal and settings lie.

    Reads only: nothing is made, changed or billed. A right to change something cannot be tried so; it is told with its name.
    """
    from backup_to_image.cli.session import perform

    async def work(output: Output) -> int:
        findings = await _examine(options, output, contract=contract)
        return 5 if findings and fail_on_findings else 0

    return perform(options, work, blank=BLANK)


async def _examine(options: Options, output: Output, *, contract: bool) -> list[str]:
    from backup_to_image.cli.session import configured, tracing
    from backup_to_image.otc.raw import RawCloud
    from backup_to_image.steps.checkup import check_account, local_checks, skew_check

    settings, credentials = configured(options, output)
    with tracing(options) as tracer:
        async with _journal(settings) as (journal, journal_told, journal_found), RawCloud(credentials, trace=tracer) as cloud:
            output.say(f"logging in at {credentials.auth_url}")
            checkup = await check_account(cloud)
            compared = await _compare(cloud, journal, output) if contract else None
            checks = (skew_check(cloud.login_facts.clock_skew_s), journal_found, *local_checks(settings), *checkup.checks)
            findings = _findings(checkup, checks, compared)
            login = _login(credentials, cloud)
            output.result(
                {
                    "login": login,
                    "steps": checkup.steps,
                    "rights": [right.model_dump(mode="json") for right in checkup.rights],
                    "quotas": _quotas(checkup),
                    "vaults": None if checkup.vaults is None else [_vault(vault) for vault in checkup.vaults],
                    "journal": journal_told,
                    "settings": {"file": str(settings.file) if settings.file else None, "recipients": settings.projects},
                    "checks": [check.model_dump(mode="json") for check in checks],
                    "findings": findings,
                    "contract": None if compared is None else [one.model_dump(mode="json") for one in compared],
                    "requests": cloud.requests,
                }
            )
            _show(output, login, checkup, checks, compared, findings, verbose=options.verbose > 0)
    return findings


@asynccontextmanager
async def _journal(settings: Settings) -> AsyncGenerator[tuple[Journal | None, dict[str, Any], Check]]:
    """The journal, opened, or None where it cannot be written; what the JSON says of it; and the check."""
    import os

    from backup_to_image.errors import B2iError, UsageError
    from backup_to_image.journal import Journal
    from backup_to_image.steps.checkup import journal_check

    told: dict[str, Any] = {"place": settings.journal, "writable": False, "durable": None}
    async with AsyncExitStack() as opened:
        try:
            place = settings.journal_place(os.environ)
            told["place"] = str(place)
            journal = await opened.enter_async_context(Journal.at(place))
        except B2iError as error:
            found = journal_check(str(told["place"]), str(error) if isinstance(error, UsageError) else error.message)
            yield None, told, found
            return
        told |= {"writable": True, "durable": journal.durable}
        found = journal_check(journal.place, None)
        if journal.warnings:
            found = found.model_copy(update={"verdict": "warned", "why": " ".join(journal.warnings)})
        elif journal.durable is None:
            found = found.model_copy(update={"why": f"{found.why}; whether it outlasts a restart, its server does not tell"})
        yield journal, told, found


async def _compare(cloud: RawCloud, journal: Journal | None, output: Output) -> list[Comparison]:
    """Every reading operation that can be asked, compared with its page. The journal knows jobs, which no list tells."""
    from backup_to_image.steps.contract_check import compare

    jobs = {
        f"{kind} job": [
            record.job_id for record in await journal.records(kind) if record.job_id and record.project_id == cloud.project_id
        ]
        for kind in (("image", "launch") if journal else ())
        if journal
    }
    answers: dict[str, list[Any]] = {}
    async for answer in cloud.read_all(jobs):
        if answer.operation not in answers:
            output.say(f"asking {answer.operation}")
        answers.setdefault(answer.operation, []).append(answer)
    return [
        compare(
            operation,
            [(answer.status, answer.body) for answer in given if not answer.why_not],
            refused=next((answer.error for answer in given if answer.error), ""),
            not_asked=next((answer.why_not for answer in given if answer.why_not), ""),
        )
        for operation, given in answers.items()
    ]


def _findings(checkup: Checkup, checks: tuple[Check, ...], compared: list[Comparison] | None) -> list[str]:
    """What is missing, used up or different, a sentence each. Warnings and untried rights are no findings."""
    blocked: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    for right in checkup.rights:
        if right.outcome in {"missing", "unclear"}:
            blocked.setdefault(right.action, []).append(right.step)
            why[right.action] = f"{right.does}: {right.why}"
    found = [f"{action} ({why[action]}) blocks {', '.join(steps)}" for action, steps in blocked.items()]
    found += [f"{check.rule}: {check.why}" for check in checks if check.verdict == "refused"]
    for one in compared or ():
        found += [f"{one.operation}: {each.where}: {each.told}" for each in one.differences if each.matters]
    return found


def _login(credentials: Credentials, cloud: RawCloud) -> dict[str, Any]:
    from backup_to_image.clock import SystemClock

    facts = cloud.login_facts
    ends = facts.token_expires_at
    return {
        "auth_url": credentials.auth_url,
        "method": "key pair" if credentials.signs else "token" if credentials.token else "password",
        "user": facts.user,
        "account": facts.account,
        "roles": list(facts.roles),
        "project_id": cloud.project_id,
        "project_name": cloud.project_name or None,
        "region": cloud.region,
        "token_expires_at": ends.isoformat(timespec="seconds").replace("+00:00", "Z") if ends else None,
        "token_seconds_left": round((ends - SystemClock().now()).total_seconds()) if ends else None,
        "clock_skew_s": facts.clock_skew_s,
    }


def _quotas(checkup: Checkup) -> dict[str, Any]:
    limits = checkup.limits

    def told(quota: Quota | None) -> dict[str, int | None] | None:
        return None if quota is None else {"used": quota.used, "limit": quota.limit, "free": quota.free}

    return {
        "images": told(checkup.images),
        "servers": told(limits.servers if limits else None),
        "vcpus": told(limits.vcpus if limits else None),
        "ram_mb": told(limits.ram_mb if limits else None),
    }


def _vault(vault: Vault) -> dict[str, Any]:
    return {
        "id": vault.id,
        "name": vault.name,
        "status": vault.status,
        "object_type": vault.object_type,
        "protect_type": vault.protect_type,
        "size_gb": vault.size_gb,
        "free_gb": max(0, vault.size_gb - -(-vault.used_mb // 1024)),
        "locked": vault.locked,
    }


def _show(
    output: Output,
    login: dict[str, Any],
    checkup: Checkup,
    checks: tuple[Check, ...],
    compared: list[Comparison] | None,
    findings: list[str],
    *,
    verbose: bool,
) -> None:
    from backup_to_image.cli.doctor_view import log_in_lines, rights_table, vaults_table, write_comparison
    from backup_to_image.cli.output import report_table
    from backup_to_image.model import Report

    output.show(log_in_lines(login), "", rights_table(checkup, verbose=verbose), "")
    if checkup.vaults:
        output.show(vaults_table([_vault(vault) for vault in checkup.vaults]), "")
    output.show(report_table(Report(subject="this account and this machine", checks=checks)), "")
    if compared is not None:
        output.show(*write_comparison(compared), "")
    if findings:
        output.show(f"[bold]{len(findings)} finding{'' if len(findings) == 1 else 's'}:[/]")
        for finding in findings:
            output.show(f"  {escaped(finding)}")
    else:
        output.show("Nothing is missing, as far as reading can tell.")


def escaped(line: str) -> str:
    """A line of the cloud's words, which may hold brackets that mean nothing."""
    from rich.markup import escape

    return escape(line)
