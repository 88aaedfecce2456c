"""Every tunable has its default, and a value that makes no sense is refused by name."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, asdict, fields

import pytest

from evertoken import Policy
from evertoken._policy import whole_ticks

DEFAULTS = {
    "refresh_before": 30,
    "refresh_before_share": 0.25,
    "leeway": 5,
    "leeway_share": 0.05,
    "refresh_jitter_share": 0.02,
    "default_lifetime": 300,
    "max_lifetime": 86_400,
    "request_timeout": 10,
    "retry_base": 1,
    "retry_cap": 120,
    "malformed_cap": 3_600,
    "locked_wait": 900,
    "locked_wait_cap": 21_600,
    "refused_wait": 3_600,
    "refused_wait_cap": 86_400,
    "doubted_refusal_wait": 300,
    "unclear_wait": 60,
    "unclear_wait_cap": 3_600,
    "rate_limited_wait": 60,
    "rate_limited_wait_cap": 86_400,
    "wait_spread": 30,
    "wait_spread_share": 0.10,
    "budget_burst": 10,
    "budget_interval": 60,
    "budget_interval_floor": 2,
    "rejection_interval": 60,
    "rejection_burst": 3,
    "rejection_interval_cap": 3_600,
    "store_wait": 10,
    "max_body": 65_536,
}
NAMES = sorted(DEFAULTS)
COUNTS = ["budget_burst", "max_body"]
SHARES = [name for name in NAMES if name.endswith("_share")]
MAY_BE_ZERO = ["refresh_before", "leeway", "wait_spread"]
DURATIONS = [name for name in NAMES if name not in COUNTS and name not in SHARES]


def policy(name: str, value: object) -> Policy:
    return Policy(**{name: value})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_defaults_are_those_of_the_design() -> None:
    assert asdict(Policy()) == DEFAULTS


def test_a_policy_is_a_value() -> None:
    assert Policy() == Policy()
    assert hash(Policy()) == hash(Policy())
    assert Policy(leeway=4) != Policy()
    with pytest.raises(FrozenInstanceError):
        Policy().leeway = 4  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    for value in (math.nan, math.inf, -math.inf, -1, 10**400, -(10**400), True, False, "5", None, 2.0**31 + 1):
        with pytest.raises(ValueError, match=rf"Policy\.{name}\b"):
            policy(name, value)


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [1, 1.0, 1.5, -0.001])
def test_a_share_is_less_than_the_whole(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Policy\.{name}\b"):
        policy(name, value)
    assert getattr(policy(name, 0), name) == 0


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, 1.0, 2.5])
def test_a_count_is_a_whole_number_of_at_least_one(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Policy\.{name}\b"):
        policy(name, value)
    assert getattr(policy(name, 1), name) == 1


@pytest.mark.parametrize("name", DURATIONS)
def test_only_margins_may_be_zero(name: str) -> None:
    if name in MAY_BE_ZERO:
        assert getattr(policy(name, 0), name) == 0
    else:
        with pytest.raises(ValueError, match=rf"Policy\.{name}\b"):
            policy(name, 0)


@pytest.mark.parametrize(
    ("base", "cap"),
    [
        ("retry_base", "retry_cap"),
        ("retry_base", "malformed_cap"),
        ("locked_wait", "locked_wait_cap"),
        ("refused_wait", "refused_wait_cap"),
        ("unclear_wait", "unclear_wait_cap"),
        ("rate_limited_wait", "rate_limited_wait_cap"),
        ("rejection_interval", "rejection_interval_cap"),
        ("budget_interval_floor", "budget_interval"),
    ],
)
def test_a_cap_below_its_base_is_refused_and_both_are_named(base: str, cap: str) -> None:
    with pytest.raises(ValueError, match=rf"Policy\.{cap}.*Policy\.{base}"):
        policy(cap, DEFAULTS[base] / 2)
    assert getattr(policy(cap, DEFAULTS[base]), cap) == DEFAULTS[base]


def test_every_field_says_what_it_is_for() -> None:
    assert [field.name for field in fields(Policy)] == list(DEFAULTS)


@pytest.mark.parametrize(("seconds", "ticks"), [(0, 0), (1, 1024), (0.001, 1), (1.9999, 2047), (2**30, 2**40)])
def test_durations_are_rounded_down_to_whole_ticks(seconds: float, ticks: int) -> None:
    assert whole_ticks(seconds) * 1024 == ticks


def test_a_repr_shows_what_differs_from_the_defaults_and_makes_an_equal_policy() -> None:
    assert repr(Policy()) == "Policy()"
    policy = Policy(retry_base=2.0, max_body=1_000)
    assert repr(policy) == "Policy(retry_base=2.0, max_body=1000)"
    assert eval(repr(policy)) == policy
