"""start_thread: a thread beside the caller, or a plain no."""

from __future__ import annotations

import _thread
import contextvars
import sys
import threading
from typing import Any

import pytest

from evertoken_transports._threads import may_start_threads, start_thread
from tests.kits.worlds import LIMIT

WHO = contextvars.ContextVar("WHO", default="nobody")


def test_the_work_is_done_beside_the_caller_in_a_named_daemon_thread_and_an_empty_context() -> None:
    seen: list[object] = []
    done = threading.Event()

    def work(what: str) -> None:
        thread = threading.current_thread()
        seen.extend((what, thread.name, thread.daemon, WHO.get()))
        done.set()

    token = WHO.set("somebody")
    assert start_thread("mine", work, "it")
    WHO.reset(token)
    assert done.wait(LIMIT)
    assert seen == ["it", "mine", True, "nobody"]


@pytest.mark.parametrize("method", ["__init__", "start"])
def test_where_making_or_starting_one_is_refused_the_answer_is_no(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:  # noqa: ANN401
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading.Thread, method, refuse)
    assert not start_thread("mine", print)


def test_none_is_started_while_the_interpreter_is_finalizing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(_: threading.Thread) -> None:
        raise AssertionError("Python 3.11 would never come back from here")

    monkeypatch.setattr(threading.Thread, "start", hang)
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    assert not start_thread("mine", print)


@pytest.mark.parametrize("allowed", [True, False])
def test_an_interpreter_that_allows_no_daemon_threads_is_known_beforehand(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_thread, "daemon_threads_allowed", lambda: allowed, raising=False)
    assert may_start_threads() == allowed
