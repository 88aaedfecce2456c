"""Google's client libraries, and others on google-auth, with the tokens of a source. Needs google-auth, and h11."""

from __future__ import annotations

import threading
from collections.abc import MutableMapping
from datetime import UTC, datetime

try:
    from google.auth import credentials
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.google_auth needs google-auth: pip install google-auth", name=error.name
    ) from error

from evertoken import Challenge
from evertoken_transports.threads import TokenSource

__all__ = ("SourceCredentials",)


class SourceCredentials(credentials.Credentials):
    """Credentials of google-auth: ``AuthorizedSession(SourceCredentials(source))``.

    Each call gets the token of that moment from the source. google-auth repeats a call that was answered with 401, but
    does not show the answer, so that it counts as one that says nothing about the token.

    Args:
        source: where the tokens come from.
        timeout: seconds that a call may wait, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        super().__init__()
        self._source, self._timeout = source, timeout
        self._sent = threading.local()

    def before_request(self, request: object, method: str, url: str, headers: MutableMapping[str, str]) -> None:  # noqa: ARG002
        """Sign one call, in the thread that makes it."""
        self._sent.value = self._take()
        self.apply(headers, self._sent.value.removeprefix("Bearer "))

    def refresh(self, request: object) -> None:  # noqa: ARG002
        """Called by google-auth in the thread of a call that was answered with 401, and by others for a first token.

        In the first case the source is told that the token of that call was rejected. Raises what ``source.token``
        raises.
        """
        sent, self._sent.value = getattr(self._sent, "value", None), None
        if sent is not None:
            self._source.token_rejected(sent, Challenge.UNKNOWN)
        self._take()

    def _take(self) -> str:
        token = self._source.token(self._timeout)
        self.token, self.expiry = token.value, datetime.fromtimestamp(token.expires_at, UTC).replace(tzinfo=None)
        return token.authorization
