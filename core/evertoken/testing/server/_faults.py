"""The two closed sets of faults, and the error for a script that names a wrong one."""

from __future__ import annotations

import enum
from typing import TypeGuard, cast

_MOST_SECONDS = 2**40


class ScriptError(ValueError):
    """A script that cannot be performed. ``field`` is the path of the wrong field, ``reason`` what is wrong with it."""

    __module__ = "evertoken.testing"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"

    def within(self, path: str) -> ScriptError:
        """The same error, seen from outside: ``path`` is where the value with the wrong field stands."""
        return ScriptError(f"{path}.{self.field}", self.reason)


@enum.unique
class TokenFault(enum.Enum):
    """What can go wrong at the token endpoint. A token is issued only where the text says so."""

    NONE = "none"
    """Nothing: a token is issued and answered."""
    SERVER_ERROR = "server_error"
    """A 5xx (``status``, 500 if unset) with an error page, and Retry-After if ``retry_after`` is set."""
    DROPPED_BEFORE = "dropped_before"
    """The connection is closed with no answer, and the server did nothing."""
    DROPPED_AFTER = "dropped_after"
    """A token is issued, and the connection is closed with no answer."""
    HANG = "hang"
    """The connection stays open and no byte ever comes."""
    DRIP = "drip"
    """A token is issued, and head and body of the answer come at ``bytes_per_second``."""
    CUT_BODY = "cut_body"
    """A token is issued, and the connection is closed ``cut_after`` bytes into the body."""
    ENDLESS_BODY = "endless_body"
    """A 200 whose body never ends."""
    GZIP_BOMB = "gzip_bomb"
    """A 200 of 48 kB, gzip although identity was asked for, that would become 50 MB."""
    RATE_LIMITED = "rate_limited"
    """429, and no header that says for how long."""
    RATE_LIMITED_RETRY_AFTER = "rate_limited_retry_after"
    """429 with Retry-After in seconds (``retry_after``)."""
    RATE_LIMITED_RETRY_DATE = "rate_limited_retry_date"
    """429 with Retry-After as an HTTP date, and the Date to compare it with."""
    RATE_LIMITED_RESET = "rate_limited_reset"
    """429 with Mangopay's X-RateLimit headers, the first window exhausted, and the Date to compare with."""
    LOCKED = "locked"
    """400 ``unauthorized_client``: Mangopay's "temporarily locked for security reasons"."""
    INVALID_CLIENT = "invalid_client"
    """401 ``invalid_client``, whatever the credentials. Counts as a refusal."""
    FORBIDDEN = "forbidden"
    """403, as from an IP allowlist."""
    REDIRECT = "redirect"
    """A redirect (``status``, 307 if unset) to ``location``, which is another host."""
    HTML = "html"
    """An HTML page (``status``, 502 if unset), as from a proxy or a maintenance page."""
    EMPTY_BODY = "empty_body"
    """200 and not a byte of body."""
    BAD_JSON = "bad_json"
    """200 and a body that begins like JSON and is not."""
    NOT_AN_OBJECT = "not_an_object"
    """200 and a JSON array."""
    NO_ACCESS_TOKEN = "no_access_token"
    """200 and an object without ``access_token``."""
    WRONG_TOKEN_TYPE = "wrong_token_type"
    """200 and a ``token_type`` of ``mac``."""
    BAD_EXPIRES_IN = "bad_expires_in"
    """200 and an ``expires_in`` of ``"soon"``."""
    NO_EXPIRES_IN = "no_expires_in"
    """A token is issued, and the answer does not say how long it lives (RFC 6749 section 5.1 allows that)."""
    SAME_TOKEN = "same_token"
    """The newest live token is answered once more with what is left of its life; a new one if none is live."""
    DEAD_ON_ARRIVAL = "dead_on_arrival"
    """A token with a life of 1 s is issued, and the answer leaves when that second is over."""


@enum.unique
class ApiFault(enum.Enum):
    """What can go wrong at the API route."""

    NONE = "none"
    """Nothing: 200 to a valid token, Mangopay's 401 to any other."""
    SERVER_ERROR = "server_error"
    """A 5xx (``status``, 500 if unset); the call is not carried out."""
    DROPPED_BEFORE = "dropped_before"
    """The connection is closed with no answer; the call is not carried out."""
    DROPPED_AFTER = "dropped_after"
    """The call is carried out if the token is valid, and the connection is closed with no answer."""
    HANG = "hang"
    """The connection stays open and no byte ever comes."""
    DRIP = "drip"
    """As NONE, at ``bytes_per_second``."""
    CUT_BODY = "cut_body"
    """As NONE, and the connection is closed ``cut_after`` bytes into the body."""
    UNAUTHORIZED = "unauthorized"
    """401 ``invalid_credentials`` to every token, valid or not."""
    UNAUTHORIZED_LEGACY = "unauthorized_legacy"
    """401 ``not_authorized``, the form before 2017, to every token."""
    UNAUTHORIZED_BEARER = "unauthorized_bearer"
    """401 with ``WWW-Authenticate: Bearer error="invalid_token"`` (RFC 6750 section 3.1), to every token."""
    UNAUTHORIZED_BARE = "unauthorized_bare"
    """401 with neither body nor challenge, to every token: no evidence that the token is the cause."""
    SCA = "sca"
    """401 with ``WWW-Authenticate: PendingUserAction`` to a valid token: the user has to act, the token is good."""
    FORBIDDEN = "forbidden"
    """403 to a valid token."""
    RATE_LIMITED = "rate_limited"
    """429 ``rate_limit``, with Retry-After if ``retry_after`` is set."""
    LOCKED = "locked"
    """400 ``unauthorized_client``: Mangopay does not say that only the token endpoint answers this."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether ``value`` is an int or a float; bool is neither here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_seconds(name: str, value: object, *, least_open: bool = False) -> None:
    """Raise ScriptError unless ``value`` is a number of seconds, zero allowed unless ``least_open``."""
    if not is_number(value) or not 0 <= value < _MOST_SECONDS or (least_open and value == 0):
        raise ScriptError(name, f"must be a number {'above' if least_open else 'of at least'} 0, not {value!r}")


def check_whole(name: str, value: object, *, least: int) -> None:
    """Raise ScriptError unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < _MOST_SECONDS:
        raise ScriptError(name, f"must be a whole number of at least {least}, not {value!r}")


def check_member(name: str, value: object, kind: type) -> None:
    """Raise ScriptError unless ``value`` is an instance of ``kind``."""
    if not isinstance(value, kind):
        raise ScriptError(name, f"must be a {kind.__name__}, not {type(value).__name__}")


def check_members(name: str, values: object, kind: type) -> None:
    """Raise ScriptError unless ``values`` is a tuple of instances of ``kind``."""
    if not isinstance(values, tuple):
        raise ScriptError(name, f"must be a tuple, not {type(values).__name__}")
    for index, value in enumerate(cast("tuple[object, ...]", values)):
        check_member(f"{name}[{index}]", value, kind)


def check_flag(name: str, value: object) -> None:
    """Raise ScriptError unless ``value`` is a bool."""
    if not isinstance(value, bool):
        raise ScriptError(name, f"must be true or false, not {value!r}")


def check_text(name: str, value: object) -> None:
    """Raise ScriptError unless ``value`` is visible ASCII that can stand in a header line."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value or not value:
        raise ScriptError(name, f"must be text in visible ASCII, not {value!r}")
