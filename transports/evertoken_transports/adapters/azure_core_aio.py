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

    It says of each token that it should be asked for again, so that azure-core keeps none in hand that may be revoked.

    Args:
        source: where the tokens come from: the ``TokenSource`` of ``evertoken_transports.asyncio`` or of ``.trio``.
            Their scope is the grant's: those that a client names are not asked for.
        timeout: seconds that a call may wait, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: AsyncSource, timeout: float | None = None) -> None:
        self.source, self._timeout = source, timeout

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401, ARG002 (azure-core's)
        """The token and its expiry, in whole seconds of Unix time."""
        token = await self.source.token(self._timeout)
        return AccessToken(token.value, int(token.expires_at))

    async def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:  # noqa: ARG002
        """The same, and that it is to be asked for again: at any time after 1970."""
        token = await self.source.token(self._timeout)
        return AccessTokenInfo(token.value, int(token.expires_at), refresh_on=1)

    async def close(self) -> None:
        """Nothing: the source may serve others."""

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class RepeatingPolicy(AsyncBearerTokenCredentialPolicy[Any, Any]):
    """The policy of azure-core that signs, which also repeats a call whose token was revoked.

    For ``authentication_policy=`` of a client that takes one. Calls that wait for a token do so all at once; under
    azure-core's own policy they would one after the other, each for its whole ``timeout``.

    Args:
        credential: what signs.
        scopes: passed on to it.
    """

    def __init__(self, credential: SourceCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._signing = credential

    async def on_request(self, request: PipelineRequest[Any]) -> None:
        """Wait for a token here, and not under the policy's lock, and sign."""
        await self._signing.get_token()
        await super().on_request(request)

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Sign, send, and repeat once if the answer says so and there is another token."""
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
    if hasattr(answer, "load_body"):  # An old request, by aiohttp.
        await answer.load_body()
    return bytes(answer.body())
