"""The pictures of ``evertoken simulate``: what they show, and when they are written."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from evertoken.testing import (
    AuthorizationServer,
    Broken,
    Report,
    simulate,
)
from evertoken_transports.tools._simulate.choices import (
    Choices,
)
from evertoken_transports.tools._simulate.files import check_writable, write_whole
from evertoken_transports.tools._simulate.gallery import Gallery
from evertoken_transports.tools._simulate.one import _Followed
from tests.kits.simulating import HOUR, ran
from tests.kits.source_tree import ROOT

PICTURE = ROOT / "docs" / "timeline.svg"
COMMAND = (
    "evertoken simulate --seed 704 --days 0.5 --clients 3 --faults partition,outage,revoked,crash,restart,suspend,late,"
    "token:server-error,token:rate-limited-reset,token:hang,api:unauthorized --svg docs/timeline.svg"
)


def test_the_picture_in_the_docs_is_what_its_command_gives(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    svg = tmp_path / "timeline.svg"
    arguments = COMMAND.split()[2:-1]
    assert ran(capsys, *arguments, str(svg), "--quiet")[0] == 0
    is_the_same = svg.read_text(encoding="utf-8") == PICTURE.read_text(encoding="utf-8")
    assert is_the_same, f"draw it anew: {COMMAND}"


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


def test_an_interrupted_run_leaves_the_picture_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_world: object) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Followed, "run", interrupted)
    before, new = tmp_path / "before.svg", tmp_path / "new.html"
    before.write_text("a picture", encoding="utf-8")
    assert ran(capsys, "--svg", str(before), "--html", str(new))[0] == 130
    assert before.read_text(encoding="utf-8") == "a picture"
    assert list(tmp_path.iterdir()) == [before]


def test_a_link_is_written_through_and_a_device_is_written_to(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    check_writable("--svg", link)
    assert not real.exists()
    write_whole(link, "text")
    assert link.is_symlink()
    assert real.read_text(encoding="utf-8") == "text"
    device = Path(os.devnull)
    check_writable("--svg", device)
    write_whole(device, "text")
    assert not device.is_file()
