"""A small seeded generator that gives the same numbers in every interpreter: SplitMix64 (Steele, Lea, Flood 2014).

Core may not use ``random``, and a simulation must not depend on what the next version of it draws. Draw at the moment
of the decision, from the one generator of the run; :meth:`Random.fork` is for parts whose number of draws may change
without changing the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from evertoken._checks import check_whole

LARGEST_SEED = 2**64 - 1
"""Seeds are the states of the generator: from 0 to this, no two give the same stream."""

_MASK = LARGEST_SEED
_UNIT = 2.0**-53
_GOLDEN = 0x9E3779B97F4A7C15
_T = TypeVar("_T")


def check_seed(seed: int) -> None:
    """Raise ValueError unless ``seed`` is from 0 to ``LARGEST_SEED``: beyond that, two seeds give the same stream."""
    check_whole("seed", seed, 0, LARGEST_SEED)


class Random:
    """A stream of numbers that follows from ``seed``. Not for secrets. A copy goes on by itself.

    ``seed`` is any int, of which the lowest 64 bits count. A scenario, which is named by its seed, refuses a longer
    one, since two names would stand for one run.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """The next 64 bits."""
        state = self._state = (self._state + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        return state ^ (state >> 31)

    def draw(self) -> float:
        """A float in [0, 1), a multiple of 2**-53: fit to be the ``draw`` of a TokenMachine."""
        return (self.bits() >> 11) * _UNIT

    def below(self, count: int) -> int:
        """A whole number in [0, count). The bias is under ``count / 2**64``."""
        return (self.bits() * count) >> 64

    def between(self, least: float, most: float) -> float:
        """A float from ``least`` to ``most``."""
        return least + (most - least) * ((self.bits() >> 11) * _UNIT)

    def chance(self, share: float) -> bool:
        """True in this share of the draws; one draw is made whatever the share."""
        return (self.bits() >> 11) * _UNIT < share

    def pick(self, items: Sequence[_T]) -> _T:
        """One of ``items``, each as likely as the others."""
        return items[self.below(len(items))]

    def fork(self) -> Random:
        """A generator of its own, seeded from this one."""
        return Random(self.bits())
