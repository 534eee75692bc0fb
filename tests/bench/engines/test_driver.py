"""The driver against workers that die, refuse and break, without processes."""

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import pytest

from bench.errors import BenchError
from bench.run.engines.driver import Driver
from bench.run.engines.remote import Command, Message
from bench.run.engines.schedule import Item

Fate = Callable[[str, str], str]
"""(slot, key) -> what happens over it: `fine`, `dies`, `node lost`, `refuses`, `breaks`, `fails`."""


class Pool:
    """Workers that are one unit behind in writing, as the real ones are."""

    def __init__(self, fate: Fate, nodes: tuple[str, ...]) -> None:
        self.slots = [f"slot {place}" for place in range(len(nodes))]
        self.patience = 60.0
        self.ran: list[tuple[str, tuple[str, ...]]] = []
        self._fate, self._nodes = fate, dict(zip(self.slots, nodes, strict=True))
        self._told: deque[tuple[str, Message]] = deque()
        self._behind: dict[str, list[str]] = {}
        self.closed = False
        self.beside: set[tuple[str, str]] = set()
        """(key that was computed, key that was being written beside it)."""

    def start(self, slot: str) -> None:
        self._behind[slot] = []
        if self._fate(slot, "") == "dies":
            self._told.append((slot, ("died", "at birth", False)))
        else:
            self._told.append((slot, ("event", "at", self._nodes[slot])))
            self._told.append((slot, ("event", "ready")))

    def tell(self, slot: str, command: Command) -> None:
        match command:
            case ("settle",):
                self._write(slot)
            case ("run", _, keys):
                self.ran.append((slot, tuple(sorted(keys))))
                self.beside |= {(key, other) for key in keys for other in self._behind[slot]}
                for key in sorted(keys):
                    match self._fate(slot, key):
                        case "dies":
                            return self._told.append((slot, ("died", f"over {key}", False)))
                        case "node lost":
                            return self._told.append((slot, ("died", "no more node", True)))
                        case "refuses":
                            self._told.append((slot, ("event", "refused", "other data")))
                            return self._told.append((slot, ("event", "idle")))
                        case "breaks":
                            return self._told.append((slot, ("event", "broken", "disk full")))
                        case "fails":
                            self._told.append((slot, ("failed", key, "truncated", None)))
                        case _:
                            self._write(slot)
                            self._behind[slot].append(key)
        self._told.append((slot, ("event", "idle")))
        return None

    def _write(self, slot: str) -> None:
        for key in self._behind[slot]:
            self._told.append((slot, ("written", key, None)))
        self._behind[slot] = []

    def hear(self, seconds: float) -> list[tuple[str, Message]]:
        return [self._told.popleft()] if self._told else []

    def close(self) -> None:
        self.closed = True


class Records:
    def __init__(self) -> None:
        self.fates: list[tuple[str, str]] = []
        self.remarks: list[str] = []

    def written(self, key: str, content: Any) -> None:
        self.fates.append((key, "written"))

    def failed(self, key: str, reason: str, trace: str | None) -> None:
        self.fates.append((key, reason))

    def event(self, name: str, *told: Any) -> None:
        pass

    def remark(self, text: str) -> None:
        self.remarks.append(text)


UNITS = [{"a1", "a2", "a3"}, {"b"}, {"c"}, {"d"}, {"e"}]


def drive(
    fate: Fate, nodes: tuple[str, ...] = ("n1", "n2"), units: list[set[str]] = UNITS
) -> tuple[dict[str, str], Records, Pool]:
    pool, records = Pool(fate, nodes), Records()
    items = [Item(index, sorted(keys), len(keys), "m") for index, keys in enumerate(units)]
    try:
        Driver(items, pool, records).run()
    finally:
        assert pool.closed
    assert max(Counter(key for key, _ in records.fates).values()) == 1, "one fate a result"
    return dict(records.fates), records, pool


def test_everything_is_written_once() -> None:
    fates, records, pool = drive(lambda slot, key: "fails" if key == "c" else "fine")
    assert fates == dict.fromkeys(("a1", "a2", "a3", "b", "d", "e"), "written") | {"c": "truncated"}
    assert records.remarks == []
    assert {slot for slot, _ in pool.ran} == set(pool.slots)
    assert pool.ran[0][1] == ("a1", "a2", "a3"), "the longest first"


def test_what_ends_its_worker_twice_fails_alone_and_its_unit_s_others_do_not() -> None:
    fates, records, pool = drive(lambda slot, key: "dies" if key == "a2" else "fine")
    assert "worker ended 2 times over it" in fates.pop("a2")
    assert set(fates.values()) == {"written"}
    assert len(fates) == 6
    assert sum("a2" in keys for _, keys in pool.ran) == 2
    assert any("slot" not in text and "n1" in text for text in records.remarks)


def test_whoever_was_only_nearby_is_not_blamed() -> None:
    # One worker; what is being written when another unit kills is computed again, by itself.
    for bad in "bcde":
        fates, *_ = drive(lambda slot, key, bad=bad: "dies" if key == bad else "fine", nodes=("n1",))  # type: ignore[misc]
        assert [key for key, fate in fates.items() if fate != "written"] == [bad]


def test_what_is_suspected_has_its_worker_to_itself() -> None:
    died: list[str] = []

    def fate(slot: str, key: str) -> str:
        if key != "c" or died:
            return "fine"
        died.append(key)
        return "dies"

    fates, _, pool = drive(fate, nodes=("n1",))
    assert set(fates.values()) == {"written"}
    assert ("c", "b") in pool.beside  # before it died
    assert {pair for pair in pool.beside if "c" in pair} == {("c", "b")}
    assert {pair for pair in pool.beside if "b" in pair} <= {
        ("c", "b"),
        ("b", "a1"),
        ("b", "a2"),
        ("b", "a3"),
    }


def test_the_loss_of_nodes_is_nobody_s_fault() -> None:
    left = {"b": 5, "a1": 3}

    def fate(slot: str, key: str) -> str:
        left[key] = left.get(key, 0) - 1
        return "node lost" if left[key] >= 0 else "fine"

    fates, *_ = drive(fate)
    assert set(fates.values()) == {"written"}


def test_a_unit_refused_by_one_node_is_done_by_another() -> None:
    fates, records, _ = drive(lambda slot, key: "refuses" if slot == "slot 0" else "fine")
    assert set(fates.values()) == {"written"}
    assert records.remarks == ["node n1 is left out of some units: other data"]


def test_a_unit_that_every_node_refuses_fails_with_their_names() -> None:
    fates, *_ = drive(lambda slot, key: "refuses" if key == "c" else "fine")
    assert fates.pop("c") == "no node has its files as planned: n1: other data; n2: other data"
    assert set(fates.values()) == {"written"}


def test_a_broken_node_s_units_are_done_by_the_others() -> None:
    fates, records, pool = drive(
        lambda slot, key: "breaks" if slot in ("slot 0", "slot 1") else "fine", nodes=("n1", "n1", "n2")
    )
    assert set(fates.values()) == {"written"}
    assert records.remarks == ["node n1 is left out: disk full"]
    assert sum(slot == "slot 1" for slot, _ in pool.ran) <= 1


def test_without_any_worker_left_the_run_ends_and_says_why() -> None:
    with pytest.raises(BenchError, match=r"no worker is left \(n1: disk full; n2: disk full\)"):
        drive(lambda slot, key: "breaks" if key else "fine")
    with pytest.raises(BenchError, match=r"no worker is left \(slot 0: at birth; slot 1: at birth\)"):
        drive(lambda slot, key: "dies")


def test_workers_that_never_start_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Pool):
        def start(self, slot: str) -> None:
            self.patience = 0.0

    pool = Silent(lambda slot, key: "fine", ("n1",))
    with pytest.raises(BenchError, match="none started in 0 s"):
        Driver([Item(0, ["a"], 1, "m")], pool, Records()).run()


def test_workers_that_come_later_take_part() -> None:
    class Growing(Pool):
        def hear(self, seconds: float) -> list[tuple[str, Message]]:
            if len(self.ran) == 1 and len(self.slots) == 1:
                self.slots.append("late")
                self._nodes["late"] = "n2"
            return super().hear(seconds)

    pool, records = Growing(lambda slot, key: "fine", ("n1",)), Records()
    Driver([Item(index, [str(index)], 1, "m") for index in range(5)], pool, records).run()
    assert {slot for slot, _ in pool.ran} == {"slot 0", "late"}
    assert len(records.fates) == 5


@pytest.mark.parametrize("seed", range(40))
def test_any_mixture_of_faults_leaves_each_result_with_one_fate(seed: int) -> None:
    rng = random.Random(seed)
    units = [{f"{index}.{task}" for task in range(rng.randrange(1, 4))} for index in range(12)]
    deadly, lost = "3.0", {"3"}

    def fate(slot: str, key: str) -> str:
        if key == deadly:
            return "dies"
        unit = key.partition(".")[0]
        if rng.random() < 0.15 and unit not in lost:  # every unit meets bad luck once at most
            lost.add(unit)
            return rng.choice(["node lost", "dies", "refuses" if slot == "slot 0" else "fine"])
        return "fine"

    def spare_starts(slot: str, key: str) -> str:
        return fate(slot, key) if key else "fine"

    fates, *_ = drive(spare_starts, ("n1", "n2", "n2"), units)
    assert fates.keys() == set().union(*units)
    assert {key for key, what in fates.items() if what != "written"} == {deadly}
