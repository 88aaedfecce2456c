"""``private_key_jwt`` at Authlib's server, which verifies each assertion and knows those that came before."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evertoken import (
    BlockKind,
    ClientAssertion,
    CredentialsRefused,
    PostAuthentication,
    Signing,
    TokenMachine,
    TokenUnavailable,
)
from evertoken_transports import Coordinator
from evertoken_transports.credentials import secret_file
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.jwt import PrivateKeyJwt
from evertoken_transports.stores import FileStore
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.adapters import KINDS, Kind, ask, coordinator_of
from tests.kits.jwks import KEYS, Key, keys, public_jwks
from tests.kits.worlds import LIMIT, until
from tests.real.servers.with_authlib import AuthlibServer

pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")
THREADS = Kind("threads", "h11")
# joserfc, by which it verifies, calls EdDSA insecure to be named so, and PS256 unusual.
VERIFIED = tuple(key for key in KEYS if key.algorithm in ("RS256", "ES256"))


@pytest.fixture(scope="module")
def started() -> Iterator[AuthlibServer]:
    made = AuthlibServer()
    made.start()
    yield made
    made.close()


@pytest.fixture
def server(started: AuthlibServer, caplog: pytest.LogCaptureFixture) -> AuthlibServer:
    caplog.set_level(logging.INFO, "authlib")  # At DEBUG it logs the tokens that it issues.
    started.begin()
    started.jwks = public_jwks(KEYS)
    started.assertions.clear()
    return started


def signed_by(key: Key) -> PrivateKeyJwt:
    return PrivateKeyJwt(key.private, algorithm=key.algorithm, kid=key.kid)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("key", VERIFIED, ids=lambda key: key.algorithm)
def test_callers_side_by_side_cost_one_assertion_and_are_served(server: AuthlibServer, key: Key, kind: Kind) -> None:
    coordinator = coordinator_of(server.grant(signed_by(key), secret=""))
    assert ask(kind, coordinator, *[LIMIT] * 5) == server.headers() * 5
    assert server.token_statuses == [200]
    assert len(server.assertions) == 1


def test_each_of_many_requests_has_an_assertion_of_its_own_and_none_is_refused(server: AuthlibServer) -> None:
    server.lifetime = 1
    source = TokenSource(
        server.grant(signed_by(VERIFIED[0]), secret=""),
        coordinator=coordinator_of(server.grant(signed_by(VERIFIED[0]), secret="")),
        exchange=H11Exchange(),
    )
    until(lambda: bool(source.authorization()) and len(server.token_statuses) >= 3)
    assert set(server.token_statuses) == {200}
    assert len(set(server.assertions)) == len(server.assertions)


def test_the_server_would_know_an_assertion_that_was_sent_twice(server: AuthlibServer) -> None:
    grant = server.grant(signed_by(VERIFIED[0]), secret="")
    machine = TokenMachine(grant, draw=lambda: 0.5)
    request = machine.start_request(time.monotonic(), signing=Signing(time.time(), bytes(16)))
    send = H11Exchange(clock=time.monotonic)
    assert [send(request).status, send(request).status] == [200, 400]


def test_the_same_payload_again_is_refused_even_if_it_is_signed_anew(server: AuthlibServer) -> None:
    """What the entropy is for."""
    grant, now = server.grant(signed_by(VERIFIED[1]), secret=""), time.time()
    statuses: list[int] = []
    for _ in range(2):
        machine = TokenMachine(grant, draw=lambda: 0.5)
        request = machine.start_request(time.monotonic(), signing=Signing(now, bytes(16)))
        statuses.append(H11Exchange(clock=time.monotonic)(request).status)
    assert statuses == [200, 400]


def test_a_key_that_the_server_does_not_know_is_tried_once_and_another_one_is_a_change(server: AuthlibServer) -> None:
    wrong = signed_by(keys()[0])
    coordinator = coordinator_of(server.grant(wrong, secret=""))
    refusals = [*ask(THREADS, coordinator, *[LIMIT] * 3), *ask(THREADS, coordinator, LIMIT)]
    assert all(isinstance(refusal, CredentialsRefused) for refusal in refusals)
    assert server.token_statuses in ([401], [400])
    coordinator.replace_credentials(server.grant(signed_by(VERIFIED[0]), secret=""))
    assert ask(THREADS, coordinator, LIMIT) == server.headers()


def test_a_clock_that_is_far_off_is_refused_and_the_error_is_not_about_the_network(server: AuthlibServer) -> None:
    class Slow(Coordinator):
        def _signing(self) -> Signing:
            return Signing(time.time() - 3_600, bytes(16))

    grant = server.grant(signed_by(VERIFIED[0]), secret="")
    (refusal,) = ask(THREADS, Slow(TokenMachine(grant, draw=lambda: 0.5)), LIMIT)
    assert isinstance(refusal, CredentialsRefused)
    assert refusal.problem.error == "invalid_client"


def test_an_assertion_of_somebody_else_is_asked_for_each_time(server: AuthlibServer) -> None:
    """A key service that signs for us: it takes a while, and never signs the same twice."""
    signer, asked = signed_by(VERIFIED[1]), threading.Semaphore(0)
    grant = server.grant(signer, secret="")

    def sign() -> str:
        asked.release()
        return signer.assertion(grant, Signing(time.time(), canary.secret(len(server.assertions)).encode() * 2))

    coordinator = coordinator_of(server.grant(ClientAssertion(sign), secret=""))
    assert ask(THREADS, coordinator, LIMIT, LIMIT) == server.headers() * 2
    assert server.token_statuses == [200]
    assert asked.acquire(blocking=False)
    assert not asked.acquire(blocking=False)


def test_a_projected_token_in_a_file_is_taken_for_an_assertion_and_read_again(
    server: AuthlibServer, tmp_path: Path
) -> None:
    server.lifetime = 1
    signer, file = signed_by(VERIFIED[0]), tmp_path / "token"
    grant = server.grant(signer, secret="")

    def project() -> None:
        number = len(server.assertions).to_bytes(16)
        (tmp_path / "new").write_text(signer.assertion(grant, Signing(time.time(), number)) + "\n")
        (tmp_path / "new").replace(file)

    project()
    federated = server.grant(ClientAssertion(secret_file(file)), secret="")
    source = TokenSource(federated, coordinator=coordinator_of(federated), exchange=H11Exchange())

    def third_is_here() -> bool:
        assert source.authorization()
        project()
        return len(server.token_statuses) >= 3

    until(third_is_here)
    assert set(server.token_statuses) == {200}


def test_a_secret_that_rotates_in_a_file_is_picked_up_by_every_adapter(server: AuthlibServer, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    for kind in KINDS:
        server.begin()
        file.write_text(canary.secret(1))
        coordinator = coordinator_of(server.grant(PostAuthentication(), secret=secret_file(file)))
        (refusal,) = ask(kind, coordinator, LIMIT)
        assert isinstance(refusal, TokenUnavailable)
        assert [block for block, _ in coordinator.explain().blocks] == [BlockKind.REFUSED]
        file.write_text(canary.secret() + "\n")
        coordinator.lift_block()
        assert ask(kind, coordinator, LIMIT) == server.headers()


def test_processes_that_have_the_key_share_a_token_by_a_store(server: AuthlibServer, tmp_path: Path) -> None:
    headers: list[str] = []
    for _ in range(3):
        grant = server.grant(signed_by(VERIFIED[1]), secret="")
        coordinator = Coordinator(TokenMachine(grant, draw=lambda: 0.5, tiers=1))
        source = TokenSource(grant, coordinator=coordinator, store=FileStore(tmp_path / "store"))
        headers.append(source.authorization())
        source.close()
    assert headers == server.headers() * 3
    assert server.token_statuses == [200]
