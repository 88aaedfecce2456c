"""The generator of the simulations."""

from __future__ import annotations

from evertoken.testing._random import Random


def test_the_numbers_are_those_of_splitmix64() -> None:
    random = Random(1234567)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [random.bits() for _ in expected] == expected


def test_every_kind_of_draw_stays_in_its_range_and_reaches_its_ends() -> None:
    random = Random(1)
    assert all(0.0 <= random.draw() < 1.0 for _ in range(1_000))
    assert {random.below(6) for _ in range(200)} == set(range(6))
    assert all(2.0 <= random.between(2.0, 3.0) <= 3.0 for _ in range(200))
    assert {random.pick("abc") for _ in range(200)} == {"a", "b", "c"}
    assert 200 < sum(random.chance(0.25) for _ in range(1_000)) < 300


def test_one_seed_gives_one_stream_and_a_fork_another() -> None:
    first, second = Random(7), Random(7)
    fork = first.fork()
    assert second.fork().bits() == fork.bits()
    assert first.bits() == second.bits() != fork.bits()
