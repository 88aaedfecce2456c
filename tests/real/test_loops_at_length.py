"""Seconds of calls on asyncio's own loop and on uvloop: as many served there as here, and as many token requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import uvloop

from tests.loops.columns import App
from tests.loops.endpoint import Stage, TlsFiles
from tests.loops.kits import AsyncioKit

CALLERS = 20
CALLS = 80
"""Of each caller."""
PAUSE = 0.1
"""Seconds between two calls of one caller: 8 s in all."""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("loop", LOOPS)
def test_eight_seconds_of_calls_are_all_served_with_one_token_request(loop: str, tls: bool, tmp_path: Path) -> None:
    served: list[str] = []

    async def caller(app: App) -> None:
        for _ in range(CALLS):
            served.append(await app.header())
            await asyncio.sleep(PAUSE)

    async def callers(app: App) -> None:
        await app.kit.all_of([partial(caller, app)] * CALLERS)

    with Stage(TlsFiles(tmp_path) if tls else None) as stage:
        App(AsyncioKit(LOOPS[loop]), "source", stage.place, stage).run(callers)
        assert len(served) == CALLERS * CALLS
        assert len(set(served)) == 1
        assert stage.asked() == 1
