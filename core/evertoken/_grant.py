"""What is asked of whom: the token endpoint, the client's credentials, and how the client proves who it is.

Everything here is an immutable value. Wrong values are refused on construction, with an error that names the argument
and never shows a secret, because the alternative is a request that the server refuses, and refusals lock accounts.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, NoReturn, Protocol, SupportsIndex
from urllib.parse import quote, urlencode, urlsplit

__all__ = (
    "AuthenticationParts",
    "BasicAuthentication",
    "ClientAuthentication",
    "ClientCredentials",
    "PostAuthentication",
    "Profile",
    "TokenEndpoint",
)

Pairs = tuple[tuple[str, str], ...]

_RESERVED = frozenset(
    {"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"}
    | {"scope", "audience", "resource"}
)


class AuthenticationParts(NamedTuple):
    """What a client authentication adds to one token request: header lines and form fields."""

    headers: Pairs = ()
    form: Pairs = ()

    def __repr__(self) -> str:
        names = [name for name, _ in (*self.headers, *self.form)]
        return f"AuthenticationParts({', '.join(names)})"


class ClientAuthentication(Protocol):
    """The plug: anything that can authenticate the client in one token request (RFC 6749 section 2.3).

    It is called anew for each request, so that an assertion is never sent twice. It should be hashable and compare by
    value, or two sources made with two instances of it will not share a token.
    """

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """The header lines and form fields that prove to ``grant.endpoint`` who ``grant.client_id`` is."""
        ...


@dataclass(frozen=True, slots=True)
class BasicAuthentication:
    """HTTP Basic (RFC 6749 section 2.3.1).

    ``encoding`` is ``"rfc6749"`` (both parts percent-encoded first, a space as ``%20``, which every server that decodes
    accepts) or ``"raw"`` (UTF-8 as it stands, which Mangopay documents and many other servers expect).
    """

    encoding: Literal["rfc6749", "raw"] = "rfc6749"

    def __post_init__(self) -> None:
        if self.encoding not in ("rfc6749", "raw"):
            raise ValueError('BasicAuthentication.encoding must be "rfc6749" or "raw"')

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """One ``Authorization: Basic`` line."""
        _need_secret(grant)
        if self.encoding == "raw":
            if ":" in grant.client_id:
                raise ValueError('client_id must not contain a colon under Basic "raw" (RFC 7617 section 2)')
            pair = f"{grant.client_id}:{grant.client_secret}"
        else:
            pair = f"{quote(grant.client_id, safe='')}:{quote(grant.client_secret, safe='')}"
        code = base64.b64encode(pair.encode()).decode()
        return AuthenticationParts(headers=(("Authorization", f"Basic {code}"),))


@dataclass(frozen=True, slots=True)
class PostAuthentication:
    """``client_id`` and ``client_secret`` in the form body (RFC 6749 section 2.3.1, for servers without Basic)."""

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """Two form fields."""
        _need_secret(grant)
        return AuthenticationParts(form=(("client_id", grant.client_id), ("client_secret", grant.client_secret)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is peculiar to one vendor: which refusals mean a lock-out, and what to tell the person who reads an error."""

    name: str = "OAuth 2.0"
    locked_codes: tuple[str, ...] = ()
    """Error codes that mean "locked out" here, although RFC 6749 section 5.2 reads them as a refusal."""
    locked_advice: str = "Wait; find out what sent bad or too many token requests; ask the provider how long it lasts."
    refused_advice: str = "Check client id, secret and token endpoint, then set new credentials."
    forbidden_advice: str = "A 403 is about permission, not about the token: is this host on the provider's allowlist?"


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens are asked for (RFC 6749 section 3.2), and in what manner.

    Raises:
        ValueError: ``url`` is not https (http is allowed to this machine only), has user info, a fragment, white space,
            or no host.
    """

    url: str
    authentication: ClientAuthentication = BasicAuthentication()  # noqa: RUF009 (frozen: sharing it is safe)
    profile: Profile = Profile()  # noqa: RUF009

    def __post_init__(self) -> None:
        check_url("TokenEndpoint.url", self.url)


@dataclass(frozen=True, slots=True, init=False)
class ClientCredentials:
    """The client credentials grant (RFC 6749 section 4.4): one client at one token endpoint.

    Args:
        endpoint: where to ask.
        client_id: who asks.
        client_secret: the proof; Mangopay calls it the API key. Hidden in the repr. May be empty where the client
            authenticates by other means.
        scope: space-separated, sent with every request (section 3.3).
        audience: sent with every request, for providers that want one.
        resource: one or several URIs, sent with every request (RFC 8707).
        parameters: further form fields, sent with every request.
        api_base: where the tokens are to be used: the base URL for API calls.

    Immutable; compares and hashes by value. It refuses to be pickled, since a pickle would hold the secret in clear.

    Raises:
        ValueError: an argument is empty, has white space around it, control characters, or is reserved.
    """

    endpoint: TokenEndpoint
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None
    audience: str | None
    resource: tuple[str, ...]
    parameters: Pairs = field(repr=False)
    api_base: str | None

    def __init__(
        self,
        endpoint: TokenEndpoint,
        client_id: str,
        client_secret: str = "",
        *,
        scope: str | None = None,
        audience: str | None = None,
        resource: str | Iterable[str] = (),
        parameters: Iterable[tuple[str, str]] = (),
        api_base: str | None = None,
    ) -> None:
        values = {
            "endpoint": endpoint,
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
            "audience": audience,
            "resource": (resource,) if isinstance(resource, str) else tuple(resource),
            "parameters": tuple((name, value) for name, value in parameters),
            "api_base": api_base,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _check_grant(self)

    def with_secret(self, client_secret: str) -> ClientCredentials:
        """The same grant with another secret, for ``replace_credentials``."""
        return replace(self, client_secret=client_secret)

    def same_client(self, other: ClientCredentials) -> bool:
        """Whether ``other`` differs in nothing but the secret and the manner of authentication."""
        return _identity(self) == _identity(other)

    def form(self) -> Pairs:
        """The form fields of every token request of this grant, client authentication apart."""
        named = (("scope", self.scope), ("audience", self.audience))
        return (
            ("grant_type", "client_credentials"),
            *((name, value) for name, value in named if value is not None),
            *(("resource", uri) for uri in self.resource),
            *self.parameters,
        )

    def secrets(self) -> tuple[str, ...]:
        """Every spelling of the secret that could turn up in text and must be taken out of it."""
        if not self.client_secret:
            return ()
        spellings = {self.client_secret, quote(self.client_secret, safe=""), urlencode({"": self.client_secret})[1:]}
        return tuple(sorted(spellings, key=lambda text: (-len(text), text)))

    def __copy__(self) -> ClientCredentials:
        return self

    def __deepcopy__(self, memo: object) -> ClientCredentials:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("ClientCredentials cannot be pickled: the pickle would hold the client secret in clear")


def check_url(name: str, url: str) -> None:
    """Raise ValueError, naming ``name``, unless ``url`` is safe to send a secret to."""
    if not isinstance(url, str) or not url or url != url.strip() or any(ord(c) <= 0x20 or ord(c) == 0x7F for c in url):
        raise ValueError(f"{name} must be a URL without white space or control characters")
    parts = _split(name, url)
    if "@" in parts.netloc:
        raise ValueError(f"{name} must not carry user info: credentials belong in ClientCredentials")
    if parts.fragment or "#" in url:
        raise ValueError(f"{name} must not have a fragment (RFC 6749 section 3.2)")
    if not parts.hostname:
        raise ValueError(f"{name} must name a host")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError(f"{name} must be https (plain http is allowed to this machine only), not {parts.scheme}")


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this very machine: ``localhost``, 127.0.0.0/8 or ::1."""
    octets = host.split(".")
    is_v4 = len(octets) == 4 and all(octet.isascii() and octet.isdigit() and int(octet) < 256 for octet in octets)
    return host in ("localhost", "::1") or (is_v4 and int(octets[0]) == 127)


class _Parts(NamedTuple):
    scheme: str
    netloc: str
    hostname: str | None
    fragment: str


def _split(name: str, url: str) -> _Parts:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{name} is not a URL: its host or port cannot be read") from None
    return _Parts(parts.scheme, parts.netloc, parts.hostname, parts.fragment)


def _identity(grant: ClientCredentials) -> tuple[object, ...]:
    return (grant.endpoint.url, grant.client_id, grant.scope, grant.audience, grant.resource, grant.parameters)


def _need_secret(grant: ClientCredentials) -> None:
    if not grant.client_secret:
        raise ValueError("client_secret must not be empty: this client authentication sends it")


def _check_grant(grant: ClientCredentials) -> None:
    if not isinstance(grant.endpoint, TokenEndpoint):
        raise ValueError(f"endpoint must be a TokenEndpoint, not {type(grant.endpoint).__name__}")
    _check_text("client_id", grant.client_id)
    if not isinstance(grant.client_secret, str) or grant.client_secret:
        _check_text("client_secret", grant.client_secret)
    for name in ("scope", "audience"):
        if getattr(grant, name) is not None:
            _check_text(name, getattr(grant, name))
    for uri in grant.resource:
        _check_text("resource", uri)
    for name, value in grant.parameters:
        _check_parameter(name, value)
    if isinstance(grant.endpoint.authentication, BasicAuthentication | PostAuthentication):
        grant.endpoint.authentication.authenticate(grant)
    if grant.api_base is not None:
        check_url("api_base", grant.api_base)


def _check_parameter(name: str, value: str) -> None:
    _check_text("parameters", name)
    if name in _RESERVED:
        raise ValueError(f"parameters must not contain {name!r}: it has an argument of its own")
    _check_text(f"parameters[{name!r}]", value)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    if value != value.strip():
        raise ValueError(f"{name} begins or ends with white space: it was probably copied with it")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in value):
        raise ValueError(f"{name} contains a control character or half of a surrogate pair")
