"""Short jobs with an event loop each, over real sockets: the refresh that one job starts is there for the next."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import httpx
import httpx2
import pytest
import trio

from evertoken import Policy, TokenMachine
from evertoken_transports import Coordinator
from tests.kits import canary
from tests.kits.worlds import LIMIT, Clock, until
from tests.real.test_httpx_exchange import Server

Job = Callable[[], Awaitable[None]]


class Refresher:
    """A token endpoint whose second answer waits until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = threading.Event(), threading.Event()
        self.requests = 0
        self._server = Server(self._issue)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _issue(self, line: socket.socket) -> None:
        self._server.read_request(line)
        self.requests += 1
        if self.requests == 2:
            self.asked.set()
            assert self.let_go.wait(LIMIT)
        body = f'{{"access_token":"{canary.token(self.requests)}","token_type":"Bearer","expires_in":1200}}'
        line.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        line.recv(1)

    def close(self) -> None:
        self.let_go.set()
        self._server.close()


def run(loop: str, job: Job) -> None:
    async def main() -> None:
        await job()

    if loop == "trio":
        trio.run(main)
    else:
        asyncio.run(main())


def asks_of(face: str, loop: str, coordinator: Coordinator) -> Callable[[], Awaitable[str]]:
    """What asks once for the header, as a source or an auth object does."""
    grant = coordinator.machine.grant
    if face == "source":
        source: Any = import_module(f"evertoken_transports.{loop}").TokenSource(grant, coordinator=coordinator)
        ask: Callable[[], Awaitable[str]] = source.authorization
        return ask
    library: Any = {"httpx": httpx, "httpx2": httpx2}[face]
    auth = import_module(f"evertoken_transports.{face}").BearerAuth(grant, coordinator=coordinator)

    async def call() -> str:
        def answer(request: Any) -> Any:  # noqa: ANN401
            return library.Response(200, text=request.headers["Authorization"])

        async with library.AsyncClient(transport=library.MockTransport(answer), auth=auth) as client:
            return str((await client.get(f"{auth.api_base}users")).text)

    return call


@pytest.mark.parametrize("face", ["source", "httpx", "httpx2"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_refresh_that_a_job_starts_is_answered_after_its_loop_has_ended(loop: str, face: str) -> None:
    server, clock = Refresher(), Clock()
    machine = TokenMachine(canary.grant(base_url=server.url), policy=Policy(), draw=lambda: 0.5)
    coordinator = Coordinator(machine, clock=clock)
    ask = asks_of(face, loop, coordinator)
    used: list[str] = []

    async def job() -> None:
        used.append(await ask())

    run(loop, job)
    clock.now += 1_170
    run(loop, job)
    assert server.asked.wait(LIMIT)
    server.let_go.set()
    until(lambda: machine.authorization(clock()) == f"Bearer {canary.token(2)}")
    run(loop, job)
    assert used == [f"Bearer {canary.token(number)}" for number in (1, 1, 2)]
    assert server.requests == 2
    server.close()
