"""A fake Mangopay for the tests of applications and SDKs: the model, in memory and in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, Self, cast

from typing_extensions import TypeVar

from evertoken import ClientCredentials, Policy, TokenMachine
from evertoken.testing import Arrival, AuthorizationServer, Random, Route, Script, ServerAnswer, ServerRequest
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback
from evertoken_transports._exchange import AsyncExchange, Exchange
from evertoken_transports._fence import Fenced, Outbound, lower_fence, raise_fence
from evertoken_transports._runtime import runtime
from evertoken_transports._source import BaseSource
from evertoken_transports.testing._clocks import VirtualClock
from evertoken_transports.testing._exchanges import AsyncMemoryExchange, MemoryExchange
from evertoken_transports.testing._httpx_transport import new_transport
from evertoken_transports.testing._loop_clock import LoopClock
from evertoken_transports.testing._network import ApiTrouble, Network, TokenTrouble
from evertoken_transports.testing._registry import Registry, enter, leave
from evertoken_transports.testing._virtual_coordinator import OVER, ServerCoordinator, VirtualCoordinator
from evertoken_transports.testing._wire import Wire
from evertoken_transports.threads import TokenSource

if TYPE_CHECKING:
    from evertoken_transports.asyncio import TokenSource as AsyncioSource
    from evertoken_transports.testing._httpx_transport import Httpx2Transport, HttpxTransport
    from evertoken_transports.trio import TokenSource as TrioSource

_Clock = TypeVar("_Clock", bound=VirtualClock | LoopClock, default=VirtualClock)


class MangopayServer(Generic[_Clock]):
    """Mangopay's token endpoint and API without a socket, for sources and clients of any runtime.

    ::

        with MangopayServer() as server:
            source = server.token_source()
            source.authorization()
            server.advance(3600)
            source.authorization()
            assert server.token_requests == 2

    What runs is the library itself: its machine, its sources, its HTTP over h11, word for word as over a socket. What
    is replaced is the network, by connections in memory, and the clock.

    Between entering and leaving, ``Coordinator.shared`` knows no token from before, and hands out coordinators in this
    server's time; and sources and auth objects that were given no exchange, or one of this library that would open a
    socket, send their token requests here. So code under test that makes its own sources works unchanged. Sources that
    were made before, in a module for example, refuse to send and say so: they would ask the real endpoint. After
    leaving, all that was made in between refuses to work, so that nothing passes from one test into the next.

    Several may be entered at the same time. Each has a host of its own; they live in one time if they are given one
    ``clock``.

    Args:
        script: what the server does when; by default nothing goes wrong. See :class:`evertoken.testing.Script`.
        client_id, api_key: the account, which is made up, since this server reaches nobody.
        clock: a :class:`VirtualClock` (default), or a :class:`LoopClock` where the event loop's own time is virtual.
        seed: the number from which the tokens follow, and the jitter of the clients.
        lateness: seconds by which an answer is late under ``WorldFault.LATE``; more than a request may take.
        fence: let no exchange of this library go out; see above. If False, a source without an exchange opens a socket.

    Safe to use from any thread.

    Raises:
        ValueError: an argument cannot be used; the text names it.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        client_id: str = "test-client",
        api_key: str = "test-api-key",
        clock: _Clock | None = None,
        seed: int = 0,
        lateness: float = 20.0,
        fence: bool = True,
    ) -> None:
        _check_kind("script", script, Script)
        _check_kind("clock", clock, VirtualClock, LoopClock)
        self.clock: _Clock = cast("_Clock", clock or VirtualClock())
        """The clock of this server, for sources and coordinators that a test makes by hand."""
        self.model = AuthorizationServer(
            client_id,
            api_key,
            script=Script() if script is None else script,
            seed=seed,
            token_prefix="test-token",
            start=1_000.0,
        )
        """The pure model, for all that has no method here. It has no lock, so use it when no request is under way."""
        self._network = Network(self.model, self.clock, lateness)
        self._draw = Random(seed).draw
        self._fence = fence
        self._registry = Registry(self._new_coordinator, self.clock)
        self._is_over = False
        self._sources: list[BaseSource] = []

    def __repr__(self) -> str:
        if not hasattr(self, "_network"):  # A wrong argument stopped the making.
            return "<MangopayServer>"
        return f"<MangopayServer: {self.token_requests} token requests, {self.api_calls} API calls>"

    def __enter__(self) -> Self:
        if self._is_over:
            raise Fenced(OVER)
        if self._registry.number:
            raise RuntimeError("this MangopayServer is entered already, as one from the fixture is: use it as it is")
        enter(self._registry)
        if self._fence:
            raise_fence(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close every source and connection that was made with this server, and refuse whatever comes later."""
        if not self._is_over:
            self._is_over = True
            leave(self._registry)
            lower_fence(self)
            self._registry.end()
            self._network.hang_up()
            if isinstance(self.clock, VirtualClock):
                self.clock.wake_carriers()

    # For the code under test
    # -----------------------

    @property
    def base_url(self) -> str:
        """The URL at which this server pretends to be. Its host can never exist (RFC 6761), so nothing leaves the test.

        Raises:
            RuntimeError: the server is not entered, or its test is over. The grants, exchanges, coordinators, sources
                and transports of this server raise it then as well.
        """
        self._check_entered()
        return self._registry.base_url

    def grant(self) -> ClientCredentials:
        """The account's credentials at this server. After :meth:`set_api_key` they have the new key."""
        return self.model.grant(self.base_url)

    @property
    def exchange(self) -> Exchange:
        """An exchange with this server, for ``exchange=`` of ``threads.TokenSource`` and of any ``BearerAuth``.

        Raises:
            RuntimeError: the server lives in an event loop's time, where no thread can wait.
        """
        self._check_entered()
        if isinstance(self.clock, LoopClock):
            _refuse_thread()
        return MemoryExchange(self._connect, self.clock, self)

    @property
    def async_exchange(self) -> AsyncExchange:
        """An exchange with this server, for ``exchange=`` of ``asyncio.TokenSource`` and ``trio.TokenSource``."""
        self._check_entered()
        return AsyncMemoryExchange(self._connect, self.clock, self)

    def coordinator(self, policy: Policy | None = None) -> Coordinator:
        """The coordinator for :meth:`grant` and ``policy`` in this server's time: one for all who ask for the same."""
        return self._registry.get(self.grant(), policy or Policy())

    def token_source(
        self,
        *,
        policy: Policy | None = None,
        background: bool = True,
        keep_warm: bool = False,
        on_event: EventCallback | None = None,
    ) -> TokenSource:
        """A source for threads, and for any code that is not async; it stays until the server is left."""
        source = TokenSource(
            self.grant(),
            exchange=self.exchange,
            coordinator=self.coordinator(policy),
            background=background,
            keep_warm=keep_warm,
            on_event=on_event,
        )
        self._sources.append(source)
        return source

    def async_token_source(
        self,
        *,
        policy: Policy | None = None,
        background: bool = True,
        keep_warm: bool = False,
        on_event: EventCallback | None = None,
    ) -> AsyncioSource | TrioSource:
        """A source for tasks of the event loop that runs, asyncio's or trio's; it stays until the server is left."""
        source = _async_source_class()(
            self.grant(),
            exchange=self.async_exchange,
            coordinator=self.coordinator(policy),
            background=background,
            keep_warm=keep_warm,
            on_event=on_event,
        )
        self._sources.append(source)
        return source

    def httpx_transport(self) -> HttpxTransport:
        """For ``transport=`` of ``httpx.Client`` and ``httpx.AsyncClient``: every call goes to this server."""
        self._check_entered()
        return cast("HttpxTransport", new_transport("httpx", self._serve, self.clock))

    def httpx2_transport(self) -> Httpx2Transport:
        """For ``transport=`` of ``httpx2.Client`` and ``httpx2.AsyncClient``: every call goes to this server."""
        self._check_entered()
        return cast("Httpx2Transport", new_transport("httpx2", self._serve, self.clock))

    # Time
    # ----

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at one go, as when the machine was suspended.

        In a thread it returns when those whom it woke are at rest again: what keeps a token warm has its new one, or
        waits. In an event loop it wakes them, and they act when the loop comes to them: ``await aadvance()`` there.
        """
        self.clock.advance(seconds)

    async def aadvance(self, seconds: float) -> None:
        """Do what :meth:`advance` does, for tasks: when this returns, those whom it woke are at rest again."""
        await self.clock.aadvance(seconds)

    def settle(self) -> None:
        """Return when all callers and requests are at rest, and so :attr:`arrivals` is complete. No time passes.

        Raises:
            RuntimeError: an event loop runs in this thread, or the server lives in an event loop's time.
        """
        if isinstance(self.clock, LoopClock):
            raise RuntimeError("this server lives in an event loop's time: await asettle() there")
        self.clock.settle()

    async def asettle(self) -> None:
        """Do what :meth:`settle` does, for tasks of asyncio and trio."""
        await self.clock.asettle()

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass step by step: whatever is to happen meanwhile happens at its moment.

        Raises:
            RuntimeError: an event loop runs in this thread, or the server lives in an event loop's time.
        """
        if isinstance(self.clock, LoopClock):
            raise RuntimeError("this server lives in an event loop's time: await asleep() there")
        self.clock.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Do what :meth:`sleep` does, for tasks of asyncio and trio."""
        await self.clock.asleep(seconds)

    # Trouble
    # -------

    def next_token_requests(self, *troubles: TokenTrouble) -> None:
        """Order what becomes of the next token requests, one each: a fault of server or network, or a behaviour.

        Raises:
            ValueError: anything else, such as a fault of API calls, or a fault of the world that does not strike one
                request; see :data:`NETWORK_FAULTS`.
        """
        self._network.add_token_troubles(*troubles)

    def next_api_calls(self, *troubles: ApiTrouble) -> None:
        """Order what becomes of the next API calls, one each.

        Raises:
            ValueError: anything else, such as a fault of token requests.
        """
        self._network.add_api_troubles(*troubles)

    @property
    def pending_troubles(self) -> tuple[TokenTrouble | ApiTrouble, ...]:
        """What :meth:`next_token_requests` and :meth:`next_api_calls` have ordered and has struck no request yet.

        A test that leaves some has not tested what it says, so the pytest fixture fails it.
        """
        return self._network.pending

    def drop_pending_troubles(self) -> None:
        """Take :attr:`pending_troubles` back: for a test that means to order more than it uses."""
        self._network.drop_pending()

    def part(self, seconds: float) -> None:
        """Begin a partition: for ``seconds`` nothing gets through, and nobody is told.

        With ``math.inf`` it lasts until ``part(0)``.
        """
        self._network.part(seconds)

    def revoke(self, authorization: str) -> bool:
        """Revoke one token, given as "Bearer ...". Returns False if it is not valid now anyway."""
        with self._network.lock:
            return self.model.revoke(self.clock(), authorization.removeprefix("Bearer "))

    def revoke_all(self) -> int:
        """Revoke every token that is valid now. Returns how many these were."""
        with self._network.lock:
            return self.model.revoke_all(self.clock())

    def set_api_key(self, api_key: str) -> None:
        """Rotate the key: only ``api_key`` is accepted from now on. Of grants and sources, only new ones have it."""
        with self._network.lock:
            self.model.set_api_key(api_key)

    # What it has seen
    # ----------------

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """Every request that arrived, oldest first, without secrets. What was lost on the way is not among them."""
        with self._network.lock:
            return tuple(self.model.arrivals)

    @property
    def token_requests(self) -> int:
        """How many token requests have arrived."""
        return sum(arrival.route is Route.TOKEN for arrival in self.arrivals)

    @property
    def api_calls(self) -> int:
        """How many API calls have arrived."""
        return sum(arrival.route is Route.API for arrival in self.arrivals)

    def is_valid(self, authorization: str) -> bool:
        """Whether an ``Authorization`` value, "Bearer ...", is good at this moment."""
        with self._network.lock:
            return self.model.is_valid(self.clock(), authorization.removeprefix("Bearer "))

    # Inside
    # ------

    def _check_entered(self) -> None:
        if self._is_over:
            raise Fenced(OVER)
        if not self._registry.number:
            raise Fenced("this MangopayServer is not entered: write `with MangopayServer() as server:`")

    def _serve(self, request: ServerRequest) -> ServerAnswer:
        self._check_entered()
        return self._network.serve(request)

    def _connect(self) -> Wire:
        self._check_entered()
        return self._network.connected(self._serve)

    def _new_coordinator(self, grant: ClientCredentials, policy: Policy) -> ServerCoordinator:
        machine = TokenMachine(grant, policy=policy, draw=self._draw)
        if isinstance(self.clock, LoopClock):
            return ServerCoordinator(machine, self.clock, self._wall, self._stand_in)
        return VirtualCoordinator(machine, self.clock, self._wall, self._stand_in)

    def _wall(self) -> float:
        """Unix time: that of the ``Date`` lines in the server's answers."""
        return self.model.unix_time(self.clock())

    def _stand_in(self, exchange: object) -> object:
        if isinstance(exchange, MemoryExchange | AsyncMemoryExchange):
            if exchange.owner is not self:
                raise ValueError("exchange: it belongs to another MangopayServer than the grant; take both from one")
            return exchange
        if not self._fence or not isinstance(exchange, Outbound):
            return exchange
        if iscoroutinefunction(type(exchange).__call__):
            return self.async_exchange
        return _refuse_thread if isinstance(self.clock, LoopClock) else self.exchange


def _check_kind(name: str, value: object, *kinds: type) -> None:
    if value is not None and not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name} must be a {names}, not {type(value).__name__}")


def _refuse_thread(*_request: object) -> NoReturn:
    raise RuntimeError("this server lives in an event loop's time: use async_exchange there")


def _async_source_class() -> type[AsyncioSource | TrioSource]:
    if runtime() == "trio":
        from evertoken_transports.trio import TokenSource as TrioSource  # noqa: PLC0415 (an extra)

        return TrioSource
    from evertoken_transports.asyncio import TokenSource as AsyncioSource  # noqa: PLC0415 (asyncio is big)

    return AsyncioSource
