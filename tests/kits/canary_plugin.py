"""The pytest side of the canary: every test is watched, and fails if a mark of :mod:`tests.kits.canary` gets out.

The watch begins before a test's fixtures and ends after them. It looks at

- every log record of any logger, at any level, with its arguments, extras and exception;
- captured standard output and standard error, also what a test reads through ``capsys`` or ``capfd``;
- every exception that ``pytest.raises`` catches;
- every event: each is logged, with itself as the argument of the log record;
- the repr and str of evertoken's objects that are alive when the test's own code is over.

``tests/conftest.py`` puts these hooks and fixtures to work.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from types import TracebackType

import pytest
from typing_extensions import override

from tests.kits.canary import find_marks, leaks_of

__all__ = (
    "Canary",
    "canary",
    "capfd",
    "capsys",
    "pytest_collection_finish",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_protocol",
)

_CLEAN: set[str] = set()
"""The texts of events that gave nothing away. An event with such a text need not be searched in every way again."""

# How many objects of one type are looked at when a test is over: some, since not all of a type need be alike.
_SURVIVORS = 200


class Canary:
    """What one test has let out so far."""

    def __init__(self) -> None:
        self._leaks: list[str] = []
        self._sections = 0

    def check(self, thing: object) -> None:
        """Note every way in which ``thing`` gives a mark away. It fits as an ``on_event``."""
        self._leaks += leaks_of(thing)

    def check_text(self, place: str, text: str) -> None:
        """Note the marks in ``text``, which was found in ``place``."""
        self._leaks += [f"{mark} in {place}" for mark in find_marks(text)]

    def check_record(self, record: logging.LogRecord) -> None:
        """Note the marks in a log record: its message, its arguments and extras, its exception."""
        place = f"a log record of {record.name} at {record.levelname}"
        self.check_text(place, repr({**vars(record), "message": record.getMessage()}))
        for thing in (*_arguments(record), record.exc_info and record.exc_info[1]):
            if isinstance(thing, BaseException):
                self.check(thing)
            elif _is_ours(thing) and (shown := f"{type(thing)} {thing!r}") not in _CLEAN:
                leaks = leaks_of(thing)
                self._leaks += leaks
                _CLEAN.update([] if leaks else [shown])

    def check_sections(self, report: pytest.TestReport) -> None:
        """Note the marks in what pytest captured since the last report of this test."""
        new, self._sections = report.sections[self._sections :], len(report.sections)
        for name, text in new:
            if not name.startswith("Captured log"):  # the records themselves are looked at
                self.check_text(name, text)

    def check_survivors(self) -> None:
        """Note the marks in the repr and str of evertoken's own objects, as far as they are still alive."""
        seen: Counter[type] = Counter()
        for thing in [thing for thing in gc.get_objects() if _OURS[type(thing)]]:
            kind = type(thing)
            seen[kind] += 1
            if seen[kind] <= _SURVIVORS:
                self.check_text(f"the repr or str of a living {kind.__qualname__}", _shown(thing))
        _OURS.clear()  # The table would keep alive every class that a test has made, and all that hangs on it.

    def take(self) -> list[str]:
        """The leaks noted since the last call, each once."""
        leaks, self._leaks = self._leaks, []
        return list(dict.fromkeys(leaks))


class _Listener(logging.Handler):
    def __init__(self, canary: Canary) -> None:
        super().__init__(level=1)
        self._canary = canary
        self._last: logging.LogRecord | None = None

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record is not self._last:  # This handler hangs at two loggers, of which one hands records on to the other.
            self._last = record
            self._canary.check_record(record)


def _arguments(record: logging.LogRecord) -> Iterable[object]:
    return record.args.values() if isinstance(record.args, Mapping) else record.args or ()


class _Ours(dict[type, bool]):
    """Whether a type is evertoken's own, worked out once for each: this is asked of thousands of objects at a time."""

    def __missing__(self, kind: type) -> bool:
        self[kind] = ours = str(kind.__module__).startswith("evertoken")
        return ours


_OURS = _Ours()


def _is_ours(thing: object) -> bool:
    return _OURS[type(thing)]


def _shown(thing: object) -> str:
    try:
        return f"{thing!r} {thing}"
    except Exception:  # noqa: BLE001 - another thread may be building it at this moment; its own tests call repr
        return ""


_CANARY = pytest.StashKey[Canary]()


# ------------------------------------------------------------------------------------------------------ what is watched


@contextmanager
def _listening(canary: Canary) -> Generator[None]:
    listener = _Listener(canary)
    loggers = logging.getLogger(), logging.getLogger("evertoken")
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(1)
    # One handler is enough while `evertoken` propagates; the second is for the day when it does not.
    for logger in loggers:
        logger.addHandler(listener)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)


def _watch_expected_exceptions(canary: Canary, patch: pytest.MonkeyPatch) -> None:
    for kind in (pytest.RaisesExc, pytest.RaisesGroup):
        patch.setattr(kind, "__exit__", _checking_exit(canary, kind.__exit__))


def _checking_exit(canary: Canary, exit_: Callable[..., bool]) -> Callable[..., bool]:
    def checking_exit(
        self: object, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        suppressed = exit_(self, kind, error, trace)
        if suppressed and error is not None:
            canary.check(error)
        return suppressed

    return checking_exit


# ------------------------------------------------------------------------------------------------------------ the hooks


def pytest_configure() -> None:
    """Switch the garbage collector off while tests are collected: nothing is freed then, and much looked through."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Leave out of every search for survivors what exists before the first test, which can know no mark of a test."""
    _look_away()
    gc.enable()


def _look_away() -> None:
    """Put what exists now, and has been searched, out of the garbage collector's sight, so that searches are quick."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch a test from before its first fixture to after its last."""
    canary = item.stash[_CANARY] = Canary()
    with _listening(canary), pytest.MonkeyPatch.context() as patch:
        _watch_expected_exceptions(canary, patch)
        result = yield
    _look_away()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Look at the survivors while the test's fixtures are still alive."""
    yield
    item.stash[_CANARY].check_survivors()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn leaks into a failure of the phase in which they were noted."""
    report = yield
    canary = item.stash[_CANARY]
    canary.check_sections(report)
    leaks = "\n".join(["The canary got out:", *canary.take()])
    if "\n" not in leaks:
        return report
    if report.failed:
        report.sections.append(("canary", leaks))
    else:
        report.outcome = "failed"
        report.longrepr = leaks
    return report


# --------------------------------------------------------------------------------------------------------- the fixtures


@pytest.fixture(autouse=True)
def canary(request: pytest.FixtureRequest) -> Canary:
    """The watch over this test, for what only the test itself can see: ``on_event=canary.check``."""
    node: pytest.Item = request.node
    return node.stash[_CANARY]


@pytest.fixture
def capsys(
    capsys: pytest.CaptureFixture[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> pytest.CaptureFixture[str]:
    """The ``capsys`` of pytest, watched, since what a test reads from it does not reach the report."""
    return _watched(capsys, canary, monkeypatch)


@pytest.fixture
def capfd(
    capfd: pytest.CaptureFixture[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> pytest.CaptureFixture[str]:
    """The ``capfd`` of pytest, watched, since what a test reads from it does not reach the report."""
    return _watched(capfd, canary, monkeypatch)


def _watched(
    capture: pytest.CaptureFixture[str], canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> pytest.CaptureFixture[str]:
    read = capture.readouterr

    def readouterr() -> object:
        result = read()
        canary.check_text("captured standard output", result.out)
        canary.check_text("captured standard error", result.err)
        return result

    monkeypatch.setattr(capture, "readouterr", readouterr)
    return capture
