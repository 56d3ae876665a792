"""What people read about a night tells the worst first, names everybody, lets nothing through, and fits where it is shown."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import pytest

from backup_to_image.model import Check, Quota
from backup_to_image.model.night import FleetMember, NightPlan, NightReport, Phase, ServerNight, Verified
from backup_to_image.night_pages import night_html, night_markdown, plan_markdown, quota_line, summary, timeline_svg
from backup_to_image.night_pages.timeline import PHASES
from docs.pictures.night_example import PICTURE, example
from tests.support.browser import open_browser
from tests.support.nights import BEGAN, invented_night
from tests.support.pages import NASTY, Page
from tests.support.work import calls

BERLIN = ZoneInfo("Europe/Berlin")


def one(number: int, outcome: Any = "made", **given: Any) -> ServerNight:
    return ServerNight(outcome=outcome, **{"server_id": f"id-{number}", "server_name": f"shop-db-{number:02}"} | given)


def failed(number: int, **given: Any) -> ServerNight:
    words = {"code": "IMG.0132", "reason": f"backup {number} is being restored", "action": "Wait for the restore to end."}
    return one(number, "failed", **words | given)


def night(*servers: ServerNight, **given: Any) -> NightReport:
    values: dict[str, Any] = {
        "policy": "nightly-shop",
        "night": "2026-11-25",
        "project_id": "p",
        "outcome": "made",
        "began_at": BEGAN,
        "ended_at": BEGAN + timedelta(minutes=41),
        "deadline": BEGAN + timedelta(hours=6),
        "servers": servers,
        "requests": 2310,
        "images_at_once": 40,
    }
    return NightReport(**values | given)


def first_line(report: NightReport) -> str:
    return night_markdown(report).partition("\n")[0]


# The sentence


def test_a_night_in_one_sentence_tells_how_many_who_failed_and_why_how_long_and_what_it_cost() -> None:
    report = night(*(one(number) for number in range(498)), failed(3), failed(7, code="IMG.0182"), outcome="partly")
    assert summary(report) == (
        "nightly-shop, night of 2026-11-25: 498 of 500 images, 2 failed (shop-db-03: IMG.0132, shop-db-07: IMG.0182), 41 min, "
        "2,310 requests."
    )


def test_the_only_failure_is_told_with_its_reason() -> None:
    assert "1 failed (shop-db-03: IMG.0132 backup 3 is being restored)" in summary(night(one(1), failed(3)))


def test_the_sentence_stays_a_sentence_when_everything_fails_with_long_words() -> None:
    report = night(
        *(failed(number, server_name="x" * 300, reason="y" * 5000, code="") for number in range(1000)), outcome="failed"
    )
    assert len(summary(report)) < 1000
    assert "\n" not in summary(report)
    assert summary(report).startswith("nightly-shop, night of 2026-11-25 failed: 0 of 1,000 images")
    assert "and 997 more" in summary(report)


# The verdict


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (night(one(1)), "✅ Every server has its image"),
        (night(one(1, "adopted"), outcome="adopted"), "✅ Every server had its image already"),
        (night(one(1), failed(2), outcome="failed"), "❌ Failed: 1 server needs somebody, more than the policy allows"),
        (night(one(1, "skipped"), outcome="failed"), "❌ Failed: no server has an image"),
        (night(one(1), failed(2), outcome="partly"), "⚠️ 1 server needs somebody"),
        (night(one(1), one(2, "late"), failed(3), outcome="still_running"), "for 1 server, 1 server needs somebody"),
        (night(one(1), outcome="partly"), "see the notes"),
    ],
)
def test_the_verdict_stands_first(report: NightReport, words: str) -> None:
    assert words in first_line(report)
    shown = Page(night_html(report)).text
    headline = words.lstrip("✅❌⚠️ ")
    assert headline in shown
    assert shown.index(headline) < shown.index("requests")


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ((one(1), failed(2)), "1 server needs somebody"),
        ((one(1), one(2, "late")), "needs somebody"),
        ((one(1), one(2, "partly")), "needs somebody"),
        ((one(1), one(2, "skipped")), "1 server has an image, 1 skipped"),
        ((one(1, "skipped"), one(2, "skipped")), "No server has an image, 2 skipped"),
        ((one(1), one(2, doubtful="it was restored meanwhile")), "1 of them doubtful"),
        ((), "no server fits the policy"),
    ],
)
def test_a_night_that_calls_itself_made_is_not_shown_green_when_a_server_has_no_good_image(
    servers: tuple[ServerNight, ...], words: str
) -> None:
    assert "⚠️" in first_line(night(*servers))
    assert words in first_line(night(*servers))
    assert 'class="verdict look"' in night_html(night(*servers))


def test_what_drills_have_left_behind_is_told_on_every_page_and_is_no_green() -> None:
    words = "shop-db-01: left behind by its drill: server s-1; `b2i teardown 0123456789ab` removes it"
    report = invented_night(40, calm=True, left_behind=(words,), outcome="partly")
    assert report.exit_code == 5
    assert "left behind by drills: 1" in summary(report)
    assert "something behind that is billed" in Page(night_html(report)).text
    for page in (night_markdown(report), Page(night_html(report)).text):
        assert "b2i teardown 0123456789ab" in page


def test_a_night_without_servers_says_so_and_what_to_do() -> None:
    for page in (night_markdown(night()), night_html(night())):
        assert "no server fits the policy" in page
        assert "b2i nightly --dry-run" in page
    assert "0 of 0 images" in summary(night())
    assert timeline_svg(night()).startswith("<svg")


# Who needs somebody


def test_everything_that_failed_is_named_with_its_code_its_reason_and_what_to_do() -> None:
    trouble = [failed(number, action=f"Do this with {number % 7}.") for number in range(40)]
    trouble += [
        one(50, "late", code="b2i.still-running", action="Nothing."),
        one(51, "partly", code="IMG.0088", reason="ten already"),
    ]
    report = night(*(one(number) for number in range(100, 400)), *trouble, outcome="failed")
    for page in (night_markdown(report), Page(night_html(report)).text):
        listed = page[page.index("Needs somebody: 42") :]
        for server in trouble:
            for words in (server.server_name, server.code, server.reason, server.action):
                assert words in listed


def test_one_cause_is_told_once_for_all_whom_it_struck() -> None:
    report = night(*(failed(number, reason="the vault is full") for number in range(30)), outcome="failed")
    for page in (night_markdown(report), Page(night_html(report)).text):
        assert page.count("the vault is full") == 1
        assert "30 failed" in page


def test_when_a_thousand_fail_the_page_in_markdown_counts_those_it_cannot_name_and_the_file_names_all() -> None:
    report = night(*(failed(number) for number in range(1000)), outcome="failed")
    text = night_markdown(report)
    assert len(re.findall(r"shop-db-\d+: backup", text)) == 100
    assert "900x failed `IMG.0132`" in text
    shown = Page(night_html(report)).text
    assert all(f"backup {number} is being restored" in shown for number in range(1000))


def test_skipped_doubtful_verified_retired_quota_and_notes_are_told() -> None:
    drill = Verified(ok=False, launch_id="abcdef012345", seconds=70, reason="the console never said login:")
    report = night(
        one(1, verified=drill, retired=("image-old",)),
        one(2, "skipped", reason="its newest backup is 31 h old", action="Look at `b2i backups`."),
        one(3, doubtful="it was restored meanwhile"),
        quota=Quota(used=90, limit=100),
        notes=("the cloud was slow",),
    )
    told = ("never said login:", "image-old", "31 h old", "b2i backups", "restored meanwhile", "90 of 100", "the cloud was slow")
    for page in (night_markdown(report), Page(night_html(report)).text):
        assert [words for words in told if words not in page] == []


# What comes from outside


def nasty_night() -> NightReport:
    start = BEGAN + timedelta(minutes=1)
    phases = (Phase(name="wait", began_at=BEGAN, ended_at=start),)
    servers = [
        ServerNight(
            server_id=text,
            server_name=text,
            outcome=outcome,
            code=text,
            reason=f"{number} {text}",
            action=text,
            image_id=text,
            image_name=text,
            doubtful=text,
            shared_with=(text,),
            verified=Verified(ok=False, launch_id=text, seconds=1, reason=text),
            retired=(text,),
            phases=phases,
        )
        for number, text in enumerate(NASTY)
        for outcome in ("failed", "skipped", "made")
    ]
    return night(*servers, policy=NASTY[0], night=NASTY[1], project_id=NASTY[2], notes=tuple(NASTY), retired=tuple(NASTY))


def test_nothing_from_outside_becomes_an_element_an_attribute_or_an_address_of_the_html() -> None:
    page = Page(night_html(nasty_night()))
    calm = Page(night_html(invented_night(40)))
    assert set(page.tags) - {"code"} <= set(calm.tags)
    assert {"script", "img", "a", "iframe"}.isdisjoint(page.tags)
    assert {name for name, _ in page.attributes} <= {name for name, _ in calm.attributes}
    assert [value for name, value in page.attributes if name in {"src", "href"}] == ["data:,"]
    assert page.text.count("<script>alert(1)</script>") > 10
    ET.fromstring(timeline_svg(nasty_night()))  # noqa: S314 - our own picture


def test_nothing_from_outside_becomes_markup_or_a_link_in_markdown() -> None:
    plan = NightPlan(
        policy=NASTY[0],
        members=tuple(
            FleetMember(server_id=text, server_name=text, action="skip", reason=text, advice=text, code=text) for text in NASTY
        ),
        refusals=tuple(Check(rule="servers", verdict="refused", why=text, action=text) for text in NASTY),
        notes=tuple(NASTY),
    )
    for page in (night_markdown(nasty_night()), plan_markdown(plan)):
        bare = re.sub(r"`[^`\n]*`", "", page)  # what stands in code is shown as it is
        assert not re.search(r"(?<!\\)<|(?<!\\)\]\(|(?<!\\)!\[|(?<!\\):/{2}|www\.|(?<!\\)@", bare)
        rows = [line for line in page.splitlines() if line.startswith("| ")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} <= {3, 5}


def test_characters_that_steer_a_terminal_or_turn_text_around_are_left_out() -> None:
    report = night(failed(1, server_name="shop\u202e\x1b[31m-db\x00\nx"))
    for page in (summary(report), night_markdown(report), night_html(report), timeline_svg(report)):
        assert not any(char in page for char in ("\u202e", "\x1b", "\x00"))


def test_the_html_needs_nothing_from_anywhere() -> None:
    page = night_html(invented_night(50))
    assert not re.search(r"(?:https?:)?//\w|@import|url\(", page)
    assert "script" not in Page(page).tags


# Times


def test_times_are_those_of_the_zone_with_its_offset() -> None:
    assert "2026-11-25 22:30 to 23:11 (Europe/Berlin, +01:00)" in night_html(night(one(1)), BERLIN)
    assert "2026-11-25 21:30 to 22:11 (UTC, +00:00)" in night_markdown(night(one(1)))
    taken = night(one(1, backup_created_at=datetime(2026, 7, 1, 20, 0, tzinfo=UTC)))
    for page in (night_markdown(taken, BERLIN), night_html(taken, BERLIN)):
        assert "2026-07-01 22:00 +02:00" in page


@pytest.mark.parametrize(
    ("began", "span", "axis"),
    [
        (
            datetime(2026, 10, 24, 23, 30, tzinfo=UTC),
            "2026-10-25 01:30 +02:00 to 03:30 +01:00",
            [
                ("01:30", "25 Oct, +02:00"),
                ("02:00", ""),
                ("02:30", ""),
                ("02:00", "25 Oct, +01:00"),
                ("02:30", ""),
                ("03:00", ""),
            ],
        ),
        (
            datetime(2026, 3, 29, 0, 0, tzinfo=UTC),
            "2026-03-29 01:00 +01:00 to 05:00 +02:00",
            [
                ("01:00", "29 Mar, +01:00"),
                ("01:30", ""),
                ("03:00", "29 Mar, +02:00"),
                ("03:30", ""),
                ("04:00", ""),
                ("04:30", ""),
            ],
        ),
    ],
)
def test_a_night_in_which_the_clocks_are_changed_shows_both_offsets(
    began: datetime, span: str, axis: list[tuple[str, str]]
) -> None:
    ended = began + timedelta(hours=3)
    phases = (Phase(name="wait", began_at=began, ended_at=ended),)
    report = night(one(1, phases=phases), began_at=began, ended_at=ended, deadline=ended + timedelta(hours=3))
    assert span in night_html(report, BERLIN)
    assert span in night_markdown(report, BERLIN)
    words = re.findall(r">(\d\d:\d\d|\d\d \w+, \+\d\d:\d\d)<", timeline_svg(report, BERLIN))
    told = [(word, next((day for day in words[number + 1 : number + 2] if "," in day), "")) for number, word in enumerate(words)]
    assert [pair for pair in told if "," not in pair[0]][: len(axis)] == axis


def test_a_night_across_midnight_names_both_days() -> None:
    report = night(one(1), ended_at=BEGAN + timedelta(hours=3))
    assert "2026-11-25 22:30 to 2026-11-26 01:30 (Europe/Berlin, +01:00)" in night_html(report, BERLIN)


# The picture


def test_every_server_that_did_something_has_a_row_and_every_kind_of_stretch_its_colour() -> None:
    phases = tuple(
        Phase(name=name, began_at=BEGAN + timedelta(minutes=number), ended_at=BEGAN + timedelta(minutes=number + 1))
        for number, name in enumerate(get_args(Phase.model_fields["name"].annotation))
    )
    page = night_html(night(one(1, phases=phases), one(2, "skipped")))
    assert "1 with nothing to draw has no row" in Page(page).text
    assert "waited for its turn" not in page
    for name, words in list(PHASES.items())[1:]:
        assert page.count(f'class="{name}"') == 2  # one in the legend
        assert page.count(words) >= 2
        assert f".night .{name} {{ stroke" in page


def task(began: int, ended: int, *, place: bool = True) -> tuple[Phase, ...]:
    """An image task from one minute of the night to another; a real clock leaves a moment between its two stretches."""
    start, middle, end = (BEGAN + timedelta(minutes=minute) for minute in (began, began + 1, ended))
    found = (
        Phase(name="place", began_at=start, ended_at=start),
        Phase(name="create", began_at=start, ended_at=middle),
        Phase(name="wait", began_at=middle + timedelta(microseconds=40), ended_at=end),
    )
    return found if place else found[1:]


def test_the_chart_counts_the_image_tasks_that_were_at_work_at_once() -> None:
    servers = [one(number, phases=task(number, number + 3)) for number in range(9)]
    picture = timeline_svg(night(*servers))
    assert "Image tasks at work: 3 at most, 40 allowed" in picture
    heights = re.findall(r"V([\d.]+)", re.findall(r'class="area" d="([^"]+)"', picture)[0])
    assert len(set(heights[:3])) == 3
    assert len(set(heights[2:9])) == 1  # between its two stretches a task does not end


def test_an_image_that_was_there_already_takes_no_part_of_what_the_cloud_works_on_at_once() -> None:
    there = [one(number, "adopted", phases=task(0, 2, place=False)) for number in range(30)]
    assert "Image tasks at work: 1 at most" in timeline_svg(night(*there, one(31, phases=task(0, 2))))


def test_who_comes_late_to_its_turn_is_seen_waiting_for_it() -> None:
    page = night_html(night(one(1, phases=task(0, 3)), one(2, phases=task(20, 23))))
    assert page.count('class="turn"') == 2  # one in the legend
    assert "waited for its turn: 20 min" in page


def test_rows_of_a_large_night_are_thin_and_only_who_needs_somebody_is_named_beside_them() -> None:
    report = invented_night(1000)
    picture = ET.fromstring(timeline_svg(report))  # noqa: S314 - our own picture
    width, height = (float(number) for number in picture.attrib["viewBox"].split()[2:])
    assert height < 1.5 * width
    names = {label.text for label in picture.iter("{http://www.w3.org/2000/svg}text") if (label.text or "").startswith("shop-")}
    assert names
    bad = [server.server_name for server in report.servers if server.bad]
    assert all(any(name.startswith(label.partition("…")[0]) for name in bad) for label in names if label)
    titles = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == sum(bool(server.phases) for server in report.servers)


def test_the_example_in_the_docs_is_what_is_drawn_today() -> None:
    assert PICTURE.read_text(encoding="utf-8") == example(), "run `python -m docs.pictures.night_example`"


# Size


def test_a_night_of_a_thousand_servers_is_below_a_megabyte_and_ten_times_the_work_of_a_hundred() -> None:
    report = invented_night(1000)
    work, page = calls(lambda: night_html(report, BERLIN))
    less, _ = calls(lambda: night_html(invented_night(100), BERLIN))
    assert work < 11 * less
    assert len(page.encode()) < 1_000_000
    shown = Page(page).text
    assert [server.server_name for server in report.servers if server.server_name not in shown] == []


def test_the_page_in_markdown_is_bounded_however_large_the_fleet_and_long_the_words() -> None:
    def long(number: int, outcome: str) -> ServerNight:
        words = {name: f"{number} {name} " + "<*|" * 3000 for name in ("server_name", "reason", "code", "action", "image_name")}
        words |= {"doubtful": "_" * 9000}
        drill = Verified(ok=False, launch_id="x", seconds=1, reason="`" * 9000)
        return one(number, outcome, **words, verified=drill, retired=(f"{number}" * 900,))

    servers = [long(number, outcome) for number in range(700) for outcome in ("failed", "skipped", "partly")]
    report = night(*servers, notes=("n" * 9000,) * 500, outcome="failed")
    assert len(night_markdown(report).encode()) < 400_000
    assert len(night_markdown(invented_night(1000)).encode()) < 10_000


# The plan


def member(number: int, action: Any, reason: str, **given: str) -> FleetMember:
    return FleetMember(server_id=f"id-{number}", server_name=f"shop-db-{number:02}", action=action, reason=reason, **given)


def plan(**given: Any) -> NightPlan:
    members = (
        FleetMember(server_id="1", server_name="shop-db-01", action="make", reason="from its backup of 2 h ago"),
        FleetMember(server_id="2", server_name="shop-db-02", action="adopt", reason="its backup of 2 h ago has its image"),
        FleetMember(
            server_id="3", server_name="shop-db-03", action="skip", reason="it has no backup", advice="Bind it to a vault."
        ),
        FleetMember(
            server_id="4", server_name="shop-db-04", action="refuse", reason="no vault", advice="Bind [it].", code="b2i.refused"
        ),
        FleetMember(server_id="5", server_name="shop-db-05", action="back_up", reason="it is backed up first"),
    )
    values: dict[str, Any] = {"policy": "nightly-shop", "members": members, "quota": Quota(used=60, limit=100), "needed": 42}
    return NightPlan(**values | given)


def test_a_plan_says_for_each_server_what_would_happen_why_and_what_to_do() -> None:
    page = plan_markdown(plan()).replace("\\", "")
    for told in plan().members:
        assert [words for words in (told.server_name, told.reason, told.advice) if words not in page] == []
    assert page.index("shop-db-04") < page.index("shop-db-03") < page.index("shop-db-05") < page.index("shop-db-02")
    assert "would make 2 images (1 after a backup), adopt 1, skip 1, refuse 1. Nothing was made." in page
    assert "42 images have to fit, only 40 of 100 are free: ask for at least 102." in page


def test_what_speaks_against_the_whole_night_and_what_is_worth_knowing_is_told() -> None:
    refused = Check(rule="servers", verdict="refused", why="no vault is called 'x'", action="Name one that is there.")
    it = plan(refusals=(refused,), notes=("two servers have the same name",))
    assert plan_markdown(it).startswith("# Refused")
    assert "no vault is called 'x'. Name one that is there." in plan_markdown(it)
    assert "two servers have the same name" in plan_markdown(it)


@pytest.mark.parametrize(
    ("quota", "words"),
    [
        (None, "could not be read"),
        (Quota(used=5, limit=None), "there is no limit"),
        (Quota(used=58, limit=100), "42 images have to fit, 42 of 100 are free."),
        (Quota(used=120, limit=100), "only 0 of 100 are free: ask for at least 162."),
    ],
)
def test_the_quota_line_tells_whether_it_fits_and_what_to_ask_for(quota: Quota | None, words: str) -> None:
    assert words in quota_line(plan(quota=quota))


def test_a_plan_for_nobody_says_so() -> None:
    assert "No server fits nightly\\-shop".replace("\\", "") in plan_markdown(plan(members=(), needed=0))


def test_a_plan_for_a_large_fleet_is_bounded_in_markdown_and_counts_the_rest() -> None:
    members = tuple(
        FleetMember(server_id=str(number), server_name=f"s{number}", action="make", reason="x" * 3000) for number in range(2000)
    )
    text = plan_markdown(plan(members=members))
    assert len(text) < 100_000
    assert "1,900x make an image" in text


# In a browser


@pytest.mark.slow
@pytest.mark.parametrize("servers", [0, 5, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_an_error_and_asks_nobody_for_anything(servers: int, scheme: Any, tmp_path: Path) -> None:
    file = tmp_path / "night.html"
    file.write_text(night_html(invented_night(servers), BERLIN), encoding="utf-8")
    with open_browser(file.as_uri(), width=1240, height=900, scheme=scheme) as browser:
        page = browser.new_page()
        page.goto(file.as_uri())
        assert page.get_by_role("status").is_visible()
        if servers:
            box = page.locator("svg.night").bounding_box()
            assert box
            assert box["width"] > 1000
            assert page.locator("svg.night g g").count() >= servers * 0.9
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert (browser.said, browser.elsewhere) == ([], [])
