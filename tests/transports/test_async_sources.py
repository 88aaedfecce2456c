"""What asyncio.TokenSource and trio.TokenSource both promise, in loops of virtual time."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from evertoken import (
    Challenge,
    CredentialsRefused,
    EndpointLocked,
    HttpResponse,
    LifetimeTooShort,
    LocalProtocolError,
    Policy,
    Rejection,
    TokenRequest,
    TokenUnavailable,
)
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Coordinator, Event, RequestEnded, TokenGranted
from evertoken_transports._runtime import in_thread
from evertoken_transports.threads import TokenSource as ThreadSource
from tests.kits import canary
from tests.kits.loops import (
    LOOPS,
    AsyncEndpoint,
    Loop,
    Source,
    all_of,
    assert_nothing_held,
    run_in,
    sleep,
    source_in,
    turn_until,
)
from tests.kits.worlds import World, run_in_threads

ERROR_500 = TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Loop:
    chosen: Loop = request.param
    return chosen


@pytest.fixture
def world() -> World:
    return World()


def asked(world: World) -> int:
    return len(world.token_requests())


async def failure_of(source: Source, timeout: float = 15.0, min_ttl: float = 0.0) -> TokenUnavailable:
    with pytest.raises(TokenUnavailable) as caught:
        await source.authorization(timeout, min_ttl)
    return caught.value


# Never too many
# --------------


def test_1000_tasks_without_a_token_make_one_request_and_are_served_when_it_is_answered(
    loop: Loop, world: World
) -> None:
    async def main() -> list[str]:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 0.2))
        return await all_of(loop, *[source.authorization] * 1_000)

    assert len(set(run_in(loop, world, main))) == 1
    assert asked(world) == 1
    assert world.clock() == pytest.approx(1_000.2)
    assert_nothing_held(world)


def test_1000_tasks_at_expiry_make_one_request_and_none_waits(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 0.2))
        first = await source.authorization()
        await sleep(loop, 1_200 * 0.98)
        before = world.clock()
        assert set(await all_of(loop, *[source.authorization] * 1_000)) == {first}
        assert world.clock() == before
        await sleep(loop, 0.3)
        assert source.authorization_nowait() not in (None, first)

    run_in(loop, world, main)
    assert asked(world) == 2


def test_several_sources_with_one_coordinator_make_one_request(loop: Loop, world: World) -> None:
    async def main() -> list[str]:
        return await all_of(loop, *[source_in(loop, world).authorization for _ in range(20)])

    assert len(set(run_in(loop, world, main))) == 1
    assert asked(world) == 1


def test_a_source_that_is_given_no_coordinator_takes_the_shared_one(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, coordinator=None)
        assert source.coordinator is Coordinator.shared(world.grant, Policy())

    run_in(loop, world, main)


def test_20_calls_with_a_revoked_token_make_one_request(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        header = await source.authorization()
        await sleep(loop, 100)
        verdicts = [source.token_rejected(header, Challenge.TOKEN) for _ in range(20)]
        assert verdicts == [Rejection.DROPPED] + [Rejection.SUPERSEDED] * 19
        assert header not in await all_of(loop, *[source.authorization] * 20)

    run_in(loop, world, main)
    assert asked(world) == 2


# Never late
# ----------


def test_authorization_nowait_starts_the_first_request_beside_the_caller(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        assert source.authorization_nowait() is None
        assert source.authorization_nowait() is None
        await turn_until(loop, lambda: source.authorization_nowait() is not None)

    run_in(loop, world, main)
    assert asked(world) == 1


def test_a_caller_who_cannot_wait_starts_the_request_beside_it(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        for _ in range(3):
            with pytest.raises(TokenUnavailable):
                await source.authorization(timeout=0)
        await turn_until(loop, lambda: source.coordinator.machine.authorization(world.clock()) is not None)
        assert await source.authorization(timeout=0)
        world.clock.now += 700  # Half of its life and more: the token in hand is too short for this caller.
        with pytest.raises(TokenUnavailable):
            await source.authorization(timeout=0, min_ttl=550)
        await turn_until(loop, lambda: asked(world) == 2)

    run_in(loop, world, main)
    assert asked(world) == 2


def test_a_due_token_is_handed_out_at_once_and_renewed_beside_the_caller(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 2))
        await source.warm_up()
        first = source.authorization_nowait()
        await sleep(loop, 1_170)
        before = world.clock()
        assert source.authorization_nowait() == first == await source.authorization()
        assert world.clock() == before
        await sleep(loop, 3)
        assert source.authorization_nowait() != first

    run_in(loop, world, main)
    assert asked(world) == 2


def test_a_fresh_token_is_had_without_a_turn_and_without_the_lock(
    loop: Loop, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        await source.warm_up()
        monkeypatch.setattr(world.coordinator, "_lock", None)
        got = None
        try:
            source.authorization().send(None)
        except StopIteration as end:
            got = end.value
        assert got is not None
        assert got == source.authorization_nowait()
        monkeypatch.undo()

    run_in(loop, world, main)


def test_called_outside_a_loop_it_looks_and_sends_nothing(loop: Loop, world: World) -> None:
    made: list[Source] = []

    async def main() -> None:
        made.append(source_in(loop, world))
        assert source_in(loop, world, keep_warm=True).authorization_nowait() is None
        await made[0].warm_up()

    source = source_in(loop, world, keep_warm=True)
    assert source.authorization_nowait() is None
    assert asked(world) == 0
    run_in(loop, world, main)
    header = made[0].authorization_nowait()
    assert header is not None
    world.clock.now += 1_170
    assert made[0].authorization_nowait() == header
    assert asked(world) == 1
    assert_nothing_held(world)


def test_a_source_kept_warm_renews_though_nobody_asks_and_however_long_the_life(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, keep_warm=True)
        await source.warm_up()
        for renewals in (1, 2, 3):
            await sleep(loop, 1_170)
            assert asked(world) == 1 + renewals
        await source.aclose()
        await sleep(loop, 3_000)

    run_in(loop, world, main)
    assert asked(world) == 4


def test_a_source_kept_warm_makes_its_first_request_in_its_first_call(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, keep_warm=True)
        assert source.authorization_nowait() is None
        await turn_until(loop, lambda: source.authorization_nowait() is not None)
        await source.aclose()
        await sleep(loop, 1)

    run_in(loop, world, main)
    assert asked(world) == 1
    assert_nothing_held(world)


def test_a_source_kept_warm_from_its_making_in_a_loop_needs_no_call(loop: Loop, world: World) -> None:
    async def main() -> None:
        async with source_in(loop, world, keep_warm=True):
            await sleep(loop, 1_200)

    run_in(loop, world, main)
    assert asked(world) == 2


def test_another_source_of_the_same_grant_is_kept_warm_though_the_token_is_fresh_when_it_comes(
    loop: Loop, world: World
) -> None:
    async def main() -> None:
        await source_in(loop, world).authorization()
        kept = source_in(loop, world, keep_warm=True)
        await sleep(loop, 1_200)
        await kept.aclose()

    run_in(loop, world, main)
    assert asked(world) == 2


@pytest.mark.parametrize("call", ["authorization", "authorization_nowait"])
def test_a_source_is_kept_warm_in_each_further_run_from_the_first_look_at_its_fresh_token(
    loop: Loop, world: World, call: str
) -> None:
    made: list[Source] = []

    async def first() -> None:
        made.append(source_in(loop, world, keep_warm=True))
        await made[0].authorization()

    async def again() -> None:
        source = made[0]
        looked = getattr(source, call)()
        assert (looked if call == "authorization_nowait" else await looked) is not None
        await sleep(loop, 1_200)

    run_in(loop, world, first)
    for runs in (1, 2, 3):
        run_in(loop, world, again)
        assert asked(world) == 1 + runs


def test_a_fresh_token_that_is_kept_warm_is_had_without_the_lock(
    loop: Loop, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with source_in(loop, world, keep_warm=True) as source:
            await source.authorization()
            with monkeypatch.context() as patch:
                patch.setattr(world.coordinator, "_lock", None)
                assert source.authorization_nowait()

    run_in(loop, world, main)


def test_without_keep_warm_a_program_that_makes_no_calls_makes_no_requests(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        await source.warm_up()
        await sleep(loop, 100_000)
        assert source.next_deadline() == world.clock()

    run_in(loop, world, main)
    assert asked(world) == 1


# Whose work it is
# ----------------

WHO = contextvars.ContextVar("WHO", default="nobody")


def test_a_carrier_and_its_events_belong_to_no_caller(loop: Loop, world: World) -> None:
    seen: list[tuple[str, str]] = []

    def callback(event: Event) -> None:
        seen.append((type(event).__name__, WHO.get()))

    async def main() -> None:
        endpoint = AsyncEndpoint(loop, world, 0.2)

        async def exchange(request: TokenRequest, /) -> HttpResponse:
            seen.append(("exchange", WHO.get()))
            return await endpoint(request)

        WHO.set("the first caller")
        source = source_in(loop, world, exchange=exchange, on_event=callback)
        await source.authorization()

    WHO.set("who started the run")
    run_in(loop, world, main)
    # Who claims a request tells of it, in its own name; it is carried in nobody's.
    assert seen[0] == ("RequestStarted", "the first caller")
    carried = [("exchange", "nobody"), ("TokenGranted", "nobody"), ("RequestEnded", "nobody")]
    assert seen[1:] == [*carried, ("CallWaited", "the first caller")]


def test_a_carrier_that_is_cancelled_before_its_first_step_is_told_of_in_nobodys_name(world: World) -> None:
    seen: list[str] = []

    def callback(event: Event) -> None:
        if isinstance(event, RequestEnded):
            seen.append(WHO.get())

    async def main() -> None:
        WHO.set("the first caller")
        source = source_in("asyncio", world, on_event=callback)
        source.authorization_nowait()

    run_in("asyncio", world, main)
    assert seen == ["nobody"]


# Without background
# ------------------


def test_without_background_the_caller_carries_the_request_in_its_own_task(loop: Loop, world: World) -> None:
    async def main() -> None:
        tasks: list[object] = []

        async def exchange(request: TokenRequest, /) -> HttpResponse:
            tasks.append(current_task(loop))
            return world.endpoint(request)

        source = source_in(loop, world, exchange=exchange, background=False)
        assert source.authorization_nowait() is None
        assert tasks == []
        assert await source.authorization()
        assert tasks == [current_task(loop)]

    run_in(loop, world, main)


def current_task(loop: Loop) -> object:
    if loop == "trio":
        import trio

        return trio.lowlevel.current_task()
    import asyncio

    return asyncio.current_task()


def test_without_background_50_callers_still_make_one_request(loop: Loop, world: World) -> None:
    async def main() -> list[str]:
        source = source_in(loop, world, background=False)
        return await all_of(loop, *[source.authorization] * 50)

    assert len(set(run_in(loop, world, main))) == 1
    assert asked(world) == 1


# Failure
# -------


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    ("fault", "error"), [(TokenFault.LOCKED, EndpointLocked), (TokenFault.INVALID_CLIENT, CredentialsRefused)]
)
def test_a_block_costs_one_request_and_every_caller_gets_an_error_of_its_own(
    loop: Loop, world: World, fault: TokenFault, error: type[TokenUnavailable], background: bool
) -> None:
    async def main() -> list[TokenUnavailable]:
        world.server.replace_script(Script(token=TokenBehaviour(fault=fault)))
        source = source_in(loop, world, background=background)
        failures = await all_of(loop, *[lambda: failure_of(source, 3_600)] * 20)
        return [*failures, await failure_of(source, 3_600)]

    failures = run_in(loop, world, main)
    assert {type(failure) for failure in failures} == {error}
    assert len({id(failure) for failure in failures}) == 21
    assert asked(world) == 1
    canary.assert_clean(*failures)


def test_an_endpoint_that_fails_twice_is_asked_thrice_by_all_who_wait_together(loop: Loop, world: World) -> None:
    async def main() -> list[str]:
        world.server.next_token_requests(ERROR_500, ERROR_500)
        source = source_in(loop, world)
        return await all_of(loop, *[lambda: source.authorization(timeout=60)] * 30)

    assert len(set(run_in(loop, world, main))) == 1
    assert asked(world) == 3


def test_a_hung_endpoint_frees_every_waiter_at_its_deadline(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world, exchange=AsyncEndpoint(loop, world, 9_999))
        started = world.clock()

        async def wait(seconds: float) -> float:
            await failure_of(source, seconds)
            assert world.clock() - started == pytest.approx(seconds)
            return seconds

        assert await all_of(loop, *[partial(wait, 1 + n) for n in range(5)]) == [1, 2, 3, 4, 5]

    run_in(loop, world, main)
    assert asked(world) == 1


def test_an_exchange_that_raises_or_returns_nonsense_is_a_failure_that_names_it_and_leaks_nothing(
    loop: Loop, world: World
) -> None:
    async def nonsense(request: TokenRequest, /) -> object:
        return 200

    async def leaky(request: TokenRequest, /) -> HttpResponse:
        raise OSError(f"cannot send {request.headers}")

    async def main() -> list[TokenUnavailable]:
        failures: list[TokenUnavailable] = []
        for exchange in (nonsense, leaky):
            source = source_in(loop, world, exchange=exchange, coordinator=world.new_coordinator())
            failures.append(await failure_of(source, 0.1))
        return failures

    first, second = run_in(loop, world, main)
    assert "int, not an HttpResponse" in str(first)
    assert "OSError" in str(second)
    canary.assert_clean(first, second)


def test_new_credentials_lift_a_refusal_while_callers_wait_for_nothing(loop: Loop, world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        world.server.set_api_key(canary.secret(1))
        assert isinstance(await failure_of(source), CredentialsRefused)
        source.replace_credentials(world.grant.with_secret(canary.secret(1)))
        assert await source.authorization()
        source.endpoint_blocked(60)
        source.lift_block()

    run_in(loop, world, main)
    assert asked(world) == 2


def test_a_min_ttl_that_the_token_in_hand_does_not_have_fetches_another_or_fails_at_once(
    loop: Loop, world: World
) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        first = await source.authorization()
        await sleep(loop, 800)
        assert await source.authorization(min_ttl=300) == first
        assert await source.authorization(min_ttl=500) != first
        await sleep(loop, 300)
        assert isinstance(await failure_of(source, min_ttl=1_000), LifetimeTooShort)

    run_in(loop, world, main)
    assert asked(world) == 2


# Closing, and wrong arguments
# ----------------------------


def test_closing_sends_waiters_home_and_leaves_the_request_to_the_others(loop: Loop, world: World) -> None:
    async def main() -> str:
        exchange = AsyncEndpoint(loop, world, 2)
        source, other = source_in(loop, world, exchange=exchange), source_in(loop, world, exchange=exchange)

        async def refused() -> str:
            with pytest.raises(LocalProtocolError, match="closed"):
                await source.authorization()
            assert world.clock() == 1_000
            return ""

        async def close() -> str:
            await turn_until(loop, lambda: len(world.coordinator._wakers) == 6)
            await source.aclose()
            await source.aclose()
            return ""

        got = await all_of(loop, *[refused] * 5, other.authorization, close)
        with pytest.raises(LocalProtocolError, match="closed"):
            source.authorization_nowait()
        with pytest.raises(LocalProtocolError, match="closed"):
            await source.warm_up()
        assert source.closed
        assert "closed" in repr(source)
        return got[-1]

    assert run_in(loop, world, main)
    assert asked(world) == 1
    assert_nothing_held(world)


def test_a_source_closes_itself_at_the_end_of_its_block(loop: Loop, world: World) -> None:
    async def main() -> Source:
        async with source_in(loop, world) as source:
            assert await source.authorization()
            assert not source.closed
        return source

    assert run_in(loop, world, main).closed
    assert_nothing_held(world)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, ExceptionGroup])
def test_what_is_raised_in_the_block_leaves_it_as_it_is(
    loop: Loop, world: World, kind: Callable[..., BaseException]
) -> None:
    mine = ExceptionGroup("mine", [ValueError()]) if kind is ExceptionGroup else kind("mine")

    async def block() -> None:
        async with source_in(loop, world, exchange=AsyncEndpoint(loop, world, 2)) as source:
            source.authorization_nowait()
            await sleep(loop, 1)
            raise mine

    async def main() -> None:
        with pytest.raises(type(mine)) as caught:
            await block()
        assert caught.value is mine

    run_in(loop, world, main)
    assert asked(world) == 1


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_wrong_timeout_is_named(loop: Loop, world: World, timeout: object) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="timeout"):
            await source_in(loop, world).authorization(timeout=timeout)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    run_in(loop, world, main)
    assert_nothing_held(world)


@pytest.mark.parametrize("min_ttl", [-1, float("nan"), float("inf")])
def test_a_wrong_min_ttl_is_named(loop: Loop, world: World, min_ttl: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="min_ttl"):
            await source_in(loop, world).authorization(min_ttl=min_ttl)

    run_in(loop, world, main)
    assert_nothing_held(world)


def test_a_coordinator_of_another_client_or_policy_is_refused(loop: Loop, world: World) -> None:
    other = Coordinator.shared(canary.grant(client_id="other"), Policy())
    with pytest.raises(ValueError, match="coordinator"):
        source_in(loop, world, coordinator=other)
    with pytest.raises(ValueError, match="policy"):
        source_in(loop, world, policy=Policy(leeway=1))


# Callbacks
# ---------


def test_a_callback_hears_of_a_grant_outside_the_lock_and_may_ask_the_source(loop: Loop, world: World) -> None:
    heard: list[str | None] = []

    async def main() -> None:
        def callback(event: Event) -> None:
            if isinstance(event, TokenGranted):
                heard.append(source.authorization_nowait())
                raise RuntimeError("a callback that breaks")

        source = source_in(loop, world, on_event=callback)
        assert await source.authorization() == heard[0]

    run_in(loop, world, main)


# Several runs
# ------------


def test_a_token_outlives_the_run_that_fetched_it_and_a_contended_refresh_works_in_the_next(loop: Loop) -> None:
    world = World()
    sources: list[Source] = []
    outcomes: list[set[str]] = []

    async def main() -> None:
        outcomes.append(set(await all_of(loop, *[sources[0].authorization] * 50)))

    run_real = _runner(loop)
    sources.append(source_in(loop, world))
    for _ in range(3):
        run_real(main)
        run_real(main)
        world.clock.now += 1_200
    assert [len(outcome) for outcome in outcomes] == [1] * 6
    assert asked(world) == 3
    assert_nothing_held(world)


def test_a_source_kept_warm_has_one_warming_task_in_each_loop_that_uses_it(loop: Loop) -> None:
    world = World()
    world.server.replace_script(Script(token=TokenBehaviour(fault=TokenFault.LOCKED)))
    source = source_in(loop, world, keep_warm=True)
    turns = [threading.Semaphore(1), threading.Semaphore(0)]

    async def main(me: int) -> None:
        for _ in range(10):
            assert turns[me].acquire(timeout=20)
            await failure_of(source, 0)
            for _ in range(5):
                await sleep(loop, 0)
            turns[1 - me].release()

    most: list[int] = []

    async def first() -> None:
        await main(0)
        most.append(len(world.coordinator._wakers))

    threads = [threading.Thread(target=_runner(loop), args=(work,)) for work in (first, lambda: main(1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert most[0] <= 2


def _runner(loop: Loop) -> Callable[[Callable[[], Any]], object]:
    """Runs in a loop of its own whose timers are those of this machine; nothing in these tests waits for them."""
    if loop == "trio":
        import trio

        return trio.run
    import asyncio

    return lambda work: asyncio.run(work())


# Several runtimes at once
# ------------------------


@pytest.mark.parametrize("first", ["threads", *LOOPS])
def test_threads_two_asyncio_loops_and_a_trio_run_that_ask_at_the_same_time_make_one_request(first: str) -> None:
    world = World()
    world.endpoint.gate.clear()

    async def exchange(request: TokenRequest, /) -> HttpResponse:
        return await in_thread(partial(world.endpoint, request))

    def threads(_: int) -> set[object]:
        source = ThreadSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
        return set(run_in_threads(20, lambda _: source.authorization())())

    def in_loop(loop: Loop) -> Callable[[int], object]:
        async def main() -> set[str]:
            source = source_in(loop, world, exchange=exchange)
            return set(await all_of(loop, *[source.authorization] * 20))

        return lambda _: _runner(loop)(main)

    works: dict[str, Callable[[int], object]] = {
        "threads": threads,
        "asyncio": in_loop("asyncio"),
        "another asyncio": in_loop("asyncio"),
        "trio": in_loop("trio"),
    }
    leader = run_in_threads(1, works.pop(first))
    world.wait_for_waiters(20)
    rest = list(works.values())
    others = run_in_threads(3, lambda index: rest[index](index))
    world.wait_for_waiters(80)
    world.endpoint.gate.set()
    results = [*leader(), *others()]
    assert all(isinstance(result, set) and len(result) == 1 for result in results)
    assert all(result == results[0] for result in results)
    assert asked(world) == 1
    assert_nothing_held(world)
