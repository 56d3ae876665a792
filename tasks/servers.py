"""Tasks on servers. Each looks for its own result first, so each may run again."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from backup_to_image.errors import Refused
from backup_to_image.forms import ChangeForm, TeardownForm
from backup_to_image.model import ChangeDelivery, ChangePlan, Image, LaunchDelivery, LaunchOrder, LaunchPlan, Report, Teardown
from backup_to_image.steps.changing import change_os as changing
from backup_to_image.steps.changing import plan as change_plan
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.by_hand import drill_by_hand
from backup_to_image.steps.launching import launch, teardown
from backup_to_image.steps.launching.plan import Mode
from tasks.events import launch_gone, os_changed, server_launched
from tasks.policy import RETRY

__all__ = ["change_os", "drill_server", "find_launchable", "launch_server", "plan_change", "plan_launch", "tear_down"]


@task(name="find image", task_run_name="find image {image_id}", **RETRY)
async def find_launchable(image_id: str, ctx: Context) -> Image:
    """The image of that id: one of this project, or one that it has accepted."""
    return await ctx.cloud.images.get(image_id)


@task(name="launch server", task_run_name="launch server {order.name}", **RETRY)
async def launch_server(
    image: Image, order: LaunchOrder, ctx: Context, *, another: bool = False, patience: timedelta = timedelta(hours=1)
) -> LaunchDelivery:
    """The server of this order, ACTIVE and probed; launched unless it is there already."""
    launched = await launch.launch_server(image, order, ctx, another=another, patience=patience)
    server_launched(launched)
    return launched


@task(name="drill", task_run_name="drill {order.name}", **RETRY)
async def drill_server(image: Image, order: LaunchOrder, ctx: Context, *, patience: timedelta) -> LaunchDelivery:
    """Launch it where its source is not, ask its probes, mark the image, and take it down again whatever comes."""
    drilled = await drill_by_hand(image, order, ctx, patience=patience)
    server_launched(drilled)
    return drilled


@task(name="plan launch", task_run_name="plan launch {order.name}", **RETRY)
async def plan_launch(image: Image, order: LaunchOrder, ctx: Context, *, mode: Mode, another: bool) -> LaunchPlan:
    """The exact request and every reason against it, asked of the cloud's own dry run too. Launches nothing."""
    return await launch.preview_launch(image, order, ctx, mode=mode, another=another)


@task(name="tear down", task_run_name="tear down {order.launch_id}", **RETRY)
async def tear_down(order: TeardownForm, ctx: Context) -> Teardown:
    """Remove the servers of a launch with their disks and addresses, and look that nothing is left.

    Raises UsageError where the server's name is needed and was not said.
    """
    found = await teardown.find_launch(order.launch_id.strip(), ctx)
    teardown.confirm(found, order.name or None, how="to the form, as Server's name,")
    done = await teardown.tear_down(found, ctx, patience=order.patience)
    launch_gone(done)
    return done


@task(name="plan change of OS", task_run_name="plan change of {order.server}", **RETRY)
async def plan_change(order: ChangeForm, ctx: Context) -> ChangePlan:
    """The exact request, what becomes of each disk, and every reason against it. Changes nothing."""
    return await change_plan.plan_change(
        order.server.strip(),
        order.image.strip(),
        ctx,
        accepted=order.accept_data_disks_unchanged,
        stop=order.stop,
        again=order.again,
        key_pair=order.key_pair.strip() or None,
    )


@task(name="change OS", task_run_name="change OS of {order.server}", **RETRY)
async def change_os(plan: ChangePlan, order: ChangeForm, ctx: Context) -> ChangeDelivery:
    """The server with its new system disk, ACTIVE and probed. Raises Refused with every reason, UsageError without its name."""
    if not plan.ok:
        raise Refused(Report(subject=f"change of {order.server}'s OS", checks=plan.checks))
    change_plan.confirm(plan, order.name or None, how="to the form, as Server's name,")
    done = await changing.change_os(plan, ctx, stop=order.stop, again=order.again, probes=order.asked(), patience=order.patience)
    os_changed(done)
    return done
