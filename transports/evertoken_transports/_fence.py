"""The fence of a test: while a fake server is entered, no exchange of this library opens a socket.

A source that was made before the server was entered, at module level for example, knows nothing of the test. It has the
real endpoint, and perhaps the real key. So the exchanges themselves look here before they send, whoever made them.
"""

from __future__ import annotations

from evertoken_transports._exchange import ExchangeFailed

_raised: list[object] = []
"""The owners who have raised the fence and have not lowered it."""
_REASON = (
    "a fake server is entered (MangopayServer, or the fixture mangopay_server), and this would have asked the real "
    "token endpoint over the network. What asks was made before the server was entered, in a module for "
    "example: make sources, auth objects and clients anew within each test. Where a test means to go out, enter "
    "MangopayServer(fence=False)"
)


class Fenced(ExchangeFailed, RuntimeError):
    """A test has forbidden to go out, or the fake server that stands behind an exchange is not entered, or is over.

    Sources look whether a test has done so before they ask for a token, so that their callers get this error at once.
    """


class Outbound:
    """An exchange of this library that opens a socket."""

    def check_fence(self) -> None:
        """Raise :class:`Fenced`, which says what to do, while a test has forbidden to go out."""
        if _raised:
            raise Fenced(_REASON)


def raise_fence(owner: object) -> None:
    """From now on nothing goes out, until ``owner`` and all others who raised it have lowered it."""
    _raised.append(owner)


def lower_fence(owner: object) -> None:
    """Take back what ``owner`` has raised; harmless where that is nothing."""
    _raised[:] = [other for other in _raised if other is not owner]
