"""Is this answer of an API about the token? Read from its bytes alone.

A 401 has several causes, and only some of them are cured by a new token. Mangopay's strong customer authentication
(SCA) answers 401 as well, and there a new token would be one token request too many.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evertoken._bodies import read_object
from evertoken._headers import field_lines

__all__ = ("AuthChallenge", "Challenge", "parse_challenges", "read_challenge")


@enum.unique
class Challenge(enum.Enum):
    """What an API's answer says about the access token that the call carried."""

    TOKEN = "token"
    """401, and the answer says that the token is the cause: invalid, expired or revoked."""
    UNKNOWN = "unknown"
    """401, and the answer does not say why."""
    SCA = "sca"
    """401, and a user has to act first (Mangopay: SCA). The token is good; repeat the call with it afterwards."""
    LOCKED = "locked"
    """400 ``unauthorized_client``: Mangopay has locked the account or this address out."""
    RATE_LIMITED = "rate limited"
    """429: too many API calls. No matter of tokens."""
    NONE = "none"
    """Nothing about tokens. That includes every 403."""


class AuthChallenge(NamedTuple):
    """One challenge of a ``WWW-Authenticate`` field (RFC 9110 section 11.6.1); scheme and names are in lower case.

    Its repr shows nothing of them: Mangopay's SCA challenge carries a URL with a secret in it.
    """

    scheme: str
    parameters: dict[str, str]

    def __repr__(self) -> str:
        return f"AuthChallenge({len(self.parameters)} parameters)"


_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_QUOTED = r'"(?:[^"\\]|\\.)*"?'
_ELEMENT = re.compile(rf'(?:[^",]|{_QUOTED})+', re.DOTALL)
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*=[ \t]*({_QUOTED}|.*)", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?:[ \t]+(.*))?", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

# Mangopay, Error codes; "not_authorized" is what the API said before 2017.
_TOKEN_TYPES = ("invalid_credentials", "not_authorized")


def read_challenge(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> Challenge:
    """What the answer (status, headers, body) of an API says about the token of the call that it answers.

    Pure and total: any status, headers and bytes give one :class:`Challenge` and no exception. ``body`` matters on 400
    and 401 only, and may be cut or left empty elsewhere.

    Sources: Mangopay's documentation (Authentication; Error codes; SCA on wallet access), RFC 6750 section 3.1.
    """
    if status == 429:
        return Challenge.RATE_LIMITED
    if status == 400 and _text(body, "error") == "unauthorized_client":
        return Challenge.LOCKED
    if status != 401:
        return Challenge.NONE
    challenges = parse_challenges(field_lines(headers, "www-authenticate"))
    if any(challenge.scheme == "pendinguseraction" for challenge in challenges):
        return Challenge.SCA
    if any(_says_invalid_token(challenge) for challenge in challenges) or _text(body, "Type") in _TOKEN_TYPES:
        return Challenge.TOKEN
    return Challenge.UNKNOWN


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
    parameter = _PARAMETER.match(element)
    if not parameter and element:
        scheme = _SCHEME.fullmatch(element)
        challenges.append(AuthChallenge(scheme[1].lower() if scheme else "", {}))
        parameter = _PARAMETER.match(scheme[2] or "") if scheme else None
    if parameter and challenges:
        challenges[-1].parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2]))


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    return _ESCAPED.sub(r"\1", value[1:].removesuffix('"'))


def _says_invalid_token(challenge: AuthChallenge) -> bool:
    return challenge.scheme == "bearer" and challenge.parameters.get("error") == "invalid_token"


def _text(body: bytes, name: str) -> object:
    content = read_object(body)
    return None if isinstance(content, str) else content.get(name)
