"""HttpxExchange over real sockets and real TLS: the wire, the deadline that frees everyone, certificates, proxies."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
import trustme

from evertoken import TokenRequest
from evertoken._http import build_request
from evertoken._secrecy import replace
from evertoken_transports import Exchange, suspend_aware_clock
from tests.kits import canary
from tests.kits.httpx_kits import LIBRARIES, RUNTIMES, run_in
from tests.kits.worlds import LIMIT, run_in_threads, until

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

Talk = Callable[[socket.socket], None]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SHORT = 0.2
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


Kind = tuple[str, str]
"""A library and a runtime."""


@pytest.fixture(params=[(library, runtime) for library in LIBRARIES for runtime in RUNTIMES], ids="-".join)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    for variable in PROXY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    made: Kind = request.param
    return made


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Server:
    """Listens on loopback, and gives each connection to ``talk`` in a thread of its own. ``over`` ends long talks."""

    def __init__(self, talk: Talk, tls: ssl.SSLContext | None = None) -> None:
        self.talk, self.tls = talk, tls
        self.over = threading.Event()
        self.connections = 0
        self.received = b""
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._run(self._accept)

    def _run(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self.connections += 1
                self._run(lambda line=line: self._serve(line))  # type: ignore[misc]

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line:
            if self.tls is None:
                self.talk(line)
            else:
                with self.tls.wrap_socket(line, server_side=True) as wrapped:
                    self.talk(wrapped)

    def read_request(self, line: socket.socket) -> None:
        """Read the token request whole."""
        heard = b""
        while b"grant_type=client_credentials" not in heard:
            chunk = line.recv(65_536)
            if not chunk:
                raise ConnectionResetError
            heard += chunk
            self.received += chunk

    def close(self) -> None:
        self.over.set()
        # Closing alone would leave a thread in accept().
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def started(answer: bytes | None = ANSWER, tls: ssl.SSLContext | None = None) -> Server:
        def talk(line: socket.socket) -> None:
            server.read_request(line)
            if answer is not None:
                line.sendall(answer)
                # Until the other side closes, so that nothing is lost to a reset.
                line.recv(1)

        server = Server(talk, tls)
        servers.append(server)
        return server

    yield started
    for server in servers:
        server.close()


def exchange_of(kind: Kind, **options: object) -> Exchange:
    library, runtime = kind
    adapter: Any = import_module(f"evertoken_transports.{library}")
    if runtime == "threads":
        made: Exchange = adapter.HttpxExchange(**options)
        return made
    exchange = adapter.AsyncHttpxExchange(**options)
    return lambda request: run_in(runtime, lambda: exchange(request))


def token_request(
    server: Server, scheme: str = "http", host: str = "127.0.0.1", seconds: float = LIMIT
) -> TokenRequest:
    request = build_request(canary.grant(), 1, suspend_aware_clock() + seconds)
    return replace(request, url=f"{scheme}://{host}:{server.port}/v2.01/oauth/token")


def server_tls(authority: trustme.CA, host: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def exchange_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "evertoken-exchange"]


def raised_within_the_limit(exchange: Exchange, request: TokenRequest) -> object:
    """What ``exchange`` raises; the test fails if it does not return at all."""
    return run_in_threads(1, lambda _: exchange(request))()[0]


# The wire
# --------


def test_the_request_goes_out_as_it_is_over_a_connection_of_its_own(kind: Kind, serve: Callable[..., Server]) -> None:
    server = serve()
    exchange = exchange_of(kind)
    request = token_request(server)
    assert exchange(request).body == b"{}"
    head, _, body = server.received.partition(b"\r\n\r\n")
    sent = [(key.decode(), value.decode()) for key, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))]
    assert sent[0] == ("POST /v2.01/oauth/token HTTP/1.1", "")
    ours = [("User-Agent", "evertoken"), ("Connection", "close")]
    assert sent[1:] == [("Host", f"127.0.0.1:{server.port}"), *request.headers, *ours]
    assert body == request.body
    exchange(request)
    assert server.connections == 2


def test_a_redirect_is_not_followed(kind: Kind, serve: Callable[..., Server]) -> None:
    other = serve()
    location = f"Location: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n".encode()
    server = serve(b"HTTP/1.1 307 Temporary Redirect\r\n" + location)
    assert exchange_of(kind)(token_request(server)).status == 307
    assert other.connections == 0


def test_a_body_that_is_cut_off_is_a_failure(kind: Kind, serve: Callable[..., Server]) -> None:
    server = serve()

    def cut_off(line: socket.socket) -> None:
        server.read_request(line)
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    server.talk = cut_off
    with pytest.raises(ConnectionError, match="in the middle of the answer's body, after 1 of 100 bytes"):
        exchange_of(kind)(token_request(server))


def test_nobody_there_is_a_failure_that_says_so(kind: Kind, serve: Callable[..., Server]) -> None:
    server = serve()
    server.close()
    with pytest.raises(ConnectionError, match=r"^no connection to .* \(127\.0\.0\.1: Connection refused\)$"):
        exchange_of(kind)(token_request(server))


# The deadline
# ------------


def drip(server: Server, first: bytes, again: bytes) -> Talk:
    """Send ``first`` and then ``again`` a little at a time, for ever."""

    def talk(line: socket.socket) -> None:
        server.read_request(line)
        line.sendall(first)
        while not server.over.wait(SHORT / 10):
            line.sendall(again)

    return talk


def silence(server: Server) -> Talk:
    """Say nothing, for ever."""

    def talk(_: socket.socket) -> None:
        server.over.wait(LIMIT)

    return talk


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    ],
    ids=["status line", "header", "body", "interim answers"],
)
def test_a_server_that_drips_frees_everyone_at_the_deadline(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA, first: bytes, again: bytes, *, tls: bool
) -> None:
    server = serve(tls=server_tls(authority) if tls else None)
    server.talk = drip(server, first, again)
    exchange = exchange_of(kind, ssl_context=client_tls(authority) if tls else None)
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    request = token_request(server, scheme, host, seconds=SHORT)
    if first or again != b"H":
        assert isinstance(raised_within_the_limit(exchange, request), TimeoutError)
    else:
        # "HH" begins no answer: the libraries may notice before the deadline.
        assert isinstance(raised_within_the_limit(exchange, request), OSError)
    # The server still drips: it is the cut that ends the thread.
    until(lambda: not exchange_threads())


def test_a_server_that_never_shakes_hands_frees_everyone_at_the_deadline(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA
) -> None:
    server = serve()
    server.talk = silence(server)
    request = token_request(server, "https", "localhost", seconds=SHORT)
    assert isinstance(
        raised_within_the_limit(exchange_of(kind, ssl_context=client_tls(authority)), request), TimeoutError
    )
    until(lambda: not exchange_threads())


@pytest.mark.parametrize("answers", [False, True], ids=["silent proxy", "dripping server"])
def test_a_proxy_does_not_keep_anyone_past_the_deadline(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA, *, answers: bool
) -> None:
    server = serve(tls=server_tls(authority))
    server.talk = drip(server, b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x")
    proxy = serve()
    proxy.talk = tunnel(proxy) if answers else silence(proxy)
    exchange = exchange_of(kind, ssl_context=client_tls(authority), proxy=f"http://127.0.0.1:{proxy.port}")
    error = raised_within_the_limit(exchange, token_request(server, "https", "localhost", seconds=SHORT))
    assert isinstance(error, TimeoutError)
    until(lambda: not exchange_threads())


# A loop that ends waits for its look-ups, so that the thread's promise cannot be looked at under asyncio.
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_connection_that_comes_about_after_the_deadline_carries_nothing(
    library: str, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    resolved = threading.Event()
    real = socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> object:  # noqa: ANN401
        resolved.wait(LIMIT)
        return real(*arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    assert isinstance(
        raised_within_the_limit(exchange_of((library, "threads")), token_request(server, seconds=SHORT)), TimeoutError
    )
    resolved.set()
    until(lambda: not exchange_threads())
    server.close()
    assert server.received == b""


# Certificates
# ------------


def test_an_authority_that_is_given_is_trusted_and_no_other(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA
) -> None:
    server = serve(tls=server_tls(authority))
    request = token_request(server, "https", "localhost")
    with pytest.raises(ConnectionError, match=r"^TLS: the certificate of localhost:\d+ was refused: untrusted issuer"):
        exchange_of(kind)(request)
    assert server.received == b""
    assert exchange_of(kind, ssl_context=client_tls(authority))(request).body == b"{}"


def test_a_certificate_for_another_host_is_refused(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA
) -> None:
    server = serve(tls=server_tls(authority, "elsewhere.example"))
    with pytest.raises(ConnectionError, match=r"was refused: wrong host name"):
        exchange_of(kind, ssl_context=client_tls(authority))(token_request(server, "https", "localhost"))
    assert server.received == b""


def test_a_client_certificate_is_sent_and_a_missing_one_is_a_failure(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA
) -> None:
    demanding = server_tls(authority)
    authority.configure_trust(demanding)
    demanding.verify_mode = ssl.CERT_REQUIRED
    server = serve(tls=demanding)
    request = token_request(server, "https", "localhost")
    bare, certified = client_tls(authority), client_tls(authority)
    authority.issue_cert("client@example.com").configure_cert(certified)
    with pytest.raises(ConnectionError):
        exchange_of(kind, ssl_context=bare)(request)
    assert exchange_of(kind, ssl_context=certified)(request).status == 200


# Proxies
# -------


def tunnel(proxy: Server) -> Talk:
    """A proxy that knows CONNECT (RFC 9110 section 9.3.6), and keeps what it was asked."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65_536):
                sink.sendall(chunk)
        for line in (source, sink):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def talk(line: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += line.recv(1)
        proxy.received += head
        host, _, port = head.split()[1].decode().partition(":")
        with socket.create_connection((host, int(port))) as onward:
            line.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, line), daemon=True)
            back.start()
            pump(line, onward)
            back.join(LIMIT)

    return talk


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_a_proxy_is_used_and_sees_no_secret(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    server, proxy = serve(tls=server_tls(authority)), serve()
    proxy.talk = tunnel(proxy)
    url = f"http://127.0.0.1:{proxy.port}"
    if how == "environment":
        monkeypatch.setenv("HTTPS_PROXY", url)
    exchange = exchange_of(kind, ssl_context=client_tls(authority), proxy=url if how == "argument" else None)
    assert exchange(token_request(server, "https", "localhost")).body == b"{}"
    assert proxy.received.startswith(f"CONNECT localhost:{server.port}".encode())
    assert not canary.find_marks(proxy.received)


def test_the_environments_proxies_can_be_left_aside_and_never_get_plain_http(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, secure, proxy = serve(), serve(tls=server_tls(authority)), serve()
    for variable in PROXY_VARIABLES[:3]:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
    assert exchange_of(kind)(token_request(plain)).status == 200
    exchange = exchange_of(kind, ssl_context=client_tls(authority), trust_env=False)
    assert exchange(token_request(secure, "https", "localhost")).status == 200
    assert proxy.connections == 0


def test_a_proxy_that_refuses_is_a_failure_that_says_so(
    kind: Kind, serve: Callable[..., Server], authority: trustme.CA
) -> None:
    server, proxy = serve(tls=server_tls(authority)), serve()

    def refuse(line: socket.socket) -> None:
        line.recv(65_536)
        line.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        line.recv(1)

    proxy.talk = refuse
    exchange = exchange_of(kind, ssl_context=client_tls(authority), proxy=f"http://127.0.0.1:{proxy.port}")
    with pytest.raises(ConnectionError, match=r"the proxy refused to connect to localhost:\d+ with status 407"):
        exchange(token_request(server, "https", "localhost"))
    assert server.connections == 0
