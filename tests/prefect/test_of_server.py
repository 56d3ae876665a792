"""Orders that name a server: its newest backup, or one that is made now; a run keeps to the backup with which it has begun."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.forms import ServerForm
from backup_to_image.model import Delivery
from backup_to_image.run_results import RESULT_KEY, RunResult
from flows.image_of_server import image_of_server
from tasks.cancelled import look_behind
from tasks.pages import result_page
from tests.prefect.test_deletions import again
from tests.prefect.test_flow import asked, came_of, pages

pytestmark = pytest.mark.usefixtures("server")

SERVER = "shop-web-01"


async def run(project: Any, **form: Any) -> State[Any]:
    return await image_of_server(ServerForm(server=SERVER, **form), project, return_state=True)


async def result_of(state: State[Any]) -> RunResult:
    return RunResult.model_validate_json((await pages(state))[RESULT_KEY])


def ours(region: Emulator) -> list[dict[str, Any]]:
    """The backups of this server that we have had made."""
    return [one for one in region.cloud.walk("backup") if one["resource_name"] == SERVER and one["name"].startswith("b2i-")]


def newest(region: Emulator) -> dict[str, Any]:
    backups = [one for one in region.cloud.walk("backup") if one["resource_name"] == SERVER and one["status"] == "available"]
    return max(backups, key=lambda one: str(one["created_at"]))


async def test_the_newest_backup_becomes_an_image(project: Any, region: Emulator) -> None:
    state = await run(project, share_with=["dr"])
    assert state.name == "Completed", state.message
    delivery = await came_of(state)
    assert isinstance(delivery, Delivery)
    assert (delivery.backup_id, delivery.outcome, len(delivery.shared_with)) == (newest(region)["id"], "made", 1)
    assert asked(region, "createCheckpoint") == 0


async def test_a_run_that_is_started_again_keeps_to_its_backup_although_a_newer_one_has_come(
    project: Any, region: Emulator
) -> None:
    first = await run(project)
    taken = (await came_of(first)).backup_id
    made = await run(project, backup="now")
    assert made.name == "Completed", made.message
    assert newest(region)["id"] != taken

    retried = await again(first, image_of_server, order=ServerForm(server=SERVER), project=project)
    delivery = await came_of(retried)
    assert (delivery.backup_id, delivery.outcome) == (taken, "adopted")
    assert asked(region, "createWholeImage") == 2


async def test_a_backup_is_made_now_once_however_often_its_run_is_started(project: Any, region: Emulator) -> None:
    first = await run(project, backup="now")
    assert first.name == "Completed", first.message
    (backup,) = ours(region)
    assert (await came_of(first)).backup_id == backup["id"]

    cast("FakeClock", region.cloud.clock).advance(7 * 86400)  # far past the time in which the same order goes on
    retried = await again(first, image_of_server, order=ServerForm(server=SERVER, backup="now"), project=project)
    assert (retried.name, (await came_of(retried)).outcome) == ("Completed", "adopted")
    assert (asked(region, "createCheckpoint"), asked(region, "createWholeImage")) == (1, 1)

    another = await run(project, backup="now")
    assert another.name == "Completed", another.message
    assert asked(region, "createCheckpoint") == 2, "another run is another order"


async def test_a_run_whose_backup_is_gone_makes_no_other_one(project: Any, region: Emulator) -> None:
    first = await run(project, backup="now")
    (backup,) = ours(region)
    for image in list(region.cloud.walk("image", backup_id=backup["id"])):
        region.cloud.remove("image", image["id"])
    region.cloud.remove("backup", backup["id"])
    retried = await again(first, image_of_server, order=ServerForm(server=SERVER, backup="now"), project=project)
    assert retried.is_failed()
    assert backup["id"] in (retried.message or "")
    assert asked(region, "createCheckpoint") == 1


@pytest.mark.parametrize("backup", ["newest", "now"])
async def test_only_checking_makes_nothing(project: Any, region: Emulator, backup: str) -> None:
    state = await run(project, backup=backup, dry_run=True)
    assert (state.name, state.is_completed()) == ("Checked", True), state.message
    assert {request["method"] for request in region.requests if request["operationId"] != "createToken"} == {"GET"}


async def test_what_speaks_against_the_image_is_told_before_the_backup_is_made(project: Any, region: Emulator) -> None:
    state = await run(project, backup="now", share_with=["nobody"])
    assert (state.name, (await result_of(state)).exit_code) == ("Refused", 3)
    assert "nobody" in (state.message or "")
    assert "b2i create --server shop-web-01 --backup-now" in (state.message or "")
    assert asked(region, "createCheckpoint") == 0


async def test_a_server_that_is_not_there_and_a_share_without_a_recipient_are_told(project: Any, region: Emulator) -> None:
    nowhere = await image_of_server(ServerForm(server="nowhere"), project, return_state=True)
    assert "'nowhere' has no backup" in (nowhere.message or "")
    alone = await run(project, backup="now", share_for="30d")
    assert "Share with says with whom, and is empty" in (alone.message or "")
    assert asked(region, "createCheckpoint") == 0


async def test_a_cancelled_run_names_the_backup_that_is_being_made_and_how_to_go_on(project: Any, region: Emulator) -> None:
    late = await run(project, backup="now", wait_backup_minutes=1)  # gives up: as far as a cancelled one came
    assert late.name == "StillRunning", late.message
    async with get_client() as client:
        seen = await client.read_flow_run(late.state_details.flow_run_id)
    form = ServerForm(server=SERVER, backup="now", wait_backup_minutes=1)
    left = await look_behind(form, project, run_id=str(seen.id))
    result = RunResult.of(left)
    (backup,) = ours(region)
    assert (result.exit_code, result.outcome, result.handle) == (4, "still_running", {"backup": backup["id"]})
    page = result_page(result)
    assert backup["id"] in page
    assert "the backup that was made for it" in page


async def test_a_run_that_is_cancelled_before_it_asked_for_anything_says_so(project: Any, region: Emulator) -> None:
    await run(project, backup="now")  # of another run, which is over
    left = await look_behind(ServerForm(server=SERVER, backup="now"), project, run_id="none")
    assert (RunResult.of(left).exit_code, left.made) == (1, ())


async def test_a_retry_after_a_good_end_gives_no_later_order_a_backup_that_was_used_up(project: Any, region: Emulator) -> None:
    first = await run(project, backup="now")
    await run(project, backup="now")
    await again(first, image_of_server, order=ServerForm(server=SERVER, backup="now"), project=project)
    third = await run(project, backup="now")
    assert (await came_of(third)).outcome == "made"
    assert asked(region, "createCheckpoint") == 3
