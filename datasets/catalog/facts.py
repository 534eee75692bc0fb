"""What the catalog's entries share in writing."""

from datasets.entry import NAME_SETS, ClassEntry

BOTH = ("image", "pixel")
FIGSHARE = "https://figshare.com/articles/dataset/Polyp_DataSet_zip/21221579"
KAGGLE = "https://www.kaggle.com/datasets/"
OPEN = "open: no licence text found"


def classes(**counts: tuple[int | None, int | None]) -> tuple[ClassEntry, ...]:
    """Classes whose name is the same in both name sets; a leading underscore lets digits be keywords."""
    return tuple(
        ClassEntry(name, dict.fromkeys(NAME_SETS, name), *pair)
        for name, pair in ((name.lstrip("_"), pair) for name, pair in counts.items())
    )


def one(
    key: str, adaclip: str, normal: int | None, anomalous: int | None, aliases: tuple[str, ...] = ()
) -> tuple[ClassEntry, ...]:
    """Return the one class of a dataset."""
    return (ClassEntry(key, {"anomalyclip": key, "adaclip": adaclip}, normal, anomalous, aliases),)
