"""The pytest plugin of evertoken: the fixture ``mangopay_server``. See ``docs/testing.md``.

It lies outside the packages, as Hypothesis has it too, because pytest loads it in every run, before anything measures
coverage: as a part of a package it would import that package, unmeasured, and for those who do not use it as well.
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
    """Remember whether the test itself has passed: of one that failed no more is said."""
    report = yield
    if report.when == "call":
        item.stash[_has_passed] = report.passed
    return report


def pytest_enter_pdb(config: Any, pdb: Any) -> None:  # noqa: ANN401, ARG001 (pytest gives them by name)
    """Whoever looks around in a debugger may take his time: from now on nobody complains that time stands still."""
    for server in _servers:
        server.clock.stuck_after = math.inf
