"""Every code that the contract names has a cause, an action and the right class."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from backup_to_image.contract import openapi
from backup_to_image.doctor import diagnose, known_codes
from backup_to_image.doctor.tables import table
from backup_to_image.errors import ErrorClass

CONTRACT = Path(__file__).parents[1] / "src/backup_to_image/contract/BEHAVIOUR.md"
EXAMPLES = Path(__file__).parent / "contract" / "examples"
CODE = re.compile(r"\b(?:IMG|BackupService|Ecs|Common|Pdp|EVS|VPC|IAM|APIGW)\.\d{4}\b")

# Rows of the page that name two classes. Vault states pass by themselves while a vault is being changed, and waiting ends at the
# order's deadline with the advice to look at the vault; class C would call an operator for nothing.
TWO_CLASSES = {"BackupService.6112": "W", "BackupService.6113": "W", "BackupService.6202": "W"}


def section_15() -> dict[str, str]:
    """Code to class, as the tables of the page have them."""
    page = CONTRACT.read_text(encoding="utf-8").partition("## 15.")[2].partition("## 16.")[0]
    found: dict[str, str] = {}
    service = ""
    for line in page.splitlines():
        if line.startswith("### "):
            service = line.split()[1].rstrip(",")
        cells = [cell.strip().replace("*", "") for cell in line.strip("| ").split("|")]
        if service == "IMS" and "IMG." in line:
            for codes, _, kind in (cells[0:3], cells[4:7]):
                found |= dict.fromkeys(expand(codes, "IMG"), kind[0])
        elif service != "IMS" and len(cells) == 4 and re.search(r"\d{4}", cells[1]):
            found |= dict.fromkeys(expand(cells[1], {"CBR": "BackupService", "ECS": "Ecs", "EVS": "EVS"}[service]), cells[3][0])
    return found


def expand(cell: str, family: str) -> list[str]:
    """IMG.0003, .0062; 6700-6704; Ecs.1000-1300: each code in full. `500: 0002` puts a status before a code."""
    codes: list[str] = []
    for part in re.split(r"[,;]", re.sub(r"\((?!EVS)[^)]*\)", "", re.sub(r"\b[245]\d\d:?(?=[ :])", "", cell))):
        match = re.search(r"(?:([A-Za-z]+)\.|\.)?(\d{4})(?:-\.?(\d{4}))?", part)
        assert match, f"unread: {part!r} in {cell!r}"
        family = match[1] or family
        codes += [f"{family}.{number:04d}" for number in range(int(match[2]), int(match[3] or match[2]) + 1)]
    return codes


@pytest.mark.parametrize(("code", "kind"), section_15().items())
def test_each_code_of_the_contract_has_its_class(code: str, kind: str) -> None:
    assert code in known_codes()
    assert diagnose(code).error_class == TWO_CLASSES.get(code, kind)


def test_the_page_was_read_whole() -> None:
    codes = section_15()
    families = {
        family: sum(code.startswith(family + ".") for code in codes) for family in ("IMG", "BackupService", "Ecs", "EVS", "VPC")
    }
    assert families["IMG"] >= 95
    assert families["BackupService"] >= 45
    assert families["Ecs"] >= 350  # most of them one range
    assert families["EVS"] >= 15
    assert families["VPC"] >= 10
    assert {"Common.0011", "Common.0018", "Common.0024", "Pdp.0001"} <= set(codes)


def test_codes_named_anywhere_else_in_the_contract_are_known_too() -> None:
    told = CONTRACT.read_text(encoding="utf-8") + json.dumps(openapi())
    told += "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*/*.json"))
    assert set(CODE.findall(told)) <= set(known_codes())


def test_each_code_has_a_cause_and_an_action_in_whole_sentences() -> None:
    for row in table().values():
        assert row.cause.endswith("."), row.code
        assert row.action.endswith("."), row.code
        assert len(row.action) > 20, row.code


def test_no_two_codes_share_an_action_unless_they_are_a_named_group() -> None:
    by_action: dict[str, set[str | None]] = defaultdict(set)
    codes: dict[str, list[str]] = defaultdict(list)
    for row in table().values():
        by_action[row.action].add(row.group)
        codes[row.action].append(row.code)
    for action, groups in by_action.items():
        assert len(codes[action]) == 1 or (len(groups) == 1 and None not in groups), codes[action]


def test_all_codes_of_a_group_of_refused_tokens_ask_for_a_log_in_and_not_for_waiting() -> None:
    for code in ("IMG.0087", "Common.0013", "EVS.5401", "VPC.0008", "BackupService.9998", "IAM.0066"):
        assert diagnose(code).error_class is ErrorClass.CONFIGURE


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "P"), (401, "C"), (403, "C"), (404, "P"), (409, "P"), (429, "W"), (500, "X"), (503, "X"), (None, "X")],
)
def test_without_a_code_the_status_decides(status: int | None, kind: str) -> None:
    diagnosis = diagnose(None, status)
    assert diagnosis.error_class == kind
    assert diagnosis.cause
    assert diagnosis.action


def test_a_code_beats_its_status() -> None:
    assert diagnose("BackupService.6210", 500).error_class is ErrorClass.PERMANENT
    assert diagnose("IMG.0060", 400).error_class is ErrorClass.WAIT
    assert diagnose("Common.0024", 202).error_class is ErrorClass.WAIT


def test_an_unknown_code_is_shown_and_judged_by_its_status() -> None:
    diagnosis = diagnose("IMG.9999", 400)
    assert diagnosis.code == "IMG.9999"
    assert diagnosis.error_class is ErrorClass.PERMANENT


def test_codes_are_known_however_they_are_spelled() -> None:
    assert diagnose("img.0029") == diagnose("IMG.0029")
