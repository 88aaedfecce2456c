"""What a fleet of real processes costs the token endpoint: counts, never timings.

FLEET=50 in the environment makes it as large; ``make fleet`` does, and runs some tests beside one another, since most
of them wait: those that do so for longest come first.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports.emulator import Emulator
from tests.kits.worlds import until
from tests.real.fleet.conftest import SLOW
from tests.real.fleet.kits import PATIENT, Fleet, are_tokens, asked, command, got_by, running_fleet
from tests.real.nursery import Nursery, Process
from tests.real.stores.kits import Server

SIZE = int(os.environ.get("FLEET", "6"))
DEATHS, LOOPS = int(os.environ.get("DEATHS", "3")), int(os.environ.get("LOOPS", "20"))
SOME = max(1, SIZE // 10)

MINUTE = {"store_wait": 10.0}
"""Who was told of a block looks again within six times as long."""
MORTAL = PATIENT | {"request_timeout": 8.0}
"""So that a lease, which lasts half as much longer, is over in 12 s, and what is asked under it has time enough."""
QUICK = PATIENT | {"request_timeout": 3.0}
"""The same where several leases run out one after the other."""
TWO_KINDS = pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)


@TWO_KINDS
def test_a_locked_account_is_asked_once_by_a_crash_loop_and_an_operator_s_word_is_heard_by_all(
    fleet: Fleet, place: str
) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
    for _ in range(3):
        got = fleet.ask(fleet.start(SIZE))
        assert all(each.startswith("EndpointLocked") for each in got), got
        fleet.end()
    for _ in range(0, SIZE, SOME):  # A few at a time, since their patience with the store is short.
        got = fleet.ask(fleet.start(SOME, policy=MINUTE))
        assert all(each.startswith("EndpointLocked") for each in got), got
    assert fleet.asked == 1
    for worker in fleet.workers:
        worker.tell("insist 2")
    with command(fleet.emulator, place, "unblock") as operator:
        said, complaint = operator.communicate()
    assert said.startswith("unblocked: "), complaint
    got = {each for worker in fleet.workers for each in got_by(worker)}
    assert are_tokens(got), got
    assert len(got) == 1
    assert fleet.asked == 2


def test_a_cold_start_costs_one_request_a_rolling_restart_none_and_a_revoked_token_one(fleet: Fleet) -> None:
    first = fleet.start(SIZE)
    got = fleet.ask(first)
    assert are_tokens(got), got
    assert len(got) == 1
    assert fleet.asked == 1
    for some in range(0, SIZE, SOME):  # Some after the others, as a deploy does.
        restarted = first[some : some + SOME]
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


@TWO_KINDS
def test_a_loop_of_commands_with_a_wrong_key_asks_once(emulator: Emulator, place: str, kind: str) -> None:
    runs, at_once = LOOPS if kind == "file" else LOOPS // 10, 4
    for _ in range(0, runs, at_once):
        for run in [command(emulator, place, "token", key="not-the-key") for _ in range(at_once)]:
            with run:
                out, complaint = run.communicate()
            assert (run.returncode, out) == (3, ""), complaint
            assert complaint.startswith("evertoken: Asking ")
    assert asked(emulator) == 1


@TWO_KINDS
def test_whoever_is_killed_in_mid_request_costs_two_requests_at_most_and_nobody_a_token(
    redis: Server | None, nursery: Nursery, emulator: Emulator, tmp_path: Path
) -> None:
    def places(number: int) -> list[str]:  # Each death has a store of its own, so that no back-off is another's.
        return [str(tmp_path / f"store{number}") if redis is None else redis.url.replace("/0", f"/{number}")]

    with emulator.server() as endpoint:
        endpoint.next_token_requests(*[TokenBehaviour(fault=TokenFault.HANG)] * DEATHS)
    with running_fleet(nursery, emulator, places) as fleet:
        for number, holder in enumerate(fleet.start(DEATHS, policy=MORTAL)):
            die_in_mid_request(fleet, holder, number)
        got = fleet.ask(fleet.start(DEATHS, policy=MORTAL))
        assert are_tokens(got), got
        assert len(got) == DEATHS
        assert fleet.asked == 2 * DEATHS


def die_in_mid_request(fleet: Fleet, holder: Process, number: int) -> None:
    """Have ``holder`` make the request of this ``number``, and kill it then."""
    holder.tell("ask 300")
    until(lambda: fleet.asked > number)
    fleet.end([holder])


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


@TWO_KINDS
def test_a_wait_that_the_endpoint_states_is_waited_out_by_everybody(fleet: Fleet, place: str) -> None:
    wait = 20
    limited = TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=wait)
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(limited)
    (first,) = fleet.start(1)
    got = fleet.ask([first], f"ask {wait - 1}")  # Less than the wait, so that it is told at once.
    assert all(each.startswith("RateLimited") for each in got), got
    with command(fleet.emulator, place, "token", "--timeout", "0.5") as run:
        run.communicate()
    assert run.returncode == 5
    got = fleet.ask([first, *fleet.start(SIZE)])
    assert are_tokens(got), got
    with fleet.emulator.server() as endpoint:
        refused, granted = [arrival.now for arrival in endpoint.arrivals]
    assert granted - refused >= wait


@TWO_KINDS
def test_one_life_after_another_costs_one_request_each(fleet: Fleet) -> None:
    life, lives = 8, set[str]()
    with fleet.emulator.server() as endpoint:
        endpoint.replace_script(Script(token=SLOW, lifetime=life))
    workers, began = fleet.start(SIZE), time.monotonic()
    while len(lives) < 3:
        got = fleet.ask(workers)
        assert are_tokens(got), got
        lives |= got
        threading.Event().wait(0.5)  # For others to compute in.
    # A token is not renewed before half of its life is over, but for the leeway. So these are no more, however slow
    # this machine is.
    assert fleet.asked <= 1 + (time.monotonic() - began) / (life * 0.45)


@TWO_KINDS
def test_a_crash_loop_in_mid_request_backs_off(fleet: Fleet) -> None:
    deaths = 3
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(*[TokenBehaviour(fault=TokenFault.HANG)] * deaths)
    for number in range(deaths):
        (holder,) = fleet.start(1, policy=QUICK)
        die_in_mid_request(fleet, holder, number)
    got = fleet.ask(fleet.start(3, policy=QUICK))
    assert are_tokens(got), got
    assert fleet.asked <= 2 * deaths + 1


@TWO_KINDS
def test_whoever_sleeps_through_its_lease_costs_one_request_more_at_most(fleet: Fleet) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.next_token_requests(TokenBehaviour(latency_before=6.0))
    (sleeper,) = fleet.start(1, policy=MORTAL)
    others = fleet.start(3, policy=MORTAL)
    sleeper.tell("ask 300")
    until(lambda: fleet.asked == 1)
    sleeper.pause()
    got = fleet.ask(others)
    assert are_tokens(got), got
    assert len(got) == 1
    sleeper.go_on()
    assert are_tokens(set(got_by(sleeper)))
    assert fleet.ask([*others, sleeper]) >= got
    assert fleet.asked == 2
