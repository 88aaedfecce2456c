"""What the adapters for HTTP libraries have in common: which API calls are signed, and by what."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from evertoken import ClientCredentials
from evertoken._checks import ascii_host, check_type, fault_of_url
from evertoken._secrecy import Unpicklable
from evertoken_transports._events import RequestNotSigned, log, tell
from evertoken_transports._source import BaseSource, checked_timeout

TELLING = (400, 401)
"""The statuses whose bodies say something about locks and tokens. Of others the header lines suffice."""

MOST_PEEKED = 65_536
"""Bytes of such a body, before and after decompression, that are looked at. Error bodies are far shorter."""

PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})
_MOST_TOLD = 1_000
"""Origins that one auth object warns of."""


class Origin(NamedTuple):
    """Scheme, host in ASCII, and port (RFC 9110 section 4.3.1); None where neither URL nor scheme names a port."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port in (None, PORTS.get(self.scheme)) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def origin_of(url: str) -> Origin:
    """The origin of ``url``; an empty one, to which no token is sent, if its host or port cannot be read."""
    try:
        parts = urlsplit(url)
        port = PORTS.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:
        return Origin("", "", None)
    return Origin(parts.scheme, ascii_host(parts.hostname or "") or "", port)


class Origins:
    """The origins to which tokens may be sent, and a memory of the others to which calls went without one."""

    def __init__(self, bases: Iterable[str]) -> None:
        self._allowed = frozenset(map(origin_of, bases))
        self._told: dict[Origin, object] = {}

    def __contains__(self, origin: Origin) -> bool:
        return origin in self._allowed

    def allow(self, origin: Origin, source: BaseSource) -> bool:
        """Whether a request to ``origin`` is to be signed. If not, an event says so: the first time as a WARNING."""
        if origin in self._allowed:
            return True
        event = RequestNotSigned(str(origin), source.coordinator.machine.grant.api_base)
        log(event, logging.WARNING if self._is_new(origin) else logging.DEBUG)
        if source.on_event is not None:
            tell(source.on_event, event)
        return False

    def _is_new(self, origin: Origin) -> bool:
        """Whether ``origin`` is told of for the first time. Beyond the first thousand, no other one counts as new."""
        if origin in self._told or len(self._told) >= _MOST_TOLD:
            return False
        mine = object()
        return self._told.setdefault(origin, mine) is mine


def origins_of(grant: ClientCredentials, origins: Iterable[str]) -> Origins | str:
    """The origin of the ``api_base`` of ``grant``, and ``origins``; or a text that says what is wrong with these.

    The text is returned and not raised, since a wrong origin may hold a password, and error trackers show the local
    variables of each frame that an exception passes.

    Raises:
        TypeError: ``grant`` is no ClientCredentials, or ``origins`` is no collection.
    """
    check_type("grant", grant, ClientCredentials)
    if not isinstance(origins, Iterable):
        raise TypeError(f"origins must be a tuple of texts, not {type(origins).__name__}")
    if isinstance(origins, str):
        return 'origins must be a tuple, as in origins=("https://files.example.com",), not one text'
    bases = [] if grant.api_base is None else [grant.api_base]
    for origin in origins:
        if (fault := fault_of_url("origins", origin)) is not None:
            return fault
        parts = urlsplit(origin)
        if parts.path not in ("", "/") or parts.query:
            return "origins: an origin is scheme, host and port, without a path or query"
        bases.append(origin)
    if not bases:
        return "origins must name at least one: the grant has no api_base, so no call would ever be signed"
    return Origins(bases)


_Options = TypeVar("_Options")
_Source = TypeVar("_Source", bound=BaseSource)


def concealed(options: _Options) -> Callable[[], _Options]:
    """A function that returns ``options``: for a local variable, which error trackers show, in place of the options."""
    return lambda: options


class Signing(Unpicklable, Generic[_Source]):
    """What signs the calls of one HTTP library by one source, and says so in its repr."""

    def __init__(
        self,
        grant: ClientCredentials,
        origins: Origins | str,
        source: Callable[[], _Source],
        timeout: float | None,
        *,
        replay: bool,
    ) -> None:
        self._timeout = None if timeout is None else checked_timeout(timeout)
        check_type("replay", replay, bool)
        if isinstance(origins, str):
            raise ValueError(origins)
        self._origins, self._replay = origins, replay
        self._api_base = grant.api_base or ""
        self._source = source()

    def __repr__(self) -> str:
        name = f"{type(self).__module__}.{type(self).__name__}"
        source = getattr(self, "_source", None)  # Not there yet if a wrong argument stopped the making.
        return f"<{name}>" if source is None else f"<{name} by {source!r}>"

    @property
    def source(self) -> _Source:
        """Where the tokens come from: for use beside the client, for rotation, and to see what is going on."""
        return self._source

    @property
    def api_base(self) -> str:
        """The grant's base URL for API calls; empty if the grant has none."""
        return self._api_base
