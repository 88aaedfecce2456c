"""Wrong arguments of sources, auth objects and coordinators: each is told where it is given, by its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest

from evertoken import Challenge, LocalProtocolError, Policy, TokenMachine, read_challenge
from evertoken_transports import Coordinator, Event
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.httpx import BearerAuth
from evertoken_transports.httpx2 import BearerAuth as BearerAuth2
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits import canary
from tests.kits.worlds import World

Maker = Callable[..., Any]
SOURCES = pytest.mark.parametrize("make", [TokenSource, AsyncioSource, TrioSource])
ALL = pytest.mark.parametrize("make", [TokenSource, AsyncioSource, TrioSource, BearerAuth, BearerAuth2])


async def coroutine_function(_: Event) -> None: ...


class AsyncCallable:
    async def __call__(self, _: Event) -> None: ...


@ALL
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("grant", "demo", "grant must be a ClientCredentials, not str"),
        ("grant", None, "grant must be a ClientCredentials, not NoneType"),
        ("policy", {}, "policy must be a Policy, not dict"),
        ("policy", None, "policy must be a Policy, not NoneType"),
        ("coordinator", "mine", "coordinator must be a Coordinator, not str"),
        ("on_event", [], "on_event must be a function that takes an event, or None, not list"),
        ("on_event", coroutine_function, "on_event must be a plain function, not a coroutine function"),
        ("on_event", AsyncCallable(), "on_event must be a plain function, not a coroutine function"),
    ],
)
def test_an_argument_of_another_type_is_named(make: Maker, name: str, value: object, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        make(**{"grant": canary.grant(), name: value})
    assert str(caught.value).startswith(text)


@ALL
def test_a_source_that_is_taken_for_its_coordinator_is_told_where_that_is(make: Maker) -> None:
    world = World()
    source: Any = TokenSource(world.grant, coordinator=world.coordinator)
    with pytest.raises(TypeError, match=r"source\.coordinator"):
        make(world.grant, coordinator=source)


@SOURCES
@pytest.mark.parametrize("name", ["keep_warm", "background"])
def test_a_text_is_no_answer_to_yes_or_no(make: Maker, name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a bool, not str"):
        make(canary.grant(), **{name: "false"})


@pytest.mark.parametrize(
    "timeout", ["5", True, [], 10**400, -(10**400), -1, float("nan"), float("-inf")], ids=lambda t: str(t)[:9]
)
@pytest.mark.parametrize("is_fresh", [True, False], ids=["fresh", "none yet"])
def test_a_timeout_that_is_none_is_told_even_while_the_token_is_fresh(timeout: Any, is_fresh: bool) -> None:  # noqa: ANN401
    world = World()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    later = AsyncioSource(world.grant, coordinator=world.coordinator)
    if is_fresh:
        source.authorization()
    for ask in (source.authorization, source.warm_up):
        with pytest.raises(ValueError, match=r"^timeout must be a number of seconds"):
            ask(timeout)
    for ask_later in (later.authorization, later.warm_up):
        with pytest.raises(ValueError, match=r"^timeout must be a number of seconds"):
            asyncio.run(ask_later(timeout))
    source.authorization(float("inf"))


@pytest.mark.parametrize("make", [BearerAuth, BearerAuth2])
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("replay", "no", TypeError),
        ("origins", "https://files.example.com", ValueError),
        ("origins", 5, TypeError),
        ("origins", [5], ValueError),
        ("timeout", "5", ValueError),
        ("timeout", True, ValueError),
        ("timeout", float("nan"), ValueError),
        ("timeout", -1, ValueError),
    ],
)
def test_a_wrong_setting_of_an_auth_object_is_named(
    make: Maker, name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name):
        make(canary.grant(), **{name: value})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"machine": canary.grant()}, "machine must be a TokenMachine, not ClientCredentials"),
        ({"clock": 5.0}, "clock must be a function that returns seconds, not float"),
        ({"wall": 5.0}, "wall must be a function that returns seconds, not float"),
        ({"on_event": []}, "on_event must be"),
        ({"on_event": coroutine_function}, "on_event must be a plain function"),
    ],
)
def test_a_wrong_argument_of_a_coordinator_is_named(arguments: dict[str, Any], text: str) -> None:
    make = cast("Maker", Coordinator)
    with pytest.raises(TypeError, match=text):
        make(**{"machine": TokenMachine(canary.grant(), draw=lambda: 0.5), **arguments})


def test_the_shared_coordinator_of_no_grant_or_policy_is_refused() -> None:
    wrong: Any = {}
    with pytest.raises(TypeError, match="policy"):
        Coordinator.shared(canary.grant(), wrong)
    with pytest.raises(TypeError, match="grant"):
        Coordinator.shared(wrong, Policy())


@pytest.mark.parametrize("wrong", [canary.token(), f" {canary.token()} ", "", None, b"Bearer x"])
def test_a_token_without_its_scheme_is_misuse_and_in_no_local_variable_of_ours(wrong: Any) -> None:  # noqa: ANN401
    world = World()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    for thing in (source, world.coordinator):
        with pytest.raises(LocalProtocolError, match="authorization must be"):
            thing.token_rejected(wrong, Challenge.TOKEN)
        with pytest.raises(LocalProtocolError, match="authorization must be"):
            thing.token_worked(wrong)
    header = source.authorization()
    source.token_worked(header)
    source.token_worked(header)


def test_a_closed_source_is_entered_by_nobody() -> None:
    world = World()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint)
    source.close()
    with pytest.raises(LocalProtocolError, match="closed"), source:
        pass

    async def main() -> None:
        closed = AsyncioSource(world.grant, coordinator=world.coordinator)
        await closed.aclose()
        with pytest.raises(LocalProtocolError, match="closed"):
            async with closed:
                pass

    asyncio.run(main())


def test_what_a_library_has_for_headers_can_be_asked_for_the_challenge() -> None:
    headers = httpx.Headers([("WWW-Authenticate", "Basic"), ("WWW-Authenticate", 'Bearer error="invalid_token"')])
    assert read_challenge(401, headers, b"") is Challenge.TOKEN
