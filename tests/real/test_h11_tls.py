"""The raw exchange over real TLS: verified by default, and a failure of TLS is never told as refused credentials."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import TracebackException

import pytest
import trustme

from evertoken import HttpResponse, ProblemKind, TokenMachine
from evertoken._http import build_request
from evertoken.outcomes import Failed
from evertoken_transports import h11
from evertoken_transports._exchanges.addresses import Address
from evertoken_transports._exchanges.target import Target
from evertoken_transports.h11 import ExchangeFailed, H11Exchange
from tests.kits import canary
from tests.kits.wire import Script, Server, answer, hang_up, serving
from tests.kits.worlds import LIMIT

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PLAIN = HttpResponse(200, (("Content-Length", "2"),), b"{}")
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)


@pytest.fixture(autouse=True)
def environment_without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@dataclass
class Seen:
    """What the server saw of a handshake."""

    names: list[str | None] = field(default_factory=list)
    protocols: list[str | None] = field(default_factory=list)


def server_context(ca: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    certificate = ca.issue_cert(
        *names, not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=9) if expired else None
    )
    certificate.configure_cert(context)
    return context


def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def over_tls(context: ssl.SSLContext, seen: Seen, data: bytes = GOOD) -> Script:
    """Answer over TLS. A handshake that fails ends the connection in good order, so that the client reads its alert."""

    def note_name(connection: object, name: str | None, _: object) -> None:
        seen.names.append(name)

    context.sni_callback = note_name

    def script(plain: socket.socket, server: Server) -> None:
        secured = context.wrap_socket(plain.dup(), server_side=True, do_handshake_on_connect=False)
        secured.settimeout(LIMIT)
        with secured:
            try:
                secured.do_handshake()
                seen.protocols.append(secured.selected_alpn_protocol())
                answer(data)(secured, server)
            except ssl.SSLError:
                hang_up(plain)

    return script


Ask = Callable[..., tuple[HttpResponse | str, Server, Seen]]


@pytest.fixture
def ask() -> Ask:
    """Ask a server with ``context`` for a token; the answer or the text of the failure, and what the server saw."""

    def ask(
        context: ssl.SSLContext, *, ssl_context: ssl.SSLContext | None, host: str = "localhost"
    ) -> tuple[HttpResponse | str, Server, Seen]:
        seen = Seen()
        with serving(over_tls(context, seen)) as server:
            request = build_request(canary.grant(base_url=f"https://{host}:{server.port}"), 1, LIMIT)
            try:
                return H11Exchange(ssl_context=ssl_context, clock=lambda: 0.0)(request), server, seen
            except ExchangeFailed as error:
                failure = error
        assert failure.__context__ is None
        shown = "".join(TracebackException.from_exception(failure, capture_locals=True).format())
        assert not canary.find_marks(shown)
        assert "credential" not in str(failure)
        return str(failure), server, seen

    return ask


# ------------------------------------------------------------------------------------------- the server's proof


@VERSIONS
def test_a_private_ca_is_trusted_through_the_context(ask: Ask, ca: trustme.CA, version: ssl.TLSVersion) -> None:
    context = server_context(ca, "localhost")
    context.minimum_version = context.maximum_version = version
    came, server, seen = ask(context, ssl_context=client_context(ca))
    assert came == PLAIN
    assert seen.names == ["localhost"]
    assert len(server.heard) == 1


def test_an_address_is_verified_too(ask: Ask, ca: trustme.CA) -> None:
    context = server_context(ca, "127.0.0.1")
    assert ask(context, ssl_context=client_context(ca), host="127.0.0.1")[0] == PLAIN


def test_the_dot_that_ends_a_full_name_is_no_part_of_the_name_that_is_verified(
    ask: Ask, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(target: Target, seconds: float) -> list[Address]:
        assert target.host == "auth.example."
        return [Address(socket.AF_INET, ("127.0.0.1", target.port))]

    monkeypatch.setattr(h11, "resolved", here)
    came, _, seen = ask(server_context(ca, "auth.example"), ssl_context=client_context(ca), host="auth.example.")
    assert came == PLAIN
    assert seen.names == ["auth.example"]


def test_by_default_this_machine_s_own_store_decides_and_http_1_1_is_offered(
    ask: Ask, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.pem"
    ca.cert_pem.write_to_path(str(store))
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    came, _, seen = ask(server_context(ca, "localhost"), ssl_context=None)
    assert came == PLAIN
    assert seen.protocols == ["http/1.1"]


def test_an_untrusted_issuer_is_refused_by_default_and_called_so(ask: Ask, ca: trustme.CA) -> None:
    came, server, _ = ask(server_context(ca, "localhost"), ssl_context=None)
    assert str(came).startswith(f"TLS: the certificate of localhost:{server.port} was refused: untrusted issuer (")
    assert "ssl_context=" in str(came)
    assert server.heard == []


@pytest.mark.parametrize(("host", "name"), [("localhost", "auth.example"), ("127.0.0.1", "127.0.0.2")])
def test_a_wrong_host_name_is_refused_and_called_so(ask: Ask, ca: trustme.CA, host: str, name: str) -> None:
    came, server, _ = ask(server_context(ca, name), ssl_context=client_context(ca), host=host)
    assert str(came).startswith(f"TLS: the certificate of {host}:{server.port} was refused: wrong host name (")
    assert server.heard == []


def test_an_expired_certificate_is_refused_and_called_so(ask: Ask, ca: trustme.CA) -> None:
    came, server, _ = ask(server_context(ca, "localhost", expired=True), ssl_context=client_context(ca))
    assert came == f"TLS: the certificate of localhost:{server.port} was refused: certificate has expired"
    assert server.heard == []


# ------------------------------------------------------------------------------------------- the client's proof


def demanding(ca: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = server_context(ca, "localhost")
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    return context


@VERSIONS
def test_a_client_certificate_travels_with_the_context(ask: Ask, ca: trustme.CA, version: ssl.TLSVersion) -> None:
    context = client_context(ca)
    ca.issue_cert("client@example.com").configure_cert(context)
    assert ask(demanding(ca, version), ssl_context=context)[0] == PLAIN


@VERSIONS
def test_a_missing_client_certificate_is_called_so(ask: Ask, ca: trustme.CA, version: ssl.TLSVersion) -> None:
    came, server, _ = ask(demanding(ca, version), ssl_context=client_context(ca))
    assert str(came).startswith(f"TLS with localhost:{server.port} failed ")
    assert "client certificate" in str(came)
    assert "ssl_context=" in str(came)


@VERSIONS
@pytest.mark.parametrize(("flaw", "text"), [("expired", "it has expired"), ("foreign", "does not trust its issuer")])
def test_a_client_certificate_that_is_refused_is_called_so(
    ask: Ask, ca: trustme.CA, version: ssl.TLSVersion, flaw: str, text: str
) -> None:
    context = client_context(ca)
    issuer = trustme.CA() if flaw == "foreign" else ca
    end = LONG_AGO + timedelta(days=9) if flaw == "expired" else None
    issuer.issue_cert("client@example.com", not_before=LONG_AGO, not_after=end).configure_cert(context)
    came, _, _ = ask(demanding(ca, version), ssl_context=context)
    assert "the server refused our client certificate" in str(came)
    assert text in str(came)


# ----------------------------------------------------------------------------------------------------- the rest


def test_a_server_without_tls_is_called_so(ca: trustme.CA) -> None:
    def speak_plainly(connection: socket.socket, server: Server) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with serving(speak_plainly) as server:
        request = build_request(canary.grant(base_url=f"https://localhost:{server.port}"), 1, LIMIT)
        with pytest.raises(ExchangeFailed, match="does not speak TLS on this port"):
            H11Exchange(clock=lambda: 0.0)(request)


def test_a_server_that_hangs_up_in_the_handshake_is_called_so() -> None:
    def break_off(connection: socket.socket, server: Server) -> None:
        connection.recv(65_536)
        hang_up(connection)

    with serving(break_off) as server:
        request = build_request(canary.grant(base_url=f"https://localhost:{server.port}"), 1, LIMIT)
        with pytest.raises(ExchangeFailed, match="during the TLS handshake: the server hung up"):
            H11Exchange(clock=lambda: 0.0)(request)


def test_there_is_no_common_tls_version(ask: Ask, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    old = server_context(ca, "localhost")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert "no TLS version that both sides accept" in str(ask(old, ssl_context=context)[0])


def test_a_context_that_offers_http_2_is_not_answered_with_http_1(ask: Ask, ca: trustme.CA) -> None:
    context = client_context(ca)
    context.set_alpn_protocols(["h2"])
    came, server, _ = ask(server_context(ca, "localhost"), ssl_context=context)
    assert came == "the server chose the protocol 'h2': let ssl_context offer http/1.1 only (ALPN)"
    assert server.heard == []


def test_to_the_machine_a_failure_of_tls_is_a_failure_of_transport_and_not_a_refusal(ask: Ask, ca: trustme.CA) -> None:
    came, _, _ = ask(demanding(ca, ssl.TLSVersion.TLSv1_3), ssl_context=client_context(ca))
    machine = TokenMachine(canary.grant(), draw=lambda: 0.5)
    outcome = machine.send_failed(0.0, machine.start_request(0.0), str(came))
    assert isinstance(outcome, Failed)
    assert outcome.problem.kind is ProblemKind.TRANSPORT
    assert "client certificate" in outcome.problem.summary
