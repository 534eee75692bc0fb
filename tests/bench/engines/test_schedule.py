"""Which unit comes next, and how long a schedule takes."""

import random

import pytest

from bench.run.engines.schedule import Item, Schedule, simulate


def item(index: int, cost: float, models: str = "m") -> Item:
    return Item(index, [str(index)], cost, models)


def order(items: list[Item], loaded: str, workers: int) -> list[int]:
    schedule, found = Schedule(items), []
    while (one := schedule.next("node", loaded, workers)) is not None:
        schedule.take(one, workers)
        found.append(one.index)
    return found


def test_the_longest_comes_first_and_equal_ones_in_their_order() -> None:
    assert order([item(0, 1), item(1, 5), item(2, 3), item(3, 5)], "m", 2) == [1, 3, 2, 0]


def test_loaded_models_come_first_only_where_that_costs_nothing() -> None:
    units = [item(0, 10, "a"), item(1, 4, "b"), item(2, 4, "b"), item(3, 6, "a")]
    # 24 seconds, 12 for each of two workers: 10 + 4 would end after 14.
    assert Schedule(units).next("node", "b", 2) == units[0]
    # One worker does all of it anyway.
    assert Schedule(units).next("node", "b", 1) == units[1]
    assert order(units, "b", 1) == [1, 2, 0, 3]


def test_a_unit_waits_for_a_node_that_has_its_files() -> None:
    units = [item(0, 2), item(1, 1)]
    units[0].refused["here"] = "other data"
    schedule = Schedule(units)
    assert schedule.next("here", "m", 1) == units[1]
    assert schedule.next("there", "m", 1) == units[0]
    schedule.take(units[1], 1)
    assert schedule.next("here", "m", 1) is None
    assert schedule.withdraw(lambda each: "here" in each.refused) == [units[0]]
    assert len(schedule) == 0


def test_a_unit_larger_than_an_equal_share_is_shared_out() -> None:
    unit, others = Item(0, list("abcde"), 10.0, "m"), [item(1, 1), item(2, 1)]
    assert Schedule([unit]).take(unit, 1) == unit
    schedule = Schedule([unit, *others])
    taken = schedule.take(unit, 3)  # 12 seconds, 4 for each
    rest = schedule.next("node", "m", 3)
    assert rest is not None
    assert (taken.open, taken.cost, rest.open, rest.cost) == (["a", "b"], 4.0, ["c", "d", "e"], 6.0)
    assert len(schedule) == 3
    assert Schedule([unit]).take(unit, 99).open == ["a"]
    assert Schedule(others).take(others[0], 9) == others[0]


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_ends_within_its_bound(seed: int) -> None:
    rng = random.Random(seed)
    costs = [rng.lognormvariate(0, 1.5) for _ in range(rng.randrange(1, 60))]
    models = [rng.choice("abc") for _ in costs]
    for workers in (1, 2, 7):
        took = simulate([item(i, *pair) for i, pair in enumerate(zip(costs, models, strict=True))], workers)
        least = max(sum(costs) / workers, *costs)
        assert least <= took + 1e-9
        assert took <= sum(costs) / workers + max(costs) + 1e-9
    assert simulate([item(0, 2, "a"), item(1, 1, "b")], 1, load=0.5) == 4.0
