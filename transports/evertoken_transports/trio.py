"""TokenSource for trio: callers wait under their own cancel scopes, and the exchange outlives its caller in a task."""

from __future__ import annotations

import contextvars
import logging
import ssl
import weakref
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from typing_extensions import override

try:
    import trio
except ImportError as error:
    raise ImportError("evertoken_transports.trio needs trio: pip install trio") from error

from evertoken import ClientCredentials, Policy, TokenRequest
from evertoken_transports._async_source import AsyncSource, Sleeper, stay_warm
from evertoken_transports._carrier import carry_async
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback, write
from evertoken_transports._exchange import AsyncExchange
from evertoken_transports._shares import Shares
from evertoken_transports._when import LastCall

if TYPE_CHECKING:
    from evertoken.sharing import Store
    from evertoken_transports._exchanges.on_trio import TrioExchange
    from evertoken_transports._exchanges.streams import StreamExchange

__all__ = ("TokenSource", "TrioExchange")


def __getattr__(name: str) -> object:
    """``TrioExchange`` is loaded when it is asked for: it needs ``evertoken[h11]``, and a source may do without."""
    if name == "TrioExchange":
        from evertoken_transports._exchanges.on_trio import TrioExchange  # noqa: PLC0415

        return TrioExchange
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class TokenSource(AsyncSource):
    """Keeps one valid token for any number of tasks.

    Args:
        grant: who asks, where, and how; for example ``mangopay.sandbox(client_id=..., api_key=...)``.
        policy: the tunables; see :class:`evertoken.Policy`.
        exchange: how a token request travels: a coroutine function, or an instance with such a ``__call__``. Default:
            :class:`TrioExchange`, raw HTTP/1.1 over trio's streams, with ``evertoken[h11]``.
        coordinator: share this one. Default: that of all sources in the process with an equal grant, policy and store.
        background: send token requests from a task of their own, so that the one that is under way survives its caller.
            If False, the caller carries the request itself; when it is cancelled, another caller starts anew.
            With the default exchange a refresh, whose callers have the old token, is sent from a daemon thread, so that
            it survives the end of its run, too. An ``exchange`` of your own always runs in the run of a caller, and
            so does the default one where the time of the run is simulated.
        keep_warm: refresh a due token even if nobody asks, for as long as a run lasts: from the making of the source if
            that happens in a run, else from the first call in one, and again in each further run.
        ssl_context: client certificates (mTLS) and private CAs of the default exchange. Default: verified against this
            machine's own store. Give it to ``exchange`` where there is one.
        trust_env: whether the default exchange heeds the proxies that environment or system name.
        store: share the token by it with every process that uses it: :class:`~evertoken_transports.stores.FileStore`,
            :class:`~evertoken_transports.stores.RedisStore`. It is asked in threads of its own. See
            :class:`~evertoken_transports.stores.SharedExchange`, also for ``store_required`` and ``keys``.
        on_event: called with each event; see :class:`~evertoken_transports.Coordinator`.

    Raises TypeError or ValueError, which name the argument that is wrong.

    A token request runs in a system task, so that no caller's cancel scope reaches it, not even one around all of them.
    Used as an async context manager, the source cancels the requests that it has under way in this run when the block
    ends, and waits for their end.
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
        self._carriers: dict[trio.CancelScope, _Carrier] = {}
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
        """Close, cancel the token requests that this source has under way in this run, and wait for their end."""
        await self.aclose()
        here = trio.lowlevel.current_trio_token()
        mine = [(scope, carrier) for scope, carrier in list(self._carriers.items()) if carrier.home is here]
        with trio.CancelScope(shield=True):
            for scope, carrier in mine:
                scope.cancel()
                await carrier.ended.wait()

    _exchange_name = "evertoken_transports.trio.TrioExchange"

    @override
    def _exchange_class(self) -> type[StreamExchange]:
        from evertoken_transports._exchanges.on_trio import TrioExchange  # noqa: PLC0415 (an extra)

        return TrioExchange

    def _sleeper(self) -> Sleeper:
        return _Sleeper()

    def _can_spawn(self) -> bool:
        return trio.lowlevel.in_trio_run()

    def _spawn(self, request: TokenRequest) -> None:
        _spawn("evertoken-request", self._carry, request)

    @property
    def _carry(self) -> Callable[[TokenRequest], Awaitable[None]]:
        """What carries a request, without a reference to this source: a task must not keep it alive."""
        return partial(_carry, self._coordinator, self._exchange, self._carriers)

    def _start_waiting(self, call: LastCall, timeout: float | None) -> None:
        _spawn("evertoken-when-token", _wait_to_call, self._wait_to_call, call, timeout)

    def _place(self) -> Hashable:
        return trio.lowlevel.current_trio_token()

    def _start_warmer(self) -> bool:
        _spawn("evertoken-keep-warm", _stay_warm, weakref.ref(self), self._coordinator, self._carry)
        return True


def _spawn(name: str, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """Start a system task in an empty context, since it belongs to no caller.

    By default trio would give it a copy of the context in which the run began.
    """
    trio.lowlevel.spawn_system_task(work, *arguments, name=name, context=contextvars.Context())


async def _stay_warm(
    source: weakref.ref[AsyncSource], coordinator: Coordinator, carry: Callable[[TokenRequest], Awaitable[None]]
) -> None:
    try:
        await stay_warm(source, coordinator, carry, _Sleeper())
    finally:
        if (held := source()) is not None:
            held._cooled(trio.lowlevel.current_trio_token())


async def _wait_to_call(
    wait: Callable[[LastCall, float | None], Awaitable[None]], call: LastCall, timeout: float | None
) -> None:
    """Await ``wait``. A callback may raise SystemExit, and a system task that raises would end the whole run."""
    try:
        await wait(call, timeout)
    except trio.Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001
        write(logging.ERROR, "the callback of when_token raised %s", type(error).__name__)


class _Carrier(NamedTuple):
    """A task that carries a request: the run that it belongs to, and the event of its end."""

    home: trio.lowlevel.TrioToken
    ended: trio.Event


async def _carry(
    coordinator: Coordinator,
    exchange: AsyncExchange,
    carriers: dict[trio.CancelScope, _Carrier],
    request: TokenRequest,
) -> None:
    """Carry ``request``. What is raised was reported as abandoned, and a system task that raises would end the run."""
    with trio.CancelScope() as scope:
        carriers[scope] = carrier = _Carrier(trio.lowlevel.current_trio_token(), trio.Event())
        try:
            await carry_async(coordinator, exchange, request)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001
            write(logging.ERROR, "the exchange of a token request raised %s", type(error).__name__)
        finally:
            del carriers[scope]
            carrier.ended.set()


class _Sleeper(Sleeper):
    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._woken = trio.Event()
        self.wake = self._wake

    def _wake(self) -> None:
        self._token.run_sync_soon(self._ring)

    def _ring(self) -> None:
        self._woken.set()

    async def sleep(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = trio.Event()
