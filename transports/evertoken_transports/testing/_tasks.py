"""Running many tasks in virtual time, on asyncio or on trio, in the same order in each run."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from typing_extensions import override

from evertoken_transports._runtime import Runtime
from evertoken_transports.testing._loops import VirtualEventLoop

Work = Callable[[], Awaitable[None]]
Cancel = Callable[[], object]


class Tasks(ABC):
    """The tasks of one run of an event loop."""

    @abstractmethod
    def run(self, work: Work, *, seed: int) -> None:
        """Run ``work`` to its end, and cancel the tasks that are left. trio's order of tasks follows from ``seed``."""

    @abstractmethod
    def start(self, work: Work) -> Cancel:
        """Run ``work``, which raises nothing, beside the others. What is returned cancels it."""

    @abstractmethod
    def left(self) -> int:
        """How many tasks there are beside the one that asks; the runtime's own do not count."""


def new_tasks(runtime: Runtime) -> Tasks:
    """What runs tasks on ``runtime``, once."""
    return _TrioTasks() if runtime == "trio" else _AsyncioTasks()


class _AsyncioTasks(Tasks):
    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    @override
    def run(self, work: Work, *, seed: int) -> None:
        async def main() -> None:
            await work()

        with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
            runner.run(main())

    @override
    def start(self, work: Work) -> Cancel:
        async def run() -> None:
            await work()

        task = asyncio.create_task(run())
        self._running.add(task)  # The loop itself holds tasks weakly.
        task.add_done_callback(self._running.discard)
        return task.cancel

    @override
    def left(self) -> int:
        return len(asyncio.all_tasks()) - 1


class _TrioTasks(Tasks):
    def __init__(self) -> None:
        self._trio: Any = import_module("trio")
        self._clock: Any = import_module("trio.testing").MockClock(autojump_threshold=0)
        self._nursery: Any = None
        self._before = 0

    @override
    def run(self, work: Work, *, seed: int) -> None:
        with _in_order(seed):
            self._trio.run(self._main, work, clock=self._clock)

    async def _main(self, work: Work) -> None:
        async with self._trio.open_nursery() as self._nursery:
            self._before = self._trio.lowlevel.current_statistics().tasks_living
            await work()
            self._nursery.cancel_scope.cancel()

    @override
    def start(self, work: Work) -> Cancel:
        scope = self._trio.CancelScope()
        self._nursery.start_soon(partial(self._run, work, scope))
        return partial(scope.cancel)

    async def _run(self, work: Work, scope: Any) -> None:  # noqa: ANN401 (trio is an extra)
        with scope:
            await work()

    @override
    def left(self) -> int:
        return int(self._trio.lowlevel.current_statistics().tasks_living) - self._before


@contextmanager
def _in_order(seed: int) -> Generator[None]:
    """Within the block trio runs tasks in an order that follows from ``seed``, and not in a random one.

    trio has no public switch for this. These two names are the ones that it keeps for Hypothesis.
    """
    scheduler: Any = import_module("trio._core._run")
    before = scheduler._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001
    state = scheduler._r.getstate()  # noqa: SLF001
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # noqa: SLF001
    scheduler._r.seed(seed)  # noqa: SLF001
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before  # noqa: SLF001
        scheduler._r.setstate(state)  # noqa: SLF001
