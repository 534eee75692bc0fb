"""From what a user typed to a folder on disk, and what its marker names."""

import json
from dataclasses import dataclass
from pathlib import Path

from datasets.catalog import ClashError, Dataset, find, known
from datasets.files import child, subfolders

PREPARED = "prepared.json"
"""Written by `prepare`: which dataset and protocol a folder holds, and from what it was made."""


@dataclass(frozen=True)
class Place:
    """A dataset's folder, and what is known of it before its files are read."""

    root: Path
    entry: Dataset | None
    """What was asked for by name, or what the folder's `prepared.json` names."""
    protocol: str | None
    warnings: tuple[str, ...]


def locate(spec: str | Path, data_root: Path | None) -> Place:
    """Find the folder that `spec` means: a name of the catalog (`ksdd`, `ksdd:whole`), or a path.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: A name that means several; one without a data root; no such protocol; the folder holds
            something else.
    """
    name, _, protocol = str(spec).partition(":")
    entry = known(name) if isinstance(spec, str) and "/" not in name else None
    if entry is None:
        return _read_marker(_folder(Path(spec)))
    wanted = entry.protocol(protocol or None)
    if data_root is None:
        raise ValueError(f"{spec}: no data root to look under; give one, or the dataset's own folder")
    folder = folder_name(entry, protocol or None)
    if wanted and wanted.title and data_root.is_dir() and not child(data_root, folder):
        folder = entry.key  # a part of the default test set may be taken from that
    root = _under(data_root, entry, folder)
    place = _read_marker(root)
    if place.entry not in (None, entry):
        raise ValueError(f"{root}: holds {place.entry.key}, not {entry.key}; rename the folder")
    if place.protocol and place.protocol != (wanted and wanted.key):
        asked = wanted.key if wanted else "the whole test set"
        raise ValueError(f"{root}: made by protocol {place.protocol}, not {asked}; rename the folder")
    part = wanted.key if wanted and wanted.title else None
    return Place(root, entry, part or place.protocol, place.warnings)


def folder_name(entry: Dataset, protocol: str | None) -> str:
    """Return the folder that `prepare` writes: the key, with the protocol after it if not the default."""
    chosen = entry.protocol(protocol)
    return entry.key if chosen in (None, entry.protocol(None)) else f"{entry.key}_{chosen.key}"


def _folder(path: Path) -> Path:
    if not path.is_dir():
        if path.is_file():
            raise ValueError(f"{path}: a file, not a folder; unpack it with prepare")
        try:
            find(str(path))
        except ClashError as error:
            raise ValueError(error.question) from None
        except KeyError:
            pass
        raise FileNotFoundError(f"{path}: neither a dataset of the catalog nor a folder")
    return path


def _under(data_root: Path, entry: Dataset, name: str) -> Path:
    names = entry.folders if name == entry.key else (name,)
    if not data_root.is_dir():
        raise FileNotFoundError(
            f"{data_root}: no such data root to look for {entry.key} in; name yours, or prepare {entry.key} "
            f"from its download. {entry.how_to_get}"
        )
    for wanted in names:
        if found := child(data_root, wanted):
            return found
    alike = [it for it in subfolders(data_root) if name == entry.key and known(it.name) is entry]
    if alike:
        return alike[0]
    others = [folder.name for folder in subfolders(data_root) if folder.name.startswith(f"{entry.key}_")]
    hint = f" ({', '.join(others)} holds another protocol)" if others else ""
    raise FileNotFoundError(
        f"{data_root}: no folder {' or '.join(names)}{hint}; prepare {entry.key} from its download. "
        f"{entry.how_to_get}"
    )


def _read_marker(root: Path) -> Place:
    """Read `prepared.json`; a folder without one is another's work and says nothing of itself."""
    path = root / PREPARED
    if not path.is_file():
        return Place(root, None, None, ())
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entry = find(content["dataset"])
        protocol = entry.protocol(content["protocol"])
        warnings = tuple(str(warning) for warning in content["warnings"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not as prepare wrote it ({error}); prepare the dataset anew") from None
    return Place(root, entry, protocol.key if protocol else None, warnings)
