"""What holds under every loop: the columns of the table, each one text for all rows.

A cell judges by what the server logged and by what the callers got. That nobody waits is seen by what could not have
happened otherwise: the endpoint answers only after the calls are through.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from evertoken import Policy, TokenMachine, mangopay
from evertoken_transports import Coordinator
from evertoken_transports.httpx import BearerAuth
from tests.kits import canary
from tests.loops.endpoint import LIFETIME, LIMIT, Judge, Place
from tests.loops.kits import Calls, Kit

__all__ = ("COLUMNS", "FACES", "App", "Face", "app_for", "carry_out", "needs_tls")

Face = Literal["source", "httpx"]
FACES: tuple[Face, ...] = ("source", "httpx")
"""What an application holds: a token source, or a client of httpx with a ``BearerAuth``."""

REFRESH_IS_DUE = LIFETIME - 20.0
"""Seconds into the life of a token: it is still handed out, and the next one is due."""


class App:
    """An application in one cell."""

    def __init__(self, kit: Kit, face: Face, place: Place, judge: Judge, *, keep_warm: bool = False) -> None:
        self.kit = kit
        self.judge = judge
        self.clock = kit.new_clock()
        grant = mangopay.sandbox("canary", canary.secret(), base_url=place.url)
        self.coordinator = Coordinator(TokenMachine(grant, policy=Policy(), draw=lambda: 0.5), clock=self.clock)
        self._place = place
        self._face: Face = face
        self._keep_warm = keep_warm
        self._source = self._new_source() if face == "source" else None
        self._calls: Calls | None = None

    def run(self, work: Callable[[App], Coroutine[Any, Any, None]]) -> None:
        """Do ``work`` in a run of the loop."""

        async def with_client() -> None:
            if self._face == "source" or not self.kit.shares_client:
                return await work(self)
            async with self._new_calls(LIMIT) as self._calls:
                return await work(self)

        self.kit.run(with_client)

    def run_again(self, work: Callable[[App], Coroutine[Any, Any, None]]) -> None:
        """The same once more: with the same source in another run, or where there are no runs, with another source."""
        if not self.kit.has_runs:
            self._source = self._new_source()
        self.run(work)

    async def header(self) -> str:
        """What one caller's call of the API carries."""
        if self._face == "source":
            return await self.kit.authorization(self._source, LIMIT)
        if self._calls is not None:
            return await self._calls()
        async with self._new_calls(LIMIT) as call:
            return await call()

    async def impatient_header(self) -> str:
        """The same for the caller who will be lost."""
        if self._face == "source":
            return await self.kit.authorization(self._source, self.kit.patience)
        async with self._new_calls(self.kit.patience) as call:
            return await call()

    async def headers(self, count: int) -> set[str]:
        """What ``count`` callers get who come at the same time. Each of them must get something."""
        return set(await self.kit.all_of([self.header] * count))

    def header_now(self) -> str | None:
        """What is there without waiting; nothing is started by this."""
        now = self.clock()
        return self.coordinator.machine.authorization(now)

    async def let_refresh_fall_due(self) -> None:
        """Let time pass, and everyone look at the clock."""
        await self.kit.pass_time(self.clock, REFRESH_IS_DUE)
        self.coordinator._wake_all()

    def _new_source(self) -> Any:  # noqa: ANN401 (of either kind)
        options: dict[str, Any] = {} if self._place.cafile is None else {"ssl_context": self._place.ssl_context()}
        return self.kit.source(self.coordinator, keep_warm=self._keep_warm, **options)

    def _new_calls(self, patience: float) -> Calls:
        context = self._place.ssl_context()
        grant = self.coordinator.machine.grant
        auth = BearerAuth(grant, coordinator=self.coordinator, timeout=patience, ssl_context=context, trust_env=False)
        return self.kit.calls(auth, base_url=auth.api_base, verify=context, timeout=LIMIT, trust_env=False)


def check(holds: object, law: str) -> None:
    """Raise AssertionError with ``law`` unless it holds: an ``assert`` says nothing under ``python -O``."""
    if not holds:
        raise AssertionError(law)


async def fifty_callers_cold(app: App) -> None:
    """Fifty callers and no token: one request, all served."""
    headers = await app.headers(50)
    check(len(headers) == 1, "fifty callers were served with one token")
    check(app.judge.asked() == 1, f"fifty callers cost one request, not {app.judge.asked()}")


async def nobody_waits_at_expiry(app: App) -> None:
    """The next token is due and the endpoint silent: all calls go through with the old one, and then with the new."""
    (old,) = await app.headers(1)
    app.judge.hold()
    await app.let_refresh_fall_due()
    got: list[str] = []

    async def call() -> None:
        got.append(await app.header())

    async def release() -> None:
        await app.kit.until(lambda: len(got) >= 10 - app.kit.carriers and app.judge.asked() == 2)
        got.extend(await app.kit.all_of([app.header] * 5))
        check(set(got) == {old}, "callers are served with the old token while the next one is asked for")
        app.judge.release()

    await app.kit.all_of([*[call] * 10, release])
    await app.kit.until(lambda: app.header_now() != old)
    check(await app.headers(5) == {app.header_now()}, "callers are served with the new token")
    check(app.judge.asked() == 2, f"a refresh is one request, not {app.judge.asked() - 1}")


async def a_cancelled_leader_is_not_missed(app: App) -> None:
    """Whoever caused the request is cancelled while it is under way: those who came after are served all the same."""
    app.judge.hold()
    await app.kit.lose(app.impatient_header, lambda: app.judge.asked() == 1)

    async def release() -> str:
        await app.kit.until(lambda: len(app.coordinator._wakers) >= 10)
        app.judge.release()
        return await app.header()

    headers = await app.kit.all_of([app.header] * 10 + [release])
    check(len(set(headers)) == 1, "those who came after were served with one token")
    check(app.judge.asked() <= app.kit.most_after_loss, f"{app.judge.asked()} requests are too many")


async def tls_with_a_private_ca_and_a_client_certificate(app: App) -> None:
    """The server's certificate is from a private CA, and it demands one of ours: one request, all served."""
    headers = await app.headers(5)
    check(len(headers) == 1, "five callers were served with one token")
    check(app.judge.asked() == 1, f"five callers cost one request, not {app.judge.asked()}")


async def warm_at_first(app: App) -> None:
    """A run in which somebody asks."""
    await app.headers(1)


async def warm_in_a_second_run(app: App) -> None:
    """Another, in which the token is fresh at the first call, and nobody asks after it: it is renewed all the same."""
    old = app.header_now()
    check(await app.headers(1) == {old}, "the token of the first run serves the second")
    await app.let_refresh_fall_due()
    await app.kit.until(lambda: app.header_now() not in {None, old})
    check(app.judge.asked() == 2, f"a refresh is one request, not {app.judge.asked() - 1}")


Column = Callable[[App], Coroutine[Any, Any, None]]
COLUMNS: dict[str, tuple[Column, ...]] = {
    "cold": (fifty_callers_cold,),
    "expiry": (nobody_waits_at_expiry,),
    "leader": (a_cancelled_leader_is_not_missed,),
    "tls": (tls_with_a_private_ca_and_a_client_certificate,),
    "warm": (warm_at_first, warm_in_a_second_run),
}


def app_for(column: str, kit: Kit, face: Face, place: Place, judge: Judge) -> App:
    """The application for a cell of ``column``."""
    return App(kit, face, place, judge, keep_warm=column == "warm")


def needs_tls(column: str) -> bool:
    """Whether ``column`` is about TLS."""
    return column == "tls"


def carry_out(column: str, app: App) -> None:
    """One cell. Raises AssertionError where something does not hold."""
    first, *more = COLUMNS[column]
    app.run(first)
    for work in more:
        app.run_again(work)
