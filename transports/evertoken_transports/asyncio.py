"""TokenSource for asyncio: callers wait in their loop, and the exchange outlives its caller in a task of its own."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import ssl
import weakref
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from evertoken import ClientCredentials, Policy, TokenRequest
from evertoken_transports._async_source import AsyncSource, Sleeper, stay_warm
from evertoken_transports._carrier import carry_async
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback, write
from evertoken_transports._exchange import AsyncExchange
from evertoken_transports._loop_end import when_closed
from evertoken_transports._shares import Shares
from evertoken_transports._when import LastCall

if TYPE_CHECKING:
    from evertoken.sharing import Store
    from evertoken_transports._exchanges.on_asyncio import AsyncioExchange
    from evertoken_transports._exchanges.streams import StreamExchange

__all__ = ("AsyncioExchange", "TokenSource")


def __getattr__(name: str) -> object:
    """``AsyncioExchange`` is loaded when it is asked for: it needs ``evertoken[h11]``, and a source may do without."""
    if name == "AsyncioExchange":
        from evertoken_transports._exchanges.on_asyncio import AsyncioExchange  # noqa: PLC0415

        return AsyncioExchange
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_FOR_EVER = 1e8
"""Seconds, some three years, for a timer without an end, which no event loop has."""


class TokenSource(AsyncSource):
    """Keeps one valid token for any number of tasks, in one event loop or in several.

    Args:
        grant: who asks, where, and how; for example ``mangopay.sandbox(client_id=..., api_key=...)``.
        policy: the tunables; see :class:`evertoken.Policy`.
        exchange: how a token request travels: a coroutine function, or an instance with such a ``__call__``. Default:
            :class:`AsyncioExchange`, raw HTTP/1.1 over asyncio's streams, with ``evertoken[h11]``.
        coordinator: share this one. Default: that of all sources in the process with an equal grant, policy and store.
        background: send token requests from a task of their own, so that the one that is under way survives its caller.
            If False, the caller carries the request itself; when it is cancelled, another caller starts anew.
            With the default exchange a refresh, whose callers have the old token, is sent from a daemon thread, so that
            it survives the end of its loop, too. An ``exchange`` of your own always runs in the loop of a caller, and
            so does the default one where the time of the loop is simulated.
        keep_warm: refresh a due token even if nobody asks, for as long as a loop runs: from the making of the source if
            that happens in a loop, else from the first call in one, and again in each further loop.
        ssl_context: client certificates (mTLS) and private CAs of the default exchange. Default: verified against this
            machine's own store. Give it to ``exchange`` where there is one.
        trust_env: whether the default exchange heeds the proxies that environment or system name.
        store: share the token by it with every process that uses it: :class:`~evertoken_transports.stores.FileStore`,
            :class:`~evertoken_transports.stores.RedisStore`. It is asked in threads of its own. See
            :class:`~evertoken_transports.stores.SharedExchange`, also for ``store_required`` and ``keys``.
        on_event: called with each event; see :class:`~evertoken_transports.Coordinator`.

    Raises TypeError or ValueError, which name the argument that is wrong.

    A source belongs to no event loop: make it anywhere, use it under one ``asyncio.run`` after another, or in several
    loops at once. It is an async context manager that closes itself.
    """

    def __init__(
        self,
        grant: ClientCredentials,
        *,
        policy: Policy = Policy(),  # noqa: B008 (frozen: sharing it is safe)
        exchange: AsyncExchange | None = None,
        coordinator: Coordinator | None = None,
        background: bool = True,
        keep_warm: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        store: Store | None = None,
        store_required: bool = False,
        keys: Sequence[str | bytes] = (),
        on_event: EventCallback | None = None,
    ) -> None:
        shares = Shares(store, keys, store_required=store_required)
        del keys  # Error trackers show local variables.
        shares.check()
        self._tasks: set[asyncio.Task[None]] = set()
        super().__init__(
            grant,
            policy,
            coordinator,
            on_event,
            exchange=exchange,
            background=background,
            keep_warm=keep_warm,
            ssl_context=ssl_context,
            trust_env=trust_env,
            shares=shares,
        )

    async def aclose(self) -> None:
        """Refuse further calls, and end current ones with a LocalProtocolError. A request under way is finished.

        Other sources of the same coordinator may wait for that request.
        """
        if not self._closed:
            self._shut()
            self._coordinator._wake_all()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    _exchange_name = "evertoken_transports.asyncio.AsyncioExchange"

    @override
    def _exchange_class(self) -> type[StreamExchange]:
        from evertoken_transports._exchanges.on_asyncio import AsyncioExchange  # noqa: PLC0415 (an extra)

        return AsyncioExchange

    def _sleeper(self) -> Sleeper:
        return _Sleeper()

    def _can_spawn(self) -> bool:
        return _running_loop() is not None

    def _place(self) -> Hashable:
        return weakref.ref(asyncio.get_running_loop())

    def _spawn(self, request: TokenRequest) -> None:
        task = self._task(carry_async(self._coordinator, self._exchange, request), "evertoken-request")
        seconds = max(0.0, request.deadline - self._clock())
        over = when_closed(task.get_loop(), seconds, self._coordinator.request_abandoned, request)
        task.add_done_callback(partial(self._ended, request, over), context=contextvars.Context())

    def _ended(self, request: TokenRequest, over: Callable[[], None], task: asyncio.Task[None]) -> None:
        over()
        if task.cancelled():  # Perhaps before its first step, so that it could not report this itself.
            self._coordinator.request_abandoned(request)
        elif isinstance(error := task.exception(), Exception):
            write(logging.ERROR, "bug: what carries a token request raised %s", type(error).__name__, error=error)
        # Else nothing was raised, or a KeyboardInterrupt, say, which the loop itself raises: one report is enough.

    def _start_waiting(self, call: LastCall, timeout: float | None) -> None:
        task = self._task(self._wait_to_call(call, timeout), "evertoken-when-token")
        over = when_closed(task.get_loop(), _FOR_EVER, call.end)
        task.add_done_callback(lambda _: _end(over, call), context=contextvars.Context())

    def _start_warmer(self) -> bool:
        carry = partial(carry_async, self._coordinator, self._exchange)
        cooled = partial(_cooled, weakref.ref(self), self._place())
        staying = stay_warm(weakref.ref(self), self._coordinator, carry, _Sleeper())
        task = self._task(_until_cooled(staying, cooled), "evertoken-keep-warm")
        over = when_closed(task.get_loop(), _FOR_EVER, cooled)
        task.add_done_callback(lambda _: (over(), cooled()), context=contextvars.Context())
        return True

    def _task(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        """Start a task for ``work`` in an empty context, since it belongs to no caller.

        ``create_task(context=...)`` is not used: task factories of applications and simulated loops may not know it.
        """
        loop = asyncio.get_running_loop()
        task = contextvars.Context().run(partial(loop.create_task, work, name=name))
        self._tasks -= {old for old in list(self._tasks) if old.get_loop().is_closed()}  # These are never done.
        self._tasks.add(task)  # The loop itself holds tasks weakly.
        task.add_done_callback(self._tasks.discard, context=contextvars.Context())
        return task


def _end(over: Callable[[], None], call: LastCall) -> None:
    over()
    call.end()


async def _until_cooled(staying: Coroutine[None, None, None], cooled: Callable[[], None]) -> None:
    """Await ``staying``, and call ``cooled`` as the task's last act.

    The task's done callback calls it too, but a simulated loop may end before that.
    """
    try:
        await staying
    finally:
        cooled()


def _cooled(source: weakref.ref[TokenSource], place: Hashable) -> None:
    if (held := source()) is not None:
        held._cooled(place)


class _Sleeper(Sleeper):
    def __init__(self) -> None:
        loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self.wake = lambda: loop.call_soon_threadsafe(self._woken.set)

    async def sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
