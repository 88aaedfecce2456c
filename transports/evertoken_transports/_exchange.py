"""What an exchange is: the one thing a transport has to do for the machine."""

from __future__ import annotations

from collections.abc import Hashable
from inspect import isclass, iscoroutinefunction, unwrap
from typing import Protocol

from evertoken import HttpResponse, Problem, TokenRequest


class ExchangeFailed(Exception):
    """There is no answer. The text says where it failed and why, for people; it holds nothing that was sent or read.

    Exchanges of your own may raise it too, for words that people are to see; see
    :class:`~evertoken_transports.Exchange` for what they are shown of other exceptions.
    """

    __module__ = "evertoken_transports.h11"


class ExchangeBroken(ExchangeFailed):
    """There is no answer, because of a fault in code. The text names the exception's type and where it was raised."""

    __module__ = "evertoken_transports.h11"


class NotNow(ExchangeFailed):
    """Nothing was sent, and nothing is to be before ``until``, a point in time on the clock of the request's deadline.

    That is no failure: it costs nothing, and the request is tried again then. ``problem`` is what callers are told who
    cannot wait so long. An exchange with a shared store raises this while another process is asking.
    """

    __module__ = "evertoken_transports"

    def __init__(self, until: float, problem: Problem | None = None) -> None:
        super().__init__("nothing was sent: " + ("it is to be tried later" if problem is None else problem.summary))
        self.until = until
        self.problem = problem


class Exchange(Protocol):
    """Sends one ``TokenRequest`` and returns the ``HttpResponse``, or raises; nothing more.

    It opens a connection for the request and closes it, sends headers and body as they are, follows no redirect, stops
    reading once it has more than ``request.max_body`` bytes, and is over at ``request.deadline``, however slowly the
    other side drips. That is a point in time on the coordinator's clock; ``request.seconds_left`` makes seconds of it.

    Whatever it raises means that there is no answer. People are shown the text of an
    :class:`~evertoken_transports.h11.ExchangeFailed`, with every secret taken out; the operating system's words for an
    OSError; and of all others the type alone, since errors quote what the server sent. A TypeError, an AttributeError
    and the like is called a bug, with where it was raised, and logged at ERROR. :class:`NotNow` says that nothing was
    sent, and is no failure.
    """

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer."""
        ...


class AsyncExchange(Protocol):
    """An :class:`Exchange` that is a coroutine function, for event loops."""

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer."""
        ...


def check_exchange(name: str, exchange: object, *, is_async: bool, instead: str) -> None:
    """Raise TypeError, naming the argument ``name``, unless ``exchange`` is a callable of the right kind.

    ``instead`` says what to give. A plain function that returns an awaitable cannot be told from one that blocks, and
    is refused where a coroutine function is wanted.
    """
    if isclass(exchange):
        fault = f"{exchange.__name__} is a class: give an instance of it"
    elif not callable(exchange):
        fault = f"a {type(exchange).__name__} cannot be called: it is no exchange"
    elif _is_async(exchange) == is_async:
        return
    else:
        found = getattr(exchange, "__qualname__", type(exchange).__name__)
        why = "blocks, and would hold up the event loop" if is_async else "is asynchronous, and nobody awaits here"
        fault = f"{found} {why}"
    kind = "a coroutine function" if is_async else "a plain callable"
    raise TypeError(f"{name} must be {kind}; {instead}. Here {fault}.")


def check_no_settings(name: str, ssl_context: object, *, trust_env: bool) -> None:
    """Raise ValueError if settings of a default exchange come with one of the caller's own, called ``name``."""
    if ssl_context is not None or not trust_env:
        raise ValueError(f"{name} has settings of its own: give ssl_context and trust_env to it instead")


def stores_of(exchange: object) -> tuple[Hashable, ...]:
    """The shared stores into which ``exchange`` looks before it sends, the nearest first; mostly none."""
    stores: tuple[Hashable, ...] = getattr(exchange, "stores", ())
    return stores


def _is_async(exchange: object) -> bool:
    call = getattr(exchange, "__call__", None)  # noqa: B004 (what is called shows whether it is a coroutine function)
    return any(iscoroutinefunction(unwrap(each)) for each in (exchange, call) if callable(each))
