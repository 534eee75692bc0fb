"""From a download to a dataset: `prepare` writes a folder with `meta.json`; the raw files stay untouched.

`datasets.prepare.<layout>` reads one raw layout: `fits(folder, entry)`, `shape(entry)` and
`read(folder, entry, protocol)`. A dataset with a layout of its own adds one such file, which its entry in
the catalog names.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout
from PIL import Image

from datasets.catalog import CATALOG, ClashError, Dataset, find, known
from datasets.entry import Protocol, plain
from datasets.files import STAND_IN, images_in, is_stand_in, sha256_of, subfolders
from datasets.layout import class_folders
from datasets.locate import PREPARED, folder_name
from datasets.prepare.archive import unpack
from datasets.prepare.item import Content, Item
from datasets.schema import META, Splits, write_meta
from datasets.subset import leaves_out

Progress = Callable[[Iterable[Item]], Iterable[Item]]

_UNFINISHED = ".preparing"
_LOCK = "lock"
_DEPTH = 3  # how far below the given folder the dataset's own may lie


def prepare(
    key: str, raw: Path, data_root: Path, protocol: str | None = None, progress: Progress = iter
) -> Path:
    """Make the dataset `key` under `data_root` from what was downloaded.

    Images that are used as they are become hard links to those of a raw folder on the same file system
    (no space is taken, and the raw folder may be deleted), else copies; so change neither in place.
    The folder appears at once when it is complete; what a killed run left, a hidden folder, the next one
    removes. A part of the raw data is enough: `Folder.differences` tells what is absent.

    Args:
        key: Any name of a dataset in the catalog.
        raw: The downloaded folder or archive; the dataset may lie up to three folders deep in it.
        data_root: Where the datasets' folders lie; made if need be.
        protocol: Which of the dataset's protocols; the first if None.
        progress: Wrapped around the samples, for example `tqdm`.

    Returns:
        The new folder: `<key>`, or `<key>_<protocol>` for another than the default protocol.

    Raises:
        FileExistsError: The folder is there already, or another process is making it.
        FileNotFoundError: `raw` does not exist.
        ValueError: `raw` is not this dataset as published, or is damaged; no such dataset or protocol.
        OSError: A file cannot be read or written.
    """
    try:
        entry = find(key)
    except ClashError as error:
        raise ValueError(error.question) from None
    except KeyError:
        raise ValueError(f"no dataset {key!r} in the catalog") from None
    chosen = entry.protocol(protocol)
    if chosen and not chosen.by_prepare:
        raise ValueError(f"{entry.key}, protocol {chosen.key} cannot be made from raw files. {chosen.what}")
    target = data_root / folder_name(entry, protocol)
    if target.exists():
        raise FileExistsError(f"{target}: is there already; remove it to prepare it anew")
    if not raw.exists():
        raise FileNotFoundError(f"{raw}: no such folder or archive. {entry.how_to_get}")
    # Beside the target, so that the last step is one rename; hidden, so that nobody takes it for data.
    work = data_root / f".{target.name}{_UNFINISHED}"
    _remove_leftovers(data_root)
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FileExistsError(f"{target}: another `prepare` is making it; wait for that one") from None
    try:
        source = raw
        if raw.is_file():
            _refuse_foreign_archive(raw)
            source = work / "unpacked"
            unpack(raw, source)
        layout, folder = _find_layout(source, raw, entry)
        tree = work / "tree"
        items = layout.read(folder, entry, chosen.key if chosen else None)
        splits = _place(progress(_part(items, entry, chosen)), tree)
        if not any(splits["test"].values()):
            raise ValueError(f"{raw}: holds no test image of {entry.key}")
        order = [it.key for it in entry.classes]
        write_meta(
            tree / META,
            {
                split: {cls: classes.get(cls, []) for cls in order if splits["test"].get(cls)}
                for split, classes in splits.items()
            },
        )
        if is_stand_in(folder):
            (tree / STAND_IN).write_text("Made from generated stand-in data; not the real dataset.\n")
        _write_marker(tree / PREPARED, entry, chosen.key if chosen else None, raw)
        tree.rename(target)
    except OSError as error:
        if error.filename is None:  # writing says "no space left" without saying where
            raise OSError(error.errno, f"{error.strerror or error}, while preparing {target}") from error
        raise
    finally:
        lock.release()
        shutil.rmtree(work, ignore_errors=True)
    return target


def _remove_leftovers(data_root: Path) -> None:
    """Remove what killed runs left below `data_root`, of whatever dataset; running ones hold their lock."""
    for work in data_root.glob(f".*{_UNFINISHED}"):
        try:
            with FileLock(work / _LOCK, timeout=0):
                pass
        except (Timeout, OSError):
            continue
        shutil.rmtree(work, ignore_errors=True)


def _refuse_foreign_archive(raw: Path) -> None:
    with raw.open("rb") as file:
        start = file.read(6)
    if start.startswith((b"Rar!", b"7z\xbc\xaf\x27\x1c")) or raw.suffix.lower() in (".rar", ".7z"):
        raise ValueError(
            f"{raw}: rar and 7z archives are not opened here; unpack it (unar, 7z x) and give the folder"
        )


def _find_layout(source: Path, raw: Path, entry: Dataset) -> tuple[ModuleType, Path]:
    """Return the reader, and the folder at or below `source` that it fits."""
    # Of a tree that others cut into samples nobody can tell the protocol; it is opened as it is.
    modules = (entry.raw.layout,) if entry.protocol(None) else dict.fromkeys((entry.raw.layout, "mvtec"))
    layouts = [import_module(f"{__name__}.{name}") for name in modules]
    for layout in layouts:
        found = list(_fitting(source, layout, entry, _DEPTH))
        if not found:
            continue
        names = [raw.resolve().name.split(".")[0] if folder == source else folder.name for folder in found]
        owners = [entry if plain(name) in map(plain, entry.raw.folders) else known(name) for name in names]
        own = [folder for folder, owner in zip(found, owners, strict=True) if owner is entry] or found
        if len(own) > 1:
            raise ValueError(f"{raw}: {own[0].name} and {own[1].name} both look like {entry.key}; give one")
        if own == found and (owner := owners[0]) not in (None, entry):
            raise ValueError(f"{raw}: looks like {owner.key}, not {entry.key}; give the right download")
        return layout, own[0]
    shapes = "; or ".join(layout.shape(entry) for layout in layouts)
    names_here = [folder.name for folder in class_folders(source)]
    others = [it for it in CATALOG.values() if names_here and all(map(it.class_of, names_here))]
    hint = f"; it looks like {others[0].key}" if others and entry not in others else ""
    raise ValueError(f"{raw}: does not look like {entry.key}, where there should be {shapes}{hint}")


def _fitting(folder: Path, layout: ModuleType, entry: Dataset, depth: int) -> Iterator[Path]:
    if layout.fits(folder, entry):
        yield folder
    elif depth:
        for below in subfolders(folder):
            yield from _fitting(below, layout, entry, depth - 1)


def _part(items: Iterable[Item], entry: Dataset, protocol: Protocol | None) -> Iterator[Item]:
    """Yield what the protocol takes, without masks that are not its own."""
    for item in items:
        if item.split == "test" and protocol and leaves_out(entry, protocol, item.record):
            continue
        if protocol and protocol.no_masks:
            yield replace(item, record=replace(item.record, mask_path=""), mask=None)
        else:
            yield item


def _place(items: Iterable[Item], tree: Path) -> Splits:
    splits: Splits = {"train": {}, "test": {}}
    for item in items:
        _put(item.image, tree / item.record.img_path)
        if item.mask is not None:
            _put(item.mask, tree / item.record.mask_path)
        splits[item.split].setdefault(item.record.cls_name, []).append(item.record)
    return splits


def _put(content: Content, target: Path) -> None:
    if isinstance(content, Path) and content.is_dir():  # the parts of a mask
        for part in images_in(content):
            _put(part, target / part.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Image.Image):
        content.save(target)
        return
    try:
        target.hardlink_to(content.resolve())
    except FileExistsError:
        raise ValueError(f"{content}: a second file of that name; keep one") from None
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(content, target)


def _write_marker(path: Path, entry: Dataset, protocol: str | None, raw: Path) -> None:
    digest = sha256_of(raw) if raw.is_file() else None
    published = [archive.sha256 for archive in entry.archives if archive.name == raw.name]
    warnings = []
    if digest and published and published[0] not in (None, digest):
        warnings.append(
            f"{raw.name} is not the published archive: its SHA-256 is {digest}, not {published[0]}"
        )
    content = {
        "dataset": entry.key,
        "protocol": protocol,
        "source": raw.name,
        "sha256": digest,
        "warnings": warnings,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
