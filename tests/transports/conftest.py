"""Every test of the adapters starts with an empty process-wide registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evertoken_transports import _coordinator


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    _coordinator._registry.clear()
    yield
    _coordinator._registry.clear()
