"""Azure's SDKs for asyncio and trio, and others built on azure-core's ``AsyncPipeline``. Needs azure-core, and h11."""

from __future__ import annotations

from typing import Any

try:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline import PipelineRequest, PipelineResponse
    from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy
    from azure.core.rest import AsyncHttpResponse
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.azure_core_aio needs azure-core 1.32 or later: pip install azure-core",
        name=error.name,
    ) from error

from evertoken import TokenUnavailable
from evertoken_transports._async_source import AsyncSource

__all__ = ("RepeatingPolicy", "SourceCredential")


class SourceCredential(AsyncTokenCredential):
    """An ``AsyncTokenCredential`` and ``AsyncSupportsTokenInfo``: ``SomeClient(endpoint, SourceCredential(source))``.

    It tells azure-core to ask for each token again at once, since azure-core would otherwise keep one that an API has
    rejected until it expires.

    Args:
        source: where the tokens come from: the ``TokenSource`` of ``evertoken_transports.asyncio`` or of ``.trio``.
            Their scope is the grant's; the scopes that a client names are not used.
        timeout: seconds that a call may wait, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: AsyncSource, timeout: float | None = None) -> None:
        self.source, self._timeout = source, timeout

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401, ARG002 (azure-core's)
        """The token and its expiry, in whole seconds of Unix time."""
        token = await self.source.token(self._timeout)
        return AccessToken(token.value, int(token.expires_at))

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:  # noqa: ARG002
        """The same as :meth:`get_token`, with a ``refresh_on`` that is long past, so that azure-core asks each time."""
        token = await self.source.token(self._timeout)
        return AccessTokenInfo(token.value, int(token.expires_at), refresh_on=1)

    async def close(self) -> None:
        """Does nothing, since the source may serve others."""

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class RepeatingPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """The policy of azure-core that signs calls, which here also repeats a call whose token was revoked.

    For ``authentication_policy=`` of a client that takes one. Calls that need a token wait for it at the same time.
    Under azure-core's own policy they wait one after the other, each for its whole ``timeout``, as it holds a lock.

    Args:
        credential: what signs.
        scopes: passed on to ``credential``.
    """

    def __init__(self, credential: SourceCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._signing = credential

    async def on_request(self, request: PipelineRequest[Any]) -> None:
        """Sign ``request``, after waiting for a token here, where no lock of azure-core's is held yet."""
        await self._signing.get_token()
        await super().on_request(request)

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Sign and send ``request``; do so once more if its token was rejected and another one can be had."""
        sent, response = request.http_request, await super().send(request)
        is_whole = isinstance(sent.body, str | bytes | None) and not sent.files
        if await self._answered(sent, response.http_response, resendable=is_whole):
            try:
                response = await super().send(request)
            except TokenUnavailable:
                return response
            await self._answered(sent, response.http_response, resendable=False)
        return response

    async def _answered(self, sent: Any, answer: Any, *, resendable: bool) -> bool:  # noqa: ANN401 (old requests or new ones)
        status, body = answer.status_code, await _body_of(answer) if answer.status_code in (400, 401) else b""
        return self._signing.source.answered(
            sent.headers["Authorization"], sent.method, status, answer.headers, body, resendable=resendable
        )


async def _body_of(answer: Any) -> bytes:  # noqa: ANN401
    if isinstance(answer, AsyncHttpResponse):
        return await answer.read()
    if hasattr(answer, "load_body"):  # The answer to a request of azure-core's older kind, sent by aiohttp.
        await answer.load_body()
    return bytes(answer.body())
