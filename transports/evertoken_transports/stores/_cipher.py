"""The encryption of what is stored, by keys that can be changed while processes use them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from evertoken._secrecy import Unpicklable
from evertoken.sharing._store import Cipher

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet


class Keys(Unpicklable):
    """Stands for some keys where they would be seen: error trackers show the local variables of every frame.

    What is wrong with the keys is raised by :meth:`cipher`, and not before. Equal for equal keys; false if there are
    none.
    """

    def __init__(self, keys: object) -> None:
        self._digest = b""
        self._fault: Exception | None = None
        self._cipher: Cipher | None = None
        try:
            self._cipher = made_cipher(cast("Sequence[str | bytes]", keys))
            self._digest = sha256(repr([_ascii(key) for key in cast("Sequence[str | bytes]", keys)]).encode()).digest()
        except (ImportError, TypeError, ValueError) as error:
            self._fault = type(error)(*error.args)
        del keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keys) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __bool__(self) -> bool:
        return self._cipher is not None or self._fault is not None

    def cipher(self) -> Cipher | None:
        """The cipher that encrypts by the keys; None if there are none. Raises as :func:`made_cipher`."""
        if self._fault is not None:
            raise type(self._fault)(*self._fault.args)  # A new one each time, whose traceback is this caller's.
        return self._cipher


def _ascii(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


class _Fernet:
    """Fernet (AES-128-CBC and HMAC-SHA256): the first key encrypts, each decrypts."""

    def __init__(self, keys: MultiFernet) -> None:
        self._keys = keys

    def encrypt(self, plain: bytes, /) -> bytes:
        return self._keys.encrypt(plain)

    def decrypt(self, cipher: bytes, /) -> bytes | None:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 (an extra)

        try:
            return self._keys.decrypt(cipher)
        except InvalidToken:
            return None


def made_cipher(keys: Sequence[str | bytes]) -> Cipher | None:
    """A cipher that encrypts by the first of ``keys``, and decrypts by any of them; None if there are none.

    A key is what ``cryptography.fernet.Fernet.generate_key()`` makes. To change it, give all processes the new key in
    the second place, then in the first, and then take the old one away.

    Raises:
        TypeError, ValueError: ``keys`` is no sequence of such keys. No text shows a key.
        ImportError: ``cryptography`` is not installed.
    """
    if isinstance(keys, str | bytes) or not isinstance(keys, Sequence):
        del keys
        raise TypeError("keys must be a sequence of keys, such as a tuple: the first encrypts, each decrypts")
    if not keys:
        return None
    if find_spec("cryptography") is None:
        raise ImportError(
            "keys need cryptography. To install: pip install cryptography "
            "(or, in a checkout of evertoken, pip install '.[encryption]')"
        )
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 (an extra)

    made = list[Fernet]()
    with suppress(TypeError, ValueError):
        made.extend(Fernet(key) for key in keys)
    number, count = len(made), len(keys)
    del keys
    if number < count:
        raise ValueError(f"keys[{number}] is no key: make one by cryptography.fernet.Fernet.generate_key()")
    return _Fernet(MultiFernet(made))
