"""oauthlib's server, with as little around it as will do: Basic as it stands, and refusals that name no cause."""

from __future__ import annotations

import base64
import time
from types import SimpleNamespace

from oauthlib.oauth2 import BackendApplicationServer, RequestValidator
from typing_extensions import override
from werkzeug.wrappers import Request, Response

from tests.real.servers import SCOPES, App, Environ, Server, StartResponse, Theirs

__all__ = ("OauthlibServer",)


class _Validator(RequestValidator):  # type: ignore[misc]
    """What the server knows, in the words that oauthlib asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.client: tuple[str, str] = ("", "")
        self.tokens: dict[str, tuple[float, list[str]]] = {}

    def authenticate_client(self, request: Theirs, *args: object) -> bool:
        scheme, _, code = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            client_id, _, secret = base64.b64decode(code).decode().partition(":")
        else:
            client_id, secret = request.client_id, request.client_secret
        request.client = SimpleNamespace(client_id=client_id)
        return (client_id, secret) == self.client

    def validate_grant_type(self, client_id: str, grant_type: str, *_: object) -> bool:
        return grant_type == "client_credentials"

    def get_default_scopes(self, client_id: str, *_: object) -> list[str]:
        return []

    def validate_scopes(self, client_id: str, scopes: list[str], *_: object) -> bool:
        return set(scopes) <= set(SCOPES)

    def save_bearer_token(self, token: Theirs, *_: object) -> None:
        self.tokens[token["access_token"]] = (time.monotonic() + token["expires_in"], token["scope"].split())

    def validate_bearer_token(self, token: str, scopes: list[str], request: Theirs) -> bool:
        expires_at, granted = self.tokens.get(token, (0.0, []))
        return time.monotonic() < expires_at and set(scopes) <= set(granted)


class OauthlibServer(Server):
    name = "oauthlib"

    def __init__(self) -> None:
        super().__init__()
        self._validator = _Validator()
        self._endpoint: Theirs = BackendApplicationServer(
            self._validator,
            token_generator=self.new_token,
            token_expires_in=self.lifetime_of,
        )

    @override
    def app(self) -> App:
        return self._answer

    @override
    def register(self, client_id: str, secret: str) -> None:
        self._validator.client = (client_id, secret)

    @override
    def forget(self) -> None:
        self._validator.tokens.clear()

    def _answer(self, environ: Environ, start_response: StartResponse) -> Theirs:
        request = Request(environ)
        body = request.get_data()
        asked = (request.url, request.method, body.decode(), dict(request.headers))
        if request.path == "/oauth/token":
            headers, text, status = self._endpoint.create_token_response(*asked)
            return Response(text, status, headers)(environ, start_response)
        scopes = ["write"] if request.path == "/api/write" else []
        # The body of an API call is nothing to oauthlib.
        is_good, _ = self._endpoint.verify_request(asked[0], asked[1], None, asked[3], scopes=scopes)
        return Response(body if is_good else b"", 200 if is_good else 401)(environ, start_response)
