"""Scripts: what is allowed, what a wrong one is told, and JSON there and back."""

from __future__ import annotations

import json
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertoken.testing import (
    ApiBehaviour,
    ApiFault,
    Overuse,
    Phase,
    RateLimit,
    Script,
    ScriptError,
    TokenBehaviour,
    TokenFault,
)

seconds = st.floats(min_value=0, max_value=1e6) | st.integers(min_value=0, max_value=10**6)
pauses = st.floats(min_value=0.001, max_value=1e6)
whole = st.integers(min_value=1, max_value=10**6)

token_behaviours = st.builds(
    TokenBehaviour,
    fault=st.sampled_from(TokenFault),
    latency_before=seconds,
    latency_after=seconds,
    lifetime=st.none() | whole,
    retry_after=st.none() | st.integers(min_value=0, max_value=10**6),
    bytes_per_second=pauses,
    cut_after=st.integers(min_value=0, max_value=1_000),
    location=st.just("https://example.org/"),
) | st.builds(
    TokenBehaviour,
    fault=st.just(TokenFault.SERVER_ERROR),
    status=st.integers(min_value=500, max_value=599),
)
api_behaviours = st.builds(ApiBehaviour, fault=st.sampled_from(ApiFault), latency=seconds, cut_after=whole)


def phase(at: float, lasts: float, token: TokenBehaviour | None, api: ApiBehaviour | None) -> Phase:
    return Phase(at=at, until=at + lasts, token=token, api=api)


phases = st.builds(
    phase,
    at=seconds,
    lasts=pauses.map(lambda lasts: lasts + 1) | st.just(math.inf),
    token=st.none() | token_behaviours,
    api=st.none() | api_behaviours,
)
scripts = st.builds(
    Script,
    lifetime=whole,
    token=token_behaviours,
    api=api_behaviours,
    phases=st.lists(phases, max_size=3).map(tuple),
    first_token_requests=st.lists(token_behaviours, max_size=3).map(tuple),
    first_api_calls=st.lists(api_behaviours, max_size=3).map(tuple),
    revocations=st.lists(seconds, max_size=3).map(tuple),
    overuse=st.none()
    | st.builds(
        Overuse, requests=whole, seconds=pauses, refused=st.none() | whole, lock_seconds=pauses, extends=st.booleans()
    ),
    rate_limits=st.lists(st.builds(RateLimit, seconds=whole, calls=whole), max_size=3).map(tuple),
    enforce_rate_limits=st.booleans(),
)


@pytest.mark.no_cover
@given(scripts)
def test_a_script_comes_back_from_json_equal(script: Script) -> None:
    assert Script.from_json(script.to_json()) == script


def test_json_holds_only_what_differs_from_fair_weather() -> None:
    assert Script().to_json() == "{}"
    open_ended = Script(phases=(Phase(at=5, token=TokenBehaviour(fault=TokenFault.HTML)),))
    assert json.loads(open_ended.to_json()) == {"phases": [{"at": 5, "token": {"fault": "html"}}]}


def test_an_absent_or_null_end_of_a_phase_is_never() -> None:
    assert Script.from_json('{"phases": [{"at": 1, "until": null}]}') == Script(phases=(Phase(at=1),))
    assert Script.from_json('{"phases": [{"at": 1}]}').phases[0].until == math.inf


def test_an_optional_object_may_be_null() -> None:
    assert Script.from_json('{"overuse": null}') == Script()


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("[]", "script", "must be an object"),
        ("{", "script", "is not JSON: Expecting property name"),
        ("[" * 100_000, "script", "is not JSON"),
        ("1" * 5_000, "script", "is not JSON"),
        ('{"lifetime": NaN}', "script", "NaN is not a number there"),
        ('{"lifetime": 1, "lifetime": 2}', "lifetime", "stands twice"),
        ('{"life": 1}', "life", "is unknown; the fields here are: lifetime, token, api, phases"),
        ('{"lifetime": "long"}', "lifetime", "must be a whole number of at least 1, not 'long'"),
        ('{"lifetime": 0}', "lifetime", "must be a whole number of at least 1, not 0"),
        ('{"lifetime": true}', "lifetime", "must be a whole number"),
        ('{"phases": {}}', "phases", "must be an array"),
        ('{"phases": [3]}', "phases[0]", "must be an object"),
        ('{"phases": [{}]}', "phases[0].at", "is missing"),
        ('{"phases": [{"at": 0}, {"at": 3, "until": 3}]}', "phases[1].until", "must be later than at (3), not 3"),
        ('{"phases": [{"at": 1, "until": "x"}]}', "phases[0].until", "must be later than at (1), not 'x'"),
        ('{"phases": [{"at": 0, "token": {"fault": "none", "x": 1}}]}', "phases[0].token.x", "is unknown"),
        ('{"token": {"fault": "snow"}}', "token.fault", '"snow" is not one of the allowed values: none, server_error'),
        ('{"api": {"fault": ["sca"]}}', "api.fault", '["sca"] is not one of the allowed values: none, server_error'),
        ('{"token": {"fault": "none", "status": 503}}', "token.status", "has no meaning with the fault 'none'"),
        ('{"token": {"fault": "html", "status": 99}}', "token.status", "from 200 to 599 with the fault 'html'"),
        ('{"token": {"fault": "server_error", "status": true}}', "token.status", "from 500 to 599"),
        ('{"token": {"latency_before": -1}}', "token.latency_before", "must be a number of at least 0, not -1"),
        ('{"token": {"latency_after": null}}', "token.latency_after", "must be a number of at least 0, not inf"),
        ('{"token": {"bytes_per_second": 0}}', "token.bytes_per_second", "must be a number above 0, not 0"),
        ('{"token": {"location": "a b"}}', "token.location", "must be text in visible ASCII"),
        ('{"first_api_calls": [{}, {"latency": "x"}]}', "first_api_calls[1].latency", "must be a number"),
        ('{"revocations": [1, "x"]}', "revocations[1]", "must be a number of at least 0, not 'x'"),
        ('{"overuse": {"requests": 1}}', "overuse.seconds", "is missing"),
        ('{"overuse": {"requests": 1, "seconds": 1, "extends": 1}}', "overuse.extends", "must be true or false, not 1"),
        ('{"rate_limits": [{"seconds": 0, "calls": 1}]}', "rate_limits[0].seconds", "of at least 1, not 0"),
    ],
)
def test_a_wrong_script_is_told_the_field_and_what_is_allowed(text: str, field: str, reason: str) -> None:
    with pytest.raises(ScriptError) as caught:
        Script.from_json(text)
    assert caught.value.field == field
    assert reason in caught.value.reason
    assert str(caught.value) == f"{field}: {caught.value.reason}"


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (TokenBehaviour, {"fault": "html"}, "fault"),
        (TokenBehaviour, {"retry_after": -1}, "retry_after"),
        (TokenBehaviour, {"lifetime": 1.5}, "lifetime"),
        (ApiBehaviour, {"fault": TokenFault.HTML}, "fault"),
        (Phase, {"at": 0, "token": ApiBehaviour()}, "token"),
        (Phase, {"at": 0, "api": TokenBehaviour()}, "api"),
        (Phase, {"at": math.nan}, "at"),
        (Script, {"phases": [Phase(at=0)]}, "phases"),
        (Script, {"phases": (3,)}, "phases[0]"),
        (Script, {"overuse": 3}, "overuse"),
        (Overuse, {"requests": 1, "seconds": 1, "refused": 0}, "refused"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(kind: type, values: dict[str, object], field: str) -> None:
    with pytest.raises(ScriptError) as caught:
        kind(**values)
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


def test_a_script_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ScriptError("a", "b")))
    assert (error.field, error.reason) == ("a", "b")


def test_every_fault_alone_makes_a_behaviour() -> None:
    assert all(TokenBehaviour(fault=fault).fault is fault for fault in TokenFault)
    assert all(ApiBehaviour(fault=fault).fault is fault for fault in ApiFault)


def test_the_first_phase_that_covers_a_moment_wins_for_each_route_by_itself() -> None:
    ill, html = TokenBehaviour(fault=TokenFault.SERVER_ERROR), TokenBehaviour(fault=TokenFault.HTML)
    sca = ApiBehaviour(fault=ApiFault.SCA)
    script = Script(phases=(Phase(at=10, until=20, token=ill), Phase(at=15, until=30, token=html, api=sca)))
    fair = script.segment(9.9)
    assert (fair.token, fair.api) == (script.token, script.api)
    assert [script.segment(at).token for at in (10, 19.9, 20, 29.9, 30)] == [ill, ill, html, html, script.token]
    assert [script.segment(at).api for at in (10, 15, 30)] == [script.api, sca, script.api]
    assert script.segment(17)[:2] == (15, 20)
    assert script.segment(40)[:2] == (30, math.inf)


@pytest.mark.no_cover
@given(scripts, seconds)
def test_a_segment_holds_from_its_first_moment_to_its_end(script: Script, at: float) -> None:
    segment = script.segment(at)
    assert segment.since <= at < segment.until
    for moment in (segment.since, (max(segment.since, at) + at) / 2):
        if moment >= 0:
            assert script.segment(moment) == segment
    if segment.until < math.inf:
        assert script.segment(segment.until).since == segment.until


def test_a_revocation_strikes_what_was_issued_before_it() -> None:
    script = Script(revocations=(20, 10))
    assert [script.revocation_after(at) for at in (0, 9.9, 10, 20)] == [10, 10, 20, None]
