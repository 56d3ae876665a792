from collections.abc import AsyncIterator

import pytest

from backup_to_image.otc import Cloud
from tests.otc.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
async def cloud(stage: Stage) -> AsyncIterator[Cloud]:
    async with stage.cloud() as connected:
        yield connected
