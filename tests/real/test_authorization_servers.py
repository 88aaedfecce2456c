"""Three authorization servers that others wrote, each way to authenticate, each adapter in its turn, over real sockets.

The server's own log is the judge: how often it was asked, and what it says of the tokens.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import import_module
from itertools import product

import pytest

from evertoken import (
    BasicAuthentication,
    ClientAuthentication,
    CredentialsRefused,
    Policy,
    PostAuthentication,
    ProblemKind,
)
from evertoken_transports import Coordinator
from tests.kits import canary
from tests.kits.adapters import KINDS, Kind, ask, coordinator_of
from tests.kits.httpx_kits import AsyncCalls
from tests.kits.worlds import LIMIT, until
from tests.real.servers import CLIENT, Server, Theirs
from tests.real.servers.with_authlib import AuthlibServer
from tests.real.servers.with_oauthlib import OauthlibServer
from tests.real.servers.with_toolkit import ToolkitServer

# httpx and httpcore let go of their own generators when a request ends half-way, and trio warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

SERVERS = ("authlib", "oauthlib", "toolkit")
AUTHENTICATIONS: dict[str, ClientAuthentication] = {
    "rfc6749": BasicAuthentication("rfc6749"),
    "raw": BasicAuthentication("raw"),
    "post": PostAuthentication(),
}
CELLS = tuple(product(SERVERS, AUTHENTICATIONS))
CLIENTS = tuple(kind for kind in KINDS if kind.library != "h11")
THREADS = Kind("threads", "h11")


def in_turn(turn: int) -> pytest.MarkDecorator:
    """Every server with every way to authenticate. In another turn each meets another adapter; each adapter has one."""
    return pytest.mark.parametrize(
        ("server", "authentication", "kind"),
        [
            pytest.param(name, AUTHENTICATIONS[way], kind, id=f"{name}-{way}-{kind}")
            for index, (name, way) in enumerate(CELLS)
            for kind in (KINDS[(index + turn) % len(KINDS)],)
        ],
        indirect=["server"],
    )


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """The server of that name, which runs until the last test is over."""
    makers: dict[str, Callable[[], Server]] = {
        "authlib": AuthlibServer,
        "oauthlib": OauthlibServer,
        "toolkit": lambda: ToolkitServer(tmp_path_factory.mktemp("toolkit")),
    }
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = makers[name]()
            running[name].start()
        return running[name]

    yield get
    for server in running.values():
        server.close()


@pytest.fixture
def server(
    request: pytest.FixtureRequest, started: Callable[[str], Server], caplog: pytest.LogCaptureFixture
) -> Server:
    # At DEBUG these libraries log the tokens that they issue. The canary is about our log, not about theirs.
    for name in ("authlib", "oauthlib", "oauth2_provider"):
        caplog.set_level(logging.INFO, name)
    server = started(request.param)
    server.begin()
    return server


# ----------------------------------------------------------------------------------------- client authentication


@in_turn(0)
def test_callers_side_by_side_cost_one_token_request_and_their_token_opens_the_resource(
    server: Server, authentication: ClientAuthentication, kind: Kind
) -> None:
    came = ask(kind, coordinator_of(server.grant(authentication)), *[LIMIT] * 5)
    assert came == server.headers() * 5
    assert server.token_statuses == [200]
    assert status_of_call(server, came[0]) == 200


def status_of_call(server: Server, header: object, path: str = "thing") -> int:
    """What the server says of the token in this header, asked by a client that knows nothing of us."""
    with closing(http.client.HTTPConnection(server.origin.removeprefix("http://"), timeout=LIMIT)) as connection:
        connection.request("GET", f"/api/{path}", headers={"Authorization": str(header)})
        return connection.getresponse().status


@in_turn(1)
def test_a_wrong_secret_is_sent_once_whoever_asks_until_there_is_another(
    server: Server, authentication: ClientAuthentication, kind: Kind
) -> None:
    coordinator = coordinator_of(server.grant(authentication, secret=canary.secret(1)))
    refusals = [*ask(kind, coordinator, *[LIMIT] * 5), *ask(kind, coordinator, LIMIT)]
    assert_refused_once(server, *refusals)
    coordinator.replace_credentials(server.grant(authentication))
    assert ask(kind, coordinator, LIMIT) == server.headers()
    assert server.token_statuses == [401, 200]


@in_turn(2)
def test_a_client_that_nobody_knows_is_refused_once_whoever_asks(
    server: Server, authentication: ClientAuthentication, kind: Kind
) -> None:
    coordinator = coordinator_of(server.grant(authentication, client_id="nobody"))
    assert_refused_once(server, *ask(kind, coordinator, *[LIMIT] * 5), *ask(kind, coordinator, LIMIT))


def assert_refused_once(server: Server, *refusals: object) -> None:
    # Authlib says 400 to a client that it does not know and that used no Basic, as RFC 6749 section 5.2 lets it.
    assert server.token_statuses in ([401], [400])
    for refusal in refusals:
        assert isinstance(refusal, CredentialsRefused)
        assert refusal.problem.kind is ProblemKind.CREDENTIALS_REFUSED
        assert refusal.problem.error == "invalid_client"
        assert refusal.problem.status == server.token_statuses[0]
    canary.assert_clean(*refusals)


SPECIAL = {
    "percent": "100%",
    "escape": "%41",
    "plus": "a+b",
    "colon": "a:b",
    "accent": "é",
    "euro": "€",
    "space": "a b",
    "form": "a&b=c",
    "url": "/?#[]@!$'()*;",
    "quotes": "\"'\\",
}
"""What an encoding may get wrong, as a part of a secret."""

REFUSED: dict[tuple[str, str], set[str]] = {
    # It decodes percent escapes, and takes what is no escape as it stands.
    ("authlib", "raw"): {"escape"},
    # It decodes a form, where a plus is a space.
    ("toolkit", "raw"): {"escape", "plus"},
    # It decodes nothing.
    ("oauthlib", "rfc6749"): set(SPECIAL),
}
"""Which server does not know which client by which encoding. In a form they all know all of them."""


@pytest.mark.parametrize("where", ["client_id", "secret"])
@pytest.mark.parametrize("way", AUTHENTICATIONS)
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_id_and_secret_arrive_whatever_is_in_them_or_the_error_names_the_other_encodings(
    server: Server, way: str, where: str
) -> None:
    # Basic ends the id at its first colon (RFC 7617 section 2): such a grant cannot be made.
    tried = SPECIAL.keys() - ({"colon"} if (way, where) == ("raw", "client_id") else set())
    refused = {name for name in tried if not is_known(server, way, where, SPECIAL[name])}
    assert refused == REFUSED.get((server.name, way), set()) & tried


def is_known(server: Server, way: str, where: str, special: str) -> bool:
    client_id, secret = CLIENT, canary.secret()
    if where == "client_id":
        client_id += special
    else:
        secret += special
    server.begin()
    server.register(client_id, secret)
    grant = server.grant(AUTHENTICATIONS[way], client_id=client_id, secret=secret)
    (came,) = ask(THREADS, coordinator_of(grant), LIMIT)
    if isinstance(came, Exception):
        assert_refused_once(server, came)
        ways = ('BasicAuthentication("raw")', 'BasicAuthentication("rfc6749")', "PostAuthentication")
        assert not [way for way in ways if way not in str(came)]
        return False
    assert status_of_call(server, came) == 200
    return True


# ---------------------------------------------------------------------------------------------------------- scope


@pytest.mark.parametrize(("scope", "status"), [("write", 200), ("read write", 200), ("read", 403)])
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_scope_is_asked_for_granted_and_opens_what_it_is_for(server: Server, scope: str, status: int) -> None:
    (header,) = ask(THREADS, coordinator_of(server.grant(scope=scope)), LIMIT)
    # oauthlib by itself does not tell a token that is bad from one that is not enough.
    assert status_of_call(server, header, "write") in ((status,) if status == 200 else (401, 403))
    assert status_of_call(server, header) == 200
    assert server.token_statuses == [200]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_scope_that_nobody_may_have_is_asked_for_once(server: Server) -> None:
    coordinator = coordinator_of(server.grant(scope="read everything"))
    for refusal in (*ask(THREADS, coordinator, LIMIT, LIMIT), *ask(THREADS, coordinator, LIMIT)):
        assert isinstance(refusal, CredentialsRefused)
        assert refusal.problem.kind is ProblemKind.REQUEST_REFUSED
        assert (refusal.problem.status, refusal.problem.error) == (400, "invalid_scope")
    assert server.token_statuses == [400]


# --------------------------------------------------------------------------------------------- expiry and renewal


@in_turn(3)
def test_over_two_expiries_a_token_is_renewed_in_time_and_no_oftener_than_it_lives(
    server: Server, authentication: ClientAuthentication, kind: Kind
) -> None:
    server.lifetime = 1
    coordinator = coordinator_of(server.grant(authentication))
    handed_out: dict[str, float] = {}
    pause, begun = threading.Event(), time.monotonic()

    def third_is_here() -> bool:
        asked_at = time.monotonic()
        (header,) = ask(kind, coordinator, LIMIT)
        handed_out[str(header)] = asked_at
        pause.wait(0.05)  # The servers and the other tests want the processor too.
        return len(handed_out) == 3

    until(third_is_here)
    lives = (time.monotonic() - begun) / server.lifetime
    expiries = dict(zip(server.headers(), (token.expires_at for token in server.issued), strict=True))
    assert all(expiries[header] > asked_at for header, asked_at in handed_out.items())
    # Renewal begins after 73 to 75 per cent of a life.
    assert 3 <= len(server.token_statuses) <= 1 + lives / 0.73


# ------------------------------------------------------------------------------------------ a token that is rejected


def client_of(kind: Kind, coordinator: Coordinator) -> Theirs:
    """A client whose calls are signed, over the real network."""
    adapter: Theirs = import_module(f"evertoken_transports.{kind.library}")
    theirs: Theirs = import_module(kind.library)
    auth = adapter.BearerAuth(coordinator.machine.grant, coordinator=coordinator)
    if kind.runtime == "threads":
        return theirs.Client(auth=auth, base_url=auth.api_base, trust_env=False)
    return AsyncCalls(theirs.AsyncClient(auth=auth, base_url=auth.api_base, trust_env=False), kind.runtime)


# A 401 that names no cause is not believed of a token that is younger than this: servers take time to tell each other.
GULLIBLE = Policy(rejection_interval=2.0**-9)

RESOURCES = [
    ("authlib", "thing", 401),
    ("oauthlib", "thing", 401),
    ("toolkit", "thing", 401),
    ("toolkit", "forbidden", 403),
]
"""Where, and by which status, each server says that a token is none of its own. Of these, oauthlib names no cause."""

EVERY_CLIENT = pytest.mark.parametrize("kind", CLIENTS, ids=str)
EVERY_RESOURCE = pytest.mark.parametrize(("server", "path", "status"), RESOURCES, indirect=["server"])


@EVERY_CLIENT
@EVERY_RESOURCE
def test_a_call_is_repeated_with_a_new_token_when_the_server_has_restarted_and_forgotten_the_old_one(
    server: Server, path: str, status: int, kind: Kind
) -> None:
    client = client_of(kind, coordinator_of(server.grant(), GULLIBLE))
    assert client.get(f"/{path}").status_code == 200
    server.restart()
    response, after = client.get(f"/{path}"), client.get(f"/{path}")
    client.close()
    assert [earlier.status_code for earlier in response.history] == [status]
    assert (response.status_code, after.status_code) == (200, 200)
    assert server.api_statuses == [200, status, 200, 200]
    assert server.token_statuses == [200, 200]


@EVERY_CLIENT
@EVERY_RESOURCE
def test_a_post_is_repeated_whole_where_the_server_says_that_it_was_the_token(
    server: Server, path: str, status: int, kind: Kind
) -> None:
    client = client_of(kind, coordinator_of(server.grant(), GULLIBLE))
    assert client.post(f"/{path}").status_code == 200
    server.restart()
    response, after = client.post(f"/{path}", content=b"the body"), client.post(f"/{path}")
    client.close()
    if server.name == "oauthlib":
        assert (response.status_code, server.api_statuses) == (status, [200, status, 200])
    else:
        assert (response.text, server.api_statuses) == ("the body", [200, status, 200, 200])
    assert after.status_code == 200
    assert server.token_statuses == [200, 200]


@EVERY_CLIENT
@EVERY_RESOURCE
def test_a_resource_that_rejects_every_token_is_believed_once_if_it_says_that_it_is_the_token(
    server: Server, path: str, status: int, kind: Kind
) -> None:
    client = client_of(kind, coordinator_of(server.grant()))
    server.is_forgetful = True
    assert [client.get(f"/{path}").status_code for _ in range(4)] == [status] * 4
    client.close()
    assert server.token_statuses == [200] * (1 if server.name == "oauthlib" else 2)


@pytest.mark.parametrize("server", ["toolkit"], indirect=True)
def test_a_403_that_says_nothing_of_the_token_costs_no_token(server: Server) -> None:
    client = client_of(Kind("threads", "httpx"), coordinator_of(server.grant(), GULLIBLE))
    assert client.get("/bare").status_code == 200
    server.restart()
    assert [client.get("/bare").status_code for _ in range(3)] == [403] * 3
    client.close()
    assert server.token_statuses == [200]
