"""The demo's story: whatever its length, each fault surely meets a renewal, and the policy fits the weather."""

from __future__ import annotations

import itertools

import pytest

from evertoken import Policy
from evertoken.testing import Script
from evertoken_transports.tools._demo.story import (
    FAULTS,
    RETRY_AFTER,
    SLACK,
    TROUBLES,
    Story,
    StoryError,
    Weather,
    chapters,
    latest_due,
    tell,
)

STORIES = [tell(seconds, 8) for seconds in (13.0, 16.0, 17.0, 20.0, 60.0)]
EVERY_STORY = pytest.mark.parametrize("story", STORIES, ids=lambda story: f"{story.seconds:g} s")


@EVERY_STORY
def test_the_spans_cover_the_story_without_a_gap(story: Story) -> None:
    assert story.spans[0].at == 0
    assert all(one.until == two.at for one, two in itertools.pairwise(story.spans))
    assert [story.span_at(span.at) for span in story.spans] == list(story.spans)


@pytest.mark.parametrize("seconds", [13.0, 15.5, 20.0, 60.0])
def test_the_story_takes_the_seconds_that_it_was_given(seconds: float) -> None:
    assert tell(seconds, 8).seconds == seconds


def test_tokens_live_as_long_as_the_seconds_allow() -> None:
    assert [story.lifetime for story in STORIES] == [2, 2, 3, 4, 4]


@EVERY_STORY
def test_a_renewal_falls_into_every_fault_window_with_time_to_spare(story: Story) -> None:
    latest = latest_due(story.policy, story.lifetime)
    assert all(span.until - span.at >= latest + SLACK for span in story.spans if span.weather in FAULTS)


@EVERY_STORY
def test_a_recovery_lasts_as_long_as_the_policy_may_wait_with_time_to_spare(story: Story) -> None:
    for trouble, recovery in itertools.pairwise(story.spans):
        if trouble.weather in FAULTS:
            assert recovery.weather is Weather.RECOVERY
            assert recovery.until - recovery.at >= story.longest_wait(trouble.weather) + SLACK


@EVERY_STORY
def test_one_lock_is_sat_out_in_one_wait(story: Story) -> None:
    lock = next(span for span in story.spans if span.weather is Weather.LOCK)
    assert story.policy.locked_wait >= lock.until - lock.at


@EVERY_STORY
def test_without_retry_after_the_machine_would_come_back_too_early(story: Story) -> None:
    # Otherwise the sabotage that loses the header would break nothing.
    assert story.policy.rate_limited_wait < RETRY_AFTER
    assert story.policy.retry_cap <= RETRY_AFTER


@EVERY_STORY
def test_the_script_says_what_the_spans_say(story: Story) -> None:
    for span in story.spans:
        fault = story.script.segment(span.at).token.fault
        assert fault.value == (FAULTS[span.weather].value if span.weather in FAULTS else "none")
    assert Script.from_json(story.script.to_json()) == story.script
    assert story.script.revocations == story.revocations


def test_the_needed_tokens_are_counted_by_the_policy_and_the_fair_stretches() -> None:
    story = tell(20.0, 8, [Weather.REVOKED])
    (revoked,) = story.revocations
    each = story.earliest_due
    assert each == pytest.approx(4 * (1 - 0.45 - 0.02))
    assert [story.tokens_needed(moment) for moment in (0.0, each - 0.01, each + 0.01)] == [1, 1, 2]
    assert story.tokens_needed(revoked) == story.tokens_needed(revoked - 0.01) + 1


def test_tokens_are_still_needed_when_the_last_calls_end_after_the_story() -> None:
    story = tell(20.0, 8)
    assert story.tokens_needed(story.seconds + 2 * story.earliest_due) == story.tokens_needed(story.seconds) + 2


def test_no_token_is_needed_while_the_endpoint_is_closed() -> None:
    story = tell(20.0, 8, [Weather.LOCK])
    lock = next(span for span in story.spans if span.weather is Weather.LOCK)
    assert story.tokens_needed(lock.until - 0.01) == story.tokens_needed(lock.at)


def test_the_attempts_of_an_outage_follow_from_back_off() -> None:
    story = tell(20.0, 8)
    assert (story.policy.retry_base, story.policy.retry_cap) == (0.25, 1.0)
    # At the least 1/8, 1/4, then 1/2 each between two.
    assert [story.attempts_allowed(seconds) for seconds in (0.0, 0.12, 0.13, 0.38, 0.88, 1.38)] == [1, 1, 2, 3, 4, 5]


def test_the_budget_bounds_the_attempts_of_a_long_outage() -> None:
    story = tell(20.0, 8)
    assert story.attempts_allowed(100.0) == story.policy.budget_burst + 1 + 50


@EVERY_STORY
def test_callers_are_patient_enough_for_every_outage(story: Story) -> None:
    outage = next(span for span in story.spans if span.weather is Weather.OUTAGE)
    assert story.patience > outage.until - outage.at + story.policy.retry_cap


def test_chapters_are_chosen_by_name_and_in_the_order_given() -> None:
    assert chapters(None) == TROUBLES
    assert chapters("lock,outage") == (Weather.LOCK, Weather.OUTAGE)
    assert tell(20.0, 8, chapters("lock,outage")).troubles == (Weather.LOCK, Weather.OUTAGE)


@pytest.mark.parametrize("names", ["", "fair", "lock,,outage", "Lock"])
def test_an_unknown_chapter_is_named_with_those_that_exist(names: str) -> None:
    with pytest.raises(StoryError, match=r"--chapters: .* is not one of outage, rate-limit, revoked, lock"):
        chapters(names)


@pytest.mark.parametrize(
    ("seconds", "threads", "text"),
    [
        (12.9, 8, "--seconds must be at least 13 for these chapters, not 12.9"),
        (0.0, 8, "--seconds must be above 0"),
        (-1.0, 8, "--seconds must be above 0"),
        (float("nan"), 8, "--seconds must be above 0"),
        (float("inf"), 8, "--seconds must be above 0"),
        (20.0, 0, "--threads must be from 1 to 64, not 0"),
        (20.0, 65, "--threads must be from 1 to 64, not 65"),
    ],
)
def test_a_story_that_cannot_be_told_says_what_to_change(seconds: float, threads: int, text: str) -> None:
    with pytest.raises(StoryError, match=text):
        tell(seconds, threads)


@EVERY_STORY
def test_only_durations_are_shrunk(story: Story) -> None:
    assert story.policy.budget_burst == Policy().budget_burst
    assert story.policy.max_body == Policy().max_body
