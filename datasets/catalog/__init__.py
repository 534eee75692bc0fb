"""The catalog: what is known of each dataset, in two TOML files. No file of a dataset is opened here.

Counts are those of the test part. "Counted" facts come from the image files, "listed" ones from published
file lists, "literature" ones from papers; a count nobody verified is None, not a guess.
"""

from collections.abc import Iterable
from pathlib import Path

from datasets.catalog.read import read_entries
from datasets.entry import NAME_SETS, Dataset, plain

__all__ = [
    "CATALOG", "GROUPS", "NAME_SETS", "PARTS", "ClashError", "Dataset", "find", "known", "related",
    "relations",
]  # fmt: skip

FOURTEEN, MORE = (read_entries(Path(__file__).with_name(f"{name}.toml")) for name in ("fourteen", "more"))
CATALOG: dict[str, Dataset] = {entry.key: entry for entry in (*FOURTEEN, *MORE)}
"""All datasets by key: the paper's fourteen in the order of its table, then the others."""

_SUBSETS = tuple(
    f"{entry.key}:{protocol.key}"
    for entry in CATALOG.values()
    for protocol in entry.protocols
    if protocol.title and protocol.no_masks
)
_MORE = (*(entry.key for entry in MORE), *_SUBSETS)

GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(entry.key for entry in FOURTEEN),
    "industrial": tuple(entry.key for entry in FOURTEEN if entry.domain == "industrial"),
    "medical": tuple(entry.key for entry in FOURTEEN if entry.domain == "medical"),
    "more": _MORE,
    "everything": (*(entry.key for entry in FOURTEEN), *_MORE),
    "bmad": tuple(entry.key for entry in MORE if entry.key.startswith("bmad_")),
}
"""`all`, `industrial` and `medical` are the paper's fourteen, whose averages it prints."""

_PLACES = {key: place for place, key in enumerate(CATALOG)}
_SPELT = {
    name: entry
    for entry in CATALOG.values()
    for name in (entry.key, entry.title, *entry.aliases, *entry.folders)
}
_BY_NAME = {plain(name): entry for name, entry in _SPELT.items()}
PARTS = {
    plain(name): (f"{entry.key}_{protocol.key}", protocol.title, entry)
    for entry in CATALOG.values()
    for protocol in entry.protocols
    for name in (protocol.title, f"{entry.key}_{protocol.key}")
    if protocol.title
}
"""Plain name of a protocol with a title -> key and title of its rows, and the dataset."""

_CLASHES = {
    "brain": ("brainmri", "br35h", "headct", "bmad_brain"),
    "brainmri": ("brainmri", "bmad_brain"),
    "colon": ("cvc_colondb", "cvc_clinicdb", "cvc300", "kvasir", "endo"),
    "cvc": ("cvc_colondb", "cvc_clinicdb", "cvc300"),
    "kolektor": ("ksdd", "ksdd2"),
    "polyp": ("cvc_colondb", "cvc_clinicdb", "cvc300", "kvasir", "endo"),
}
"""Plain name -> what papers mean by it; spelt just as the catalog spells one of them, it is that one."""


class ClashError(KeyError):
    """A name that means several datasets; the message names them."""

    def __init__(self, name: str, keys: tuple[str, ...]) -> None:
        """Ask back for one of `keys`."""
        super().__init__(name)
        self.question = f"{name!r} may be {', '.join(keys[:-1])} or {keys[-1]}; write the key"


def find(name: str) -> Dataset:
    """Return the dataset called `name` (key, title, alias or folder name, in any spelling).

    Raises:
        ClashError: Several are called so.
        KeyError: No dataset is called so.
    """
    key = plain(name)
    if key in _CLASHES and name.casefold() not in map(str.casefold, _SPELT):
        raise ClashError(name, _CLASHES[key])
    try:
        return _BY_NAME[key]
    except KeyError:
        raise KeyError(name) from None


def known(name: str) -> Dataset | None:
    """Return what `find` does, or None where it raises."""
    try:
        return find(name)
    except KeyError:
        return None


def place_of(key: str) -> int:
    """Return the place of a dataset in the catalog's order; what it does not know comes last."""
    return _PLACES.get(key, len(_PLACES))


def relations(keys: Iterable[str], target: str) -> list[str]:
    """Return those of the datasets that `target` is not independent of, each with the reason."""
    return [f"{key}: {why}" for key in keys if (why := related(key, target))]


def related(one: str, other: str) -> str:
    """Return why two datasets are not independent of each other, by key; empty if nothing is known."""
    entries = [(CATALOG.get(key), with_key) for key, with_key in ((one, other), (other, one))]
    return next((entry.related[key] for entry, key in entries if entry and key in entry.related), "")
