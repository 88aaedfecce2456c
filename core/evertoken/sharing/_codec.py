"""A record as the bytes that stand in a store, sealed; and the key under which they stand.

**The key** is 64 hexadecimal digits, made from the very request: token endpoint, client id, every form field, manner of
authentication and secret, by a function that is keyed with the secret. Two requests that could be answered differently
have two keys, and nobody can tell from a key what it was made from. A block that wrong credentials have met stands
under a key of theirs, and a new secret begins with a record of its own. The number of the format is in the key, so that
two releases in one deploy do not take each other's records for damaged.

**The seal** is made with the client's secret over key and content: whoever can write the store and does not know the
secret can plant neither a token nor a block, nor move one from another key. What does not fit counts as no record, and
is reported. A grant without a client secret has nothing to seal with, so that anybody could have made its records:
there only the encryption (:class:`~evertoken.sharing.Cipher`), if there is one, keeps others out.

Each value holds the id of the write that made it, so that no two are alike and a swap is never mistaken for another.
Fields at the top of the record that a later release has added are kept as they are.
"""

from __future__ import annotations

import hmac
import json
from typing import NamedTuple

from evertoken._checks import is_visible_ascii
from evertoken._forms import (
    BUDGET,
    DOUBLINGS,
    FLAG,
    LONGEST,
    PAST,
    PROBLEM,
    TEXT,
    TIME,
    Form,
    Forms,
    Misfit,
    count,
    number,
    one_of,
    optional,
    plain_form,
    record,
    several,
    values_of,
    written,
)
from evertoken._grant import BasicAuthentication, ClientCredentials
from evertoken._json import JsonObject, decode_object
from evertoken._states import BlockKind
from evertoken.outcomes import Granted
from evertoken.sharing._record import Account, Bar, Closed, Grant, Lease, Record
from evertoken.sharing._store import Cipher

FORMAT = 1

_NAME = plain_form(lambda value: isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable())
_GRANTED = record(
    Granted,
    {
        "access_token": plain_form(lambda value: isinstance(value, str) and is_visible_ascii(value)),
        "expires_in": optional(number(LONGEST)),
        "scope": optional(TEXT),
    },
)
_KIND = one_of(BlockKind)
_COUNTED = Form(
    lambda times, _origin: {kind.value: number_ for kind, number_ in times},
    lambda content, origin: tuple(
        [(kind, DOUBLINGS.read(content[kind.value], origin)) for kind in BlockKind if kind.value in content]
        if isinstance(content, dict)
        else _refused()
    ),
)
_RECORD: Forms = {
    "account": record(
        Account,
        {
            "budget": BUDGET,
            "failures": DOUBLINGS,
            "malformed": DOUBLINGS,
            "retry_at": PAST,
            "problem": optional(PROBLEM),
            "times": _COUNTED,
            "vouched": FLAG,
        },
    ),
    "n": count(),
    "floor": count(),
    "written": PAST,
    "grant": optional(record(Grant, {"granted": _GRANTED, "asked": TIME, "wall": TIME, "n": count()})),
    "block": optional(
        record(
            Closed,
            {"kind": _KIND, "ends": TIME, "look": optional(TIME), "asked": TIME, "n": count(), "problem": PROBLEM},
        )
    ),
    "lease": optional(record(Lease, {"nonce": _NAME, "since": TIME, "until": TIME, "n": count()})),
    "bars": several(record(Bar, {"host": _NAME, "until": TIME, "times": DOUBLINGS, "problem": PROBLEM})),
}


def _refused() -> list[tuple[BlockKind, int]]:
    raise Misfit


class Read(NamedTuple):
    """What stands in a store: a record, or None with the ``fault`` for which it is not believed.

    ``beside`` are the fields that this release does not know.
    """

    record: Record | None
    beside: JsonObject
    fault: str | None = None


def key_of(grant: ClientCredentials) -> str:
    """The key of what is asked for with ``grant``."""
    manner = grant.endpoint.authentication
    kind = type(manner)
    # An embedder's own may say what distinguishes two of them; its repr may be another one in each process.
    identity = manner.encoding if isinstance(manner, BasicAuthentication) else getattr(manner, "identity", "")
    parts = (grant.endpoint.url, grant.client_id, grant.form(), f"{kind.__module__}.{kind.__qualname__}", str(identity))
    return grant.seal(f"store {FORMAT}", repr(parts))


def is_unshared(grant: ClientCredentials, cipher: Cipher | None) -> bool:
    """Whether nothing of ``grant`` is shared, since anybody could have sealed its records."""
    return not grant.sealing_secret and cipher is None


def write_record(
    grant: ClientCredentials, key: str, record: Record, beside: JsonObject, *, write: str, cipher: Cipher | None
) -> bytes:
    """``record`` as bytes. ``write`` is the id of this write, which no other has."""
    content = {**beside, **written(record._asdict(), _RECORD, 0.0), "format": FORMAT, "write": write}
    text = _canonical(content)
    sealed = _canonical({**content, "seal": _seal_of(grant, key, text)}).encode("ascii")
    return sealed if cipher is None else cipher.encrypt(sealed)


def read_record(grant: ClientCredentials, key: str, value: bytes | None, cipher: Cipher | None) -> Read:
    """The record in ``value``. What is damaged, foreign, forged or of a later format is none, and says why."""
    if value is None:
        return Read(None, {})
    plain = value if cipher is None else cipher.decrypt(value)
    if plain is None:
        return Read(None, {}, "it was encrypted under a key that this process does not have")
    try:
        content = decode_object(plain.decode("ascii"))
    except UnicodeDecodeError:
        content = "not text"
    if isinstance(content, str):
        encrypted = "" if cipher is not None else ", as one that is encrypted is to whoever has none of the keys"
        return Read(None, {}, f"it is {content}{encrypted}")
    seal = content.pop("seal", None)
    if not isinstance(seal, str) or not hmac.compare_digest(
        seal.encode("utf-8", "replace"), _seal_of(grant, key, _canonical(content)).encode()
    ):
        return Read(None, {}, "it was not sealed with this client's secret, or was changed since")
    if content.pop("format", None) != FORMAT:
        return Read(None, {}, "it is of another format")
    content.pop("write", None)
    known = {name: content.pop(name) for name in _RECORD if name in content}
    try:
        return Read(Record(**values_of(known, _RECORD, 0.0)), content)
    except Misfit as misfit:
        return Read(None, {}, f"it is not as this release writes it, at {'.'.join(misfit.place) or 'the top'}")


def _canonical(content: JsonObject) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _seal_of(grant: ClientCredentials, key: str, text: str) -> str:
    return grant.seal("record", f"{key}\0{text}")
