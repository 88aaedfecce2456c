"""The other side: a token endpoint and an API on real sockets, held back at will, and the judge of who asked how often.

Rows that run in a process of their own steer it from there, over a second socket that speaks plain HTTP.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from typing_extensions import override

from evertoken import HttpResponse
from evertoken.testing import AuthorizationServer, Script, ServerAnswer, ServerRequest
from evertoken_transports.emulator import Emulator
from tests.kits import canary

__all__ = ("LIFETIME", "LIMIT", "Judge", "Place", "RemoteJudge", "Stage", "TlsFiles")

LIFETIME = 3_600
"""Seconds that a token lives."""

LIMIT = 10.0
"""Real seconds after which a cell has failed: far more than it takes."""


class TlsFiles:
    """A private CA in ``folder``, a certificate for the server, and one for the client."""

    def __init__(self, folder: Path) -> None:
        import trustme  # It does not load in a subinterpreter, which needs no more than the paths.

        ca = trustme.CA()
        self.cafile, self.certfile = folder / "ca.pem", folder / "client.pem"
        ca.cert_pem.write_to_path(self.cafile)
        ca.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(self.certfile)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1", "localhost").configure_cert(self.server)
        ca.configure_trust(self.server)
        self.server.verify_mode = ssl.CERT_REQUIRED


@dataclass(frozen=True)
class Place:
    """Where a stage is to be found, and what its TLS wants, in words that travel to another process."""

    url: str
    control: str
    cafile: str | None = None
    certfile: str | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """What the client needs here: the private CA, and a certificate of its own. For plain http, next to nothing."""
        if self.cafile is None or self.certfile is None:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # The default would load every authority, and for nothing.
        context = ssl.create_default_context(cafile=self.cafile)
        context.load_cert_chain(self.certfile)
        return context


class Judge(Protocol):
    """What a cell may do to the token endpoint, and ask of it."""

    def hold(self) -> None:
        """Hold back the answers to token requests from now on."""

    def release(self) -> None:
        """Let all of them go."""

    def asked(self) -> int:
        """How many token requests have arrived."""
        ...


class Stage:
    """One server for one cell. Used in a ``with`` statement."""

    def __init__(self, tls: TlsFiles | None = None) -> None:
        self._gate = threading.Event()
        self._gate.set()
        self._asked = 0
        self._lock = threading.Lock()
        model = AuthorizationServer(
            "canary", canary.secret(), script=Script(lifetime=LIFETIME), token_prefix=canary.TOKEN_MARK
        )
        self._server = _Gated(model, self, None if tls is None else tls.server)
        self._control = _Control(self)
        self._tls = tls

    @property
    def place(self) -> Place:
        """Where it is."""
        url, control = self._server.base_url, self._control.base_url
        if self._tls is None:
            return Place(url, control)
        return Place(url.replace("http:", "https:"), control, str(self._tls.cafile), str(self._tls.certfile))

    def hold(self) -> None:
        """Hold back the answers to token requests from now on."""
        self._gate.clear()

    def release(self) -> None:
        """Let all of them go."""
        self._gate.set()

    def asked(self) -> int:
        """How many token requests have arrived."""
        return self._asked

    def token_request_arrived(self) -> None:
        """Count it, and return when it may be answered."""
        with self._lock:
            self._asked += 1
        self._gate.wait(LIMIT)

    def __enter__(self) -> Self:
        self._server.start()
        self._control.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
        self._server.close()
        self._control.close()


class _Gated(Emulator):
    """The emulator, over TLS that demands a client certificate if it has a context, with a gate at its endpoint."""

    def __init__(self, model: AuthorizationServer, stage: Stage, context: ssl.SSLContext | None) -> None:
        super().__init__(model)
        self._stage = stage
        self._context = context

    @override
    def _serve(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection.settimeout(LIMIT)
            try:
                connection = self._context.wrap_socket(connection, server_side=True)
            except OSError:  # A visitor without a certificate, or `close`, which knocks and goes.
                connection.close()
            self._connections[threading.current_thread()] = connection
        super()._serve(connection)

    @override
    def _handle(self, request: ServerRequest) -> ServerAnswer:
        if request.path.endswith("/oauth/token"):
            self._stage.token_request_arrived()
        return super()._handle(request)


class _Control(Emulator):
    """The way in for a row in another process."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    @override
    def _handle(self, request: ServerRequest) -> ServerAnswer:
        body = json.dumps(getattr(self._stage, request.path.strip("/"))()).encode()
        headers = (("Content-Length", str(len(body))), ("Connection", "close"))
        return ServerAnswer(0.0, HttpResponse(200, headers, body))


class RemoteJudge:
    """The judge as another process sees it."""

    def __init__(self, place: Place) -> None:
        self._address = place.control.removeprefix("http://")

    def hold(self) -> None:
        """Hold back the answers to token requests from now on."""
        self._call("hold")

    def release(self) -> None:
        """Let all of them go."""
        self._call("release")

    def asked(self) -> int:
        """How many token requests have arrived."""
        return int(self._call("asked"))

    def _call(self, what: str) -> str:
        connection = HTTPConnection(self._address, timeout=LIMIT)
        try:
            connection.request("POST", f"/{what}")
            return connection.getresponse().read().decode()
        finally:
            connection.close()
