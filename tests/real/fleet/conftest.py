"""A fleet with a store of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from evertoken.testing import Script, TokenBehaviour
from evertoken_transports.emulator import Emulator
from tests.real.fleet.kits import CLIENT, KEY, Fleet, running_fleet
from tests.real.nursery import Nursery
from tests.real.stores.kits import SERVERS, Server, server

KINDS = ("file", *SERVERS, "tiers")
SLOW = TokenBehaviour(latency_before=0.2)


# Of the module, so that all tests with one kind come before those with the next: the same waits are far apart.
@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def redis(kind: str) -> Iterator[Server | None]:
    with ExitStack() as stack:
        servers = {"tiers": "valkey"}
        more = ("--databases", "64")
        yield None if kind == "file" else stack.enter_context(server(servers.get(kind, kind), *more))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(Script(token=SLOW), client_id=CLIENT, api_key=KEY) as made:
        yield made


@pytest.fixture
def fleet(kind: str, redis: Server | None, nursery: Nursery, emulator: Emulator, tmp_path: Path) -> Iterator[Fleet]:
    def places(number: int) -> list[str]:
        if redis is None:
            return [str(tmp_path / "store")]
        return [redis.url] if kind != "tiers" else [str(tmp_path / f"host{number % 4}"), redis.url]

    with running_fleet(nursery, emulator, places) as made:
        yield made


@pytest.fixture
def place(redis: Server | None, tmp_path: Path) -> str:
    """Where one store is."""
    return str(tmp_path / "store") if redis is None else redis.url
