"""What is to be simulated: read from the command line, and written as the command that does it again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evertoken.testing import ApiFault, Scenario, TokenFault, WorldFault
from evertoken.testing._random import LARGEST_SEED
from evertoken.testing.world._arranged import EVERY_FAULT, Fault, arrange_scenario

DAY = 86_400.0
_MOST_DAYS = 36_525.0
_MOST_YEARS = 100.0
_MOST_SEEDS = 10_000_000
_MOST_CLIENTS = 1_000
_PREFIXES: dict[type[Fault], str] = {WorldFault: "world", TokenFault: "token", ApiFault: "api"}


class ChoiceError(ValueError):
    """An option that cannot be carried out. Its text names the option, and what is allowed."""


def days_of(years: float) -> float:
    """``--years`` in days.

    Raises:
        ChoiceError: there are none, or too many.
    """
    if not 0.0 < years <= _MOST_YEARS:
        raise ChoiceError(f"--years must be above 0 and at most {_MOST_YEARS:.0f}, not {years}")
    return years * 365.0


@dataclass(frozen=True, slots=True)
class Choices:
    """All that a simulated course follows from, but for its seed. ``faults`` is as it was written."""

    days: float = 1.0
    clients: int | None = None
    faults: str = "swarm"

    def __post_init__(self) -> None:
        if not 0.0 < self.days <= _MOST_DAYS:
            raise ChoiceError(f"--days must be above 0 and at most {_MOST_DAYS:.0f}, not {self.days}")
        if self.clients is not None and not 1 <= self.clients <= _MOST_CLIENTS:
            raise ChoiceError(f"--clients must be from 1 to {_MOST_CLIENTS}, not {self.clients}")
        read_faults(self.faults)

    def scenario(self, seed: int) -> Scenario:
        """The scenario of ``seed``."""
        return arrange_scenario(seed, seconds=self.days * DAY, clients=self.clients, faults=read_faults(self.faults))

    def command(self, seed: int) -> str:
        """The command that simulates ``seed`` once more, step by step the same."""
        days = f"{self.days:.0f}" if self.days == round(self.days) else repr(self.days)
        clients = "" if self.clients is None else f" --clients {self.clients}"
        return f"evertoken simulate --seed {seed} --days {days}{clients} --faults {_quoted(self.faults)}"


def _quoted(text: str) -> str:
    return f"'{text}'" if " " in text else text


# Faults
# ------


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")


def _named() -> dict[str, tuple[Fault, ...]]:
    named: dict[str, tuple[Fault, ...]] = {}
    for fault in EVERY_FAULT:
        name = _plain(fault.value)
        named[name] = (*named.get(name, ()), fault)
        named[f"{_PREFIXES[type(fault)]}:{name}"] = (fault,)
    return named


def fault_names() -> dict[str, list[str]]:
    """The names that ``--faults`` takes, by where the fault strikes."""
    names: dict[str, list[str]] = {prefix: [] for prefix in _PREFIXES.values()}
    for fault in EVERY_FAULT:
        names[_PREFIXES[type(fault)]].append(_plain(fault.value))
    return names


def read_faults(text: str) -> tuple[Fault, ...] | None:
    """The faults that ``text`` names; None for those that the seed draws.

    ``token:locked`` is the one at the token endpoint, ``api:locked`` the one at the API, ``locked`` is both.

    Raises:
        ChoiceError: a name is unknown.
    """
    match _plain(text):
        case "swarm":
            return None
        case "none":
            return ()
        case "all":
            return EVERY_FAULT
        case _:
            pass
    named = _named()
    wanted = [_plain(name) for name in text.split(",")]
    unknown = [name for name in wanted if name not in named]
    if unknown:
        known = "; ".join(f"{where}: {', '.join(names)}" for where, names in fault_names().items())
        raise ChoiceError(f"--faults: {unknown[0]!r} is none of swarm, none, all, nor a list of faults ({known})")
    return tuple(dict.fromkeys(fault for name in wanted for fault in named[name]))


# Seeds
# -----


def check_seed(option: str, seed: int) -> int:
    """``seed``, if it stands for a course of its own.

    Raises:
        ChoiceError: it does not.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ChoiceError(f"{option} must be from 0 to {LARGEST_SEED}, not {seed}")
    return seed


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds that ``text`` names, ``0-999`` or ``3,17,100-199``, each once and in order.

    Raises:
        ChoiceError: it is no such list, names more than ten million, or one that is too large.
    """
    ranges: list[range] = []
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ChoiceError(f"--seeds: {part!r} is no seed and no range of seeds like 0-999")
        ranges.append(range(int(first), int(last or first) + 1))
        if int(last or first) < int(first):
            raise ChoiceError(f"--seeds: {part!r} ends before it begins")
        check_seed("--seeds", int(last or first))
    if sum(those.stop - those.start for those in ranges) > _MOST_SEEDS:
        raise ChoiceError(f"--seeds: at most {_MOST_SEEDS:,} at once")
    return tuple(sorted({seed for those in ranges for seed in those}))


def spelt_seeds(seeds: tuple[int, ...]) -> str:
    """The shortest text that :func:`read_seeds` reads as ``seeds``."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][1] == seed - 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def commit_seed(commit: str) -> int:
    """The seed that a commit adds, so that no two commits are tried with the same seeds only.

    Raises:
        ChoiceError: it is not made of 16 to 64 hexadecimal digits.
    """
    if re.fullmatch(r"[0-9a-fA-F]{16,64}", commit) is None:
        raise ChoiceError(f"--commit must be a commit's full hash in hexadecimal, not {commit!r}")
    return int(commit[:16], 16)
