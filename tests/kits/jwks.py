"""Keys for assertions: one of each kind, and their public halves as servers want them (RFC 7517)."""

from __future__ import annotations

import base64
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from evertoken_transports.jwt import Algorithm, PrivateKey

__all__ = ("KEYS", "Key", "keys", "public_jwks")


class Key(NamedTuple):
    """A private key, by which algorithm it signs, and the name that a server knows its public half by."""

    algorithm: Algorithm
    private: PrivateKey
    kid: str


def keys() -> tuple[Key, ...]:
    """New keys: one for each of the four algorithms, two of which share an RSA key."""
    of_rsa = rsa.generate_private_key(65_537, 2_048)
    return (
        Key("RS256", of_rsa, "rsa"),
        Key("PS256", of_rsa, "rsa"),
        Key("ES256", ec.generate_private_key(ec.SECP256R1()), "p-256"),
        Key("EdDSA", ed25519.Ed25519PrivateKey.generate(), "ed25519"),
    )


KEYS = keys()


def public_jwks(known: tuple[Key, ...]) -> dict[str, list[dict[str, str]]]:
    """The JWK set of the public halves of ``known``, each once."""
    return {"keys": list({key.kid: _public_jwk(key) for key in known}.values())}


def _public_jwk(key: Key) -> dict[str, str]:
    private = key.private
    if isinstance(private, rsa.RSAPrivateKey):
        of_rsa = private.public_key().public_numbers()
        return {"kty": "RSA", "kid": key.kid, "n": _number(of_rsa.n, 256), "e": _number(of_rsa.e, 3)}
    if isinstance(private, ec.EllipticCurvePrivateKey):
        point = private.public_key().public_numbers()
        return {"kty": "EC", "kid": key.kid, "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
    return {"kty": "OKP", "kid": key.kid, "crv": "Ed25519", "x": _base64(private.public_key().public_bytes_raw())}


def _number(number: int, length: int) -> str:
    return _base64(number.to_bytes(length))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
