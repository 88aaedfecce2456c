"""The encryption of what is stored: nobody reads it without a key, and keys can be changed while all goes on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from cryptography.fernet import Fernet

from evertoken_transports.stores._cipher import Keys, made_cipher

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()


def test_no_keys_are_no_encryption() -> None:
    assert made_cipher(()) is None


def test_what_is_encrypted_is_read_with_the_key_and_not_without() -> None:
    mine, other = made_cipher((OLD,)), made_cipher([NEW.decode()])
    assert mine is not None
    assert other is not None
    cipher = mine.encrypt(b"a token")
    assert b"token" not in cipher
    assert mine.decrypt(cipher) == b"a token"
    assert other.decrypt(cipher) is None


@pytest.mark.parametrize("cipher", [b"", b"a token", b"\xff" * 99, b"{}", b"g" * 5_000])
def test_what_was_not_encrypted_by_a_key_is_none_and_no_error(cipher: bytes) -> None:
    mine = made_cipher((OLD,))
    assert mine is not None
    assert mine.decrypt(cipher) is None


def test_keys_are_changed_in_three_steps_and_everybody_reads_everybody_all_the_while() -> None:
    steps = [made_cipher(keys) for keys in ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,))]
    for one, next_one in itertools.pairwise(steps):
        assert one is not None
        assert next_one is not None
        assert next_one.decrypt(one.encrypt(b"from the old")) == b"from the old"
        assert one.decrypt(next_one.encrypt(b"from the new")) == b"from the new"


def test_wrong_keys_raise_an_error_of_their_own_each_time() -> None:
    keys, raised = Keys((b"no key",)), list[Exception]()
    for _ in range(2):
        with pytest.raises(ValueError, match="is no key") as caught:
            keys.cipher()
        raised.append(caught.value)
    assert raised[0] is not raised[1]


@pytest.mark.parametrize("keys", ["a key", b"a key", 5, {OLD}])
def test_what_is_no_sequence_of_keys_is_refused(keys: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="a sequence of keys"):
        made_cipher(keys)


@pytest.mark.parametrize("key", [b"", b"short-and-secret", "not base64 \N{SNOWMAN}", 5])
def test_what_is_no_key_is_refused_and_not_shown(key: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=r"keys\[1\] is no key") as caught:
        made_cipher((OLD, key))
    assert "secret" not in str(caught.value)
