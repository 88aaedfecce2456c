"""What the path of a request stands for at the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from evertoken._secrecy import Unpicklable
from evertoken.testing.server._arrivals import API, TOKEN, Route

_API_VERSIONS = ("v2.01", "v3.0")
_NOBODYS = "countries"
"""What stands in place of the client id in the few paths that are the same for everyone."""


@dataclass(frozen=True, slots=True)
class Place(Unpicklable):
    """What one path stands for."""

    route: Route
    path: str = field(repr=False)
    """The path without its query, as it came: it may hold a secret."""
    shown: str
    """The path as the log may show it."""
    is_own: bool
    """Whether it is a path of the API, and names the account of this server or none at all."""


class Router:
    """The map of one account's server. Immutable."""

    __slots__ = ("_api_path", "_client_id", "_shown")

    def __init__(self, client_id: str, shown: Callable[[str], str]) -> None:
        self._client_id = client_id
        self._api_path = f"/v2.01/{quote(client_id, safe='')}/"
        self._shown = shown

    def place(self, target: str) -> Place:
        """What ``target``, a path that may have a query, stands for."""
        path = target.partition("?")[0]
        route = self._route(path)
        is_own = route is API and unquote(path.split("/")[2]) in (self._client_id, _NOBODYS)
        return Place(route, path, self._shown(path), is_own)

    def _route(self, path: str) -> Route:
        if path == "/v2.01/oauth/token":
            return TOKEN
        if path.startswith(self._api_path):
            return API
        parts = path.rstrip("/").split("/")
        if [part.lower() for part in parts] == ["", "v2.01", "oauth", "token"]:
            return TOKEN
        is_api = len(parts) >= 3 and parts[1].lower() in _API_VERSIONS and parts[2] != "oauth"
        return API if is_api else Route.OTHER
