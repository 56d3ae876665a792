"""How long `b2i --help` takes, against importing the two libraries that it cannot do without: medians of 15 runs each, in turns.

Prints a table; `--json` prints the figures; `--strict` ends with 1 where the target is missed.

    python -m benchmarks.startup [--runs 15] [--json] [--strict]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

AT_MOST = 1.5
NOT_NEEDED = ("prefect", "httpx", "pydantic", "uvicorn", "starlette", "jsonschema", "rich")
COMMANDS = {
    "b2i --help": [str(Path(sys.executable).with_name("b2i")), "--help"],
    "b2i create --help": [str(Path(sys.executable).with_name("b2i")), "create", "--help"],
    "import httpx, pydantic": [sys.executable, "-c", "import httpx, pydantic"],
    "python alone": [sys.executable, "-c", "pass"],
}


def medians(runs: int) -> dict[str, float]:
    """Seconds of wall time; in turns, so that whatever else the machine does strikes all alike. The first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs + 1):
        for name, command in COMMANDS.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def imported(*arguments: str) -> set[str]:
    """The packages that b2i has imported by the time it has answered these arguments."""
    look = "import sys\nfrom backup_to_image.cli import run\ntry:\n    run()\nexcept SystemExit:\n    pass\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look, *arguments], check=True, capture_output=True, text=True)
    return {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}


def main() -> int:
    """Measure and print."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    words.add_argument("--runs", type=int, default=15)
    words.add_argument("--json", action="store_true")
    words.add_argument("--strict", action="store_true", help="end with 1 where the target is missed")
    given = words.parse_args()
    seconds = medians(given.runs)
    ratio = seconds["b2i --help"] / seconds["import httpx, pydantic"]
    loaded = sorted(imported("--help") & set(NOT_NEEDED))
    figures = {"seconds": {name: round(each, 3) for name, each in seconds.items()}, "ratio": round(ratio, 2), "imported": loaded}
    if given.json:
        print(json.dumps(figures))
    else:
        print("| command | median |", "|---|---|", *(f"| `{name}` | {each:.2f} s |" for name, each in seconds.items()), sep="\n")
        print(f"\n`b2i --help` takes {ratio:.2f} times the import; {AT_MOST} at most.")
        print(f"Imported by it: {', '.join(loaded) or 'none'} of {', '.join(NOT_NEEDED)}.")
    wrong = ratio > AT_MOST or "prefect" in loaded
    return 1 if wrong and given.strict else 0


if __name__ == "__main__":
    sys.exit(main())
