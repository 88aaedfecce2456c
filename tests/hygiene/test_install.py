"""What the Makefile says where pip fails: each cause in words of its own, and what to do next."""

from __future__ import annotations

import pytest

from tests.environments import install


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("ERROR: Cannot install a and b because these package versions have conflicting dependencies.", "contradict"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("error: subprocess-exited-with-error\n  gcc: not found", "building it failed"),
        ("ERROR: HTTP error 401 while getting https://index/simple/", "does not let us in"),
        ("WARNING: Retrying (Retry(total=4))\nERROR: (from versions: none)", "cannot be reached"),
        ("WARNING: Retrying (Retry(total=4))\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "its hash differs"),
        ("ERROR: Hashes are required in --require-hashes mode, but they are missing", "the pins are incomplete"),
        ("Killed", "pip failed"),
    ],
    ids=[
        "conflict",
        "disk",
        "build",
        "forbidden",
        "weather",
        "weather before a wrong hash",
        "no hash",
        "anything else",
    ],
)
def test_each_way_of_failing_has_words_of_its_own(said: str, words: str) -> None:
    told = install.explained(said, "the.log")
    assert words in told.splitlines()[0]
    assert "  log:  the.log\n  next: " in told
