"""Whatever happens to the processes that use a store, and to its server, what they see is what one register does.

HISTORIES=60 in the environment goes on for as many seconds with each store; ``make histories`` does so for an hour.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.real.nursery import Nursery, Process
from tests.real.stores.kits import SERVERS, Server, server
from tests.real.stores.register import is_linearizable
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
        for each in processes[1:]:
            if each.is_alive:
                each.go_on()
        lines += [line for each in processes for line in each.rest().splitlines()]
    return lines, befallen


@pytest.mark.parametrize("kind", ["file", *SERVERS])
def test_every_history_is_that_of_one_register(kind: str, nursery: Nursery, tmp_path: Path) -> None:
    first = int(os.environ.get("SEED", "0"))
    with ExitStack() as stack:
        running = None if kind == "file" else stack.enter_context(server(kind, durable=True))
        ends, seed, judged = time.monotonic() + SECONDS, first, 0
        while seed == first or time.monotonic() < ends:
            place = str(tmp_path / f"store{seed}") if running is None else running.url
            if running is not None:
                running.ask("FLUSHALL")
            lines, befallen = one_history(random.Random(seed), nursery, place, running)
            history = history_of(lines)
            judged += len(history)
            assert is_linearizable(history), f"SEED={seed}, after {befallen}: {lines}"
            seed += 1
        assert judged >= CALLS
    print(f"{kind}: {seed - first} histories of {judged} calls")  # noqa: T201 (with -s, how far it came)
