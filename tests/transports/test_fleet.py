"""A fleet of real processes in short: three deaths, and twenty runs of the command. ``make fleet`` has all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evertoken.testing import TokenBehaviour, TokenFault
from evertoken_transports.emulator import Emulator
from tests.kits.worlds import until
from tests.real.fleet.kits import CLIENT, KEY, are_tokens, asked, command, running_fleet
from tests.real.nursery import Nursery


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(client_id=CLIENT, api_key=KEY) as made:
        yield made


def test_three_holders_that_are_killed_in_mid_request_cost_one_more_request_each(
    nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    with emulator.server() as endpoint:
        endpoint.next_token_requests(*[TokenBehaviour(fault=TokenFault.HANG)] * 3)
    with running_fleet(nursery, emulator, lambda number: [str(tmp_path / f"store{number}")]) as fleet:
        holders, others = fleet.start(3), fleet.start(3)
        for holder in holders:
            holder.tell("ask 300")
        until(lambda: fleet.asked == 3)
        fleet.end(holders)
        got = fleet.ask(others)
        assert are_tokens(got), got
        assert len(got) == 3
        assert fleet.asked == 6


def test_twenty_runs_of_the_command_with_a_wrong_key_ask_once(emulator: Emulator, tmp_path: Path) -> None:
    for _ in range(10):
        for run in [command(emulator, str(tmp_path / "store"), "token", key="not-the-key") for _ in range(2)]:
            with run:
                assert run.communicate()[0] == ""
            assert run.returncode == 3
    assert asked(emulator) == 1
