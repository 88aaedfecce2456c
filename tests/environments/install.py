"""``python tests/environments/install.py LOG ARGUMENTS``: pip install ARGUMENTS, and say in words why that failed.

What pip says goes into LOG. Plain Python without any import of ours: it is the first thing that a new environment runs.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ("explained", "main")

# What pip writes, from what is specific to what may only be weather: the first row that is found in the log counts, so
# that a connection that was lost and found again is not taken for the cause. Texts of pip 22.3 to 26.
_CAUSES = (
    (
        r"DO NOT MATCH THE HASHES",
        "a file of the package index is not the one that was pinned: its hash differs",
        (
            "Nothing of it was installed. Compare the two hashes in the log. If a mirror or a proxy changes files, use"
            " another index (PIP_INDEX_URL); if the release itself was replaced, find out why before `make pins`."
        ),
    ),
    (
        r"[Hh]ashes are required in --require-hashes mode|all requirements must have their versions pinned",
        "the pins are incomplete: a package is asked for that has no exact version or no hash among them",
        "`make pins` writes them anew; `pytest tests/hygiene/test_pins.py` names what is missing.",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies",
        "the requirements contradict each other",
        "The log names which of them. Where it is pins, `make pins` writes them anew.",
    ),
    (
        r"No space left on device",
        "the disk is full",
        "Make room, and run it again.",
    ),
    (
        (
            r"Retrying \(Retry|ConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|name resolution|SSLError"
            r"|CERTIFICATE_VERIFY_FAILED|ProxyError|Tunnel connection failed|is not a trusted or secure host"
            r"|(?:HTTP error|Error:) (?:4|5)\d\d|(?:4|5)\d\d (?:Client|Server) Error"
        ),
        "the package index cannot be reached, or does not let us in",
        "Name one that can be reached (PIP_INDEX_URL, PIP_CERT, HTTPS_PROXY or pip.conf), and run it again.",
    ),
    (
        r"\(from versions: none\)",
        "no package index has the package at all: there is none, or it cannot be reached",
        (
            "Name one that has it (PIP_INDEX_URL, PIP_FIND_LINKS or pip.conf; PIP_NO_INDEX must not be set), and run it"
            " again."
        ),
    ),
    (
        r"\(from versions: |No matching distribution found",
        "the package index has the package, but not this release for this Python and platform",
        "A mirror may be behind: use another (PIP_INDEX_URL). Or try another Python with PYTHON=...",
    ),
    (
        r"subprocess-exited-with-error|Failed building wheel|metadata-generation-failed|Failed to build",
        "a package has no ready-made file for this Python and platform, and building it failed",
        "Try another Python with PYTHON=..., or install what the build asks for (a compiler, headers).",
    ),
)
_UNKNOWN = ("pip failed", "The end of the log says why.")


def explained(said: str, log: str) -> str:
    """What went wrong when pip said ``said``, which is kept in the file ``log``, and what to do next."""
    cause, advice = next(((cause, advice) for sign, cause, advice in _CAUSES if re.search(sign, said)), _UNKNOWN)
    complaints = [line for line in said.splitlines() if line.startswith("ERROR:")]
    lines = [f"not installed: {cause}."]
    if complaints:
        lines.append(f"  pip:  {complaints[0].removeprefix('ERROR:').strip()}")
    return "\n".join([*lines, f"  log:  {log}", f"  next: {advice}"])


def main(arguments: Sequence[str]) -> int:
    """Install, and return pip's exit status."""
    log, *wanted = arguments
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "install", "--no-compile", *wanted]  # To compile what nobody imports takes a quarter of the time.
    with Path(log).open("wb") as kept:
        status = subprocess.run(command, stdout=kept, stderr=subprocess.STDOUT, check=False).returncode
    if status:
        print(explained(Path(log).read_text(encoding="utf-8", errors="replace"), log), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
