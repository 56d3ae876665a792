"""What a run took is measured against its targets, never in its favour, and the path that everything waited for is found."""

from datetime import timedelta
from itertools import pairwise

import pytest

from backup_to_image.model.recovery import RunbookRun
from backup_to_image.steps.runbook.measure import measure
from tests.support.runs import BEGAN, answered, at, drill, group, run, server, step


def path(made: RunbookRun) -> list[tuple[str, float]]:
    """The critical path: what, and for how many minutes."""
    return [(leg.what, round(leg.seconds / 60, 3)) for leg in measure(made).critical]


def launched(source: str) -> str:
    return f"{source}: launched and probed"


# -- RTO and RPO --------------------------------------------------------------------------------------------------------


def test_a_server_is_back_when_its_probes_have_answered_and_a_group_when_its_last_server_is() -> None:
    made = run(group("a", server("a1", 0, 5), server("a2", 1, 8)), group("b", server("b1", 8, 30), needs=("a",)))
    told = measure(made)
    assert told.servers == {"a1": 300, "a2": 480, "b1": 1800}
    assert told.groups == {"a": 480, "b": 1800}
    assert told.rto_s == 1800


def test_what_is_done_after_the_last_server_answers_is_no_part_of_the_rto() -> None:
    assert measure(run(group("a", server("a1", 0, 5), step("notify", 5, 50, when="then")))).rto_s == 300


@pytest.mark.parametrize("state", ["failed", "launching", "making", "waiting"])
def test_where_one_server_is_not_back_there_is_no_rto_and_its_target_is_missed(state: str) -> None:
    made = run(group("a", server("a1")), group("b", server("b1", state=state)), rto_target_s=3600)
    told = measure(made)
    assert (told.rto_s, told.rto_met) == (None, False)
    assert told.groups == {"a": 600, "b": None}
    assert told.servers == {"a1": 600, "b1": None}


def test_a_group_of_steps_alone_has_no_rto_and_takes_none_from_the_set() -> None:
    told = measure(run(group("a", server("a1")), group("b", step("switch DNS", 10, 11))))
    assert (told.groups, told.rto_s) == ({"a": 600, "b": None}, 600)


def test_a_run_without_servers_has_neither_figure() -> None:
    told = measure(run(group("a", step("x", 0, 1)), rto_target_s=60, rpo_target_s=60))
    assert (told.rto_s, told.rpo_s, told.rto_met, told.rpo_met) == (None, None, False, False)


def test_the_rpo_is_the_age_of_the_oldest_state_when_the_run_began() -> None:
    old = BEGAN - timedelta(hours=30)
    told = measure(run(group("a", server("a1"), server("a2", taken_at=old)), rpo_target_s=26 * 3600))
    assert (told.rpo_s, told.rpo_met) == (30 * 3600, False)


def test_where_the_age_of_one_state_is_not_known_the_rpo_is_not_and_its_target_is_missed() -> None:
    told = measure(run(group("a", server("a1"), server("a2", taken_at=None)), rpo_target_s=26 * 3600))
    assert (told.rpo_s, told.rpo_met) == (None, False)


def test_a_state_that_is_said_to_be_younger_than_the_run_has_no_age_below_zero() -> None:
    assert measure(run(group("a", server("a1", taken_at=at(5))))).rpo_s == 0


@pytest.mark.parametrize(("ended", "met"), [(59.9, True), (60, True), (60.001, False), (61, False)])
def test_a_target_is_met_up_to_its_last_second_and_begun_seconds_count(ended: float, met: bool) -> None:
    told = measure(run(group("a", server("a1", 0, ended)), rto_target_s=3600))
    assert told.rto_met is met
    assert told.rto_s is not None
    assert (told.rto_s <= 3600) is met, "the figure and the verdict say the same"


def test_without_a_target_none_is_met_or_missed() -> None:
    told = measure(run(group("a", server("a1"))))
    assert (told.rto_met, told.rpo_met) == (None, None)


def test_a_run_that_has_not_ended_is_measured_as_far_as_it_is() -> None:
    made = run(
        group("a", server("a1", 0, 10)),
        group("b", server("b1", 10, None, state="launching"), needs=("a",), state="running"),
        outcome=None,
    )
    told = measure(made)
    assert (told.rto_s, told.servers) == (None, {"a1": 600, "b1": None})
    assert path(made) == [(launched("a1"), 10)]


def test_nothing_at_all_is_measured_without_a_mistake() -> None:
    told = measure(run())
    assert (told.critical, told.people_s, told.groups) == ((), 0, {})


# -- the critical path --------------------------------------------------------------------------------------------------


def test_the_slowest_server_of_each_group_is_what_was_waited_for() -> None:
    made = run(
        group("a", server("a1", 0, 5), server("a2", 0, 8)), group("b", server("b1", 8, 9), server("b2", 8, 20), needs=("a",))
    )
    assert path(made) == [(launched("a2"), 8), (launched("b2"), 12)]


def test_of_the_groups_that_are_needed_the_one_that_ended_last_counts() -> None:
    made = run(
        group("a", server("a1", 0, 5), ended_at=at(5)),
        group("b", server("b1", 0, 7), ended_at=at(7)),
        group("c", server("c1", 7, 9), needs=("a", "b")),
    )
    assert path(made) == [(launched("b1"), 7), (launched("c1"), 2)]


def test_a_group_beside_that_ended_earlier_is_no_part_of_it() -> None:
    assert path(run(group("a", server("a1", 0, 5)), group("b", server("b1", 0, 7)))) == [(launched("b1"), 7)]


def test_an_image_that_is_made_first_is_a_stretch_of_its_own() -> None:
    made = run(group("a", server("a1", 0, 20, make_first=True, image_at=at(12)), server("a2", 0, 12)))
    assert path(made) == [("a1: its image made first", 12), (launched("a1"), 8)]


def test_an_image_that_never_came_took_all_of_its_servers_time() -> None:
    made = run(group("a", server("a1", 0, 20, make_first=True, state="failed"), state="failed"), outcome="failed")
    assert path(made) == [("a1: its image made first", 20)]


def test_steps_before_and_after_stand_around_the_slowest_server() -> None:
    made = run(
        group(
            "a",
            *(step("GET one", 0, 1), step("GET two", 1, 3), server("a1", 3, 9), server("a2", 3, 5)),
            *(step("notify", 9, 10, "command", "then"), step("switch DNS", 10, 30, "manual", "then")),
        )
    )
    assert path(made) == [("GET one", 1), ("GET two", 2), (launched("a1"), 6), ("notify", 1), ("switch DNS", 20)]
    assert measure(made).people_s == 1200


def test_people_count_by_what_they_were_waited_for_and_only_on_the_path() -> None:
    made = run(
        group("a", step("approve it", 0, 10, "approve"), server("a1", 10, 20)),
        group("b", step("nobody waits for this one", 0, 12, "approve")),
    )
    assert measure(made).people_s == 600


def test_a_decision_about_a_failed_group_is_waited_for_by_people_and_what_was_tried_before_it_is_a_stretch_too() -> None:
    made = run(group("a", server("a1", 0, 5), server("a2", 0, 30), answered(12, 20), attempts=2))
    words = "a decision, after it had failed"
    assert path(made) == [(launched("a2"), 12), (words, 8), (launched("a2"), 10)]
    assert measure(made).people_s == 480


def test_where_only_the_last_try_is_known_the_time_of_the_first_is_not_invented() -> None:
    made = run(group("a", server("a1", 0, 5), server("a2", 20, 30), answered(12, 20), attempts=2))
    assert path(made) == [(launched("a1"), 5), ("a decision, after it had failed", 8), (launched("a2"), 10)]
    first, second, _ = measure(made).critical
    assert (first.ended_at, second.began_at) == (at(5), at(12)), "a gap of seven minutes"


def test_a_failed_step_that_is_done_again_and_the_answer_between_are_both_there() -> None:
    made = run(group("a", server("a1", 0, 5), step("GET hook", 12, 13, when="then"), answered(6, 12)))
    assert path(made) == [(launched("a1"), 5), ("a decision, after it had failed", 6), ("GET hook", 1)]


def test_groups_that_failed_or_were_skipped_are_walked_through() -> None:
    made = run(
        group("a", server("a1", 0, 5, state="failed"), answered(5, 9, said="skip"), state="failed", ended_at=at(9)),
        group("b", server("b1", None, None, state="waiting"), needs=("a",), state="skipped", ended_at=at(9)),
        group("c", step("tell somebody", 9, 11), needs=("b",)),
        outcome="failed",
    )
    assert path(made) == [(launched("a1"), 5), ("a decision, after it had failed", 4), ("tell somebody", 2)]


def test_a_question_that_nobody_has_answered_yet_is_no_stretch() -> None:
    asked = answered(5, None, "approve")
    waits = step("Right?", 5, None, "approve", "then", question=asked, state="asked")
    assert path(run(group("a", server("a1", 0, 5), waits))) == [(launched("a1"), 5)]


def test_what_took_no_time_is_not_named() -> None:
    made = run(group("a", step("GET hook", 0, 0), server("a1", 0, 5), step("approved before", 5, 5, "approve", "then")))
    assert path(made) == [(launched("a1"), 5)]


def test_time_in_which_nothing_was_at_work_is_left_out() -> None:
    made = run(group("a", server("a1", 0, 5)), group("b", server("b1", 30, 40), needs=("a",)), interruptions=(at(29),))
    assert path(made) == [(launched("a1"), 5), (launched("b1"), 10)]


def test_clocks_of_two_hosts_that_differ_a_little_lose_no_stretch() -> None:
    asked = answered(5, 9.01, "approve")
    made = run(
        group("a", server("a1", 0, 5.01), step("Right?", 5, 9.01, "approve", "then", question=asked)),
        group("b", server("b1", 9, 20), needs=("a",)),
    )
    assert [what for what, _ in path(made)] == [launched("a1"), "Right?", launched("b1")]
    legs = measure(made).critical
    assert all(one.ended_at <= other.began_at for one, other in pairwise(legs)), "no moment counts twice"


@pytest.mark.parametrize("needs", [("a",), ("nobody",), ("b",)])
def test_needs_that_no_runbook_would_have_end_the_walk(needs: tuple[str, ...]) -> None:
    made = run(group("a", server("a1", 0, 5), needs=("b",)), group("b", server("b1", 5, 9), needs=needs))
    assert launched("b1") in [what for what, _ in path(made)]


def test_the_stretches_of_a_whole_drill_follow_each_other_from_its_beginning_to_its_end() -> None:
    told = measure(drill())
    assert [leg.what for leg in told.critical] == [
        launched("shop-db-01"),
        "Is the data right? Look at the newest order.",
        "GET http://hooks.example/maintenance",
        "shop-app-01: its image made first",
        launched("shop-app-01"),
        "Switch the shop's name to the new address",
    ]
    assert told.critical[-1].ended_at == drill().ended_at
    assert told.people_s == round((8.5 + 11) * 60)
    assert (told.rto_s, told.rto_met, told.rpo_met) == (44 * 60, True, True)
