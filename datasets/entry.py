"""What is known of one dataset: the types of a catalog entry."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

NAME_SETS = ("anomalyclip", "adaclip")
"""Whose class names enter the prompts; the two codes differ on KSDD and on all medical sets."""


@dataclass(frozen=True)
class ClassEntry:
    """One class of a dataset."""

    key: str
    """Class name in a `meta.json` of the default name set; also names the class in results."""
    prompts: Mapping[str, str]
    """Name set -> raw name for prompts. Rules such as `_` to blank are left to the methods."""
    counts: tuple[int | None, int | None] = (None, None)
    """Expected (normal, anomalous) test images under the default protocol; None: never verified."""
    aliases: tuple[str, ...] = ()
    """What trees prepared by others call the class."""


@dataclass(frozen=True)
class Protocol:
    """One way of making a test set from the same raw images."""

    key: str
    what: str
    counts: Mapping[str, tuple[int | None, int | None]]
    """Class key -> expected (normal, anomalous)."""
    total: tuple[int, int] | None = None
    """Expected (normal, anomalous) over all classes, where the classes' own counts are not verified."""
    by_prepare: bool = True
    """False: not defined well enough to be made from raw files; a tree prepared by others is read."""
    title: str = ""
    """Not empty: a part of the default test set, chosen by `datasets.subset`, with a row of its own in
    tables; never the default."""
    no_masks: str = ""
    """Why the masks of the raw files are not this protocol's; empty: they are."""


@dataclass(frozen=True)
class Archive:
    """One file to download."""

    name: str
    url: str
    sha256: str | None = None


@dataclass(frozen=True)
class Part:
    """For layout `folders`: the images of one species, and where they lie; alternatives, the first found."""

    species: str
    label: int
    images: tuple[str, ...]
    masks: tuple[str, ...] = ()
    """Folders of masks called as their images are; if it is the images' own, the masks are its PNGs."""
    split: str = "test"


@dataclass(frozen=True)
class Raw:
    """How the dataset lies on disk as downloaded."""

    layout: str
    """Module of `datasets.prepare` that reads it."""
    folders: tuple[str, ...]
    """Usual names of the unpacked folder."""
    pairs: tuple[tuple[str, str], ...] = ()
    """For layout `pairs`: alternatives of (image folder, mask folder); image folder `*` is the only other."""
    mask_prefix: str | None = None
    """For layout `pairs`: images N and masks <prefix>N may lie in one folder, among other files."""
    parts: tuple[Part, ...] = ()
    """For layout `folders`."""
    by_class: bool = False
    """For layout `folders`: the parts lie in a folder for each class."""


@dataclass(frozen=True)
class Dataset:
    """One dataset."""

    key: str
    title: str
    """As in the table of the Tipsomaly paper."""
    domain: str
    """`industrial` or `medical`."""
    levels: tuple[str, ...]
    """Which metrics are defined: `image`, `pixel` or both."""
    classes: tuple[ClassEntry, ...]
    folders: tuple[str, ...]
    """Folder names under a data root, in order of preference; the first is the one `prepare` writes."""
    raw: Raw
    licence: str
    homepage: str
    how_to_get: str
    aliases: tuple[str, ...] = ()
    """Other spellings in papers and codes."""
    archives: tuple[Archive, ...] = ()
    protocols: tuple[Protocol, ...] = ()
    """The first without a title is the default; empty where only one test set is in use."""
    notes: str = ""
    """What is not verified, what the masks hold, whose class names the prompts take."""
    related: Mapping[str, str] = field(default_factory=dict)
    """Key of another dataset -> why numbers on the one are not independent of training on the other."""

    def class_of(self, name: str) -> ClassEntry | None:
        """Return the class that `name` means in any name set; case and `_` for blank do not matter."""
        for entry in self.classes:
            if plain(name) in map(plain, (entry.key, *entry.prompts.values(), *entry.aliases)):
                return entry
        return None

    def protocol(self, key: str | None) -> Protocol | None:
        """Return protocol `key`, by default the first without a title; None if there is none such.

        Raises:
            ValueError: The dataset has no such protocol.
        """
        if key is None:
            return next((protocol for protocol in self.protocols if not protocol.title), None)
        for protocol in self.protocols:
            if protocol.key == key:
                return protocol
        have = ", ".join(protocol.key for protocol in self.protocols) or "none to choose from"
        raise ValueError(f"{self.key} has no protocol {key!r}; protocols: {have}")

    def expected(self, protocol: str | None = None) -> dict[str, tuple[int | None, int | None]]:
        """Return class key -> expected (normal, anomalous) test images; None where not verified."""
        chosen = self.protocol(protocol)
        if chosen is not None:
            return dict(chosen.counts)
        return {entry.key: entry.counts for entry in self.classes}


def plain(name: str) -> str:
    """Return a name without case, blanks and punctuation, for comparing spellings."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())
