"""Tables: an id can always be copied, and whoever reads them by grep has a row in a line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.region import Region
from tests.support.served import Served

ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_ids_stay_whole_however_narrow_the_terminal_is(region: Region, columns: int) -> None:
    region.columns = columns
    ended = region.b2i("backups", "--usable", json=False)
    usable = [one["id"] for one in region.b2i("backups", "--usable").told["backups"]]
    assert ID.findall(ended.out) == usable
    assert max(map(len, ended.out.splitlines())) <= columns
    assert ended.out.count("yes") == len(usable), "no column is lost"


def test_a_row_that_goes_into_another_program_is_one_line(tmp_path: Path) -> None:
    with Served(tmp_path, 60) as served:
        account = served.account
        environ = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {
            "OS_AUTH_URL": account["auth_url"],
            "OS_PROJECT_ID": account["project_id"],
            "OS_REGION_NAME": account["region"],
            "OS_USERNAME": account["user"],
            "OS_PASSWORD": account["password"],
            "OS_USER_DOMAIN_NAME": account["domain_name"],
        }
        b2i = [str(Path(sys.executable).parent / "b2i"), "backups"]
        told = subprocess.run(b2i, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True).stdout
    rows = told.splitlines()[2:]
    assert len(rows) > 20
    assert all(ID.match(row) and row.count("│") == 4 for row in rows)
