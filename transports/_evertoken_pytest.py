"""The pytest plugin of evertoken: the fixture ``mangopay_server``. See ``docs/testing.md``.

It lies outside the packages, as Hypothesis has it too, because pytest loads it in every run, before anything measures
coverage: as a part of a package it would import that package, unmeasured, and for those who do not use it as well.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from evertoken_transports.testing import MangopayServer

__all__ = ("mangopay_server",)


@pytest.fixture
def mangopay_server() -> Generator[MangopayServer]:
    """A fake Mangopay in memory and in virtual time, for this test alone, under threads, asyncio and trio.

    See :class:`evertoken_transports.testing.MangopayServer`. Tokens from before the test are not seen in it, nor its
    tokens after it.
    """
    from evertoken_transports.testing import MangopayServer  # noqa: PLC0415 (only for those who use it)

    with MangopayServer() as server:
        yield server
