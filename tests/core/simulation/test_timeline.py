"""What is drawn of a run is what was the case, in memory that the length of the run does not change."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import pytest

from evertoken import State
from evertoken._grammar import Input
from evertoken.testing import (
    ApiFault,
    Arrival,
    AuthorizationServer,
    Broken,
    Calls,
    ClientPlan,
    Scenario,
    TokenFault,
    TokenTruth,
    World,
    WorldFault,
)
from evertoken.testing.world._bands import Band, Marks, Span
from evertoken.testing.world._clients import SECOND, Client
from evertoken.testing.world._scenario import BY_THEMSELVES
from evertoken.testing.world._timeline import Happening, Timeline

EXACT = 10**12
"""So many columns that nothing is merged."""

DAY = 86_400.0
SEEDS = range(1)


CLIENTS = (
    ClientPlan(period=60.0),
    ClientPlan(period=90.0, calls=Calls.BURSTY, offset=1e6, drift=-5e-4),
    ClientPlan(period=120.0, patience=1.0, min_ttl=100.0, offset=-50.0, drift=7e-4),
)


def hostile(seed: int, seconds: float = DAY / 3) -> Scenario:
    """Everything that can go wrong does so now and then."""
    return Scenario(
        seed=seed,
        seconds=seconds,
        clients=CLIENTS,
        lifetime=600,
        latency=(0.01, 2.0),
        api_latency=(0.005, 1.0),
        rates=tuple((fault, 0.7 if fault in BY_THEMSELVES else 0.1) for fault in WorldFault),
        token_faults=tuple(TokenFault),
        token_fault_rate=0.1,
        api_faults=tuple(ApiFault),
        api_fault_rate=0.05,
    )


# Bands and marks
# ---------------


def test_what_lasts_is_kept_as_it_was_and_what_is_short_is_merged_with_its_share() -> None:
    band = Band(10)
    for end, key in ((100, "a"), (150, "a"), (153, "b"), (155, "a"), (159, "b"), (260, "c"), (262, "a"), (400, "")):
        band.extend(end, key)
    band.extend(390, "late")
    assert band.finish() == [
        Span(0, 150, {"a": 150}),
        Span(150, 159, {"b": 7, "a": 2}, 3),
        Span(159, 260, {"c": 101}),
        Span(260, 262, {"a": 2}),
        Span(262, 400, {"": 138}),
    ]
    assert (band.end, band.merged) == (400, 3)
    assert band.finish() == band.spans


def test_a_band_in_which_everything_is_short_has_no_more_spans_than_points() -> None:
    band = Band(10)
    for end in range(1, 10_001):
        band.extend(end, "ab"[end % 2])
    spans = band.finish()
    assert len(spans) == 1_000
    assert {tuple(sorted(span.shares.items())) for span in spans} == {(("a", 5), ("b", 5))}


def test_marks_of_a_kind_that_are_close_are_one_that_counts() -> None:
    marks = Marks(10)
    for time, kind, note in ((0, "a", "x"), (5, "b", "x"), (9, "a", "y"), (9, "a", "y"), (10, "a", "x")):
        marks.add(time, kind, note)
    first, second = marks.by_kind["a"]
    assert (first.start, first.end, first.notes, first.count) == (0, 9, {"x": 1, "y": 2}, 3)
    assert (second.start, second.count) == (10, 1)
    assert len(marks.by_kind["b"]) == 1


# A whole run
# -----------


class Witness(Timeline):
    """A timeline that also asks each machine how it is, whenever anything happens to it."""

    def __init__(self) -> None:
        super().__init__(EXACT)
        self.asked: dict[tuple[int, int], tuple[str, str, str]] = {}

    def ask(self, time: int, client: Client) -> None:
        now, machine = client.now(), client.machine
        token = machine.token(now) or machine.state_value.token
        truth = "" if token is None else self._server.truth(time / SECOND, token.value).value
        self.asked[time, client.number] = (machine.freshness(now).value, machine.request_state(now).value, truth)

    def arrival(self, time: int, client: Client, arrival: Arrival) -> None:
        super().arrival(time, client, arrival)
        self.ask(time, client)

    def gave_up(self, time: int, client: Client) -> None:
        super().gave_up(time, client)
        self.ask(time, client)

    def step(self, time: int, client: Client, before: State, happened: Input | None, after: State) -> None:
        super().step(time, client, before, happened, after)
        self.asked.pop((time, client.number), None)  # What was asked before the step is no more.


def key_at(spans: Sequence[Span], time: int) -> str | None:
    """What a band says of ``time``; None if it changes too close to it to hold anybody to it."""
    index = bisect_right([span.start for span in spans], time) - 1
    span = spans[index]
    near = SECOND // 50  # Timers on a drifting clock may be early by that much.
    return next(iter(span.shares)) if min(time - span.start, span.end - time) > near else None


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", SEEDS)
def test_bands_say_what_the_machines_would_have_said_at_that_moment(seed: int) -> None:
    witness = Witness()
    report = World(hostile(seed), watch=witness).run()
    assert report == World(hostile(seed)).run()
    held = 0
    for (time, number), answers in witness.asked.items():
        lane = witness.clients[number]
        if time < witness.shown_until:
            drawn = [key_at(band.finish(), time) for band in (lane.freshness, lane.request, lane.truth)]
            assert [a if d is not None else None for a, d in zip(answers, drawn, strict=True)] == drawn
            held += sum(key is not None for key in drawn)
    assert held > 200
    assert not witness.merged


def whole(timeline: Timeline) -> None:
    for band in timeline.bands:
        spans, end = band.finish(), 0
        for span in spans:
            assert span.start == end
            assert sum(span.shares.values()) == span.end - span.start
            end = span.end
        assert end >= timeline.shown_until
        assert len(spans) <= 2 * timeline.columns + 2


def test_a_long_run_takes_no_more_room_than_a_short_one() -> None:
    short, long = Timeline(50), Timeline(50)
    World(hostile(5, DAY / 40), watch=short).run()
    World(hostile(5, DAY / 2), watch=long).run()
    for timeline in (short, long):
        whole(timeline)
        for lane in timeline.clients:
            assert all(len(marks) <= 50 / 3 + 2 for marks in lane.marks.by_kind.values())
    assert long.merged > 10 * short.merged


@pytest.mark.no_cover
def test_every_kind_of_happening_is_marked_and_every_fault_of_all_has_a_place() -> None:
    kinds, bands = set[str](), set[str]()
    for seed in SEEDS:
        timeline = Timeline()
        report = World(hostile(seed), watch=timeline).run()
        assert report.ok
        whole(timeline)
        kinds |= {*timeline.marks.by_kind}.union(*(lane.marks.by_kind for lane in timeline.clients))
        outages = [span for span in timeline.endpoint.finish() if WorldFault.OUTAGE.value in span.shares]
        assert all(span.end <= timeline.faults_end for span in outages)
        bands |= {key for band in timeline.bands for span in band.finish() for key in span.shares}
        gave_up = sum(mark.count for lane in timeline.clients for mark in lane.marks.by_kind.get("gave up", ()))
        assert gave_up <= report.seen.get("a caller gave up", 0)
    assert kinds == {kind.value for kind in Happening}
    assert {fault.value for fault in (WorldFault.PARTITION, WorldFault.OUTAGE, WorldFault.SUSPEND)} <= bands
    assert {WorldFault.CLOCK_STOPPED.value, WorldFault.RESTART.value, TokenTruth.REVOKED.value} <= bands


def test_a_fault_of_the_token_endpoint_is_marked_with_its_name() -> None:
    scenario = Scenario(seed=3, seconds=1_000.0, token_faults=(TokenFault.HANG,), token_fault_rate=1.0)
    timeline = Timeline()
    World(scenario, watch=timeline).run()
    assert {note for mark in timeline.marks.by_kind["faulty"] for note in mark.notes} == {"hang"}


def test_the_picture_ends_at_the_law_that_was_broken_and_soon_after_the_faults_otherwise() -> None:
    scenario = Scenario(seed=3, seconds=1_000.0)
    calm, broken = Timeline(), Timeline()
    World(scenario, watch=calm).run()
    assert (calm.faults_end, calm.shown_until) == (1_000 * SECOND, 1_080 * SECOND)
    assert calm.end_time > calm.shown_until
    marks = dict(calm.clients[0].marks.by_kind)
    calm.gave_up(calm.shown_until + 1, calm.clients[0].client)
    assert calm.clients[0].marks.by_kind == marks
    server = AuthorizationServer("client", "key")
    broken.begin(scenario, [], server)
    broken.end(500 * SECOND, Broken("a law", 0, 500.0))
    assert (broken.shown_until, broken.end_time) == (500 * SECOND, 500 * SECOND)
    assert broken.broken == Broken("a law", 0, 500.0)
