"""PyIceberg's REST catalog with the tokens of a source. Needs pyiceberg, and h11."""

from __future__ import annotations

import threading

try:
    from pyiceberg.catalog.rest.auth import LegacyOAuth2AuthManager
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.pyiceberg_catalog needs pyiceberg 0.10 or later: pip install 'pyiceberg<1'",
        name=error.name,
    ) from error

from evertoken import BasicAuthentication, ClientCredentials, TokenEndpoint
from evertoken_transports.threads import TokenSource

__all__ = ("SourceAuthManager",)


class SourceAuthManager(LegacyOAuth2AuthManager):
    """An ``AuthManager`` whose settings are those of PyIceberg's own ``oauth2``, so that a catalog's file may have it.

    ::

        auth = {
            "type": "custom",
            "impl": "evertoken_transports.adapters.pyiceberg_catalog.SourceAuthManager",
            "custom": {"token_url": "https://...", "client_id": "...", "client_secret": "...", "scope": "catalog"},
        }
        RestCatalog("lake", uri="https://...", auth=auth)

    A call that the catalog answers with 401 or 419 is repeated by PyIceberg, which tells no other kind of manager of it
    than the one that this is derived from.

    Args:
        source: where the tokens come from, in place of all that follows.
        token_url: the token endpoint.
        client_id: the client.
        client_secret: its secret, sent by HTTP Basic, unencoded, as PyIceberg does.
        scope: what to ask for.
    """

    def __init__(
        self,
        source: TokenSource | None = None,
        *,
        token_url: str = "",
        client_id: str = "",
        client_secret: str = "",
        scope: str | None = None,
    ) -> None:
        if source is None:
            endpoint = TokenEndpoint(token_url, BasicAuthentication("raw"))
            source = TokenSource(ClientCredentials(endpoint, client_id, client_secret, scope=scope))
        self._source = source
        self._sent = threading.local()

    def auth_header(self) -> str:
        """The value for the next call of this thread; raises what ``authorization`` of the source raises."""
        self._sent.value = self._source.authorization()
        return str(self._sent.value)

    def _refresh_token(self) -> None:
        """PyIceberg calls this in the thread of a call that was refused, before it makes the call again."""
        self._source.answered(getattr(self._sent, "value", None), "GET", 401, (), b"", resendable=True)
