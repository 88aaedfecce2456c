"""What a fleet of real processes costs the token endpoint: counts, never timings.

FLEET=50 in the environment makes it as large; ``make fleet`` does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports.emulator import Emulator
from tests.kits import canary
from tests.kits.source_tree import ROOT
from tests.kits.worlds import until
from tests.real.stores.kits import SERVERS, Server, server

SIZE = int(os.environ.get("FLEET", "6"))
THREADS = 4
KEY = canary.secret()
SLOW = TokenBehaviour(latency_before=0.2)
KINDS = ("file", *SERVERS, "tiers")


class Worker:
    """A process of the fleet."""

    def __init__(self, url: str, stores: list[str], key: str = KEY, policy: dict[str, float] | None = None) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        given = [url, key, str(THREADS), json.dumps(policy or {})]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.real.fleet.worker", *given, *stores],
            cwd=ROOT,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, deed: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{deed}\n")
        self.process.stdin.flush()

    def got(self) -> list[str]:
        return [str(each) for each in json.loads(self.line())]

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


class Fleet:
    """Processes that share, and the endpoint that they ask."""

    def __init__(self, emulator: Emulator, places: Callable[[int], list[str]]) -> None:
        self.emulator, self._places = emulator, places
        self.workers = list[Worker]()

    def start(self, count: int = SIZE, key: str = KEY, policy: dict[str, float] | None = None) -> list[Worker]:
        """So many more processes, ready to ask."""
        made = [Worker(self.emulator.base_url, self._places(number), key, policy) for number in range(count)]
        self.workers += made
        assert {worker.line() for worker in made} == {"ready"}
        return made

    def ask(self, workers: list[Worker], deed: str = "ask") -> set[str]:
        """What they all get, asked at once."""
        for worker in workers:
            worker.tell(deed)
        return {each for worker in workers for each in worker.got()}

    @property
    def asked(self) -> int:
        return sum(arrival.method == "POST" for arrival in self.emulator.arrivals)

    def end(self, workers: list[Worker] | None = None) -> None:
        for worker in self.workers if workers is None else workers:
            worker.end()
        self.workers = [worker for worker in self.workers if workers is not None and worker not in workers]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def redis(kind: str) -> Iterator[Server | None]:
    with ExitStack() as stack:
        servers = {"tiers": "valkey"}
        yield None if kind == "file" else stack.enter_context(server(servers.get(kind, kind)))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(Script(token=SLOW), client_id="fleet", api_key=KEY) as made:
        yield made


@pytest.fixture
def fleet(kind: str, redis: Server | None, emulator: Emulator, tmp_path: Path) -> Iterator[Fleet]:
    def places(number: int) -> list[str]:
        if redis is None:
            return [str(tmp_path / "store")]
        return [redis.url] if kind != "tiers" else [str(tmp_path / f"host{number % 4}"), redis.url]

    made = Fleet(emulator, places)
    yield made
    made.end()


def are_tokens(got: set[str]) -> bool:
    return all(each.startswith("Bearer ") for each in got)


def test_a_cold_start_costs_one_request_a_rolling_restart_none_and_a_revoked_token_one(fleet: Fleet) -> None:
    first = fleet.start()
    got = fleet.ask(first)
    assert are_tokens(got), got
    assert len(got) == 1
    assert fleet.asked == 1
    for worker in list(fleet.workers):  # One after the other, as a deploy does.
        fleet.end([worker])
        assert fleet.ask(fleet.start(1)) == got
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
    workers = fleet.start(policy={"leeway": 1.0, "refresh_before": 4.0})
    seen = list[set[str]]()
    ends = time.monotonic() + 25.0
    while time.monotonic() < ends:
        seen.append(fleet.ask(workers))
        assert are_tokens(seen[-1]), seen[-1]
    lives = len(set().union(*seen))
    assert fleet.asked == lives
    assert 3 <= lives <= 6


QUICK = {"request_timeout": 2.0}
"""So that a lease, which lasts 5 s longer, is over soon."""


@pytest.mark.parametrize("kind", ["file", "valkey"], indirect=True)
def test_whoever_is_killed_in_mid_request_costs_two_requests_at_most_and_nobody_a_token(fleet: Fleet) -> None:
    deaths = 3  # Each doubles the back-off of all: a crash loop is not to become one of requests.
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
    sleeper.process.send_signal(signal.SIGSTOP)
    got = fleet.ask(others, "ask 60")
    assert are_tokens(got), got
    assert len(got) == 1
    sleeper.process.send_signal(signal.SIGCONT)
    assert are_tokens(set(sleeper.got()))
    assert fleet.ask([*others, sleeper]) >= got
    assert fleet.asked == 2


def test_a_locked_account_is_asked_once_by_processes_that_crash_and_start_again(
    fleet: Fleet,
) -> None:
    with fleet.emulator.server() as endpoint:
        endpoint.replace_script(Script(token=TokenBehaviour(fault=TokenFault.LOCKED)))
    for _ in range(4):
        workers = fleet.start(max(2, SIZE // 4))
        got = fleet.ask(workers)
        assert all(each.startswith("EndpointLocked") for each in got), got
        fleet.end(workers)
    assert fleet.asked == 1


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
