"""Every test of the adapters starts with an empty process-wide registry, and none reads the authorities anew."""

from __future__ import annotations

import functools
import logging
import ssl
from collections.abc import Iterator

import pytest

from evertoken_transports import _coordinator


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    _coordinator._registry.clear()
    yield
    _coordinator._registry.clear()


@pytest.fixture
def unlogged(caplog: pytest.LogCaptureFixture) -> None:
    """For simulated sources, which log by the thousand, and have no mark of the canary in any secret of theirs."""
    caplog.set_level(logging.CRITICAL, "evertoken")


@pytest.fixture(autouse=True, scope="session")
def authorities_read_once() -> Iterator[None]:
    """To read those of this machine takes longer than most tests, and none here verifies anybody by them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield
