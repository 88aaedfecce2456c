"""The simulated world: the swarm, its checks, its determinism, and what it says when a law is broken."""

from __future__ import annotations

import contextlib
import io
import shlex

import pytest

from evertoken import Challenge, HttpResponse, Policy, TokenRequest, _schedule
from evertoken._grammar import BlockLifted, RequestClaimed, TokenRejected
from evertoken._secrecy import replace
from evertoken._states import RequestState, first_state
from evertoken.testing import _trace
from evertoken.testing._trace import Entry, Trace, replay
from evertoken.testing.server._arrivals import TokenTruth
from evertoken.testing.server._faults import ApiFault, TokenFault
from evertoken.testing.world._checks import GAVE_UP, SITUATIONS, TOO_SHORT, UNSERVED, BudgetCheck, Checks, LawBroken
from evertoken.testing.world._clients import SECOND, Call, Client
from evertoken.testing.world._scenario import Calls, ClientPlan, Scenario, WorldFault, draw_scenario
from evertoken.testing.world._swarm import _smaller, explain_failure, law_of, shrink, simulate, swarm
from evertoken.testing.world._watched import Want
from evertoken.testing.world._world import World
from tests.kits.fresh import in_a_fresh_interpreter

HOUR = 3_600.0
SEEDS = 20

STEADY = Scenario(seed=1, seconds=6 * HOUR)


# Every law holds
# ---------------


SWARM = """
import gc
gc.disable()
from evertoken.testing.world._swarm import explain_failure, swarm
report = swarm(range({seeds}))
print(report.runs, int(report.seconds), report.events)
for failure in report.failures[:1]:
    print(explain_failure(failure))
"""


# `make simulate` runs a thousand, and sees that every situation comes about.
@pytest.mark.no_cover
def test_no_seed_of_the_swarm_breaks_a_law() -> None:
    counts, *failure = in_a_fresh_interpreter(SWARM.format(seeds=SEEDS)).splitlines()
    assert not failure, "\n".join(failure)
    runs, seconds, events = map(int, counts.split())
    assert runs == SEEDS
    assert seconds > SEEDS * 24 * HOUR
    assert events > 40_000


@pytest.mark.no_cover
def test_in_fair_weather_there_is_one_request_per_token_and_nobody_waits_but_for_the_first() -> None:
    world = World(replace(STEADY, seconds=24 * HOUR, clients=(ClientPlan(period=10.0),)))
    world.run_until(0)
    report = world.run()
    assert report.ok
    assert report.token_requests == len(world.server.tokens)
    assert report.seen["outcome: Granted"] == report.token_requests
    assert "wait: response" not in report.seen
    assert report.seen["send: no token"] == 1
    assert not {name for name in report.seen if name.startswith("block")}


@pytest.mark.no_cover
def test_while_an_outage_lasts_every_token_request_meets_the_same_fault() -> None:
    scenario = replace(
        STEADY,
        rates=((WorldFault.OUTAGE, 2.0), (WorldFault.CRASH, 2.0)),
        token_faults=(TokenFault.SERVER_ERROR,),
        latency=(0.5, 3.0),
        clients=(ClientPlan(period=5.0), ClientPlan(period=5.0)),
        lifetime=30,
    )
    report = simulate(scenario)
    assert report.ok, explain_failure(report)
    assert report.seen["outcome: Failed"] > 20
    assert report.seen["outcome: Granted"] > 20


@pytest.mark.no_cover
@pytest.mark.parametrize("calls", list(Calls))
def test_every_kind_of_caller_is_served(calls: Calls) -> None:
    report = simulate(replace(STEADY, seconds=7 * 24 * HOUR, clients=(ClientPlan(calls=calls, period=600.0),)))
    assert report.ok
    assert report.seen["truth: valid"] == report.api_calls > 0


# One seed, one course
# --------------------


def test_a_caller_without_patience_finds_a_token_that_one_before_has_sent_for() -> None:
    report = simulate(replace(STEADY, clients=(ClientPlan(patience=0.0),)))
    assert report.ok
    assert 0 < report.seen["a caller gave up"] < report.token_requests
    assert report.api_calls > 300


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("plan", "faults", "reason"),
    [
        (ClientPlan(patience=0.0), (), RequestState.IDLE),
        (ClientPlan(patience=1.0), (TokenFault.HANG,), RequestState.IN_FLIGHT),
        (ClientPlan(patience=1.0), (TokenFault.SERVER_ERROR,), RequestState.BACKING_OFF),
        (ClientPlan(patience=1.0), (TokenFault.LOCKED,), RequestState.BLOCKED),
        (ClientPlan(min_ttl=5_000.0), (), None),
    ],
)
def test_who_gives_up_is_counted_by_what_was_in_the_way(
    plan: ClientPlan, faults: tuple[TokenFault, ...], reason: RequestState | None
) -> None:
    scenario = replace(STEADY, clients=(plan,), token_faults=faults, token_fault_rate=0.9 if faults else 0.0)
    report = simulate(scenario)
    assert report.ok
    told = TOO_SHORT if reason is None else UNSERVED[reason]
    counts = {name: count for name, count in report.seen.items() if name.startswith("no token: ")}
    assert counts.get(told, 0) > 0
    assert max(counts, key=counts.__getitem__) == told
    assert sum(counts.values()) == report.seen[GAVE_UP]


def test_one_seed_gives_one_trace_and_another_seed_another() -> None:
    first, again, other = (simulate(seed, days=0.25) for seed in (17, 17, 18))
    assert first.digest == again.digest != other.digest
    assert first == again


@pytest.mark.no_cover
def test_keeping_the_trace_changes_nothing() -> None:
    kept = simulate(14, days=0.25, keep_trace=True)
    assert kept.digest == simulate(14, days=0.25).digest
    assert len(kept.trace.entries) == kept.trace.length > 100


SCRIPT = "from evertoken.testing import simulate; print(*(simulate(seed, days=0.1).digest for seed in (7, 11)))"


@pytest.mark.no_cover
@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_a_trace_is_the_same_in_fresh_interpreters_under_every_hash_seed(hash_seed: str) -> None:
    printed = in_a_fresh_interpreter(SCRIPT, PYTHONHASHSEED=hash_seed)
    assert printed.split() == [simulate(seed, days=0.1).digest for seed in (7, 11)]


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [0, 7, 13, 17])
def test_a_replay_is_a_fold_that_comes_to_the_same_lines(seed: int) -> None:
    report = simulate(seed, days=0.5, keep_trace=True)
    replayed = replay(report.trace)
    assert replayed.differs_at is None
    assert replayed.digest == report.digest


def test_lines_that_wait_to_be_written_are_not_kept_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy()
    rejected = TokenRejected(0.0, "Bearer tok-1", Challenge.TOKEN)
    late, soon = Trace([policy]), Trace([policy])
    for trace, most in ((late, 1_000), (soon, 2)):
        monkeypatch.setattr(_trace, "_MOST_PENDING", most)
        for _ in range(5):
            trace.append(0, rejected, first_state(policy))
    assert len(late._pending) == 5
    assert len(soon._pending) == 1
    assert late.digest == soon.digest
    assert "rejected" in soon.entries[4].line


def test_a_replay_begins_anew_where_a_process_did() -> None:
    rates = ((WorldFault.CRASH, 6.0), (WorldFault.OUTAGE, 6.0))
    report = simulate(replace(STEADY, seconds=HOUR, rates=rates), keep_trace=True)
    assert report.ok
    assert report.seen[f"fault: {WorldFault.CRASH.value}"] > 0
    assert replay(report.trace).differs_at is None


def test_a_replay_names_the_line_from_which_it_differs() -> None:
    report = simulate(7, days=0.25, keep_trace=True)
    trace = report.trace
    claims = (entry for entry in trace.entries if isinstance(entry.happened, RequestClaimed))
    entry = next(claims)
    assert isinstance(entry.happened, RequestClaimed)
    trace.entries[entry.seq] = entry._replace(happened=replace(entry.happened, now=entry.happened.now + 1))
    replayed = replay(trace)
    assert replayed.differs_at == entry.seq
    assert replayed.digest != report.digest


def test_a_trace_of_which_something_is_missing_is_not_replayed() -> None:
    digest_only = simulate(7, days=0.1).trace
    with pytest.raises(ValueError, match=rf"0 of {digest_only.length} entries are there: .*keep_trace=True"):
        replay(digest_only)
    cut = simulate(7, days=0.1, keep_trace=True).trace
    last = cut.entries.pop()
    with pytest.raises(ValueError, match=rf"{cut.length - 1} of {cut.length} entries are there"):
        replay(cut)
    for stranger in (-1, len(cut.policies)):
        with pytest.raises(ValueError, match="client must be a whole number from 0 to"):
            replay_of(cut, last._replace(client=stranger))


def replay_of(trace: Trace, last: Entry) -> None:
    trace.entries[trace.length - 1 :] = [last]
    replay(trace)


def test_a_trace_holds_names_and_no_token() -> None:
    report = simulate(13, keep_trace=True)
    text = "\n".join(map(repr, report.trace.entries))
    assert "token#1" in text
    assert "simulated-" not in text
    assert "key-0" not in text
    assert list(report.trace.lines()) == text.split("\n")


# Checks that never speak up would be worth nothing
# -------------------------------------------------


def _briefly(*_: object) -> float:
    return 2.0**-10


def never_backs_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_schedule, "back_off", _briefly)


class Forgetful(Client):
    """A client that uses the first token it ever got, for ever."""

    def answered(self, call: Call, authorization: str, response: HttpResponse) -> None:
        if response.status == 200:
            self.world.send_call(self, call, "Bearer never-issued", 1.0)


class Lonely(Client):
    """A client to whom no answer gets through."""

    def receive(self, request: TokenRequest, response: HttpResponse) -> None:
        pass


class Wasteful(Client):
    """A client that throws away what it gets."""

    def receive(self, request: TokenRequest, response: HttpResponse) -> None:
        self.abandon(request)


class Undiscerning(Client):
    """A client to whom every 401 is about the token."""

    def answered(self, call: Call, authorization: str, response: HttpResponse) -> None:
        if response.status == 401:
            self.machine.token_rejected(self.now(), authorization, Challenge.TOKEN)


class Unheard(Client):
    """A client that is never served."""

    def answered(self, call: Call, authorization: str, response: HttpResponse) -> None:
        self.served_at = -1


@pytest.mark.parametrize(
    ("client", "law"),
    [
        (Forgetful, "no call carries a token that was never issued"),
        (Lonely, "a token is there within the bound, once faults have ended"),
        (Unheard, "in the end, calls are served"),
        (Wasteful, "a token that the server has issued and that came in time is handed out"),
        (Undiscerning, "only a 401 about the token costs it, and no challenge to the user (SCA)"),
    ],
)
def test_a_client_that_goes_astray_is_found_out(client: type[Client], law: str) -> None:
    asked = replace(STEADY, seconds=HOUR, rates=((WorldFault.LIFTED, 0.01),))
    report = simulate(replace(asked, api_faults=(ApiFault.SCA,), api_fault_rate=0.1), client=client)
    assert report.broken is not None
    assert report.broken.law == law


class Spendthrift(Client):
    """A client whose budget is never spent, and who asks for a token at every call."""

    def call(self) -> None:
        state = self.machine.state_value
        self.machine._become(state._replace(token=None, budget=first_state(self.plan.policy).budget))
        super().call()


def test_a_bystander_counts_the_exchanges_too() -> None:
    report = simulate(replace(STEADY, clients=(ClientPlan(period=5.0),)), client=Spendthrift)
    assert report.broken is not None
    assert report.broken.law == "exchanges in any window are at most the burst and the refills in it"


def test_a_lock_by_the_overuse_rule_breaks_a_law() -> None:
    world = World(replace(STEADY, seconds=HOUR))
    world.server._overuse.locks = 1
    broken = world.run().broken
    assert broken is not None
    assert broken.law == "the overuse rule never fires"


def test_the_budget_check_allows_the_burst_and_one_more_for_each_refill() -> None:
    check = BudgetCheck(Policy(budget_burst=2, budget_interval=10), 1_200)
    moments = (0.0, 0.0, 10.0, 20.0, 29.0)
    assert [check.within(RequestClaimed(now, 0.0)) for now in moments] == [True, True, True, True, True]
    assert not check.within(RequestClaimed(29.0, 0.0))
    assert check.within(BlockLifted(29.0))


@pytest.mark.parametrize("truth", [None, TokenTruth.UNKNOWN, TokenTruth.EXPIRED])
def test_an_arrival_with_a_bad_token_breaks_a_law(truth: TokenTruth | None) -> None:
    with pytest.raises(LawBroken, match=r"no call carries .* \(client 3, at 0.0\)"):
        Checks().arrival(3, truth, grace=0.0)


def test_an_expired_token_is_forgiven_where_the_clock_was_at_fault() -> None:
    checks = Checks()
    checks.arrival(0, TokenTruth.EXPIRED, grace=-0.001)
    assert checks.seen["truth: expired"] == 1


# When a seed fails
# -----------------


def test_a_failing_seed_is_made_small_and_says_how_to_run_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    never_backs_off(monkeypatch)
    large = replace(
        STEADY,
        seconds=HOUR / 12,
        clients=(ClientPlan(), ClientPlan(calls=Calls.BURSTY), ClientPlan(calls=Calls.IDLE)),
        rates=((WorldFault.DUPLICATED, 0.3), (WorldFault.REVOKED, 1.0)),
        token_faults=(TokenFault.SERVER_ERROR, TokenFault.FORBIDDEN),
        token_fault_rate=0.8,
        latency=(0.0, 1.0),
    )
    report = simulate(large)
    small = shrink(report)
    assert small.broken is not None
    assert report.broken is not None
    assert small.broken.law == report.broken.law
    assert len(small.scenario.clients) < len(report.scenario.clients)
    assert small.scenario.seconds < report.scenario.seconds
    assert len(small.scenario.faults) < len(report.scenario.faults)
    text = explain_failure(report)
    assert text.startswith(
        f"Seed 1: {report.broken.law}\nRun it again with:\n    simulate(report.scenario)\nShrunk to "
    )
    assert text.endswith(list(small.trace.lines(small.broken.client))[-1])


class Outdated(Client):
    """A client that uses the first token it ever got, and believes that its life has just begun."""

    first = ""

    def _come(self, patience: float, min_ttl: float) -> None:
        super()._come(patience, min_ttl)
        self.first = self.first or self.machine.published[1] or ""
        if self.first:
            self.world.send_call(self, Call(0, Want(0.0, 0.0, 0.0)), self.first, self.world.time / SECOND)


def test_a_scenario_is_made_smaller_though_the_law_then_breaks_with_other_numbers() -> None:
    report = simulate(replace(STEADY, clients=(ClientPlan(), ClientPlan(calls=Calls.IDLE))), client=Outdated)
    small = shrink(report, client=Outdated)
    assert report.broken is not None
    assert small.broken is not None
    assert small.broken.law != report.broken.law
    assert law_of(small.broken.law) == law_of(report.broken.law) == "no call carries an expired token"
    assert len(small.scenario.clients) == 1
    assert "simulate(report.scenario, client=...)" in explain_failure(report, client=Outdated)


def test_where_every_law_held_there_is_nothing_to_shrink_or_to_explain() -> None:
    report = simulate(7, days=0.01)
    for ask in (shrink, explain_failure):
        with pytest.raises(ValueError, match="every law held with seed 7: there is nothing to shrink or to explain"):
            ask(report)


def test_a_failing_seed_of_the_swarm_prints_the_one_command_that_runs_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    never_backs_off(monkeypatch)
    report = simulate(0, days=0.01)
    _, _, command, *_ = explain_failure(report, lines=3).splitlines()
    assert command.startswith("    python -c 'from evertoken.testing import draw_scenario, simulate; print(")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(shlex.split(command)[2], {})
    assert report.broken is not None
    assert said.getvalue() == f"{report.broken}\n"
    assert said.getvalue().startswith(f"Broken(law={report.broken.law!r}, ")


def test_a_swarm_that_met_no_trouble_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    report = swarm([], days=1.0)
    assert report.missing == SITUATIONS
    report = swarm([3, 4], days=0.1)
    assert (report.runs, report.failures) == (2, ())
    assert 0 < len(report.missing) < len(SITUATIONS)
    never_backs_off(monkeypatch)
    assert swarm(range(3)).failures


def test_scenarios_follow_from_their_seed_alone() -> None:
    assert draw_scenario(5) == draw_scenario(5) != draw_scenario(6)
    faults = {fault for seed in range(200) for fault in draw_scenario(seed).faults}
    assert faults == {*WorldFault, *TokenFault, *ApiFault}
    leeways = {plan.policy.leeway for seed in range(50) for plan in draw_scenario(seed).clients}
    assert 0.0 in leeways


def test_a_scenario_that_is_as_small_as_can_be_is_not_made_smaller() -> None:
    assert not list(_smaller(Scenario(seed=1, seconds=60.0)))
    crowded = Scenario(seed=1, seconds=60.0, clients=(ClientPlan(), ClientPlan(period=1.0)))
    assert [len(smaller.clients) for smaller in _smaller(crowded)] == [1, 1]
    assert [smaller.latency for smaller in _smaller(Scenario(seed=1, seconds=60.0, latency=(1.0, 2.0)))] == [(0.0, 0.0)]
