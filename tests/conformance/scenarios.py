"""The list: what every runtime promises its callers, whatever the weather. A scenario's name states the law."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from evertoken import (
    CredentialsRefused,
    EndpointLocked,
    LifetimeTooShort,
    LocalProtocolError,
    ProblemKind,
    RateLimited,
    TokenUnavailable,
)
from evertoken.testing import ApiBehaviour, ApiFault, Script, TokenBehaviour, TokenFault
from tests.conformance.stage import Group, Scenario, Stage
from tests.kits import canary

__all__ = ("SCENARIOS",)

HERD = 50
EIGHT_HOURS = 8 * 3_600.0

# With the default policy, a life of 1,200 s and a draw of one half.
REFRESH_AT = 1_200.0 - 30.0 - 12.0
FRESH_UNTIL = 1_200.0 - 5.0
FIRST_RETRY = 0.75
REQUEST_TIMEOUT = 10.0

ERROR_500 = TokenBehaviour(fault=TokenFault.SERVER_ERROR)


def one_fault(fault: TokenFault) -> TokenBehaviour:
    return TokenBehaviour(fault=fault)


# Herds
# -----


async def a_cold_herd_makes_one_request_and_all_are_served(stage: Stage) -> None:
    stage.hold()
    herd = await stage.callers(HERD)
    assert herd.waiting == HERD
    await stage.release()
    assert len(herd.served) == 1
    assert stage.token_requests == 1


async def a_cold_herd_of_api_calls_makes_one_request_and_all_are_served(stage: Stage) -> None:
    stage.hold()
    calls = await stage.calls(20)
    assert calls.waiting == 20
    await stage.release()
    assert calls.served == {200}
    assert stage.token_requests == 1


async def sources_that_share_a_coordinator_make_one_request(stage: Stage) -> None:
    stage.hold()
    groups = [await stage.callers(1, source=stage.another_source()) for _ in range(10)]
    await stage.release()
    assert len(set[str]().union(*(group.served for group in groups))) == 1
    assert stage.token_requests == 1


async def a_herd_at_expiry_makes_one_request_and_no_caller_waits(stage: Stage) -> None:
    first = await stage.warmed_up()
    await stage.advance(REFRESH_AT)
    stage.hold()
    herd = await stage.callers(HERD, timeout=0)
    assert herd.served == {first}
    assert stage.token_requests == 2
    await stage.release()
    (second,) = (await stage.callers(HERD, timeout=0)).served
    assert second != first
    assert stage.token_requests == 2


async def while_the_token_is_fresh_nothing_is_sent(stage: Stage) -> None:
    first = await stage.warmed_up()
    await stage.advance(REFRESH_AT - 0.001)
    assert (await stage.callers(HERD)).served == {first}
    assert stage.source.authorization_nowait() == first
    assert stage.token_requests == 1


async def the_synchronous_call_starts_a_request_beside_its_caller(stage: Stage) -> None:
    assert stage.source.authorization_nowait() is None
    await stage.settle()
    assert stage.source.authorization_nowait() is not None
    assert stage.token_requests == 1


# Outages
# -------


async def in_an_outage_a_live_token_serves_every_call(stage: Stage) -> None:
    first = await stage.warmed_up()
    stage.server.replace_script(Script(token=ERROR_500))
    await stage.advance(REFRESH_AT)
    for _ in range(20):
        assert (await stage.callers(5, timeout=0)).served == {first}
        await stage.advance(0.5)
    assert 2 <= stage.token_requests - 1 <= 5


async def in_an_outage_without_a_token_all_callers_share_the_attempts(stage: Stage) -> None:
    stage.server.replace_script(Script(token=ERROR_500))
    callers = await stage.callers(20, timeout=5)
    assert callers.waiting == 20
    await stage.advance(FIRST_RETRY)
    assert callers.waiting == 20
    # The next retry would come 3 s after this one, past everyone's deadline: they need not wait to hear of it.
    await stage.advance(2 * FIRST_RETRY)
    for error in callers.failed(TokenUnavailable):
        assert isinstance(error, TokenUnavailable)
        assert error.problem.kind is ProblemKind.SERVER
    assert stage.seconds_of_requests() == [0, 0.75, 2.25]


async def the_first_success_after_an_outage_serves_those_who_still_wait(stage: Stage) -> None:
    stage.server.next_token_requests(ERROR_500, ERROR_500)
    patient = await stage.callers(20, timeout=60)
    await stage.advance(FIRST_RETRY)
    assert patient.waiting == 20
    await stage.advance(2 * FIRST_RETRY)
    assert len(patient.served) == 1
    assert stage.token_requests == 3


async def waiters_less_patient_than_the_retry_fail_at_once_and_the_others_wait_for_it(stage: Stage) -> None:
    stage.server.next_token_requests(ERROR_500)
    patient = await stage.callers(5, timeout=FIRST_RETRY + 0.25)
    impatient = await stage.callers(5, timeout=FIRST_RETRY - 0.25)
    for error in impatient.failed(TokenUnavailable):
        assert isinstance(error, TokenUnavailable)
        assert error.retry_after == FIRST_RETRY
    assert patient.waiting == 5
    assert stage.token_requests == 1
    await stage.advance(FIRST_RETRY)
    assert len(patient.served) == 1
    assert stage.token_requests == 2


async def an_answer_dropped_after_the_issue_costs_one_retry(stage: Stage) -> None:
    stage.server.next_token_requests(one_fault(TokenFault.DROPPED_AFTER))
    callers = await stage.callers(5)
    assert callers.waiting == 5
    assert stage.token_requests == 1
    await stage.advance(FIRST_RETRY)
    (header,) = callers.served
    assert stage.server.token_number(header.removeprefix("Bearer ")) == 2
    assert stage.token_requests == 2


async def a_hung_endpoint_frees_each_waiter_at_its_own_deadline(stage: Stage) -> None:
    stage.server.next_token_requests(one_fault(TokenFault.HANG))
    groups = [await stage.callers(5, timeout=seconds) for seconds in (1, 2, 3)]
    patient = await stage.callers(5, timeout=30)
    for freed in range(3):
        assert [group.waiting for group in groups] == [0] * freed + [5] * (3 - freed)
        await stage.advance(1)
        groups[freed].failed(TokenUnavailable)
    await stage.advance(REQUEST_TIMEOUT - 3)
    assert patient.waiting == 5
    await stage.advance(FIRST_RETRY)
    assert len(patient.served) == 1
    assert stage.seconds_of_requests() == [0, REQUEST_TIMEOUT + FIRST_RETRY]


async def impatient_callers_one_after_another_get_the_token_of_a_slow_endpoint(stage: Stage) -> None:
    stage.server.next_token_requests(TokenBehaviour(latency_before=1.75))
    first = await stage.callers(1, timeout=1)
    await stage.advance(1)
    first.failed(TokenUnavailable)
    second = await stage.callers(1, timeout=1)
    await stage.advance(0.75)
    assert second.served
    assert stage.token_requests == 1


# Blocks
# ------------


async def a_rate_limit_is_kept_to_the_second(stage: Stage) -> None:
    stage.server.next_token_requests(TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=5))
    for error in (await stage.callers(5, timeout=1)).failed(RateLimited):
        assert isinstance(error, RateLimited)
        assert 5 <= error.retry_after <= 5.5
    patient = await stage.callers(5, timeout=10)
    for _ in range(10):
        (await stage.callers(1, timeout=0)).failed(RateLimited)
        assert stage.token_requests == 1
        await stage.advance(0.5)
    assert patient.waiting == 5
    await stage.advance(0.5)
    assert len(patient.served) == 1
    assert stage.token_requests == 2


async def a_lock_fails_everyone_at_once_and_nobody_knocks_until_it_may_be_over(stage: Stage) -> None:
    stage.server.next_token_requests(one_fault(TokenFault.LOCKED))
    stage.hold()
    waiting = await stage.callers(20, timeout=math.inf)
    await stage.release()
    error = waiting.failed(EndpointLocked)[0]
    assert isinstance(error, EndpointLocked)
    assert error.retry_after >= 900
    for _ in range(10):
        await stage.advance(error.retry_after / 11)
        (await stage.callers(1, timeout=math.inf)).failed(EndpointLocked)
    assert stage.token_requests == 1
    await stage.advance(error.retry_after / 10)
    assert (await stage.callers(1)).served
    assert stage.token_requests == 2


async def a_live_token_is_handed_out_while_locked_out(stage: Stage) -> None:
    first = await stage.warmed_up()
    stage.server.next_token_requests(one_fault(TokenFault.LOCKED))
    await stage.advance(REFRESH_AT)
    for _ in range(10):
        assert (await stage.callers(5)).served == {first}
        await stage.advance(1)
    assert (await stage.calls(5)).served == {200}
    assert stage.token_requests == 2
    await stage.advance(FRESH_UNTIL - REFRESH_AT)
    (await stage.callers(5)).failed(EndpointLocked)
    assert stage.token_requests == 2


async def a_refusal_stands_until_there_are_new_credentials(stage: Stage) -> None:
    stage.server.set_api_key(canary.secret(1))
    for _ in range(5):
        (await stage.callers(5, timeout=math.inf)).failed(CredentialsRefused)
        await stage.advance(120)
    assert stage.token_requests == 1
    stage.source.replace_credentials(stage.grant)
    (await stage.callers(5)).failed(CredentialsRefused)
    assert stage.token_requests == 1
    stage.source.replace_credentials(stage.grant.with_secret(canary.secret(1)))
    assert len((await stage.callers(5)).served) == 1
    assert stage.token_requests == 2


async def new_credentials_in_mid_flight_make_the_refusal_of_the_old_ones_stale(stage: Stage) -> None:
    stage.server.set_api_key(canary.secret(1))
    stage.hold()
    callers = await stage.callers(20)
    stage.source.replace_credentials(stage.grant.with_secret(canary.secret(1)))
    await stage.settle()
    assert callers.waiting == 20
    assert stage.token_requests == 1
    await stage.release()
    assert len(callers.served) == 1
    assert stage.token_requests == 2


async def new_credentials_in_mid_flight_do_not_waste_the_token_of_the_old_ones(stage: Stage) -> None:
    stage.hold()
    callers = await stage.callers(20)
    stage.source.replace_credentials(stage.grant.with_secret(canary.secret(1)))
    await stage.release()
    assert len(callers.served) == 1
    assert stage.token_requests == 1


# What the API says
# -----------------


async def calls_with_a_revoked_token_are_all_served_after_one_request(stage: Stage) -> None:
    await stage.warmed_up()
    await stage.advance(100)
    stage.server.revoke_all(stage.clock())
    calls = await stage.calls(20)
    assert calls.served == {200}
    assert stage.token_requests == 2


async def calls_with_a_revoked_token_have_their_effect_once(stage: Stage) -> None:
    await stage.warmed_up()
    stage.server.revoke_all(stage.clock())
    assert (await stage.calls(20, "POST")).served == {200}
    assert stage.times_applied(20, "POST") == [1] * 20
    assert stage.token_requests == 2


async def an_api_that_rejects_every_token_forces_one_refresh_per_interval(stage: Stage) -> None:
    await stage.warmed_up()
    stage.server.replace_script(Script(api=ApiBehaviour(fault=ApiFault.UNAUTHORIZED)))
    for _ in range(16):
        assert (await stage.calls(2)).served == {401}
        await stage.advance(20)
    forced = stage.seconds_of_requests()[1:]
    # After three refreshes that it led to, a server that forgets its tokens is no explanation: the interval doubles.
    assert forced == [0, 60, 120, 180, 300]
    assert len(stage.venue.api_calls) <= 16 * 2 + len(forced) * 2


async def a_call_that_needs_strong_authentication_leaves_the_token_alone(stage: Stage) -> None:
    first = await stage.warmed_up()
    stage.server.replace_script(Script(api=ApiBehaviour(fault=ApiFault.SCA)))
    await stage.advance(100)
    assert (await stage.calls(20)).served == {401}
    assert len(stage.venue.api_calls) == 20
    assert stage.source.authorization_nowait() == first
    assert stage.token_requests == 1


# Lifetimes
# ---------


async def a_min_ttl_below_the_life_fetches_one_token_for_all_when_the_old_one_has_too_little(stage: Stage) -> None:
    first = await stage.warmed_up()
    await stage.advance(800)
    assert (await stage.callers(10, min_ttl=300)).served == {first}
    assert stage.token_requests == 1
    stage.hold()
    asking_more = await stage.callers(10, min_ttl=500)
    assert asking_more.waiting == 10
    assert (await stage.callers(10)).served == {first}
    await stage.release()
    (second,) = asking_more.served
    assert second != first
    assert stage.token_requests == 2


async def a_min_ttl_above_the_life_fails_at_once_and_sends_nothing(stage: Stage) -> None:
    await stage.warmed_up()
    await stage.advance(300)
    (await stage.callers(10, min_ttl=1_000)).failed(LifetimeTooShort)
    assert stage.token_requests == 1


async def a_min_ttl_above_the_life_fails_with_the_first_token(stage: Stage) -> None:
    (await stage.callers(10, timeout=math.inf, min_ttl=2_000)).failed(LifetimeTooShort)
    assert (await stage.callers(10)).served
    assert stage.token_requests == 1


async def a_token_shorter_than_every_margin_costs_two_requests_per_life(stage: Stage, lifetime: int) -> None:
    stage.server.replace_script(Script(lifetime=lifetime))
    await stage.warmed_up()
    # From 3 s on there is no gap. Shorter ones are served as the budget allows: one request each 2 s, past the burst.
    patience = 0 if lifetime >= 3 else 60
    groups: list[Group[str]] = []
    for _ in range(28):
        await stage.advance(lifetime / 4)
        groups.append(await stage.callers(2, timeout=patience))
    await stage.advance(2)
    assert all(group.served for group in groups)
    times = stage.seconds_of_requests()
    assert all(sum(moment <= other < moment + lifetime for other in times) <= 2 for moment in times)


async def a_token_dead_on_arrival_is_a_failure(stage: Stage) -> None:
    stage.server.next_token_requests(one_fault(TokenFault.DEAD_ON_ARRIVAL))
    callers = await stage.callers(5)
    await stage.advance(1)
    assert callers.waiting == 5
    assert stage.source.explain().failures == 1
    await stage.advance(FIRST_RETRY - 0.001)
    assert stage.token_requests == 1
    await stage.advance(0.001)
    assert len(callers.served) == 1
    assert stage.token_requests == 2


# Closing, and the clock
# ----------------------


async def closing_in_mid_refresh_sends_waiters_home_and_leaves_the_request_to_the_others(stage: Stage) -> None:
    stage.hold()
    waiting = await stage.callers(5)
    others = await stage.callers(5, source=stage.another_source())
    await stage.close()
    waiting.failed(LocalProtocolError)
    (await stage.callers(5)).failed(LocalProtocolError)
    assert others.waiting == 5
    await stage.release()
    assert len(others.served) == 1
    assert stage.token_requests == 1


async def after_a_suspend_of_8_hours_the_old_token_is_not_handed_out(stage: Stage) -> None:
    await stage.warmed_up()
    await stage.suspend(EIGHT_HOURS)
    assert stage.source.authorization_nowait() is None
    await stage.settle()
    assert len((await stage.callers(HERD)).served) == 1
    assert (await stage.calls(5)).served == {200}
    assert stage.token_requests == 2


async def a_waiter_notices_a_suspend_of_8_hours_within_half_a_minute(stage: Stage) -> None:
    stage.server.next_token_requests(TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=3_600))
    for_ever = await stage.callers(5, timeout=math.inf)
    for_two_hours = await stage.callers(5, timeout=7_200)
    await stage.suspend(EIGHT_HOURS)
    await stage.advance(30)
    assert len(for_ever.served) == 1
    assert not for_two_hours.waiting
    assert stage.token_requests == 2


async def an_answer_that_slept_for_8_hours_serves_nobody(stage: Stage) -> None:
    stage.hold()
    callers = await stage.callers(5, timeout=math.inf)
    await stage.suspend(EIGHT_HOURS)
    await stage.release()
    await stage.advance(30)
    (header,) = callers.served
    assert stage.server.token_number(header.removeprefix("Bearer ")) == 2
    assert stage.token_requests == 2


SCENARIOS: Mapping[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        a_cold_herd_makes_one_request_and_all_are_served,
        a_cold_herd_of_api_calls_makes_one_request_and_all_are_served,
        sources_that_share_a_coordinator_make_one_request,
        a_herd_at_expiry_makes_one_request_and_no_caller_waits,
        while_the_token_is_fresh_nothing_is_sent,
        the_synchronous_call_starts_a_request_beside_its_caller,
        in_an_outage_a_live_token_serves_every_call,
        in_an_outage_without_a_token_all_callers_share_the_attempts,
        the_first_success_after_an_outage_serves_those_who_still_wait,
        waiters_less_patient_than_the_retry_fail_at_once_and_the_others_wait_for_it,
        an_answer_dropped_after_the_issue_costs_one_retry,
        a_hung_endpoint_frees_each_waiter_at_its_own_deadline,
        impatient_callers_one_after_another_get_the_token_of_a_slow_endpoint,
        a_rate_limit_is_kept_to_the_second,
        a_lock_fails_everyone_at_once_and_nobody_knocks_until_it_may_be_over,
        a_live_token_is_handed_out_while_locked_out,
        a_refusal_stands_until_there_are_new_credentials,
        new_credentials_in_mid_flight_make_the_refusal_of_the_old_ones_stale,
        new_credentials_in_mid_flight_do_not_waste_the_token_of_the_old_ones,
        calls_with_a_revoked_token_are_all_served_after_one_request,
        calls_with_a_revoked_token_have_their_effect_once,
        an_api_that_rejects_every_token_forces_one_refresh_per_interval,
        a_call_that_needs_strong_authentication_leaves_the_token_alone,
        a_min_ttl_below_the_life_fetches_one_token_for_all_when_the_old_one_has_too_little,
        a_min_ttl_above_the_life_fails_at_once_and_sends_nothing,
        a_min_ttl_above_the_life_fails_with_the_first_token,
        a_token_dead_on_arrival_is_a_failure,
        closing_in_mid_refresh_sends_waiters_home_and_leaves_the_request_to_the_others,
        after_a_suspend_of_8_hours_the_old_token_is_not_handed_out,
        a_waiter_notices_a_suspend_of_8_hours_within_half_a_minute,
        an_answer_that_slept_for_8_hours_serves_nobody,
    )
} | {
    f"a_token_of_{lifetime}_s_costs_two_requests_per_life": partial(
        a_token_shorter_than_every_margin_costs_two_requests_per_life, lifetime=lifetime
    )
    for lifetime in (1, 2, 4)
}
