"""How the tests of the authorization server ask it, and read its answers."""

from __future__ import annotations

import base64
import json
from typing import Any

from evertoken.testing import (
    ApiBehaviour,
    ApiFault,
    Arrival,
    AuthorizationServer,
    Script,
    ServerAnswer,
    ServerRequest,
    TokenBehaviour,
    TokenFault,
)
from tests.kits import canary

__all__ = (
    "LOCKED",
    "TOKEN_PATH",
    "api_failing",
    "ask",
    "basic",
    "body_of",
    "call",
    "failing",
    "json_of",
    "last",
    "lines",
    "server_of",
    "status",
    "token_of",
    "warm",
)

TOKEN_PATH = "/v2.01/oauth/token"
LOCKED = {
    "error": "unauthorized_client",
    "error_description": "This account has been temporarily locked for security reasons. Please try again later.",
}


def server_of(script: Script | None = None, **options: Any) -> AuthorizationServer:  # noqa: ANN401 (checked where they arrive)
    """A server whose key and tokens have the marks that :mod:`tests.kits.canary` looks for."""
    script = Script() if script is None else script
    return AuthorizationServer("client", canary.secret(), script=script, token_prefix=canary.TOKEN_MARK, **options)


def failing(fault: TokenFault, **options: Any) -> AuthorizationServer:  # noqa: ANN401 (checked where they arrive)
    """A server whose token endpoint always has ``fault``."""
    return server_of(Script(token=TokenBehaviour(fault=fault, **options)))


def api_failing(fault: ApiFault, **options: Any) -> AuthorizationServer:  # noqa: ANN401 (checked where they arrive)
    """A server whose API always has ``fault``."""
    return server_of(Script(api=ApiBehaviour(fault=fault, **options)))


def basic(user: str = "client", password: str | None = None) -> tuple[str, str]:
    """The header line of HTTP Basic; the password is by default the server's key."""
    pair = f"{user}:{canary.secret() if password is None else password}"
    return ("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")


def ask(
    server: AuthorizationServer,
    now: float = 0,
    *headers: tuple[str, str],
    body: bytes = b"grant_type=client_credentials",
    method: str = "POST",
    path: str = TOKEN_PATH,
) -> ServerAnswer:
    """One token request."""
    return server.handle(now, ServerRequest(method, path, headers or (basic(),), body))


def call(
    server: AuthorizationServer,
    now: float,
    token: str | None,
    *headers: tuple[str, str],
    method: str = "GET",
    path: str = "/v2.01/client/users",
    body: bytes = b"",
) -> ServerAnswer:
    """One API call with ``token``."""
    signed = () if token is None else (("authorization", f"Bearer {token}"),)
    return server.handle(now, ServerRequest(method, path, (*signed, *headers), body))


def status(answer: ServerAnswer) -> int:
    """The status of an answer that has one."""
    assert answer.response is not None
    return answer.response.status


def body_of(answer: ServerAnswer) -> bytes:
    """The body of an answer that has one."""
    assert answer.response is not None
    return answer.response.body


def json_of(answer: ServerAnswer) -> dict[str, object]:
    """The body, read as a JSON object."""
    value: dict[str, object] = json.loads(body_of(answer))
    return value


def lines(answer: ServerAnswer, name: str) -> list[str]:
    """The values of every header line of that name."""
    assert answer.response is not None
    return [value for line, value in answer.response.headers if line.lower() == name.lower()]


def token_of(answer: ServerAnswer) -> str:
    """The access token in the answer."""
    token = json_of(answer)["access_token"]
    assert isinstance(token, str)
    return token


def last(server: AuthorizationServer) -> Arrival:
    """The newest entry of the log."""
    return server.arrivals[-1]


def warm(server: AuthorizationServer) -> str:
    """A token issued at 0."""
    return token_of(ask(server))
