"""Each loop in the same few words: run this, run these beside each other, lose this one, let a moment pass.

Under threads the coroutines of a cell never suspend: whatever they wait for, they wait for as threads do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, ClassVar, Protocol, Self, TypeVar

import httpx
from typing_extensions import override

from evertoken import TokenUnavailable
from evertoken_transports import Coordinator
from evertoken_transports.httpx import BearerAuth
from tests.loops.endpoint import LIMIT

__all__ = ("AnyioKit", "AsyncioKit", "Calls", "Clock", "JobKit", "Kit", "MockClockKit", "ThreadKit", "TrioKit", "Work")

_T = TypeVar("_T")
Work = Callable[[], Coroutine[Any, Any, _T]]

MOMENT = 0.002
"""Real seconds between two looks at something that will soon be so."""

# The sources of threads and of loops share words, not types. So do httpx's two clients.
Source = Any
Client = Any


class Clock:
    """A coordinator's clock, which can be put forward: the monotonic one, and what it was put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def put_forward(self, seconds: float) -> None:
        """Let it show ``seconds`` more from now on."""
        self._ahead += seconds


class Calls(Protocol):
    """A client of the API, open between ``async with`` and the end of the block."""

    async def __call__(self) -> str:
        """Make one call, which must succeed; return the ``Authorization`` that it carried."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Kit(ABC):
    """One loop."""

    carriers: int = 0
    """Callers who carry a token request themselves, and wait for it, where nothing beside them can."""
    has_runs: ClassVar[bool] = True
    """Whether ``run`` begins something anew that a source could outlive."""
    patience: ClassVar[float] = LIMIT
    """Seconds that the caller who is to be lost waits for a token."""
    most_after_loss: ClassVar[int] = 1
    """Token requests that a lost leader and those who came after him may cost together."""
    shares_client: ClassVar[bool] = True
    """Whether one client of the API can serve all calls."""

    def new_clock(self) -> Clock:
        """What time is for the coordinator."""
        return Clock()

    @abstractmethod
    def run(self, work: Work[_T]) -> _T:
        """What ``work`` returns, in a new run of the loop."""

    async def one(self, work: Work[_T]) -> _T:
        """What ``work`` returns."""
        return await work()

    @abstractmethod
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        """What each of ``works`` returns; they run beside each other."""

    @abstractmethod
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        """Begin ``work``, and cancel it once ``when`` holds. Returns when it has ended."""

    @abstractmethod
    async def moment(self) -> None:
        """Let others do something for a moment."""

    async def pass_time(self, clock: Clock, seconds: float) -> None:
        """Let ``clock`` show ``seconds`` more."""
        clock.put_forward(seconds)

    @abstractmethod
    def source(self, coordinator: Coordinator, **options: Any) -> Source:  # noqa: ANN401 (those of the source)
        """A token source of this loop's kind."""

    async def authorization(self, source: Source, timeout: float) -> str:
        """What ``source`` gives a caller."""
        return str(await source.authorization(timeout))

    def calls(self, auth: BearerAuth, **options: Any) -> Calls:  # noqa: ANN401 (those of httpx)
        """Calls of the API that ``auth`` signs."""
        return _AsyncCalls(httpx.AsyncClient(auth=auth, **options))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition`` holds."""
        for _ in range(int(LIMIT / MOMENT)):
            if condition():
                return
            await self.moment()
        raise AssertionError("what the cell waits for did not come about")


class _AsyncCalls:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self) -> str:
        return _header_of(await self._client.get("/users"))

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)


class _ThreadCalls:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    async def __call__(self) -> str:
        return _header_of(self._client.get("/users"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()


def _header_of(response: httpx.Response) -> str:
    if response.status_code != 200:
        raise AssertionError(f"the API answered {response.status_code}")
    return response.request.headers["Authorization"]


# Threads, real ones or gevent's
# ------------------------------


class ThreadKit(Kit):
    """Threads, and greenlets where gevent has taken their place. There is no loop to leave.

    Args:
        has_daemons: whether threads can be had that do not keep the interpreter from ending.
    """

    has_runs = False
    patience = 0.05

    def __init__(self, *, has_daemons: bool = True) -> None:
        self.carriers = 0 if has_daemons else 1

    @override
    def run(self, work: Work[_T]) -> _T:
        return _driven(work())

    @override
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        return _in_threads(lambda work: _driven(work()), works)

    @override
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        """A thread cannot be cancelled: its patience ends. If it carries the request itself, it has to stay."""
        errors: list[TokenUnavailable] = []

        def lead() -> None:
            try:
                _driven(work())
            except TokenUnavailable as error:
                errors.append(error)

        leader = threading.Thread(target=lead)
        leader.start()
        await self.until(when)
        if not self.carriers:
            leader.join()
            if not errors:
                raise AssertionError("the leader was served by an endpoint that is held back")

    @override
    async def moment(self) -> None:
        threading.Event().wait(MOMENT)  # in a thread, which has nothing else to do

    @override
    def source(self, coordinator: Coordinator, **options: Any) -> Source:
        from evertoken_transports.threads import TokenSource

        return TokenSource(coordinator.machine.grant, coordinator=coordinator, **options)

    @override
    async def authorization(self, source: Source, timeout: float) -> str:
        return str(source.authorization(timeout))

    @override
    def calls(self, auth: BearerAuth, **options: Any) -> Calls:
        return _ThreadCalls(httpx.Client(auth=auth, **options))


def _driven(work: Coroutine[Any, Any, _T]) -> _T:
    """What ``work`` returns, which must not suspend."""
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("a thread has nobody to suspend to")


def _in_threads(run: Callable[[Work[_T]], _T], works: Sequence[Work[_T]]) -> list[_T]:
    """What ``run`` returns for each of ``works``, each in a thread; what it raises is raised here."""
    results: list[_T] = []
    errors: list[BaseException] = []

    def do(work: Work[_T]) -> None:
        try:
            results.append(run(work))
        except BaseException as error:  # noqa: BLE001 (it is raised below)
            errors.append(error)

    threads = [threading.Thread(target=do, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


# asyncio, on whatever loop
# -------------------------


class AsyncioKit(Kit):
    """asyncio: its own loop or another's, in debug mode or not, with eager tasks or without."""

    def __init__(
        self,
        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
        *,
        debug: bool = False,
        is_eager: bool = False,
    ) -> None:
        self._new_loop = new_loop
        self._debug = debug
        self._is_eager = is_eager

    @override
    def run(self, work: Work[_T]) -> _T:
        with asyncio.Runner(loop_factory=self._new_loop, debug=self._debug) as runner:
            if self._is_eager:
                factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009 (Python 3.12 has it)
                runner.get_loop().set_task_factory(factory)
            return runner.run(work())

    @override
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works]
        return [task.result() for task in tasks]

    @override
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        task = asyncio.ensure_future(work())
        await self.until(when)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if not task.cancelled():
            raise AssertionError("the leader swallowed its cancellation")

    @override
    async def moment(self) -> None:
        await asyncio.sleep(MOMENT)

    @override
    def source(self, coordinator: Coordinator, **options: Any) -> Source:
        from evertoken_transports.asyncio import TokenSource

        return TokenSource(coordinator.machine.grant, coordinator=coordinator, **options)


class JobKit(AsyncioKit):
    """One ``asyncio.run`` for each call, as task queues and synchronous wrappers have it; in threads if several."""

    most_after_loss = 2  # Where nothing can carry on the request of a loop that is gone, another must be sent.
    shares_client = False

    @override
    def run(self, work: Work[_T]) -> _T:
        return _driven(work())

    @override
    async def one(self, work: Work[_T]) -> _T:
        return super().run(work)

    @override
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        return _in_threads(super().run, works)

    @override
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        super().run(lambda: AsyncioKit().lose(work, when))

    @override
    async def moment(self) -> None:
        threading.Event().wait(MOMENT)  # between the jobs there is no loop


# trio
# ----


class TrioKit(Kit):
    """trio."""

    @override
    def run(self, work: Work[_T]) -> _T:
        import trio

        return trio.run(work)

    @override
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        import trio

        results: list[_T] = []

        async def do(work: Work[_T]) -> None:
            results.append(await work())

        async with trio.open_nursery() as nursery:
            for work in works:
                nursery.start_soon(do, work)
        return results

    @override
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await self.until(when)
            nursery.cancel_scope.cancel()

    @override
    async def moment(self) -> None:
        import trio

        await trio.sleep(MOMENT)

    @override
    def source(self, coordinator: Coordinator, **options: Any) -> Source:
        from evertoken_transports.trio import TokenSource

        return TokenSource(coordinator.machine.grant, coordinator=coordinator, **options)


class _LoopTime(Clock):
    """trio's own time, which stands still until it is made to jump; outside a run it stands as well."""

    def __init__(self) -> None:
        from trio.testing import MockClock

        super().__init__()
        self.trio_clock = MockClock()

    @override
    def __call__(self) -> float:
        return self.trio_clock.current_time()

    @override
    def put_forward(self, seconds: float) -> None:
        self.trio_clock.jump(seconds)


class MockClockKit(TrioKit):
    """trio with a ``MockClock`` that stands still: no timeout ever ends, but for those that a jump takes with it."""

    @override
    def new_clock(self) -> Clock:
        self._clock = _LoopTime()
        return self._clock

    @override
    def run(self, work: Work[_T]) -> _T:
        import trio

        return trio.run(work, clock=self._clock.trio_clock)

    @override
    async def moment(self) -> None:
        import trio

        threading.Event().wait(MOMENT)  # trio's own sleep would never end
        await trio.lowlevel.checkpoint()


# anyio
# -----


class AnyioKit(Kit):
    """An application of anyio, over the source of the loop that is below it."""

    def __init__(self, below: AsyncioKit | TrioKit, **backend_options: object) -> None:
        self._below = below
        self._options = backend_options

    @override
    def run(self, work: Work[_T]) -> _T:
        import anyio

        backend = "trio" if isinstance(self._below, TrioKit) else "asyncio"
        return anyio.run(work, backend=backend, backend_options=self._options)

    @override
    async def all_of(self, works: Sequence[Work[_T]]) -> list[_T]:
        import anyio

        results: list[_T] = []

        async def do(work: Work[_T]) -> None:
            results.append(await work())

        async with anyio.create_task_group() as group:
            for work in works:
                group.start_soon(do, work)
        return results

    @override
    async def lose(self, work: Work[object], when: Callable[[], bool]) -> None:
        import anyio

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await self.until(when)
            group.cancel_scope.cancel()

    @override
    async def moment(self) -> None:
        import anyio

        await anyio.sleep(MOMENT)

    @override
    def source(self, coordinator: Coordinator, **options: Any) -> Source:
        return self._below.source(coordinator, **options)
