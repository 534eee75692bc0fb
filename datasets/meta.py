"""A folder becomes samples: any folder with `meta.json`, or in MVTec layout, is a dataset."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from datasets.catalog import NAME_SETS, Dataset, known
from datasets.counts import recognise_protocol
from datasets.files import NORMAL_SPECIES, EscapeError, LinkError, Tree, escaped_name, images_in, is_stand_in
from datasets.layout import class_folders, explain, read_layout
from datasets.locate import Place, folder_name, locate
from datasets.samples import ClassData, Folder, Sample
from datasets.schema import META, Record, Splits, read_meta
from datasets.subset import part_of

LEVELS = ("image", "pixel")
_LONGEST_NAME = 40

__all__ = ["ClassData", "Folder", "Sample", "open_dataset", "own_key"]


def open_dataset(
    spec: str | Path,
    data_root: Path | None = None,
    *,
    names: str = "anomalyclip",
    prompts: Mapping[str, str] | None = None,
    split: str = "test",
    missing_ok: bool = False,
) -> Folder:
    """Open a dataset.

    Args:
        spec: A name of the catalog, looked for under `data_root`, with `:protocol` after it for another
            than the default protocol; or a folder with `meta.json` or in MVTec layout.
        data_root: The folder that holds the datasets' folders.
        names: Whose class names enter the prompts: `anomalyclip`, `adaclip`, or `meta` (the file's own).
            A folder the catalog does not know has only its own.
        prompts: Class -> name for prompts; wins over `names`.
        split: `test` or `train`.
        missing_ok: Leave samples with absent files out and list them, instead of raising.

    Raises:
        FileNotFoundError: There is no such folder, or files that it names are absent.
        ValueError: What lies there is not a dataset, or not the one asked for; the message names the
            file, the entry and the mend.
    """
    if names not in (*NAME_SETS, "meta"):
        raise ValueError(f"no name set {names!r}; there are {', '.join((*NAME_SETS, 'meta'))}")
    if split not in ("test", "train"):
        raise ValueError(f"no split {split!r}; there are test and train")
    place = locate(spec, data_root)
    splits, warnings = _read(place)
    entry = place.entry or _recognise(place.root, splits)
    if entry and place.protocol:
        splits["test"] = part_of(splits["test"], entry, entry.protocol(place.protocol))
    reader = _Reader(place.root, missing_ok)
    samples: dict[str, tuple[Sample, ...]] = {}
    own_names: dict[str, str] = {}
    for name, records in splits[split].items():
        key = _class_key(name, entry, place.root)
        if key in own_names:
            raise ValueError(f"{place.root}: {own_names[key]!r} and {name!r} are one class; join them")
        own_names[key] = name
        if found := reader.samples(records, f"{split}[{name!r}]"):
            samples[key] = found
        else:
            warnings.append(f"{place.root}: class {name!r} has no {split} images: left out")
    reader.finish()
    if not samples:
        raise ValueError(f"{place.root}: no {split} images; check that this is the right folder")
    chosen = _prompts(own_names, entry, names, prompts or {})
    standin = is_stand_in(place.root)
    protocol = place.protocol
    if entry and protocol is None and split == "test" and not standin:
        labels = {key: [sample.label for sample in found] for key, found in samples.items()}
        protocol = recognise_protocol({key: (it.count(0), it.count(1)) for key, it in labels.items()}, entry)
    part = entry.protocol(protocol) if entry and protocol else None
    levels, no_masks = entry.levels if entry else LEVELS, ""
    if part and part.no_masks and split == "test":
        if any(sample.mask for found in samples.values() for sample in found):
            warnings.append(
                f"{place.root}: pixel level by the masks here; whether they are right: {part.no_masks}"
            )
        else:
            levels, no_masks = ("image",), part.no_masks
    classes = tuple(
        ClassData(
            key, chosen[key], found, _no_image_level(found, entry), no_masks or _no_pixel_level(found, entry)
        )
        for key, found in samples.items()
    )
    own_row = part is not None and part.title
    key = folder_name(entry, protocol if own_row else None) if entry else own_key(place.root)
    return Folder(
        key=f"standin_{key}" if standin else key,
        title=own_row or (entry.title if entry else escaped_name(place.root.resolve().name)),
        domain=entry.domain if entry else "other",
        levels=levels,
        root=place.root,
        classes=classes,
        entry=entry,
        protocol=protocol,
        names=names if entry else "meta",
        split=split,
        standin=standin,
        missing=tuple(reader.missing),
        warnings=(*place.warnings, *warnings, *reader.warnings, *([] if entry else _undefined(classes))),
    )


def _read(place: Place) -> tuple[Splits, list[str]]:
    if (place.root / META).is_file():
        return read_meta(place.root / META)
    if class_folders(place.root):
        return read_layout(place.root)
    entry = place.entry or known(place.root.resolve().name)
    raise ValueError(
        f"{place.root}: not a dataset as it is: {explain(place.root)}. A download is made a dataset with: "
        f"prepare {entry.key if entry else 'KEY'} --from {place.root}"
    )


def _recognise(root: Path, splits: Splits) -> Dataset | None:
    """Return the entry that the folder's name and all of its classes mean."""
    entry = known(root.resolve().name)
    return entry if entry and all(map(entry.class_of, splits["test"])) else None


def _class_key(name: str, entry: Dataset | None, root: Path) -> str:
    if entry is None:
        return escaped_name(name)
    meant = entry.class_of(name)
    if meant is None:
        raise ValueError(
            f"{root}: class {name!r} is not one of {entry.key}; take it out, or open the folder by its path "
            "under another name"
        )
    return meant.key


def _prompts(
    own_names: Mapping[str, str], entry: Dataset | None, names: str, override: Mapping[str, str]
) -> dict[str, str]:
    """Return class key -> name for prompts; an override may use the key or the folder's own name."""
    chosen = dict(own_names)
    if entry and names != "meta":
        chosen = {it.key: it.prompts[names] for it in entry.classes}
    keys = {name: key for key, name in own_names.items()} | {key: key for key in own_names}
    for name, prompt in override.items():
        if name not in keys:
            raise ValueError(f"prompt for {name!r}: no such class; classes: {', '.join(own_names)}")
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"prompt for {name!r} is {prompt!r}; write a name")
        chosen[keys[name]] = prompt
    return chosen


def own_key(root: Path) -> str:
    """Return the key of a folder that the catalog does not know.

    It is the folder's name in letters and digits of any script, and six hexadecimal digits of where it
    really lies: two folders of one name are two datasets, whose cells must never meet.
    """
    real = root.resolve()
    name = re.sub(r"\W+", "_", unicodedata.normalize("NFC", escaped_name(real.name)).casefold()).strip("_")
    return f"{name[:_LONGEST_NAME] or 'folder'}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:6]}"


def _undefined(classes: Sequence[ClassData]) -> list[str]:
    """Return a line for each level that some of an own folder's classes do not have."""
    lines = []
    for level in LEVELS:
        reasons = {it.key: it.no_image_level if level == "image" else it.no_pixel_level for it in classes}
        without = [key for key, reason in reasons.items() if reason]
        if without:
            more = f" and {len(without) - 1} more classes" if len(without) > 1 else ""
            lines.append(f"no {level} metrics for {without[0]}: {reasons[without[0]]}{more}")
    bare = [it for it in classes if it.normal == 0 and any(sample.species for sample in it.samples)]
    if bare:
        names = ", ".join(sorted({sample.species for sample in bare[0].samples})[:5])
        lines.append(
            f"{bare[0].key}: no folder is called as the normal images' must be "
            f"({', '.join(sorted(NORMAL_SPECIES))}); if one of {names} holds normal images, rename it to good"
        )
    return lines


def _no_image_level(samples: Sequence[Sample], entry: Dataset | None) -> str | None:
    if entry and "image" not in entry.levels:
        return f"{entry.title} is a pixel-level dataset"
    labels = {sample.label for sample in samples}
    if labels == {0, 1}:
        return None
    return "no anomalous image" if 1 not in labels else "no normal image"


def _no_pixel_level(samples: Sequence[Sample], entry: Dataset | None) -> str | None:
    if entry and "pixel" not in entry.levels:
        return f"{entry.title} is an image-level dataset"
    masks = [sample.mask for sample in samples if sample.label == 1]
    if not masks:
        return "no anomalous image"
    bare = masks.count(None)
    return f"{bare} of {len(masks)} anomalous images have no mask" if bare else None


class _Reader:
    """Turns records into samples, collecting what is absent."""

    def __init__(self, root: Path, missing_ok: bool) -> None:
        self._root, self._missing_ok = root, missing_ok
        self._tree = Tree(root)
        self._seen: set[str] = set()
        self._files = self._unused_masks = 0
        self.missing: list[str] = []
        self.warnings: list[str] = []

    def samples(self, records: Sequence[Record], where: str) -> tuple[Sample, ...]:
        """Return the samples of one class whose files are all there."""
        found = (self._sample(record, f"{where}[{index}]") for index, record in enumerate(records))
        return tuple(sample for sample in found if sample)

    def _sample(self, record: Record, where: str) -> Sample | None:
        image = self._find(record.img_path, where)
        mask = None
        if record.mask_path and record.anomaly == 0:
            # Published readers take the label's word: a normal image has no mask, whatever the file says.
            self._unused_masks += 1
        elif record.mask_path:
            # A folder called as the image holds the parts of its mask.
            folder = PurePosixPath(record.mask_path).name == PurePosixPath(record.img_path).stem
            mask = self._find(record.mask_path, where, folder=folder)
            if mask is None:
                return None
            if (self._root / mask).is_dir():
                for part in images_in(self._root / mask):
                    self._find(part.relative_to(self._root).as_posix(), where)
        if image is None:
            return None
        if image in self._seen:
            raise ValueError(f"{self._source}: {where}: image {image!r} is listed twice; keep one entry")
        self._seen.add(image)
        path = self._root / mask if mask else None
        return Sample(
            escaped_name(image), self._root / image, path, record.anomaly, escaped_name(record.specie_name)
        )

    def _find(self, text: str, where: str, *, folder: bool = False) -> str | None:
        self._files += 1
        try:
            found = self._tree.find(text, folder=folder)
        except LinkError as error:
            raise ValueError(
                f"{self._source}: {text!r} {error}; copy the dataset with what its links lead to (cp -rL)"
            ) from None
        except EscapeError as error:
            raise ValueError(
                f"{self._source}: {where}: {text!r} {error}; write the path of a file inside {self._root}, "
                "relative to it"
            ) from None
        if found is None:
            self.missing.append(text)
        return found

    def finish(self) -> None:
        """Raise `FileNotFoundError` if files are absent and must not be; note what was left unused."""
        if self.missing and not self._missing_ok:
            raise FileNotFoundError(
                f"{self._source}: {len(self.missing)} of {self._files} files that it names are absent, first "
                f"{self.missing[0]!r}; restore them, or correct the paths"
            )
        if self._unused_masks:
            self.warnings.append(f"{self._source}: masks of {self._unused_masks} normal images are not used")

    @property
    def _source(self) -> Path:
        path = self._root / META
        return path if path.is_file() else self._root
