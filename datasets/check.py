"""Is the dataset on disk complete and sound? Everything that `check` can tell, as one value."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from datasets.counts import ClassCount
from datasets.files import escaped_name, sha256_of
from datasets.images import read_image
from datasets.samples import Folder, Sample
from datasets.truth import KINDS, read_truth

_LISTS = Path(__file__).parent / "name_lists.json"
_NUMBERED = re.compile(r"(.*?)(\d+)([^/\d]*)")
_SHOWN = 5  # examples printed of each kind of finding
TITLES = {
    "missing": "missing files",
    "unreadable": "unreadable files",
    **KINDS,
    "shared": "masks that several different images share",
    "duplicate": "groups of equal images",
    "contradiction": "of them with both labels",
    "note": "warnings",
}
"""Kind of finding -> what it is about, in the order of the report."""

Progress = Callable[[Iterable[Sample]], Iterable[Sample]]


@dataclass(frozen=True)
class NameList:
    """The folder's file names beside those of the complete dataset."""

    of: str
    """`images`, `masks`, or `normal stems` / `anomalous stems`: names without folder and extension."""
    names: int
    expected: int
    matches: bool | None
    """None: the files have other extensions, so that the names cannot be compared."""
    differs: str = ""
    """Which names are unlike, as far as that can be told without the list itself."""


@dataclass
class CheckReport:
    """What `check` found; names are relative to the folder."""

    folder: Folder
    deep: bool
    """Whether files were opened; if not, only counts and names were looked at."""
    counts: tuple[ClassCount, ...]
    name_lists: tuple[NameList, ...]
    findings: dict[str, list[str]] = field(default_factory=dict)
    """Kind of finding (see `TITLES`) -> what was found, each naming its file."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    """Class -> fingerprint, of classes whose files are all there; empty unless deep."""

    @property
    def ok(self) -> bool:
        """Whether every file is there, readable and fitting; counts are another matter (`complete`)."""
        return not any(self.findings.get(kind) for kind in ("missing", "unreadable", "size"))

    @property
    def complete(self) -> bool:
        """Whether the counts are the catalog's; also true where nothing is expected."""
        return not self.folder.partial

    @property
    def fingerprint(self) -> str | None:
        """One SHA-256 over the classes' fingerprints; None unless every class has one."""
        if len(self.fingerprints) < len(self.folder.classes):
            return None
        return hashlib.sha256("\n".join(sorted(self.fingerprints.values())).encode()).hexdigest()

    def note(self, kind: str, what: str) -> None:
        """Add one finding."""
        self.findings.setdefault(kind, []).append(what)

    def __str__(self) -> str:
        """Return the report as lines for a terminal."""
        return "\n".join(_lines(self))


def check(
    folder: Folder,
    deep: bool = True,
    digest: Callable[[Path], str] = sha256_of,
    progress: Progress = iter,
) -> CheckReport:
    """Check counts, file names and (if `deep`) every file of an opened dataset.

    Open it with `missing_ok=True` to have absent files in the report instead of an error. `digest` gives a
    file's SHA-256 in hexadecimal; `progress` is wrapped around the samples, for example `tqdm`.
    """
    report = CheckReport(folder, deep, folder.counts(), _name_lists(folder))
    for kind, notes in (("missing", folder.missing), ("note", folder.warnings)):
        for note in notes:
            report.note(kind, note)
    if not deep:
        return report
    digests: dict[Path, str] = {}
    for sample in progress(folder.samples):
        _check_sample(sample, report, digest, digests)
    _compare_files(report, digests)
    for data in folder.classes:
        if all(path in digests for path in data.files):
            report.fingerprints[data.key] = data.fingerprint(digests.__getitem__)
    return report


def _compare_files(report: CheckReport, digests: dict[Path, str]) -> None:
    """Note images that are equal byte for byte, and masks that different images share."""
    by_image: dict[str, list[Sample]] = {}
    by_mask: dict[str, list[Sample]] = {}
    for sample in report.folder.samples:
        for path, same in ((sample.image, by_image), (sample.mask, by_mask)):
            if path in digests:
                same.setdefault(digests[path], []).append(sample)
    for group in by_image.values():
        names = " = ".join(sample.name for sample in group)
        if len(group) > 1:
            report.note("duplicate", names)
        if len({sample.label for sample in group}) > 1:
            report.note("contradiction", names)
    for group in by_mask.values():
        if len({digests.get(sample.image) for sample in group}) > 1:
            report.note("shared", ", ".join(sample.name for sample in group))


def _check_sample(
    sample: Sample, report: CheckReport, digest: Callable[[Path], str], digests: dict[Path, str]
) -> None:
    """Note the digests of one sample's files, and what is wrong with them."""
    for path in (sample.image, *sample.mask_files):
        try:
            digests[path] = digest(path)
        except FileNotFoundError:
            report.note("missing", escaped_name(path.relative_to(report.folder.root).as_posix()))
        except OSError as error:
            report.note("unreadable", str(error))
    try:
        if sample.image in digests:
            read_image(sample.image)
    except (OSError, ValueError) as error:
        report.note("unreadable", str(error))
        return
    try:
        if sample.mask is not None and all(path in digests for path in sample.mask_files):
            for remark in read_truth(sample)[1]:
                report.note(remark.kind, remark.detail)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        report.note("unreadable", str(error))


def _name_lists(folder: Folder) -> tuple[NameList, ...]:
    """Compare with the lists that name files as this folder does; a re-arranged tree has none."""
    if folder.entry is None or folder.standin or folder.split != "test":
        return ()
    samples = folder.samples
    masks = [sample.mask.relative_to(folder.root).as_posix() for sample in samples if sample.mask]
    names = {
        "images": [sample.name for sample in samples],
        "masks": masks,
        "normal stems": [sample.image.stem for sample in samples if sample.label == 0],
        "anomalous stems": [sample.image.stem for sample in samples if sample.label == 1],
    }
    found = []
    for listed in json.loads(_LISTS.read_text(encoding="utf-8"))["lists"].get(folder.entry.key, ()):
        own = sorted(names[listed["of"]])
        folders = {*map(PurePosixPath, listed.get("folders", ())), *(end.parent for end in _ends(listed))}
        same_tree = any(PurePosixPath(name).parent in folders for name in own)
        subset = folder.key != folder.entry.key  # lists without a protocol are of the whole test set
        if not same_tree or listed.get("protocol", None if subset else folder.protocol) != folder.protocol:
            continue
        matches = _compare_names(own, listed)
        differs = _odd_names(own, listed) if matches is False else ""
        found.append(NameList(listed["of"], len(own), listed["count"], matches, differs))
    return tuple(found)


def _ends(listed: dict[str, Any]) -> list[PurePosixPath]:
    """Return the first and the last name of a list, where they are known."""
    return [PurePosixPath(listed[end]) for end in ("first", "last") if end in listed]


def _compare_names(own: list[str], listed: dict[str, Any]) -> bool | None:
    """Compare sorted names with a list of which the digest is known; another extension is no difference."""
    ends = _ends(listed)
    alike = [sorted(str(PurePosixPath(name).with_suffix(end.suffix)) for name in own) for end in ends[:1]]
    for names in (own, *alike):
        text = "".join(f"{name}\n" for name in names)
        if hashlib.sha256(text.encode()).hexdigest() == listed["sha256"]:
            return True
    named = {str(PurePosixPath(name).with_suffix("")): PurePosixPath(name).suffix for name in own}
    return None if any(named.get(str(it.with_suffix("")), it.suffix) != it.suffix for it in ends) else False


def _odd_names(own: list[str], listed: dict[str, Any]) -> str:
    """Return the names that stand out: other ends than the list's, names unlike their neighbours', gaps."""
    odd = [
        f"the {end} is {name}, not {listed[end]}"
        for end, name in (("first", own[0]), ("last", own[-1]))
        if name != listed.get(end, name)
    ]
    shapes: dict[tuple[str, str], dict[int, str]] = {}
    for name in own:
        if match := _NUMBERED.fullmatch(name):
            shapes.setdefault((match[1], match[3]), {})[int(match[2])] = match[2]
        else:
            odd.append(f"{name} has no number")
    for (before, after), names in shapes.items():
        gaps = sorted(set(range(min(names), max(names))) - set(names))
        if len(names) == 1 < len(own):
            odd.append(f"{before}{names.popitem()[1]}{after} is named unlike the others")
        elif len(gaps) <= len(names) // 10:
            width = min(map(len, names.values()))
            odd += [f"{before}{gap:0{width}}{after} is absent" for gap in gaps]
    shown = "; ".join(odd[:_SHOWN]) + (f"; and {len(odd) - _SHOWN} more" if len(odd) > _SHOWN else "")
    return shown or "which one is unlike, only the digest of the list could tell"


def _lines(report: CheckReport) -> Iterator[str]:
    folder = report.folder
    protocol = f", protocol {folder.protocol}" if folder.protocol else ""
    kind = ": generated stand-in data" if folder.standin else ""
    yield f"{folder.key} ({folder.title}{protocol}) in {folder.root}{kind}"
    yield from _count_lines(report)
    for listed in report.name_lists:
        if listed.names == listed.expected:  # else the counts say it already
            results = {
                True: "those of the complete set",
                False: f"NOT those of the complete set: {listed.differs}",
                None: "not compared, for their extensions are not the complete set's",
            }
            yield f"names of {listed.names} {listed.of}: {results[listed.matches]}"
    without: dict[tuple[str, str], list[str]] = {}
    for data in folder.classes:
        reasons = {"image": data.no_image_level, "pixel": data.no_pixel_level}
        for level in folder.entry.levels if folder.entry else ():  # an own folder's warnings say so
            if why := reasons[level]:
                without.setdefault((level, why), []).append(data.key)
    for (level, why), keys in without.items():
        yield f"no {level} metrics for {', '.join(keys)}: {why}"
    yield from _finding_lines(report)
    if not report.deep:
        yield "files were not opened"
    else:
        yield f"fingerprint: {report.fingerprint or 'none, files are absent'}"
    yield "result: " + ("sound" if report.ok else "NOT SOUND") + ("" if report.complete else ", partial")


def _count_lines(report: CheckReport) -> Iterator[str]:
    folder = report.folder
    width = max(len(count.key) for count in report.counts)
    for count in report.counts:
        pairs = ((count.normal, count.expected_normal), (count.anomalous, count.expected_anomalous))
        found = [f"{have}" if want in (None, have) else f"{have} of {want}" for have, want in pairs]
        yield f"  {count.key:{width}}  normal {found[0]}, anomalous {found[1]}"
    if folder.entry is None:
        yield "counts: nothing is known of this folder"
    elif not folder.standin:
        yield "counts: PARTIAL, " + "; ".join(folder.differences) if folder.partial else "counts: complete"


def _finding_lines(report: CheckReport) -> Iterator[str]:
    for kind, title in TITLES.items():
        found = report.findings.get(kind, [])
        if found:
            yield f"{title}: {len(found)}"
            yield from (f"  {entry}" for entry in found[:_SHOWN])
        if len(found) > _SHOWN:
            yield f"  and {len(found) - _SHOWN} more"
