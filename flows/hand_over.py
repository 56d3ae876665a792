"""An image is shared with another project, accepted there, and proven as its recipient: the log-ins of both sides work together.

The same is `b2i hand-over`, without Prefect.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from backup_to_image.blocks import OtcProject
from backup_to_image.errors import B2iError
from backup_to_image.forms import HandOverForm, expected_launch
from backup_to_image.steps.sharing.hand_over import hand_over as share_accept_prove
from backup_to_image.told.hand_over import recipient_known, told_hand_over
from backup_to_image.told.shares import members_known
from backup_to_image.told.told import Fields
from tasks.cancelled import report_cancelled_order
from tasks.ending import begin, ended, ended_badly
from tasks.sharing import accept_offer, find_image_to_share, offer_to

__all__ = ["hand_over"]


@flow(name="hand-over", flow_run_name="hand over {order.image}", persist_result=False, on_cancellation=[report_cancelled_order])
async def hand_over(order: HandOverForm, project: OtcProject, recipient: OtcProject) -> State[Any]:
    """Share an image with another project, accept it there, and prove as its recipient that it could be launched.

    b2i.yaml on the worker has to name that project. Run it again at any time: each step adopts what is there, whoever did it.
    Every reason of both sides is told at once, before anything is shared.

    Args:
        order: Which image, until when, and into which vault.
        project: The project whose image it is; a saved block with its credentials.
        recipient: The project that is to get it; a saved block with the recipient's own credentials.
    """
    known: Fields = {}
    try:
        if before := await begin(order):
            return before
        launch, tell = expected_launch(order, project.settings()), get_run_logger().info
        async with project.connect(tell=tell) as owner, recipient.connect(tell=tell) as there:
            known |= recipient_known(there.project_id, owner.settings)
            image = await find_image_to_share(order.image, (there.project_id,), owner)
            async with members_known(image, owner, known):
                done = await share_accept_prove(
                    image,
                    owner,
                    there,
                    vault=order.into,
                    despite_size=order.despite_size,
                    share_for=order.ends_after(),
                    launch=launch,
                    to=recipient.name,
                    patience=order.patience,
                    share=offer_to,
                    take=accept_offer,
                )
            return await ended(told_hand_over(done), order)
    except B2iError as error:
        return await ended_badly(error, order, known)
