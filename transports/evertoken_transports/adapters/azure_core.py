"""Azure's SDKs, and others built on azure-core, with the tokens of a source. Needs azure-core, and h11."""

from __future__ import annotations

from typing import Any, Self

try:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions
    from azure.core.pipeline import PipelineRequest, PipelineResponse
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.azure_core needs azure-core 1.32 or later: pip install azure-core",
        name=error.name,
    ) from error

from evertoken import TokenUnavailable
from evertoken_transports.threads import TokenSource

__all__ = ("RepeatingPolicy", "SourceCredential")


class SourceCredential:
    """A ``TokenCredential`` and ``SupportsTokenInfo``: ``SomeClient(endpoint, credential=SourceCredential(source))``.

    It tells azure-core to ask for each token again at once, since azure-core would otherwise keep one that an API has
    rejected until it expires.

    Args:
        source: where the tokens come from. Their scope is the grant's; the scopes that a client names are not used.
        timeout: seconds that a call may wait, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        self.source, self._timeout = source, timeout

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401, ARG002 (azure-core's)
        """The token and its expiry, in whole seconds of Unix time."""
        token = self.source.token(self._timeout)
        return AccessToken(token.value, int(token.expires_at))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:  # noqa: ARG002
        """The same as :meth:`get_token`, with a ``refresh_on`` that is long past, so that azure-core asks each time."""
        token = self.source.token(self._timeout)
        return AccessTokenInfo(token.value, int(token.expires_at), refresh_on=1)

    def close(self) -> None:
        """Does nothing, since the source may serve others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RepeatingPolicy(BearerTokenCredentialPolicy[Any, Any]):
    """The policy of azure-core that signs calls, which here also repeats a call whose token was revoked.

    For ``authentication_policy=`` of a client that takes one. azure-core's own policy would show a credential no
    answer but a challenge for claims, so that a rejected token would stay in use.

    Args:
        credential: what signs.
        scopes: passed on to ``credential``.
    """

    def __init__(self, credential: SourceCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._source = credential.source

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Sign and send ``request``; do so once more if its token was rejected and another one can be had."""
        sent, response = request.http_request, super().send(request)
        resendable = isinstance(sent.body, str | bytes | None) and not sent.files
        if self._answered(sent, response.http_response, resendable=resendable):
            try:
                response = super().send(request)
            except TokenUnavailable:
                return response
            self._answered(sent, response.http_response, resendable=False)
        return response

    def _answered(self, sent: Any, answer: Any, *, resendable: bool) -> bool:  # noqa: ANN401 (old requests or new ones)
        body = answer.body() if answer.status_code in (400, 401) else b""
        authorization, status = sent.headers["Authorization"], answer.status_code
        return self._source.answered(authorization, sent.method, status, answer.headers, body, resendable=resendable)
