"""Every adapter against an authorization server that others wrote: Authlib's, on Flask, over real sockets."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import flask
import pytest
from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc6750 import BearerTokenValidator
from werkzeug.serving import make_server

from evertoken import (
    BasicAuthentication,
    ClientAuthentication,
    ClientCredentials,
    CredentialsRefused,
    PostAuthentication,
    ProblemKind,
    TokenEndpoint,
)
from evertoken_transports import Coordinator
from tests import canary
from tests.real.adapters import KINDS, Kind, ask, coordinator_of
from tests.transports.httpx_kits import AsyncCalls
from tests.transports.worlds import LIMIT, until

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

CLIENT = "a client/with: reserved%20characters"
SECRET = f"{canary.secret()} +%2B%&=:/?#[]@!$'()*;~\"\\ü€"
"""What an encoding may get wrong: a space, a plus, something that looks encoded, delimiters, more than ASCII."""

EVERY_KIND = pytest.mark.parametrize("kind", KINDS, ids=str)
CLIENTS = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.library != "h11"], ids=str)

# Authlib ships no types.
Theirs = Any


class Token:
    """What the server keeps of a token that it issued, in the words that Authlib asks for."""

    def __init__(self, text: str, expires_in: int) -> None:
        self.text = text
        self.expires_at = time.monotonic() + expires_in
        self.revoked = False

    def is_expired(self) -> bool:
        return time.monotonic() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.revoked

    def get_scope(self) -> str:
        return ""


class Client:
    """The one registered client, in the words that Authlib asks for."""

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return True

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""


class Grant(ClientCredentialsGrant):  # type: ignore[misc]
    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class Validator(BearerTokenValidator):  # type: ignore[misc]
    def __init__(self, issued: list[Token]) -> None:
        super().__init__()
        self._issued = issued

    def authenticate_token(self, token_string: str) -> Token | None:
        return next((token for token in self._issued if token.text == token_string), None)


class Server:
    """The application, and what it saw."""

    def __init__(self) -> None:
        self.lifetime = 1_200
        self.token_requests = 0
        self.api_statuses: list[int] = []
        self.issued: list[Token] = []
        self.app = flask.Flask(__name__)
        self.app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = self._new_token
        self.port = 0
        self._add_endpoint()
        self._add_resource()

    def _add_endpoint(self) -> None:
        authorization: Theirs = AuthorizationServer(self.app, self._find_client, self._save_token)
        authorization.register_grant(Grant)
        authorization._token_generators["default"].expires_generator = self._lifetime_of

        @self.app.post("/oauth/token")
        def issue() -> flask.Response:
            self.token_requests += 1
            response: flask.Response = authorization.create_token_response()
            return response

    def _find_client(self, client_id: str) -> Client | None:
        return Client() if client_id == CLIENT else None

    def _new_token(self, **_: object) -> str:
        return canary.token(len(self.issued))

    def _lifetime_of(self, client: Client, grant_type: str) -> int:
        return self.lifetime

    def _save_token(self, token: Theirs, request: object) -> None:
        self.issued.append(Token(token["access_token"], token["expires_in"]))

    def _add_resource(self) -> None:
        protected: Theirs = ResourceProtector()
        protected.register_token_validator(Validator(self.issued))

        @self.app.route("/api/thing", methods=["GET", "POST"])
        @protected()  # type: ignore[untyped-decorator]
        def thing() -> str:
            return flask.request.get_data(as_text=True) or "a thing"

        @self.app.after_request
        def note(response: flask.Response) -> flask.Response:
            if flask.request.path == "/api/thing":
                self.api_statuses.append(response.status_code)
            return response

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def grant(self, secret: str = SECRET, authentication: ClientAuthentication | None = None) -> ClientCredentials:
        endpoint = TokenEndpoint(f"{self.origin}/oauth/token", authentication or BasicAuthentication())
        return ClientCredentials(endpoint, CLIENT, secret, api_base=f"{self.origin}/api")

    def headers(self) -> list[str]:
        """The Authorization values that its tokens make."""
        return [f"Bearer {token.text}" for token in self.issued]


@pytest.fixture
def server(caplog: pytest.LogCaptureFixture) -> Iterator[Server]:
    # At DEBUG, Authlib logs the tokens that it issues. The canary is about our log, not about the server's.
    caplog.set_level(logging.INFO, "authlib")
    made = Server()
    listener = make_server("127.0.0.1", 0, made.app, threaded=True)
    made.port = listener.server_port
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    listener.shutdown()
    thread.join(LIMIT)
    listener.server_close()
    assert not thread.is_alive()


# ----------------------------------------------------------------------------------------- client authentication


@EVERY_KIND
@pytest.mark.parametrize("authentication", [BasicAuthentication(), PostAuthentication()], ids=["Basic", "post"])
def test_reserved_characters_in_id_and_secret_arrive_as_they_are_and_the_token_opens_the_resource(
    kind: Kind, server: Server, authentication: ClientAuthentication
) -> None:
    coordinator = coordinator_of(server.grant(authentication=authentication))
    came = ask(kind, coordinator, *[LIMIT] * 5)
    assert came == server.headers() * 5
    assert server.token_requests == 1
    with server.app.test_client() as api:
        assert api.get("/api/thing", headers={"Authorization": str(came[0])}).status_code == 200


@EVERY_KIND
@pytest.mark.parametrize("authentication", [BasicAuthentication(), PostAuthentication()], ids=["Basic", "post"])
def test_a_wrong_secret_is_sent_once_whoever_asks_until_there_is_another(
    kind: Kind, server: Server, authentication: ClientAuthentication
) -> None:
    coordinator = coordinator_of(server.grant(canary.secret(1), authentication))
    refusals = [*ask(kind, coordinator, *[LIMIT] * 5), *ask(kind, coordinator, LIMIT)]
    assert server.token_requests == 1
    for refusal in refusals:
        assert isinstance(refusal, CredentialsRefused)
        assert refusal.problem.kind is ProblemKind.CREDENTIALS_REFUSED
        assert refusal.problem.error == "invalid_client"
        assert refusal.problem.status == 401
    canary.assert_clean(*refusals)
    coordinator.replace_credentials(server.grant(authentication=authentication))
    assert ask(kind, coordinator, LIMIT) == server.headers()
    assert server.token_requests == 2


# --------------------------------------------------------------------------------------------- expiry and renewal


@EVERY_KIND
def test_a_token_is_renewed_in_time_and_never_handed_out_once_it_has_expired(kind: Kind, server: Server) -> None:
    server.lifetime = 1
    coordinator = coordinator_of(server.grant())
    handed_out: dict[str, float] = {}

    def next_is_here() -> bool:
        asked_at = time.monotonic()
        (header,) = ask(kind, coordinator, LIMIT)
        handed_out[str(header)] = asked_at
        return len(handed_out) == 2

    until(next_is_here)
    expiries = dict(zip(server.headers(), (token.expires_at for token in server.issued), strict=True))
    assert all(expiries[header] > asked_at for header, asked_at in handed_out.items())
    assert server.token_requests == len(server.issued)


# ------------------------------------------------------------------------------------------ a token that is rejected


def calls_of(kind: Kind, coordinator: Coordinator) -> Theirs:
    """A client whose calls are signed, over the real network."""
    adapter: Theirs = import_module(f"evertoken_transports.{kind.library}")
    theirs: Theirs = import_module(kind.library)
    auth = adapter.BearerAuth(coordinator.machine.grant, coordinator=coordinator)
    if kind.runtime == "threads":
        return theirs.Client(auth=auth, base_url=auth.api_base, trust_env=False)
    return AsyncCalls(theirs.AsyncClient(auth=auth, base_url=auth.api_base, trust_env=False), kind.runtime)


@CLIENTS
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_revoked_token_is_replaced_once_and_the_call_is_repeated(kind: Kind, server: Server, method: str) -> None:
    client = calls_of(kind, coordinator_of(server.grant()))
    assert client.request(method, "/thing").status_code == 200
    server.issued[0].revoked = True
    response = client.request(method, "/thing", content=b"the body" if method == "POST" else None)
    client.close()
    assert (response.status_code, response.text) == (200, "the body" if method == "POST" else "a thing")
    (first,) = response.history
    assert first.status_code == 401
    assert 'error="invalid_token"' in first.headers["WWW-Authenticate"]
    assert server.api_statuses == [200, 401, 200]
    assert server.token_requests == 2


@CLIENTS
def test_a_resource_that_rejects_every_token_is_believed_once(kind: Kind, server: Server) -> None:
    client = calls_of(kind, coordinator_of(server.grant()))
    validator = Validator.validate_token

    def reject(self: Theirs, token: Token | None, scopes: object, request: object) -> None:
        validator(self, None, scopes, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Validator, "validate_token", reject)
        statuses = [client.get("/thing").status_code for _ in range(4)]
    client.close()
    assert statuses == [401] * 4
    assert server.token_requests == 2
