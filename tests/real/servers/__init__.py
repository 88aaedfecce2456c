"""Authorization servers that others wrote, each on a port of this machine, and the log of what each was asked."""

from __future__ import annotations

import abc
import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

from werkzeug.serving import BaseWSGIServer, make_server

from evertoken import (
    BasicAuthentication,
    ClientAuthentication,
    ClientCredentials,
    SecretSource,
    SignedAuthentication,
    TokenEndpoint,
)
from tests.kits import canary
from tests.kits.worlds import LIMIT

__all__ = ("CLIENT", "SCOPES", "App", "Environ", "Issued", "Server", "StartResponse", "Theirs")

CLIENT = "a-client"
SCOPES = ("read", "write")
"""What a client may ask for."""

# These libraries ship no types.
Theirs = Any

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]


class Issued(NamedTuple):
    """A token that went out. ``expires_at`` is on the monotonic clock, and no later than the server has it."""

    text: str
    expires_at: float


class Server(abc.ABC):
    """One server, between ``start`` and ``close``. It knows one client; what it logs is read off the wire.

    ``/oauth/token`` issues tokens; ``/api/thing`` takes any token that is good, ``/api/write`` one of that scope.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self.lifetime = 0
        self.is_forgetful = False
        self.token_statuses: list[int] = []
        self.api_statuses: list[int] = []
        self.issued: list[Issued] = []
        self._port = 0

    @abc.abstractmethod
    def app(self) -> App:
        """The application, which lives as long as this server."""

    @abc.abstractmethod
    def register(self, client_id: str, secret: str) -> None:
        """Know this client, and no other."""

    @abc.abstractmethod
    def forget(self) -> None:
        """Know no token any more."""

    def begin(self) -> None:
        """Be as new, for the next test."""
        self.lifetime = 1_200
        self.is_forgetful = False
        self.register(CLIENT, canary.secret())
        self.forget()
        for log in (self.token_statuses, self.api_statuses, self.issued):
            log.clear()

    def start(self) -> None:
        """Listen, at the same port as before."""
        app = self.app()

        def logged(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            return self._answered(app, environ, start_response)

        self._listener: BaseWSGIServer = make_server("127.0.0.1", self._port, logged, threaded=True)
        self._port = self._listener.server_port
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port."""
        self._listener.shutdown()
        self._thread.join(LIMIT)
        self._listener.server_close()
        assert not self._thread.is_alive()

    def restart(self) -> None:
        """Do as servers do that keep their tokens in memory."""
        self.close()
        self.forget()
        self.start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def grant(
        self,
        authentication: ClientAuthentication | SignedAuthentication | None = None,
        *,
        client_id: str = CLIENT,
        secret: str | SecretSource | None = None,
        scope: str | None = None,
    ) -> ClientCredentials:
        """The grant of the client that ``begin`` made known, where nothing else is said."""
        endpoint = TokenEndpoint(f"{self.origin}/oauth/token", authentication or BasicAuthentication())
        secret = canary.secret() if secret is None else secret
        return ClientCredentials(endpoint, client_id, secret, scope=scope, api_base=f"{self.origin}/api")

    def headers(self) -> list[str]:
        """The Authorization values that the tokens make which it has issued."""
        return [f"Bearer {token.text}" for token in self.issued]

    def new_token(self, *_: object, **__: object) -> str:
        """The text of the next token, whatever the library tells of it."""
        return canary.token(len(self.issued))

    def lifetime_of(self, *_: object) -> int:
        """How long the next token lives, whatever the library tells of it."""
        return self.lifetime

    def _answered(self, app: App, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        arrived = time.monotonic()
        begun: list[tuple[str, list[tuple[str, str]]]] = []

        def begin(status: str, headers: list[tuple[str, str]], *_: object) -> Callable[[bytes], object]:
            begun.append((status, headers))
            return lambda _: None

        answer: Theirs = app(environ, begin)
        body = b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        status, headers = begun[-1]
        code = int(status.split()[0])
        if environ["PATH_INFO"] == "/oauth/token":
            self.token_statuses.append(code)
            if code == 200:
                token = json.loads(body)
                self.issued.append(Issued(token["access_token"], arrived + token["expires_in"]))
            if self.is_forgetful:
                self.forget()
        else:
            self.api_statuses.append(code)
        start_response(status, headers)
        return [body]
