"""A fleet is looked at through a few lists; what they tell of one backup is what looking at that backup alone would tell."""

from datetime import timedelta

from backup_to_image.model import Backup
from backup_to_image.steps.context import Context
from backup_to_image.steps.findings import Findings, look
from backup_to_image.steps.survey import Survey
from tests.support.region import Region

ONCE = {
    "listCloudImages": 1,
    "listServersDetail": 1,
    "listVolumesDetail": 1,
    "listVaults": 1,
    "getImageQuota": 1,
}
"""What the emulated company needs, whose lists fit on a page each."""


async def whole_backups(ctx: Context, survey: Survey) -> list[Backup]:
    return [await ctx.cloud.backups.get(backup.id) for backup in await survey.backups()]


def in_order(found: Findings) -> Findings:
    """Disks come in the order of whatever told them."""
    return found.model_copy(update={"source_disks": tuple(sorted(found.source_disks, key=lambda disk: disk.id))})


async def test_the_lists_tell_of_every_backup_what_looking_at_it_alone_tells(region: Region) -> None:
    region.make_image_by_hand(region.account["backups"]["available"][0])
    async with region.context() as ctx:
        survey = Survey(ctx)
        backups = await whole_backups(ctx, survey)
        assert len(backups) > 20
        for backup in backups:
            assert in_order(await survey.look(backup, ctx)) == in_order(await look(backup, ctx)), backup


async def test_any_number_of_backups_costs_one_reading_of_each_list(region: Region) -> None:
    async with region.context() as ctx:
        survey = Survey(ctx)
        backups = [backup for backup in await whole_backups(ctx, survey) if not backup.image_ids]
        region.forget()
        for backup in backups:
            await survey.look(backup, ctx)
        assert {name: len(region.sent(name)) for name in ONCE} == ONCE
        assert len(region.asked) == len(ONCE)


async def test_a_list_is_read_again_when_it_has_grown_old(region: Region) -> None:
    async with region.context() as ctx:
        survey = Survey(ctx, fresh=timedelta(minutes=5))
        before = await survey.servers()
        server = next(iter(before.values()))
        region.change("server", region.named("server", server.name), status="SHUTOFF")
        assert (await survey.servers())[server.id].status == server.status
        region.clock.advance(301)
        assert (await survey.servers())[server.id].status == "SHUTOFF"


async def test_what_may_not_be_read_is_noted_with_the_clouds_words_and_stops_nothing(region: Region) -> None:
    region.arm("error-500", operation=["listServersDetail", "getImageQuota"], times=None)
    async with region.context() as ctx:
        survey = Survey(ctx)
        backup = await ctx.cloud.backups.get(region.account["backups"]["available"][0])
        found = await survey.look(backup, ctx)
        assert (found.source, found.source_gone, found.quota) == (None, False, None)
        assert {"source server", "image quota"} <= set(found.unread)
        assert set(survey.unread()) == {"servers", "image quota"}
        region.emulator.faults.disarm()
        region.clock.advance(301)
        assert (await survey.look(backup, ctx)).source is not None


async def test_old_images_of_the_account_are_not_read_for_a_night(region: Region) -> None:
    async with region.context() as ctx:
        everything = await Survey(ctx).images()
        since = ctx.clock.now() - timedelta(hours=26)
        assert {image.id for image in await Survey(ctx, since=since).images()} <= {image.id for image in everything}
        recent = await Survey(ctx, since=since).backups()
        assert recent
        assert all(backup.created_at and backup.created_at >= since - timedelta(hours=1) for backup in recent)
