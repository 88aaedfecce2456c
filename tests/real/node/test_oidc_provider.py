"""``private_key_jwt`` at oidc-provider, a certified server: each algorithm, each adapter, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from evertoken import ClientCredentials, CredentialsRefused, Signing, TokenEndpoint, TokenMachine
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.jwt import PrivateKeyJwt
from tests.kits.adapters import KINDS, Kind, ask, coordinator_of
from tests.kits.jwks import KEYS, Key, keys, public_jwks
from tests.kits.worlds import LIMIT

NODE = Path(__file__).parent
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")
THREADS = Kind("threads", "h11")


class Provider:
    """The server, and what it answered."""

    def __init__(self, issuer: str, said: IO[str]) -> None:
        self.issuer = issuer
        self._said = said

    def grant(self, key: Key, *, audience: str | None = None, scope: str | None = None) -> ClientCredentials:
        manner = PrivateKeyJwt(key.private, algorithm=key.algorithm, kid=key.kid, audience=audience)
        return ClientCredentials(TokenEndpoint(f"{self.issuer}/token", manner), "a-client", scope=scope)

    def statuses(self, count: int) -> list[int]:
        """The statuses of the next ``count`` answers."""
        return [int(self._said.readline()) for _ in range(count)]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    node = shutil.which("node")
    assert node is not None, "missing: Node.js 18 or later with npm (Debian has them in the packages nodejs and npm)"
    assert (NODE / "node_modules" / ".ready").exists(), "missing: oidc-provider (`make node` installs it)"
    command = [node, "provider.js", json.dumps(public_jwks(KEYS))]
    with subprocess.Popen(
        command, cwd=NODE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        yield Provider(process.stdout.readline().strip(), process.stdout)
        process.terminate()


@pytest.mark.parametrize("audience", ["endpoint", "issuer"])
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_each_algorithm_is_verified_for_the_endpoint_and_for_the_issuer(
    provider: Provider, key: Key, audience: str
) -> None:
    grant = provider.grant(key, audience=provider.issuer if audience == "issuer" else None, scope="read")
    (header,) = ask(THREADS, coordinator_of(grant), LIMIT)
    assert str(header).startswith("Bearer ")
    assert provider.statuses(1) == [200]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_callers_side_by_side_cost_one_request_on_every_adapter(provider: Provider, kind: Kind) -> None:
    came = ask(kind, coordinator_of(provider.grant(KEYS[2])), *[LIMIT] * 5)
    assert len(set(map(str, came))) == 1
    assert str(came[0]).startswith("Bearer ")
    assert provider.statuses(1) == [200]


def test_it_would_know_an_assertion_that_was_sent_twice(provider: Provider) -> None:
    machine = TokenMachine(provider.grant(KEYS[0]), draw=lambda: 0.5)
    request = machine.start_request(time.monotonic(), signing=Signing(time.time(), bytes(16)))
    send = H11Exchange(clock=time.monotonic)
    assert [send(request).status, send(request).status] == provider.statuses(2) == [200, 401]


def test_a_wrong_key_and_a_wrong_audience_are_refused_once(provider: Provider) -> None:
    for grant in (provider.grant(keys()[2]), provider.grant(KEYS[3], audience="https://another.example")):
        coordinator = coordinator_of(grant)
        for refusal in (*ask(THREADS, coordinator, LIMIT, LIMIT), *ask(THREADS, coordinator, LIMIT)):
            assert isinstance(refusal, CredentialsRefused)
            assert refusal.problem.error == "invalid_client"
        assert provider.statuses(1) == [401]
    coordinator.replace_credentials(provider.grant(KEYS[3]))
    assert str(ask(THREADS, coordinator, LIMIT)[0]).startswith("Bearer ")
    assert provider.statuses(1) == [200]
