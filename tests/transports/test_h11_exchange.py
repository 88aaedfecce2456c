"""The exchange over a blocking socket: one connection, one deadline, nothing sent where it must not go."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from traceback import TracebackException, extract_tb

import pytest

from evertoken import HttpResponse, TokenRequest
from evertoken._http import build_request
from evertoken._secrecy import replace
from evertoken_transports import h11, suspend_aware_clock
from evertoken_transports.h11 import ExchangeFailed, H11Exchange
from tests.kits import canary
from tests.kits.wire import Server, answer, hang_up, read_request, serving
from tests.kits.worlds import LIMIT, run_in_threads

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\nX: 2\r\n\r\n{}"
PLAIN = HttpResponse(200, (("Content-Length", "2"), ("X", "1"), ("X", "2")), b"{}")

Found = list[tuple[object, ...]]


@pytest.fixture(autouse=True)
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def request_to(base_url: str, deadline: float = LIMIT) -> TokenRequest:
    return build_request(canary.grant(base_url=base_url), 1, deadline)


def unchecked_request_to(url: str, deadline: float = LIMIT) -> TokenRequest:
    """A request that no grant would make, as an embedder might by hand."""
    return TokenRequest(1, "POST", url, (("Content-Length", "0"), ("Authorization", canary.secret())), b"", deadline)


def standing(*, trust_env: bool = True) -> H11Exchange:
    """An exchange for which no time passes."""
    return H11Exchange(trust_env=trust_env, clock=lambda: 0.0)


def failure_of(exchange: H11Exchange, request: TokenRequest) -> str:
    """The text of the failure, after looking for secrets in all that hangs on it."""
    with pytest.raises(ExchangeFailed) as caught:
        exchange(request)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    # The frames in which bytes are sent and read are not among those that the failure leads to.
    assert not {"converse", "receive"} & {frame.name for frame in extract_tb(error.__traceback__)}
    shown = "".join(TracebackException.from_exception(error, capture_locals=True).format())
    assert not canary.find_marks(shown)
    canary.assert_clean(error)
    return str(error)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *places: tuple[str, int]) -> None:
    found: Found = [
        (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
        for host, port in places
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lookup(lambda: found))


def lookup(find: Callable[[], Found]) -> Callable[..., Found]:
    """A ``getaddrinfo`` for names: what ``find`` gives."""

    def getaddrinfo(host: str, port: int, *, type: int, flags: int = 0) -> Found:  # noqa: A002
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return find()

    return getaddrinfo


class Deaf:
    """Addresses of this machine on which nobody takes a connection, nor refuses one: packets are swallowed there."""

    def __init__(self) -> None:
        # Linux drops what would be one more connection than a listener's queue holds.
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.place = self._listener.getsockname()
        self._queued = [socket.socket() for _ in range(3)]
        for each in self._queued:
            each.setblocking(False)
            each.connect_ex(self.place)

    def resolve(self, monkeypatch: pytest.MonkeyPatch, count: int, *others: tuple[str, int]) -> None:
        """Let any name be ``count`` of them, and then ``others``."""
        resolve_to(monkeypatch, *[self.place] * count, *others)

    def close(self) -> None:
        for each in (*self._queued, self._listener):
            each.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    made = Deaf()
    yield made
    made.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# -------------------------------------------------------------------------------------------------- the answer


def test_the_answer_comes_back_and_the_request_went_out_whole() -> None:
    with serving(answer(GOOD)) as server:
        request = request_to(f"http://127.0.0.1:{server.port}")
        assert standing()(request) == PLAIN
    head, _, body = server.heard[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v2.01/oauth/token HTTP/1.1"
    assert set(lines[1:]) == {
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: evertoken",
        "Connection: close",
        *(f"{name}: {value}" for name, value in request.headers),
    }
    assert "Accept-Encoding: identity" in lines
    assert body == request.body


def test_each_request_has_a_connection_of_its_own_and_closes_it() -> None:
    # The server takes the second connection only when the first is closed.
    with serving(answer(GOOD)) as server:
        exchange = standing()
        for _ in range(3):
            assert exchange(request_to(f"http://127.0.0.1:{server.port}")).status == 200
    assert server.connections == 3


def test_several_threads_may_use_one_exchange_at_once() -> None:
    with serving(answer(GOOD)) as server:
        exchange = standing()
        join = run_in_threads(5, lambda _: exchange(request_to(f"http://127.0.0.1:{server.port}")))
        assert join() == [PLAIN] * 5


def test_it_works_with_the_default_clock() -> None:
    with serving(answer(GOOD)) as server:
        request = request_to(f"http://127.0.0.1:{server.port}", suspend_aware_clock() + LIMIT)
        assert H11Exchange()(request) == PLAIN


def test_localhost_is_resolved() -> None:
    with serving(answer(GOOD)) as server:
        assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


def test_an_ipv6_address_is_connected_to_without_asking_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(GOOD)
    monkeypatch.setattr(h11, "connected", pair)
    assert standing()(request_to("http://[::1]:8080")) == PLAIN
    assert pair.dialled == [[(socket.AF_INET6, ("::1", 8080, 0, 0))]]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_handed_back_and_nothing_is_sent_where_it_points(status: int) -> None:
    with serving(answer(GOOD)) as elsewhere:
        location = f"Location: http://127.0.0.1:{elsewhere.port}/"
        with serving(answer(f"HTTP/1.1 {status} Moved\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode())) as server:
            assert standing()(request_to(f"http://127.0.0.1:{server.port}")).status == status
    assert elsewhere.connections == 0


def test_a_body_that_never_ends_is_left_after_the_most_bytes() -> None:
    def endless(connection: socket.socket, server: Server) -> None:
        read_request(connection, server)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 1000)

    with serving(endless) as server:
        response = standing()(replace(request_to(f"http://127.0.0.1:{server.port}"), max_body=5000))
    assert response.body == b"x" * 5001


class Pair:
    """One end of a connection whose other end has already answered and hung up."""

    def __init__(self, data: bytes) -> None:
        self.dialled: list[object] = []
        self.seconds: list[float] = []
        self.ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(data)

    def __call__(self, target: object, addresses: object, seconds_left: Callable[[], float]) -> socket.socket:
        self.dialled.append(addresses)
        self.seconds.append(seconds_left())
        return self.ours


def test_an_answer_that_comes_before_the_request_was_read_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h11, "connected", Pair(GOOD))
    assert standing()(request_to("http://127.0.0.1:1")) == PLAIN


# --------------------------------------------------------------------------------------------------- no answer


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nX: ", "in the middle of the answer's headers, after 20 bytes"),
        (f"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{canary.token()}".encode(), "body, after 12 of 99 bytes"),
        (f"{canary.token()}\r\n\r\n".encode(), "the answer is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, "the answer's headers are longer"),
    ],
    ids=["nothing", "headers", "body", "garbage", "headers without end"],
)
def test_without_a_whole_answer_it_fails_and_says_how_far_it_came(data: bytes, text: str) -> None:
    def answer_and_hang_up(connection: socket.socket, server: Server) -> None:
        answer(data)(connection, server)
        hang_up(connection)

    with serving(answer_and_hang_up) as server:
        assert text in failure_of(standing(), request_to(f"http://127.0.0.1:{server.port}"))


def test_a_refused_connection_names_every_address_and_its_cause(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ("127.0.0.1", closed_port), ("127.0.0.1", closed_port))
    text = failure_of(standing(), request_to("https://auth.example"))
    refused = "127.0.0.1: Connection refused"
    assert text == f"no connection to auth.example:443 ({refused}; {refused})"


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label empty or too long"), "it is not a host name"),
    ],
    ids=["no such host", "no host name"],
)
def test_a_name_that_is_not_resolved_is_named(error: Exception, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Found:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", lookup(fail))
    text = failure_of(standing(), request_to("https://auth.example"))
    assert text == f"the host name auth.example was not resolved: {cause}"


def test_a_connection_that_breaks_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(connection: socket.socket, server: Server) -> None:
        answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123")(connection, server)
        # Closed with this option, a connection is reset and not ended.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        raise ConnectionError

    with serving(reset) as server:
        # One byte at a time, so that the reset finds the client after the last of them.
        monkeypatch.setattr(h11, "PIECE", 1)
        text = failure_of(standing(), request_to(f"http://127.0.0.1:{server.port}"))
    assert text.startswith("Connection reset by peer while ")
    assert text.endswith(f" (127.0.0.1:{server.port})")


def test_a_header_that_http_cannot_hold_is_a_failure() -> None:
    with serving(lambda connection, server: None) as server:
        request = TokenRequest(
            1, "POST", f"http://127.0.0.1:{server.port}/", (("X", f"{canary.secret()}\n"),), b"", LIMIT
        )
        assert "cannot be written in HTTP/1.1" in failure_of(standing(), request)


# ------------------------------------------------------------------------------------------------ the deadline


class DrippingClock:
    """A second passes at each reading, and the server may send one byte more."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.byte_is_due = threading.Semaphore(0)

    def __call__(self) -> float:
        self.now += 1.0
        self.byte_is_due.release()
        return self.now


@pytest.mark.parametrize(
    ("start", "stage"),
    [
        (b"", "while reading the answer's headers, "),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", "while reading the answer's body, "),
    ],
    ids=["headers", "body"],
)
def test_an_answer_that_drips_is_left_at_the_deadline(start: bytes, stage: str) -> None:
    clock = DrippingClock()

    def drip(connection: socket.socket, server: Server) -> None:
        answer(start)(connection, server)
        for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nX: "):
            assert clock.byte_is_due.acquire(timeout=LIMIT)
            connection.sendall(bytes([byte]))

    with serving(drip) as server:
        request = request_to(f"http://127.0.0.1:{server.port}", clock.now + 50.0)
        text = failure_of(H11Exchange(clock=clock), request)
        now = clock.now
        # The next byte tells the server that nobody listens.
        clock.byte_is_due.release(100)
    assert text.startswith(f"time ran out {stage}")
    assert now == 1_050.0


def test_a_server_that_says_nothing_is_left_at_the_deadline() -> None:
    with serving(read_request) as server:
        request = request_to(f"http://127.0.0.1:{server.port}", 0.2)
        text = failure_of(standing(), request)
    assert text == f"time ran out while waiting for the answer (127.0.0.1:{server.port})"


def test_a_server_that_reads_nothing_is_left_at_the_deadline() -> None:
    gate = threading.Event()
    body = b"x" * 50_000_000

    def deaf(connection: socket.socket, server: Server) -> None:
        assert gate.wait(LIMIT)

    with serving(deaf) as server:
        url, headers = f"http://127.0.0.1:{server.port}/", (("Content-Length", str(len(body))),)
        text = failure_of(standing(), TokenRequest(1, "POST", url, headers, body, 0.2))
        gate.set()
    assert text == f"time ran out while sending the request (127.0.0.1:{server.port})"


def test_a_tls_server_that_says_nothing_is_left_at_the_deadline() -> None:
    with serving(lambda connection, server: None) as server:
        text = failure_of(standing(), request_to(f"https://127.0.0.1:{server.port}", 0.2))
    assert text == f"time ran out during the TLS handshake (127.0.0.1:{server.port})"


def test_a_name_server_that_says_nothing_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def silent() -> Found:
        gate.wait(LIMIT)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup(silent))
    text = failure_of(standing(), request_to("https://auth.example", 0.2))
    gate.set()
    assert text == "time ran out while resolving the host name (auth.example:443)"


def test_a_request_that_comes_too_late_is_not_sent() -> None:
    with serving(answer(GOOD)) as server:
        text = failure_of(H11Exchange(clock=lambda: 5.0), request_to(f"http://127.0.0.1:{server.port}", 5.0))
    assert text.startswith("time ran out while resolving the host name")
    assert server.connections == 0


def test_a_deadline_that_is_years_away_is_cut_to_what_the_system_can_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(GOOD)
    monkeypatch.setattr(h11, "connected", pair)
    assert standing()(request_to("http://127.0.0.1:1", 2.0**30)) == PLAIN
    assert pair.seconds == [86_400.0]


def test_connecting_has_its_time_too_and_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch, deaf: Deaf) -> None:
    deaf.resolve(monkeypatch, 2)
    text = failure_of(H11Exchange(), request_to("https://auth.example", suspend_aware_clock() + 0.3))
    assert text == "time ran out while connecting (auth.example:443)"


# ------------------------------------------------------------------------------------------- several addresses


def test_an_address_that_refuses_gives_way_to_the_next(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(GOOD)) as server:
        resolve_to(monkeypatch, ("::1", closed_port), ("127.0.0.1", closed_port), ("127.0.0.1", server.port))
        assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


def test_an_address_that_swallows_packets_does_not_keep_the_next_from_answering(
    monkeypatch: pytest.MonkeyPatch, deaf: Deaf
) -> None:
    with serving(answer(GOOD)) as server:
        deaf.resolve(monkeypatch, 3, ("127.0.0.1", server.port))
        assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


def test_an_address_of_a_family_that_this_machine_does_not_speak_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(answer(GOOD)) as server:
        found: Found = [
            (family, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)) for family in (12_345, socket.AF_INET)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lookup(lambda: found))
        assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


def test_where_no_thread_can_be_had_the_caller_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving(answer(GOOD)) as server:
        resolve_to(monkeypatch, ("127.0.0.1", server.port))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


# --------------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes every name that is looked up, and finds none."""
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **_: object) -> Found:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("host", ["auth.example", "192.0.2.1", "[2001:db8::1]", "localhost.auth.example", "0.0.0.0"])
def test_plain_http_off_loopback_is_refused_before_anything_is_asked(host: str, no_network: list[str]) -> None:
    text = failure_of(standing(), unchecked_request_to(f"http://{host}/token"))
    assert text == f"plain http to {host}:80 is refused: the secret would travel in clear; use https"
    assert no_network == []


def test_a_localhost_that_is_another_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, ("192.0.2.1", 80))
    text = failure_of(standing(), request_to("http://localhost"))
    assert text == "plain http is refused: localhost is 192.0.2.1, which is not this machine"


def test_of_a_localhost_that_is_two_machines_only_this_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answer(GOOD)) as server:
        resolve_to(monkeypatch, ("192.0.2.1", server.port), ("127.0.0.1", server.port))
        assert standing()(request_to(f"http://localhost:{server.port}")) == PLAIN


PROXY = f"http://user:{canary.secret()}@proxy.example:3128"


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_configured_proxy_is_not_gone_around(
    name: str, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, PROXY)
    text = failure_of(standing(), request_to("https://auth.example"))
    assert text.startswith("a proxy is configured for auth.example:443, and h11 does not go through proxies")
    assert all(way in text for way in ("evertoken_transports.httpx", "NO_PROXY", "trust_env=False"))
    assert no_network == []


@pytest.mark.parametrize(
    ("environment", "trust_env"),
    [
        ({"https_proxy": PROXY}, False),
        ({"https_proxy": PROXY, "no_proxy": "auth.example"}, True),
        ({"https_proxy": PROXY, "no_proxy": ".example"}, True),
        ({"all_proxy": PROXY, "no_proxy": "auth.example:443"}, True),
        ({"all_proxy": PROXY, "no_proxy": "*"}, True),
        ({"http_proxy": PROXY}, True),
    ],
    ids=["not trusted", "host", "domain", "host and port", "all", "for http only"],
)
def test_a_proxy_that_is_not_for_this_host_is_none(
    environment: dict[str, str], trust_env: bool, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "was not resolved" in failure_of(standing(trust_env=trust_env), request_to("https://auth.example"))
    assert "auth.example" in no_network


def test_a_proxy_does_not_stand_before_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    with serving(answer(GOOD)) as server:
        assert standing()(request_to(f"http://127.0.0.1:{server.port}")) == PLAIN


# ------------------------------------------------------------------------------------------------ interruption


class Interrupted:
    """A connection on which the user presses Control-C, in the call ``when``."""

    def __init__(self, when: str) -> None:
        self.when = when
        self.closed = False

    def __call__(self, target: object, addresses: object, seconds_left: object) -> Interrupted:
        return self

    def close(self) -> None:
        self.closed = True

    def settimeout(self, seconds: float) -> None:
        return

    def shutdown(self, how: int) -> None:
        return

    def sendall(self, data: bytes) -> None:
        del data
        if self.when == "sendall":
            raise KeyboardInterrupt

    def recv(self, size: int) -> bytes:
        raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["sendall", "recv"])
def test_an_interruption_passes_closes_the_connection_and_shows_nothing(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Interrupted(when)
    monkeypatch.setattr(h11, "connected", connection)
    with pytest.raises(KeyboardInterrupt) as caught:
        standing()(request_to("http://127.0.0.1:1"))
    assert connection.closed
    canary.assert_clean(caught.value)
    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert not canary.find_marks(shown)
