"""A secret that a callable gives: asked for at the claim, told to the machine, and never called by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from evertoken import (
    AuthenticationParts,
    BasicAuthentication,
    Blocked,
    BlockKind,
    ClientAssertion,
    ClientCredentials,
    Failed,
    HttpResponse,
    LocalProtocolError,
    Policy,
    PostAuthentication,
    ProblemKind,
    RequestState,
    Signing,
    Snapshot,
    TokenEndpoint,
    TokenMachine,
    TokenRequest,
    WaitReason,
    mangopay,
)
from evertoken._secrecy import replace
from evertoken.happenings import CredentialsReplaced, EndpointBlocked, EndpointUnblocked, RequestEnded
from evertoken.outcomes import Granted, Postponed, Stale
from tests.kits import canary
from tests.kits.driving import FAILED, LOCKED, REFUSED, UNCLEAR, bearer, draws, granted, machine, wait

URL = "https://login.example.com/token"


def vault() -> str:
    """Not called: the machine never does."""
    raise AssertionError("the core has called the callable")


GRANT = mangopay.sandbox("canary", vault)
OLD, NEW = canary.secret(0), canary.secret(1)


def asking(**policy: float) -> TokenMachine:
    """A machine whose secret has to be asked for."""
    return machine(Policy(**policy), credentials=GRANT)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def told(m: TokenMachine, now: float, secret: str) -> TokenRequest:
    """The request that travels, claimed at ``now`` and made with ``secret``."""
    request = m.secret_told(now, m.start_request(now), secret)
    assert request is not None
    return request


def carries(request: TokenRequest, secret: str) -> bool:
    (line,) = BasicAuthentication("raw").authenticate(canary.grant(api_key=secret)).headers
    return line in request.headers


def test_what_is_claimed_holds_nothing_until_the_secret_is_told() -> None:
    m = asking()
    request = m.start_request(0)
    assert (request.asks, request.headers, request.body, request.secrets) == (True, (), b"", ())
    assert request.grant is GRANT
    signed = m.secret_told(3, request, OLD)
    assert signed is not None
    assert (signed.asks, signed.id, signed.owner) == (False, request.id, request.owner)
    assert carries(signed, OLD)
    assert signed.secrets[-1] == OLD
    assert m.explain(3).budget_left == m.policy.budget_burst - 1
    assert isinstance(m.receive_response(4, signed, granted()), Granted)
    assert m.authorization(4) == bearer()


def test_asking_has_the_time_of_a_request_and_the_request_its_own_after_it() -> None:
    m = asking(request_timeout=10)
    request = m.start_request(0)
    assert request.deadline == 20
    assert wait(m, 19) == (20, WaitReason.RESPONSE)
    late, later = m.secret_told(3, request, OLD), m.secret_told(15, request, OLD)
    assert late is not None
    assert later is not None
    assert (late.deadline, later.deadline) == (13, 20)
    assert m.secret_told(20, request, OLD) is None
    assert m.problem(20) is not None


def test_the_life_of_a_token_counts_from_the_telling_and_not_from_the_asking_before_it() -> None:
    m = asking()
    request = m.start_request(0)
    signed = m.secret_told(8, request, OLD)
    assert signed is not None
    m.receive_response(9, signed, granted(expires_in=300))
    token = m.token(9)
    assert token is not None
    assert (token.started, token.expires_at) == (8, 308)


def test_each_request_is_made_with_the_secret_that_was_told_for_it() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), granted())
    assert m.happenings[0] == RequestEnded(1, Granted(canary.token(), 300.0))
    signed = told(m, 270, NEW)
    assert carries(signed, NEW)
    assert m.happenings == (CredentialsReplaced(),)
    assert m.explain(270).credentials_generation == 1
    assert isinstance(m.receive_response(271, signed, granted(1)), Granted)
    told(m, 540, NEW)
    assert m.explain(540).credentials_generation == 1


def test_the_first_secret_that_is_told_replaces_none() -> None:
    m = asking()
    request = m.start_request(0)
    m.secret_told(0, request, OLD)
    assert m.happenings == ()
    assert m.explain(0).credentials_generation == 0
    assert m.grant == GRANT.with_secret(OLD)


def test_a_refusal_of_the_secret_that_was_told_is_not_taken_for_one_of_an_older_secret() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), granted())
    assert isinstance(m.receive_response(271, told(m, 270, NEW), REFUSED), Blocked)


def test_a_refusal_of_a_secret_that_was_replaced_by_hand_meanwhile_is_stale() -> None:
    m = asking()
    signed = told(m, 0, OLD)
    m.replace_credentials(1, GRANT.with_secret(NEW))
    assert isinstance(m.receive_response(2, signed, REFUSED), Stale)


@pytest.mark.parametrize("refused", [REFUSED, UNCLEAR], ids=["refused", "unclear"])
def test_a_refused_secret_is_asked_for_again_once_a_minute_and_one_that_is_no_other_costs_nothing(
    refused: HttpResponse,
) -> None:
    m = asking(unclear_wait=600)
    m.receive_response(0, told(m, 0, OLD), refused)
    ends = m.explain(0).blocks
    for now in (60.0, 120.0, 180.0):
        assert wait(m, now - 0.5) is not None
        left = m.explain(now).budget_left
        look = m.start_request(now)
        assert m.request_state(now) is RequestState.BLOCKED
        assert m.secret_told(now, look, OLD) is None
        (happening,) = m.happenings
        assert isinstance(happening, RequestEnded)
        assert isinstance(happening.outcome, Postponed)
        assert m.explain(now).blocks == ends
        assert (m.explain(now).failures, m.explain(now).budget_left) == (0, left)


def test_another_secret_ends_the_refusal_and_the_same_attempt_goes_on_with_it() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), REFUSED)
    signed = told(m, 60, NEW)
    assert carries(signed, NEW)
    assert m.happenings == (EndpointUnblocked(BlockKind.REFUSED), CredentialsReplaced())
    assert m.request_state(60) is RequestState.IN_FLIGHT
    assert isinstance(m.receive_response(61, signed, granted()), Granted)


def test_another_secret_each_time_ends_refusals_three_times_and_then_waits_like_any_other() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, canary.secret(0)), REFUSED)
    for n in (1, 2, 3):
        m.receive_response(60 * n, told(m, 60 * n, canary.secret(n)), REFUSED)
    look = m.start_request(240)
    assert m.secret_told(240, look, canary.secret(4)) is None
    assert m.happenings[0] == CredentialsReplaced()
    assert m.request_state(240) is RequestState.BLOCKED
    assert wait(m, 240) == (300, WaitReason.RETRY)


def test_a_lock_or_a_rate_limit_is_not_looked_at_before_it_ends() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), LOCKED)
    assert wait(m, 0) == (m.explain(0).blocks[0][1], WaitReason.UNBLOCK)


def test_what_is_blocked_while_the_secret_is_asked_for_is_not_asked() -> None:
    m = asking()
    request = m.start_request(0)
    m.endpoint_blocked(1, BlockKind.RATE_LIMITED, 5.0)
    assert m.secret_told(2, request, OLD) is None
    assert wait(m, 2) == (6, WaitReason.UNBLOCK)
    told(m, 6, OLD)


def test_with_a_store_the_look_goes_on_to_the_store_which_knows_of_the_block() -> None:
    grant = GRANT
    m = TokenMachine(grant, draw=lambda: 0.0, tiers=1)
    request = m.start_request(0)
    assert request.deadline == 30
    m.endpoint_blocked(1, BlockKind.REFUSED)
    assert m.secret_told(2, request, OLD) is not None
    m.receive_response(3, request, REFUSED)
    assert m.state_value.blocks[0].look_at == m.state_value.blocks[0].until


def test_a_live_token_is_handed_out_while_a_refused_secret_is_looked_at() -> None:
    m = asking(refresh_before=600, refresh_before_share=0.5)
    m.receive_response(0, told(m, 0, OLD), granted(expires_in=3_600))
    m.receive_response(3_300, told(m, 3_300, OLD), REFUSED)
    assert m.secret_told(3_360, m.start_request(3_360), OLD) is None
    assert m.authorization(3_361) == bearer()
    assert wait(m, 3_361) == (3_420, WaitReason.REFRESH)
    assert isinstance(m.receive_response(3_421, told(m, 3_420, NEW), granted(1)), Granted)


def test_a_secret_that_cannot_be_had_is_a_failure_with_back_off_and_nothing_is_charged() -> None:
    m = asking()
    left = m.explain(0).budget_left
    waits: list[float] = []
    now = 0.0
    for _ in range(4):
        outcome = m.secret_failed(now, m.start_request(now), "it raised vault.Sealed")
        assert isinstance(outcome, Failed)
        assert outcome.problem.kind is ProblemKind.SECRET
        found = wait(m, now)
        assert found is not None
        waits.append(found[0] - now)
        now = found[0]
    assert waits == [waits[0], 2 * waits[0], 4 * waits[0], 8 * waits[0]]
    assert m.explain(now).budget_left == left
    assert "it raised vault.Sealed" in str(m.problem(now))
    assert "canary" in str(m.problem(now))


def test_why_there_is_no_secret_is_told_without_any_secret() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), FAILED)
    outcome = m.secret_failed(600, m.start_request(600), f"the vault said {OLD}")
    canary.assert_clean(outcome, m.explain(600))
    bug = m.read_no_secret(m.start_request(1_200), "TypeError in vault.read, line 3", is_bug=True)
    assert isinstance(bug, Failed)
    assert bug.problem.kind is ProblemKind.BUG


@pytest.mark.parametrize("secret", ["", " x", "x\n", "a\tb", 7, None, b"x"], ids=repr)
def test_what_can_be_no_secret_is_refused_and_nothing_has_changed(secret: object) -> None:
    m = asking()
    request = m.start_request(0)
    with pytest.raises(ValueError, match="the secret "):
        m.secret_told(0, request, secret)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert m.secret_told(0, request, OLD) is not None


def test_a_secret_is_told_for_a_request_of_this_machine() -> None:
    m, other = asking(), asking()
    with pytest.raises(LocalProtocolError, match="made by another machine"):
        m.secret_told(0, other.start_request(0), OLD)


def test_what_the_old_secret_looks_like_is_kept_out_of_sight_after_a_rotation() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), granted())
    signed = told(m, 270, NEW)
    answer = HttpResponse(400, (), b'{"error": "invalid_client", "error_description": "not ' + OLD.encode() + b'"}')
    canary.assert_clean(m.receive_response(271, signed, answer), m.explain(271), m)


def test_a_snapshot_is_believed_under_the_secret_of_the_moment_and_not_without_one() -> None:
    m = asking()
    m.receive_response(0, told(m, 0, OLD), granted())
    saved = Snapshot.from_json(m.snapshot(1, secrets=True).to_json())
    known = TokenMachine.restore(GRANT.with_secret(OLD), saved, 1, draw=lambda: 0.0)
    assert known.authorization(1) == bearer()
    assert known.start_request(270).asks
    for grant in (GRANT, GRANT.with_secret(NEW)):
        unknown = TokenMachine.restore(grant, saved, 1, draw=lambda: 0.0)
        assert unknown.authorization(1) is None
        assert unknown.explain(1).problem is not None
        assert unknown.explain(1).budget_left == m.explain(1).budget_left
    nobody = Snapshot.from_json(asking().snapshot(0, secrets=True).to_json())
    assert TokenMachine.restore(GRANT, nobody, 0, draw=lambda: 0.0).explain(0).problem is not None


# The grant
# ---------


class Vault:
    """A client of something, whose bound methods are given as secrets."""

    def read(self) -> str:
        """Not called."""
        return vault()


def test_grants_with_the_same_callable_are_equal_and_others_are_not() -> None:
    assert mangopay.sandbox("canary", vault) == GRANT
    assert hash(GRANT) == hash(mangopay.sandbox("canary", vault))
    box = Vault()
    assert mangopay.production("c", box.read) == mangopay.production("c", box.read)
    assert mangopay.production("c", box.read) != mangopay.production("c", Vault().read)
    assert GRANT.same_client(canary.grant())
    assert not GRANT.same_proof(canary.grant())
    assert GRANT.with_secret(OLD) != GRANT
    assert GRANT.with_secret("").with_secret(vault) == GRANT


def test_a_callable_is_not_shown_since_its_arguments_may_be() -> None:
    grant = mangopay.sandbox("canary", partial(str, OLD))
    canary.assert_clean(grant, TokenMachine(grant, draw=lambda: 0.0), grant.with_secret(NEW))


def test_a_copy_with_changes_keeps_the_callable() -> None:
    scoped = replace(GRANT.with_secret(OLD), scope="read")
    assert (scoped.secret_source, scoped.client_secret, scoped.scope) == (vault, "", "read")
    fixed = replace(GRANT, client_secret=OLD)
    assert (fixed.secret_source, fixed.client_secret) == (None, OLD)
    federated = ClientCredentials(TokenEndpoint(URL, ClientAssertion(vault)), "canary")
    assert replace(federated.with_secret(OLD), scope="read").secret_source is vault


def test_a_rotation_from_a_callable_to_a_text_and_back_is_a_change_of_credentials() -> None:
    m = machine()
    m.receive_response(0, m.start_request(0), REFUSED)
    m.replace_credentials(1, GRANT)
    assert m.request_state(1) is RequestState.IDLE
    m.receive_response(1, told(m, 1, OLD), granted())
    m.replace_credentials(2, canary.grant())
    assert not m.start_request(280).asks


def test_what_a_callable_said_that_was_replaced_meanwhile_is_of_no_use() -> None:
    m = asking()
    request = m.start_request(0)
    m.replace_credentials(1, canary.grant(api_key=NEW))
    signed = m.secret_told(2, request, OLD)
    assert signed is not None
    assert carries(signed, NEW)
    assert isinstance(m.receive_response(3, signed, granted()), Granted)
    box = Vault()
    m = asking()
    request = m.start_request(0)
    m.replace_credentials(1, mangopay.sandbox("canary", box.read))
    assert m.secret_told(2, request, OLD) is None
    assert carries(told(m, 2, NEW), NEW)


class Unhashable:
    """A callable that compares by value and has no hash."""

    def __call__(self) -> str:
        """Not called."""
        return vault()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unhashable)

    __hash__ = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


class FailsToHash(Unhashable):
    """One that only finds out when it is asked."""

    def __hash__(self) -> int:  # type: ignore[override]
        raise TypeError("unhashable inside")


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (lambda: mangopay.sandbox("c", Unhashable()), "client_secret must be hashable"),
        (lambda: mangopay.sandbox("c", FailsToHash()), "client_secret must be hashable"),
        (
            lambda: mangopay.sandbox("c", Vault),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            "client_secret must be a function that gives the text, not a type",
        ),
        (
            lambda: ClientAssertion(canary.secret()),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            "ClientAssertion.secret_source must be a function",
        ),
        (lambda: GRANT.with_secret(Unhashable()), "client_secret must be hashable"),
        (
            lambda: ClientCredentials(TokenEndpoint(URL, ClientAssertion(vault)), "c", OLD),
            "client_secret must be left out: the client authentication brings a proof of its own",
        ),
        (
            lambda: ClientCredentials(TokenEndpoint(URL, ClientAssertion(vault)), "c", Vault().read),
            "client_secret must be left out",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_where_it_is_given(made: Callable[[], object], complaint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint) as caught:
        made()
    canary.assert_clean(caught.value)


def test_an_assertion_of_somebody_else_is_sent_as_rfc_7521_says() -> None:
    grant = ClientCredentials(TokenEndpoint(URL, ClientAssertion(vault)), "the client", scope="read")
    m = machine(credentials=grant)
    signed = told(m, 0, "head.body.signature")
    assert signed.body == (
        b"grant_type=client_credentials&scope=read&client_id=the+client"
        b"&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
        b"&client_assertion=head.body.signature"
    )
    assert "head.body.signature" in signed.secrets
    assert "the client" not in signed.secrets


# What a signature needs
# ----------------------


class Stamped:
    """A client authentication that signs: here it says what it was given."""

    def sign(self, grant: ClientCredentials, signing: Signing) -> AuthenticationParts:
        """One form field."""
        return AuthenticationParts(form=(("stamp", f"{grant.client_id} {signing.unix_time} {signing.entropy.hex()}"),))


SIGNED = ClientCredentials(TokenEndpoint(URL, Stamped()), "canary")
SIGNING = Signing(1_700_000_000.5, bytes(range(16)))


def test_a_client_authentication_that_signs_is_given_time_and_entropy_by_whoever_claims() -> None:
    assert SIGNED.needs_signing
    assert not GRANT.needs_signing
    m = machine(credentials=SIGNED)
    request = m.start_request(0, signing=SIGNING)
    assert request.body.endswith(b"stamp=canary+1700000000.5+000102030405060708090a0b0c0d0e0f")
    m.send_failed(0, request, "lost")
    again = m.start_request(600, signing=Signing(1_700_000_600.0, bytes(16)))
    assert again.body.endswith(b"stamp=canary+1700000600.0+" + b"0" * 32)


def test_it_is_given_them_where_the_secret_is_told_if_that_has_to_be_asked_for() -> None:
    m = machine(credentials=ClientCredentials(TokenEndpoint(URL, Stamped()), "canary", vault))
    request = m.start_request(0)
    with pytest.raises(LocalProtocolError, match="this client authentication signs"):
        m.secret_told(0, request, OLD)
    signed = m.secret_told(0, request, OLD, signing=SIGNING)
    assert signed is not None
    assert b"stamp=canary+1700000000.5" in signed.body


def test_without_them_nothing_is_claimed() -> None:
    m = machine(credentials=SIGNED, draw=draws([0.0, 0.0]))
    with pytest.raises(LocalProtocolError, match=r"give start_request\(\.\.\., signing=Signing\(\.\.\.\)\)"):
        m.start_request(0)
    assert m.request_state(0) is RequestState.IDLE
    assert m.start_request(0, signing=SIGNING).id == 1


@pytest.mark.parametrize("time", [float("nan"), 2.0**41, None])
def test_a_time_to_sign_by_is_a_moment(time: float) -> None:
    with pytest.raises(ValueError, match=r"Signing\.unix_time must be"):
        Signing(time, bytes(16))


@pytest.mark.parametrize("entropy", [b"", bytes(15), "0" * 16])
def test_entropy_to_sign_by_is_sixteen_bytes_or_more(entropy: bytes) -> None:
    with pytest.raises(ValueError, match=r"Signing\.entropy must be at least 16 random bytes"):
        Signing(0.0, entropy)


def test_one_that_signs_must_return_parts_too() -> None:
    class Wrong(Stamped):
        def sign(self, grant: ClientCredentials, signing: Signing) -> AuthenticationParts:
            return (grant, signing)  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    m = machine(credentials=ClientCredentials(TokenEndpoint(URL, Wrong()), "canary"))
    with pytest.raises(TypeError, match="sign must return AuthenticationParts, not tuple"):
        m.start_request(0, signing=SIGNING)


def test_what_does_neither_authenticate_nor_sign_is_no_client_authentication() -> None:
    with pytest.raises(TypeError, match="authentication must have a method authenticate"):
        TokenEndpoint(URL, object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert TokenEndpoint(URL, PostAuthentication()) != TokenEndpoint(URL, Stamped())


def test_a_refusal_and_the_secret_that_replaces_it_at_once_leave_nobody_blocked() -> None:
    """What a driver does who asks again after a refusal."""
    m = asking()
    m.receive_response(1, told(m, 0, OLD), REFUSED)
    assert isinstance(m.happenings[-2], EndpointBlocked)
    m.replace_credentials(1, m.grant.with_secret(NEW))
    assert m.happenings == (EndpointUnblocked(BlockKind.REFUSED), CredentialsReplaced())
    assert wait(m, 1) is None
    assert m.start_request(1).asks
