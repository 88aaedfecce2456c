"""gRPC calls with the tokens of a source. Needs grpcio, and h11."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typing_extensions import override

try:
    import grpc
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.grpc_calls needs grpcio: pip install grpcio", name=error.name
    ) from error

from evertoken import TokenUnavailable
from evertoken_transports import Token
from evertoken_transports.threads import TokenSource

__all__ = ("RepeatingInterceptor", "SourcePlugin")

_REJECTED = (("WWW-Authenticate", 'Bearer error="invalid_token"'),)
"""What the status UNAUTHENTICATED of gRPC means in HTTP, whose words ``source.answered`` reads."""


class SourcePlugin(grpc.AuthMetadataPlugin):
    """Signs each call, for a channel of threads or of ``grpc.aio``. It never blocks, as gRPC demands.

    ::

        signed = grpc.metadata_call_credentials(SourcePlugin(source))
        both = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), signed)
        channel = grpc.secure_channel("api.example.com:443", both)

    Args:
        source: where the tokens come from.
        timeout: seconds that a call may wait for a token, as of ``source.when_token``. A call that gets none fails, and
            its details hold the text of our error.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        self._source, self._timeout = source, timeout

    @override
    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        def signed(found: Token | TokenUnavailable) -> None:
            if isinstance(found, TokenUnavailable):
                callback((), found)
            else:
                callback((("authorization", found.authorization),), None)

        self._source.when_token(signed, self._timeout)


class RepeatingInterceptor(grpc.UnaryUnaryClientInterceptor):
    """Repeats a call that is answered UNAUTHENTICATED, once, with another token; for ``grpc.intercept_channel``.

    It waits for the answer to each call, so that the call behind a ``future()`` is over when the future is returned.

    Args:
        source: the source of the :class:`SourcePlugin` that signs the calls.
    """

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    @override
    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        sent = self._source.authorization_nowait()  # The plugin signs a moment later, with this value or a newer one.
        call = continuation(client_call_details, request)
        if not self._answered(sent, call, resendable=True):
            return call
        sent, call = self._source.authorization_nowait(), continuation(client_call_details, request)
        self._answered(sent, call, resendable=False)
        return call

    def _answered(self, sent: str | None, call: Any, *, resendable: bool) -> bool:  # noqa: ANN401
        code = call.code()
        status = {grpc.StatusCode.OK: 200, grpc.StatusCode.UNAUTHENTICATED: 401}.get(code, 500)
        return self._source.answered(sent, "POST", status, _REJECTED, b"", resendable=resendable)
