"""What every store does, whatever it is made of."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import pytest

from evertoken.sharing import Store
from tests.kits.worlds import LIMIT, run_in_threads, until
from tests.real.nursery import Nursery, Process
from tests.real.stores.kits import SERVERS, server
from tests.real.stores.places import KEY, OTHER
from tests.real.stores.register import Call, is_linearizable

Make = Callable[[], Store]
SOON = 5.0
CALLS = 120
"""So many calls each process makes whose history is judged."""


def put(store: Store, expected: bytes | None, value: bytes | None, *, lasts: float = 600.0) -> bool:
    return store.swap(KEY, expected, value, lasts=lasts, timeout=SOON).done


def stands(store: Store, key: str = KEY) -> bytes | None:
    return store.load(key, timeout=SOON).value


def test_nothing_stands_where_nothing_was_put(make: Make) -> None:
    assert stands(make()) is None


def test_a_swap_is_done_if_the_value_is_the_expected_one_and_tells_what_stands_now(make: Make) -> None:
    one, other = make(), make()
    first = one.swap(KEY, None, b"a", lasts=600, timeout=SOON)
    second = other.swap(KEY, b"a", b"b", lasts=600, timeout=SOON)
    assert (first.done, first.found.value) == (True, b"a")
    assert (second.done, second.found.value) == (True, b"b")
    assert stands(one) == b"b"


@pytest.mark.parametrize(("there", "expected"), [(None, b"x"), (b"a", None), (b"a", b"x"), (b"a", b""), (b"", None)])
def test_a_swap_that_is_not_done_changes_nothing_and_tells_what_stands(
    make: Make, there: bytes | None, expected: bytes | None
) -> None:
    one, other = make(), make()
    assert put(one, None, there)
    swapped = other.swap(KEY, expected, b"b", lasts=600, timeout=SOON)
    assert (swapped.done, swapped.found.value) == (False, there)
    assert stands(one) == there


def test_nothing_can_be_put_in_the_place_of_something(make: Make) -> None:
    one, other = make(), make()
    assert put(one, None, b"a")
    assert put(other, b"a", None)
    assert stands(one) is None
    assert put(one, None, None)
    assert put(one, None, b"again")


@pytest.mark.parametrize(
    "value",
    [b"", b"\0", b"\n", b'{"length": 0}\n', bytes(range(256)), b"\n" * 9, b"x" * 100_000],
    ids=["empty", "null", "newline", "like a head", "every byte", "newlines", "long"],
)
def test_a_value_is_any_bytes(make: Make, value: bytes) -> None:
    assert put(make(), None, value)
    assert stands(make()) == value
    assert put(make(), value, b"after it")


def test_keys_have_nothing_to_do_with_each_other(make: Make) -> None:
    assert put(make(), None, b"a")
    assert stands(make(), OTHER) is None


@pytest.mark.parametrize("key", ["", "ab", "AB" * 32, "../" * 22, "ab" * 32 + "\n", "g" * 64])
def test_what_is_no_key_is_refused(make: Make, key: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal"):
        make().load(key, timeout=SOON)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        make().swap(key, None, b"a", lasts=600, timeout=SOON)


def test_a_value_is_forgotten_when_it_has_lasted(make: Make) -> None:
    one, other = make(), make()
    assert put(one, None, b"a", lasts=0.05)
    until(lambda: stands(other) is None)
    assert put(one, None, b"b", lasts=math.inf)
    assert stands(other) == b"b"


def test_moments_are_seconds_of_unix_time_and_the_same_for_all(make: Make) -> None:
    one, other = make(), make()
    moments = [one.load(KEY, timeout=SOON).now, other.swap(KEY, None, b"a", lasts=9, timeout=SOON).found.now]
    moments += [one.load(KEY, timeout=SOON).now, other.swap(KEY, b"x", None, lasts=9, timeout=SOON).found.now]
    assert moments == sorted(moments)
    assert abs(moments[0] - time.time()) < LIMIT


def test_of_many_who_swap_at_once_each_is_done_in_turn_and_none_is_lost(make: Make) -> None:
    def count_up(_: int) -> None:
        store, done = make(), 0
        while done < 10:
            found = stands(store)
            done += put(store, found, b"%d" % (int(found or 0) + 1))

    came = run_in_threads(8, count_up)()
    assert came == [None] * 8
    assert stands(make()) == b"80"


def test_equal_places_make_equal_stores_and_no_store_shows_much(make: Make) -> None:
    one, other = make(), make()
    assert one == other
    assert hash(one) == hash(other)
    assert one != object()
    assert "object at 0x" not in repr(one)


def test_closing_twice_is_closing_once_and_a_closed_store_can_be_used_again(make: Make) -> None:
    one = make()
    assert put(one, None, b"a")
    one.close()
    one.close()
    assert stands(one) == b"a"


def test_a_forked_child_uses_the_store_beside_its_parent(place: str, nursery: Nursery) -> None:
    with closing(nursery.born("child", "fork", place)) as both:
        assert both.rest().split() == ["child", "done", "parent", "done"]


def test_what_processes_see_that_are_killed_and_paused_is_what_one_register_does(place: str, nursery: Nursery) -> None:
    with ExitStack() as stack:
        processes = recording(stack, nursery, place, 4)
        killed, paused, steady, _ = processes
        lines = [steady.line() for _ in range(10)]
        paused.pause()
        lines += [steady.line() for _ in range(10)]
        killed.kill()
        paused.go_on()
        lines += [line for each in processes for line in each.rest().splitlines()]
    history = history_of(lines)
    assert len(history) > 3 * CALLS
    assert is_linearizable(history)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_killed_and_keeps_what_it_was_told_is_one_register_all_the_while(
    kind: str, nursery: Nursery
) -> None:
    with server(kind, durable=True) as running, ExitStack() as stack:
        processes = recording(stack, nursery, running.url, 3)
        lines = [processes[0].line() for _ in range(20)]
        running.restart()
        lines += [line for each in processes for line in each.rest().splitlines()]
    history = history_of(lines)
    assert len(history) == 3 * CALLS
    assert any(call.end is None for call in history)
    assert is_linearizable(history)


def recording(stack: ExitStack, nursery: Nursery, place: str, count: int, calls: int = CALLS) -> list[Process]:
    """So many processes that have begun to load and swap."""
    born = [nursery.born("child", "record", place, f"p{number}", str(calls)) for number in range(count)]
    processes = [stack.enter_context(closing(each)) for each in born]
    assert [each.line() for each in processes] == ["ready"] * count
    for each in processes:
        each.tell()
    return processes


def history_of(lines: list[str]) -> list[Call]:
    """The calls that ``lines`` tell of: of each its beginning, and its end if it had one."""
    calls: dict[tuple[str, int], Call] = {}
    for line in lines:
        if line.endswith("]"):  # Whoever was killed may have told half of it.
            call = Call.from_json(json.loads(line))
            calls[call.process, call.begin] = call
    return list(calls.values())
