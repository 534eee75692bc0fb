"""List methods, datasets and metrics; with a key, everything about one of them.

examples:
  run_bench.py list
  run_bench.py list tipsomaly
  run_bench.py list ksdd
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

import metrics
from bench.cli.common import add_methods_path, add_roots
from bench.errors import BenchError, unknown
from datasets.catalog import CATALOG, GROUPS, ClashError, Dataset, related
from datasets.catalog import find as find_dataset
from methods import registry
from methods.card import Card, Option, as_typed
from methods.registry import keys
from methods.static import COMPUTED


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("key", nargs="?", help="a method, dataset or metric")
    add_methods_path(parser)
    add_roots(parser, "data")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    key = parsed.key
    if key is None:
        print(_everything(parsed.data_root))
    elif key in registry.broken():
        raise registry.MethodError(registry.broken()[key])
    elif key in keys():
        print(_method(registry.card(key)))
    elif key in metrics.METRICS:
        metric = metrics.METRICS[key]
        print(f"{metric.key}: {metric.label}, {metric.level} level\n{metric.description}")
    else:
        try:
            print(_dataset(find_dataset(key).key))
        except ClashError as error:
            raise BenchError(error.question) from None
        except KeyError:
            known = [*keys(), *CATALOG, *metrics.METRICS]
            raise unknown("method, dataset or metric", key, known) from None
    return 0


def _everything(data_root: Path) -> str:
    cards = [registry.card(key) for key in keys()]
    method_rows = [(card.key, card.title, "yes" if card.learns else "no", _presets(card)) for card in cards]
    dataset_rows = [
        (
            key,
            entry.title,
            entry.domain,
            "+".join(entry.levels),
            len(entry.classes),
            "yes" if any((data_root / name / "meta.json").exists() for name in entry.folders) else "no",
        )
        for key, entry in CATALOG.items()
    ]
    metric_rows = [(metric.key, metric.label, metric.level) for metric in metrics.METRICS.values()]
    return "\n\n".join(
        (
            tabulate(method_rows, ("method", "title", "learns", "presets"), maxcolwidths=[None] * 3 + [80]),
            *(f"not usable: {reason}" for reason in registry.broken().values()),
            tabulate(dataset_rows, ("dataset", "title", "domain", "levels", "classes", f"in {data_root}")),
            tabulate(metric_rows, ("metric", "name", "level")),
            "weights: `run_bench.py weights` says which are needed and which are here",
            "groups: " + ", ".join(f"{name} ({len(members)})" for name, members in GROUPS.items()),
        )
    )


def _presets(card: Card) -> str:
    return str(COMPUTED) if "presets" in card.computed else " ".join(card.presets)


def _method(card: Card) -> str:
    facts = [(name, getattr(card, name)) for name in ("title", "paper", "code", "licence", "notes")]
    facts.append(
        ("trained on", ", ".join(f"{source} for {target}" for target, source in card.sources.items()))
    )
    facts.append(("trainable", f"run_bench.py train --methods {card.key} --source D" if card.learns else ""))
    facts += [(f"selected on ({source})", " ".join(names)) for source, names in card.selected_on.items()]
    facts += [(f"on {target}", _settings(options)) for target, options in card.target_options.items()]
    facts += [
        (f"preset {name}", _settings(options) or "the same options; other sources or another recipe")
        for name, options in card.presets.items()
    ]
    facts += [(name, str(COMPUTED)) for name in card.computed]
    facts.append(("file", "" if registry.file_digest(card.key) is None else str(card.path)))
    options = [(each.name, as_typed(each.default), _allowed(each), each.meaning) for each in card.options]
    heads = ("option", "default", "values", "meaning")
    table = tabulate(options, heads, disable_numparse=True, maxcolwidths=[None, 30, 30, 60])
    return _about(card.key, facts, table)


def _about(key: str, facts: Iterable[tuple[str, str]], table: str, **wrapping: Any) -> str:
    """Return the facts that there are, then the table."""
    shown = [fact for fact in facts if fact[1]]
    return f"{key}\n{tabulate(shown, tablefmt='plain', maxcolwidths=[None, 90], **wrapping)}\n\n{table}"


def _settings(options: object) -> str:
    if not isinstance(options, Mapping):
        return str(options)
    return ", ".join(f"{name}={as_typed(value)}" for name, value in options.items())


def _allowed(option: Option) -> str:
    """Return what `--set` takes: the kind of value, and those that presets and targets use."""
    if isinstance(option.default, bool):
        return "true or false"
    kinds = {int: "whole number", float: "number", tuple: "list A,B,...", list: "list A,B,...", str: "word"}
    kind = kinds.get(type(option.default), "")
    used = " ".join(map(as_typed, option.others))
    return f"{kind}, such as {used}" if kind and used.strip() else kind


def _size(entry: Dataset) -> str:
    """Return the numbers of test images by protocol, as far as somebody verified them."""
    parts = []
    for protocol in (*([] if entry.protocol(None) else [None]), *entry.protocols):
        pairs = entry.expected(protocol.key if protocol else None).values()
        known = [
            (normal, anomalous) for normal, anomalous in pairs if normal is not None and anomalous is not None
        ]
        total = (sum(normal for normal, _ in known), sum(anomalous for _, anomalous in known))
        complete = len(known) == len(pairs)
        if protocol and protocol.total:
            total, complete = protocol.total, True
        numbers = f"{total[0]} normal, {total[1]} anomalous" if complete else "not known"
        parts.append(f"{protocol.key}: {numbers}" if protocol else numbers)
    return "; ".join(parts)


def _dataset(key: str) -> str:
    entry = CATALOG[key]
    facts = [
        ("title", entry.title),
        ("domain", entry.domain),
        ("levels", ", ".join(entry.levels)),
        *((f"protocol {protocol.key}", protocol.what) for protocol in entry.protocols),
        ("licence", entry.licence),
        ("homepage", entry.homepage),
        *(("address", f"{archive.name}: {archive.url}") for archive in entry.archives),
        ("how to get it", entry.how_to_get),
        ("test images", _size(entry)),
        ("disk", "images used as they are become links: no further space on the disk they are unpacked on"),
        ("notes", entry.notes),
        *((f"related: {other}", why) for other in CATALOG if (why := related(key, other))),
        ("also called", ", ".join(dict.fromkeys((*entry.aliases, *entry.folders)))),
    ]
    classes = [
        (each.key, each.prompts["anomalyclip"], each.prompts["adaclip"], *each.counts)
        for each in entry.classes
    ]
    heads = ("class", "prompt name", "adaclip's", "normal", "anomalous")
    table = tabulate(classes, heads, missingval="?")
    return _about(key, facts, table, break_long_words=False, break_on_hyphens=False)
