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

from evertoken import BasicAuthentication, Challenge, ClientCredentials, TokenEndpoint
from evertoken_transports.threads import TokenSource

__all__ = ("SourceAuthManager",)


class SourceAuthManager(LegacyOAuth2AuthManager):
    """An ``AuthManager`` with the settings of PyIceberg's own ``oauth2``, so that a catalog's file can name it instead.

    ::

        auth = {
            "type": "custom",
            "impl": "evertoken_transports.adapters.pyiceberg_catalog.SourceAuthManager",
            "custom": {"token_url": "https://...", "client_id": "...", "client_secret": "...", "scope": "catalog"},
        }
        RestCatalog("lake", uri="https://...", auth=auth)

    PyIceberg repeats a call that the catalog answers with 401 or 419. It asks its manager for another token before that
    only if the manager is a ``LegacyOAuth2AuthManager``, so this class is derived from that one.

    Args:
        source: where the tokens come from. If it is given, the other arguments are not used.
        token_url: the token endpoint's URL.
        client_id: the client id.
        client_secret: the client's secret, sent by HTTP Basic without the form encoding, as by PyIceberg.
        scope: the scope to ask for.

    Raises:
        ValueError: an argument is wrong; see :class:`evertoken.TokenEndpoint` and :class:`evertoken.ClientCredentials`.
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
        """The Authorization value for the next call of this thread. Raises what ``source.authorization`` raises."""
        self._sent.value = self._source.authorization()
        return str(self._sent.value)

    def _refresh_token(self) -> None:
        """PyIceberg calls this in the thread of a call that was refused, before it makes the call again."""
        sent = getattr(self._sent, "value", None)
        if sent is not None:
            self._source.token_rejected(sent, Challenge.UNKNOWN)
