"""The field's common `meta.json`: split -> class -> samples. Checked on reading, sorted on writing."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from reprlib import repr as brief
from typing import Any

META = "meta.json"


@dataclass(frozen=True)
class Record:
    """One sample as the file states it; the field names are the file's keys."""

    img_path: str
    """Relative to the dataset's folder, `/` as separator."""
    mask_path: str
    """Likewise; "" where there is no mask."""
    cls_name: str
    specie_name: str
    """Kind of defect, or the folder of the normal ones; no method reads it."""
    anomaly: int
    """0 normal, 1 anomalous."""


Splits = dict[str, dict[str, list[Record]]]
"""`train` and `test` -> class -> records in the file's order."""


def read_meta(path: Path) -> tuple[Splits, list[str]]:
    """Read a `meta.json`, also with the oddities of the files in circulation.

    `Train`/`Test` in any case, an absent or empty `train`, absent or null `mask_path` and `specie_name`
    are accepted; other top-level keys are left out with a warning.

    Returns:
        The splits (both keys present), and the warnings.

    Raises:
        ValueError: The file is not such JSON; the message names the file, the entry and the mend.
        OSError: It cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except _RepeatedKeyError as error:
        raise ValueError(f"{path}: the key {error} occurs twice in one object; keep one") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON in UTF-8 ({error}); write it anew") from None
    splits: Splits = {}
    warnings = []
    for name, classes in _checked(content, dict, f"{path}: the whole file").items():
        split = name.lower()
        if split not in ("train", "test"):
            warnings.append(f"{path}: key {name!r} is neither train nor test: left out")
            continue
        if split in splits:
            raise ValueError(f"{path}: {split!r} occurs twice in different spelling; keep one")
        splits[split] = {
            cls: [
                _record(sample, cls, f"{path}: {name}[{cls!r}][{index}]")
                for index, sample in enumerate(_checked(samples, list, f"{path}: {name}[{cls!r}]"))
            ]
            for cls, samples in _checked(classes, dict, f"{path}: {name!r}").items()
        }
    if "test" not in splits:
        raise ValueError(f"{path}: has no key 'test'; the test images go there, class by class")
    splits.setdefault("train", {})
    return splits, warnings


def write_meta(path: Path, splits: Splits) -> None:
    """Write records sorted by species and name, both splits listing every class (no samples: [])."""
    classes = list(dict.fromkeys(cls for split in ("test", "train") for cls in splits.get(split, {})))
    content = {
        split: {cls: _sorted(splits.get(split, {}).get(cls, ())) for cls in classes}
        for split in ("train", "test")
    }
    text = json.dumps(content, indent=4, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _sorted(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [asdict(record) for record in sorted(records, key=lambda it: (it.specie_name, it.img_path))]


class _RepeatedKeyError(Exception):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # The standard reader keeps the last of two equal keys: a class given twice would lose samples.
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _RepeatedKeyError(repr(key))
        content[key] = value
    return content


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        wanted = "an object {...}" if kind is dict else "a list of samples [...]"
        raise ValueError(f"{where} is {_kind(value)}; it must be {wanted}")
    return value


def _record(value: Any, cls: str, where: str) -> Record:
    sample = _checked(value, dict, where)
    image = sample.get("img_path")
    if not isinstance(image, str) or not image:
        raise ValueError(f"{where}: 'img_path' is {_kind(image)}; write the image's path as a string")
    name = sample.get("cls_name")
    if name != cls:
        raise ValueError(f"{where}: 'cls_name' is {brief(name)}; it must equal the class key {cls!r}")
    anomaly = sample.get("anomaly")
    if type(anomaly) is not int or anomaly not in (0, 1):
        raise ValueError(f"{where}: 'anomaly' is {brief(anomaly)}; write 0 (normal) or 1 (anomalous)")
    optional = {}
    for key in ("mask_path", "specie_name"):
        text = sample.get(key)
        if text is not None and not isinstance(text, str):
            raise ValueError(f'{where}: {key!r} is {_kind(text)}; write a string, or "" for none')
        optional[key] = text or ""
    return Record(img_path=image, cls_name=cls, anomaly=anomaly, **optional)


def _kind(value: Any) -> str:
    if value is None:
        return "missing or null"
    if value == "":
        return "empty"
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return names.get(type(value), "a number")
