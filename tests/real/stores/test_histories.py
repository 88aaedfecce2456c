"""Whatever happens to the processes that use a store, and to its server, what they see is what one register does.

HISTORIES=60 in the environment goes on for as many seconds with each store; ``make histories`` does so for an hour.

A server that is killed keeps all that it has acknowledged, if it is told to write it down at once. A replica that
stands in for it may not, since it is sent a change after that has been acknowledged: what a failover may lose are the
last changes, those that the replica had not heard of. All else must be as one register has it: nothing older is lost,
nothing is lost before, and nothing of it comes back.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real.nursery import Nursery, Process
from tests.real.stores.kits import SERVERS, Server, server
from tests.real.stores.register import Event, FallBehind, TakeOver, is_linearizable
from tests.real.stores.test_contract import CALLS, history_of, recording

SECONDS = float(os.environ.get("HISTORIES", "1"))


def befall(draw: random.Random, running: Server | None, processes: list[Process]) -> str:
    """What happens next: to the server, or to any of the processes but the first."""
    victim = draw.choice(processes[1:])
    deeds = {"pause": victim.pause, "go on": victim.go_on, "kill": victim.kill}
    if running is not None:
        deeds |= {"pause the server": running.pause, "restart the server": running.restart}
    name = draw.choice(list(deeds))
    deeds[name]()
    return name


def one_history(
    draw: random.Random, nursery: Nursery, place: str, running: Server | None
) -> tuple[list[str], list[str]]:
    """What the processes told, and what befell them."""
    lines, befallen = list[str](), list[str]()
    with ExitStack() as stack:
        processes = recording(stack, nursery, place, 4)
        for _ in range(draw.randrange(2, 6)):
            lines += [processes[0].line() for _ in range(draw.randrange(2, 30))]
            befallen.append(befall(draw, running, processes))
            if running is not None and befallen[-1] == "pause the server":
                lines += [processes[0].line() for _ in range(2)]  # One call at least was in vain.
                running.go_on()
        lines += to_the_end(processes)
    return lines, befallen


def to_the_end(processes: list[Process]) -> list[str]:
    """What they tell until they end."""
    for each in processes:
        each.go_on()
    return [line for each in processes for line in each.rest().splitlines()]


def one_failover(
    draw: random.Random, nursery: Nursery, master: Server, replica: Server, named: Path
) -> tuple[list[Event], list[str]]:
    """What processes saw that ask who is master, which ``named`` says, while a replica takes over."""
    replica.follow(master)
    call_master(named, master)
    with ExitStack() as stack:
        processes = recording(stack, nursery, f"master:{named}", 4, 3 * CALLS)
        lines, befallen = list[str](), list[str]()
        for _ in range(draw.randrange(1, 4)):
            lines += [processes[0].line() for _ in range(draw.randrange(2, 60))]
            befallen.append(befall(draw, None, processes))
        begin = time.monotonic_ns()
        master.ask("SET", "mark", 1)
        assert master.ask("WAIT", 1, 0) == 1  # Now the replica has heard of all that was before it.
        if draw.random() < 0.5:
            befallen.append("cut the replica off")
            replica.ask("REPLICAOF", "NO", "ONE")
            behind = FallBehind(begin, time.monotonic_ns())
            lines += [processes[0].line() for _ in range(draw.randrange(2, 60))]
            master.kill()
        else:
            master.kill()
            behind = FallBehind(begin, time.monotonic_ns())
            replica.stand_in()
        dead = time.monotonic_ns()
        call_master(named, replica)
        taken = TakeOver(dead, time.monotonic_ns())
        lines += to_the_end(processes)
    return [*history_of(lines), behind, taken], [*befallen, "failover"]


def call_master(named: Path, running: Server) -> None:
    """In one step, so that nobody reads the half of it."""
    new = named.with_suffix(".new")
    new.write_text(str(running.port))
    new.replace(named)


def seeds() -> Iterator[int]:
    """As many as there is time for, and one at least."""
    seed, ends = int(os.environ.get("SEED", "0")), time.monotonic() + SECONDS
    yield seed
    while time.monotonic() < ends:
        seed += 1
        yield seed


@pytest.mark.parametrize("kind", ["file", *SERVERS])
def test_every_history_is_that_of_one_register(kind: str, nursery: Nursery, tmp_path: Path) -> None:
    judged = list[int]()
    with ExitStack() as stack:
        running = None if kind == "file" else stack.enter_context(server(kind, durable=True))
        for seed in seeds():
            place = str(tmp_path / f"store{seed}") if running is None else running.url
            if running is not None:
                running.ask("FLUSHALL")
            lines, befallen = one_history(random.Random(seed), nursery, place, running)
            history = history_of(lines)
            judged.append(len(history))
            assert is_linearizable(history), f"SEED={seed}, after {befallen}: {lines}"
    assert sum(judged) >= CALLS
    print(f"{kind}: {len(judged)} histories of {sum(judged)} calls")  # noqa: T201 (with -s, how far it came)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_failover_loses_what_the_replica_has_not_heard_of_and_is_one_register_but_for_that(
    kind: str, nursery: Nursery, tmp_path: Path
) -> None:
    judged = list[int]()
    with server(kind) as one, server(kind) as other:
        master, replica = one, other
        for seed in seeds():
            master.ask("FLUSHALL")
            history, befallen = one_failover(random.Random(seed), nursery, master, replica, tmp_path / "master")
            judged.append(len(history))
            assert is_linearizable(history), f"SEED={seed}, after {befallen}: {history}"
            master.start()
            master, replica = replica, master
    assert sum(judged) >= 3 * CALLS
    print(f"{kind}: {len(judged)} failovers in {sum(judged)} calls")  # noqa: T201
