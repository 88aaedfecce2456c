"""The file of ``evertoken simulate --seeds``: what it holds, how it is continued, and when it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evertoken.testing import (
    Report,
    simulate,
)
from evertoken_transports.tools import cli
from evertoken_transports.tools._simulate import campaign
from evertoken_transports.tools._simulate.choices import (
    Choices,
)
from evertoken_transports.tools._simulate.files import write_whole
from evertoken_transports.tools._simulate.record import SeedResult
from tests.kits.simulating import HOUR, ran, read


def test_each_seed_of_a_record_can_be_checked_by_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert ran(capsys, "--seeds", "0-19", "--days", "1e-6", "--clients", "1", "--quiet", "--out", str(out))[0] == 0
    data = read(out)
    row = dict(zip(data["columns"], data["seeds"]["7"], strict=True))
    report = simulate(Choices(1e-6, 1).scenario(7))
    assert row["digest"] == report.digest[:16]
    assert (row["events"], row["steps"]) == (report.events, report.steps)
    assert len(json.dumps(data["seeds"])) < 20 * 90
    assert max(map(len, out.read_text(encoding="utf-8").splitlines())) < 200


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


MANY = ("--seeds", "0-2", "--days", "1e-6", "--jobs", "1", "--quiet")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the file of a whole campaign holds."""
    out = tmp_path_factory.mktemp("sound") / "out.json"
    assert cli.main(["simulate", *MANY, "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


@pytest.fixture
def sound_file(tmp_path: Path, sound: str) -> Path:
    """Such a file, to be damaged."""
    out = tmp_path / "out.json"
    out.write_text(sound, encoding="utf-8")
    return out


def _damaged(data: dict[str, Any], path: str, value: object) -> None:
    """Put ``value`` at ``path``; take away what is there if it is None."""
    *outer, last = path.split("/")
    for name in outer:
        data = data[name]
    if value is None:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("format", 1, "is no record of simulate in format 2"),
        ("campaign", 7, "is no record of simulate: campaign is no JSON object"),
        ("columns", ["digest"], "is damaged: its columns are not digest, simulated_seconds, events"),
        ("seeds", [], "is no record of simulate: seeds is no JSON object"),
        ("seeds/1", None, "is damaged: runs is 3, and 2 by its rows"),
        ("seeds/999", ["", 1.0, 1, 1, 1, 1, 1.0], "is damaged: it has a row of seed '999', which is none of the"),
        ("seeds/01", ["", 1.0, 1, 1, 1, 1, 1.0], "is damaged: it has a row of seed '01', which is none of the"),
        ("seeds/1", {}, "is damaged: the row of seed 1 is no JSON array"),
        ("seeds/1", [1.0, 1, 1, 1, 1, 1.0], "is damaged: the row of seed 1 has 6 columns, not 7"),
        ("seeds/1", ["", 1.0, "x", 1, 1, 1, 1.0], "is damaged: events of seed 1 is 'x'"),
        ("seeds/1", ["", 1.0, -1, 1, 1, 1, 1.0], "is damaged: events of seed 1 is -1"),
        ("seeds/1", ["", 1.0, True, 1, 1, 1, 1.0], "is damaged: events of seed 1 is True"),
        ("seeds/1", ["", float("nan"), 1, 1, 1, 1, 1.0], "is damaged: simulated_seconds of seed 1 is nan"),
        ("seeds/1", ["x", 1.0, 1, 1, 1, 1, 1.0], "is damaged: the digest of seed 1 is not 16 hexadecimal digits"),
        ("situations", [1], "is no record of simulate: situations is no JSON object"),
        ("situations/a caller gave up", "x", "is damaged: situation 'a caller gave up' is 'x'"),
        ("wall_seconds", "x", "is damaged: wall_seconds is 'x'"),
        ("wall_seconds", None, "is damaged: wall_seconds is None"),
        ("events", 7, "is damaged: events is 7, and "),
        ("failures", {}, "is damaged: failures is no JSON array"),
        ("failures", [{"seed": 1}], "is damaged: a failure has not just seed, law, client, at, rerun"),
    ],
    ids=str,
)
def test_a_damaged_record_is_refused_in_one_line_and_left_alone(
    capsys: pytest.CaptureFixture[str], sound_file: Path, path: str, value: object, complaint: str
) -> None:
    data = read(sound_file)
    _damaged(data, path, value)
    sound_file.write_text(json.dumps(data), encoding="utf-8")
    out, before = sound_file, sound_file.read_bytes()
    status, said, told = ran(capsys, *MANY, "--out", str(out))
    assert (status, said, told.count("\n")) == (2, "", 1)
    assert told.startswith(f"evertoken: simulate: --out: {out} {complaint}")
    assert out.read_bytes() == before


def test_a_failure_without_a_row_is_refused(capsys: pytest.CaptureFixture[str], sound_file: Path) -> None:
    data = read(sound_file)
    data["failures"] = [{"seed": 999, "law": "", "client": 0, "at": 0.0, "rerun": ""}]
    data["ok"] = False
    sound_file.write_text(json.dumps(data), encoding="utf-8")
    status, _, told = ran(capsys, *MANY, "--out", str(sound_file))
    assert status == 2
    assert "is damaged: seed 999 failed and has no row: give another file, or remove it\n" in told


@pytest.mark.parametrize("text", ["", "[" * 100_000, "\x00", "7" * 5_000], ids=len)
def test_a_file_that_is_no_json_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str) -> None:
    out = tmp_path / "out.json"
    out.write_text(text, encoding="utf-8")
    status, said, told = ran(capsys, "--seeds", "0", "--out", str(out))
    assert (status, said, told.count("\n")) == (2, "", 1)
    assert "is no record of simulate" in told


def test_a_failure_survives_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def falls_over(_scenario: object) -> Report:
        raise ZeroDivisionError("oops")

    out = tmp_path / "out.json"
    many = ("--seeds", "0-1", "--jobs", "1", "--quiet", "--out", str(out))
    with monkeypatch.context() as patch:
        patch.setattr(campaign, "simulate", falls_over)
        first = ran(capsys, *many)
    assert first[0] == 1
    assert ran(capsys, *many) == first


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    write_whole(path, "what was there")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half of it, and then \ud800")
    assert path.read_text(encoding="utf-8") == "what was there"
    assert list(tmp_path.iterdir()) == [path]
