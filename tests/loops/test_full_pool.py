"""Every thread of a loop's own pool waits for the token: whoever fetches it must not need one of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
import trio

from tests.loops.columns import FACES, App, Face
from tests.loops.endpoint import LIMIT, Stage
from tests.loops.kits import ThreadKit, Work
from tests.loops.rows import KITS

POOL = 2


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_pool_full_of_callers_who_wait_does_not_hold_up_the_request_that_they_wait_for(loop: str, face: Face) -> None:
    kit = KITS[loop]()
    with Stage() as stage:
        # By name, so that there is something to resolve.
        place = replace(stage.place, url=stage.place.url.replace("127.0.0.1", "localhost"))
        app = App(kit, face, place, stage)
        source = ThreadKit().source(app.coordinator)
        has_begun, may_ask = threading.Semaphore(0), threading.Event()

        def caller_in_the_pool() -> str:
            has_begun.release()
            may_ask.wait(LIMIT)
            return str(source.authorization(LIMIT))

        async def fill_the_pool_and_ask(app: App) -> None:
            headers: list[str] = []

            async def in_the_pool() -> None:
                headers.append(await _in_pool(loop, caller_in_the_pool))

            async def in_the_loop() -> None:
                for _ in range(POOL):
                    await kit.until(partial(has_begun.acquire, blocking=False))
                # The others come when the request has been claimed here.
                headers.extend(await kit.all_of([app.header, _telling(app, may_ask)]))

            await kit.all_of([*[in_the_pool] * POOL, in_the_loop])
            assert len(set(headers) - {""}) == 1

        app.run(fill_the_pool_and_ask)
        assert stage.asked() == 1


def _telling(app: App, may_ask: threading.Event) -> Work[str]:
    async def tell() -> str:
        await app.kit.until(
            lambda: app.coordinator.machine.state_value.attempt is not None or app.header_now() is not None
        )
        may_ask.set()
        return ""

    return tell


async def _in_pool(loop: str, work: Callable[[], str]) -> str:
    """What ``work`` returns, done in the loop's own pool of threads, which is a small one."""
    if loop == "trio":
        trio.to_thread.current_default_thread_limiter().total_tokens = POOL
        return await trio.to_thread.run_sync(work)
    running = asyncio.get_running_loop()
    if getattr(running, "_default_executor", None) is None:
        running.set_default_executor(ThreadPoolExecutor(POOL))
    return await running.run_in_executor(None, work)
