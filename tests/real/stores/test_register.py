"""The judge of histories is itself judged: it lets good ones pass, and finds each kind of bad one."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.real.stores.register import Call, Event, FallBehind, TakeOver, is_linearizable


def load(begin: int, end: int | None, found: bytes | None, process: str = "p") -> Call:
    return Call(process, begin, end, found=found, is_swap=False)


def swap(  # noqa: PLR0917
    begin: int, end: int | None, expected: bytes | None, value: bytes | None, found: bytes | None, process: str = "p"
) -> Call:
    return Call(process, begin, end, expected, value, found == value, found)


GOOD: dict[str, Sequence[Event]] = {
    "nothing": [],
    "one after the other": [swap(0, 1, None, b"a", b"a"), load(2, 3, b"a"), swap(4, 5, b"a", None, None)],
    "a load beside a swap sees the old": [swap(0, 9, None, b"a", b"a"), load(1, 2, None, "q")],
    "a load beside a swap sees the new": [swap(0, 9, None, b"a", b"a"), load(1, 2, b"a", "q")],
    "of two swaps at once one is done": [swap(0, 9, None, b"a", b"a"), swap(0, 9, None, b"b", b"a", "q")],
    "who was killed had done it": [swap(0, None, None, b"a", None), load(5, 6, b"a", "q")],
    "who was killed had not done it": [swap(0, None, None, b"a", None), load(5, 6, None, "q")],
    "who was killed did it late": [swap(0, None, None, b"a", None), load(1, 2, None, "q"), load(5, 6, b"a", "q")],
    "what the replica has not heard is lost": [
        swap(0, 1, None, b"a", b"a"),
        FallBehind(2, 3),
        swap(4, 5, b"a", b"b", b"b"),
        load(6, 7, b"b", "q"),
        swap(8, 9, b"b", b"c", b"c"),
        TakeOver(10, 11),
        load(12, 13, b"a", "q"),
        swap(14, 15, b"a", b"d", b"d"),
    ],
    "a replica that falls behind during a swap has heard of it": [
        *(swap(0, 9, None, b"a", b"a"), FallBehind(1, 8), TakeOver(10, 11), load(12, 13, b"a")),
    ],
    "a replica that falls behind during a swap has not heard of it": [
        *(swap(0, 9, None, b"a", b"a"), FallBehind(1, 8), TakeOver(10, 11), load(12, 13, None)),
    ],
    "a replica that falls behind while nothing happens has heard of all": [
        *(swap(0, 1, None, b"a", b"a"), FallBehind(2, 3), TakeOver(4, 5), load(6, 7, b"a")),
    ],
    "one failover after the other": [
        *(swap(0, 1, None, b"a", b"a"), FallBehind(2, 3), swap(4, 5, b"a", b"b", b"b"), TakeOver(6, 7)),
        *(swap(8, 9, b"a", b"c", b"c"), FallBehind(10, 11), swap(12, 13, b"c", b"d", b"d"), TakeOver(14, 15)),
        load(16, 17, b"c"),
    ],
}

BAD: dict[str, Sequence[Event]] = {
    "a load sees what was not written": [load(0, 1, b"a")],
    "a load sees the old after the swap": [swap(0, 1, None, b"a", b"a"), load(2, 3, None, "q")],
    "two swaps of the same value are done": [swap(0, 9, None, b"a", b"a"), swap(0, 9, None, b"b", b"b", "q")],
    "a swap is not done and should have been": [swap(0, 1, None, b"a", None)],
    "a swap is done that was not expected": [swap(0, 1, b"x", b"a", b"a")],
    "a load sees the future": [load(0, 1, b"a", "q"), swap(2, 3, None, b"a", b"a")],
    "the new, and then the old": [
        swap(0, 9, None, b"a", b"a"),
        load(1, 2, b"a", "q"),
        load(3, 4, None, "q"),
    ],
    "a swap is lost": [
        swap(0, 1, None, b"a", b"a"),
        swap(2, 3, b"a", b"b", b"b"),
        load(4, 5, b"a", "q"),
    ],
    "who was killed did it before it began": [load(0, 1, b"a", "q"), swap(5, None, None, b"a", None)],
    "who was killed did it, and then not": [
        swap(0, None, None, b"a", None),
        load(1, 2, b"a", "q"),
        load(3, 4, None, "q"),
    ],
    "a replica that had heard of it has lost it": [
        *(swap(0, 1, None, b"a", b"a"), FallBehind(2, 3), TakeOver(4, 5), load(6, 7, None)),
    ],
    "it is lost before the failover": [
        *(FallBehind(0, 1), swap(2, 3, None, b"a", b"a"), load(4, 5, None, "q"), TakeOver(6, 7)),
    ],
    "a replica knows what was written after it had fallen behind": [
        *(FallBehind(0, 1), swap(2, 3, None, b"a", b"a"), TakeOver(4, 5), load(6, 7, b"a")),
    ],
    "of what is lost the half comes back": [
        *(FallBehind(0, 1), swap(2, 3, None, b"a", b"a"), swap(4, 5, b"a", b"b", b"b"), TakeOver(6, 7)),
        load(8, 9, b"a"),
    ],
    "of what a replica never heard something is found after what it knows": [
        *(FallBehind(0, 1), swap(2, 3, None, b"a", b"a"), TakeOver(4, 5), load(6, 7, None), load(8, 9, b"a")),
    ],
    "after the failover a swap is lost": [
        *(FallBehind(0, 1), TakeOver(2, 3), swap(4, 5, None, b"a", b"a"), load(6, 7, None)),
    ],
    "the replica has fallen behind, and nothing stands in": [
        *(swap(0, 1, None, b"a", b"a"), FallBehind(2, 3), swap(4, 5, b"a", b"b", b"b"), load(6, 7, b"a")),
    ],
}


@pytest.mark.parametrize("history", GOOD.values(), ids=GOOD)
def test_a_good_history_passes(history: Sequence[Event]) -> None:
    assert is_linearizable(history)


@pytest.mark.parametrize("history", BAD.values(), ids=BAD)
def test_a_bad_history_is_found(history: Sequence[Event]) -> None:
    assert not is_linearizable(history)


def made_up(seed: int, length: int) -> list[Call]:
    """What five processes saw of a register that did everything at one moment. Each third end is lost."""
    draw = random.Random(seed)
    stands: bytes | None = None
    history, free = list[Call](), [0] * 5
    for number in range(length):
        who = draw.randrange(5)
        moment = max(free[who], 10 * number) + draw.randrange(1, 40)
        at = 10 * number + 5  # they happen in this order
        begin, end = min(free[who] + 1, at), max(at, moment)
        if begin <= free[who] and free[who] > at:
            continue
        free[who] = end
        expected = stands if draw.random() < 0.7 else b"another"
        if draw.random() < 0.4:
            history.append(load(begin, end, stands, str(who)))
        else:
            value = b"%d" % number
            stands = value if stands == expected else stands
            call = swap(begin, end, expected, value, stands, str(who))
            lost = draw.random() < 0.1
            history.append(Call(call.process, begin, None, expected, value) if lost else call)
    return history


@pytest.mark.parametrize("seed", range(20))
def test_long_histories_of_a_true_register_pass_and_one_wrong_answer_in_them_is_found(seed: int) -> None:
    history = made_up(seed, 300)
    assert is_linearizable(history)
    at = next(at for at in range(150, len(history)) if not history[at].is_swap)
    history[at] = load(history[at].begin, history[at].begin + 1, b"never written")
    assert not is_linearizable(history)
