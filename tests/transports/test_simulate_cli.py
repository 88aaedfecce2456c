"""``evertoken simulate``: what it takes, what it says, what it writes down, and that it finds what is wrong."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from evertoken.testing import (
    ApiFault,
    Broken,
    Report,
    Scenario,
    TokenFault,
    WorldFault,
    draw_scenario,
    simulate,
)
from evertoken.testing.world._checks import GAVE_UP, Checks, LawBroken
from evertoken_transports.tools._simulate import campaign
from evertoken_transports.tools._simulate.campaign import WorkerLost, run_seed, run_seeds
from evertoken_transports.tools._simulate.choices import (
    ChoiceError,
    Choices,
    commit_seed,
    read_faults,
    read_seeds,
    spelt_seeds,
)
from evertoken_transports.tools._simulate.interrupts import interrupts_deferred, interrupts_ignored
from evertoken_transports.tools._simulate.one import _Followed
from evertoken_transports.tools._simulate.record import SeedResult
from tests.kits.demo_worlds import interruptible
from tests.kits.simulating import COMMIT, HOUR, ran, read

LIMIT = 60.0
"""Real seconds after which what should have happened has not. No test comes near it unless something hangs."""

# What it takes
# -------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--days", "0"], "--days must be above 0"),
        (["--days", "nan"], "--days must be above 0"),
        (["--years", "101"], "--years must be above 0 and at most 100, not 101.0"),
        (["--clients", "0"], "--clients must be from 1"),
        (
            ["--faults", "hail"],
            "--faults: 'hail' is none of swarm, none, all, nor a list of faults (world: lost",
        ),
        (["--seeds", "9-1"], "--seeds: '9-1' ends before it begins"),
        (["--seeds", "a"], "--seeds: 'a' is no seed"),
        (["--seeds", "0-99999999"], "--seeds: at most"),
        (["--seeds", "0-18446744073709551615"], "--seeds: at most"),
        (["--seeds", "18446744073709551616"], "--seeds must be from 0 to 18446744073709551615, not 184467"),
        (["--seed", "18446744073709551616"], "--seed must be from 0 to 18446744073709551615, not 184467"),
        (["--seed", "-1"], "--seed must be from 0 to 18446744073709551615, not -1"),
        (["--svg", "x", "--html", "./x"], "--svg and --html must be two files, not both x"),
        (["--seeds", "1", "--jobs", "0"], "--jobs must be at least 1"),
        (["--seeds", "1", "--commit", "HEAD"], "--commit must be a commit's full hash"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_value_that_cannot_be_used_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    status, out, complaint = ran(capsys, *arguments)
    assert (status, out) == (2, "")
    assert complaint.startswith(f"evertoken: simulate: {words}")
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("option", ["--svg", "--html", "--out"])
def test_a_file_that_cannot_be_written_is_told_before_anything_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str
) -> None:
    many = ["--seeds", "0-9999"] if option == "--out" else ["--days", "36525"]
    nowhere = tmp_path / "nowhere" / "file"
    for path, reason in ((nowhere, "No such file or directory"), (tmp_path, "Is a directory")):
        status, out, complaint = ran(capsys, *many, option, str(path))
        assert (status, out) == (2, "")
        assert complaint == f"evertoken: simulate: {option}: {path} cannot be written: {reason}\n"


@pytest.mark.parametrize("arguments", [("--seed", "1", "--seeds", "2"), ("--seeds", "2", "--seed", "1")])
def test_one_seed_and_many_exclude_each_other_also_where_the_one_is_the_default(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        ran(capsys, *arguments)
    assert "not allowed with argument" in capsys.readouterr().err


def test_faults_are_named_as_they_are_written_elsewhere_or_with_dashes() -> None:
    assert read_faults("swarm") is None
    assert read_faults("none") == ()
    assert read_faults("lost before, SUSPEND,token:html") == (
        WorldFault.LOST_BEFORE,
        WorldFault.SUSPEND,
        TokenFault.HTML,
    )
    assert read_faults("locked") == (TokenFault.LOCKED, ApiFault.LOCKED)
    everything = read_faults("all")
    assert everything is not None
    assert {WorldFault.CRASH, TokenFault.HANG, ApiFault.SCA} < set(everything)
    assert not {TokenFault.NONE, ApiFault.NONE} & set(everything)


@pytest.mark.parametrize(
    ("text", "seeds"), [("7", (7,)), ("0-3", (0, 1, 2, 3)), ("9,0-2, 1", (0, 1, 2, 9)), ("5-5,6", (5, 6))]
)
def test_seeds_are_a_list_of_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert read_seeds(text) == seeds
    assert read_seeds(spelt_seeds(seeds)) == seeds


def test_a_commit_makes_one_seed() -> None:
    assert commit_seed(COMMIT) == 17
    with pytest.raises(ChoiceError):
        commit_seed("0x11_23456789abcdef")


def test_without_overrides_a_seed_is_what_it_is_in_the_swarm() -> None:
    assert Choices(days=2.0).scenario(7) == draw_scenario(7, seconds=172_800.0)


# One seed
# --------


def test_one_seed_is_summed_up_and_the_same_in_every_run(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ("--seed", "7", "--days", HOUR, "--clients", "3", "--faults", "lost-before,crash")
    status, out, complaint = ran(capsys, *chosen, "--double-check")
    assert (status, complaint) == (0, "")
    report = simulate(Choices(0.04, 3, "lost-before,crash").scenario(7))
    lifetime = report.scenario.lifetime
    assert f"seed            7: 0.04 days, 3 clients, tokens live {lifetime:,} s, faults: lost-before,crash\n" in out
    assert f"digest          {report.digest}\n" in out
    assert "checked         a second run came to the same digest\n" in out
    assert f"laws            all held, at each of {report.steps:,} steps\n" in out
    assert f"without token   {report.seen[GAVE_UP]} calls, none of them while one could be had\n" in out
    assert "day 0.0" in out
    assert "day 0.0" not in ran(capsys, *chosen, "--quiet")[1]


def test_a_seed_that_breaks_a_law_is_shrunk_and_told_with_the_command_that_breaks_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(_checks: Checks, client: int, _truth: object, *, grace: float) -> None:
        raise LawBroken(Broken("nobody calls", client, 0.5))

    monkeypatch.setattr(Checks, "arrival", forgetful)
    status, out, _ = ran(capsys, "--seed", "7", "--days", HOUR, "--faults", "none", "--quiet")
    assert status == 1
    assert "BROKEN          nobody calls (client " in out
    assert "again           evertoken simulate --seed 7 --days 0.04 --faults none\n" in out
    assert "python -c" not in out
    assert "report.scenario" not in out
    assert "Shrunk to 1 client(s)" in out
    assert "token#1" in out
    assert "could be had" not in out


@pytest.mark.parametrize("days", [1e-9, 0.01, 1.0])
def test_progress_is_told_some_hundred_times_however_short_the_faults_are(days: float) -> None:
    told: list[float] = []
    scenario = Choices(days, clients=1).scenario(1)
    report = _Followed(scenario, None, lambda done, _: told.append(done)).run()
    if days < 1:  # That it comes in pieces changes nothing.
        assert report == simulate(scenario)
    assert 200 <= len(told) <= 1_000


def test_options_for_many_seeds_are_of_no_use_for_one_and_the_reverse(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "--seed", "1", "--out", "file")[::2] == (2, "evertoken: simulate: --out goes with --seeds\n")
    assert ran(capsys, "--seeds", "1", "--svg", "file")[::2] == (2, "evertoken: simulate: --svg goes with --seed\n")


# Many seeds
# ----------


def test_many_seeds_come_to_one_digest_whatever_the_number_of_processes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    many = ("--seeds", "0-3", "--days", HOUR, "--commit", COMMIT, "--double-check", "--quiet")
    assert ran(capsys, *many, "--jobs", "1", "--out", str(alone))[0] == 0
    status, out, _ = ran(capsys, *many, "--jobs", "2", "--out", str(together))
    assert status == 0
    assert "all held, in 5 of 5 seeds" in out
    assert re.search(r"^without token   [0-9,]+ calls, none of them while one could be had$", out, re.MULTILINE)
    one, two = read(alone), read(together)
    assert one["digest"] == two["digest"]
    assert one["digest"] in out
    assert list(two["seeds"]) == ["0", "1", "2", "3", "17"]
    assert (one["runs"], one["whole"], one["ok"]) == (5, True, True)
    assert one["campaign"]["commit_seed"] == 17
    for data in (one, two):
        for row in data["seeds"].values():
            row[data["columns"].index("cpu_seconds")] = 0.0
        for changing in ("cpu_seconds", "wall_seconds", "times_real_time"):
            del data[changing]
    assert one == two


def test_an_interrupt_in_the_midst_of_a_change_is_raised_after_it() -> None:
    done: list[str] = []
    handler = signal.getsignal(signal.SIGINT)  # Where the tests run in the background, it is ignored.

    def change() -> None:
        with interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("the other half")

    with pytest.raises(KeyboardInterrupt):
        change()
    assert done
    with interrupts_deferred():
        pass
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_while_processes_are_started_is_raised_afterwards_and_none_of_them_sees_one() -> None:
    blocked = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    seen: list[str] = []

    def start() -> None:
        with interrupts_ignored():
            signal.raise_signal(signal.SIGINT)
            seen.append(
                subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=True).stdout
            )

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # In the background it is ignored.
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["True\n"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_broken_law_is_a_failure_with_the_command_that_breaks_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = simulate(Choices(0.01).scenario(0))

    def breaking(scenario: Scenario) -> Report:
        return replace(calm, scenario=scenario, broken=Broken("nothing is ever wrong", 1, 2.5))

    monkeypatch.setattr(campaign, "simulate", breaking)
    status, out, _ = ran(capsys, "--seeds", "0-11", "--days", HOUR, "--clients", "2", "--jobs", "1", "--quiet")
    assert status == 1
    assert "FAILED          seed 0: nothing is ever wrong (client 1, at 2.500 s)\n" in out
    assert "and 2 more seeds" in out
    assert "could be had" not in out
    assert "evertoken simulate --seed 0 --days 0.04 --clients 2 --faults swarm\n" in out


def test_a_swarm_in_which_a_named_situation_never_came_about_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = run_seed(Choices(0.01), 0)

    def calmly(_choices: Choices, seed: int, *, twice: bool) -> SeedResult:
        return replace(calm, seed=seed)

    monkeypatch.setattr(campaign, "run_seed", calmly)
    status, out, _ = ran(capsys, "--seeds", "0-99", "--jobs", "1", "--quiet")
    assert status == 1
    assert "FAILED          never came about: outcome: Abandoned" in out
    assert ran(capsys, "--seeds", "0-98", "--jobs", "1", "--quiet")[0] == 0


def test_a_seed_that_falls_over_is_a_failure_of_that_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_scenario: object) -> Report:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(campaign, "simulate", broken)
    failure = run_seed(Choices(), 5).failure
    assert failure is not None
    assert (failure.seed, failure.law) == (5, "a simulation raises nothing: ZeroDivisionError: oops")


def test_a_second_run_with_another_course_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter((0, 1))

    def drifting(scenario: Scenario) -> Report:
        return simulate(Choices(0.01).scenario(scenario.seed + next(runs)))

    monkeypatch.setattr(campaign, "simulate", drifting)
    failure = run_seed(Choices(0.01), 5, twice=True).failure
    assert failure is not None
    assert failure.law == "one seed has one course: the second run came to another digest"


def test_a_process_that_disappears_is_noticed() -> None:
    class Fatal:
        """Something to send that ends the process that receives it."""

        def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
            return os._exit, (1,)

    with pytest.raises(WorkerLost, match="has disappeared: out of memory"):
        list(run_seeds(Choices(0.01), cast("list[int]", [1, Fatal()]), jobs=2))


def test_an_interrupt_ends_all_processes_and_keeps_what_was_done(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    command = interruptible("simulate", "--seeds", "0-999999", "--days", HOUR, "--jobs", "2", "--out", str(out))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.send_signal(signal.SIGINT)
        _, complaint = run.communicate(timeout=LIMIT)
    assert (run.returncode, complaint) == (130, "evertoken: interrupted\n")
    assert 0 < read(out)["runs"] < 1_000_000
    assert not read(out)["whole"]
