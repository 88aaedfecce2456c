"""Token, token() and answered(): what an adapter for somebody else's library is written with, in every runtime."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Literal

import pytest

from evertoken import (
    BlockKind,
    ClientCredentials,
    EndpointLocked,
    HttpResponse,
    LifetimeTooShort,
    LocalProtocolError,
    TokenEndpoint,
    TokenUnavailable,
)
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import Coordinator, Token
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.driving import machine
from tests.kits.loops import LOOPS, all_of, run_in, sleep, source_in
from tests.kits.worlds import EPOCH, World

Runtime = Literal["threads", "asyncio", "trio"]
AnySource = Any  # Of one of the three runtimes.
Wrong = Any
TOKEN = b'{"Type":"invalid_credentials"}'
LOCK = b'{"error":"unauthorized_client"}'


@pytest.fixture(params=("threads", *LOOPS))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    chosen: Runtime = request.param
    return chosen


@pytest.fixture
def world() -> World:
    return World()


def run(runtime: Runtime, world: World, work: Callable[[AnySource], Awaitable[None]]) -> None:
    """``work`` with a source of that runtime. A source for threads sends its requests in the caller's own."""
    if runtime == "threads":
        source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=False)
        with pytest.raises(StopIteration):
            work(source).__await__().__next__()
        return

    async def main() -> None:
        await work(source_in(runtime, world))

    run_in(runtime, world, main)


async def came_of(call: Any) -> Any:  # noqa: ANN401 (of whichever runtime)
    return await call if isawaitable(call) else call


# One value with everything
# -------------------------


def test_a_token_is_one_value_with_everything(runtime: Runtime, world: World) -> None:
    async def work(source: AnySource) -> None:
        token = await came_of(source.token())
        assert isinstance(token, Token)
        assert canary.find_marks(token.value) == ["a token"]
        assert token.authorization == f"Bearer {token.value}"
        assert token.authorization == await came_of(source.authorization())
        assert token.expires_at == EPOCH + world.clock() + 1_200
        assert token.seconds_left == 1_200
        assert token.scope is None
        canary.assert_clean(token)
        assert "expires_at" in repr(token)

    run(runtime, world, work)


def test_the_seconds_left_are_counted_when_they_are_asked_for(world: World) -> None:
    token = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint).token()
    world.clock.now += 700
    assert token.seconds_left == 500
    world.clock.now += 700
    assert token.seconds_left == 0.0


def test_the_same_token_is_equal_whatever_the_wall_clock_says_and_a_copy_is_itself(world: World) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    first = source.token()
    assert copy.deepcopy(first) is first
    world.coordinator.wall = lambda: 5.0
    second = source.token()
    assert second == first
    assert hash(second) == hash(first)
    assert second.expires_at != first.expires_at


@pytest.mark.parametrize(("asked", "granted", "scope"), [("read", "", "read"), ("read write", "read", "read")])
def test_the_scope_is_what_the_server_says_else_what_was_asked_for(asked: str, granted: str, scope: str) -> None:
    said = f',"scope":"{granted}"' if granted else ""
    body = f'{{"access_token":"{canary.token()}","token_type":"bearer","expires_in":60{said}}}'.encode()
    grant = ClientCredentials(TokenEndpoint("https://as.example"), "canary", canary.secret(), scope=asked)
    coordinator = Coordinator(machine(credentials=grant))
    source = TokenSource(grant, coordinator=coordinator, exchange=lambda _: HttpResponse(200, (), body))
    assert source.token().scope == scope


def test_a_token_is_waited_for_and_refused_as_an_authorization_value_is(runtime: Runtime, world: World) -> None:
    world.server.replace_script(Script(token=TokenBehaviour(fault=TokenFault.LOCKED)))

    async def work(source: AnySource) -> None:
        with pytest.raises(EndpointLocked):
            await came_of(source.token())
        for timeout in (-1, "5", float("nan")):
            with pytest.raises(ValueError, match="timeout must be"):
                await came_of(source.token(timeout))

    run(runtime, world, work)


def test_a_caller_can_ask_for_a_token_with_life_in_it(runtime: Runtime, world: World) -> None:
    async def work(source: AnySource) -> None:
        first = await came_of(source.token())
        world.clock.now += 800
        assert await came_of(source.token()) == first
        assert (await came_of(source.token(min_ttl=400))).seconds_left == 1_200
        with pytest.raises(LifetimeTooShort):
            await came_of(source.token(min_ttl=1_199))

    run(runtime, world, work)
    assert len(world.token_requests()) == 2


def test_a_closed_source_gives_no_token(runtime: Runtime, world: World) -> None:
    async def work(source: AnySource) -> None:
        await came_of(source.token())
        await came_of(source.close() if runtime == "threads" else source.aclose())
        for ask in (source.token, source.token_nowait):
            with pytest.raises(LocalProtocolError, match="closed"):
                await came_of(ask())

    run(runtime, world, work)


def test_token_nowait_looks_and_starts_what_is_due(runtime: Runtime, world: World) -> None:
    async def work(source: AnySource) -> None:
        assert source.token_nowait() is None
        token = await came_of(source.token())
        assert source.token_nowait() == token
        world.clock.now += 1_180
        assert source.token_nowait() == token
        if runtime != "threads":
            await sleep(runtime, 1)
            assert source.token_nowait() not in (None, token)

    run(runtime, world, work)


def test_a_token_is_had_without_the_lock_while_it_is_fresh(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    token = source.token()
    with monkeypatch.context() as patch:
        patch.setattr(world.coordinator, "_lock", None)
        assert source.token() == token == source.token_nowait()


@pytest.mark.parametrize("loop", LOOPS)
def test_50_tasks_that_want_a_token_make_one_request(loop: Literal["asyncio", "trio"], world: World) -> None:
    async def main() -> None:
        source = source_in(loop, world)
        assert len(set(await all_of(loop, *[source.token] * 50))) == 1

    run_in(loop, world, main)
    assert len(world.token_requests()) == 1


# One call that judges an answer
# ------------------------------


def challenge_of(error: str) -> tuple[tuple[str, str], ...]:
    return (("WWW-Authenticate", error),)


INVALID = challenge_of('Bearer error="invalid_token"')
SCA = challenge_of("PendingUserAction RedirectUrl=x")
# Of each answer: whether a GET is repeated for it, whether a POST is, and whether the token is dropped.
ANSWERS = {
    "200": (200, (), b"", (False, False), False),
    "204": (204, (), TOKEN, (False, False), False),
    "304": (304, (), b"", (False, False), False),
    "401 that names the token": (401, (), TOKEN, (True, True), True),
    "401 with a challenge": (401, INVALID, b"", (True, True), True),
    "403 with a challenge": (403, INVALID, b"", (True, True), True),
    "401 without a word": (401, (), b"", (True, False), True),
    "403 without a word": (403, (), b"", (False, False), False),
    "customer authentication": (401, SCA, b"", (False, False), False),
    "429": (429, (), b"", (False, False), False),
    "500": (500, INVALID, TOKEN, (False, False), False),
}


@pytest.mark.parametrize("method", ["GET", "post"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_judged_in_one_call(runtime: Runtime, world: World, name: str, method: str) -> None:
    status, headers, body, repeats, drops = ANSWERS[name]

    async def work(source: AnySource) -> None:
        header = await came_of(source.authorization())
        assert not source.answered(header, method, 200, (), b"", resendable=True)
        world.clock.now += 100
        again = source.answered(header, method, status, headers, body, resendable=True)
        assert again is repeats[method == "post"]
        assert (world.coordinator.machine.state_value.token is None) is drops

    run(runtime, world, work)


def test_an_answer_that_says_locked_shuts_the_token_endpoint(runtime: Runtime, world: World) -> None:
    async def work(source: AnySource) -> None:
        header = await came_of(source.authorization())
        assert not source.answered(header, "GET", 400, {"Content-Type": "application/json"}, LOCK, resendable=True)
        assert [kind for kind, _ in source.explain().blocks] == [BlockKind.LOCKED]
        assert source.authorization_nowait() == header

    run(runtime, world, work)


def test_what_cannot_be_sent_again_is_not_and_the_token_is_dropped_all_the_same(world: World) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    header = source.authorization()
    source.answered(header, "GET", 200, (), b"", resendable=False)
    world.clock.now += 30
    assert not source.answered(header, "GET", 401, (), TOKEN, resendable=False)
    assert source.authorization() != header


def test_a_rejection_that_is_not_believed_repeats_nothing_and_one_of_an_old_token_does(world: World) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    header = source.authorization()
    source.answered(header, "GET", 200, (), b"", resendable=True)
    world.clock.now += 30
    assert source.answered(header, "GET", 401, (), TOKEN, resendable=True)
    another = source.authorization()
    assert not source.answered(another, "GET", 401, (), TOKEN, resendable=True)  # Asked for only just now.
    assert source.authorization() == another
    assert source.answered(header, "GET", 401, (), TOKEN, resendable=True)


def test_while_one_token_works_an_answer_costs_no_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    header = source.authorization()
    source.answered(header, "GET", 200, (), b"", resendable=True)
    assert world.coordinator.machine.state_value.rejections.worked
    monkeypatch.setattr(source, "_coordinator", None)
    assert not source.answered(header, "GET", 200, (), b"", resendable=True)


@pytest.mark.parametrize("carried", [None, "", f"Basic {canary.secret()}", "Basic", "Digest a=b"])
@pytest.mark.parametrize(("status", "body"), [(200, b""), (401, TOKEN), (400, LOCK)])
def test_an_answer_to_a_call_without_a_bearer_token_says_nothing(
    world: World, carried: str | None, status: int, body: bytes
) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    source.warm_up()
    state = world.coordinator.machine.state_value
    if carried == "Basic":  # A word alone is taken for the bare token.
        with pytest.raises(LocalProtocolError, match="whole value of the header"):
            source.answered(carried, "GET", status, (), body, resendable=True)
    else:
        assert not source.answered(carried, "GET", status, (), body, resendable=True)
    assert world.coordinator.machine.state_value == state


@pytest.mark.parametrize("carried", [canary.token(), b"Bearer x"])
@pytest.mark.parametrize("status", [200, 401])
def test_the_bare_token_is_refused_at_the_first_answer_good_or_bad(world: World, carried: Wrong, status: int) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    with pytest.raises(LocalProtocolError, match="authorization must be") as caught:
        source.answered(carried, "GET", status, (), b"", resendable=True)
    canary.assert_clean(caught.value)


@pytest.mark.parametrize(
    ("method", "headers", "body", "text"),
    [
        (None, (), b"", "method must be a str, not NoneType"),
        ("GET", None, b"", "headers"),
        ("GET", (("Location", f"https://x/{canary.secret()}"),), f"{canary.secret()}", "body must be bytes"),
    ],
)
def test_a_wrong_argument_is_named_and_what_was_answered_is_in_no_frame(
    world: World,
    method: Wrong,
    headers: Wrong,
    body: Wrong,
    text: str,
) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    with pytest.raises(TypeError, match=text) as caught:
        source.answered(source.authorization(), method, 401, headers, body, resendable=True)
    canary.assert_clean(caught.value)


@pytest.mark.parametrize("status", ["401", None, 401.0])
def test_a_status_that_is_no_int_is_named_before_anything_is_read(world: World, status: Wrong) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    with pytest.raises(TypeError, match="status must be an int, not") as caught:
        source.answered(source.authorization(), "GET", status, (("X", canary.secret()),), b"", resendable=True)
    canary.assert_clean(caught.value)


def test_where_no_other_token_can_be_had_the_source_says_so(world: World) -> None:
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    header = source.authorization()
    source.answered(header, "GET", 200, (), b"", resendable=True)
    world.clock.now += 30
    world.server.replace_script(Script(token=TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)))
    assert source.answered(header, "GET", 401, (), TOKEN, resendable=True)
    with pytest.raises(TokenUnavailable):
        source.authorization(timeout=0)
