"""The list notices when the code is broken: one sabotage for each scenario, which has to fail then."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from evertoken import (
    Abandoned,
    AccessToken,
    Challenge,
    ClientCredentials,
    Granted,
    Outcome,
    Policy,
    Rejection,
    TokenMachine,
    TokenRequest,
    Wait,
    WaitReason,
    _schedule,
)
from evertoken._secrecy import replace
from evertoken_transports import Coordinator, _async_source, _source
from evertoken_transports._async_source import AsyncSource
from evertoken_transports._coordinator import Answer, Waker
from evertoken_transports._source import BaseSource
from evertoken_transports.threads import TokenSource
from tests.conformance import stage
from tests.conformance.runtimes import Trio
from tests.conformance.scenarios import SCENARIOS

Sabotage = Callable[[pytest.MonkeyPatch], None]
# The arguments of what is wrapped, which are handed on.
Arguments = Any


# Waiting
# -------


def each_waiter_sends_for_itself(patch: pytest.MonkeyPatch) -> None:
    claim_or_wait, latest = Coordinator._claim_or_wait, list[TokenRequest]()

    def claimed(coordinator: Coordinator, *arguments: Arguments, **options: Arguments) -> Answer:
        answer, request = claim_or_wait(coordinator, *arguments, **options)
        latest.extend([] if request is None else [request])
        waits = isinstance(answer, Wait) and answer.reason is WaitReason.RESPONSE
        return answer, latest[-1] if waits else request

    patch.setattr(Coordinator, "_claim_or_wait", claimed)


def a_caller_takes_the_request_along(patch: pytest.MonkeyPatch) -> None:
    forget = Coordinator._forget

    def forgotten(coordinator: Coordinator, waker: Waker) -> None:
        forget(coordinator, waker)
        attempt = coordinator.machine.state_value.attempt
        if attempt is not None:
            coordinator._answer(coordinator._handle(attempt.id), Abandoned())

    patch.setattr(Coordinator, "_forget", forgotten)


def nobody_is_woken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Coordinator, "_take_wakers", _always(None))


def closing_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Coordinator, "_wake_all", _always(None))


def deadlines_are_ignored(patch: pytest.MonkeyPatch) -> None:
    _change_arguments(patch, deadline=math.inf)


def min_ttl_is_ignored(patch: pytest.MonkeyPatch) -> None:
    _change_arguments(patch, min_ttl=0.0)


def the_synchronous_call_sends_nothing(patch: pytest.MonkeyPatch) -> None:
    def looked(source: BaseSource) -> AccessToken | None:
        return source.coordinator.machine.token(source._clock())

    patch.setattr(TokenSource, "_held_now", looked)
    patch.setattr(AsyncSource, "_held_now", looked)


def the_clock_is_not_read_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_async_source, "LONGEST_SLEEP", math.inf)


def the_token_is_good_for_ever(patch: pytest.MonkeyPatch) -> None:
    republish = BaseSource._republish

    def changed(source: BaseSource, quiet_until: float, header: str | None) -> None:
        republish(source, quiet_until if header is None else math.inf, header)

    patch.setattr(BaseSource, "_republish", changed)


# What came of an attempt
# -----------------------


def trouble_is_retried_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage, "Policy", partial(Policy, retry_base=0.01, retry_cap=0.01, malformed_cap=0.01))


def a_failure_costs_nothing(patch: pytest.MonkeyPatch) -> None:
    def send_failed(coordinator: Coordinator, request: TokenRequest, _: str) -> Outcome:
        return coordinator.request_abandoned(request)

    patch.setattr(Coordinator, "send_failed", send_failed)


def a_block_is_a_mere_failure(patch: pytest.MonkeyPatch) -> None:
    _change_outcomes(patch, lambda _, outcome: not isinstance(outcome, Granted))


def new_credentials_make_every_answer_stale(patch: pytest.MonkeyPatch) -> None:
    _change_outcomes(patch, lambda machine, _: machine.state_value.credentials.generation > 0)


def new_credentials_go_unheard(patch: pytest.MonkeyPatch) -> None:
    def changed(machine: TokenMachine, _: float, credentials: ClientCredentials) -> None:
        machine._grant = credentials

    patch.setattr(TokenMachine, "replace_credentials", changed)


def lives_count_from_the_answer(patch: pytest.MonkeyPatch) -> None:
    make_token = _schedule.make_token

    def changed(*arguments: Arguments, received: float, **options: Arguments) -> AccessToken:
        return make_token(*arguments, received=received, **{**options, "started": received})

    patch.setattr(_schedule, "make_token", changed)


def the_next_token_is_due_early(patch: pytest.MonkeyPatch) -> None:
    _change_tokens(patch, lambda token: replace(token, refresh_at=token.started + token.lifetime / 8))


def the_next_token_is_due_late(patch: pytest.MonkeyPatch) -> None:
    _change_tokens(patch, lambda token: replace(token, refresh_at=token.fresh_until))


# What the API says
# -----------------


def rejections_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(TokenMachine, "token_rejected", _always(Rejection.SUPERSEDED))


def every_rejection_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage, "Policy", partial(Policy, rejection_interval=0.01, rejection_interval_cap=0.01))


def every_401_is_about_the_token(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_source, "read_challenge", _always(Challenge.TOKEN))


# How it is done
# --------------


def _change_arguments(patch: pytest.MonkeyPatch, **changed: object) -> None:
    """Of callers who wait; of what looks, or keeps a token warm, nothing."""
    claim_or_wait = Coordinator._claim_or_wait

    def called(*arguments: Arguments, **options: Arguments) -> object:
        return claim_or_wait(*arguments, **{**options, **(changed if "deadline" in options else {})})

    patch.setattr(Coordinator, "_claim_or_wait", called)


def _always(answer: object) -> Callable[..., object]:
    def called(*_: object, **__: object) -> object:
        return answer

    return called


def _change_outcomes(patch: pytest.MonkeyPatch, fails: Callable[[TokenMachine, Outcome], bool]) -> None:
    receive = TokenMachine.receive_response

    def received(machine: TokenMachine, now: float, request: TokenRequest, response: Outcome) -> Outcome:
        if fails(machine, response):
            return machine.send_failed(now, request, "sabotage")
        return receive(machine, now, request, response)

    patch.setattr(TokenMachine, "receive_response", received)


def _change_tokens(patch: pytest.MonkeyPatch, changed: Callable[[AccessToken], AccessToken]) -> None:
    make_token = _schedule.make_token

    def made(*arguments: Arguments, **options: Arguments) -> AccessToken:
        return changed(make_token(*arguments, **options))

    patch.setattr(_schedule, "make_token", made)


SABOTAGES: Mapping[str, Sabotage] = {
    "a_cold_herd_makes_one_request_and_all_are_served": each_waiter_sends_for_itself,
    "a_cold_herd_of_api_calls_makes_one_request_and_all_are_served": each_waiter_sends_for_itself,
    "sources_that_share_a_coordinator_make_one_request": each_waiter_sends_for_itself,
    "a_herd_at_expiry_makes_one_request_and_no_caller_waits": the_next_token_is_due_late,
    "while_the_token_is_fresh_nothing_is_sent": the_next_token_is_due_early,
    "the_synchronous_call_starts_a_request_beside_its_caller": the_synchronous_call_sends_nothing,
    "in_an_outage_a_live_token_serves_every_call": trouble_is_retried_at_once,
    "in_an_outage_without_a_token_all_callers_share_the_attempts": trouble_is_retried_at_once,
    "the_first_success_after_an_outage_serves_those_who_still_wait": nobody_is_woken,
    "waiters_less_patient_than_the_retry_fail_at_once_and_the_others_wait_for_it": deadlines_are_ignored,
    "an_answer_dropped_after_the_issue_costs_one_retry": a_failure_costs_nothing,
    "a_hung_endpoint_frees_each_waiter_at_its_own_deadline": deadlines_are_ignored,
    "impatient_callers_one_after_another_get_the_token_of_a_slow_endpoint": a_caller_takes_the_request_along,
    "a_rate_limit_is_kept_to_the_second": a_block_is_a_mere_failure,
    "a_lock_fails_everyone_at_once_and_nobody_knocks_until_it_may_be_over": a_block_is_a_mere_failure,
    "a_live_token_is_handed_out_while_locked_out": a_block_is_a_mere_failure,
    "a_refusal_stands_until_there_are_new_credentials": new_credentials_go_unheard,
    "new_credentials_in_mid_flight_make_the_refusal_of_the_old_ones_stale": new_credentials_go_unheard,
    "new_credentials_in_mid_flight_do_not_waste_the_token_of_the_old_ones": new_credentials_make_every_answer_stale,
    "calls_with_a_revoked_token_are_all_served_after_one_request": rejections_are_ignored,
    "calls_with_a_revoked_token_have_their_effect_once": rejections_are_ignored,
    "an_api_that_rejects_every_token_forces_one_refresh_per_interval": every_rejection_is_believed,
    "a_call_that_needs_strong_authentication_leaves_the_token_alone": every_401_is_about_the_token,
    "a_min_ttl_below_the_life_fetches_one_token_for_all_when_the_old_one_has_too_little": min_ttl_is_ignored,
    "a_min_ttl_above_the_life_fails_at_once_and_sends_nothing": min_ttl_is_ignored,
    "a_min_ttl_above_the_life_fails_with_the_first_token": min_ttl_is_ignored,
    "a_token_dead_on_arrival_is_a_failure": lives_count_from_the_answer,
    "closing_in_mid_refresh_sends_waiters_home_and_leaves_the_request_to_the_others": closing_wakes_nobody,
    "after_a_suspend_of_8_hours_the_old_token_is_not_handed_out": the_token_is_good_for_ever,
    "a_waiter_notices_a_suspend_of_8_hours_within_half_a_minute": the_clock_is_not_read_again,
    "an_answer_that_slept_for_8_hours_serves_nobody": lives_count_from_the_answer,
    "a_token_of_1_s_costs_two_requests_per_life": the_next_token_is_due_early,
    "a_token_of_2_s_costs_two_requests_per_life": the_next_token_is_due_early,
    "a_token_of_4_s_costs_two_requests_per_life": the_next_token_is_due_late,
}


def test_every_scenario_has_a_sabotage() -> None:
    assert SABOTAGES.keys() == SCENARIOS.keys()


@pytest.mark.parametrize("scenario", SABOTAGES)
def test_a_broken_promise_is_noticed(scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    SABOTAGES[scenario](monkeypatch)
    noticed = False
    try:
        stage.play(SCENARIOS[scenario], Trio, "h11")
    except* AssertionError:
        noticed = True
    assert noticed
