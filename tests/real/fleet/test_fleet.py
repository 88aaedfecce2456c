"""What a fleet of real processes costs the token endpoint: counts, never timings.

FLEET=50 in the environment makes it as large; ``make fleet`` does.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports.emulator import Emulator
from tests.kits.worlds import until
from tests.real.fleet.conftest import SLOW
from tests.real.fleet.kits import Fleet, are_tokens, asked, command, running_fleet
from tests.real.stores.kits import Server

SIZE = int(os.environ.get("FLEET", "6"))
DEATHS, LOOPS = int(os.environ.get("DEATHS", "3")), int(os.environ.get("LOOPS", "20"))


def test_a_cold_start_costs_one_request_a_rolling_restart_none_and_a_revoked_token_one(fleet: Fleet) -> None:
    first = fleet.start(SIZE)
    got = fleet.ask(first)
    assert are_tokens(got), got
    assert len(got) == 1
    assert fleet.asked == 1
    for some in range(0, SIZE, max(1, SIZE // 10)):  # Some after the others, as a deploy does.
        restarted = first[some : some + max(1, SIZE // 10)]
        fleet.end(restarted)
        assert fleet.ask(fleet.start(len(restarted))) == got
    assert len(fleet.workers) == SIZE
    assert fleet.asked == 1
    with fleet.emulator.server() as endpoint:
        endpoint.revoke_all(endpoint.arrivals[-1].now)
    after = fleet.ask(fleet.workers, f"rejected {got.pop()}")
    assert are_tokens(after), after
    assert len(after) == 1
    assert fleet.asked == 2


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_one_life_after_another_costs_one_request_each(fleet: Fleet) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.replace_script(Script(token=SLOW, lifetime=10))
    workers = fleet.start(SIZE, policy={"leeway": 1.0, "refresh_before": 4.0})
    seen = list[set[str]]()
    ends = time.monotonic() + 25.0
    while time.monotonic() < ends:
        seen.append(fleet.ask(workers))
        assert are_tokens(seen[-1]), seen[-1]
    lives = len(set().union(*seen))
    assert fleet.asked == lives
    assert 3 <= lives <= 6


QUICK = {"request_timeout": 3.0}
"""So that a lease, which lasts half as much longer, is over soon."""


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_whoever_is_killed_in_mid_request_costs_two_requests_at_most_and_nobody_a_token(
    redis: Server | None, emulator: Emulator, tmp_path: Path
) -> None:
    def places(number: int) -> list[str]:  # Each death has a store of its own, so that no back-off is another's.
        return [str(tmp_path / f"store{number}") if redis is None else redis.url.replace("/0", f"/{number}")]

    with emulator.server() as endpoint:
        endpoint.next_token_requests(*[TokenBehaviour(fault=TokenFault.HANG)] * DEATHS)
    with running_fleet(emulator, places) as fleet:
        holders, others = fleet.start(DEATHS, policy=QUICK), fleet.start(DEATHS, policy=QUICK)
        for holder in holders:
            holder.tell("ask 60")
        until(lambda: fleet.asked == DEATHS)
        fleet.end(holders)
        got = fleet.ask(others, "ask 60")
        assert are_tokens(got), got
        assert len(got) == DEATHS
        assert fleet.asked == 2 * DEATHS


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_a_crash_loop_in_mid_request_backs_off(fleet: Fleet) -> None:
    deaths = 3
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(*[TokenBehaviour(fault=TokenFault.HANG)] * deaths)
    for number in range(deaths):
        (holder,) = fleet.start(1, policy=QUICK)
        holder.tell("ask 60")
        until(lambda: fleet.asked > number)  # noqa: B023 (called here)
        fleet.end([holder])
    got = fleet.ask(fleet.start(3, policy=QUICK), "ask 120")
    assert are_tokens(got), got
    assert fleet.asked <= 2 * deaths + 1


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_whoever_sleeps_through_its_lease_costs_one_request_more_at_most(fleet: Fleet) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(TokenBehaviour(latency_before=1.0))
    (sleeper,) = fleet.start(1, policy=QUICK)
    others = fleet.start(3, policy=QUICK)
    sleeper.tell("ask 60")
    until(lambda: fleet.asked == 1)
    sleeper.pause()
    got = fleet.ask(others, "ask 60")
    assert are_tokens(got), got
    assert len(got) == 1
    sleeper.go_on()
    assert are_tokens(set(sleeper.got()))
    assert fleet.ask([*others, sleeper]) >= got
    assert fleet.asked == 2


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_a_locked_account_is_asked_once_by_processes_that_crash_and_start_again(fleet: Fleet) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.replace_script(Script(token=TokenBehaviour(fault=TokenFault.LOCKED)))
    for _ in range(4):
        workers = fleet.start(SIZE)
        got = fleet.ask(workers)
        assert all(each.startswith("EndpointLocked") for each in got), got
        fleet.end(workers)
    assert fleet.asked == 1


OFTEN = {"store_wait": 5.0}
"""So that what is a minute by default, six times as long, is half of one; and a call may still take half a second."""


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_an_operator_s_word_is_heard_by_all_and_they_ask_once(fleet: Fleet, place: str) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    workers = fleet.start(SIZE, policy=OFTEN)
    assert all(each.startswith("EndpointLocked") for each in fleet.ask(workers))
    with command(fleet.emulator, place, "unblock") as operator:
        assert operator.communicate()[0].startswith("unblocked: ")
    until(lambda: are_tokens(fleet.ask(workers)))
    assert len(fleet.ask(workers)) == 1
    assert fleet.asked == 2


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_a_wait_that_the_endpoint_states_is_waited_out_by_everybody(fleet: Fleet, place: str) -> None:
    limited = TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=6)
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(limited)
    (first,) = fleet.start(1, policy=OFTEN)
    assert all(each.startswith("RateLimited") for each in fleet.ask([first], "ask 2"))
    others = fleet.start(SIZE, policy=OFTEN)
    for worker in (first, *others):
        worker.tell("ask 60")
    with command(fleet.emulator, place, "token", "--timeout", "0.5") as run:
        run.communicate()
    assert run.returncode in (0, 5)  # 5, unless this machine was so busy that the wait was over before it began.
    got = {each for worker in (first, *others) for each in worker.got()}
    assert are_tokens(got), got
    with fleet.emulator.server() as endpoint:
        refused, granted = [arrival.now for arrival in endpoint.arrivals]
    assert granted - refused >= 6.0


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_a_loop_of_commands_with_a_wrong_key_asks_once(emulator: Emulator, place: str, kind: str) -> None:
    runs = LOOPS if kind == "file" else max(2, LOOPS // 10)
    for _ in range(runs // 2):
        both = [command(emulator, place, "token", key="not-the-key") for _ in range(2)]
        for run in both:
            with run:
                out, complaint = run.communicate()
            assert (run.returncode, out) == (3, ""), complaint
            assert complaint.startswith("evertoken: Asking ")
    assert asked(emulator) == 1


@pytest.mark.parametrize("kind", ["valkey"], indirect=True)
def test_a_store_that_dies_costs_no_caller_its_token_and_one_that_is_back_is_used(
    fleet: Fleet, redis: Server | None
) -> None:
    assert redis is not None
    workers = fleet.start(3)
    got = fleet.ask(workers)
    redis.kill()
    assert fleet.ask(workers) == got
    redis.start()
    redis.ask("CLIENT", "PAUSE", 500)
    assert fleet.ask(workers) == got
    redis.ask("FLUSHALL")
    assert fleet.ask(workers) == got
    assert fleet.asked == 1
