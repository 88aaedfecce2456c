"""A place for a store, of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from evertoken.sharing import Store
from tests.real.stores.kits import SERVERS, Server, server
from tests.real.stores.places import store_of

KINDS = ("file", *SERVERS)


@pytest.fixture(scope="package")
def _servers() -> Iterator[dict[str, Server]]:
    """One of each kind, for the tests that do nothing to it."""
    with ExitStack() as stack:
        yield {kind: stack.enter_context(server(kind)) for kind in SERVERS}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, _servers: dict[str, Server]) -> str:
    """Where nothing stands yet."""
    if request.param == "file":
        return str(tmp_path / "store")
    _servers[request.param].ask("FLUSHALL")
    return _servers[request.param].url


@pytest.fixture
def make(place: str) -> Iterator[Callable[[], Store]]:
    """Makes stores of one place, each as another process would have it."""
    made = list[Store]()

    def one() -> Store:
        made.append(store_of(place))
        return made[-1]

    yield one
    for store in made:
        store.close()
