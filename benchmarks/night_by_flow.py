"""The flow `nightly`, run in this process against the Prefect server at PREFECT_API_URL: what `benchmarks.night` measures.

python -m benchmarks.night_by_flow POLICY.yaml         with OS_*, B2I_CONFIG and PREFECT_API_URL
"""

from __future__ import annotations

import asyncio
import sys

from backup_to_image.blocks import OtcProject
from flows.nightly import nightly


def main() -> int:
    """0 when the night ended as Completed."""
    state = asyncio.run(nightly(sys.argv[1], OtcProject.from_environment(), return_state=True))
    print(state)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(main())
