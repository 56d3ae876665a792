"""What a night came to is there in the morning, for each policy, and outlives whoever wrote it."""

from datetime import UTC, datetime

from backup_to_image.model.night import NightReport, Phase, ServerNight
from backup_to_image.steps.fleet.last_night import keep_report, last_reports
from tests.support.region import Region

BEGAN, ENDED = datetime(2026, 11, 24, 22, 30, tzinfo=UTC), datetime(2026, 11, 24, 23, 10, tzinfo=UTC)


def report(policy: str, project_id: str, night: str = "2026-11-24") -> NightReport:
    phase = Phase(name="wait", began_at=BEGAN, ended_at=ENDED)
    server = ServerNight(server_id="s-1", server_name="shop-1", outcome="failed", reason="no", code="IMG.0117", phases=(phase,))
    return NightReport(
        policy=policy,
        night=night,
        project_id=project_id,
        outcome="partly",
        began_at=BEGAN,
        ended_at=ENDED,
        deadline=ENDED,
        servers=(server,),
    )


async def test_the_last_report_of_each_policy_is_kept_whole(region: Region) -> None:
    async with region.context() as ctx:
        for policy, night in (("shop", "2026-11-23"), ("shop", "2026-11-24"), ("farm", "2026-11-24")):
            await keep_report(report(policy, ctx.project_id, night), ctx)
        await keep_report(report("elsewhere", ctx.project_id), ctx)
    async with region.context() as ctx:
        assert await last_reports(ctx) == tuple(report(policy, ctx.project_id) for policy in ("elsewhere", "farm", "shop"))


async def test_a_report_that_cannot_be_read_is_told_and_hides_no_other(region: Region) -> None:
    lines: list[str] = []
    async with region.context(tell=lines.append) as ctx:
        for policy in ("farm", "shop"):
            await keep_report(report(policy, ctx.project_id), ctx)
        record = next(one for one in await ctx.journal.records("night-report") if one.name == "farm")
        await ctx.journal.write(record.model_copy(update={"facts": {"report": {"policy": 3}}}))
        assert [one.policy for one in await last_reports(ctx)] == ["shop"]
        assert any("'farm'" in line for line in lines)
