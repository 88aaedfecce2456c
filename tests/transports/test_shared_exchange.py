"""Exchanges that share by a store: whatever happens to whoever asks, the others have a token, and nothing is held."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, NoReturn, cast

import httpx
import pytest
import trio
from cryptography.fernet import Fernet

from evertoken import (
    BlockKind,
    EndpointLocked,
    HttpResponse,
    LocalProtocolError,
    Policy,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
)
from evertoken.sharing import StoreTrouble, Swapped
from evertoken_transports import (
    CallWaited,
    Coordinator,
    Event,
    NotNow,
    RequestEnded,
    RequestFailed,
    RequestStarted,
    StoreLooked,
    StoreReported,
    TokenGranted,
    _source,
)
from evertoken_transports import asyncio as on_asyncio
from evertoken_transports import trio as on_trio
from evertoken_transports._clock import suspend_aware_clock
from evertoken_transports.httpx import BearerAuth
from evertoken_transports.stores import AsyncSharedExchange, SharedExchange
from evertoken_transports.testing import MangopayServer
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.httpx_kits import run_in
from tests.kits.stores import Counting, MemoryStore, a_moment
from tests.kits.worlds import LIMIT, run_in_threads, until

POLICY = Policy(store_wait=2.0)
LOCKED = HttpResponse(400, (), b'{"error": "unauthorized_client", "error_description": "locked"}')
RUNTIMES = ("threads", "asyncio", "trio")


class Process:
    """One of many that share: a machine and an exchange of its own, of one runtime."""

    def __init__(
        self, runtime: str, store: MemoryStore, inner: Counting, policy: Policy = POLICY, **more: object
    ) -> None:
        self.runtime = runtime
        self.grant = canary.grant()
        self.machine = TokenMachine(self.grant, policy=policy, draw=lambda: 0.5, tiers=1)
        # Processes know nothing of each other, and equal stores are known once for each process.
        mine = cast("MemoryStore", _Alone(store))
        kind: Any = SharedExchange if runtime == "threads" else AsyncSharedExchange
        self.exchange = kind(inner.blocking if runtime == "threads" else inner.awaiting, mine, **more)

    def request(self) -> TokenRequest:
        return self.machine.start_request(suspend_aware_clock())

    def send(self, request: TokenRequest | None = None) -> HttpResponse:
        """What the exchange answers, in a loop of its own where it needs one."""
        request = request or self.request()
        if self.runtime == "threads":
            return cast("HttpResponse", self.exchange(request))
        return run_in(self.runtime, partial(cast("Callable[..., Awaitable[HttpResponse]]", self.exchange), request))

    def send_and_leave(self, when: Callable[[], object]) -> None:
        """Begin, wait in a thread until ``when`` returns, and tear the carrier away."""
        request = self.request()

        async def in_asyncio() -> None:
            task = asyncio.create_task(self.exchange(request))
            await asyncio.get_running_loop().run_in_executor(None, when)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        async def in_trio() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.exchange, request)
                await trio.to_thread.run_sync(when)
                nursery.cancel_scope.cancel()

        run_in(self.runtime, in_trio if self.runtime == "trio" else in_asyncio)


def token_of(answer: object) -> str:
    assert isinstance(answer, HttpResponse)
    return str(json.loads(answer.body)["access_token"])


class _Alone:
    """A store as one process has it: it is equal to itself alone."""

    def __init__(self, store: MemoryStore) -> None:
        self.load, self.swap, self.subscribe, self.close = store.load, store.swap, store.subscribe, store.close


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def inner() -> Counting:
    return Counting()


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ------------------------------------------------------------ one for all


def test_what_one_was_told_the_others_find(runtime: str, store: MemoryStore, inner: Counting) -> None:
    first, second = Process(runtime, store, inner), Process("threads", store, inner)
    assert token_of(first.send()) == token_of(second.send())
    assert inner.asked == 1
    assert not store.is_leased()


def test_who_comes_while_another_asks_waits_for_its_answer(runtime: str, store: MemoryStore, inner: Counting) -> None:
    first, second = Process(runtime, store, inner), Process(runtime, store, inner)
    inner.gate.clear()
    both = run_in_threads(1, lambda _: first.send())
    assert inner.entered.acquire(timeout=LIMIT)
    other = run_in_threads(1, lambda _: second.send())
    until(lambda: store.subscribers == 1)
    inner.gate.set()
    assert [token_of(came) for came in both() + other()] == [canary.token(1)] * 2
    assert inner.asked == 1
    assert store.subscribers == 0


def test_who_waits_in_vain_is_told_when_to_look_again(runtime: str, store: MemoryStore, inner: Counting) -> None:
    quick = Policy(store_wait=0.05, request_timeout=0.2)
    first, second = Process("threads", store, inner), Process(runtime, store, inner, quick)
    inner.gate.clear()
    asking = run_in_threads(1, lambda _: first.send())
    assert inner.entered.acquire(timeout=LIMIT)
    request = second.request()
    with pytest.raises(NotNow) as caught:
        second.send(request)
    assert caught.value.problem is not None
    second.machine.request_postponed(suspend_aware_clock(), request, caught.value.until, caught.value.problem)
    inner.gate.set()
    asking()
    assert inner.asked == 1
    assert store.subscribers == 0


def test_what_the_inner_exchange_raises_is_raised_and_the_lease_is_given_back(
    runtime: str, store: MemoryStore, inner: Counting
) -> None:
    inner.error = ConnectionResetError("as it happens")
    process = Process(runtime, store, inner)
    with pytest.raises(ConnectionResetError, match="as it happens"):
        process.send()
    assert not store.is_leased()
    assert store.subscribers == 0


def test_what_is_no_answer_is_called_so_and_the_lease_is_given_back(
    runtime: str, store: MemoryStore, inner: Counting
) -> None:
    inner.answer = cast("HttpResponse", "a token, perhaps")
    with pytest.raises(Exception, match="the inner exchange returned str, not an HttpResponse"):
        Process(runtime, store, inner).send()
    assert not store.is_leased()


def test_tiers_nest_and_the_innermost_asks_once(runtime: str, inner: Counting) -> None:
    host, fleet = MemoryStore(), MemoryStore()
    kind: Any = SharedExchange if runtime == "threads" else AsyncSharedExchange

    def exchange(near: MemoryStore) -> object:
        asks = inner.blocking if runtime == "threads" else inner.awaiting
        return kind(kind(asks, cast("MemoryStore", _Alone(fleet))), near)

    tokens = set[str]()
    for near in (host, MemoryStore()):
        process = Process(runtime, fleet, inner)
        process.machine = TokenMachine(process.grant, policy=POLICY, draw=lambda: 0.5, tiers=2)
        process.exchange = cast("Any", exchange(near))
        assert len(process.exchange.stores) == 2
        tokens.add(token_of(process.send()))
        assert near.values
    assert inner.asked == 1
    assert len(tokens) == 1
    assert fleet.values


def test_with_keys_nobody_reads_a_token_in_the_store(store: MemoryStore, inner: Counting) -> None:
    keys = (Fernet.generate_key(),)
    assert Process("threads", store, inner, keys=keys).send().status == 200
    assert Process("threads", store, inner, keys=keys).send().status == 200
    assert inner.asked == 1
    (value,) = store.values.values()
    assert not canary.find_marks(value)
    Process("threads", store, inner).send()  # Without the key it is none, and is written anew.
    assert inner.asked == 2


# ------------------------------------------------------------ a store in trouble


def test_a_store_that_is_down_costs_sharing_and_no_token(runtime: str, store: MemoryStore, inner: Counting) -> None:
    store.fail()
    assert Process(runtime, store, inner, Policy(store_wait=0.1)).send().status == 200
    assert inner.asked == 1


def test_a_store_that_raises_anything_at_all_costs_no_token(store: MemoryStore, inner: Counting) -> None:
    store.trouble = TypeError("somebody's bug")
    assert Process("threads", store, inner, Policy(store_wait=0.1)).send().status == 200


def test_a_store_that_is_required_and_down_is_not_gone_around(
    runtime: str, store: MemoryStore, inner: Counting
) -> None:
    store.fail()
    with pytest.raises(NotNow) as caught:
        Process(runtime, store, inner, store_required=True).send()
    assert caught.value.problem is not None
    assert inner.asked == 0


def test_what_the_store_has_not_taken_is_put_there_beside_the_caller(
    runtime: str, store: MemoryStore, inner: Counting
) -> None:
    store.fail()
    store.fails = lambda what: what == "swap" and inner.asked > 0
    process = Process(runtime, store, inner)
    answer = process.send()
    assert answer.status == 200
    store.trouble = None
    until(lambda: not store.is_leased())
    assert token_of(Process("threads", store, inner).send()) == token_of(answer)
    assert inner.asked == 1


def test_trouble_is_told_by_an_event_once(store: MemoryStore, inner: Counting) -> None:
    store.fail("the store is on fire: put it out")
    heard = list[Event]()
    machine = TokenMachine(canary.grant(), policy=Policy(store_wait=0.05), draw=lambda: 0.5, tiers=1)
    source = TokenSource(
        machine.grant, coordinator=Coordinator(machine), exchange=inner.blocking, store=store, on_event=heard.append
    )
    assert source.authorization().startswith("Bearer ")
    notes = [event for event in heard if isinstance(event, StoreReported)]
    assert [str(note).count("on fire") for note in notes] == [1]
    assert notes[0].client_id == machine.grant.client_id
    assert store.calls.count("load") > 1


def test_what_was_told_of_a_store_is_not_told_again_by_the_next_request(store: MemoryStore, inner: Counting) -> None:
    store.fail("the store is on fire: put it out")
    heard = list[Event]()
    for client_id in ("one", "other"):
        grant = canary.grant(client_id=client_id)
        machine = TokenMachine(grant, policy=Policy(store_wait=0.05), draw=lambda: 0.5, tiers=1)
        source = TokenSource(
            grant, coordinator=Coordinator(machine), exchange=inner.blocking, store=store, on_event=heard.append
        )
        assert source.authorization().startswith("Bearer ")
    assert [type(event) for event in heard].count(StoreReported) == 1


def asking(exchange: SharedExchange, heard: list[Event], tiers: int = 1) -> TokenSource:
    """A source of a process of its own, which shares by ``exchange``."""
    machine = TokenMachine(canary.grant(), policy=Policy(store_wait=0.05), draw=lambda: 0.5, tiers=tiers)
    return TokenSource(machine.grant, coordinator=Coordinator(machine), exchange=exchange, on_event=heard.append)


def test_a_look_that_finds_a_token_is_told_from_a_token_request(inner: Counting) -> None:
    near, far, first, second = MemoryStore(), MemoryStore(), list[Event](), list[Event]()
    exchange = SharedExchange(SharedExchange(inner.blocking, far), near)
    one, other = asking(exchange, first, 2), asking(exchange, second, 2)
    assert one.authorization() == other.authorization()
    # Two threads tell of it: who waited, and who carried the request.
    until(lambda: all({CallWaited, RequestEnded} <= {type(event) for event in told} for told in (first, second)))
    first, second = ([event for event in told if type(event) is not CallWaited] for told in (first, second))
    assert [type(event) for event in first] == [StoreLooked, RequestStarted, TokenGranted, RequestEnded]
    assert [type(event) for event in second] == [StoreLooked, TokenGranted, RequestEnded]
    assert ["granted" in str(first[2]), "found in the shared store" in str(second[1])] == [True, True]
    assert "look 1 into the shared store" in str(second[0])
    assert inner.asked == 1


def test_a_caller_and_an_operator_read_what_is_wrong_with_the_store(store: MemoryStore, inner: Counting) -> None:
    store.fail("the store is on fire: put it out")
    source = asking(SharedExchange(inner.blocking, store, store_required=True), [])
    assert "shared store: no trouble known" in str(source.explain())
    assert "the store may be looked into, and a token asked for" in str(source.explain())
    with pytest.raises(TokenUnavailable, match=r"cannot be used.* The store is on fire: put it out\."):
        source.authorization(0.2)
    assert "shared store: The store is on fire: put it out." in str(source.explain())
    store.trouble = None
    until(lambda: source.authorization_nowait() is not None)
    assert "shared store: no trouble known" in str(source.explain())
    assert "shared store" not in str(TokenSource(canary.grant(), exchange=inner.blocking).explain())


def test_what_shares_says_by_what(store: MemoryStore, inner: Counting) -> None:
    for keys in ((), (Fernet.generate_key(),)):
        source = TokenSource(canary.grant(), exchange=inner.blocking, store=store, keys=keys)
        assert f"shared by {store!r}" in repr(source)
        auth = BearerAuth(canary.grant(), store=store, keys=keys)
        assert "BearerAuth by <evertoken_transports.threads.TokenSource of" in repr(auth)
        assert f"shared by {store!r}" in repr(auth)


def test_to_be_put_off_is_no_failure(store: MemoryStore, inner: Counting) -> None:
    store.fail()
    heard = list[Event]()
    machine = TokenMachine(canary.grant(), policy=Policy(store_wait=0.05), draw=lambda: 0.5, tiers=1)
    source = TokenSource(
        machine.grant,
        coordinator=Coordinator(machine),
        exchange=inner.blocking,
        store=store,
        store_required=True,
        on_event=heard.append,
    )
    with pytest.raises(TokenUnavailable, match="shared store cannot be used"):
        source.authorization(0.2)
    assert not any(isinstance(event, RequestFailed) for event in heard)
    assert machine.explain(suspend_aware_clock()).failures == 0
    assert inner.asked == 0


# ------------------------------------------------------------ who is torn away


def asks_at_once(store: MemoryStore, inner: Counting) -> None:
    """Nothing is held: another process has a token without waiting for a lease to run out."""
    inner.gate.set()
    until(lambda: not store.is_leased())
    began = time.monotonic()
    assert Process("threads", store, inner, Policy(store_wait=2.0, retry_base=0.05)).send().status == 200
    assert time.monotonic() - began < LIMIT


def test_who_is_cancelled_while_the_store_looks_holds_nothing(loop: str, store: MemoryStore, inner: Counting) -> None:
    store.gate.clear()
    Process(loop, store, inner).send_and_leave(lambda: store.entered.acquire(timeout=LIMIT))
    store.gate.set()
    asks_at_once(store, inner)


def test_who_is_cancelled_while_it_takes_the_lease_gives_it_back(
    loop: str, store: MemoryStore, inner: Counting
) -> None:
    def when() -> None:
        assert store.entered.acquire(timeout=LIMIT)
        assert store.entered.acquire(timeout=LIMIT)  # The second call of the store is that.

    held = threading.Event()
    swap = store.swap

    def hold_back(*arguments: Any, **options: Any) -> Swapped:  # noqa: ANN401
        store.entered.release()
        assert held.wait(LIMIT)
        return swap(*arguments, **options)

    store.swap = hold_back  # type: ignore[method-assign]
    process = Process(loop, store, inner)
    process.send_and_leave(when)
    store.swap = swap  # type: ignore[method-assign]
    held.set()
    until(lambda: "swap" in store.calls)
    asks_at_once(store, inner)
    assert inner.asked == 1


def test_who_is_cancelled_while_the_endpoint_answers_gives_the_lease_back(
    loop: str, store: MemoryStore, inner: Counting
) -> None:
    inner.gate.clear()
    Process(loop, store, inner).send_and_leave(lambda: inner.entered.acquire(timeout=LIMIT))
    inner.gate.set()
    until(lambda: not store.is_leased())
    assert inner.asked == 1
    assert store.subscribers == 0


def test_who_is_cancelled_while_it_waits_for_another_leaves_nothing_behind(
    loop: str, store: MemoryStore, inner: Counting
) -> None:
    inner.gate.clear()
    first = Process("threads", store, inner)
    asking = run_in_threads(1, lambda _: first.send())
    assert inner.entered.acquire(timeout=LIMIT)
    Process(loop, store, inner).send_and_leave(lambda: until(lambda: store.subscribers == 1))
    assert store.subscribers == 0
    assert store.is_leased()
    inner.gate.set()
    asking()
    assert inner.asked == 1


def test_a_thread_that_is_interrupted_while_it_waits_leaves_nothing_behind(
    store: MemoryStore, inner: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner.gate.clear()
    first = Process("threads", store, inner)
    asking = run_in_threads(1, lambda _: first.send())
    assert inner.entered.acquire(timeout=LIMIT)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("evertoken_transports._threads.Caller.sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Process("threads", store, inner).send()
    assert store.subscribers == 0
    inner.gate.set()
    asking()


def test_an_interrupted_thread_gives_the_lease_back(store: MemoryStore, inner: Counting) -> None:
    class Interrupted(Counting):
        def blocking(self, _: TokenRequest, /) -> HttpResponse:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Process("threads", store, Interrupted()).send()
    until(lambda: not store.is_leased())


def test_the_pool_that_callers_fill_is_not_needed(loop: str, store: MemoryStore, inner: Counting) -> None:
    free = threading.Event()

    def wait() -> None:
        assert free.wait(LIMIT)

    async def main() -> None:
        if loop == "asyncio":
            running = asyncio.get_running_loop()
            held = [running.run_in_executor(None, free.wait) for _ in range(100)]
            assert (await process.exchange(request)).status == 200
            free.set()
            await asyncio.gather(*held)
            return
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(trio.to_thread.run_sync, wait)
            await a_moment()
            assert (await process.exchange(request)).status == 200
            free.set()

    process = Process(loop, store, inner)
    request = process.request()
    run_in(loop, main)


# ------------------------------------------------------------ in a source


@pytest.fixture
def sources(store: MemoryStore, inner: Counting) -> Iterator[Callable[..., Any]]:
    """Makes sources for threads, each as another process has it."""
    made = list[TokenSource]()

    def make(policy: Policy = POLICY, **more: Any) -> TokenSource:  # noqa: ANN401
        machine = TokenMachine(canary.grant(), policy=policy, draw=lambda: 0.5, tiers=1)
        made.append(
            TokenSource(
                machine.grant,
                coordinator=Coordinator(machine),
                exchange=inner.blocking,
                store=cast("MemoryStore", _Alone(store)),
                **more,
            )
        )
        return made[-1]

    yield make
    for source in made:
        source.close()


def test_a_source_with_a_store_shares(sources: Callable[..., TokenSource], inner: Counting) -> None:
    assert sources().authorization() == sources().authorization()
    assert inner.asked == 1


@pytest.mark.parametrize("which", ["asyncio", "trio"])
def test_sources_of_event_loops_share_with_those_of_threads(
    which: str, sources: Callable[..., TokenSource], store: MemoryStore, inner: Counting
) -> None:
    header = sources().authorization()

    async def ask() -> str:
        kind: Any = on_trio.TokenSource if which == "trio" else on_asyncio.TokenSource
        machine = TokenMachine(canary.grant(), policy=POLICY, draw=lambda: 0.5, tiers=1)
        source = kind(
            machine.grant,
            coordinator=Coordinator(machine),
            exchange=inner.awaiting,
            store=cast("MemoryStore", _Alone(store)),
        )
        async with source:
            return cast("str", await source.authorization())

    assert run_in(which, ask) == header
    assert inner.asked == 1


def test_a_block_is_told_to_all_and_lifted_for_all(sources: Callable[..., TokenSource], inner: Counting) -> None:
    inner.answer = LOCKED
    first, second = sources(), sources()
    for source in (first, second):
        with pytest.raises(EndpointLocked):
            source.authorization()
    assert inner.asked == 1
    inner.answer = None
    first.lift_block()
    assert sources().authorization() == first.authorization()
    assert inner.asked == 2


def test_a_block_that_an_api_reports_is_told_to_all(
    sources: Callable[..., TokenSource], store: MemoryStore, inner: Counting
) -> None:
    first, second = sources(), sources()
    first.endpoint_blocked(60.0)
    until(lambda: bool(store.values))
    with pytest.raises(EndpointLocked):
        second.authorization()
    assert inner.asked == 0


def test_a_store_that_cannot_be_told_of_an_operator_s_word_is_an_event(
    sources: Callable[..., TokenSource], store: MemoryStore
) -> None:
    heard = list[Event]()
    source = sources(on_event=heard.append)
    store.fail()
    source.lift_block()
    assert any(isinstance(event, StoreReported) and "put it out" in event.note for event in heard)


class Untold:
    """An exchange of somebody's own, whose store cannot be told of a block."""

    def __call__(self, request: TokenRequest) -> HttpResponse:
        raise AssertionError(request)

    def unblock(self, *_: object) -> NoReturn:
        raise OutOfOrder("the cupboard is locked")

    block = unblock


class OutOfOrder(StoreTrouble):
    """Trouble of a store of somebody's own."""


def test_trouble_of_a_kind_of_one_s_own_is_told_in_its_words() -> None:
    heard = list[Event]()
    TokenSource(canary.grant(), exchange=Untold(), on_event=heard.append).lift_block()
    assert any(isinstance(event, StoreReported) and event.note == "the cupboard is locked" for event in heard)


def test_a_block_of_which_no_thread_can_tell_the_store_is_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = list[Event]()

    def full(*_: object) -> bool:
        return False

    monkeypatch.setattr(_source, "start_thread", full)
    TokenSource(canary.grant(), exchange=Untold(), on_event=heard.append).endpoint_blocked()
    assert any(isinstance(event, StoreReported) and "no thread could be started" in event.note for event in heard)


def test_exchanges_tell_all_their_stores_and_raise_what_one_could_not_be_told(inner: Counting) -> None:
    near, far = MemoryStore(), MemoryStore()
    exchange = SharedExchange(SharedExchange(inner.blocking, far), near)
    exchange.unblock(canary.grant())
    exchange.block(canary.grant(), BlockKind.LOCKED, 60.0)
    assert near.values
    assert far.values
    near.fail()
    with pytest.raises(StoreTrouble, match="put it out"):
        exchange.unblock(canary.grant())
    assert far.calls[-1] == "swap"
    far.fail()
    with pytest.raises(StoreTrouble, match=r"put it out.*put it out"):
        exchange.unblock(canary.grant())


def test_who_says_nothing_waits_longer_than_a_lease_lasts(sources: Callable[..., TokenSource]) -> None:
    alone = TokenSource(canary.grant(), exchange=Counting().blocking)
    assert alone._seconds(None) == 15.0
    assert sources(Policy())._seconds(None) == 20.0
    assert sources(Policy(request_timeout=30.0))._seconds(None) == 50.0  # A lease of 45, and 5 more.
    assert sources()._seconds(2.0) == 2.0


def test_equal_stores_have_one_machine_and_others_have_others(store: MemoryStore, inner: Counting) -> None:
    grant = canary.grant()
    mine = [TokenSource(grant, exchange=inner.blocking, store=store) for _ in range(2)]
    assert mine[0].coordinator is mine[1].coordinator is Coordinator.shared(grant, Policy(), (store,))
    assert mine[0].coordinator.machine.tiers == 1
    others = [TokenSource(grant, exchange=inner.blocking, store=MemoryStore()), TokenSource(grant)]
    assert len({source.coordinator for source in (mine[0], *others)}) == 3


def test_equal_stores_are_known_once_in_a_process(store: MemoryStore, inner: Counting) -> None:
    one, other = SharedExchange(inner.blocking, store), AsyncSharedExchange(inner.awaiting, store)
    assert one._known is other._known
    assert SharedExchange(inner.blocking, store, store_required=True)._known is not one._known


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"store": 5}, TypeError, "store must be a FileStore"),
        ({"store": MemoryStore}, TypeError, r"call it, as in MemoryStore\(\)"),
        ({"store_required": True}, ValueError, "go with a store"),
        ({"keys": (Fernet.generate_key(),)}, ValueError, "go with a store"),
        ({"store": MemoryStore(), "keys": canary.secret()}, TypeError, "a sequence of keys"),
        (
            {"store": MemoryStore(), "keys": (Fernet.generate_key(), canary.secret())},
            ValueError,
            r"keys\[1\] is no key",
        ),
        ({"store": MemoryStore(), "store_required": 1}, TypeError, "store_required"),
        (
            {"store": MemoryStore(), "coordinator": Coordinator(TokenMachine(canary.grant(), draw=lambda: 0.5))},
            ValueError,
            r"tiers=1",
        ),
    ],
)
def test_what_will_not_do_is_refused_where_it_is_given(
    arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    for make in (
        TokenSource,
        on_asyncio.TokenSource,
        on_trio.TokenSource,
        BearerAuth,
    ):
        with pytest.raises(kind, match=says):
            cast("Any", make)(canary.grant(), **arguments)


def test_an_exchange_of_the_wrong_kind_is_refused(store: MemoryStore, inner: Counting) -> None:
    with pytest.raises(TypeError, match="AsyncSharedExchange takes a coroutine function"):
        SharedExchange(cast("Any", inner.awaiting), store)
    with pytest.raises(TypeError, match="SharedExchange takes a plain callable"):
        AsyncSharedExchange(cast("Any", inner.blocking), store)


def test_keys_that_are_none_are_refused_and_in_no_frame(store: MemoryStore, inner: Counting) -> None:
    for keys in (canary.secret(), (canary.secret(),), (Fernet.generate_key(), canary.secret())):
        with pytest.raises((TypeError, ValueError)):
            SharedExchange(inner.blocking, store, keys=keys)
        with pytest.raises((TypeError, ValueError)):
            AsyncSharedExchange(inner.awaiting, store, keys=keys)


def test_a_copy_is_the_exchange_itself_and_nobody_pickles_one(store: MemoryStore, inner: Counting) -> None:
    exchange = SharedExchange(inner.blocking, store, keys=(Fernet.generate_key(),))
    assert copy.deepcopy(exchange) is exchange
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(exchange)
    assert "MemoryStore" in repr(exchange)


def test_a_request_that_no_machine_has_made_is_refused(store: MemoryStore, inner: Counting) -> None:
    request = TokenRequest(1, "POST", "https://example.com", (), b"", time.monotonic() + 9)
    with pytest.raises(LocalProtocolError):
        SharedExchange(inner.blocking, store)(request)


# ------------------------------------------------------------ with httpx


def test_an_auth_object_with_a_store_shares_in_threads_and_in_loops(store: MemoryStore, inner: Counting) -> None:
    seen = list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["Authorization"])
        return httpx.Response(200)

    grant = canary.grant()
    for exchanges in ({"exchange": inner.blocking}, {"async_exchange": inner.awaiting}):
        auth = BearerAuth(grant, store=cast("MemoryStore", _Alone(store)), policy=POLICY, **cast("Any", exchanges))
        if "exchange" in exchanges:
            with httpx.Client(auth=auth, base_url=auth.api_base, transport=httpx.MockTransport(answer)) as client:
                client.get("/users")

        async def call(auth: BearerAuth = auth) -> None:
            async with httpx.AsyncClient(
                auth=auth, base_url=auth.api_base, transport=httpx.MockTransport(answer)
            ) as client:
                await client.get("/users")

        run_in("asyncio", call)
        run_in("trio", call)
    assert inner.asked == 1
    assert len(seen) == 5
    assert len(set(seen)) == 1


def test_exchanges_of_an_auth_object_must_share_alike(inner: Counting, store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="the same stores"):
        BearerAuth(canary.grant(), exchange=SharedExchange(inner.blocking, store), async_exchange=inner.awaiting)


# ------------------------------------------------------------ in a test


def test_in_a_test_with_a_fake_server_no_store_is_asked(store: MemoryStore) -> None:
    with MangopayServer() as server:
        source = TokenSource(server.grant(), store=store)
        assert source.authorization().startswith("Bearer ")
        before = TokenSource(server.grant(), policy=POLICY, exchange=SharedExchange(server.exchange, store))
        assert before.authorization().startswith("Bearer ")
    assert store.calls == []


def test_a_source_made_before_the_fake_server_asks_no_store_in_the_test(store: MemoryStore) -> None:
    source = TokenSource(canary.grant(), store=store)
    with MangopayServer(), pytest.raises(Exception, match="fake server is entered"):
        source.authorization()
    assert store.calls == []


def test_sources_that_use_a_store_with_other_keys_or_more_strictly_do_not_share_in_the_process() -> None:
    grant, store, keys = canary.grant(), MemoryStore(), (Fernet.generate_key(),)
    ways: list[dict[str, Any]] = [{}, {"keys": keys}, {"keys": keys, "store_required": True}]
    made = [TokenSource(grant, store=store, **way) for way in (*ways, *ways)]
    assert len({id(source.coordinator) for source in made}) == len(ways)
