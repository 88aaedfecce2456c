"""threads.TokenSource: the promises, over a token endpoint in memory and a clock that the test moves."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    CredentialsRefused,
    EndpointLocked,
    HttpResponse,
    LifetimeTooShort,
    LocalProtocolError,
    Policy,
    ProblemKind,
    RateLimited,
    Rejection,
    TokenRequest,
    TokenUnavailable,
)
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Coordinator, Exchange, _coordinator
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.forking import holds_in_a_child
from tests.kits.worlds import LIMIT, World, run_in_threads, until

ERROR_500 = TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.endpoint.gate.set()
    made.settle()


def source_of(world: World, exchange: Exchange | None = None, **options: Any) -> TokenSource:  # noqa: ANN401
    chosen = world.endpoint if exchange is None else exchange
    return TokenSource(world.grant, coordinator=world.coordinator, exchange=chosen, **options)


def warm(world: World) -> TokenSource:
    source = source_of(world)
    source.warm_up()
    return source


# Never too many
# --------------


def test_200_threads_without_a_token_make_one_request_and_all_are_served(world: World) -> None:
    world.endpoint.gate.clear()
    source = source_of(world)
    join = run_in_threads(200, lambda _: source.authorization())
    world.wait_for_waiters(200)
    world.endpoint.gate.set()
    assert len(set(join())) == 1
    assert len(world.token_requests()) == 1


def test_200_threads_at_expiry_make_one_request_and_none_waits(world: World) -> None:
    source = warm(world)
    first = source.authorization_nowait()
    world.advance(1_200 * 0.98)
    world.endpoint.gate.clear()
    join = run_in_threads(200, lambda _: source.authorization())
    assert set(join()) == {first}
    world.endpoint.gate.set()
    world.settle()
    assert len(world.token_requests()) == 2
    assert source.authorization_nowait() != first


def test_several_sources_with_one_coordinator_make_one_request(world: World) -> None:
    world.endpoint.gate.clear()
    sources = [source_of(world) for _ in range(20)]
    join = run_in_threads(20, lambda index: sources[index].authorization())
    world.wait_for_waiters(20)
    world.endpoint.gate.set()
    assert len(set(join())) == 1
    assert len(world.token_requests()) == 1


def test_1000_sources_made_used_and_dropped_make_one_request(world: World) -> None:
    for _ in range(1_000):
        TokenSource(world.grant, exchange=world.endpoint).authorization()
    assert len(world.token_requests()) == 1


def test_a_shared_coordinator_is_found_under_new_credentials_too(world: World) -> None:
    source = TokenSource(world.grant, exchange=world.endpoint)
    rotated = world.grant.with_secret(canary.secret(1))
    source.replace_credentials(rotated)
    assert Coordinator.shared(rotated, Policy()) is source.coordinator
    assert Coordinator.shared(world.grant, Policy()) is source.coordinator


# Never late
# ----------


def test_every_call_is_served_while_the_endpoint_answers_500_and_the_token_lives(world: World) -> None:
    source = warm(world)
    world.server.replace_script(Script(token=ERROR_500))
    world.advance(1_200 - 25)
    for _ in range(500):
        assert source.authorization(timeout=0) is not None
        assert source.authorization_nowait() is not None
        world.settle()
        world.clock.now += 0.02
    assert len(world.token_requests()) - 1 <= 5


def test_no_token_is_handed_out_from_fresh_until_on(world: World) -> None:
    source = warm(world)
    world.server.replace_script(Script(token=ERROR_500))
    world.advance(1_195)
    assert source.authorization_nowait() is None
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0.1)


def test_a_caller_who_cannot_wait_starts_the_request_beside_it(world: World) -> None:
    source = source_of(world)
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0)
    world.settle()
    assert source.authorization(timeout=0)
    world.clock.now += 700  # Half of its life and more: the token in hand is too short for this caller.
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0, min_ttl=550)
    world.settle()
    assert len(world.token_requests()) == 2


def test_a_caller_who_cannot_wait_carries_nothing_itself(world: World) -> None:
    source = source_of(world, background=False)
    for _ in range(3):
        with pytest.raises(TokenUnavailable):
            source.authorization(timeout=0)
    assert not world.token_requests()
    assert source.explain().budget_refill_at is None


def test_authorization_nowait_starts_the_first_request_beside_the_caller(world: World) -> None:
    source = source_of(world)
    assert source.authorization_nowait() is None
    world.settle()
    assert source.authorization_nowait() is not None


def test_a_source_kept_warm_refreshes_though_nobody_asks(world: World) -> None:
    source = source_of(world, keep_warm=True)
    until(lambda: len(world.token_requests()) == 1)
    world.settle()
    world.advance(1_199)
    until(lambda: len(world.token_requests()) == 2)
    world.settle()
    source.close()


def test_another_source_of_the_same_grant_is_kept_warm_though_the_token_is_fresh_when_it_comes(world: World) -> None:
    warm(world)
    source = source_of(world, keep_warm=True)
    world.advance(1_199)
    until(lambda: len(world.token_requests()) == 2)
    world.settle()
    source.close()


def test_a_forked_child_is_kept_warm_from_its_first_look_at_the_fresh_token(world: World) -> None:
    source = source_of(world, keep_warm=True)
    source.warm_up()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            assert source.authorization_nowait()
            world.advance(1_199)
            until(lambda: len(world.token_requests()) == 2)
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    source.close()
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_fresh_token_that_is_kept_warm_is_had_without_the_lock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with source_of(world, keep_warm=True) as source:
        source.warm_up()
        with monkeypatch.context() as patch:
            patch.setattr(world.coordinator, "_lock", None)
            assert source.authorization_nowait()


def test_what_keeps_a_token_warm_is_started_as_soon_as_a_thread_can_be_had(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        source = source_of(world, keep_warm=True)
        header = source.authorization()
        assert source.authorization_nowait() == header
    assert source.authorization_nowait() == header
    world.advance(1_199)
    until(lambda: len(world.token_requests()) == 2)
    world.settle()
    source.close()


def test_a_program_that_makes_no_calls_makes_no_requests(world: World) -> None:
    source = warm(world)
    world.advance(100_000)
    assert source.next_deadline() == world.clock.now
    assert len(world.token_requests()) == 1


class _ForbiddenLock:
    def __enter__(self) -> None:
        raise AssertionError("the lock was taken")

    def __exit__(self, *_: object) -> None: ...

    def _is_owned(self) -> bool:
        return False


def test_no_lock_is_taken_while_the_token_is_fresh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    source = warm(world)
    until(lambda: "evertoken-request" not in {thread.name for thread in threading.enumerate()})
    monkeypatch.setattr(world.coordinator, "_lock", _ForbiddenLock())
    assert source.authorization_nowait() == source.authorization()
    world.clock.now += 1_158
    with pytest.raises(AssertionError, match="lock"):
        source.authorization_nowait()


# Blocks
# ------------


def test_after_429_with_retry_after_5_nothing_is_sent_for_5_seconds(world: World) -> None:
    limited = TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=5)
    world.server.next_token_requests(limited)
    source = source_of(world)
    with pytest.raises(RateLimited) as caught:
        source.authorization(timeout=1)
    assert 5 <= caught.value.retry_after <= 5.5
    for _ in range(50):
        with pytest.raises(RateLimited):
            source.authorization(timeout=0)
        world.clock.now += 0.0999
    assert len(world.token_requests()) == 1
    world.clock.now += 0.5
    assert source.authorization()
    assert len(world.token_requests()) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [(TokenFault.LOCKED, EndpointLocked), (TokenFault.INVALID_CLIENT, CredentialsRefused)],
)
def test_a_block_costs_one_request_and_fails_every_caller_at_once(
    world: World, fault: TokenFault, error: type[TokenUnavailable]
) -> None:
    world.server.replace_script(Script(token=TokenBehaviour(fault=fault)))
    source = source_of(world)
    with pytest.raises(error) as caught:
        source.authorization(timeout=3_600)
    canary.assert_clean(caught.value)
    wait = caught.value.retry_after
    for _ in range(100):
        world.clock.now += wait / 101
        with pytest.raises(error):
            source.authorization(timeout=3_600)
    assert len(world.token_requests()) == 1
    world.server.replace_script(Script())
    world.clock.now += wait / 50
    assert source.authorization()


def test_every_caller_gets_an_error_of_its_own(world: World) -> None:
    world.endpoint.gate.clear()
    world.server.replace_script(Script(token=TokenBehaviour(fault=TokenFault.LOCKED)))
    source = source_of(world)
    join = run_in_threads(20, lambda _: source.authorization())
    world.wait_for_waiters(20)
    world.endpoint.gate.set()
    errors = join()
    assert all(isinstance(error, EndpointLocked) for error in errors)
    assert len({id(error) for error in errors}) == 20
    assert len(world.token_requests()) == 1
    canary.assert_clean(*errors)


def test_new_credentials_lift_a_refusal(world: World) -> None:
    source = source_of(world)
    world.server.set_api_key(canary.secret(1))
    with pytest.raises(CredentialsRefused):
        source.authorization()
    source.replace_credentials(world.grant)
    with pytest.raises(CredentialsRefused):
        source.authorization()
    source.replace_credentials(world.grant.with_secret(canary.secret(1)))
    assert source.authorization()
    assert len(world.token_requests()) == 2


def test_the_operators_word_lifts_a_lock(world: World) -> None:
    world.server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    source = source_of(world)
    with pytest.raises(EndpointLocked):
        source.authorization()
    source.lift_block()
    assert source.authorization()


def test_an_apis_word_that_the_account_is_locked_blocks_the_endpoint(world: World) -> None:
    source = source_of(world)
    source.endpoint_blocked()
    with pytest.raises(EndpointLocked):
        source.authorization()
    assert world.token_requests() == []
    assert source.explain().blocks[0][0] is BlockKind.LOCKED


# Patience
# --------


def test_patient_callers_get_the_first_success_and_impatient_ones_fail_when_waiting_is_hopeless(world: World) -> None:
    world.server.next_token_requests(ERROR_500, ERROR_500)
    source = source_of(world)
    patient = run_in_threads(10, lambda _: source.authorization(timeout=60))
    world.wait_for_waiters(10)
    impatient = run_in_threads(10, lambda _: source.authorization(timeout=0.5))
    errors = impatient()
    assert all(isinstance(error, TokenUnavailable) for error in errors)
    assert all(error.problem.kind is ProblemKind.SERVER for error in errors if isinstance(error, TokenUnavailable))
    for attempts in (2, 3):
        world.advance(2)
        until(lambda attempts=attempts: len(world.token_requests()) == attempts)  # type: ignore[misc]
        world.settle()
    assert len(set(patient())) == 1
    assert len(world.token_requests()) == 3


def test_a_caller_whose_time_is_up_leaves_the_request_to_the_others(world: World) -> None:
    world.endpoint.gate.clear()
    source = source_of(world)
    leaver = run_in_threads(1, lambda _: source.authorization(timeout=1))
    world.wait_for_waiters(1)
    stayer = run_in_threads(1, lambda _: source.authorization(timeout=9))
    world.wait_for_waiters(2)
    world.advance(1)
    (error,) = leaver()
    assert isinstance(error, TokenUnavailable)
    world.endpoint.gate.set()
    assert isinstance(stayer()[0], str)
    assert len(world.token_requests()) == 1


def test_a_hung_endpoint_frees_every_waiter_at_its_deadline(world: World) -> None:
    world.endpoint.gate.clear()
    source = source_of(world)
    join = run_in_threads(20, lambda index: source.authorization(timeout=1 + index % 3))
    world.wait_for_waiters(20)
    world.advance(3)
    assert all(isinstance(error, TokenUnavailable) for error in join())


def test_a_min_ttl_above_half_the_life_fails_at_once(world: World) -> None:
    source = warm(world)
    world.advance(300)
    with pytest.raises(LifetimeTooShort):
        source.authorization(min_ttl=1_000)
    assert len(world.token_requests()) == 1


def test_a_min_ttl_that_the_token_in_hand_does_not_have_fetches_another(world: World) -> None:
    source = warm(world)
    first = source.authorization_nowait()
    world.advance(800)
    assert source.authorization(min_ttl=300) == first
    assert source.authorization(min_ttl=500) != first


# Rejected tokens
# ---------------


def test_20_calls_with_a_revoked_token_make_one_request(world: World) -> None:
    source = warm(world)
    world.advance(100)
    header = source.authorization()
    verdicts = [source.token_rejected(header, Challenge.TOKEN) for _ in range(20)]
    assert verdicts == [Rejection.DROPPED] + [Rejection.SUPERSEDED] * 19
    join = run_in_threads(20, lambda _: source.authorization())
    assert header not in set(join())
    assert len(world.token_requests()) == 2


# Carrying
# --------


def test_without_background_the_caller_carries_the_request(world: World) -> None:
    threads: list[str] = []

    def exchange(request: TokenRequest) -> HttpResponse:
        threads.append(threading.current_thread().name)
        return world.endpoint(request)

    source = source_of(world, exchange, background=False)
    assert source.authorization_nowait() is None
    assert source.authorization()
    assert threads == [threading.current_thread().name]


def test_where_no_thread_can_be_started_the_caller_carries_the_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = source_of(world)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert source.authorization_nowait() is None
    assert source.authorization()


def test_where_no_thread_can_be_had_looking_for_a_token_claims_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = warm(world)
    monkeypatch.setattr(_thread, "daemon_threads_allowed", lambda: False, raising=False)
    world.advance(1_185)
    budget = source.explain().budget_left
    for _ in range(20):
        assert source.authorization_nowait()
        world.advance(0.1)
    assert source.explain().budget_left == budget
    assert source.authorization()
    assert len(world.token_requests()) == 2


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interruption_in_mid_refresh_leaves_nothing_held(world: World, interruption: type[BaseException]) -> None:
    raising = [True]

    def exchange(request: TokenRequest) -> HttpResponse:
        if raising.pop():
            raise interruption
        return world.endpoint(request)

    source = source_of(world, exchange, background=False)
    with pytest.raises(interruption):
        source.authorization()
    raising.append(False)
    assert source.authorization()
    assert source.explain().failures == 0


def test_an_exchange_that_returns_nonsense_is_a_failure_that_names_it(world: World) -> None:
    def exchange(_: TokenRequest) -> int:
        return 200

    source = source_of(world, cast("Exchange", exchange))
    with pytest.raises(TokenUnavailable, match="int, not an HttpResponse"):
        source.authorization(timeout=0.1)


def test_an_exchange_that_raises_with_the_secret_in_its_text_does_not_leak_it(world: World) -> None:
    def exchange(request: TokenRequest) -> HttpResponse:
        raise OSError(f"cannot send {request.headers}")

    source = source_of(world, exchange)
    with pytest.raises(TokenUnavailable) as caught:
        source.authorization(timeout=0.1)
    canary.assert_clean(caught.value)


def test_a_forked_child_gets_a_token_of_its_own(world: World) -> None:
    world.endpoint.gate.clear()
    told: list[object] = []
    source = source_of(world, on_event=told.append)
    join = run_in_threads(1, lambda _: source.authorization())
    world.wait_for_waiters(1)
    assert world.endpoint.entered.acquire(timeout=LIMIT)
    until(lambda: bool(told))  # A child cannot log where a thread that is not there was writing into the same stream.

    def gets_one() -> bool:
        world.endpoint.gate = threading.Event()  # The lock in the other may be held by a thread that is not here.
        world.endpoint.gate.set()
        return bool(source.authorization()) and source.explain().failures == 0

    assert holds_in_a_child(gets_one)
    world.endpoint.gate.set()
    assert isinstance(join()[0], str)


def test_a_fork_while_another_thread_holds_the_lock_does_not_lock_the_child(world: World) -> None:
    source = warm(world)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with world.coordinator._lock:
            held.set()
            release.wait(LIMIT)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert held.wait(LIMIT)
    assert holds_in_a_child(lambda: source.explain().budget_left == 9)
    release.set()
    thread.join(LIMIT)


def test_a_coordinator_whose_clock_is_not_there_harms_no_other_in_a_forked_child(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises() -> float:
        raise RuntimeError("must be called from async context")

    elsewhere = World()
    _, parents = elsewhere.coordinator._claim_or_wait(print)
    assert parents is not None
    elsewhere.coordinator.clock = raises  # As trio's own, outside of its run.
    _, parents = world.coordinator._claim_or_wait(print)
    assert parents is not None
    source = source_of(world)
    monkeypatch.setattr(_coordinator, "_all", [elsewhere.coordinator, world.coordinator])
    with world.coordinator._lock:
        assert holds_in_a_child(lambda: isinstance(run_in_threads(1, lambda _: source.authorization())()[0], str))
    world.coordinator.request_abandoned(parents)


# Closing, and wrong arguments
# ----------------------------


def test_closing_sends_waiters_home_and_refuses_further_calls(world: World) -> None:
    world.endpoint.gate.clear()
    source = source_of(world)
    join = run_in_threads(5, lambda _: source.authorization())
    world.wait_for_waiters(5)
    source.close()
    source.close()
    assert all(isinstance(error, LocalProtocolError) for error in join())
    with pytest.raises(LocalProtocolError, match="closed"):
        source.authorization_nowait()
    assert "closed" in repr(source)
    world.endpoint.gate.set()
    world.settle()
    with source_of(world) as other:
        assert other.authorization() is not None
    assert len(world.token_requests()) == 1


def test_a_waiter_who_registers_just_after_the_closing_is_sent_home_and_gives_its_claim_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(world)
    claim_or_wait = world.coordinator._claim_or_wait

    def closed_meanwhile(*arguments: Any, **options: Any) -> object:  # noqa: ANN401
        source.close()
        return claim_or_wait(*arguments, **options)

    monkeypatch.setattr(world.coordinator, "_claim_or_wait", closed_meanwhile)
    with pytest.raises(LocalProtocolError, match="closed"):
        source.authorization()
    assert world.token_requests() == []
    assert world.coordinator._wakers == {}
    monkeypatch.undo()
    assert source_of(world).authorization()


def test_a_source_that_is_closed_while_it_is_brought_up_to_date_stays_closed(world: World) -> None:
    source = warm(world)

    original = type(source).__setattr__

    def closes_in_between(self: TokenSource, name: str, value: object) -> None:
        if name == "_quiet_until" and value == 5_000.0:
            original(self, "_closed", True)
        original(self, name, value)

    try:
        type(source).__setattr__ = closes_in_between  # type: ignore[method-assign, assignment]
        source._republish(5_000.0, "Bearer x")
    finally:
        del type(source).__setattr__
    with pytest.raises(LocalProtocolError):
        source.authorization_nowait()


def test_a_wrong_type_is_named_and_its_value_is_in_no_local_variable(world: World) -> None:
    source = warm(world)
    wrong: Any = canary.secret()
    with pytest.raises(TypeError, match="challenge"):
        source.token_rejected(source.authorization(), wrong)
    with pytest.raises(TypeError, match="credentials"):
        source.replace_credentials(wrong)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_wrong_timeout_is_named(world: World, timeout: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="timeout"):
        source_of(world).authorization(timeout=timeout)


@pytest.mark.parametrize("min_ttl", [-1, float("nan"), float("inf")])
def test_a_wrong_min_ttl_is_named(world: World, min_ttl: float) -> None:
    with pytest.raises(ValueError, match="min_ttl"):
        source_of(world).authorization(min_ttl=min_ttl)


def test_a_coordinator_of_another_client_or_policy_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="coordinator"):
        TokenSource(canary.grant(client_id="other"), coordinator=world.coordinator, exchange=world.endpoint)
    with pytest.raises(ValueError, match="policy"):
        source_of(world, policy=Policy(leeway=1))


def test_no_local_variable_of_ours_holds_a_token_when_an_error_leaves(world: World) -> None:
    source = warm(world)
    world.server.replace_script(Script(token=ERROR_500))
    world.advance(1_195)
    with pytest.raises(TokenUnavailable) as caught:
        source.authorization(timeout=0.1)
    canary.assert_clean(caught.value, source, source.explain(), source.coordinator)
