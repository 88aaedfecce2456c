"""HttpxExchange: what is sent, what is kept of the answer, and what errors say. The wire itself is in tests/real."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, NoReturn

import pytest

from evertoken import TokenRequest
from evertoken._http import build_request
from evertoken._secrecy import replace
from evertoken_transports import Exchange, suspend_aware_clock
from evertoken_transports._httpx import network
from evertoken_transports.h11 import ExchangeBroken, ExchangeFailed
from tests.kits import canary
from tests.kits.httpx_kits import LIBRARIES, RUNTIMES, StreamOf, Theirs, run_in
from tests.kits.wire import fifty_megabytes
from tests.kits.worlds import LIMIT, until

FAR = 1_000_000.0


@pytest.fixture(params=[(library, runtime) for library in LIBRARIES for runtime in RUNTIMES], ids="-".join)
def over(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Over:
    library, runtime = request.param
    return Over(import_module(library), runtime, monkeypatch)


@pytest.fixture(params=LIBRARIES)
def blocking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Over:
    return Over(import_module(request.param), "threads", monkeypatch)


class Over:
    """Exchanges over a library whose transport does what the test says instead of opening a socket."""

    def __init__(self, library: Theirs, runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.library = library
        self.runtime = runtime
        self._monkeypatch = monkeypatch
        self.sent: list[Theirs] = []
        self.gate = threading.Event()

    def exchange(self, answer: Callable[[Theirs], Theirs], **options: Theirs) -> Exchange:
        def handle_request(_: object, request: Theirs) -> Theirs:
            self.sent.append(request)
            return answer(request)

        async def handle_async_request(transport: object, request: Theirs) -> Theirs:
            return handle_request(transport, request)

        self._monkeypatch.setattr(self.library.HTTPTransport, "handle_request", handle_request)
        self._monkeypatch.setattr(self.library.AsyncHTTPTransport, "handle_async_request", handle_async_request)
        return self.new(**options)

    def new(self, **options: Theirs) -> Exchange:
        adapter: Theirs = import_module(f"evertoken_transports.{self.library.__name__}")
        if self.runtime == "threads":
            made: Exchange = adapter.HttpxExchange(**options)
            return made
        exchange = adapter.AsyncHttpxExchange(**options)
        return lambda request: run_in(self.runtime, lambda: exchange(request))

    def answering(
        self, status: int, chunks: Iterator[bytes], headers: Sequence[tuple[str, str]] = ()
    ) -> Callable[[Theirs], Theirs]:
        bases = (StreamOf, self.library.SyncByteStream, self.library.AsyncByteStream)
        stream = type("Stream", bases, {})(chunks)
        return lambda _: self.library.Response(status, headers=list(headers), stream=stream)

    def raising(self, error: Exception) -> Callable[[Theirs], Theirs]:
        def fail(_: Theirs) -> Theirs:
            raise error

        return fail


def token_request(seconds: float = FAR, **changes: Theirs) -> TokenRequest:
    request = build_request(canary.grant(), 1, suspend_aware_clock() + seconds)
    return replace(request, **changes)


# What is sent
# ------------


def test_headers_and_body_are_sent_as_they_are_and_nothing_is_added_but_what_every_exchange_adds(over: Over) -> None:
    request = token_request()
    over.exchange(over.answering(200, iter([b"{}"])))(request)
    (sent,) = over.sent
    assert (sent.method, str(sent.url), sent.content) == (request.method, request.url, request.body)
    lines = [(name.decode(), value.decode()) for name, value in sent.headers.raw]
    ours = [("User-Agent", "evertoken"), ("Connection", "close")]
    assert lines == [("Host", "api.sandbox.mangopay.com"), *request.headers, *ours]


def test_every_operation_is_limited_to_the_time_that_is_left(over: Over) -> None:
    over.exchange(over.answering(200, iter([b""])))(token_request(seconds=50.0))
    limits = over.sent[0].extensions["timeout"]
    assert set(limits) == {"connect", "read", "write", "pool"}
    assert all(0 < limit <= 50.0 for limit in limits.values())


def test_nothing_of_one_token_request_comes_back_in_the_next(over: Over) -> None:
    exchange = over.exchange(over.answering(200, iter([b""]), [("Set-Cookie", "kept=no; Path=/")]))
    exchange(token_request())
    exchange(token_request())
    assert "Cookie" not in over.sent[1].headers


@pytest.mark.parametrize("url", ["http://login.example/token", "http://10.0.0.1/token", "ftp://localhost/token"])
def test_plain_http_to_another_machine_is_refused(over: Over, url: str) -> None:
    exchange = over.exchange(over.answering(200, iter([b""])))
    with pytest.raises(ValueError, match="https"):
        exchange(token_request(url=url))
    assert not over.sent


def test_plain_http_is_refused_through_a_proxy_and_allowed_to_this_machine(over: Over) -> None:
    url = "http://127.0.0.1:1/token"
    with pytest.raises(ValueError, match="proxy"):
        over.exchange(over.answering(200, iter([b""])), proxy="http://proxy.example:3128")(token_request(url=url))
    assert not over.sent
    assert over.exchange(over.answering(200, iter([b""])))(token_request(url=url)).status == 200


def test_a_request_whose_deadline_has_passed_is_not_sent(over: Over) -> None:
    exchange = over.exchange(over.answering(200, iter([b""])))
    with pytest.raises(TimeoutError, match="time ran out"):
        exchange(token_request(seconds=0.0))
    assert not over.sent


# What is kept of the answer
# --------------------------


def test_the_answer_keeps_its_status_its_repeated_lines_and_its_bytes(over: Over) -> None:
    lines = [("Warning", "one"), ("Warning", "two"), ("Content-Type", "application/json")]
    answer = over.exchange(over.answering(429, iter([b'{"a"', b":1}"]), lines))(token_request())
    assert (answer.status, answer.body) == (429, b'{"a":1}')
    assert [(name.lower(), value) for name, value in answer.headers] == [
        ("warning", "one"),
        ("warning", "two"),
        ("content-type", "application/json"),
    ]


@pytest.mark.parametrize("location", ["https://elsewhere.example/token", "https://no host/", "//", "", "gopher://x:y"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(over: Over, status: int, location: str) -> None:
    answer = over.exchange(over.answering(status, iter([b"moved"]), [("Location", location)]))(token_request())
    assert (answer.status, answer.body) == (status, b"moved")
    assert len(over.sent) == 1


# httpx lets go of its own generator when an answer is not read to its end, and trio warns of it.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")
@pytest.mark.parametrize("limit", [1, 10, 65_536])
def test_a_body_that_never_ends_is_cut_one_byte_past_the_limit(over: Over, limit: int) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for chunk in itertools.repeat(b"x" * 7):
            taken += len(chunk)
            yield chunk

    answer = over.exchange(over.answering(200, endless()))(token_request(max_body=limit))
    assert len(answer.body) == limit + 1
    assert taken <= limit + 7


def test_a_body_of_exactly_the_limit_is_whole(over: Over) -> None:
    assert over.exchange(over.answering(200, iter([b"12345"])))(token_request(max_body=5)).body == b"12345"


def test_48_kb_of_gzip_that_are_50_mb_stay_48_kb(over: Over) -> None:
    bomb = fifty_megabytes()
    answer = over.exchange(over.answering(200, iter([bomb]), [("Content-Encoding", "gzip")]))(token_request())
    assert answer.body == bomb


# Time and errors
# ---------------


def test_the_caller_leaves_at_the_deadline_whatever_the_library_does(blocking: Over) -> None:
    def hang(_: Theirs) -> Theirs:
        blocking.gate.wait(LIMIT)
        raise blocking.library.ReadError("over")

    exchange = blocking.exchange(hang)
    with pytest.raises(TimeoutError, match="time ran out"):
        exchange(token_request(seconds=0.05))
    blocking.gate.set()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "evertoken-exchange"])


def test_the_clock_decides_about_the_deadline(blocking: Over) -> None:
    readings = itertools.chain([0.0, 0.0], itertools.repeat(10.0))

    def hang(_: Theirs) -> Theirs:
        blocking.gate.wait(LIMIT)
        raise blocking.library.ReadError("over")

    exchange = blocking.exchange(hang, clock=lambda: next(readings))
    early = token_request(deadline=0.05)
    with pytest.raises(TimeoutError):
        exchange(early)
    blocking.gate.set()
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "evertoken-exchange"])


def test_where_no_thread_can_be_started_the_caller_sends_the_request_itself(
    blocking: Over, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    exchange = blocking.exchange(blocking.answering(200, iter([b"{}"])))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert exchange(token_request()).body == b"{}"


def test_an_error_names_stage_host_and_cause_and_hides_its_frames(over: Over) -> None:
    error = over.library.ConnectError("Connect call failed")
    error.__cause__ = ConnectionRefusedError(111, "Connect call failed")
    exchange = over.exchange(over.raising(error))
    with pytest.raises(ConnectionError) as caught:
        exchange(token_request())
    text = str(caught.value)
    assert text == "Connection refused while connecting (api.sandbox.mangopay.com:443)"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_stage_is_the_one_that_the_library_last_began(over: Over) -> None:
    def answer(request: Theirs) -> Theirs:
        trace = request.extensions["trace"]
        for event in ("connection.start_tls.started", "connection.start_tls.failed"):
            told = trace(event, {})
            if told is not None:
                # Runs to its end at once, since it waits for nothing.
                with pytest.raises(StopIteration):
                    told.send(None)
        raise over.library.ConnectError("who knows")

    with pytest.raises(
        ConnectionError, match=r"^ConnectError during the TLS handshake \(api\.sandbox\.mangopay\.com:443\)$"
    ):
        over.exchange(answer)(token_request())


def test_a_timeout_of_the_library_is_the_same_error_as_the_deadline(over: Over) -> None:
    with pytest.raises(TimeoutError, match="time ran out while connecting"):
        over.exchange(over.raising(over.library.ReadTimeout("timed out")))(token_request())


def test_a_name_server_that_is_silent_is_said_to_be(over: Over, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> NoReturn:
        raise TimeoutError

    async def silent_beside(_: object) -> NoReturn:
        silent()

    monkeypatch.setattr(network, "resolved", silent)
    monkeypatch.setattr(network, "resolved_beside", silent_beside)
    with pytest.raises(TimeoutError, match="time ran out while resolving the host name") as caught:
        over.new(trust_env=False)(token_request())
    kind = type(caught.value)
    assert getattr(import_module(kind.__module__), kind.__qualname__) is kind


def test_an_error_in_mid_body_is_an_error_and_not_a_short_answer(over: Over) -> None:
    def broken() -> Iterator[bytes]:
        yield b'{"access_token":'
        raise over.library.RemoteProtocolError("peer closed connection")

    with pytest.raises(ConnectionError, match="the server closed the connection in the middle of the answer's body"):
        over.exchange(over.answering(200, broken()))(token_request())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("LocalProtocolError", f"Illegal header value b'{canary.secret()}'", "cannot be written"),
        ("RemoteProtocolError", f"illegal status line: {canary.token()}", "the server closed the connection"),
        ("InvalidURL", canary.secret(), "cannot be written"),
        ("ReadError", f"got {canary.token()}", r"^ReadError while connecting"),
        (
            "ProxyError",
            f"407 {canary.token()}",
            r"refused to connect to api\.sandbox\.mangopay\.com:443 with status 407$",
        ),
        ("ProxyError", f"4070 {canary.token()}", r"refused to connect to api\.sandbox\.mangopay\.com:443$"),
        ("UnsupportedProtocol", canary.token(), r"^UnsupportedProtocol while connecting"),
    ],
)
def test_no_error_repeats_what_the_library_says(over: Over, name: str, text: str, words: str) -> None:
    with pytest.raises(ConnectionError, match=words) as caught:
        over.exchange(over.raising(getattr(over.library, name)(text)))(token_request())
    canary.assert_clean(caught.value)


@pytest.mark.parametrize("bug", [TypeError, AttributeError, KeyError, NameError, RuntimeError])
def test_a_bug_is_named_with_its_place_and_is_no_error_of_a_connection(over: Over, bug: type[Exception]) -> None:
    with pytest.raises(ExchangeBroken, match=rf"^{bug.__name__} in tests\..*\.fail, line \d+$") as caught:
        over.exchange(over.raising(bug(canary.secret())))(token_request())
    assert not isinstance(caught.value, OSError)
    canary.assert_clean(caught.value)


def test_a_header_that_cannot_be_sent_is_an_error_without_its_value(over: Over) -> None:
    headers = (("Authorization", f"Bearer {canary.secret()}\u20ac"),)
    with pytest.raises(ExchangeFailed, match="cannot be written in HTTP") as caught:
        over.exchange(over.answering(200, iter([b""])))(token_request(headers=headers))
    canary.assert_clean(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ssl_context": "verify"}, "ssl_context"),
        ({"proxy": "proxy.example:3128"}, "proxy"),
        ({"proxy": "nonsense://user:passw0rd@proxy.example"}, "proxy"),
    ],
)
def test_a_wrong_argument_is_named_and_not_shown(over: Over, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        over.new(**options)
    assert "passw0rd" not in str(caught.value)
