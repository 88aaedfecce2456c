"""TLS of the raw exchanges of asyncio and trio, with real handshakes; and proxies, which they refuse to go around.

The blocking exchange has its own table in ``test_h11_tls``, those of httpx in ``test_httpx_exchange``. What people read
is the same words everywhere, and a failure of TLS is never told as refused credentials.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from traceback import TracebackException
from typing import Any

import pytest
import trustme

from evertoken import CredentialsRefused, HttpResponse, Policy, ProblemKind, TokenUnavailable
from evertoken._http import build_request
from evertoken._secrecy import replace
from evertoken.testing import AuthorizationServer, ServerRequest
from evertoken_transports import suspend_aware_clock
from evertoken_transports._exchange import ExchangeFailed
from tests.kits import canary
from tests.kits.adapters import KINDS, Kind, ask, coordinator_of, exchange_of
from tests.kits.httpx_kits import LIBRARIES, RUNTIMES, AsyncCalls, run_in
from tests.kits.wire import Script, Server, answer, hang_up, serving
from tests.kits.worlds import LIMIT, run_in_threads
from tests.real import test_httpx_exchange as theirs
from tests.real.test_h11_tls import (
    LONG_AGO,
    PLAIN,
    VERSIONS,
    Seen,
    client_context,
    demanding,
    over_tls,
    server_context,
)

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in PROXY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.fixture(params=["asyncio", "trio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param, "h11")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def sent(kind: Kind, url: str, **options: object) -> HttpResponse | str:
    """The answer to one token request, or the text of its failure, which must be clean."""
    request = build_request(canary.grant(base_url=url), 1, suspend_aware_clock() + LIMIT)
    exchange = exchange_of(kind, **options)

    async def send() -> HttpResponse | ExchangeFailed:
        try:
            response: HttpResponse = await exchange(request)
        except ExchangeFailed as error:
            return error
        return response

    # In a thread, so that an exchange that does not end fails its test and not the whole run.
    (came,) = run_in_threads(1, lambda _: run_in(kind.runtime, send))()
    if isinstance(came, HttpResponse):
        return came
    assert isinstance(came, ExchangeFailed)
    assert came.__context__ is None
    assert not canary.find_marks("".join(TracebackException.from_exception(came, capture_locals=True).format()))
    assert "credential" not in str(came)
    return str(came)


Ask = Callable[..., tuple[HttpResponse | str, Server, Seen]]


@pytest.fixture
def ask_server(kind: Kind) -> Ask:
    """Ask a server with a context for a token; the answer or the failure, the server, and what it saw."""

    def ask_server(
        context: ssl.SSLContext, *, ssl_context: ssl.SSLContext | None, host: str = "localhost"
    ) -> tuple[HttpResponse | str, Server, Seen]:
        seen = Seen()
        with serving(over_tls(context, seen)) as server:
            came = sent(kind, f"https://{host}:{server.port}", ssl_context=ssl_context)
        return came, server, seen

    return ask_server


# ------------------------------------------------------------------------------------------- the server's proof


@VERSIONS
def test_a_private_ca_is_trusted_through_the_context(ask_server: Ask, ca: trustme.CA, version: ssl.TLSVersion) -> None:
    context = server_context(ca, "localhost")
    context.minimum_version = context.maximum_version = version
    came, server, seen = ask_server(context, ssl_context=client_context(ca))
    assert came == PLAIN
    assert seen.names == ["localhost"]
    assert len(server.heard) == 1


def test_an_address_is_verified_too(ask_server: Ask, ca: trustme.CA) -> None:
    context = server_context(ca, "127.0.0.1")
    assert ask_server(context, ssl_context=client_context(ca), host="127.0.0.1")[0] == PLAIN


def test_by_default_this_machine_s_own_store_decides_and_http_1_1_is_offered(
    ask_server: Ask, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.pem"
    ca.cert_pem.write_to_path(str(store))
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    came, _, seen = ask_server(server_context(ca, "localhost"), ssl_context=None)
    assert came == PLAIN
    assert seen.protocols == ["http/1.1"]


def test_an_untrusted_issuer_is_refused_by_default_and_called_so(ask_server: Ask, ca: trustme.CA) -> None:
    came, server, _ = ask_server(server_context(ca, "localhost"), ssl_context=None)
    assert str(came).startswith(f"TLS: the certificate of localhost:{server.port} was refused: untrusted issuer (")
    assert "ssl_context=" in str(came)
    assert server.heard == []


@pytest.mark.parametrize(("host", "name"), [("localhost", "auth.example"), ("127.0.0.1", "127.0.0.2")])
def test_a_wrong_host_name_is_refused_and_called_so(ask_server: Ask, ca: trustme.CA, host: str, name: str) -> None:
    came, server, _ = ask_server(server_context(ca, name), ssl_context=client_context(ca), host=host)
    assert str(came).startswith(f"TLS: the certificate of {host}:{server.port} was refused: wrong host name (")
    assert server.heard == []


def test_an_expired_certificate_is_refused_and_called_so(ask_server: Ask, ca: trustme.CA) -> None:
    came, server, _ = ask_server(server_context(ca, "localhost", expired=True), ssl_context=client_context(ca))
    assert came == f"TLS: the certificate of localhost:{server.port} was refused: certificate has expired"
    assert server.heard == []


# ------------------------------------------------------------------------------------------- the client's proof


@VERSIONS
def test_a_client_certificate_travels_with_the_context(
    ask_server: Ask, ca: trustme.CA, version: ssl.TLSVersion
) -> None:
    context = client_context(ca)
    ca.issue_cert("client@example.com").configure_cert(context)
    assert ask_server(demanding(ca, version), ssl_context=context)[0] == PLAIN


@VERSIONS
def test_a_missing_client_certificate_is_called_so(ask_server: Ask, ca: trustme.CA, version: ssl.TLSVersion) -> None:
    came, server, _ = ask_server(demanding(ca, version), ssl_context=client_context(ca))
    assert str(came).startswith(f"TLS with localhost:{server.port} failed ")
    assert "client certificate" in str(came)
    assert "ssl_context=" in str(came)


def flawed(ca: trustme.CA, flaw: str) -> ssl.SSLContext:
    """A client's context with a certificate that no server takes."""
    context = client_context(ca)
    issuer = trustme.CA() if flaw == "foreign" else ca
    end = LONG_AGO + timedelta(days=9) if flaw == "expired" else None
    issuer.issue_cert("client@example.com", not_before=LONG_AGO, not_after=end).configure_cert(context)
    return context


@VERSIONS
@pytest.mark.parametrize(("flaw", "text"), [("expired", "it has expired"), ("foreign", "does not trust its issuer")])
def test_a_client_certificate_that_is_refused_is_called_so(
    ask_server: Ask, ca: trustme.CA, version: ssl.TLSVersion, flaw: str, text: str
) -> None:
    came, _, _ = ask_server(demanding(ca, version), ssl_context=flawed(ca, flaw))
    assert "the server refused our client certificate" in str(came)
    assert text in str(came)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("library", ["h11", *LIBRARIES])
@pytest.mark.parametrize("flaw", ["missing", "expired"])
def test_to_callers_a_client_certificate_that_fails_is_a_failure_of_transport_and_not_a_refusal(
    ca: trustme.CA, runtime: str, library: str, flaw: str
) -> None:
    mine = client_context(ca) if flaw == "missing" else flawed(ca, flaw)
    with serving(over_tls(demanding(ca, ssl.TLSVersion.TLSv1_3), Seen())) as server:
        coordinator = coordinator_of(canary.grant(base_url=f"https://localhost:{server.port}"))
        (error,) = ask(Kind(runtime, library), coordinator, 0.5, ssl_context=mine)
    assert isinstance(error, TokenUnavailable)
    assert not isinstance(error, CredentialsRefused)
    assert error.problem.kind is ProblemKind.TRANSPORT
    canary.assert_clean(error)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_source_takes_private_ca_and_client_certificate_without_an_exchange(ca: trustme.CA, runtime: str) -> None:
    mine = client_context(ca)
    ca.issue_cert("client@example.com").configure_cert(mine)
    body = b'{"access_token": "%s", "token_type": "Bearer", "expires_in": 3600}' % canary.token().encode()
    granted = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    module: Any = import_module(f"evertoken_transports.{runtime}")
    with serving(over_tls(demanding(ca, ssl.TLSVersion.TLSv1_3), Seen(), granted)) as server:
        coordinator = coordinator_of(canary.grant(base_url=f"https://localhost:{server.port}"))
        source = module.TokenSource(coordinator.machine.grant, coordinator=coordinator, ssl_context=mine)

        def ask(_: int) -> object:
            if runtime == "threads":
                return source.authorization(LIMIT)
            return run_in(runtime, lambda: source.authorization(LIMIT))

        (came,) = run_in_threads(1, ask)()
    assert came == f"Bearer {canary.token()}"


# ------------------------------------------------------------------------------------------------ not TLS at all


def speak_plainly(connection: socket.socket, server: Server) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def break_off(connection: socket.socket, server: Server) -> None:
    connection.recv(65_536)
    hang_up(connection)


def reset(connection: socket.socket, server: Server) -> None:
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    raise ConnectionResetError


def say_nothing(connection: socket.socket, server: Server) -> None:
    """The client's greeting is read and never answered."""


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (speak_plainly, "does not speak TLS on this port"),
        (break_off, "may want a client certificate"),
        (reset, "may want a client certificate"),
    ],
    ids=["plain", "hung up", "reset"],
)
def test_a_handshake_that_is_none_is_called_so(kind: Kind, script: Script, words: str) -> None:
    with serving(script) as server:
        came = sent(kind, f"https://localhost:{server.port}")
    assert "during the TLS handshake" in str(came)
    assert words in str(came)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_handshake_that_is_never_answered_ends_at_the_deadline(ca: trustme.CA, kind: Kind) -> None:
    with serving(say_nothing) as server:
        grant = canary.grant(base_url=f"https://localhost:{server.port}")
        came = ask(kind, coordinator_of(grant, Policy(request_timeout=0.3)), 0.1, 0.3, ssl_context=client_context(ca))
        assert server.connections == 1
    assert all(isinstance(error, TokenUnavailable) for error in came)


def test_a_context_that_offers_http_2_is_not_answered_with_http_1(ask_server: Ask, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.set_alpn_protocols(["h2"])
    came, server, _ = ask_server(server_context(ca, "localhost"), ssl_context=context)
    assert came == "the server chose the protocol 'h2': let ssl_context offer http/1.1 only (ALPN)"
    assert server.heard == []


# ------------------------------------------------------------------------------------------ plain http and proxies


def test_plain_http_is_for_loopback_only(kind: Kind) -> None:
    request = replace(
        build_request(canary.grant(), 1, suspend_aware_clock() + LIMIT), url="http://auth.example/v2.01/oauth/token"
    )
    with pytest.raises(ExchangeFailed, match=r"^plain http to auth\.example:80 is refused: the secret would travel"):
        run_in(kind.runtime, lambda: exchange_of(kind)(request))


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_where_a_proxy_is_configured_nothing_goes_around_it(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with serving(answer(b"")) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        came = sent(kind, "https://auth.example")
        assert str(came).startswith("a proxy is configured for auth.example:443, and h11 does not go through proxies")
        for way_out in ("evertoken_transports.httpx", "NO_PROXY", "trust_env=False"):
            assert way_out in str(came)
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("no_proxy", "options"), [("auth.invalid", {}), ("*", {}), ("", {"trust_env": False})], ids=["name", "all", "own"]
)
def test_no_proxy_and_trust_env_open_the_direct_way(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, no_proxy: str, options: dict[str, object]
) -> None:
    with serving(answer(b"")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        # RFC 6761 section 6.4: no such host can be. So the direct way was taken if it was looked up.
        came = sent(kind, "https://auth.invalid", **options)
        assert str(came).startswith("the host name auth.invalid was not resolved: ")
        assert proxy.connections == 0


# --------------------------------------------------------------------------------- through a proxy, from end to end


class ModelBehindTls:
    """The model as a TLS server of ``test_httpx_exchange``, on as many connections as come."""

    def __init__(self) -> None:
        self.model = AuthorizationServer("canary", canary.secret(), token_prefix=canary.TOKEN_MARK)
        self._lock = threading.Lock()

    def talk(self, line: Any) -> None:  # noqa: ANN401
        """Answer one request and hang up."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += line.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = [(name, value) for name, _, value in (text.partition(": ") for text in lines)]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        while len(body) < length:
            body += line.recv(65_536)
        method, path, _ = first.split()
        with self._lock:
            response = self.model.handle(suspend_aware_clock(), ServerRequest(method, path, headers, body)).response
        assert response is not None
        kept = [pair for pair in response.headers if pair[0].lower() not in ("connection", "content-length")]
        fields = [*kept, ("Content-Length", str(len(response.body))), ("Connection", "close")]
        told = "".join(f"{name}: {value}\r\n" for name, value in fields)
        line.sendall(f"HTTP/1.1 {response.status} OK\r\n{told}\r\n".encode("latin-1") + response.body)


@pytest.fixture
def tunnelled(ca: trustme.CA) -> Iterator[tuple[ModelBehindTls, theirs.Server, theirs.Server]]:
    model = ModelBehindTls()
    server = theirs.Server(model.talk, theirs.server_tls(ca))
    proxy = theirs.Server(model.talk)
    proxy.talk = theirs.tunnel(proxy)
    yield model, server, proxy
    proxy.close()
    server.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_token_and_calls_go_through_a_connect_proxy_that_sees_neither_secret_nor_token(
    ca: trustme.CA,
    tunnelled: tuple[ModelBehindTls, theirs.Server, theirs.Server],
    library: str,
    runtime: str,
) -> None:
    model, server, proxy = tunnelled
    url = f"http://127.0.0.1:{proxy.port}"
    mine = client_context(ca)
    coordinator = coordinator_of(canary.grant(base_url=f"https://localhost:{server.port}"))
    adapter: Any = import_module(f"evertoken_transports.{library}")
    of_the_library: Any = import_module(library)
    auth = adapter.BearerAuth(coordinator.machine.grant, coordinator=coordinator, ssl_context=mine, proxy=url)
    options = {"auth": auth, "base_url": auth.api_base, "verify": mine, "proxy": url}
    client: Any
    if runtime == "threads":
        client = of_the_library.Client(**options)
    else:
        client = AsyncCalls(of_the_library.AsyncClient(**options), runtime)
    statuses = [client.get("/users").status_code for _ in range(2)]
    client.close()
    assert statuses == [200, 200]
    assert [arrival.route.value for arrival in model.model.arrivals] == ["token", "api", "api"]
    assert proxy.received.count(f"CONNECT localhost:{server.port} HTTP/1.1".encode()) == 3
    assert not canary.find_marks(proxy.received)
