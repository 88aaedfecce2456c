"""What an exchange is: the one thing a transport has to do for the machine."""

from __future__ import annotations

from typing import Protocol

from evertoken import HttpResponse, TokenRequest

__all__ = ("AsyncExchange", "Exchange", "ExchangeFailed")


class ExchangeFailed(Exception):
    """There is no answer. The text says where it failed and why, for people; it holds nothing that was sent or read."""

    __module__ = "evertoken_transports.h11"


class Exchange(Protocol):
    """Sends one ``TokenRequest`` and returns the ``HttpResponse``, or raises; nothing more.

    It opens a connection for the request and closes it, sends headers and body as they are, follows no redirect, stops
    reading after ``Policy.max_body`` bytes and a few, and is over at ``request.deadline`` however slowly the other side
    drips. ``request.deadline`` is a point in time on the coordinator's clock. Whatever it raises is reported as "no
    answer"; the text of the exception is shown to people, with every secret taken out.
    """

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer."""
        ...


class AsyncExchange(Protocol):
    """The same, as a coroutine function."""

    async def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer."""
        ...
