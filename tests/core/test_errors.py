"""What callers catch: one class for each kind of trouble, picklable, readable at night, and without a secret."""

from __future__ import annotations

import copy
import pickle

import pytest

from evertoken import (
    CredentialsRefused,
    EndpointLocked,
    HttpResponse,
    LifetimeTooShort,
    LocalProtocolError,
    Problem,
    ProblemKind,
    RateLimited,
    TokenUnavailable,
)
from evertoken._problems import unavailable
from tests.kits import canary
from tests.kits.driving import FAILED, LIMITED, LOCKED, MALFORMED, REFUSED, UNCLEAR, attempt, machine

SPECIAL = {
    ProblemKind.LOCKED: EndpointLocked,
    ProblemKind.CREDENTIALS_REFUSED: CredentialsRefused,
    ProblemKind.REQUEST_REFUSED: CredentialsRefused,
    ProblemKind.RATE_LIMITED: RateLimited,
    ProblemKind.LIFETIME_TOO_SHORT: LifetimeTooShort,
}
PROBLEM = Problem(ProblemKind.LOCKED, "Locked out", "Wait", 400, "unauthorized_client", "slow down")


@pytest.mark.parametrize("kind", ProblemKind)
def test_each_kind_of_problem_has_its_class_below_token_unavailable(kind: ProblemKind) -> None:
    error = unavailable(Problem(kind, "made up"), 7.0)
    assert type(error) is SPECIAL.get(kind, TokenUnavailable)
    assert isinstance(error, TokenUnavailable)
    assert error.problem.kind is kind
    assert error.retry_after == 7.0


def test_an_error_says_what_happened_what_to_do_and_when() -> None:
    text = str(unavailable(PROBLEM, 12.34))
    assert text == 'Locked out (the server said: "slow down"). Wait No token request is made for another 12.4 s.'
    assert str(unavailable(Problem(ProblemKind.LOST, "Lost"))).startswith("Lost. ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.01, "0.1 s"), (10, "10.0 s"), (86_429.91, "86430.0 s"), (2**30, "1073741824.0 s")]
)
def test_the_wait_is_rounded_up_to_a_tenth_of_a_second(seconds: float, text: str) -> None:
    assert f"another {text}" in str(unavailable(PROBLEM, seconds))


@pytest.mark.parametrize("kind", ProblemKind)
def test_errors_are_picklable_and_copyable_and_stay_the_same(kind: ProblemKind) -> None:
    error = unavailable(Problem(kind, "made up", "advice", 400, "code", "detail"), 7.5)
    twins = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*twins, copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert twin is not error
        assert (twin.problem, twin.retry_after, str(twin)) == (error.problem, error.retry_after, str(error))
        assert repr(twin) == repr(error)


def test_misuse_is_a_runtime_error_and_picklable() -> None:
    error = LocalProtocolError("wrong")
    assert isinstance(error, RuntimeError)
    assert str(pickle.loads(pickle.dumps(error))) == "wrong"


@pytest.mark.parametrize("answer", [FAILED, MALFORMED, REFUSED, UNCLEAR, LOCKED, LIMITED], ids=lambda r: str(r.body))
def test_every_problem_of_an_answer_makes_a_clean_error(answer: HttpResponse) -> None:
    m = machine()
    attempt(m, 0, answer)
    problem = m.problem(0)
    assert problem is not None
    assert problem.summary
    assert problem.advice
    canary.assert_clean(unavailable(problem, 1.0))
