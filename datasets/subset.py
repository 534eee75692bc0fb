"""Protocols that take a part of a dataset's default test set: which images they leave out."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

from datasets.catalog import Dataset
from datasets.entry import Protocol
from datasets.schema import Record

_LISTS = Path(__file__).parent / "left_out.json"


def leaves_out(entry: Dataset, protocol: Protocol | None, record: Record) -> bool:
    """Say whether the protocol leaves out a test image, told by class, species or label, and number."""
    if protocol is None or not protocol.title:
        return False
    known = entry.class_of(record.cls_name)
    listed = _list(entry.key, protocol.key)
    species = listed.get(known.key if known else "", listed.get("*", {}))
    label = "anomalous" if record.anomaly else "normal"
    numbers = next((species[it] for it in (record.specie_name, label, "*") if it in species), "")
    stem = PurePosixPath(record.img_path).stem
    return numbers == "all" or (stem.isdecimal() and int(stem) in _numbers(numbers))


def part_of(
    classes: dict[str, list[Record]], entry: Dataset, protocol: Protocol | None
) -> dict[str, list[Record]]:
    """Return the records that the protocol takes; if it leaves out some, without masks not its own."""
    kept = {
        name: [record for record in records if not leaves_out(entry, protocol, record)]
        for name, records in classes.items()
    }
    if protocol and protocol.no_masks and kept != classes:
        kept = {name: [replace(it, mask_path="") for it in records] for name, records in kept.items()}
    return {name: records for name, records in kept.items() if records or not classes[name]}


@cache
def _list(key: str, protocol: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(_LISTS.read_text(encoding="utf-8"))[key][protocol]
    return found


@cache
def _numbers(text: str) -> frozenset[int]:
    """Return the numbers of a text such as `0 4-7`."""
    ends = (part.partition("-") for part in text.split())
    return frozenset(
        number for first, _, last in ends for number in range(int(first), int(last or first) + 1)
    )
