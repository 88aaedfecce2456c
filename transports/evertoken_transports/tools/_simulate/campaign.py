"""Many seeds in processes of their own. A seed that falls over is a failure of that seed, not of the campaign."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol, cast

from evertoken.testing import Report, simulate
from evertoken_transports.tools._simulate.choices import Choices
from evertoken_transports.tools._simulate.interrupts import interrupts_ignored
from evertoken_transports.tools._simulate.record import Failure, Row, SeedResult

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

_TWO_COURSES = "one seed has one course: the second run came to another digest"
_OFTEN = 500_000
"""Events after which garbage is collected: worlds leave cycles of objects behind."""


class Line(Protocol):
    """One end of a pipe to another process: a ``multiprocessing.connection.Connection``, whatever the platform."""

    def send(self, obj: Any, /) -> None:  # noqa: ANN401 - as there
        """Send a value."""
        ...

    def recv(self) -> Any:  # noqa: ANN401 - as there
        """Receive a value."""
        ...

    def close(self) -> None:
        """Close this end."""
        ...

    def fileno(self) -> int:
        """The file descriptor to wait on."""
        ...


class WorkerLost(Exception):
    """A process that simulated has disappeared: out of memory, or killed. Its text names the seed."""


def cores() -> int:
    """How many processes can run at once."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# One seed
# --------


def run_seed(choices: Choices, seed: int, *, twice: bool = False) -> SeedResult:
    """Simulate ``seed``, and once more to compare if ``twice``."""
    start = time.process_time()
    try:
        report = simulate(choices.scenario(seed))
        failure = _broken(choices, report)
        if twice and simulate(choices.scenario(seed)).digest != report.digest:
            failure = Failure(seed, _TWO_COURSES, 0, report.seconds, f"{choices.command(seed)} --double-check")
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed is what leads back to it
        law = f"a simulation raises nothing: {type(error).__name__}: {error}"
        failure = Failure(seed, law, 0, 0.0, choices.command(seed))
        return SeedResult(seed, Row(cpu_seconds=_since(start)), {}, failure)
    row = Row(
        report.digest[:16],
        round(report.seconds, 3),
        report.events,
        report.steps,
        report.token_requests,
        report.api_calls,
        _since(start),
    )
    return SeedResult(seed, row, report.seen, failure)


def _since(start: float) -> float:
    return round(time.process_time() - start, 3)


def _broken(choices: Choices, report: Report) -> Failure | None:
    broken, seed = report.broken, report.scenario.seed
    return None if broken is None else Failure(seed, broken.law, broken.client, broken.now, choices.command(seed))


class _Collector:
    """Collects garbage after so many events instead of all the time: that is a tenth faster."""

    def __init__(self) -> None:
        self._events = 0

    def after(self, events: int) -> None:
        self._events += events
        if self._events >= _OFTEN:
            self._events = 0
            gc.collect()


@contextmanager
def _collecting_seldom() -> Generator[_Collector]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield _Collector()
    finally:
        if enabled:
            gc.enable()


# Many
# ----


def run_seeds(choices: Choices, seeds: Sequence[int], *, jobs: int, twice: bool = False) -> Generator[SeedResult]:
    """Simulate every seed on ``jobs`` processes and give what each came to, as they come.

    Closing the iterator ends the processes at once.

    Raises:
        WorkerLost: one of the processes has disappeared.
    """
    jobs = min(jobs, len(seeds))
    if jobs > 1:
        yield from _run_apart(choices, seeds, jobs, twice=twice)
        return
    with _collecting_seldom() as collector:
        for seed in seeds:
            result = run_seed(choices, seed, twice=twice)
            yield result
            collector.after(result.row.events)


def _run_apart(choices: Choices, seeds: Sequence[int], jobs: int, *, twice: bool) -> Generator[SeedResult]:
    left = iter(seeds)
    workers = _start(choices, jobs, twice=twice)
    busy: dict[Line, int] = {}
    try:
        for line in workers:
            _give(line, left, busy)
        while busy:
            for line in cast("list[Line]", wait(cast("list[Connection[Any, Any]]", list(busy)))):
                yield _result(line, busy[line])
                _give(line, left, busy)
    finally:
        for line, process in workers.items():
            process.terminate()
            process.join()
            line.close()


def _start(choices: Choices, jobs: int, *, twice: bool) -> dict[Line, SpawnProcess]:
    # Spawned, not forked: no thread of this process, and no state of it, is in them.
    context = multiprocessing.get_context("spawn")
    workers: dict[Line, SpawnProcess] = {}
    with interrupts_ignored():
        for _ in range(jobs):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, choices), kwargs={"twice": twice}, daemon=True)
            process.start()
            there.close()
            workers[here] = process
    return workers


def _give(line: Line, left: Iterator[int], busy: dict[Line, int]) -> None:
    seed = next(left, None)
    if seed is None:
        busy.pop(line, None)
        return
    busy[line] = seed
    with _noticing_losses(seed):
        line.send(seed)


def _result(line: Line, seed: int) -> SeedResult:
    with _noticing_losses(seed):
        result: SeedResult = line.recv()
    return result


@contextmanager
def _noticing_losses(seed: int) -> Generator[None]:
    try:
        yield
    except (EOFError, ConnectionError):
        raise WorkerLost(f"the process that simulated seed {seed} has disappeared: out of memory?") from None


def _work(line: Line, choices: Choices, *, twice: bool) -> None:
    """What a process does: it receives seeds and sends results, until the other end of the pipe is closed."""
    gc.freeze()
    with _collecting_seldom() as collector:
        while True:
            try:
                result = run_seed(choices, line.recv(), twice=twice)
                line.send(result)
            except (EOFError, ConnectionError):
                return
            collector.after(result.row.events)
