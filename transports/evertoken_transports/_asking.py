"""Asking for a client's secret that a callable gives: beside every caller, in limited time, and without showing it.

The callable is the embedder's. It may block, hang, raise with the secret in its text, or return something else. So a
blocking one always runs in a thread of its own, also under an event loop, and never in a pool that callers may fill.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import NamedTuple

from evertoken import SecretSource
from evertoken._checks import fault_of_text
from evertoken._secrecy import Unpicklable
from evertoken_transports._blame import bug_in, place_of
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchanges.connecting import told_of
from evertoken_transports._progress import progress
from evertoken_transports._runtime import OwnThread, ends_the_task, in_thread, is_simulated, within

_MOST_HANGING = 3
"""While so many calls have not come back, no other is made: the callable hangs, and each call costs a thread."""

_STAGE = "while waiting for the client's secret"


class SecretUnavailable(Exception):
    """The client's secret cannot be had now. The text says why, for people; it holds nothing that was read.

    Callables of your own may raise it too. Of other exceptions people are shown no text: only the type, where a bug
    was raised, and the operating system's words of an OSError.
    """

    __module__ = "evertoken_transports.credentials"


@dataclass(frozen=True, slots=True)
class Secret(Unpicklable):
    """A text that a callable gave, and that can be a secret."""

    text: str = field(repr=False)


class NoSecret(NamedTuple):
    """Why there is no secret, for people. ``is_bug`` says that the fault is in code."""

    reason: str
    is_bug: bool = False


def is_async(source: SecretSource) -> bool:
    """Whether ``source`` is a coroutine function, which can only be awaited in an event loop."""
    return iscoroutinefunction(source) or iscoroutinefunction(getattr(source, "__call__", None))  # noqa: B004


def ask(coordinator: Coordinator) -> Secret | NoSecret:
    """What the grant's callable gives now, in a thread of its own, which has ``Policy.request_timeout`` seconds."""
    source, seconds = _of(coordinator)
    if source is None:
        return Secret(coordinator.machine.grant.client_secret)
    if is_async(source):
        return NoSecret("it is a coroutine function, and nobody awaits in a thread: give a plain function", is_bug=True)
    call = _call(coordinator, source)
    if isinstance(call, NoSecret):
        return call
    try:
        (value,) = OwnThread().submit(call).result(seconds)
    except TimeoutError:
        return _too_long(seconds)
    if iscoroutine(value):
        value.close()  # Else Python would warn that it was never awaited.
    return _checked(value)


async def ask_async(coordinator: Coordinator) -> Secret | NoSecret:
    """The same in an event loop, which is not held up. A coroutine function is awaited in the loop."""
    source, seconds = _of(coordinator)
    if source is None:
        return Secret(coordinator.machine.grant.client_secret)
    call = _call(coordinator, source)
    if isinstance(call, NoSecret):
        return call
    try:
        return _checked(await within(seconds, _awaited(source, call)))
    except TimeoutError:
        return _too_long(seconds)


def _of(coordinator: Coordinator) -> tuple[SecretSource | None, float]:
    """The grant's callable, or None if it has a text by now, and the seconds to wait for it. Notes that stage."""
    machine = coordinator.machine
    progress().stage = _STAGE
    return machine.grant.secret_source, machine.policy.request_timeout


def _call(coordinator: Coordinator, source: SecretSource) -> Callable[[], tuple[object]] | NoSecret:
    """A function that calls ``source``, and leaves a mark with the coordinator for as long as that has not come back.

    It returns what ``source`` raises as a :class:`NoSecret`. In a thread of its own that holds for a SystemExit too,
    since only the callable can be meant by it. If it were raised, the request would count as abandoned, and the
    callable would be asked again at once, until the budget is spent.
    """
    hanging, caller = coordinator.asking, threading.get_ident()
    if len(hanging) >= _MOST_HANGING:
        return NoSecret(f"{_MOST_HANGING} calls of it have not come back: give what it asks a time-out")

    def call() -> tuple[object]:  # In a tuple, since trio lets no thread return what can be awaited.
        mark = object()
        hanging.append(mark)
        try:
            return (source(),)
        except BaseException as error:  # The callable is the embedder's, and may raise anything.
            if not isinstance(error, Exception) and threading.get_ident() == caller:
                raise
            return (_said_of(error),)
        finally:
            hanging.remove(mark)

    return call


async def _awaited(source: SecretSource, call: Callable[[], tuple[object]]) -> object:
    try:
        # In a simulated loop a blocking callable is called here as well: time would jump over what a thread does.
        (value,) = call() if is_async(source) or is_simulated() else await in_thread(call)
        return await value if isawaitable(value) else value
    except BaseException as error:
        if ends_the_task(error):
            raise
        return _said_of(error)


def _checked(value: object) -> Secret | NoSecret:
    if isinstance(value, NoSecret):
        return value
    fault = fault_of_text("what it gave", value)
    if fault is not None or not isinstance(value, str):
        return NoSecret(f"{fault}", is_bug=not isinstance(value, str))
    return Secret(value)


def _said_of(error: BaseException) -> NoSecret:
    """What people are told of ``error``, which may quote the secret."""
    if isinstance(error, SecretUnavailable):
        return NoSecret(str(error))
    bug = bug_in(error)
    if bug is not None:
        return NoSecret(f"it raised {place_of(bug)}", is_bug=True)
    return NoSecret(f"it raised {told_of(error)}")


def _too_long(seconds: float) -> NoSecret:
    return NoSecret(f"it took longer than {seconds:g} s (Policy.request_timeout)")
