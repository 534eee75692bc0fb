"""Arguments that several verbs share, and how they are read."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, unknown
from bench.results import read
from bench.run.precision import WORDS
from bench.run.protocol import MethodRequest, expand_datasets, parse_methods
from bench.store.cells import Cell, CellStore
from datasets.catalog import CATALOG, GROUPS, NAME_SETS, ClashError, find
from datasets.meta import open_dataset, own_key
from datasets.samples import Folder
from methods import registry
from methods.registry import VARIABLE
from methods.source import Source


def add_roots(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add `--data-root`, `--weights-root`, `--results` by name (`data`, `weights`, `results`)."""
    known = {
        "data": ("--data-root", "ZSAD_DATA", "data", "folder of the prepared datasets"),
        "weights": ("--weights-root", "ZSAD_WEIGHTS", "weights", "folder of the weights"),
        "results": ("--results", "ZSAD_RESULTS", "results", "folder of cells and tables"),
    }
    for name in names:
        flag, variable, default, text = known[name]
        parser.add_argument(
            flag,
            type=Path,
            metavar="DIR",
            default=Path(os.environ.get(variable) or default),
            help=f"{text} (or {variable}; now %(default)s)",
        )


def add_methods(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--methods` and `--methods-path`."""
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="M",
        required=required,
        help="method keys, key:preset, or all (without the baselines chance and oracle)",
    )
    add_methods_path(parser)


def add_methods_path(parser: argparse.ArgumentParser) -> None:
    """Add `--methods-path`."""
    parser.add_argument(
        "--methods-path",
        action="append",
        type=Path,
        metavar="DIR",
        help=f"folder of further methods, one a file; repeatable (or {VARIABLE})",
    )


def open_methods(parsed: argparse.Namespace, words: Sequence[str]) -> tuple[list[MethodRequest], bool]:
    """Return the requests of `words` and `--set`, and whether all could be opened; says why one could not."""
    overrides = parse_pairs(parsed.set, "--set")
    usable, reasons = [], []
    for word in words:
        try:
            parse_methods([word], overrides)
        except registry.MethodError as error:
            reasons.append(str(error))
        else:
            usable.append(word)
    if "all" in words:
        reasons += registry.failures().values()
    for reason in dict.fromkeys(reasons):
        print(f"left out: {reason}", file=sys.stderr)
    return parse_methods(usable, overrides), not reasons


def add_options(parser: argparse._ActionsContainer) -> None:
    """Add `--set`."""
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the method; repeatable"
    )


def add_precision(parser: argparse._ActionsContainer) -> None:
    """Add `--precision`, what the image encoders run in."""
    parser.add_argument(
        "--precision",
        choices=WORDS,
        default="auto",
        help="of the image encoders; all else is float32. auto: float32, on CUDA bfloat16 for the methods of "
        "which docs/precision.md shows that it moves no number of a table by more than 0.1; official: what "
        "the authors' code does on CUDA; tf32: TensorFloat-32 (default: %(default)s)",
    )


def add_datasets(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add `--datasets`, `--names` and `--prompt`."""
    parser.add_argument(
        "--datasets",
        nargs="+",
        metavar="D",
        required=required,
        help=f"keys, KEY:PROTOCOL, groups ({' '.join(GROUPS)}), or folders (meta.json or MVTec layout)",
    )
    parser.add_argument(
        "--names",
        choices=(*NAME_SETS, "meta"),
        default="anomalyclip",
        help="whose class names enter the prompts; meta: the folder's own (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="CLASS=NAME",
        help="own name of a class in the prompts; may be repeated",
    )


def add_selection(
    parser: argparse.ArgumentParser,
    *,
    methods: str = "methods and their order (default: all)",
    datasets: str = "datasets (default: all)",
    required: bool = False,
) -> None:
    """Add `--methods`, `--datasets`, `--where` and `--latest`: which finished cells a verb looks at."""
    parser.add_argument("--methods", nargs="+", default=[], metavar="M", required=required, help=methods)
    parser.add_argument("--datasets", nargs="+", default=[], metavar="D", help=datasets)
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only cells with this setting, such as precision=float32, options.sigma=4, source=btad or "
        "seed=none (published weights)",
    )
    parser.add_argument(
        "--latest", action="store_true", help="of cells that differ in data or weights, the newest"
    )


def open_selection(
    parsed: argparse.Namespace, *, scores: bool = True
) -> tuple[CellStore, list[Cell], dict[str, Any]]:
    """Return the store of `--results`, its cells, and which of them `add_selection` asks for.

    The last is in the words of the functions that choose among cells. `scores` as in `bench.results.read`.
    """
    store = cell_store(parsed.results)
    cells = read(store, scores=scores)
    wanted = {
        "methods": parsed.methods,
        "datasets": cell_dataset_keys(parsed.datasets, cells),
        "where": parse_pairs(parsed.where, "--where"),
        "latest": parsed.latest,
    }
    return store, cells, wanted


def dataset_keys(words: Sequence[str]) -> list[str]:
    """Return catalog keys and folder paths for `--datasets`; raises `BenchError` for a misspelt key."""
    groups = {name: tuple(keys) for name, keys in GROUPS.items()}
    keys = []
    for word in expand_datasets(words, groups):
        if "/" in word or Path(word).is_dir():
            keys.append(word)
            continue
        name, colon, protocol = word.partition(":")
        try:
            keys.append(find(name).key + colon + protocol)
        except ClashError as error:
            raise BenchError(error.question) from None
        except KeyError:
            raise unknown("dataset", name, [*CATALOG, *groups]) from None
    return list(dict.fromkeys(keys))


def open_folders(
    arguments: argparse.Namespace, *, missing_ok: bool = False
) -> tuple[list[Folder], list[str]]:
    """Open the datasets of `--datasets`; returns them and one message for each that could not be opened."""
    prompts = parse_pairs(arguments.prompt, "--prompt")
    folders, failures = [], []
    for key in dataset_keys(arguments.datasets):
        try:
            folders.append(
                open_dataset(
                    key, arguments.data_root, names=arguments.names, prompts=prompts, missing_ok=missing_ok
                )
            )
        except (OSError, ValueError) as error:
            failures.append(f"{key}: {error}")
    return _distinct(folders), failures


def _distinct(folders: Sequence[Folder]) -> list[Folder]:
    """Return the folders, each once; raises `BenchError` if two of them claim to be one dataset."""
    known: dict[tuple[str, str | None], Folder] = {}
    for folder in folders:
        other = known.setdefault((folder.key, folder.protocol), folder)
        if other.root.resolve() != folder.root.resolve():
            raise BenchError(
                f"{other.root} and {folder.root} are both {folder.key}: in one run their results would pass "
                "for one dataset's. Name one of them, or run each with its own --results"
            )
    return list(known.values())


def parse_pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Return `{key: value}` of texts `key=value`."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BenchError(f"{flag} {text}: expected KEY=VALUE")
        pairs[key] = value
    return pairs


def cell_dataset_keys(words: Sequence[str], cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return keys of datasets as the cells have them, for words as tables show them.

    A word is a key, a title, an alias, a group, or the path of an own folder. Where cells of generated
    stand-ins are all there is of a dataset, its name means those.
    """
    own = {str(cell["dataset"]): cell for cell in cells}
    targets = {str(cell["target"]): key for key, cell in own.items()}

    def keys(word: str) -> list[str]:
        for key in (word, word.replace(":", "_"), own_key(Path(word))):
            if key in own:
                return [key]
        titled = [key for key, cell in own.items() if cell["dataset_title"].casefold() == word.casefold()]
        if titled and not any(key in CATALOG for key in titled):
            return titled
        found = [key if key in own else key.replace(":", "_") for key in dataset_keys([word])]
        return [key if key in own else targets.get(key, key) for key in found]

    return list(dict.fromkeys(key for word in words for key in keys(word)))


def parse_source(text: str | None) -> Source | None:
    """Return the source that `--source` names: by keys, other names of the catalog, or own folders."""
    try:
        named = Source.parse(text) if text else None
    except ValueError as error:
        raise BenchError(f"--source: {error}") from error
    return named and replace(named, datasets=tuple(map(_source_key, named.datasets)))


def _source_key(word: str) -> str:
    if "/" in word or Path(word).is_dir():
        return own_key(Path(word))
    try:
        return find(word).key
    except KeyError:
        return word  # an own folder by its key


def cell_store(results: Path) -> CellStore:
    """Return the cells of a results folder."""
    return CellStore(results / "runs")
