"""The examples of the documentation, under the type checker that an application would run over its own tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kits.source_tree import ROOT, examples


def test_every_example_of_the_documentation_is_well_typed(tmp_path: Path) -> None:
    text = examples("docs/testing.md")
    typed = re.sub(
        r"^((?:async )?def test_.*)\(mangopay_server", r"\1(mangopay_server: MangopayServer", text, flags=re.MULTILINE
    )
    page = tmp_path / "page.py"
    page.write_text(f"from evertoken_transports.testing import MangopayServer\n{typed}", encoding="utf-8")
    roots = os.pathsep.join(str(ROOT / root) for root in ("core", "transports"))
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", "--check-untyped-defs", f"--cache-dir={tmp_path}", str(page)],
        env={**os.environ, "MYPYPATH": roots},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout
