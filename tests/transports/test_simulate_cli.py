"""``evertoken simulate``: what it takes, what it says, what it writes down, and that it finds what is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from evertoken.testing import (
    ApiFault,
    AuthorizationServer,
    Broken,
    Report,
    Scenario,
    TokenFault,
    WorldFault,
    draw_scenario,
    simulate,
)
from evertoken.testing._checks import Checks, LawBroken
from evertoken_transports import cli
from evertoken_transports._simulate import campaign
from evertoken_transports._simulate.campaign import WorkerLost, run_seed, run_seeds
from evertoken_transports._simulate.choices import (
    ChoiceError,
    Choices,
    commit_seed,
    read_faults,
    read_seeds,
    spelt_seeds,
)
from evertoken_transports._simulate.gallery import Gallery
from evertoken_transports._simulate.interrupts import interrupts_deferred
from evertoken_transports._simulate.record import SeedResult
from tests.hygiene.source_tree import ROOT

LIMIT = 60.0
"""Real seconds after which what should have happened has not. No test comes near it unless something hangs."""

HOUR = "0.04"
COMMIT = "00000000000000110123456789abcdef01234567"  # Seed 17.


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["simulate", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


# What it takes
# -------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--days", "0"], "--days must be above 0"),
        (["--days", "nan"], "--days must be above 0"),
        (["--years", "101"], "--days must be above 0 and at most 36525"),
        (["--clients", "0"], "--clients must be from 1"),
        (
            ["--faults", "hail"],
            "--faults: 'hail' is none of swarm, none, all, nor a list of faults (world: lost",
        ),
        (["--seeds", "9-1"], "--seeds: '9-1' ends before it begins"),
        (["--seeds", "a"], "--seeds: 'a' is no seed"),
        (["--seeds", "0-99999999"], "--seeds: at most"),
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
    assert "shrunk to 1 client(s)" in out
    assert "token#1" in out


def test_options_for_many_seeds_are_of_no_use_for_one_and_the_reverse(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(capsys, "--seed", "1", "--out", "file")[::2] == (2, "evertoken: simulate: --out goes with --seeds\n")
    assert ran(capsys, "--seeds", "1", "--svg", "file")[::2] == (2, "evertoken: simulate: --svg goes with --seed\n")


# Pictures
# --------

README_PICTURE = ROOT / "docs" / "timeline.svg"
README_COMMAND = (
    "evertoken simulate --seed 704 --days 0.5 --clients 3 --faults partition,outage,revoked,crash,restart,suspend,late,"
    "token:server-error,token:rate-limited-reset,token:hang,api:unauthorized --svg docs/timeline.svg"
)


def test_the_picture_in_the_docs_is_what_its_command_gives(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    svg = tmp_path / "timeline.svg"
    arguments = README_COMMAND.split()[2:-1]
    assert ran(capsys, *arguments, str(svg), "--quiet")[0] == 0
    is_the_same = svg.read_text(encoding="utf-8") == README_PICTURE.read_text(encoding="utf-8")
    assert is_the_same, f"draw it anew: {README_COMMAND}"


@pytest.mark.parametrize("seed", ["1", "24"])
def test_a_picture_is_well_formed_and_says_how_it_is_drawn_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, seed: str
) -> None:
    svg, html = tmp_path / "picture.svg", tmp_path / "page.html"
    chosen = ("--seed", seed, "--days", "0.3", "--faults", "all", "--svg", str(svg), "--html", str(html), "--quiet")
    status, out, _ = ran(capsys, *chosen)
    assert status == 0
    assert out.endswith(f"picture         {svg}\npage            {html}\n")
    picture, page = svg.read_text(encoding="utf-8"), html.read_text(encoding="utf-8")
    told = [text.text for text in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert f"evertoken simulate --seed {seed} --days 0.3 --faults all" in told
    assert {"network", "token endpoint", "server", "client 0", "token valid", "token granted", "faults are over"} < {
        *told
    }
    assert [text for text in told if text is not None and text.startswith("Every law held, at each of ")]
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    clients = [row for row in data["rows"] if row["title"].startswith("client")]
    assert data["until"] == pytest.approx(0.3 * 86_400 * 1.08)
    for row in clients:
        for band in row["bands"]:
            assert len(band["ends"]) == len(band["what"])
            assert band["ends"] == sorted(band["ends"])
    assert out.partition("\n")[0] in page


def test_a_page_needs_nothing_from_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    assert ran(capsys, "--seed", "1", "--days", HOUR, "--html", str(html), "--quiet")[0] == 0
    page = html.read_text(encoding="utf-8")
    assert {*re.findall(r"\w+://[^\"' >)]+", page)} == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|img|iframe|object)|<script[^>]+src|@import|url\(", page)


def test_a_long_run_of_many_clients_is_no_picture_of_megabytes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    svg = tmp_path / "picture.svg"
    many = ("--seed", "32", "--days", "2", "--clients", "20", "--svg", str(svg), "--quiet")
    assert ran(capsys, *many)[0] == 0
    assert svg.stat().st_size < 600_000
    assert re.search(
        r"Stretches under 6 min are drawn together, as a stack of their shares: [0-9,]{5,} of", svg.read_text()
    )


def test_a_broken_law_is_seen_in_the_picture(tmp_path: Path) -> None:
    svg = tmp_path / "picture.svg"
    gallery = Gallery(str(svg), None)
    scenario = Choices(0.04).scenario(1)
    report, timeline = simulate(scenario), gallery.watch(scenario)
    assert timeline is not None
    broken = Broken("<nothing> is ever wrong", 0, 1_000.0)
    timeline.begin(scenario, [], AuthorizationServer("client", "key"))
    timeline.end(1_000_000_000_000, broken)
    assert list(gallery.hang(replace(report, broken=broken), "a command", [])) == [f"picture         {svg}"]
    picture = svg.read_text(encoding="utf-8")
    assert "Broken: &lt;nothing&gt; is ever wrong (client 0, at 1000.000 s)." in picture
    assert 'class="mark bad-line"' in picture


def test_a_picture_that_cannot_be_written_is_told_before_anything_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, complaint = ran(capsys, "--days", "36525", "--svg", str(tmp_path / "nowhere" / "picture.svg"))
    assert (status, out) == (1, "")
    assert "nowhere" in complaint


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
    one, two = read(alone), read(together)
    assert one["digest"] == two["digest"]
    assert one["digest"] in out
    assert [row["seed"] for row in two["results"]] == [0, 1, 2, 3, 17]
    assert (one["runs"], one["whole"], one["ok"]) == (5, True, True)
    assert one["campaign"]["commit_seed"] == 17
    for changing in ("cpu_seconds", "wall_seconds", "times_real_time", "results"):
        del one[changing], two[changing]
    assert one == two


def test_a_record_is_continued_and_comes_to_what_it_would_have_at_one_go(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out.json", tmp_path / "whole.json"
    many = ("--seeds", "0-5", "--days", HOUR, "--jobs", "1", "--quiet")
    real, seeds = campaign.run_seed, list[int]()

    def interrupted(choices: Choices, seed: int, *, twice: bool) -> SeedResult:
        seeds.append(seed)
        if seed == 3 and len(seeds) == 4:
            raise KeyboardInterrupt
        return real(choices, seed, twice=twice)

    monkeypatch.setattr(campaign, "run_seed", interrupted)
    assert ran(capsys, *many, "--out", str(out))[0] == 130
    assert (read(out)["runs"], read(out)["whole"]) == (3, False)
    assert ran(capsys, *many, "--out", str(out))[0] == 0
    assert seeds == [0, 1, 2, 3, 3, 4, 5]
    assert ran(capsys, *many, "--out", str(whole))[0] == 0
    for name in ("digest", "situations", "events", "campaign", "whole"):
        assert read(out)[name] == read(whole)[name]
    assert sorted(tmp_path.iterdir()) == [out, whole]


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


def test_a_record_of_another_campaign_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    many = ("--seeds", "0", "--quiet", "--out", str(out))
    assert ran(capsys, *many, "--days", HOUR)[0] == 0
    before = out.read_bytes()
    status, _, complaint = ran(capsys, *many, "--days", "0.05")
    assert status == 2
    assert "holds another campaign (choices was {'days': 0.04" in complaint
    assert out.read_bytes() == before
    out.write_text("[]", encoding="utf-8")
    assert "is no record of simulate" in ran(capsys, *many)[2]
    assert out.read_text(encoding="utf-8") == "[]"


def test_a_file_that_cannot_be_written_is_told_before_anything_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, out, complaint = ran(capsys, "--seeds", "0-999999", "--out", str(tmp_path / "nowhere" / "out.json"))
    assert (status, out) == (1, "")
    assert "nowhere" in complaint


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
    command = [sys.executable, "-m", "evertoken_transports.cli", "simulate", "--seeds", "0-999999", "--days", HOUR]
    command += ["--jobs", "2", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        run.send_signal(signal.SIGINT)
        _, complaint = run.communicate(timeout=LIMIT)
    assert (run.returncode, complaint) == (130, "evertoken: interrupted\n")
    assert 0 < read(out)["runs"] < 1_000_000
    assert not read(out)["whole"]
