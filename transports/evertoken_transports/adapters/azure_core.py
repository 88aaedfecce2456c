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

    It says of each token that it should be asked for again, so that azure-core keeps none in hand that may be revoked.

    Args:
        source: where the tokens come from. Their scope is the grant's: those that a client names are not asked for.
        timeout: seconds that a call may wait, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        self.source, self._timeout = source, timeout

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401, ARG002 (azure-core's)
        """The token and its expiry, in whole seconds of Unix time."""
        token = self.source.token(self._timeout)
        return AccessToken(token.value, int(token.expires_at))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:  # noqa: ARG002
        """The same, and that it is to be asked for again: at any time after 1970."""
        token = self.source.token(self._timeout)
        return AccessTokenInfo(token.value, int(token.expires_at), refresh_on=1)

    def close(self) -> None:
        """Nothing: the source may serve others."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RepeatingPolicy(BearerTokenCredentialPolicy[Any, Any]):
    """The policy of azure-core that signs, which also repeats a call whose token was revoked.

    For ``authentication_policy=`` of a client that takes one, in place of azure-core's own, which shows a credential no
    answer but a challenge for claims.

    Args:
        credential: what signs.
        scopes: passed on to it.
    """

    def __init__(self, credential: SourceCredential, *scopes: str) -> None:
        super().__init__(credential, *scopes)
        self._source = credential.source

    def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Sign, send, and repeat once if the answer says so and there is another token."""
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
