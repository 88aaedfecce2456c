"""The encryption of what is stored, by keys that can be changed while all goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from evertoken.sharing import Cipher

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ("made_cipher",)


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
    """What encrypts with the first of ``keys``, and decrypts with any; None if there are none.

    A key is what ``cryptography.fernet.Fernet.generate_key()`` makes. To change it: give all processes the new one in
    the second place, then in the first, then take the old one away.

    Raises:
        TypeError, ValueError: ``keys`` are no such keys. No text shows one.
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
