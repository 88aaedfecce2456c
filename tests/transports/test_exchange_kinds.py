"""What may be given as an exchange, what comes of one that is wrong, and that a bug is never told as the network's."""

from __future__ import annotations

import asyncio
import functools
import http.client
import logging
import re
import socket
import ssl
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import httpx
import httpx2
import pytest
import requests

from evertoken import HttpResponse, ProblemKind, TokenRequest, TokenUnavailable
from evertoken_transports.asyncio import AsyncioExchange
from evertoken_transports.h11 import ExchangeBroken, ExchangeFailed, H11Exchange
from evertoken_transports.httpx import AsyncHttpxExchange, BearerAuth, HttpxExchange
from evertoken_transports.trio import TrioExchange
from tests.kits import canary
from tests.kits.httpx_kits import RUNTIMES, run_in
from tests.kits.worlds import World, run_in_threads

# Sources and exchanges of all runtimes, which have no class in common.
Theirs = Any


async def asynchronous(_: TokenRequest) -> HttpResponse:
    raise AssertionError("never called")


def blocking(_: TokenRequest) -> HttpResponse:
    raise AssertionError("never called")


class BlockingObject:
    def __call__(self, _: TokenRequest) -> HttpResponse:
        raise AssertionError("never called")


NEVER_EXCHANGES: tuple[object, ...] = (
    httpx.Client,
    H11Exchange,
    AsyncioExchange,
    HttpxExchange,
    httpx.Client(),
    httpx2.AsyncClient(),
    requests.Session(),
    "https://auth.example",
    {},
)
ASYNCHRONOUS: tuple[object, ...] = (
    asynchronous,
    functools.partial(asynchronous),
    AsyncioExchange(),
    TrioExchange(),
    AsyncHttpxExchange(),
)
BLOCKING: tuple[object, ...] = (blocking, functools.partial(blocking), BlockingObject(), H11Exchange(), HttpxExchange())
OURS = {
    "threads": "evertoken_transports.h11.H11Exchange",
    "asyncio": "evertoken_transports.asyncio.AsyncioExchange",
    "trio": "evertoken_transports.trio.TrioExchange",
}


def source_of(runtime: str, world: World, **options: object) -> Theirs:
    module: Theirs = import_module(f"evertoken_transports.{runtime}")
    return module.TokenSource(world.grant, coordinator=world.coordinator, **options)


def ids(value: object) -> str:
    return getattr(value, "__name__", type(value).__name__)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("exchange", [*NEVER_EXCHANGES, *ASYNCHRONOUS, *BLOCKING], ids=ids)
def test_an_exchange_of_the_wrong_kind_is_refused_where_it_is_given(runtime: str, exchange: object) -> None:
    right = BLOCKING if runtime == "threads" else ASYNCHRONOUS
    if any(exchange is each for each in right):
        assert source_of(runtime, World(), exchange=exchange)
        return
    kind = "a plain callable" if runtime == "threads" else "a coroutine function"
    with pytest.raises(TypeError, match=rf"^exchange must be {kind}; {OURS[runtime]} makes one\. Here .*\.$"):
        source_of(runtime, World(), exchange=exchange)


@pytest.mark.parametrize("exchange", NEVER_EXCHANGES, ids=ids)
@pytest.mark.parametrize("name", ["exchange", "async_exchange"])
def test_an_auth_object_refuses_what_is_no_exchange(name: str, exchange: object) -> None:
    options: Theirs = {name: exchange}
    with pytest.raises(TypeError, match=rf"^{name} must be a "):
        BearerAuth(World().grant, **options)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("options", [{"ssl_context": ssl.create_default_context()}, {"trust_env": False}], ids=list)
def test_settings_beside_an_exchange_of_ones_own_are_refused(runtime: str, options: dict[str, object]) -> None:
    exchange = blocking if runtime == "threads" else asynchronous
    with pytest.raises(ValueError, match=r"^exchange has settings of its own: give ssl_context and trust_env to it"):
        source_of(runtime, World(), exchange=exchange, **options)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_wrong_ssl_context_is_refused_by_name(runtime: str) -> None:
    with pytest.raises(ValueError, match=r"^ssl_context must be an ssl\.SSLContext or None, not str$"):
        source_of(runtime, World(), ssl_context="cert.pem")


@pytest.mark.parametrize(("module", "name"), [("asyncio", "AsyncioExchange"), ("trio", "TrioExchange")])
def test_the_exchanges_of_the_loops_have_public_names(module: str, name: str) -> None:
    public: Theirs = import_module(f"evertoken_transports.{module}")
    found = getattr(public, name)
    assert f"{found.__module__}.{found.__name__}" == f"evertoken_transports.{module}.{name}"
    assert "ssl_context: for client certificates" in found.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = public.Nonsense


# ------------------------------------------------------------------------------------------------ what comes of one


def failing(error: Exception) -> Callable[[TokenRequest], Theirs]:
    def fail(_: TokenRequest) -> Theirs:
        raise error

    return fail


_Made: Theirs = HttpResponse


def making(parts: tuple[object, ...], _: TokenRequest) -> HttpResponse:
    answer: HttpResponse = _Made(*parts)
    return answer


def giving(answer: Theirs) -> Callable[[TokenRequest], Theirs]:
    return lambda _: answer


def told(runtime: str, exchange: Callable[[TokenRequest], Theirs]) -> tuple[TokenUnavailable, World]:
    """What a caller is told of a request that ``exchange`` carried."""
    world = World()

    async def there(request: TokenRequest) -> HttpResponse:
        answer: HttpResponse = exchange(request)
        return answer

    source = source_of(runtime, world, exchange=exchange if runtime == "threads" else there, background=False)

    def ask(_: int) -> None:
        if runtime == "threads":
            source.authorization(0.1)
        else:
            run_in(runtime, lambda: source.authorization(0.1))

    (error,) = run_in_threads(1, ask)()
    assert isinstance(error, TokenUnavailable)
    canary.assert_clean(error)
    return error, world


BUGS = (
    AssertionError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    NameError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    TypeError,
    UnboundLocalError,
    ValueError,
    ZeroDivisionError,
)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_named_with_type_and_place_and_logged_at_error(
    runtime: str, bug: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    error, world = told(runtime, failing(bug(f"no {canary.secret()} here, but {canary.token()}")))
    problem = error.problem
    assert problem.kind is ProblemKind.BUG
    place = r"in tests\.transports\.test_exchange_kinds\.failing\.<locals>\.fail, line \d+$"
    assert re.search(rf"failed by a bug: {bug.__name__} {place}", problem.summary), problem.summary
    assert "DNS" not in str(error)
    assert "bug" in str(world.coordinator.explain())
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == len([record for record in caplog.records if record.levelno > logging.DEBUG]) == 1
    assert bug.__name__ in records[0].getMessage()
    assert not canary.find_marks(records[0].getMessage())


WRONG_ANSWERS: tuple[object, ...] = (
    None,
    "text",
    b"bytes",
    200,
    {},
    requests.Response(),
    httpx.Response(200),
)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("answer", WRONG_ANSWERS, ids=ids)
def test_an_answer_of_the_wrong_type_is_a_bug(runtime: str, answer: object) -> None:
    problem = told(runtime, giving(answer))[0].problem
    assert problem.kind is ProblemKind.BUG
    assert "the exchange" in problem.summary
    assert "HttpResponse" in problem.summary


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("200",), "status must be an int, not str"),
        ((None,), "status must be an int, not NoneType"),
        ((200, None), "headers must be pairs of a name and a value, or a mapping, not NoneType"),
        ((200, [("a", "b", "c")]), "headers must be pairs of a name and a value, or a mapping, not list"),
        ((200, (), canary.token()), "body must be bytes (b'' if it was not read), not str"),
        ((200, (), {"access_token": canary.token()}), "body must be bytes (b'' if it was not read), not dict"),
    ],
    ids=ids,
)
def test_an_answer_that_cannot_be_made_is_a_bug_where_it_was_made(
    runtime: str, parts: tuple[object, ...], said: str
) -> None:
    problem = told(runtime, partial(making, parts))[0].problem
    assert problem.kind is ProblemKind.BUG
    place = r"in tests\.transports\.test_exchange_kinds\.making, line \d+"
    assert re.search(rf"failed by a bug: TypeError {place} \(HttpResponse: {re.escape(said)}\)$", problem.summary)


def test_a_coroutine_that_nobody_awaits_is_a_bug_and_is_closed() -> None:
    made: list[Theirs] = []

    def forgot_to_await(request: TokenRequest) -> Theirs:
        made.append(asynchronous(request))
        return made[0]

    problem = told("threads", forgot_to_await)[0].problem
    assert "returned coroutine, not an HttpResponse" in problem.summary
    assert made[0].cr_frame is None


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bugs_out_of_a_group_of_tasks_are_bugs(runtime: str) -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", [TypeError(canary.token())])])
    assert told(runtime, failing(group))[0].problem.kind is ProblemKind.BUG
    weather = ExceptionGroup("unhandled errors in a TaskGroup", [OSError(113, canary.token())])
    assert "No route to host" in told(runtime, failing(weather))[0].problem.summary


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, canary.token()), "ConnectionResetError: Connection reset by peer"),
        (ConnectionError(canary.token()), "no answer: ConnectionError"),
        (ConnectionError(), "no answer: ConnectionError"),
        (socket.gaierror(-2, "Name or service not known"), "socket.gaierror: Name or service not known"),
        (ExchangeFailed("the vault is sealed"), "no answer: the vault is sealed"),
        (http.client.BadStatusLine(canary.token()), "no answer: http.client.BadStatusLine"),
        (http.client.RemoteDisconnected(canary.token()), "no answer: http.client.RemoteDisconnected"),
        (requests.exceptions.ConnectionError(canary.token()), "no answer: requests.exceptions.ConnectionError"),
        (httpx.RemoteProtocolError(canary.token()), "no answer: httpx.RemoteProtocolError"),
        (ssl.SSLError(1, canary.token()), "no answer: ssl.SSLError: SSLError"),
        (asyncio.IncompleteReadError(b"x", 7), "no answer: asyncio.exceptions.IncompleteReadError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_library_says_is_not_shown_and_what_the_system_says_is(
    runtime: str, error: Exception, words: str
) -> None:
    problem = told(runtime, failing(error))[0].problem
    assert problem.kind is ProblemKind.TRANSPORT
    assert words in problem.summary
    assert not canary.find_marks(problem.summary)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_bug_that_an_exchange_names_itself_is_one(runtime: str) -> None:
    problem = told(runtime, failing(ExchangeBroken("TypeError in vault.read, line 7")))[0].problem
    assert problem.kind is ProblemKind.BUG
    assert problem.summary.endswith("failed by a bug: TypeError in vault.read, line 7")


def test_an_error_whose_text_cannot_be_had_is_named_all_the_same() -> None:
    class Mute(ConnectionError):
        __module__ = "builtins"

        def __str__(self) -> str:
            raise ValueError(canary.token())

    assert told("threads", failing(Mute()))[0].problem.summary.endswith("Mute")


# What its own tasks come to
# --------------------------


def test_a_cancellation_of_what_an_exchange_awaits_is_a_failure_with_a_back_off() -> None:
    asked = 0

    async def awaits_a_lost_task(_: TokenRequest) -> HttpResponse:
        nonlocal asked
        asked += 1
        task = asyncio.ensure_future(asyncio.sleep(3_600))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task
        raise AssertionError("never reached")

    async def call(source: Theirs) -> None:
        with pytest.raises(TokenUnavailable) as caught:
            await source.authorization(timeout=0.5)
        assert "CancelledError" in str(caught.value)

    asyncio.run(call(source_of("asyncio", World(), exchange=awaits_a_lost_task)))
    assert asked == 1


def test_a_cancellation_that_an_exchange_raises_in_a_thread_is_a_failure_with_a_back_off() -> None:
    asked = 0

    def gives_up(_: TokenRequest) -> HttpResponse:
        nonlocal asked
        asked += 1
        raise asyncio.CancelledError

    with pytest.raises(TokenUnavailable) as caught:
        source_of("threads", World(), exchange=gives_up).authorization(timeout=0.5)
    assert "CancelledError" in str(caught.value)
    assert asked == 1
