"""Loops that simulate time, and some of them the network: taken as they are, with a server inside.

simloop and simloom begin with Python 3.12. They have no types in an older one, so that they are imported by name.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from abc import abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import h11
from typing_extensions import override

from evertoken import HttpResponse, Policy, TokenMachine, TokenRequest
from evertoken.testing import Arrival, AuthorizationServer, Route, Script, ServerRequest
from evertoken_transports import Coordinator
from tests.kits import canary
from tests.loops.endpoint import LIFETIME, Place, TlsFiles
from tests.loops.kits import AsyncioKit, Clock, Work

__all__ = ("UNIVERSES", "Simulated", "SimulatedKit")

_T = TypeVar("_T")
PORT = 8080


class LoopTime(Clock):
    """What the loop takes for the time. Another run of the loop begins where the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self._at_rest = 1_000.0
        self._began = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    @override
    def __call__(self) -> float:
        return self._at_rest if self._loop is None else self._at_rest + self._loop.time() - self._began

    def begin(self) -> None:
        """Go on with the loop that runs."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def rest(self) -> None:
        """Stand still: the loop ends."""
        self._at_rest, self._loop = self(), None


class Simulated:
    """A token endpoint and an API inside the loop, and the judge."""

    def __init__(self, lifetime: int = LIFETIME) -> None:
        self.clock = LoopTime()
        self.model = AuthorizationServer(
            "canary", canary.secret(), script=Script(lifetime=lifetime), token_prefix=canary.TOKEN_MARK
        )
        self._gate: asyncio.Event | None = None
        self._asked = 0

    def hold(self) -> None:
        """Hold back the answers to token requests from now on."""
        self._gate = asyncio.Event()

    def release(self) -> None:
        """Let all of them go."""
        if self._gate is not None:
            self._gate.set()

    def asked(self) -> int:
        """How many token requests have arrived."""
        return self._asked

    def granted(self) -> list[Arrival]:
        """The token requests that were answered."""
        return [arrival for arrival in self.model.arrivals if arrival.route is Route.TOKEN]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, one answer."""
        http = h11.Connection(h11.SERVER)
        events: list[Any] = []
        while not events or not isinstance(events[-1], h11.EndOfMessage):
            if (event := http.next_event()) is not h11.NEED_DATA:
                events.append(event)
            elif data := await reader.read(65_536):
                http.receive_data(data)
            else:
                writer.close()
                return
        head = cast("h11.Request", events[0])
        body = b"".join(bytes(event.data) for event in events[1:-1])
        headers = [(name.decode(), value.decode()) for name, value in head.headers]
        answer = await self._answer(ServerRequest(head.method.decode(), head.target.decode(), headers, body))
        named = [(name.encode(), value.encode()) for name, value in answer.headers if name.lower() != "connection"]
        closing = h11.Response(status_code=answer.status, headers=[*named, (b"Connection", b"close")])
        for event in (closing, h11.Data(data=answer.body), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        await writer.drain()
        writer.close()

    async def exchange(self, request: TokenRequest, /) -> HttpResponse:
        """The same without a connection."""
        return await self._answer(
            ServerRequest(request.method, urlsplit(request.url).path, request.headers, request.body)
        )

    async def _answer(self, request: ServerRequest) -> HttpResponse:
        if request.path.endswith("/oauth/token"):
            self._asked += 1
            if self._gate is not None:
                await self._gate.wait()
        answer = self.model.handle(self.clock(), request).response
        assert answer is not None
        return answer


class SimulatedKit(AsyncioKit):
    """asyncio on a loop of simulated time, with ``inside`` serving in it.

    Args:
        inside: what serves.
        tls: with which certificates, if it is to be TLS.
        host: the machine on which it does, in a loop that has several.
    """

    def __init__(self, inside: Simulated, tls: TlsFiles | None = None, host: str = "localhost") -> None:
        super().__init__()
        self._inside = inside
        self._tls = tls
        self._host = host

    @property
    def place(self) -> Place:
        """Where the server is."""
        url = f"{self._host}:{PORT}"
        if self._tls is None:
            return Place(f"http://{url}", "")
        return Place(f"https://{url}", "", str(self._tls.cafile), str(self._tls.certfile))

    def source_of(self, url: str) -> Any:  # noqa: ANN401 (a source of asyncio)
        """A source whose token endpoint is at ``url``."""
        machine = TokenMachine(canary.grant(base_url=url), policy=Policy(), draw=lambda: 0.5)
        return self.source(Coordinator(machine, clock=self._inside.clock))

    @override
    def new_clock(self) -> Clock:
        return self._inside.clock

    @override
    async def pass_time(self, clock: Clock, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @override
    def run(self, work: Work[_T]) -> _T:
        results: list[_T] = []

        async def in_its_time() -> None:
            self._inside.clock.begin()
            try:
                await self._served(beside_the_server)
            finally:
                self._inside.clock.rest()

        async def beside_the_server() -> None:
            results.append(await work())

        self._run_loop(in_its_time)
        return results[0]

    async def _served(self, work: Work[None]) -> None:
        server = await self._listen(None if self._tls is None else self._tls.server)
        try:
            await work()
        finally:
            server.close()

    async def _listen(self, context: ssl.SSLContext | None) -> asyncio.AbstractServer:
        return await asyncio.start_server(self._inside.serve, self._host, PORT, ssl=context)

    @abstractmethod
    def _run_loop(self, main: Work[None]) -> None: ...


class Looptime(SimulatedKit):
    """looptime: asyncio's own loop, whose time passes when nothing is left to do, whatever is on its way in a socket.

    So there are no sockets here; those of asyncio's loop are in the rows of real loops.
    """

    @override
    def source(self, coordinator: Coordinator, **options: Any) -> Any:
        return super().source(coordinator, exchange=self._inside.exchange, **options)

    @override
    async def _served(self, work: Work[None]) -> None:
        await work()

    @override
    def _run_loop(self, main: Work[None]) -> None:
        import looptime

        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            runner.run(main())


class Simloop(SimulatedKit):
    """simloop: a network of packets between named hosts, in an order that a seed draws."""

    @override
    async def _listen(self, context: ssl.SSLContext | None) -> asyncio.AbstractServer:
        if self._host == "localhost":
            return await super()._listen(context)
        loop: Any = asyncio.get_running_loop()
        serving = asyncio.start_server(self._inside.serve, port=PORT, ssl=context)
        server: asyncio.AbstractServer = await loop.net.host(self._host).create_task(serving)
        return server

    @override
    def _run_loop(self, main: Work[None]) -> None:
        errors: list[Exception] = []

        async def noting_errors() -> None:
            try:
                await main()
            except Exception as error:  # noqa: BLE001 (it is raised below)
                errors.append(error)

        report = import_module("simloop").explore(noting_errors, [1])
        if errors:
            raise errors[0]
        assert report is None, report.render()


class Simloom(SimulatedKit):
    """simloom: every schedule and every delay comes from a tape; whatever leaves the simulation raises."""

    @override
    def _run_loop(self, main: Work[None]) -> None:
        async def in_a_world(world: Any) -> None:  # noqa: ANN401 (simloom's)
            world.net.dns.register(self._host, "127.0.0.1" if self._host == "localhost" else None)
            await main()

        import_module("simloom").run(in_a_world, seed=1)


UNIVERSES: dict[str, Callable[..., SimulatedKit]] = {
    "looptime": Looptime,
    **({"simloop": Simloop, "simloom": Simloom} if sys.version_info >= (3, 12) else {}),
}
"""The loops of simulated time that this Python has."""
