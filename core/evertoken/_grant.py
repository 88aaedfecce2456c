"""What is asked of whom: the token endpoint, the client's credentials, and how the client proves who it is.

Everything here is an immutable value. Wrong values are refused on construction, with an error that names the argument
and never shows a secret, because the alternative is a request that the server refuses, and refusals lock accounts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote, urlencode

from typing_extensions import override

from evertoken._checks import WrongArgument, check_type, fault_of_text, fault_of_url, is_moment, with_ascii_host
from evertoken._problems import LocalProtocolError
from evertoken._secrecy import Unpicklable

Pairs = tuple[tuple[str, str], ...]
_Read = TypeVar("_Read")


class SecretSource(Protocol):
    """A function that gives the client's secret as it is now. Whoever sends the requests calls it; the core never does.

    Under asyncio and trio it may be a coroutine function.
    """

    def __call__(self) -> str | Awaitable[str]:
        """The secret."""
        ...


_RESERVED = frozenset(
    {"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type"}
    | {"scope", "audience", "resource"}
)


@dataclass(frozen=True, slots=True, init=False)
class AuthenticationParts(Unpicklable):
    """What a client authentication adds to one token request: header lines and form fields.

    Raises TypeError for what is no tuple of pairs of texts, or a header that is not printable ASCII.
    """

    headers: Pairs
    form: Pairs

    def __init__(self, headers: Pairs = (), form: Pairs = ()) -> None:
        fault = _fault_of_pairs("headers", headers) or _fault_of_pairs("form", form)
        if fault is None and not all(
            part.isascii() and part.isprintable() and part for line in headers for part in line
        ):
            fault = "headers must be printable ASCII, without control characters and not empty"
        if fault is not None:
            del self, headers, form  # The proof is in them; error trackers show the local variables of every frame.
            raise WrongArgument(f"AuthenticationParts: {fault}")
        _assign(self, {"headers": headers, "form": form})

    def __repr__(self) -> str:
        names = [name for name, _ in (*self.headers, *self.form)]
        return f"AuthenticationParts({', '.join(names)})"


@dataclass(frozen=True, slots=True)
class TokenMessage(Unpicklable):
    """What one token request carries, and what must be taken out of any text about it."""

    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Signing:
    """The time and the randomness that a signature needs, since the core has neither. ``start_request`` takes it.

    ``unix_time`` is in seconds since 1970. ``entropy`` is at least 16 random bytes, new ones for each request, since a
    server recognises by them an assertion that was sent before (RFC 7523 section 3). Raises ValueError for anything
    else.
    """

    unix_time: float
    entropy: bytes

    def __post_init__(self) -> None:
        if not is_moment(self.unix_time):
            raise ValueError("Signing.unix_time must be a finite number of seconds since 1970")
        if not isinstance(cast("object", self.entropy), bytes) or len(self.entropy) < 16:
            raise ValueError("Signing.entropy must be at least 16 random bytes")


class ClientAuthentication(Protocol):
    """Anything that can authenticate the client in one token request (RFC 6749 section 2.3).

    It is called anew for each request, so that an assertion is never sent twice. It must be hashable, and should
    compare by value: two instances that are not equal do not share a token, and replacing one by the other is a change
    of credentials, which lifts a refusal.
    """

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """The header lines and form fields that prove to ``grant.endpoint`` who ``grant.client_id`` is."""
        ...


class SignedAuthentication(Protocol):
    """A client authentication whose proof is signed with the time in it, such as a JWT (RFC 7523 section 2.2).

    Time and randomness are given to it. The same ``grant`` and ``signing`` must give the same parts, so that a
    simulation can be repeated; only a signature whose algorithm is randomised may differ.
    """

    def sign(self, grant: ClientCredentials, signing: Signing) -> AuthenticationParts:
        """The header lines and form fields of :meth:`ClientAuthentication.authenticate`, signed with ``signing``."""
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
        if self.encoding == "raw":
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
        return AuthenticationParts(form=(("client_id", grant.client_id), ("client_secret", grant.client_secret)))


JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""What kind of assertion a JWT is (RFC 7523 section 2.2)."""


@dataclass(frozen=True, slots=True)
class ClientAssertion:
    """An assertion that somebody else has signed in place of a secret (RFC 7521 section 4.2, RFC 7523 section 2.2).

    It serves workload identity federation, such as a projected service-account token of Kubernetes at Microsoft Entra,
    and keys that never leave the service which signs with them. ``secret_source`` gives the assertion as it is now, and
    is asked before each request, like a callable ``client_secret`` of :class:`ClientCredentials`; the grant's own
    ``client_secret`` is left out. Raises TypeError unless ``secret_source`` is a function that can be hashed.
    """

    secret_source: SecretSource = field(repr=False)

    def __init__(self, secret_source: SecretSource) -> None:
        fault = _fault_of_source("ClientAssertion.secret_source", secret_source)
        if fault is not None:
            del secret_source  # Perhaps it is the assertion itself, and error trackers show local variables.
            raise WrongArgument(fault)
        object.__setattr__(self, "secret_source", secret_source)

    def authenticate(self, grant: ClientCredentials) -> AuthenticationParts:
        """Three form fields: the client id, of which kind the assertion is, and the assertion."""
        proof = (("client_assertion_type", JWT_BEARER), ("client_assertion", grant.client_secret))
        return AuthenticationParts(form=(("client_id", grant.client_id), *proof))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is peculiar to one vendor: which refusals mean a lock-out, and what to tell the reader of an error."""

    name: str = "OAuth 2.0"
    locked_codes: tuple[str, ...] = ()
    """Error codes that mean "locked out" here, although RFC 6749 section 5.2 reads them as a refusal."""
    locked_advice: str = field(
        default="Wait; find out what sent bad or too many token requests; ask the provider how long it lasts.",
        repr=False,
    )
    refused_advice: str = field(
        default="Check client id, secret and token endpoint, then set new credentials.", repr=False
    )
    forbidden_advice: str = field(
        default="A 403 is about permission, not about the token: is this host on the provider's allowlist?", repr=False
    )

    def __post_init__(self) -> None:
        """Raise TypeError for what would never match, or could not be kept by value: a lone text, a list."""
        for name in ("name", "locked_advice", "refused_advice", "forbidden_advice"):
            check_type(f"Profile.{name}", getattr(self, name), str)
        codes: object = self.locked_codes
        if not isinstance(codes, tuple) or not all(isinstance(code, str) for code in cast("tuple[object, ...]", codes)):
            raise WrongArgument(f"locked_codes must be a tuple of texts, not {type(codes).__name__}")

    def is_lock(self, codes: Iterable[str]) -> bool:
        """Whether one of an answer's ``codes`` means "locked out" here, in whatever case it is written."""
        locks = [code.lower() for code in self.locked_codes]
        return any(code.strip().lower() in locks for code in codes)


Authentication = ClientAuthentication | SignedAuthentication


@dataclass(frozen=True, slots=True, init=False)
class TokenEndpoint:
    """Where tokens are asked for (RFC 6749 section 3.2), and in what manner.

    An international host name is kept in ASCII (``xn--…``), so that no two libraries take it for two hosts.

    Raises:
        ValueError: ``url`` is not https (http is allowed to this machine only), has user info, a fragment, white space,
            or no host.
        TypeError: ``authentication`` has no method ``authenticate`` or ``sign``, or ``profile`` is no :class:`Profile`.
    """

    url: str
    authentication: Authentication = BasicAuthentication()
    profile: Profile = Profile()

    def __init__(
        self, url: str, authentication: Authentication = BasicAuthentication(), profile: Profile = Profile()
    ) -> None:
        fault = fault_of_url("TokenEndpoint.url", url)
        if fault is not None:
            del self, url  # Perhaps with a password in it; error trackers show the local variables of every frame.
            raise ValueError(fault)
        fault = _fault_of_manner(authentication, profile)
        if fault is not None:
            del self, authentication, profile  # Perhaps the secret itself, in the wrong place.
            raise TypeError(fault)
        _assign(self, {"url": with_ascii_host(url), "authentication": authentication, "profile": profile})


def _fault_of_manner(authentication: object, profile: object) -> str | None:
    """Why tokens cannot be asked for in this manner; None if they can."""
    if isinstance(authentication, type):
        return f"authentication must be an object, not the class {authentication.__name__}: call it"
    if not callable(getattr(authentication, "authenticate", None)) and not _signs(authentication):
        kind = type(authentication).__name__
        return f"authentication must have a method authenticate(grant), as PostAuthentication() has, not be a {kind}"
    if not isinstance(profile, Profile):
        return f"profile must be a Profile, not {type(profile).__name__}"
    return None


def _signs(authentication: object) -> bool:
    return callable(getattr(authentication, "sign", None))


@dataclass(frozen=True, slots=True, init=False)
class ClientCredentials(Unpicklable):
    """The client credentials grant (RFC 6749 section 4.4): one client at one token endpoint.

    Args:
        endpoint: where to ask.
        client_id: who asks.
        client_secret: the proof; Mangopay calls it the API key. Hidden in the repr. May be empty where the client
            authenticates by other means. Or a callable that gives it, from a vault or a file that rotates: it is asked
            before each token request, and once a minute while the endpoint refuses the secret. Grants with the same
            callable are equal, and share a token; a lambda that is made anew each time is another one each time.
        scope: space-separated, sent with every request (section 3.3).
        audience: sent with every request, for providers that want one.
        resource: one or several URIs, sent with every request (RFC 8707).
        parameters: further form fields, sent with every request.
        api_base: where the tokens are to be used: the base URL for API calls.

    Immutable; compares and hashes by value. It refuses to be pickled, since a pickle would hold the secret in clear.
    Where the secret is a callable, ``secret_source`` holds it, and ``client_secret`` is empty in the grant that you
    make: the machine has a grant of its own with the secret that it was told last.

    Raises:
        ValueError: an argument is empty, has white space around it, control characters, or is reserved; a callable
            cannot be hashed, or an assertion stands beside it.
    """

    endpoint: TokenEndpoint
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None
    audience: str | None
    resource: tuple[str, ...]
    parameters: Pairs = field(repr=False)
    api_base: str | None
    secret_source: SecretSource | None = field(init=False, repr=False)
    _message: tuple[AuthenticationParts, bytes] | None = field(init=False, repr=False, compare=False)
    _key: bytes | None = field(init=False, repr=False, compare=False)

    def __init__(
        self,
        endpoint: TokenEndpoint,
        client_id: str,
        client_secret: str | SecretSource = "",
        *,
        scope: str | None = None,
        audience: str | None = None,
        resource: str | Iterable[str] = (),
        parameters: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        api_base: str | None = None,
    ) -> None:
        pairs, uris = _read(parameters, _pairs), _read(resource, _uris)
        assertion = getattr(getattr(endpoint, "authentication", None), "secret_source", None)
        source = assertion if client_secret == "" else client_secret if callable(client_secret) else None
        values = {
            "endpoint": endpoint,
            "client_id": client_id,
            "client_secret": client_secret if source is None else "",
            "secret_source": source,
            "scope": scope,
            "audience": audience,
            "resource": uris or (),
            "parameters": pairs or (),
            "api_base": api_base,
            "_message": None,
            "_key": None,
        }
        _assign(self, values)
        fault = _fault_of(self)
        if assertion is not None and source is not assertion:
            fault = fault or "client_secret must be left out: the client authentication brings a proof of its own"
        if pairs is None or uris is None:
            fault = (
                "parameters must map names to values, each name once"
                if pairs is None
                else "resource must be a URI, or several that can be read one by one"
            )
        del client_secret, parameters, pairs, uris, values, source, assertion
        if fault is not None:
            del self, client_id, scope, audience, resource, api_base  # What is wrong with one may be a secret in it.
            raise ValueError(fault)
        if api_base is not None:
            _assign(self, {"api_base": with_ascii_host(api_base)})

    @override
    def _arguments(self) -> dict[str, object]:
        arguments: dict[str, object] = {name: getattr(self, name) for name in self.__match_args__}
        if self.secret_source is not None:
            brought = getattr(self.endpoint.authentication, "secret_source", None) is not None
            arguments["client_secret"] = "" if brought else self.secret_source
        return arguments

    def with_secret(self, client_secret: str | SecretSource) -> ClientCredentials:
        """The same grant with another secret, for ``replace_credentials``.

        A text leaves the grant's callable in place, if it has one, which is asked again before the next request. A
        callable takes its place. Raises ValueError for what cannot be a secret.
        """
        known = client_secret if isinstance(client_secret, str) else ""
        source = self.secret_source if isinstance(client_secret, str) else client_secret
        made = _with(self, client_secret=known, secret_source=source, _message=None, _key=None)
        fault = fault_of_text("client_secret", known) if known else _fault_of(made)
        del self, client_secret, known, source
        if fault is not None:
            del made
            raise ValueError(fault)
        return made

    def same_proof(self, other: ClientCredentials) -> bool:
        """Whether ``other`` would prove who it is by the same secret in the same manner."""
        mine, others = self.endpoint.authentication, other.endpoint.authentication
        same_source = self.secret_source == other.secret_source
        return self.client_secret == other.client_secret and same_source and mine == others

    @property
    def needs_signing(self) -> bool:
        """Whether a request of this grant can be made only with a :class:`Signing`."""
        return _signs(self.endpoint.authentication)

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

    def message(self, signing: Signing | None = None) -> TokenMessage:
        """What a token request of this grant carries. Basic and Post are built once, other authentications each time.

        Raises LocalProtocolError without the ``signing`` that it needs.
        """
        parts, body = self._message or _parts_of(self, signing)
        if self._message is None and type(self.endpoint.authentication) in _UNCHANGING:
            _assign(self, {"_message": (parts, body)})
        headers = (
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Content-Length", str(len(body))),
            *parts.headers,
        )
        return TokenMessage(headers, body, tuple(dict.fromkeys((*_proofs(parts), *self.secrets()))))

    def secrets(self) -> tuple[str, ...]:
        """What must be taken out of any text about this grant, in whatever spelling it turns up there."""
        secret = self.sealing_secret
        return (secret,) if secret else ()

    @property
    def sealing_secret(self) -> str:
        """The secret that seals are made by, which only those know who can prove to be this client; empty without one.

        It is the client's secret, or the ``seal_secret`` of a client authentication that has one, such as
        ``PrivateKeyJwt``.
        """
        brought: object = getattr(self.endpoint.authentication, "seal_secret", "")
        return self.client_secret or (brought if isinstance(brought, str) else "")

    def seal(self, purpose: str, text: str) -> str:
        """A proof that whoever wrote ``text`` knew the client's secret, and wrote it for ``purpose``: 64 hex digits.

        HMAC-SHA256 (RFC 2104) under a key that PBKDF2 (RFC 8018) derives from the secret, with endpoint and client id
        for salt. The key costs some 20 ms, once for each grant; each guess at the secret costs as much to somebody who
        reads a seal. Without a client secret a seal shows damage, but anybody can make it.
        """
        if self._key is None:
            _assign(self, {"_key": _key_of(self)})
        message = f"evertoken {purpose}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.new(cast("bytes", self._key), message, "sha256").hexdigest()


class Extras(TypedDict, total=False):
    """The arguments of :class:`ClientCredentials` beyond the first three."""

    scope: str | None
    audience: str | None
    resource: tuple[str, ...]
    parameters: Pairs
    api_base: str | None


def grant_or_fault(
    endpoint: TokenEndpoint,
    client_id: str,
    client_secret: str | SecretSource,
    *,
    secret_name: str = "client_secret",
    **rest: Unpack[Extras],
) -> ClientCredentials | str:
    """A grant, or what is wrong with the arguments.

    It is for callers with the secret in their own frames: they delete it first and raise the fault then, because error
    trackers show the local variables of every frame in a traceback.
    """
    if not callable(client_secret) and client_secret != "":
        fault = fault_of_text(secret_name, client_secret)
        if fault is not None:
            return fault
    try:
        return ClientCredentials(endpoint, client_id, client_secret, **rest)
    except ValueError as error:
        return str(error)


def or_raise(made: ClientCredentials | str) -> ClientCredentials:
    """``made``; if it is a fault instead, it is raised as a ValueError."""
    if isinstance(made, str):
        raise ValueError(made)
    return made


def _read(value: object, read: Callable[[Any], _Read]) -> _Read | None:
    """What ``read`` makes of ``value``; None where it raises, since an error would pass frames that hold the secret."""
    try:
        return read(value)
    except Exception:  # noqa: BLE001 - it is the caller's iterable
        return None


def _pairs(parameters: Mapping[str, str] | Iterable[tuple[str, str]]) -> Pairs | None:
    """The parameters as pairs; None if they are not, or if a name is there twice (RFC 6749 section 3.2)."""
    pairs = tuple(cast("Any", parameters).items() if isinstance(parameters, Mapping) else parameters)
    sound = all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs)
    return pairs if sound and len(dict(pairs)) == len(pairs) else None


def _uris(resource: object) -> tuple[object, ...]:
    """The resources one by one. A value that cannot be iterated is left as it is: ``_fault_of`` refuses it by name."""
    if isinstance(resource, str) or not isinstance(resource, Iterable):
        return (resource,)
    return tuple(cast("Iterable[object]", resource))


def _with(grant: ClientCredentials, **changes: object) -> ClientCredentials:
    """``grant`` with some fields changed, as they are."""
    made = object.__new__(ClientCredentials)
    _assign(made, {name: getattr(grant, name) for name in ClientCredentials.__slots__} | changes)
    return made


def _assign(value: AuthenticationParts | TokenEndpoint | ClientCredentials, fields: Mapping[str, object]) -> None:
    for name, field_ in fields.items():
        object.__setattr__(value, name, field_)


def _fault_of_pairs(name: str, value: object) -> str | None:
    kind = type(value).__name__
    pairs = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
    sound = all(isinstance(pair, tuple) and len(cast("Pairs", pair)) == 2 for pair in pairs)
    if sound and all(isinstance(cast("object", part), str) for pair in cast("Pairs", pairs) for part in pair):
        return None
    return f"{name} must be a tuple of pairs of texts, not {kind}"


# What these two add follows from the grant alone, so a grant builds it once and keeps it. That need not be true of a
# subclass or of an embedder's own, which are therefore called for each request.
_UNCHANGING = (BasicAuthentication, PostAuthentication)


def _parts_of(grant: ClientCredentials, signing: Signing | None) -> tuple[AuthenticationParts, bytes]:
    manner: Any = grant.endpoint.authentication
    if not _signs(manner):
        parts = manner.authenticate(grant)
    elif signing is None:
        raise LocalProtocolError("this client authentication signs: give start_request(..., signing=Signing(...))")
    else:
        parts = manner.sign(grant, signing)
    if not isinstance(cast("object", parts), AuthenticationParts):
        kind = type(parts).__name__
        del parts  # It may be the proof all the same.
        name = "sign" if _signs(manner) else "authenticate"
        raise WrongArgument(f"{name} must return AuthenticationParts, not {kind}")
    return parts, urlencode((*grant.form(), *parts.form)).encode("ascii")


_PUBLIC = ("client_id", "client_assertion_type")
"""What a client authentication may add that is no secret (RFC 6749 section 2.3.1, RFC 7521 section 4.2)."""


def _proofs(parts: AuthenticationParts) -> Iterator[str]:
    for name, value in parts.headers:
        _, _, credentials = value.partition(" ")  # The name of the scheme is no secret: RFC 9110 section 11.4.
        yield credentials if credentials and name.lower().endswith("authorization") else value
    yield from (value for name, value in parts.form if name not in _PUBLIC)


_KEY_ROUNDS = 2**16
"""Rounds that take some 20 ms on a server of 2020 and slow down guesses. A long random secret needs none of them."""


def _key_of(grant: ClientCredentials) -> bytes:
    salt = f"evertoken key\0{grant.endpoint.url}\0{grant.client_id}".encode()
    return hashlib.pbkdf2_hmac("sha256", grant.sealing_secret.encode(), salt, _KEY_ROUNDS, 32)


def _identity(grant: ClientCredentials) -> tuple[object, ...]:
    return (grant.endpoint.url, grant.client_id, grant.scope, grant.audience, grant.resource, grant.parameters)


def _fault_of(grant: ClientCredentials) -> str | None:
    if not isinstance(grant.endpoint, TokenEndpoint):
        return f"endpoint must be a TokenEndpoint, not {type(grant.endpoint).__name__}"
    faults = [fault_of_text("client_id", grant.client_id), _fault_of_secret(grant)]
    faults += [fault_of_text("scope", text) for text in (grant.scope,) if text is not None]
    faults += [fault_of_text("audience", text) for text in (grant.audience,) if text is not None]
    faults += [fault_of_text("resource", uri) for uri in grant.resource]
    faults += [_fault_of_parameter(name, value) for name, value in grant.parameters]
    faults += [fault_of_url("api_base", url) for url in (grant.api_base,) if url is not None]
    return next((fault for fault in faults if fault is not None), None)


def _fault_of_secret(grant: ClientCredentials) -> str | None:
    """Why the secret cannot be used in this manner of authentication; None if it can.

    Basic and Post send the secret, so they need one, and raw Basic cannot send a client id with a colon.
    """
    authentication = grant.endpoint.authentication
    if grant.secret_source is not None:
        fault = _fault_of_source("client_secret", grant.secret_source)
    elif grant.client_secret != "":
        fault = fault_of_text("client_secret", grant.client_secret)
    elif isinstance(authentication, BasicAuthentication | PostAuthentication):
        fault = "client_secret must not be empty: this client authentication sends it"
    else:
        fault = None
    raw = isinstance(authentication, BasicAuthentication) and authentication.encoding == "raw"
    if fault is None and raw and ":" in str(grant.client_id):
        fault = 'client_id must not contain a colon under Basic "raw" (RFC 7617 section 2)'
    return fault


def _fault_of_source(name: str, source: object) -> str | None:
    """Why ``source`` cannot be asked for the secret; None if it can."""
    if isinstance(source, type) or not callable(source):
        return f"{name} must be a function that gives the text, not a {type(source).__name__}"
    if not isinstance(source, Hashable) or _read(source, hash) is None:
        return f"{name} must be hashable: grants with the same function share a token, and that is looked up"
    return None


def _fault_of_parameter(name: str, value: str) -> str | None:
    fault = fault_of_text("parameters", name)
    if fault is None and name in _RESERVED:
        fault = f"parameters must not contain {name!r}: it has an argument of its own"
    return fault or fault_of_text(f"parameters[{name!r}]", value)
