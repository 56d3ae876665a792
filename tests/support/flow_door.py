"""`b2i --prefect` whose flow runs in this process, in an emulated region: all is real but worker and network."""

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from pydantic import PrivateAttr, SecretStr

from backup_to_image.blocks import OtcProject
from backup_to_image.cli.options import Options
from backup_to_image.errors import UsageError
from backup_to_image.forms import ActionForm
from backup_to_image.run_results import ORDER_RESULT_KEY
from backup_to_image.told.told import Told
from tests.support.region import Region

__all__ = ["through_flow"]


class RegionalProject(OtcProject):
    """The block of one entry of the region's clouds.yaml."""

    _block_type_name: ClassVar[str | None] = "Regional OTC project"
    _block_type_slug: ClassVar[str | None] = "regional-otc-project"
    _region: Region | None = PrivateAttr(default=None)

    def cloud(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override] - it is only entered
        assert self._region is not None
        return self._region.connect(self.credentials())


def block_of(region: Region, cloud: str) -> RegionalProject:
    entry = yaml.safe_load((region.folder / "clouds.yaml").read_text())["clouds"].get(cloud)
    if entry is None:  # as the server is asked before anything is ordered
        raise UsageError(f"There is no credentials block {cloud!r} on the Prefect server.")
    auth = entry["auth"]
    made = RegionalProject(
        auth_url=auth["auth_url"],
        region=entry.get("region_name", ""),
        domain_name=auth["user_domain_name"],
        project_id=auth["project_id"],
        username=auth["username"],
        password=SecretStr(auth["password"]),
        settings_file=str(region.folder / "b2i.yaml"),
    )
    made._region, made._block_document_name = region, cloud
    return made


@contextlib.contextmanager
def _log_lines(tell: Callable[[str], None]) -> Iterator[None]:
    """The run's log lines come along, as they do from a server."""

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell(record.getMessage())

    logger, teller = logging.getLogger("prefect.flow_runs"), Teller()
    logger.addHandler(teller)
    try:
        yield
    finally:
        logger.removeHandler(teller)


def through_flow(region: Region, options: Options) -> None:
    """Have what is ordered with `--prefect` done by the form's own flow, whose result is read as `b2i` reads it."""

    async def order(form: ActionForm, blocks: dict[str, str | None], tell: Callable[[str], None]) -> Told:
        name = form.verb.replace("-", "_")
        flow = getattr(importlib.import_module(f"flows.{name}"), name)
        projects = {one: block_of(region, block or options.cloud or "shop") for one, block in blocks.items()}
        with _log_lines(tell):
            state = await flow(order=type(form).model_validate(form.model_dump(mode="json")), **projects, return_state=True)
        of_it = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]),
            key=ArtifactFilterKey(any_=[ORDER_RESULT_KEY]),
        )
        async with get_client() as client:
            found = await client.read_artifacts(artifact_filter=of_it, sort=ArtifactSort.CREATED_DESC, limit=1)
        assert found, f"the run left no result: {state.name}: {state.message}"
        told = Told.model_validate_json(str(found[0].data))
        green = state.is_completed()
        assert green is (told.exit_code == 0), f"{state.name} and exit code {told.exit_code}"
        return told

    options.order = order
