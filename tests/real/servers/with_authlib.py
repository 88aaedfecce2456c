"""Authlib's server, on Flask. It decodes what comes by Basic, but takes a plus for a plus."""

from __future__ import annotations

import time

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from joserfc.jwk import KeySet
from typing_extensions import override

from tests.real.servers import SCOPES, App, Server, Theirs

__all__ = ("AuthlibServer",)


class _Token:
    """What the server keeps of a token, in the words that Authlib asks for."""

    def __init__(self, text: str, expires_in: int, scope: str) -> None:
        self.text = text
        self._expires_at = time.monotonic() + expires_in
        self._scope = scope

    def is_expired(self) -> bool:
        return time.monotonic() >= self._expires_at

    def is_revoked(self) -> bool:
        return False

    def get_scope(self) -> str:
        return self._scope


class _Client:
    """The one client, in the words that Authlib asks for."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def check_client_secret(self, secret: str) -> bool:
        return secret == self._secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""


class _Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "client_assertion_jwt")


_Verifier: Theirs = JWTBearerClientAssertion  # Its own comments ask to override it otherwise than its types do.


class _Assertion(_Verifier):  # type: ignore[misc]
    """Verifies what clients sign, and knows which assertions came before."""

    def __init__(self, server: AuthlibServer) -> None:
        super().__init__()
        self._server = server

    def get_audiences(self) -> list[str]:
        return [f"{self._server.origin}/oauth/token"]

    def validate_jti(self, claims: Theirs, jti: str) -> bool:
        is_new = jti not in self._server.assertions
        self._server.assertions.append(jti)
        return is_new

    def resolve_client_public_key(self, client: _Client) -> Theirs:
        return KeySet.import_key_set(self._server.jwks)


class _Validator(BearerTokenValidator):  # type: ignore[misc]
    def __init__(self, tokens: dict[str, _Token]) -> None:
        super().__init__()
        self._tokens = tokens

    def authenticate_token(self, token_string: str) -> _Token | None:
        return self._tokens.get(token_string)


class AuthlibServer(Server):
    name = "authlib"

    def __init__(self) -> None:
        super().__init__()
        self.jwks: Theirs = {"keys": []}
        """The public keys of the client."""
        self.assertions: list[str] = []
        """The ids of all assertions that have come."""
        self._client = ("", _Client(""))
        self._tokens: dict[str, _Token] = {}
        self._app = flask.Flask(__name__)
        self._app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = self.new_token
        self._app.config["OAUTH2_SCOPES_SUPPORTED"] = SCOPES
        self._add_endpoint()
        self._add_resources()

    @override
    def app(self) -> App:
        app: App = self._app
        return app

    @override
    def register(self, client_id: str, secret: str) -> None:
        self._client = (client_id, _Client(secret))

    @override
    def forget(self) -> None:
        self._tokens.clear()

    def _add_endpoint(self) -> None:
        authorization: Theirs = AuthorizationServer(self._app, self._find, self._save)
        authorization.register_grant(_Grant)
        authorization.register_client_auth_method(_Assertion.CLIENT_AUTH_METHOD, _Assertion(self))
        authorization._token_generators["default"].expires_generator = self.lifetime_of
        self._app.post("/oauth/token")(authorization.create_token_response)

    def _find(self, client_id: str) -> _Client | None:
        known, client = self._client
        return client if client_id == known else None

    def _save(self, token: Theirs, request: object) -> None:
        made = _Token(token["access_token"], token["expires_in"], token.get("scope", ""))
        self._tokens[made.text] = made

    def _add_resources(self) -> None:
        protected: Theirs = ResourceProtector()
        protected.register_token_validator(_Validator(self._tokens))

        @self._app.route("/api/thing", methods=["GET", "POST"])
        @protected()  # type: ignore[untyped-decorator]
        def thing() -> bytes:
            return flask.request.get_data()

        @self._app.route("/api/write")
        @protected("write")  # type: ignore[untyped-decorator]
        def write() -> bytes:
            return b""
