"""``PrivateKeyJwt``: assertions that verify, that differ each time, and that a simulation reproduces."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from evertoken import (
    Blocked,
    ClientCredentials,
    HttpResponse,
    RequestState,
    Signing,
    Snapshot,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
)
from evertoken_transports import Coordinator
from evertoken_transports.jwt import Algorithm, PrivateKey, PrivateKeyJwt
from evertoken_transports.testing import MangopayServer
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.driving import REFUSED, bearer, granted, machine

URL = "https://login.example.com/token"
RSA = rsa.generate_private_key(65_537, 2_048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS: dict[Algorithm, PrivateKey] = {"RS256": RSA, "PS256": RSA, "ES256": P256, "EdDSA": ED25519}
UNCHECKED: Any = PrivateKeyJwt
SIGNING = Signing(1_700_000_000.9, bytes(range(16)))


def grant_of(manner: PrivateKeyJwt) -> ClientCredentials:
    return ClientCredentials(TokenEndpoint(URL, manner), "the-client")


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def parts_of(assertion: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    head, claims, signature = assertion.split(".")
    return json.loads(decoded(head)), json.loads(decoded(claims)), f"{head}.{claims}".encode(), decoded(signature)


def verify(algorithm: Algorithm, content: bytes, signature: bytes) -> None:
    """Raise InvalidSignature unless the key of ``algorithm`` has signed ``content``."""
    key: Any = KEYS[algorithm].public_key()
    match algorithm:
        case "RS256":
            key.verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
        case "PS256":
            key.verify(signature, content, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        case "ES256":
            assert len(signature) == 64
            numbers = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
            key.verify(encode_dss_signature(*numbers), content, ec.ECDSA(hashes.SHA256()))
        case _:
            key.verify(signature, content)


def pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    protection = serialization.NoEncryption() if password is None else serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)


@pytest.mark.parametrize("algorithm", KEYS)
def test_an_assertion_says_what_rfc_7523_asks_for_and_its_signature_verifies(algorithm: Algorithm) -> None:
    manner = PrivateKeyJwt(KEYS[algorithm], algorithm=algorithm, kid="key-1")
    head, claims, content, signature = parts_of(manner.assertion(grant_of(manner), SIGNING))
    assert head == {"alg": algorithm, "typ": "JWT", "kid": "key-1"}
    assert claims == {
        "iss": "the-client",
        "sub": "the-client",
        "aud": URL,
        "jti": "AAECAwQFBgcICQoLDA0ODw",
        "iat": 1_700_000_000,
        "exp": 1_700_000_180,
    }
    verify(algorithm, content, signature)
    with pytest.raises(InvalidSignature):
        verify(algorithm, content + b"x", signature)


def test_signatures_of_a_known_key_are_those_that_others_make() -> None:
    """RFC 8032 fixes Ed25519 to the last bit."""
    manner = PrivateKeyJwt(ED25519)
    assert manner.assertion(grant_of(manner), SIGNING) == manner.assertion(grant_of(manner), SIGNING)
    _, _, content, signature = parts_of(manner.assertion(grant_of(manner), SIGNING))
    assert signature == ED25519.sign(content)


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_same_time_and_entropy_make_the_same_payload_and_where_it_can_be_the_same_signature(
    algorithm: Algorithm,
) -> None:
    manner = PrivateKeyJwt(KEYS[algorithm], algorithm=algorithm)
    first, second = (manner.assertion(grant_of(manner), SIGNING) for _ in range(2))
    assert parts_of(first)[:3] == parts_of(second)[:3]
    assert (first == second) == (algorithm in ("RS256", "EdDSA"))


def test_what_can_be_chosen_is_in_it() -> None:
    manner = PrivateKeyJwt(P256, audience="https://login.example.com/", lifetime=60)
    head, claims, _, _ = parts_of(manner.assertion(grant_of(manner), SIGNING))
    assert "kid" not in head
    assert (claims["aud"], claims["exp"] - claims["iat"]) == ("https://login.example.com/", 60)


@pytest.mark.parametrize(("key", "usual"), [(RSA, "RS256"), (P256, "ES256"), (ED25519, "EdDSA")])
def test_the_algorithm_follows_from_the_key_and_a_pem_is_as_good_as_a_key(key: PrivateKey, usual: str) -> None:
    manner = PrivateKeyJwt(key)
    assert manner.algorithm == usual
    for given, password in ((pem(key), None), (pem(key).decode(), None), (pem(key, b"pass"), "pass")):
        again = PrivateKeyJwt(given, password=password)
        assert again == manner
        assert hash(again) == hash(manner)
        assert again.identity == manner.identity
        assert again.seal_secret == manner.seal_secret
    assert PrivateKeyJwt(key, kid="other") != manner
    assert manner != usual


def test_a_request_carries_it_in_the_form_and_each_request_another_one() -> None:
    manner = PrivateKeyJwt(ED25519)
    m = machine(credentials=grant_of(manner))
    seen: set[str] = set()
    for n in range(3):
        request = m.start_request(600 * n, signing=Signing(1_700_000_000.0 + n, n.to_bytes(16)))
        form = parse_qs(request.body.decode())
        assert form["grant_type"] == ["client_credentials"]
        assert form["client_id"] == ["the-client"]
        assert form["client_assertion_type"] == ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"]
        (assertion,) = form["client_assertion"]
        assert assertion in request.secrets
        assert assertion not in repr(request)
        seen.add(parts_of(assertion)[1]["jti"])
        m.send_failed(600 * n, request, "lost")
    assert len(seen) == 3


def test_a_new_key_is_a_change_of_credentials() -> None:
    m = machine(credentials=grant_of(PrivateKeyJwt(ED25519)))
    assert isinstance(m.receive_response(0, m.start_request(0, signing=SIGNING), REFUSED), Blocked)
    m.replace_credentials(1, grant_of(PrivateKeyJwt(ED25519)))
    assert m.request_state(1) is RequestState.BLOCKED
    m.replace_credentials(1, grant_of(PrivateKeyJwt(P256)))
    assert m.request_state(1) is RequestState.IDLE


def test_a_snapshot_is_sealed_by_the_key_and_keeps_the_token() -> None:
    grant = grant_of(PrivateKeyJwt(ED25519))
    m = machine(credentials=grant)
    m.receive_response(0, m.start_request(0, signing=SIGNING), granted())
    saved = Snapshot.from_json(m.snapshot(1, secrets=True).to_json())
    assert TokenMachine.restore(grant, saved, 1, draw=lambda: 0.0).authorization(1) == bearer()
    other = grant_of(PrivateKeyJwt(P256))
    assert TokenMachine.restore(other, saved, 1, draw=lambda: 0.0).authorization(1) is None


def test_nothing_of_the_key_is_shown() -> None:
    manner = PrivateKeyJwt(pem(P256), kid="key-1")
    number = P256.private_numbers().private_value
    shown = f"{manner!r} {manner} {grant_of(manner)!r}"
    assert "key-1" in shown
    assert str(number) not in shown
    assert manner.seal_secret not in shown
    with pytest.raises(TypeError, match="cannot be pickled"):
        manner.__reduce_ex__(2)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: UNCHECKED(b"-----BEGIN PRIVATE KEY-----\n" + canary.secret().encode()), "private_key is no PEM"),
        (lambda: UNCHECKED(canary.secret()), "private_key is no PEM of a private key that can be read"),
        (lambda: UNCHECKED(pem(RSA, b"right"), password=b"wrong"), "or the password is wrong"),
        (lambda: UNCHECKED(pem(RSA, b"right"), password=f"{canary.secret()}\ud800"), "or the password is wrong"),
        (lambda: UNCHECKED(pem(RSA, b"right")), "password is missing: the PEM is encrypted"),
        (lambda: UNCHECKED(pem(RSA), password="needless"), "the PEM is not encrypted"),
        (lambda: UNCHECKED(pem(RSA), password=7), "password must be text or bytes, not int"),
        (lambda: UNCHECKED(RSA, password="needless"), "password goes with a PEM"),
        (lambda: UNCHECKED(RSA.public_key()), "private_key must be a PEM or a private key of RSA"),
        (lambda: UNCHECKED(None), "private_key must be a PEM or a private key of RSA, P-256 or Ed25519, not None"),
        (lambda: UNCHECKED(ec.generate_private_key(ec.SECP384R1())), "on the curve secp384r1, and ES256 needs"),
        (lambda: UNCHECKED(rsa.generate_private_key(65_537, 1_024)), "has 1024 bits, and RSA needs 2048 or more"),
        (lambda: UNCHECKED(P256, algorithm="RS256"), "algorithm RS256 needs a key of RSA: this is another kind"),
        (lambda: UNCHECKED(P256, algorithm=""), "algorithm must be one of RS256, PS256, ES256, EdDSA"),
        (lambda: UNCHECKED(P256, algorithm="none"), "algorithm must be one of RS256, PS256, ES256, EdDSA"),
        (lambda: UNCHECKED(P256, algorithm=["ES256"]), "algorithm must be one of RS256, PS256, ES256, EdDSA"),
        (lambda: UNCHECKED(P256, kid=""), "kid must not be empty"),
        (lambda: UNCHECKED(P256, audience=7), "audience must be text, not int"),
        (lambda: UNCHECKED(P256, lifetime=0), "lifetime must be a number of seconds from 1 to 3600"),
        (lambda: UNCHECKED(P256, lifetime="60"), "lifetime must be a number of seconds from 1 to 3600"),
    ],
)
def test_a_wrong_argument_is_named_and_not_shown(make: Callable[[], object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        make()
    canary.assert_clean(caught.value)


# In a source
# -----------


def test_a_source_gives_each_request_the_time_of_the_wall_and_randomness_of_its_own() -> None:
    bodies: list[str] = []

    def exchange(request: TokenRequest) -> HttpResponse:
        bodies.append(request.body.decode())
        return granted(len(bodies), 1)

    now = [1_000.0]
    coordinator = Coordinator(TokenMachine(grant_of(PrivateKeyJwt(RSA)), draw=lambda: 0.5), clock=lambda: now[0])
    source = TokenSource(coordinator.machine.grant, coordinator=coordinator, exchange=exchange, background=False)
    for _ in range(3):
        now[0] += 100
        source.authorization()
    claims = [parts_of(parse_qs(body)["client_assertion"][0])[1] for body in bodies]
    assert len({claim["jti"] for claim in claims}) == 3
    assert all(claim["iat"] > 1_700_000_000 for claim in claims)


def test_under_a_fake_server_the_same_test_signs_the_same_payload() -> None:
    def run() -> list[str]:
        with MangopayServer() as server:
            grant = ClientCredentials(TokenEndpoint(server.grant().endpoint.url, PrivateKeyJwt(ED25519)), "client")
            coordinator = Coordinator.shared(grant, server.coordinator().machine.policy)
            request = coordinator.machine.start_request(coordinator.clock(), signing=coordinator._signing())
            return parse_qs(request.body.decode())["client_assertion"]

    assert run() == run()
