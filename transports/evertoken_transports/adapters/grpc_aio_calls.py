"""Calls of ``grpc.aio`` with the tokens of a source of asyncio. Needs grpcio, and h11."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from typing_extensions import override

try:
    import grpc
    from grpc import aio
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.grpc_aio_calls needs grpcio: pip install grpcio", name=error.name
    ) from error

from evertoken import TokenUnavailable
from evertoken_transports.asyncio import TokenSource

__all__ = ("SigningInterceptor",)

_REJECTED = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
"""What the status UNAUTHENTICATED of gRPC means in HTTP, whose words ``source.answered`` reads."""


class SigningInterceptor(aio.UnaryUnaryClientInterceptor):
    """Signs each unary-unary call, and repeats it once, with another token, if it is answered UNAUTHENTICATED.

    ::

        async with grpc.aio.insecure_channel("localhost:50051", interceptors=[SigningInterceptor(source)]) as channel:
            await channel.unary_unary("/users.Users/Get")(b"user_m_1")

    For any channel, in the place of :class:`.grpc_calls.SourcePlugin`. The plugin signs streams too, but gRPC lets it
    sign nothing on a channel without TLS. On such a channel the token can be read on its way, so it is for a proxy on
    this machine, say.

    Args:
        source: where the tokens come from.
        timeout: seconds that a call may wait for a token, as of ``source.authorization``, whose errors the call raises.
            The ``timeout`` of the call itself begins after that.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        self._source, self._timeout = source, timeout

    @override
    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Awaitable[Any]], client_call_details: Any, request: Any
    ) -> Any:
        sent = await self._source.authorization(self._timeout)
        call = await continuation(_signed(client_call_details, sent), request)
        if await self._answered(sent, call, resendable=True):
            try:
                sent = await self._source.authorization(self._timeout)
            except TokenUnavailable:
                return call
            call = await continuation(_signed(client_call_details, sent), request)
            await self._answered(sent, call, resendable=False)
        return call

    async def _answered(self, sent: str, call: Any, *, resendable: bool) -> bool:  # noqa: ANN401
        code = await call.code()
        status = {grpc.StatusCode.OK: 200, grpc.StatusCode.UNAUTHENTICATED: 401}.get(code, 500)
        return self._source.answered(sent, "POST", status, _REJECTED, b"", resendable=resendable)


def _signed(details: Any, authorization: str) -> Any:  # noqa: ANN401
    others = [(name, value) for name, value in details.metadata or () if name != "authorization"]
    return details._replace(metadata=aio.Metadata(*others, ("authorization", authorization)))
