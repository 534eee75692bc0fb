"""Which unit a worker takes next: the longest, or one whose models it has loaded where that costs nothing.

Taking the longest first ends within 4/3 of the shortest possible time, and in practice near it (Graham,
Bounds on multiprocessing timing anomalies, 1969).
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace


@dataclass
class Item:
    """A unit of work as the driver sees it."""

    index: int
    """Of the unit, which every worker holds."""
    open: list[str]
    """Keys of the results that are not there yet, in the unit's order; the worker computes these alone."""
    cost: float
    """Expected seconds, or anything in proportion to them."""
    models: Hashable
    """What has to be loaded for it."""
    deaths: int = 0
    """Workers that ended while it was computed."""
    alone: bool = False
    """Whether its worker may do nothing else beside it: after a death, so that the next tells whose it is."""
    refused: dict[str, str] = field(default_factory=dict)
    """Node -> why the unit cannot be computed there."""


class Schedule:
    """The units that nobody works on."""

    def __init__(self, items: Iterable[Item]) -> None:
        """Hold all `items`."""
        self._waiting = sorted(items, key=lambda item: -item.cost)

    def __len__(self) -> int:
        """Return the number of waiting units."""
        return len(self._waiting)

    def add(self, item: Item) -> None:
        """Have the unit wait (again)."""
        self._waiting.append(item)
        self._waiting.sort(key=lambda each: -each.cost)  # stable: equal ones stay in their order

    def next(self, node: str, loaded: Hashable, workers: int) -> Item | None:
        """Return what a worker of `node` with these models should take; None if there is nothing for it.

        A unit of loaded models comes before the longest one if the worker can take that one after it and
        still ends within an equal share of what is left.
        """
        fitting = [item for item in self._waiting if node not in item.refused]
        if not fitting:
            return None
        longest = fitting[0]
        share = sum(item.cost for item in fitting) / max(workers, 1)
        if longest.models == loaded:
            return longest
        at_hand = (item for item in fitting if item.models == loaded)
        return next((item for item in at_hand if item.cost + longest.cost <= share), longest)

    def take(self, item: Item, workers: int) -> Item:
        """Return what a worker is to do of the unit: all, or as many tasks as are an equal share."""
        self._waiting.remove(item)
        share = (item.cost + sum(other.cost for other in self._waiting)) / max(workers, 1)
        count = len(item.open)
        if item.cost <= share or count < 2:
            return item
        most, each = max(1, int(count * share / item.cost)), item.cost / count
        self.add(replace(item, open=item.open[most:], cost=each * (count - most)))
        return replace(item, open=item.open[:most], cost=each * most)

    def withdraw(self, unwanted: Callable[[Item], bool]) -> list[Item]:
        """Return and forget the waiting units that are unwanted."""
        found = [item for item in self._waiting if unwanted(item)]
        self._waiting = [item for item in self._waiting if not unwanted(item)]
        return found


def simulate(items: Iterable[Item], workers: int, load: float = 0.0) -> float:
    """Return the seconds that equal workers take for `items`, whose costs are in seconds.

    `load` is what a worker needs for other models than it has.
    """
    schedule = Schedule(items)
    free = [0.0] * workers
    loaded: list[Hashable] = [None] * workers
    while len(schedule):
        worker = min(range(workers), key=free.__getitem__)
        item = schedule.next("", loaded[worker], workers)
        assert item is not None
        item = schedule.take(item, workers)
        free[worker] += item.cost + (load if item.models != loaded[worker] else 0.0)
        loaded[worker] = item.models
    return max(free)
