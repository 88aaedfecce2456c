"""``private_key_jwt``: the client proves who it is by a key that it never sends (RFC 7523 section 2.2).

    key = Path("/run/secrets/client.pem").read_bytes()
    endpoint = TokenEndpoint("https://login.example.com/token", PrivateKeyJwt(key, kid="2026-11"))
    grant = ClientCredentials(endpoint, "the-client-id")

Needs ``evertoken[jwt]``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Literal, cast

try:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
except ImportError as error:
    raise ImportError("evertoken_transports.jwt needs cryptography: pip install 'evertoken[jwt]'") from error

from evertoken import AuthenticationParts, ClientCredentials, Signing
from evertoken._checks import fault_of_text, is_moment
from evertoken._grant import JWT_BEARER
from evertoken._secrecy import Hidden, Unpicklable

__all__ = ("Algorithm", "PrivateKey", "PrivateKeyJwt")

Algorithm = Literal["RS256", "PS256", "ES256", "EdDSA"]
"""How an assertion is signed (RFC 7518 section 3.1, RFC 8037 section 3.1)."""

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
"""What an assertion is signed by: RSA for RS256 and PS256, P-256 for ES256, Ed25519 for EdDSA."""

_SHORTEST_RSA = 2_048
"""Bits (RFC 7518 section 3.3)."""


class PrivateKeyJwt(Unpicklable):
    """Signs an assertion for each token request; none is ever sent twice.

    An assertion says who the client is (``iss``, ``sub``), for whom it is (``aud``), since when and until when it is
    good (``iat``, ``exp``), and has an id of its own (``jti``). Time and randomness come from whoever claims the
    request (:class:`evertoken.Signing`), which the sources of this package see to. Equal ones give equal payloads, so
    that a simulation reproduces them; equal signatures, too, with RS256 and EdDSA, while PS256 and ES256 draw
    randomness of their own.

    Args:
        private_key: PEM, or a key of ``cryptography``. Nothing shows it, and it is never sent.
        algorithm: by default what fits the key: RS256, ES256 or EdDSA.
        kid: the id by which the server finds the public key (RFC 7515 section 4.1.4).
        audience: the token endpoint's URL by default; some servers want their issuer.
        lifetime: seconds for which an assertion is good, from 1 to 3600; a fraction of a second is cut off. Servers
            allow some minutes. If this machine's clock is slow by more than this, every assertion has expired when the
            server reads it.
        password: the password of a PEM that is encrypted.

    Immutable; compares by the key and the settings. To sign takes about a millisecond with RSA, and a tenth of one
    otherwise. A new key is a change of credentials: give ``replace_credentials`` a grant whose endpoint has another
    ``PrivateKeyJwt``.

    Raises:
        ValueError: the key cannot be read, or is of another kind than the algorithm needs, or another argument is
            wrong. The text shows nothing of the key.
    """

    __slots__ = ("_claims", "_header", "_identity", "_public", "_sign", "algorithm", "kid", "lifetime", "seal_secret")

    algorithm: Algorithm
    kid: str | None
    lifetime: float
    seal_secret: str
    """A text that only who has the private key can know, since it follows from the key. It seals what is stored."""

    def __init__(
        self,
        private_key: str | bytes | PrivateKey,
        *,
        algorithm: Algorithm | None = None,
        kid: str | None = None,
        audience: str | None = None,
        lifetime: float = 180.0,
        password: str | bytes | None = None,
    ) -> None:
        key = _read(private_key, password)
        del private_key, password  # Error trackers show the local variables of every frame.
        chosen = _usual(key) if algorithm is None else algorithm
        fault = _fault_of(key, chosen, kid, audience, lifetime)
        if fault is not None or isinstance(key, str):
            del self, key
            raise ValueError(f"PrivateKeyJwt: {fault}")
        self.algorithm, self.kid, self.lifetime = chosen, kid, lifetime
        self._sign, self.seal_secret, self._public = _signer(chosen, key), _seal_secret(key), _digest_of_public(key)
        self._header = _coded({"alg": chosen, "typ": "JWT"} | ({} if kid is None else {"kid": kid}))
        self._claims = {} if audience is None else {"aud": audience}
        self._identity = (self._public, chosen, kid, audience, lifetime)

    def __repr__(self) -> str:
        return f"PrivateKeyJwt({self.algorithm}, kid={self.kid!r}, key {self._public[:12]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKeyJwt) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def identity(self) -> str:
        """What distinguishes this authentication from others of its class, where a token is shared by a store."""
        return repr(self._identity)

    def sign(self, grant: ClientCredentials, signing: Signing) -> AuthenticationParts:
        """The form fields of a token request: the client id, the kind of the assertion, and the assertion."""
        proof = (("client_assertion_type", JWT_BEARER), ("client_assertion", self.assertion(grant, signing)))
        return AuthenticationParts(form=(("client_id", grant.client_id), *proof))

    def assertion(self, grant: ClientCredentials, signing: Signing) -> str:
        """The signed assertion itself, in the compact form of RFC 7515."""
        issued = int(signing.unix_time)
        claims: dict[str, object] = {
            "iss": grant.client_id,
            "sub": grant.client_id,
            "aud": grant.endpoint.url,
            "jti": _base64(signing.entropy),
            "iat": issued,
            "exp": issued + int(self.lifetime),
            **self._claims,
        }
        content = f"{self._header}.{_coded(claims)}"
        return f"{content}.{_base64(self._sign(content.encode('ascii')))}"


# Keys
# ----


def _read(given: object, password: object) -> PrivateKey | str:
    """The key; or what is wrong with what was given, in a text that shows nothing of the key."""
    key = given
    if isinstance(given, str | bytes):
        hidden = Hidden(given if isinstance(given, str) else given.decode("latin-1"))
        secret = password.encode(errors="surrogatepass") if isinstance(password, str) else password
        if not isinstance(secret, bytes | None):
            return f"password must be text or bytes, not {type(password).__name__}"
        key = _from_pem(hidden, secret)
    elif password is not None:
        return "password goes with a PEM"
    if isinstance(key, str):
        return key
    if isinstance(key, RSAPrivateKey):
        short = f"private_key has {key.key_size} bits, and RSA needs {_SHORTEST_RSA} or more (RFC 7518 section 3.3)"
        return key if key.key_size >= _SHORTEST_RSA else short
    if isinstance(key, EllipticCurvePrivateKey):
        curve = f"private_key is on the curve {key.curve.name}, and ES256 needs P-256"
        return key if isinstance(key.curve, SECP256R1) else curve
    if isinstance(key, Ed25519PrivateKey):
        return key
    return f"private_key must be a PEM or a private key of RSA, P-256 or Ed25519, not {type(key).__name__}"


def _from_pem(pem: Hidden, password: bytes | None) -> object:
    try:
        return serialization.load_pem_private_key(pem.reveal().encode("latin-1"), password)
    except TypeError:
        return "password is missing: the PEM is encrypted" if password is None else "the PEM is not encrypted"
    except Exception:  # noqa: BLE001 (errors of several kinds, which may quote what was read)
        return "private_key is no PEM of a private key that can be read, or the password is wrong"


def _usual(key: PrivateKey | str) -> Algorithm:
    if isinstance(key, Ed25519PrivateKey):
        return "EdDSA"
    return "ES256" if isinstance(key, EllipticCurvePrivateKey) else "RS256"


def _fault_of(key: PrivateKey | str, algorithm: object, kid: object, audience: object, lifetime: object) -> str | None:
    faults = [key] if isinstance(key, str) else [_fault_of_algorithm(algorithm, key)]
    faults += [None if kid is None else fault_of_text("kid", kid)]
    faults += [None if audience is None else fault_of_text("audience", audience)]
    if not is_moment(lifetime) or not 1 <= float(cast("float", lifetime)) <= 3_600:
        faults.append("lifetime must be a number of seconds from 1 to 3600")
    return next((fault for fault in faults if fault is not None), None)


_KINDS: Mapping[str, tuple[type, str]] = {
    "RS256": (RSAPrivateKey, "RSA"),
    "PS256": (RSAPrivateKey, "RSA"),
    "ES256": (EllipticCurvePrivateKey, "P-256"),
    "EdDSA": (Ed25519PrivateKey, "Ed25519"),
}


def _fault_of_algorithm(algorithm: object, key: PrivateKey) -> str | None:
    if not isinstance(algorithm, str) or algorithm not in _KINDS:
        return f"algorithm must be one of {', '.join(_KINDS)}"
    kind, name = _KINDS[algorithm]
    return None if isinstance(key, kind) else f"algorithm {algorithm} needs a key of {name}: this is another kind"


def _signer(algorithm: Algorithm, key: PrivateKey) -> Callable[[bytes], bytes]:
    """A function that signs: printed as an attribute, it does not show the key that it signs with."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign
    if isinstance(key, EllipticCurvePrivateKey):
        return lambda content: _flat(key.sign(content, ECDSA(hashes.SHA256())))
    if algorithm == "PS256":
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)
        return lambda content: key.sign(content, pss, hashes.SHA256())
    return lambda content: key.sign(content, padding.PKCS1v15(), hashes.SHA256())


def _flat(signature: bytes) -> bytes:
    """The two numbers of an ECDSA signature one after the other, 32 bytes each (RFC 7518 section 3.4)."""
    first, second = decode_dss_signature(signature)
    return first.to_bytes(32) + second.to_bytes(32)


def _seal_secret(key: PrivateKey) -> str:
    content = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return hashlib.sha256(b"evertoken seal\0" + content).hexdigest()


def _digest_of_public(key: PrivateKey) -> str:
    content = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(content).hexdigest()


# JWT
# ---


def _coded(content: Mapping[str, object]) -> str:
    return _base64(json.dumps(content, separators=(",", ":")).encode("ascii"))


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")
