"""Which loop runs, and threads for work that must not wait for a place in somebody's pool."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from types import SimpleNamespace

import pytest

from evertoken_transports._runtime import Limit, in_thread, runtime, within
from tests.kits.httpx_kits import run_in

LOOPS = ("asyncio", "uvloop", "trio")


@pytest.mark.parametrize("trio_of_old", [SimpleNamespace(lowlevel=SimpleNamespace()), SimpleNamespace(), None])
def test_a_trio_that_is_older_than_we_support_does_not_break_asyncio(
    trio_of_old: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trio", trio_of_old)

    async def which() -> str:
        return runtime()

    assert asyncio.run(which()) == "asyncio"


@pytest.mark.parametrize("loop", LOOPS)
def test_work_is_done_in_a_thread_of_its_own_in_the_context_of_its_caller(loop: str) -> None:
    mark: contextvars.ContextVar[str] = contextvars.ContextVar("mark")

    async def main() -> tuple[bool, str]:
        mark.set("the caller's")
        return await in_thread(lambda: (threading.current_thread() is threading.main_thread(), mark.get()))

    assert run_in(loop, main) == (False, "the caller's")


@pytest.mark.parametrize("loop", LOOPS)
def test_what_the_work_raises_is_raised(loop: str) -> None:
    async def main() -> None:
        await in_thread(lambda: int("one"))

    with pytest.raises(ValueError, match="invalid literal"):
        run_in(loop, main)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_where_no_thread_can_be_had_the_work_is_done_all_the_same(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> int:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        return await in_thread(lambda: 7)

    assert run_in(loop, main) == 7


@pytest.mark.parametrize("loop", LOOPS)
def test_a_wait_can_be_cut_short_from_inside_and_not_be_made_longer(loop: str) -> None:
    async def for_ever() -> None:
        if loop == "trio":
            import trio

            await trio.sleep_forever()
        await asyncio.Event().wait()

    async def shortened(limit: Limit, seconds: float) -> None:
        limit.shorten(seconds)
        await for_ever()

    async def main() -> None:
        for first, then in ((3600.0, 0.01), (0.01, 3600.0)):
            limit = Limit()
            with pytest.raises(TimeoutError):
                await within(first, shortened(limit, then), limit)

    run_in(loop, main)
