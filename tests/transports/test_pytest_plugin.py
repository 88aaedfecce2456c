"""The plugin as an application has it: installed, found by pytest itself, in test files of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from evertoken.testing import ApiFault, TokenFault
from evertoken_transports.testing import NETWORK_FAULTS
from tests.kits.source_tree import ROOT, examples

pytest_plugins = ["pytester"]

# looptime leaves event loops unclosed, for the collector to complain about.
QUIET = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:cov",
    "-p",
    "no:looptime_plugin",
    "-o",
    "asyncio_default_fixture_loop_scope=function",
)


def test_every_example_of_the_documentation_works_as_written(pytester: pytest.Pytester) -> None:
    source = examples("docs/testing.md")
    pytester.makepyfile(source)
    result = pytester.runpytest_inprocess(*QUIET)
    parametrized = 2
    result.assert_outcomes(passed=source.count("def test_") + parametrized)


def test_the_documentation_names_every_fault_of_server_and_network() -> None:
    named = set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs/testing.md").read_text(encoding="utf-8")))
    assert named == {fault.name for fault in (*TokenFault, *ApiFault, *NETWORK_FAULTS)}


def test_a_test_that_passes_without_the_trouble_that_it_ordered_is_failed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        from evertoken.testing import ApiFault, TokenFault, WorldFault

        def test_none_is_left(mangopay_server):
            mangopay_server.next_token_requests(TokenFault.NONE)
            mangopay_server.token_source().authorization()

        def test_some_is_left(mangopay_server):
            mangopay_server.next_token_requests(TokenFault.NONE, WorldFault.LATE)
            mangopay_server.next_api_calls(ApiFault.HANG)
            mangopay_server.token_source().authorization()

        def test_some_is_left_on_purpose(mangopay_server):
            mangopay_server.next_token_requests(TokenFault.HANG)
            mangopay_server.drop_pending_troubles()

        def test_fails_for_a_reason_of_its_own(mangopay_server):
            mangopay_server.next_token_requests(TokenFault.HANG)
            assert False
    """)
    result = pytester.runpytest_inprocess(*QUIET)
    result.assert_outcomes(passed=3, failed=1, errors=1)
    left = "*never struck a request: WorldFault.LATE, ApiFault.HANG. It has seen 1 token requests and 0 API calls*"
    result.stdout.fnmatch_lines([left])
    assert "drop_pending_troubles()" in result.stdout.str()


def test_in_a_debugger_nobody_complains_that_time_stands_still(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_looks_around(mangopay_server):
            assert mangopay_server.clock.stuck_after == 20.0
            breakpoint()
            assert mangopay_server.clock.stuck_after == float("inf")
    """)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *QUIET],
        input="continue\n",
        cwd=pytester.path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "PDB set_trace" in run.stdout
    assert run.returncode == 0, run.stdout


def test_a_test_knows_no_token_of_another_one(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        from evertoken import Policy
        from evertoken_transports import Coordinator

        @pytest.fixture
        def before(request):
            return Coordinator.shared

        seen = []

        @pytest.mark.parametrize("turn", [1, 2])
        def test_each_makes_a_request_of_its_own(before, mangopay_server, turn):
            assert Coordinator.shared != before
            shared = Coordinator.shared(mangopay_server.grant(), Policy())
            assert shared not in seen
            seen.append(shared)
            mangopay_server.token_source().authorization()
            assert mangopay_server.token_requests == 1
            assert shared.clock is mangopay_server.clock

        def test_afterwards_everything_is_as_it_was(before):
            assert Coordinator.shared(seen[0].machine.grant, Policy()) not in seen
    """)
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=3)


def test_the_plugin_works_under_anyio_with_either_backend(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import httpx, pytest
        from evertoken.testing import ApiFault, WorldFault
        from evertoken_transports.httpx import BearerAuth

        @pytest.mark.anyio
        async def test_calls_are_signed_in_whatever_loop(mangopay_server, anyio_backend):
            mangopay_server.next_token_requests(WorldFault.LOST_AFTER)
            auth = BearerAuth(mangopay_server.grant(), exchange=mangopay_server.exchange)
            transport = mangopay_server.httpx_transport()
            async with httpx.AsyncClient(auth=auth, base_url=auth.api_base, transport=transport) as client:
                assert (await client.get("/users")).status_code == 200
                mangopay_server.next_api_calls(ApiFault.UNAUTHORIZED)
                assert (await client.get("/users")).status_code == 200
            assert mangopay_server.token_requests == 3
            assert mangopay_server.api_calls == 3
    """)
    pytester.runpytest_inprocess(*QUIET).assert_outcomes(passed=2)


def test_loading_the_plugin_loads_nothing_of_evertoken() -> None:
    loaded = "import sys, _evertoken_pytest; print(*(name for name in sys.modules if name.startswith('evertoken')))"
    run = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True)
    assert not run.stdout.split()
