"""An exchange that shares a token: it looks into a store before it asks, and puts the answer there."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Any, Literal

from evertoken import BlockKind, ClientCredentials, HttpResponse, Policy, TokenRequest
from evertoken._secrecy import Unpicklable
from evertoken.sharing import Answer, Edit, Fail, Postpone, Send, Sleep, Store, StoreTrouble
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._exchange import AsyncExchange, Exchange, NotNow, check_exchange
from evertoken_transports._fence import Outbound
from evertoken_transports._progress import progress
from evertoken_transports._runtime import in_thread, runtime
from evertoken_transports._threads import LONGEST_SLEEP, Caller
from evertoken_transports.stores._cipher import Keys
from evertoken_transports.stores._known import Errand, Known, StoreCall, Way, check_store, known

__all__ = ("AsyncSharedExchange", "SharedExchange")

_WAITING = "while waiting for another process that asks"


class _Shared(Outbound, Unpicklable):
    """What the exchanges for threads and for event loops have in common."""

    def __init__(
        self,
        inner: Any,  # noqa: ANN401 (an exchange of either kind)
        store: Store,
        *,
        keys: Keys,
        store_required: bool,
        clock: Clock,
    ) -> None:
        keys.cipher()
        check_store(store)
        if not isinstance(store_required, bool):
            raise TypeError(f"store_required must be True or False, not {type(store_required).__name__}")
        behind = _behind(inner)
        self._inner = inner
        self._clock = clock
        self._known = known(store, behind=len(behind), required=store_required, keys=keys)
        self._all = (self._known, *behind)
        self.stores: tuple[Store, ...] = tuple(each.store for each in self._all)
        """The stores on the way to the endpoint, the one of this exchange first."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {self.stores[0]!r}>" if hasattr(self, "stores") else super().__repr__()

    def _tell_of_asking(self) -> None:
        if len(self._all) == 1:  # Otherwise another store is looked into next, and not the endpoint asked.
            progress().asking()

    def unblock(self, grant: ClientCredentials, policy: Policy | None = None) -> None:
        """Lift the block that the stores hold for ``grant``, by the operator's word: every process obeys.

        Blocks for as long as the calls of the stores take.

        Raises:
            StoreTrouble: stores could not be told, as the text says. Every store has been tried.
        """
        self._finish([known.unblock(self._clock, grant, policy or Policy()) for known in self._all])

    def block(
        self, grant: ClientCredentials, kind: BlockKind, seconds: float | None = None, policy: Policy | None = None
    ) -> None:
        """Tell the stores of a block that an API has reported, which lasts ``seconds`` if it has said how long.

        Blocks for as long as the calls of the stores take. Raises as :meth:`unblock`.
        """
        self._finish([known.block(self._clock, grant, policy or Policy(), kind, seconds) for known in self._all])

    @staticmethod
    def _finish(errands: list[Errand[Edit]]) -> None:
        """Do the ``errands``, the store next to the endpoint first.

        In the other order, whoever looks into a changed store meanwhile could bring the old state back into it from the
        next one.
        """
        for errand in reversed(errands):
            errand.calls()
        troubles = " ".join(errand.trouble for errand in errands if errand.trouble)
        if troubles:
            raise StoreTrouble(troubles)


class SharedExchange(_Shared):
    """Shares what ``inner`` is answered by the token endpoint with every process that uses an equal ``store``.

    Args:
        inner: the exchange that asks: :class:`~evertoken_transports.h11.H11Exchange`, one of your own, or another
            ``SharedExchange``, as where a file on each host stands before a Redis for all hosts.
        store: where answers are shared: :class:`~evertoken_transports.stores.FileStore`,
            :class:`~evertoken_transports.stores.RedisStore`, or a :class:`evertoken.sharing.Store` of your own.
        keys: encrypt what is stored, by keys of ``cryptography.fernet.Fernet.generate_key()``: the first encrypts, each
            decrypts, so that keys can be changed while processes use them.
        store_required: ask nobody while the store is down. If False, each process asks for itself then, once per life
            of a token.
        clock: the clock that ``request.deadline`` is measured on.

    The object may be called from several threads at once, and after a fork.

    Raises:
        TypeError, ValueError: an argument is wrong. No text shows a key.
        ImportError: there are ``keys``, and ``cryptography`` is not installed.
    """

    def __init__(
        self,
        inner: Exchange,
        store: Store,
        *,
        keys: Sequence[str | bytes] | Keys = (),
        store_required: bool = False,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        check_exchange("inner", inner, is_async=False, instead="AsyncSharedExchange takes a coroutine function")
        hidden = keys if isinstance(keys, Keys) else Keys(keys)
        del keys
        super().__init__(inner, store, keys=hidden, store_required=store_required, clock=clock)

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """The answer to ``request``, from the store or else from the endpoint.

        Raises:
            NotNow: nothing was sent, since another process is asking, or none may ask now.
            Exception: whatever ``inner`` has raised.
        """
        self.check_fence()
        way, sleeper = self._known.way(self._clock, request), Caller()
        failure: Exception | None = None
        try:
            while True:
                match action := way.ask.action:
                    case Send():
                        failure = self._send(way, action.request)
                    case Sleep():
                        progress().stage = _WAITING
                        way.subscribe(sleeper.wake)
                        sleeper.sleep(action.until - self._clock())
                        way.ask.woken(self._clock())
                    case _ if isinstance(action, StoreCall):
                        way.call()
                    case _:
                        return _ended(way, failure)
        except BaseException as error:
            if not isinstance(error, Exception):
                way.leave()
            raise
        finally:
            way.over()

    def _send(self, way: Way, request: TokenRequest) -> Exception | None:
        self._tell_of_asking()
        try:
            response = self._inner(request)
        except NotNow as refused:
            way.ask.postponed(self._clock(), refused.until, refused.problem)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised again)
            way.ask.failed(self._clock())
            return error
        else:
            return way.answered(response)
        return None


class AsyncSharedExchange(_Shared):
    """The same as :class:`SharedExchange` for asyncio and trio. The store is called in worker threads of its own.

    ``inner`` is a coroutine function. A task that is cancelled gives its lease back in a thread, and does not wait.
    """

    def __init__(
        self,
        inner: AsyncExchange,
        store: Store,
        *,
        keys: Sequence[str | bytes] | Keys = (),
        store_required: bool = False,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        check_exchange("inner", inner, is_async=True, instead="SharedExchange takes a plain callable")
        hidden = keys if isinstance(keys, Keys) else Keys(keys)
        del keys
        super().__init__(inner, store, keys=hidden, store_required=store_required, clock=clock)

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """The answer to ``request``, from the store or else from the endpoint. Raises as :class:`SharedExchange`."""
        self.check_fence()
        way = self._known.way(self._clock, request)
        sleep, wake = _sleeper()
        failure: Exception | None = None
        call: _Call | None = None
        try:
            while True:
                match action := way.ask.action:
                    case Send():
                        failure = await self._send(way, action.request)
                    case Sleep():
                        progress().stage = _WAITING
                        way.subscribe(wake)
                        await sleep(min(max(0.0, action.until - self._clock()), LONGEST_SLEEP))
                        way.ask.woken(self._clock())
                    case _ if isinstance(action, StoreCall):
                        call = _Call(way)
                        await in_thread(call)
                        call = None
                    case _:
                        return _ended(way, failure)
        except BaseException as error:
            if not isinstance(error, Exception):
                (way if call is None else call).leave()
            raise
        finally:
            way.over()

    async def _send(self, way: Way, request: TokenRequest) -> Exception | None:
        self._tell_of_asking()
        try:
            answer: object = self._inner(request)
            if isawaitable(answer):
                answer = await answer
        except NotNow as refused:
            way.ask.postponed(self._clock(), refused.until, refused.problem)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is raised again)
            way.ask.failed(self._clock())
            return error
        else:
            return way.answered(answer)
        return None


class _Call:
    """One call of the store in a worker thread, which gives the lease back if its caller is torn away meanwhile."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.Lock()
        self._stage: Literal["new", "running", "over", "left"] = "new"

    def __call__(self) -> None:
        if self._enter("running") == "left":
            self._enter("left")
            return
        self._way.call()
        if self._enter("over") == "left":
            self._way.leave()

    def leave(self) -> None:
        """The caller is gone: give the lease back now, or after the call that is running."""
        if self._enter("left") != "running":
            self._way.leave()

    def _enter(self, stage: Literal["running", "over", "left"]) -> str:
        with self._lock:
            before, self._stage = self._stage, stage
        return before


def _behind(inner: object) -> tuple[Known, ...]:
    """What is known of the stores that stand between ``inner`` and the endpoint, the nearest first."""
    return inner._all if isinstance(inner, _Shared) else ()  # noqa: SLF001 (of one family)


def _ended(way: Way, failure: Exception | None) -> HttpResponse:
    """Return or raise what the exchange does now that ``way`` is at its end."""
    way.tell()
    action = way.ask.action
    try:
        match action:
            case Answer():
                if action.unsaved:
                    way.save()
                return action.response
            case Postpone():
                raise NotNow(action.until, action.problem)
            case Fail() if failure is not None:
                raise failure
            case _:
                raise RuntimeError(f"the sharing machine said {type(action).__name__}, which a request does not end by")
    finally:
        failure = None  # The traceback of a failure that is raised holds this frame, which must not hold it in turn.


def _sleeper() -> tuple[Callable[[float], Awaitable[None]], Callable[[], object]]:
    """A way to sleep in the event loop that runs here, and a way to end that sleep from any thread."""
    if runtime() == "trio":
        from evertoken_transports.trio import _Sleeper as TrioSleeper  # noqa: PLC0415 (trio is an extra)

        in_trio = TrioSleeper()
        return in_trio.sleep, in_trio.wake
    from evertoken_transports.asyncio import _Sleeper as AsyncioSleeper  # noqa: PLC0415 (asyncio is big)

    in_asyncio = AsyncioSleeper()
    return in_asyncio.sleep, in_asyncio.wake
