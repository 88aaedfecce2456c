"""A fake Mangopay for the tests of applications and SDKs: the model, in memory and in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from evertoken import ClientCredentials, Policy, TokenMachine
from evertoken.testing import Arrival, AuthorizationServer, Random, Route, Script
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback
from evertoken_transports._exchange import AsyncExchange, Exchange
from evertoken_transports._runtime import runtime
from evertoken_transports.testing._clocks import LoopClock, VirtualClock
from evertoken_transports.testing._exchanges import AsyncMemoryExchange, MemoryExchange
from evertoken_transports.testing._httpx_transport import new_transport
from evertoken_transports.testing._network import ApiTrouble, Network, TokenTrouble
from evertoken_transports.testing._virtual_coordinator import VirtualCoordinator, own_registry
from evertoken_transports.testing._wire import Wire
from evertoken_transports.threads import TokenSource

if TYPE_CHECKING:
    from evertoken_transports.asyncio import TokenSource as AsyncioSource
    from evertoken_transports.trio import TokenSource as TrioSource

__all__ = ("MangopayServer",)

_MOST_BODY = Policy().max_body


class MangopayServer:
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
    server's time; so code under test that makes its own sources and auth objects needs nothing but an ``exchange``.

    Args:
        script: what the server does when; default: fair weather. See :class:`evertoken.testing.Script`.
        client_id, api_key: the account. Made up: this server reaches nobody.
        clock: a :class:`VirtualClock` (default), or a :class:`LoopClock` where the event loop's own time is virtual.
        seed: what the tokens follow from, and the jitter of the clients.
        lateness: seconds by which an answer is late under ``WorldFault.LATE``; more than a request may take.

    Safe to use from any thread.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        client_id: str = "test-client",
        api_key: str = "test-api-key",
        clock: VirtualClock | LoopClock | None = None,
        seed: int = 0,
        lateness: float = 20.0,
    ) -> None:
        self.clock: VirtualClock | LoopClock = VirtualClock() if clock is None else clock
        """The time, for what is made by hand."""
        self.model = AuthorizationServer(
            client_id,
            api_key,
            script=Script() if script is None else script,
            seed=seed,
            token_prefix="test-token",
            start=1_000.0,
        )
        """The pure model, for all that has no method here. It is not to be used while requests are under way."""
        self._network = Network(self.model, self.clock, lateness)
        self._draw = Random(seed).draw
        self._entered = ExitStack()
        self._sources: list[TokenSource] = []

    def __repr__(self) -> str:
        return f"<MangopayServer: {self.token_requests} token requests, {self.api_calls} API calls>"

    def __enter__(self) -> Self:
        self._entered.enter_context(own_registry(self._new_coordinator))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the sources for threads that were made here. Those for tasks end with their event loop."""
        for source in self._sources:
            source.close()
        self._entered.close()

    # For the code under test
    # -----------------------

    @property
    def base_url(self) -> str:
        """Where it pretends to be: a host that can never exist (RFC 6761), so that nothing leaves the test."""
        return "https://mangopay.test"

    def grant(self) -> ClientCredentials:
        """The account's credentials, bound for this server."""
        return self.model.grant(self.base_url)

    @property
    def exchange(self) -> Exchange:
        """For ``exchange=`` of ``threads.TokenSource`` and of ``BearerAuth``, also under an ``AsyncClient``.

        Raises:
            RuntimeError: the server lives in an event loop's time, where no thread can wait.
        """
        if isinstance(self.clock, LoopClock):
            raise RuntimeError("this server lives in an event loop's time: use async_exchange there")
        return MemoryExchange(self._connect, self.clock, _MOST_BODY)

    @property
    def async_exchange(self) -> AsyncExchange:
        """For ``exchange=`` of ``asyncio.TokenSource`` and ``trio.TokenSource``."""
        return AsyncMemoryExchange(self._connect, self.clock, _MOST_BODY)

    def coordinator(self, policy: Policy = Policy()) -> Coordinator:  # noqa: B008 (frozen: sharing it is safe)
        """The one coordinator for this policy, in this server's time. Needs the server to be entered."""
        return Coordinator.shared(self.grant(), policy)

    def token_source(
        self,
        *,
        policy: Policy = Policy(),  # noqa: B008
        background: bool = True,
        keep_warm: bool = False,
        on_event: EventCallback | None = None,
    ) -> TokenSource:
        """A source for threads, and for any code that is not async."""
        source = TokenSource(
            self.grant(),
            policy=policy,
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
        policy: Policy = Policy(),  # noqa: B008
        background: bool = True,
        keep_warm: bool = False,
        on_event: EventCallback | None = None,
    ) -> AsyncioSource | TrioSource:
        """A source for the event loop that runs, asyncio's or trio's."""
        return _async_source_class()(
            self.grant(),
            policy=policy,
            exchange=self.async_exchange,
            coordinator=self.coordinator(policy),
            background=background,
            keep_warm=keep_warm,
            on_event=on_event,
        )

    def httpx_transport(self) -> Any:  # noqa: ANN401 (both a BaseTransport and an AsyncBaseTransport)
        """For ``transport=`` of ``httpx.Client`` and ``httpx.AsyncClient``: every call goes to this server."""
        return new_transport("httpx", self._network.serve, self.clock)

    def httpx2_transport(self) -> Any:  # noqa: ANN401
        """The same for httpx2."""
        return new_transport("httpx2", self._network.serve, self.clock)

    # Time
    # ----

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass at one go, as when the machine was suspended."""
        self.clock.advance(seconds)

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass step by step: whatever is to happen meanwhile happens at its moment.

        Raises:
            RuntimeError: the server lives in an event loop's time, where no thread can wait.
        """
        if isinstance(self.clock, LoopClock):
            raise RuntimeError("this server lives in an event loop's time: await asleep() there")
        self.clock.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """The same for tasks of asyncio and trio."""
        await self.clock.asleep(seconds)

    # Trouble
    # -------

    def next_token_requests(self, *troubles: TokenTrouble) -> None:
        """What becomes of the next token requests, one each: a fault of the server or of the network, or a behaviour.

        Raises:
            ValueError: a fault of the world that does not strike one request; see :data:`NETWORK_FAULTS`.
        """
        self._network.add_token_troubles(*troubles)

    def next_api_calls(self, *troubles: ApiTrouble) -> None:
        """What becomes of the next API calls, one each.

        Raises:
            ValueError: a fault of the world that does not strike one request; see :data:`NETWORK_FAULTS`.
        """
        self._network.add_api_troubles(*troubles)

    def part(self, seconds: float) -> None:
        """A partition: for ``seconds`` nothing gets through, and nobody is told."""
        self._network.part(seconds)

    def revoke_all(self) -> int:
        """Revoke every token that is valid now, and say how many."""
        with self._network.lock:
            return self.model.revoke_all(self.clock())

    def set_api_key(self, api_key: str) -> None:
        """Rotate: this key is the only one from now on. :meth:`grant` has it; sources made before do not."""
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

    def _connect(self) -> Wire:
        return Wire(self._network.serve, self.clock)

    def _new_coordinator(self, grant: ClientCredentials, policy: Policy) -> Coordinator:
        machine = TokenMachine(grant, policy=policy, draw=self._draw)
        if isinstance(self.clock, LoopClock):
            return Coordinator(machine, clock=self.clock)
        return VirtualCoordinator(machine, self.clock)


def _async_source_class() -> type[AsyncioSource | TrioSource]:
    if runtime() == "trio":
        from evertoken_transports.trio import TokenSource as TrioSource  # noqa: PLC0415 (an extra)

        return TrioSource
    from evertoken_transports.asyncio import TokenSource as AsyncioSource  # noqa: PLC0415 (asyncio is big)

    return AsyncioSource
