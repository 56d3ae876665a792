"""Make a Prefect server ready for our flows: block type, credentials, work pool, deployments, automations.

    python -m deployments.setup             make or bring up to date, by name; a second time changes nothing
    python -m deployments.setup --check     only say; exit 3 if something differs

Each policy in the directory that b2i.yaml names (`directories.policies`) gets deployments of its own: its nights and its
retention. Each other project that a policy names with `cloud` gets its own reconciler and sweep. Each runbook
(`directories.runbooks`) gets a look every morning whether it could be run. It talks to PREFECT_API_URL and takes credentials from
OS_CLOUD, clouds.yaml or OS_*. It switches nothing on or off: schedules and automations keep the switch that a person gave them.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import Any, Literal, cast
from uuid import UUID

import click
import yaml
from prefect import Flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import BlockDocument, ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessWorker

from backup_to_image.blocks import DEFAULT_BLOCK, OtcProject
from backup_to_image.cli.prefect_door import page_by_page, prefect_server, ui_link
from backup_to_image.errors import B2iError, UsageError
from backup_to_image.otc.cloud_files import find_clouds
from backup_to_image.settings import read_settings
from deployments.automations import (
    NOTIFICATION_BLOCK,
    WEBHOOK_VARIABLE,
    notice_automations,
    notifies,
    recovery_automations,
    same_automation,
    webhook,
)
from deployments.form_of import form_of
from deployments.nights import BLOCK_TAG, NIGHT_SLUG, nights_of, once_for_each_block
from deployments.runbooks import RUNBOOK_TAGS, runbooks_of

__all__ = ["Item", "main", "set_up"]

ROOT = Path(__file__).resolve().parent.parent
POOL = "b2i"

_SHARD_TAG = "b2i-shard"
_OF_POLICIES = ("b2i-retention", _SHARD_TAG, BLOCK_TAG)
"""Tags of what a policy has besides its nights."""
_ASK = ("runbook-drill/", "runbook-failover/")
"""Flows that are suspended while people are asked."""

Change = Literal["created", "updated", "unchanged", "missing", "refused", "gone"]


@dataclass(frozen=True)
class Item:
    """One thing that setup looks after, and what became of it."""

    kind: str
    name: str
    change: Change
    note: str = ""
    link: str = ""

    @property
    def differs(self) -> bool:
        return self.change != "unchanged"


class _Setup:
    """One pass over one server. With `check` every question is asked and nothing written."""

    def __init__(self, client: PrefectClient, *, check: bool, directory: Path) -> None:
        self.client = client
        self.check = check
        self.directory = directory

    async def block_type(self) -> Item:
        slug = OtcProject.get_block_type_slug()
        change: Change = "unchanged"
        try:
            known = await self.client.read_block_type_by_slug(slug)
            await self.client.read_block_schema_by_checksum(OtcProject._calculate_schema_checksum())  # noqa: SLF001 - no public way
            if known.description != OtcProject.get_description():
                change = "updated"
        except ObjectNotFound as error:
            change = "created" if "block_types" in str(error) else "updated"
        if change != "unchanged" and not self.check:
            await OtcProject.aregister_type_and_schema(client=self.client)
        return Item("block type", slug, change, link="blocks/catalog")

    async def block(self, name: str = DEFAULT_BLOCK, cloud: str | None = None) -> tuple[Item, str | None]:
        """A credentials block, for an entry of clouds.yaml or the default one; what a person wrote as its settings file stays."""
        wanted, note = _credentials(cloud)
        there, ident = await self._stored_block(name)
        if wanted is None:
            change: Change = "unchanged" if there else "missing"
            return Item("block", name, change, note, f"blocks/block/{ident}" if ident else "blocks/catalog"), ident
        if there is not None:
            wanted.settings_file = there.settings_file
        change = "created" if there is None else "unchanged" if _fields(there) == _fields(wanted) else "updated"
        if change != "unchanged" and not self.check:
            ident = str(await wanted.asave(name, overwrite=True, client=self.client))
        return Item("block", name, change, note, f"blocks/block/{ident}" if ident else "blocks/catalog"), ident

    async def _stored_block(self, name: str) -> tuple[OtcProject | None, str | None]:
        try:
            document = await self.client.read_block_document_by_name(name, OtcProject.get_block_type_slug())
        except ObjectNotFound:
            return None, None
        return OtcProject.model_validate(document.data), str(document.id)

    async def pool(self) -> Item:
        """The work pool; one that somebody made of another type is taken as it is."""
        link = f"work-pools/work-pool/{POOL}"
        try:
            pool = await self.client.read_work_pool(POOL)
        except ObjectNotFound:
            if not self.check:
                template = ProcessWorker.get_default_base_job_template()
                await self.client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
            return Item("work pool", POOL, "created", "type process", link)
        return Item("work pool", POOL, "unchanged", f"type {pool.type}", link)

    async def deployment(self, declared: dict[str, Any], block_id: str | None) -> tuple[Item, str | None]:
        """One deployment, with a credentials block as its project."""
        flow = locate(declared["entrypoint"])
        if not isinstance(flow, Flow):
            raise UsageError(f"prefect.yaml: {declared['entrypoint']} is no flow.")
        wanted = _deployment(declared, cast("Flow[..., Any]", flow), block_id)
        name = f"{flow.name}/{declared['name']}"
        there = await self._stored_deployment(name)
        change: Change = "created" if there is None else "unchanged" if _differences(wanted, there) == [] else "updated"
        note = ", ".join(_differences(wanted, there)) if there else ""
        ident = str(there.id) if there else None
        if change != "unchanged" and not self.check:
            if there is None:
                flow_id = await self.client.create_flow_from_name(flow.name)
                ident = str(await self.client.create_deployment(flow_id, declared["name"], schedules=[], **wanted))
            else:
                await self.client.update_deployment(there.id, DeploymentUpdate(**wanted))
        return Item("deployment", name, change, note, f"deployments/deployment/{ident}" if ident else "deployments"), ident

    async def _stored_deployment(self, name: str) -> DeploymentResponse | None:
        try:
            return await self.client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None

    async def schedules(self, declared: dict[str, Any], name: str, ident: str | None) -> list[Item]:
        """The schedules of one deployment, by slug. New ones are off; the switch of one that is there stays as it is."""
        there = {one.slug: one for one in await self.client.read_deployment_schedules(UUID(ident))} if ident else {}
        items: list[Item] = []
        for told in declared.get("schedules") or ():
            slug, wanted = str(told["slug"]), CronSchedule(cron=told["cron"], timezone=told["timezone"])
            found, given = there.get(slug), cast("dict[str, Any]", told.get("parameters") or {})
            same = found is not None and (found.schedule, found.parameters) == (wanted, given)
            change: Change = "created" if found is None else "unchanged" if same else "updated"
            if change != "unchanged" and not self.check and ident:
                if found is None:
                    new = DeploymentScheduleCreate(schedule=wanted, slug=slug, active=False, parameters=given)
                    (found,) = await self.client.create_deployment_schedules(UUID(ident), [new])
                else:
                    await self.client.update_deployment_schedule(UUID(ident), found.id, schedule=wanted, parameters=given)
            switch = f"off; on: `prefect deployment schedule resume {name} {found.id}`" if found and not found.active else "on"
            with_words = "".join(f", with {key}={str(value).lower()}" for key, value in given.items())
            note = f"{wanted.cron} {wanted.timezone}{with_words}, {switch if found else 'off'}"
            items.append(Item("schedule", f"{name} {slug}", change, note, f"deployments/deployment/{ident}"))
        declared_slugs = {str(told["slug"]) for told in declared.get("schedules") or ()}
        for slug, one in there.items():
            if slug == NIGHT_SLUG and slug not in declared_slugs:  # those without a slug of ours are people's own
                note = f"the policy has no schedule any more; delete it: `prefect deployment schedule delete {name} {one.id}`"
                items.append(Item("schedule", f"{name} {slug}", "gone", note, f"deployments/deployment/{ident}"))
        return items

    async def deployed(self, tag: str) -> list[DeploymentResponse]:
        """The deployments of policies and runbooks that are there, whether their files still are or not."""
        ours = DeploymentFilter(tags=DeploymentFilterTags(all_=["b2i", tag]))
        return await page_by_page(partial(self.client.read_deployments, deployment_filter=ours))

    def left_over(self, there: DeploymentResponse) -> Item:
        """The deployment of a policy or runbook that is gone: told, and left to people, since its runs and reports hang on it."""
        name = _name_of(there)
        on = [f"`prefect deployment schedule pause {name} {schedule.id}`" for schedule in there.schedules if schedule.active]
        off = f"its schedule is on, off: {on[0]}; " if on else ""
        gone = "no policy names its project any more" if BLOCK_TAG in there.tags else "its policy is gone"
        gone = "its runbook is gone, or is not run so any more" if set(RUNBOOK_TAGS) & set(there.tags) else gone
        gone += " or shares its nights no more" if _SHARD_TAG in there.tags else ""
        note = f"{gone}; {off}delete it: `prefect deployment delete {name}`"
        return Item("deployment", name, "gone", note, f"deployments/deployment/{there.id}")

    async def notification(self, nights: list[str], recoveries: list[str]) -> list[Item]:
        """Who is told of what failed or waits: the notification block of any kind, made here if an address is given."""
        made = await self._webhook()
        block = next(iter(await self._notices()), None)
        if block is None:
            if made is not None:  # --check: it would be made, and the automations with it
                return [made]
            note = (
                f"nobody is told of a failed night: set {WEBHOOK_VARIABLE}, or make a block of that name, such as Slack Webhook, "
                "Microsoft Teams Webhook or Sendgrid Email, and run setup again"
            )
            return [Item("notice", NOTIFICATION_BLOCK, "unchanged", note, "blocks/catalog")]
        return [*([made] if made else []), *[await self.automation(one) for one in notice_automations(block, nights, recoveries)]]

    async def _webhook(self) -> Item | None:
        """The block of the address in the environment, if there is one; a block that somebody made stays."""
        address = os.environ.get(WEBHOOK_VARIABLE)
        if not address:
            return None
        there: CustomWebhookNotificationBlock | None = None
        for one in await self._notices():
            if one.block_type_id != await self._webhook_type() or one.data.get("name") != webhook(address).name:
                note = f"made by somebody; {WEBHOOK_VARIABLE} is left alone"
                return Item("block", NOTIFICATION_BLOCK, "unchanged", note, f"blocks/block/{one.id}")
            there = CustomWebhookNotificationBlock.model_validate(one.data)
        wanted = webhook(address)
        change: Change = "created" if there is None else "unchanged" if _same_webhook(there, wanted) else "updated"
        if change != "unchanged" and not self.check:
            await wanted.asave(NOTIFICATION_BLOCK, overwrite=True, client=self.client)
        return Item("block", NOTIFICATION_BLOCK, change, f"a webhook, its address from {WEBHOOK_VARIABLE}", "blocks/catalog")

    async def _notices(self) -> list[BlockDocument]:
        """The notification blocks of that name, of whatever kind."""
        found = await page_by_page(self.client.read_block_documents)
        return [one for one in found if one.name == NOTIFICATION_BLOCK and notifies(one)]

    async def _webhook_type(self) -> UUID | None:
        try:
            return (await self.client.read_block_type_by_slug(CustomWebhookNotificationBlock.get_block_type_slug())).id
        except ObjectNotFound:
            return None

    async def automation(self, wanted: AutomationCore) -> Item:
        """One automation, by name; its switch stays as it is."""
        found = await self.client.read_automations_by_name(wanted.name)
        there = found[0] if found else None
        change: Change = "created" if there is None else "unchanged" if same_automation(wanted, there) else "updated"
        if change != "unchanged" and not self.check:
            if there is None:
                await self.client.create_automation(wanted)
            else:
                await self.client.update_automation(there.id, wanted.model_copy(update={"enabled": there.enabled}))
        note = "" if there is None or there.enabled else "switched off, and left so"
        return Item("automation", wanted.name, change, note, "automations")


async def set_up(*, check: bool = False, directory: Path = ROOT) -> list[Item]:
    """Make what is not there and bring up to date what differs; with `check` only look. Safe to repeat.

    `directory` is where the checkout lies on the worker. Raises UsageError where PREFECT_API_URL leads to no server, or where the
    credentials that are there are wrong.
    """
    async with prefect_server() as client:
        work = _Setup(client, check=check, directory=directory)
        items = [await work.block_type(), await work.pool()]
        file = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
        fixed = _declared(file, file["deployments"], directory)
        settings = read_settings()
        templates = file["definitions"]
        found = await nights_of(settings, templates["nightly"], templates["nightly-shard"], templates["retention"])
        policies = _declared(file, found.declared, directory)
        elsewhere = once_for_each_block(fixed, policies)
        books = runbooks_of(settings, templates)
        runbooks = _declared(file, books.declared, directory)
        blocks = {DEFAULT_BLOCK: None} | {one["block"]: one["cloud"] for one in (*policies, *runbooks)}
        idents: dict[str, str | None] = {}
        for name, cloud in blocks.items():
            item, idents[name] = await work.block(name, cloud)
            items.append(item)
        deployments: list[str] = []
        for declared in [*fixed, *elsewhere, *policies, *runbooks]:
            item, ident = await work.deployment(declared, idents[declared.get("block", DEFAULT_BLOCK)])
            items += [item, *await work.schedules(declared, item.name, ident)]
            deployments += [ident] if ident else []
        items += [Item("policy", name, "refused", why) for name, why in found.refused.items()]
        items += [Item("runbook", name, "refused", why) for name, why in books.refused.items()]
        nights = await work.deployed("b2i-night")
        of_policies = [*nights, *[one for tag in _OF_POLICIES for one in await work.deployed(tag)]]
        of_runbooks = [one for tag in RUNBOOK_TAGS for one in await work.deployed(tag)]
        names = {item.name for item in items if item.kind == "deployment"}
        if settings.directories.policies:  # elsewhere nobody can tell which policies there are
            items += [work.left_over(one) for one in of_policies if _name_of(one) not in names]
        if settings.directories.runbooks:
            items += [work.left_over(one) for one in of_runbooks if _name_of(one) not in names]
        # Runs of policies that are gone are brought back and told of as well, as long as they are deployed.
        ours = sorted({*deployments, *(str(one.id) for one in (*of_policies, *of_runbooks))})
        items += [await work.automation(one) for one in recovery_automations(ours)]
        of_people = [one for one in (*await work.deployed("b2i-runbook"), *of_runbooks) if _name_of(one).startswith(_ASK)]
        recoveries = [str(one.id) for one in of_people]
        if nights or of_runbooks or policies or runbooks:  # the last two: with `check` they may not be there yet
            items += await work.notification([str(one.id) for one in nights], recoveries)
        return items


def _credentials(cloud: str | None = None) -> tuple[OtcProject | None, str]:
    """A block as this environment has it, and what to say about it; never a secret."""
    named = not cloud and (os.environ.get("OS_CLOUD") or os.environ.get("OS_AUTH_URL"))
    if not named and not find_clouds(os.environ, Path.cwd()).files:
        how = f"add the entry {cloud!r} to clouds.yaml" if cloud else "set OS_CLOUD or OS_*"
        return None, f"no credentials here: {how} and run setup again, or fill in the block in the UI"
    try:
        block, warnings = OtcProject.from_clouds(cloud)
    except UsageError as error:
        if named:
            raise
        return None, f"left alone: {error.problems[0]}"
    who = block.username or f"access key {block.access_key}"
    return block, "; ".join([f"{who} in {block.project_name or block.project_id}", *warnings])


def _same_webhook(there: CustomWebhookNotificationBlock, wanted: CustomWebhookNotificationBlock) -> bool:
    shown = {"url", "json_data", "method"}
    secrets = [one.secrets.get_secret_value() for one in (there, wanted)]
    return there.model_dump(include=shown) == wanted.model_dump(include=shown) and secrets[0] == secrets[1]


def _name_of(there: DeploymentResponse) -> str:
    """With its flow in front, as Prefect's commands take it; our flows are called as their functions are, with dashes."""
    return f"{(there.entrypoint or '').rpartition('.')[2].replace('_', '-')}/{there.name}"


def _fields(block: OtcProject) -> dict[str, Any]:
    return {name: getattr(block, name) for name in OtcProject.model_fields}


def _declared(file: dict[str, Any], deployments: list[dict[str, Any]], directory: Path) -> list[dict[str, Any]]:
    """Deployments with the pull steps that prefect.yaml has for all of them."""
    pull = _filled(file["pull"], {"{{ $PWD }}": str(directory)})
    return [{"pull": pull, **one} for one in deployments]


def _filled(value: Any, known: dict[str, str]) -> Any:
    if isinstance(value, str):
        return known.get(value, value)
    if isinstance(value, list):
        return [_filled(one, known) for one in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _filled(one, known) for key, one in cast("dict[str, Any]", value).items()}
    return value


def _deployment(declared: dict[str, Any], flow: Flow[..., Any], block_id: str | None) -> dict[str, Any]:
    """What the deployment must be, in the API's words. Schedules and the pause switch are left to people."""
    parameters = dict(declared["parameters"])
    if block_id and "project" in flow.parameters.properties:
        parameters["project"] = {"$ref": {"block_document_id": block_id}}
    return {
        "version": str(declared["version"]),
        "description": declared["description"],
        "tags": declared["tags"],
        "entrypoint": declared["entrypoint"],
        "parameters": parameters,
        "parameter_openapi_schema": form_of(flow, parameters),
        "enforce_parameter_schema": declared["enforce_parameter_schema"],
        "work_pool_name": declared["work_pool"]["name"],
        "job_variables": declared["work_pool"]["job_variables"],
        "pull_steps": declared["pull"],
        **_one_at_a_time(declared.get("concurrency_limit")),
    }


def _one_at_a_time(limit: dict[str, Any] | None) -> dict[str, Any]:
    if limit is None:
        return {}
    options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(limit["collision_strategy"]))
    return {"concurrency_limit": int(limit["limit"]), "concurrency_options": options}


def _differences(wanted: dict[str, Any], there: DeploymentResponse) -> list[str]:
    return sorted(field for field, value in wanted.items() if _has(there, field) != value)


def _has(there: DeploymentResponse, field: str) -> Any:
    if field == "concurrency_limit":
        return there.global_concurrency_limit.limit if there.global_concurrency_limit else None
    return getattr(there, field)


@click.command("setup", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Only say what differs; exit 3 if something does.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=ROOT,
    help="Where the checkout lies on the worker; default: this one.",
)
def main(*, check: bool, directory: Path) -> None:
    """Make the Prefect server at PREFECT_API_URL ready for our flows. A second time changes nothing.

    Exit codes: 0 done; 2 wrong settings, a policy or runbook that cannot be deployed, or no server; 3 --check found differences.
    """
    try:
        items = asyncio.run(set_up(check=check, directory=directory))
    except B2iError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    for item in items:
        change = f"would be {item.change}" if check and item.change in {"created", "updated"} else item.change
        click.echo(f"{item.kind:<11} {item.name:<41} {change}{f' ({item.note})' if item.note else ''}")
    refused = [item for item in items if item.change == "refused"]
    if check:
        sys.exit(2 if refused else 3 if any(item.differs for item in items) else 0)
    click.echo("\nLook:")
    for link in dict.fromkeys(item.link for item in items):
        click.echo(f"  {ui_link(link)}")
    click.echo("\nNext, on the worker's host, in the checkout:")
    click.echo(f"  PREFECT_API_URL={get_current_settings().api.url} .venv/bin/python -m deployments.worker")
    click.echo("\nNothing was switched on. PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT=false keeps advertisements off the UI.")
    if refused:
        click.echo(
            f"\nNot deployed: {', '.join(item.name for item in refused)}. Correct what is said above and run setup again.",
            err=True,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
