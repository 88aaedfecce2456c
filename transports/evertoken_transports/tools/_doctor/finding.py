"""What one check found, for people and for programs. No text holds a secret or a token."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LATER = 75
"""The exit status of whatever is neither wrong usage nor a word of the token endpoint."""


@enum.unique
class Level(enum.Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Tokens are had all the same, today."""
    PROBLEM = "problem"
    """No token is had before this is mended."""
    SKIPPED = "skipped"
    """The check could not be made, and ``found`` says why not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What ``check`` found, and what is to be done about it. ``status`` is the exit status of a problem."""

    check: str
    level: Level
    found: str
    todo: str = ""
    status: int = LATER

    @property
    def stops(self) -> bool:
        """Whether a token request would be in vain."""
        return self.level is Level.PROBLEM


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, and how many token requests that took."""

    client_id: str
    token_endpoint: str
    store: str
    token_requests: int
    findings: Sequence[Finding]

    @property
    def status(self) -> int:
        """The exit status: what the token endpoint says of itself comes first, then the first problem there is."""
        problems = [finding.status for finding in self.findings if finding.level is Level.PROBLEM]
        words = [status for status in problems if status in (3, 4, 5)]
        return next(iter([*words, *problems]), 0)

    def as_json(self) -> str:
        """One object, for programs. Levels and names of checks are stable, texts are not."""
        findings = [
            {"check": each.check, "level": each.level.value, "found": each.found, "todo": each.todo}
            for each in self.findings
        ]
        return json.dumps(
            {
                "client_id": self.client_id,
                "token_endpoint": self.token_endpoint,
                "store": self.store,
                "token_requests": self.token_requests,
                "status": self.status,
                "findings": findings,
            },
            indent=2,
        )

    def lines(self) -> Iterator[str]:
        """For people: one line for each finding, one for what to do about it, and a last one for all."""
        yield f"client {self.client_id} at {self.token_endpoint}"
        wide = max(len(each.check) for each in self.findings)
        for each in self.findings:
            yield f"{each.level.value:<7}  {each.check:<{wide}}  {each.found}"
            if each.todo:
                yield f"{'to do':>{9 + wide}}  {each.todo}"
        yield f"{self._summary()}; {_counted(self.token_requests, 'token request')} made"

    def _summary(self) -> str:
        counts = [
            _counted(sum(each.level is level for each in self.findings), word)
            for level, word in ((Level.PROBLEM, "problem"), (Level.WARNING, "warning"))
        ]
        return ", ".join(counts)


def _counted(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
