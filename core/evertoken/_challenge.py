"""Whether an API's answer is about the token: read from its bytes, and from what its vendor means by them.

A 401 has several causes, and a new token cures only some of them. Mangopay's strong customer authentication (SCA)
answers 401 as well: there a new token would change nothing and cost a token request.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evertoken._body import error_codes, read_body
from evertoken._checks import WrongArgument, check_type
from evertoken._grant import Profile
from evertoken._http import Headers, answer_parts, field_lines


@enum.unique
class Challenge(enum.Enum):
    """What an API's answer says about the access token that the call carried."""

    TOKEN = "token"
    """The answer says that the token is the cause: invalid, expired or revoked."""
    UNKNOWN = "unknown"
    """401, and the answer does not say why."""
    SCA = "sca"
    """401, and a user has to act first (Mangopay: SCA). The token is good; repeat the call with it afterwards."""
    LOCKED = "locked"
    """400, and a code that the vendor's profile calls a lock (Mangopay: ``unauthorized_client``)."""
    RATE_LIMITED = "rate limited"
    """429: too many API calls. No matter of tokens."""
    NONE = "none"
    """Nothing about tokens. That includes every 403 that does not name the token."""


class AuthChallenge(NamedTuple):
    """One challenge of a ``WWW-Authenticate`` field (RFC 9110 section 11.6.1); scheme and names are in lower case.

    The repr shows none of them: Mangopay's SCA challenge carries a URL with a secret in it.
    """

    scheme: str
    parameters: dict[str, str]

    def __repr__(self) -> str:
        return f"AuthChallenge({len(self.parameters)} parameters)"


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"?'
_ELEMENT = re.compile(rf'(?:[^",]|{_QUOTED})+', re.DOTALL)
# Commas belong between parameters; white space and semicolons are seen there too.
_PARAMETER = re.compile(rf"[\s;]*({_TOKEN})[ \t]*=[ \t]*({_QUOTED}|[^\s;]*)", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+(.*))?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# Mangopay, Error codes; "not_authorized" is what the API said before 2017.
_TOKEN_TYPES = ("invalid_credentials", "not_authorized")
_NO_VENDOR = Profile()
_LEAST_LIMIT = 65_536
"""Bytes that a body may always have once it is unpacked. It may also be as long as it came: its reader bounded that."""


def read_challenge(
    status: int, headers: Headers, body: bytes | bytearray | memoryview, profile: Profile = _NO_VENDOR
) -> Challenge:
    """What the answer (status, headers, body) of an API says about the token of the call that it answers.

    Args:
        status: the HTTP status.
        headers: names in any case and their values: pairs, which keep repeated lines, or a mapping, such as a dict or
            the headers of an HTTP library.
        body: matters on 400 and 401 only, and may be cut or left empty elsewhere.
        profile: that of the grant which the token is from (``grant.endpoint.profile``). It says which codes of a 400
            are a lock-out of the account. Without it none is, since the API of one vendor must not be able to close
            the token endpoint of another.

    Pure and total: any status, headers and bytes give one :class:`Challenge`.

    Raises:
        TypeError: an argument is of another type; the text names it.

    Sources: Mangopay's documentation (Authentication; Error codes; SCA on wallet access), RFC 6750 section 3.1.
    """
    check_type("profile", profile, Profile)
    parts = answer_parts(status, headers, body)
    del status, headers, body  # Perhaps with a secret in them; error trackers show the local variables of every frame.
    if isinstance(parts, str):
        raise WrongArgument(f"read_challenge: {parts}")
    return _read(*parts, profile)


def _read(status: int, headers: Sequence[tuple[str, str]], body: bytes, profile: Profile) -> Challenge:
    if not 400 <= status <= 499:
        return Challenge.NONE
    if status == 400 and profile.is_lock(_codes(headers, body)):
        return Challenge.LOCKED
    challenges = parse_challenges(field_lines(headers, "www-authenticate"))
    asks_user = any(challenge.scheme == "pendinguseraction" for challenge in challenges)
    if not asks_user and any(_says_invalid_token(challenge) for challenge in challenges):
        return Challenge.TOKEN
    if status == 401:
        return _read_401(headers, body, asks_user=asks_user)
    return Challenge.RATE_LIMITED if status == 429 else Challenge.NONE


def _read_401(headers: Sequence[tuple[str, str]], body: bytes, *, asks_user: bool) -> Challenge:
    """A 401 whose challenges do not name the token."""
    if asks_user:
        return Challenge.SCA
    content = read_body(headers, body, max(len(body), _LEAST_LIMIT)).content or {}
    return Challenge.TOKEN if content.get("Type") in _TOKEN_TYPES else Challenge.UNKNOWN


def parse_challenges(lines: Iterable[str]) -> list[AuthChallenge]:
    """All challenges in the ``lines`` of a ``WWW-Authenticate`` field (RFC 9110 section 11.6.1).

    A line may hold several challenges, and each of them several parameters; both are separated by commas, which also
    occur in quoted strings. Total: what cannot be read becomes a challenge without a scheme, so that the parameters
    behind it are not taken for those of its neighbour.
    """
    challenges: list[AuthChallenge] = []
    for line in lines:
        found: list[AuthChallenge] = []
        for element in _ELEMENT.findall(line):
            _add_element(found, element.strip())
        challenges.extend(found)
    return challenges


def _add_element(challenges: list[AuthChallenge], element: str) -> None:
    parameters = element
    if element and not _PARAMETER.match(element):
        scheme = _SCHEME.fullmatch(element)
        challenges.append(AuthChallenge(scheme[1].lower() if scheme else "", {}))
        parameters = scheme[2] or "" if scheme else ""
    position = 0
    while challenges and (parameter := _PARAMETER.match(parameters, position)):
        position = parameter.end()
        challenges[-1].parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2]))


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value.strip("'")
    return _ESCAPED.sub(r"\1", value[1:].removesuffix('"'))


def _says_invalid_token(challenge: AuthChallenge) -> bool:
    return challenge.scheme == "bearer" and challenge.parameters.get("error", "").strip().lower() == "invalid_token"


def _codes(headers: Sequence[tuple[str, str]], body: bytes) -> tuple[str, ...]:
    content = read_body(headers, body, max(len(body), _LEAST_LIMIT)).content
    return () if content is None else error_codes(content)
