"""The pytest plugin of evertoken: the fixture ``mangopay_server``. See ``docs/testing.md``.

This module lies outside the packages, as that of Hypothesis does, because pytest loads it in every run, before anything
measures coverage. In a package it would import that package each time: unmeasured, and for those who do not use the
fixture as well.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from evertoken_transports.testing import MangopayServer

_has_passed = pytest.StashKey[bool]()
_servers: list[MangopayServer] = []


@pytest.fixture
def mangopay_server(request: pytest.FixtureRequest) -> Generator[MangopayServer]:
    """A fake Mangopay in memory and in virtual time, for this test alone, under threads, asyncio and trio.

    See :class:`evertoken_transports.testing.MangopayServer`. Tokens from before the test are not seen in it, nor its
    tokens after it. A test that passes although some of the trouble that it ordered never struck is failed: it has
    not tested what it says. ``mangopay_server.drop_pending_troubles()`` at its end says that this is meant.
    """
    from evertoken_transports.testing import MangopayServer  # noqa: PLC0415 (only for those who use it)

    with MangopayServer() as server:
        _servers.append(server)
        yield server
        _servers.remove(server)
        if server.pending_troubles and request.node.stash.get(_has_passed, False):
            pytest.fail(_left_over(server), pytrace=False)


def _left_over(server: MangopayServer) -> str:
    troubles = ", ".join(str(trouble) for trouble in server.pending_troubles)
    return (
        f"ordered from mangopay_server, and never struck a request: {troubles}. It has seen {server.token_requests} "
        f"token requests and {server.api_calls} API calls. Either fewer were made than the test means, or this is "
        "meant: then call mangopay_server.drop_pending_troubles() at the end of the test."
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether the test itself has passed: one that failed is not failed again for trouble that it left."""
    report = yield
    if report.when == "call":
        item.stash[_has_passed] = report.passed
    return report


def pytest_enter_pdb(config: Any, pdb: Any) -> None:  # noqa: ANN401, ARG001 (pytest gives them by name)
    """Never complain of a time that stands still from now on: whoever looks around in a debugger takes real time."""
    for server in _servers:
        server.clock.stuck_after = math.inf
