"""A client's secret that a callable gives: asked beside every caller, in time, and without showing a word of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from evertoken import (
    ClientAssertion,
    ClientCredentials,
    CredentialsRefused,
    HttpResponse,
    Policy,
    ProblemKind,
    SecretSource,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    mangopay,
)
from evertoken._secrecy import replace
from evertoken.testing import Script
from evertoken_transports import Coordinator, CredentialsReplaced, EndpointUnblocked, RequestFailed
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.credentials import SecretUnavailable, secret_file
from evertoken_transports.stores import SharedExchange
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits import canary
from tests.kits.loops import LOOPS, AsyncEndpoint, Loop, run_in, sleep, source_in
from tests.kits.worlds import LIMIT, World, run_in_threads, until

OLD, NEW = canary.secret(0), canary.secret(1)
QUICK = Policy(request_timeout=0.05)


class Vault:
    """Gives ``secret``, and knows who asked and how often."""

    def __init__(self, secret: str = OLD) -> None:
        self.secret = secret
        self.threads: list[threading.Thread] = []

    def read(self) -> str:
        """The secret as it is now."""
        self.threads.append(threading.current_thread())
        return self.secret

    async def fetch(self) -> str:
        """The same for event loops."""
        return self.read()

    @property
    def asked(self) -> int:
        return len(self.threads)


class Place(World):
    """A world whose client has ``source`` for a secret."""

    def __init__(self, source: SecretSource, policy: Policy | None = None, script: Script | None = None) -> None:
        self.source = source
        super().__init__(script, policy)

    def new_coordinator(self) -> Coordinator:
        self.grant = mangopay.sandbox("canary", self.source)
        return super().new_coordinator()

    def rotate(self) -> None:
        """The endpoint knows only the new secret from now on."""
        self.server.set_api_key(NEW)

    def refused(self) -> int:
        return sum(arrival.status == 401 for arrival in self.token_requests())


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def place(vault: Vault) -> Iterator[Place]:
    made = Place(vault.read)
    yield made
    made.settle()


def source_of(place: Place, **options: Any) -> TokenSource:  # noqa: ANN401
    return TokenSource(place.grant, coordinator=place.coordinator, exchange=place.endpoint, **options)


def failure_of(source: TokenSource, timeout: float = 0.1) -> TokenUnavailable:
    with pytest.raises(TokenUnavailable) as caught:
        source.authorization(timeout)
    return caught.value


# Asked before each exchange, and by nobody who waits
# ---------------------------------------------------


def test_it_is_asked_once_for_each_token_request_and_never_by_a_caller(place: Place, vault: Vault) -> None:
    source = source_of(place)
    join = run_in_threads(50, lambda _: source.authorization())
    assert len(set(join())) == 1
    for _ in range(1_000):
        source.authorization()
    assert vault.asked == len(place.token_requests()) == 1
    place.advance(1_200 * 0.98)
    source.authorization()
    until(lambda: len(place.token_requests()) == 2)
    assert vault.asked == 2
    assert threading.current_thread() not in vault.threads


def test_the_caller_that_carries_the_request_itself_does_not_call_it_either(place: Place, vault: Vault) -> None:
    source_of(place, background=False).authorization()
    assert vault.threads != [threading.current_thread()]


def test_auth_objects_with_the_same_callable_share_one_token(place: Place, vault: Vault) -> None:
    for _ in range(100):
        grant = mangopay.sandbox("canary", vault.read)
        TokenSource(grant, exchange=place.endpoint).authorization()
    assert vault.asked == len(place.token_requests()) == 1


# Rotation
# --------


def test_a_secret_that_was_replaced_is_used_for_the_next_token_and_nobody_notices(place: Place, vault: Vault) -> None:
    events: list[object] = []
    source = source_of(place, on_event=events.append)
    source.authorization()
    place.rotate()
    vault.secret = NEW
    place.advance(1_201)
    source.authorization()
    assert place.refused() == 0
    assert [event for event in events if isinstance(event, CredentialsReplaced)] == [CredentialsReplaced("canary")]


class Moments:
    """Counts the steps of a story, and does something at one of them."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.passed = 0
        self._number, self._act = number, act

    def step(self) -> None:
        if self.passed == self._number:
            self._act()
        self.passed += 1


def story(number: int) -> tuple[Place, Moments]:
    """Three tokens, with a rotation at the ``number``-th moment; every call of it is served."""
    vault = Vault()

    def read() -> str:
        moments.step()
        said = vault.read()
        moments.step()
        return said

    def exchange(request: TokenRequest) -> HttpResponse:
        moments.step()
        answer = place.endpoint(request)
        moments.step()
        return answer

    def rotate() -> None:
        place.rotate()
        vault.secret = NEW

    place = Place(read)
    moments = Moments(number, rotate)
    source = TokenSource(place.grant, coordinator=place.coordinator, exchange=exchange, background=False)
    for seconds in (0.0, 1_190.0, 2_000.0):  # The first one, one while the token lives, and one after its end.
        place.clock.now = 1_000.0 + seconds
        moments.step()
        assert source.authorization().startswith("Bearer ")
        moments.step()
    return place, moments


def test_a_rotation_at_any_step_fails_no_call_and_costs_one_refused_request_at_most() -> None:
    _, untouched = story(-1)
    refused = [story(number)[0].refused() for number in range(untouched.passed)]
    assert max(refused) == 1
    assert 0 < sum(refused) < len(refused)


def test_a_vault_that_is_late_is_asked_once_a_minute_while_the_endpoint_refuses(place: Place, vault: Vault) -> None:
    events: list[object] = []
    source = source_of(place, background=False, on_event=events.append)
    place.rotate()
    assert isinstance(failure_of(source), CredentialsRefused)
    asked = vault.asked
    assert asked == 2  # Before the request, and after its refusal.
    for _ in range(3):
        for _ in range(10):
            assert isinstance(failure_of(source), CredentialsRefused)
        place.advance(60)
        assert isinstance(failure_of(source), CredentialsRefused)  # This one looks.
    assert vault.asked == asked + 3
    assert place.refused() == len(place.token_requests()) == 1
    vault.secret = NEW
    place.advance(60)
    assert source.authorization()
    assert place.refused() == 1
    assert [type(event) for event in events][-5:-1].count(EndpointUnblocked) == 1


def test_who_starts_a_look_is_served_if_there_is_another_secret_and_others_fail_at_once_meanwhile() -> None:
    vault, shut = Vault(), threading.Event()
    shut.set()

    def read() -> str:
        assert shut.wait(LIMIT)
        return vault.read()

    place = Place(read)
    source = source_of(place)
    place.rotate()
    assert isinstance(failure_of(source), CredentialsRefused)
    vault.secret = NEW
    place.advance(60)
    shut.clear()
    join = run_in_threads(1, lambda _: source.authorization())
    until(lambda: place.coordinator.explain().attempt_deadline is not None)
    assert isinstance(failure_of(source, timeout=LIMIT), CredentialsRefused)
    shut.set()
    assert join() == [source.authorization()]


def test_where_each_answer_of_it_is_another_one_a_refusal_is_knocked_on_four_times_and_spaced(place: Place) -> None:
    numbers = iter(range(10, 1_000))
    place = Place(lambda: canary.secret(next(numbers)))
    source = source_of(place, background=False)
    failure_of(source)
    assert place.refused() == 2
    for _ in range(30):
        place.advance(60)
        failure_of(source)
    assert place.refused() == 4


# What goes wrong
# ---------------


class Sealed(Exception):
    """What a vault's client raises, with the secret in its text."""


def sealed() -> str:
    raise Sealed(f"the vault is sealed, and {OLD} was in it")


def forgotten() -> str:
    secrets: dict[str, str] = {}
    return secrets["secret"]


def denied() -> str:
    raise PermissionError(13, f"not {OLD}", f"/secrets/{OLD}")


def not_there() -> str:
    raise SecretUnavailable("the secret engine has no version 7")


async def awaited() -> str:
    return OLD


def later(vault: Vault) -> Awaitable[str]:
    return vault.fetch()


@pytest.mark.parametrize(
    ("source", "said", "kind"),
    [
        (sealed, "it raised tests.transports.test_secrets.Sealed", ProblemKind.SECRET),
        (forgotten, "it raised KeyError in tests.transports.test_secrets.forgotten", ProblemKind.BUG),
        (denied, "it raised PermissionError: Permission denied", ProblemKind.SECRET),
        (not_there, "the secret engine has no version 7", ProblemKind.SECRET),
        (lambda: "", "what it gave must not be empty", ProblemKind.SECRET),
        (lambda: OLD + "\n", "what it gave begins or ends with white space", ProblemKind.SECRET),
        (OLD.encode, "what it gave must be text, not bytes", ProblemKind.BUG),
        (lambda: None, "what it gave must be text, not NoneType", ProblemKind.BUG),
        (lambda: later(Vault()), "what it gave must be text, not coroutine", ProblemKind.BUG),
        (awaited, "it is a coroutine function, and nobody awaits in a thread", ProblemKind.BUG),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_it_does_wrong_is_a_failure_that_costs_nothing_and_shows_nothing(
    source: SecretSource, said: str, kind: ProblemKind
) -> None:
    place, events = Place(source), list[object]()
    tried = source_of(place, background=False, on_event=events.append)
    error = failure_of(tried)
    assert said in str(error)
    assert error.problem.kind is kind
    assert error.retry_after > 0
    assert place.token_requests() == []
    assert tried.explain().budget_left == place.policy.budget_burst
    assert tried.explain().failures == 1
    assert [type(event) for event in events].count(RequestFailed) == 1


def test_callers_have_the_old_token_while_the_vault_is_down_and_the_new_one_when_it_is_back() -> None:
    vault = Vault()
    down = threading.Event()

    def read() -> str:
        return sealed() if down.is_set() else vault.read()

    place = Place(read)
    source = source_of(place)
    first = source.authorization()
    down.set()
    place.advance(1_180)
    for _ in range(20):
        assert source.authorization() == first
        place.settle()
    assert source.explain().failures == 1
    down.clear()
    place.advance(2)
    until(lambda: source.authorization() != first)


def test_one_that_hangs_is_given_up_and_after_three_it_is_not_called_any_more() -> None:
    over, entered = threading.Event(), threading.Semaphore(0)

    def hang() -> str:
        entered.release()
        over.wait(LIMIT)
        return OLD

    place = Place(hang, QUICK)
    source = source_of(place, background=False)
    for _ in range(3):
        assert "it took longer than 0.05 s (Policy.request_timeout)" in str(failure_of(source))
        assert entered.acquire(blocking=False)
        place.advance(1_000)
    assert "3 calls of it have not come back" in str(failure_of(source))
    assert not entered.acquire(blocking=False)
    assert place.token_requests() == []
    over.set()
    until(lambda: not place.coordinator.asking)
    place.advance(1_000)
    assert source.authorization()


def test_a_caller_waits_no_longer_than_it_can_for_one_that_hangs() -> None:
    over = threading.Event()
    place = Place(lambda: str(over.wait(LIMIT)), Policy(request_timeout=0.2))
    source = source_of(place)
    error = failure_of(source, timeout=0)
    assert error.retry_after == 0.0
    over.set()
    place.settle()


def test_those_who_wait_are_told_that_the_secret_is_being_asked_for() -> None:
    over = threading.Event()
    place = Place(lambda: str(over.wait(LIMIT)))
    source = source_of(place)
    join = run_in_threads(1, lambda _: source.authorization(timeout=5))
    until(lambda: place.coordinator._progress.stage != "")
    place.advance(6)
    (error,) = join()
    assert "a token request is under way, while waiting for the client's secret" in str(error)
    over.set()


class Stopped(BaseException):
    """What no ``except Exception`` catches, as the time-outs of gevent are."""


@pytest.mark.parametrize("kind", [SystemExit, Stopped, asyncio.CancelledError])
def test_an_exit_in_its_thread_is_a_failure_that_costs_nothing_and_shows_nothing(
    kind: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[object] = []

    def leave() -> str:
        calls.append(None)
        raise kind(f"the vault is sealed, and {OLD} was in it")

    place = Place(leave)
    error = failure_of(source_of(place))
    assert f"it raised {kind.__module__.replace('builtins', '').strip('.')}" in str(error)
    assert error.problem.kind is ProblemKind.SECRET
    assert place.coordinator.explain().budget_left == place.policy.budget_burst
    assert len(calls) == 1
    assert OLD not in capfd.readouterr().err


def no_thread(*_: object) -> bool:
    return False


def test_an_interruption_of_one_that_no_thread_could_be_had_for_is_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("evertoken_transports._runtime.start_thread", no_thread)
    place = Place(interrupted)
    with pytest.raises(KeyboardInterrupt):
        source_of(place, background=False).authorization(timeout=1)
    assert place.coordinator.explain().attempt_deadline is None


class Broken:
    """A client authentication that cannot be built."""

    def authenticate(self, grant: ClientCredentials) -> Any:  # noqa: ANN401
        """Not with this secret."""
        raise Sealed(grant.client_secret)


def test_a_client_authentication_that_raises_on_what_was_given_is_a_bug_and_shows_nothing(vault: Vault) -> None:
    place = Place(vault.read)
    grant = ClientCredentials(TokenEndpoint("https://as.example/token", Broken()), "canary", vault.read)
    coordinator = Coordinator(TokenMachine(grant, draw=lambda: 0.5), clock=place.clock)
    source = TokenSource(grant, coordinator=coordinator, exchange=place.endpoint, background=False)
    error = failure_of(source)
    assert error.problem.kind is ProblemKind.BUG
    assert "the client authentication raised tests.transports.test_secrets.Sealed" in str(error)


def test_a_grant_whose_callable_was_replaced_by_a_text_meanwhile_goes_on_with_that(vault: Vault) -> None:
    place = Place(vault.read)
    held = threading.Event()

    def read() -> str:
        held.wait(LIMIT)
        return OLD

    place = Place(read)
    place.rotate()
    source = source_of(place)
    assert source.authorization_nowait() is None
    source.replace_credentials(mangopay.sandbox("canary", NEW))
    held.set()
    assert source.authorization()
    assert place.refused() <= 1


def test_what_a_callable_says_after_a_refusal_is_of_no_use_once_it_is_replaced() -> None:
    number, held = iter(range(2)), threading.Event()

    def read() -> str:
        if next(number):
            held.wait(LIMIT)
        return OLD

    place = Place(read)
    place.rotate()
    source = source_of(place)
    assert source.authorization_nowait() is None
    until(lambda: place.refused() == 1)
    source.replace_credentials(mangopay.sandbox("canary", NEW))
    held.set()
    assert source.authorization()
    assert place.coordinator.machine.grant == mangopay.sandbox("canary", NEW)


def test_a_forked_child_knows_of_no_call_that_hangs(place: Place) -> None:
    place.coordinator.asking += [1, 2, 3]
    place.coordinator._after_fork_in_child()
    assert not place.coordinator.asking


# Event loops
# -----------


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Loop:
    chosen: Loop = request.param
    return chosen


def run_really(loop: Loop, work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    if loop == "trio":
        trio.run(main)
    else:
        asyncio.run(main())


def really_in(loop: Loop, place: Place) -> AsyncioSource | TrioSource:
    async def exchange(request: TokenRequest) -> HttpResponse:
        return place.endpoint(request)

    kind = TrioSource if loop == "trio" else AsyncioSource
    return kind(place.grant, coordinator=place.coordinator, exchange=exchange)


def test_one_that_blocks_holds_up_neither_the_loop_nor_the_pool_that_callers_fill(loop: Loop) -> None:
    turns, over = threading.Semaphore(0), threading.Event()

    def read() -> str:
        for _ in range(20):
            assert turns.acquire(timeout=LIMIT)
        return OLD

    place = Place(read)

    async def main() -> None:
        source = really_in(loop, place)
        if loop == "asyncio":
            asking = asyncio.create_task(source.authorization())
            full = [asyncio.create_task(asyncio.to_thread(over.wait, LIMIT)) for _ in range(40)]
            while not asking.done():
                turns.release()
                await asyncio.sleep(0.001)
            over.set()
            await asyncio.gather(*full)
            return
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(trio.to_thread.run_sync, lambda: over.wait(LIMIT))
            nursery.start_soon(source.authorization)
            while source.authorization_nowait() is None:
                turns.release()
                await trio.sleep(0.001)
            over.set()

    run_really(loop, main)
    assert len(place.token_requests()) == 1


@pytest.mark.parametrize("read", ["read", "fetch"])
def test_a_coroutine_function_is_awaited_and_a_plain_one_is_not_called_in_the_loop(
    loop: Loop, vault: Vault, read: str
) -> None:
    place = Place(getattr(vault, read))

    async def main() -> None:
        await really_in(loop, place).authorization()

    run_really(loop, main)
    assert (vault.threads == [threading.current_thread()]) == (read == "fetch")


def test_a_plain_function_may_give_something_to_be_awaited(loop: Loop, vault: Vault) -> None:
    place = Place(lambda: later(vault))

    async def main() -> None:
        await really_in(loop, place).authorization()

    run_really(loop, main)
    assert vault.asked == 1


def test_a_loop_whose_time_is_virtual_calls_it_itself(loop: Loop, vault: Vault) -> None:
    place = Place(vault.read)

    async def main() -> None:
        await source_in(loop, place).authorization()
        await sleep(loop, 2_000)
        await source_in(loop, place).authorization()

    run_in(loop, place, main)
    assert vault.threads == [threading.current_thread()] * 2


async def cancelled_inside() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (sealed, "it raised tests.transports.test_secrets.Sealed"),
        (OLD.encode, "what it gave must be text, not bytes"),
    ],
)
def test_what_it_does_wrong_in_a_loop_is_told_in_the_same_words(loop: Loop, source: SecretSource, said: str) -> None:
    place = Place(source)

    async def main() -> None:
        with pytest.raises(TokenUnavailable, match=said):
            await source_in(loop, place).authorization(1.0)

    run_in(loop, place, main)
    assert place.token_requests() == []


def test_a_coroutine_function_that_takes_too_long_is_given_up(loop: Loop) -> None:
    async def slow() -> str:
        await sleep(loop, 1_000)
        return OLD

    place = Place(slow)

    async def main() -> None:
        with pytest.raises(TokenUnavailable, match=r"it took longer than 10 s \(Policy\.request_timeout\)"):
            await source_in(loop, place).authorization(10.5)

    run_in(loop, place, main)
    assert place.coordinator.explain().budget_left == place.policy.budget_burst


def test_a_cancellation_inside_it_is_a_failure_and_not_a_carrier_that_gave_up() -> None:
    place = Place(cancelled_inside)

    async def main() -> None:
        with pytest.raises(TokenUnavailable, match=r"it raised asyncio\.exceptions\.CancelledError"):
            await source_in("asyncio", place).authorization(1.0)

    run_in("asyncio", place, main)


def test_what_a_coroutine_function_raises_of_its_own_is_a_failure_whatever_its_class(loop: Loop) -> None:
    calls: list[object] = []

    async def stopped() -> str:
        calls.append(None)
        raise Stopped

    place = Place(stopped)

    async def main() -> None:
        with pytest.raises(TokenUnavailable, match=r"it raised .*Stopped"):
            await source_in(loop, place).authorization(1.0)

    run_in(loop, place, main)
    assert place.coordinator.explain().failures == len(calls) <= 2
    assert place.coordinator.explain().budget_left == place.policy.budget_burst


def test_a_carrier_that_is_cancelled_while_it_asks_gives_the_request_back(loop: Loop) -> None:
    async def slow() -> str:
        await sleep(loop, 5)
        return OLD

    place = Place(slow)

    async def main() -> None:
        source = source_in(loop, place, background=False)
        if loop == "trio":
            with trio.move_on_after(1):
                await source.authorization()
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await source.authorization()
        assert source.explain().attempt_deadline is None
        assert await source.authorization()

    run_in(loop, place, main)


def test_a_refresh_with_a_coroutine_function_is_carried_in_the_loop(loop: Loop, vault: Vault) -> None:
    place = Place(vault.fetch)

    async def main() -> None:
        source = really_in(loop, place)
        source._outlive_with(place.endpoint)  # As the default exchange has it: by a thread.
        first = await source.authorization()
        place.clock.now += 1_180
        while source.authorization_nowait() == first:
            await sleep(loop, 0.001)

    run_really(loop, main)
    assert vault.threads == [threading.current_thread()] * 2


def test_a_rotation_costs_a_loop_one_refused_request_and_no_call(loop: Loop, vault: Vault) -> None:
    place = Place(vault.fetch)

    async def main() -> None:
        source = source_in(loop, place, exchange=AsyncEndpoint(loop, place, 0.2))
        place.rotate()
        asked = vault.asked

        async def late() -> str:
            if vault.asked > asked:
                vault.secret = NEW
            return await vault.fetch()

        place.coordinator.machine.replace_credentials(place.clock(), replace(place.grant, client_secret=late))
        await source.authorization()

    run_in(loop, place, main)
    assert place.refused() == 1


# With a store
# ------------


def test_processes_that_share_a_store_find_the_token_of_the_new_secret(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evertoken_transports.stores import FileStore

    monkeypatch.chdir(tmp_path)
    place = Place(vault.read)
    shared = SharedExchange(place.endpoint, FileStore(tmp_path / "store"), clock=place.clock)
    processes: list[TokenSource] = []
    for _ in range(2):
        machine = TokenMachine(place.grant, draw=lambda: 0.5, tiers=1)
        coordinator = Coordinator(machine, clock=place.clock)
        processes.append(TokenSource(place.grant, coordinator=coordinator, exchange=shared, background=False))
    assert processes[0].authorization() == processes[1].authorization()
    assert len(place.token_requests()) == 1
    place.rotate()
    vault.secret = NEW
    place.advance(1_201)
    assert processes[0].authorization() == processes[1].authorization()
    assert len(place.token_requests()) == 2
    assert place.refused() == 0


# Files
# -----


def test_a_file_is_read_again_for_each_token_and_the_newline_at_its_end_is_not_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(OLD + "\r\n\n")
    place = Place(secret_file(file))
    source = source_of(place, background=False)
    source.authorization()
    place.rotate()
    file.write_text(NEW)
    place.advance(1_201)
    source.authorization()
    assert place.refused() == 0


def test_a_projected_file_is_found_behind_the_link_of_the_moment(tmp_path: Path) -> None:
    """As kubelet replaces them: all at once, by pointing ``..data`` elsewhere."""
    for version, secret in (("..1", OLD), ("..2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(secret)
    data = tmp_path / "..data"
    data.symlink_to("..1")
    (tmp_path / "token").symlink_to("..data/token")
    read = secret_file(tmp_path / "token")
    assert read() == OLD
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(data)
    assert read() == NEW


def test_two_of_the_same_path_are_equal_and_a_relative_one_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = secret_file("key")
    assert read == secret_file(tmp_path / "key")
    assert hash(read) == hash(secret_file(tmp_path / "key"))
    assert read != secret_file("other")
    Path("key").write_text(OLD)
    monkeypatch.chdir("/")
    assert read() == OLD
    assertion = ClientAssertion(read)
    assert TokenEndpoint("https://as.example", assertion) == TokenEndpoint("https://as.example", ClientAssertion(read))


def test_a_path_that_can_be_none_is_told_where_it_is_given() -> None:
    with pytest.raises(ValueError, match="path must not be empty"):
        secret_file("")
    with pytest.raises(ValueError, match="path must not contain a null character"):
        secret_file("key\0")


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbf" + OLD.encode() + b"\r\n")
    assert source_of(Place(secret_file(file)), background=False).authorization()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "must not be empty"),
        (b"\n\n", "must not be empty"),
        (b" " + OLD.encode(), "begins or ends with white space"),
        (OLD.encode() + b"\nsecond line", "contains a control character"),
        (b"\xff" + OLD.encode(), "is no UTF-8 text"),
        (OLD.encode() * 10_000, "is longer than 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_told_with_its_path_and_without_its_content(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    error = failure_of(source_of(Place(secret_file(file)), background=False))
    assert f"{file} {said}" in str(error)
