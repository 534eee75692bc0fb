"""Numbers of test images: found against expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from datasets.catalog import Dataset

Found = Mapping[str, tuple[int, int]]
"""Class key -> (normal, anomalous) test images on disk."""


@dataclass(frozen=True)
class ClassCount:
    """Test images of one class; an expected number is None where nobody verified it."""

    key: str
    normal: int
    anomalous: int
    expected_normal: int | None
    expected_anomalous: int | None

    @property
    def difference(self) -> str | None:
        """What is wrong with the count, in words; None if nothing."""
        if self.normal + self.anomalous == 0 and self.expected_normal is None:
            return f"{self.key}: no images"
        expected = (self.expected_normal, self.expected_anomalous)
        pairs = zip((self.normal, self.anomalous), expected, ("normal", "anomalous"), strict=True)
        parts = [f"{found} of {want} {what}" for found, want, what in pairs if want not in (None, found)]
        return f"{self.key}: {', '.join(parts)}" if parts else None


def count_classes(found: Found, entry: Dataset | None, protocol: str | None) -> tuple[ClassCount, ...]:
    """Put found counts beside expected ones; the entry's classes that the folder lacks come last."""
    expected = entry.expected(protocol) if entry else {}
    keys = dict.fromkeys((*found, *expected))
    return tuple(ClassCount(key, *found.get(key, (0, 0)), *expected.get(key, (None, None))) for key in keys)


def differences(counts: Sequence[ClassCount], entry: Dataset | None, protocol: str | None) -> tuple[str, ...]:
    """Return in words how counts differ from what the entry expects; nothing is expected without one."""
    if entry is None:
        return ()
    found = [count.difference for count in counts if count.difference]
    chosen = entry.protocol(protocol)
    if chosen and chosen.total:
        normal, anomalous = sum(count.normal for count in counts), sum(count.anomalous for count in counts)
        total = ClassCount("all classes", normal, anomalous, *chosen.total)
        if total.difference:
            found.append(total.difference)
    return tuple(found)


def recognise_protocol(found: Found, entry: Dataset) -> str | None:
    """Return the entry's protocol whose expected counts are the found ones; None if there is none."""
    for protocol in entry.protocols:
        known = protocol.total or any(None not in pair for pair in protocol.counts.values())
        if known and not differences(count_classes(found, entry, protocol.key), entry, protocol.key):
            return protocol.key
    return None
