"""Who may ask and what was issued: the API keys, and the register of tokens that is the server's truth."""

from __future__ import annotations

import base64
import copy
import hashlib
from dataclasses import dataclass, field
from urllib.parse import quote

from evertoken._secrecy import Unpicklable
from evertoken.testing.server._arrivals import BASIC, BEARER, VALID, AuthorizationKind, TokenRecord, TokenTruth


@dataclass(frozen=True, slots=True)
class Proof(Unpicklable):
    """What the value of an Authorization header is to an account, and the text of its token if it is Bearer."""

    kind: AuthorizationKind
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ApiKeys(Unpicklable):
    """The keys of one account, of which each is as good as the others. Immutable."""

    client_id: str
    keys: tuple[str, ...] = field(repr=False)
    codes: frozenset[str] = field(init=False, repr=False)
    """What may follow ``Basic``: the pair as it stands, as Mangopay wants it, and as RFC 6749 section 2.3.1 does."""

    def __post_init__(self) -> None:
        pairs = [(self.client_id, key) for key in self.keys]
        quoted = [(quote(name, safe=""), quote(key, safe="")) for name, key in pairs]
        codes = (base64.b64encode(f"{name}:{key}".encode()).decode() for name, key in (*pairs, *quoted))
        object.__setattr__(self, "codes", frozenset(codes))

    def proof(self, authorization: str | None) -> Proof:
        """What the value of an Authorization header is to this account."""
        if authorization is None:
            return Proof(AuthorizationKind.NONE)
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                return Proof(BASIC if rest.strip() in self.codes else AuthorizationKind.WRONG_BASIC)
            case "bearer":
                return Proof(BEARER, rest.strip())
            case _:
                return Proof(AuthorizationKind.OTHER)


class TokenRegister(Unpicklable):
    """Every token that was issued, by number. Its text follows from the seed and the number, and is not in the records.

    ``prefix`` begins every text, so that a leak can be found.
    """

    __slots__ = ("_numbers", "_prefix", "_seed", "_unexpired", "records")

    def __init__(self, seed: int, prefix: str) -> None:
        if not prefix.isascii() or not prefix.replace("-", "").replace("_", "").isalnum():
            raise ValueError("token_prefix must be ASCII letters, digits, - and _: it is part of tokens (RFC 6750 2.1)")
        self._seed = seed
        self._prefix = prefix
        self._numbers: dict[str, int] = {}
        self._unexpired: list[int] = []
        self.records: list[TokenRecord] = []

    def __copy__(self) -> TokenRegister:
        """An independent register with the same tokens, which will issue the same ones next."""
        twin = TokenRegister(self._seed, self._prefix)
        twin._numbers = self._numbers.copy()
        twin._unexpired = self._unexpired.copy()
        twin.records = self.records.copy()
        return twin

    def __deepcopy__(self, memo: object) -> TokenRegister:
        return copy.copy(self)

    def issue(self, issued_at: float, lifetime: int, revoked_at: float | None) -> tuple[int, str]:
        """A new token: its number and its text."""
        number = len(self.records) + 1
        text = self.text(number)
        self.records.append(TokenRecord(number, issued_at, issued_at + lifetime, revoked_at))
        self._numbers[text] = number
        self._unexpired.append(number)
        return number, text

    @property
    def mark(self) -> str:
        """How every text begins."""
        return f"{self._prefix}-"

    def text(self, number: int) -> str:
        """The text of token ``number``."""
        return self.secret(str(number))

    def secret(self, label: str) -> str:
        """A text that looks like a token and follows from the seed and ``label``: 32 hex digits behind the prefix."""
        return f"{self._prefix}-{hashlib.sha256(f'{self._seed}/{label}'.encode()).hexdigest()[:32]}"

    def number(self, text: str) -> int | None:
        """The number of the token ``text``, None if it was never issued."""
        return self._numbers.get(text)

    def truth(self, now: float, number: int | None) -> TokenTruth:
        """What token ``number`` is at ``now``; None stands for a token that was never issued."""
        if number is None or not 1 <= number <= len(self.records):
            return TokenTruth.UNKNOWN
        return self.records[number - 1].truth(now)

    def newest(self, now: float) -> TokenRecord | None:
        """The token that was issued last, if it is valid at ``now`` and has a whole second left."""
        if not self.records or self.records[-1].truth(now) is not VALID:
            return None
        return self.records[-1] if self.records[-1].expires_at - now >= 1 else None

    def revoke(self, now: float, number: int | None) -> bool:
        """Revoke token ``number``; False if it is not valid at ``now``."""
        if number is None or self.truth(now, number) is not VALID:
            return False
        self.records[number - 1] = self.records[number - 1]._replace(revoked_at=now)
        return True

    def revoke_all(self, now: float) -> int:
        """Revoke every token that is valid at ``now``, and say how many. Expired ones are not looked at again."""
        self._unexpired = [number for number in self._unexpired if now < self.records[number - 1].expires_at]
        return sum(self.revoke(now, number) for number in self._unexpired)
