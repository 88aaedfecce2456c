"""docs/simulation.md: every example works as written, in the order of the page, and the fences stand."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn, cast

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from evertoken_transports import Coordinator
from evertoken_transports.testing import VirtualEventLoop
from tests.kits.source_tree import ROOT

PAGE = ROOT / "docs" / "simulation.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = list(re.finditer(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
NEEDS = 17
TRAPS = 2

CALLS: list[tuple[object, str]] = [
    (threading.Thread, "start"),
    (asyncio.BaseEventLoop, "run_in_executor"),
    (asyncio.BaseEventLoop, "getaddrinfo"),
    (socket.socket, "connect"),
    (random, "random"),
    (os, "urandom"),
    *((time, clock) for clock in ("time", "monotonic", "clock_gettime", "sleep")),
]


@functools.cache
def names_after_every_example() -> dict[str, object]:
    """Run the page. The line numbers of an error are those of the page."""
    names: dict[str, object] = {"__name__": "page"}
    for example in EXAMPLES:
        line = TEXT.count("\n", 0, example.start()) + 1
        exec(compile("\n" * line + example[1], str(PAGE), "exec"), names)
    return names


@pytest.fixture
def quiet() -> Iterator[None]:
    """The logging library stamps its records by a clock of its own."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_every_example_works_as_written() -> None:
    names_after_every_example()
    assert TEXT.count("\n**") == NEEDS + TRAPS


def test_the_state_machine_of_the_page_finds_nothing() -> None:
    life = cast("type[RuleBasedStateMachine]", names_after_every_example()["MySdk"])
    run_state_machine_as_test(life, settings=settings(max_examples=5, stateful_step_count=15))


@pytest.mark.usefixtures("quiet")
def test_the_asyncio_source_starts_no_thread_opens_no_socket_and_reads_no_clock_but_the_loops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    callers = names_after_every_example()["a_hundred_callers"]
    simulated = cast("Callable[[], Coroutine[Any, Any, list[str]]]", callers)

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("something reaches out of the simulation")

    with asyncio.Runner(loop_factory=VirtualEventLoop) as runner:
        runner.get_loop()
        for owner, name in CALLS:
            monkeypatch.setattr(owner, name, refuse)
        # The default clock was bound to the operating system's when its module was imported.
        monkeypatch.setitem(Coordinator.__init__.__kwdefaults__ or {}, "clock", refuse)
        headers = runner.run(simulated())
        monkeypatch.undo()
    assert len(headers) == 100
    assert len(set(headers)) == 1
