"""List methods, datasets and metrics; with a key, everything about one of them."""

import argparse
from pathlib import Path

from tabulate import tabulate

import metrics
from bench.cli.common import add_roots
from bench.errors import unknown
from datasets.catalog import CATALOG, GROUPS
from datasets.catalog import find as find_dataset
from methods import weights
from methods.base import ZeroShotDetector, find, keys

HELP = "list methods, datasets, metrics and what is here"
EXAMPLES = """\
  run_bench.py list
  run_bench.py list tipsomaly
  run_bench.py list ksdd"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("key", nargs="?", help="a method, dataset or metric")
    add_roots(parser, "data", "weights")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.key is None:
        print(_everything(parsed.data_root, parsed.weights_root))
    elif parsed.key in keys():
        print(_method(parsed.key, find(parsed.key)))
    elif parsed.key in metrics.METRICS:
        metric = metrics.METRICS[parsed.key]
        print(f"{metric.key}: {metric.label}, {metric.level} level\n{metric.description}")
    else:
        try:
            print(_dataset(find_dataset(parsed.key).key))
        except KeyError:
            raise unknown(
                "method, dataset or metric", parsed.key, [*keys(), *CATALOG, *metrics.METRICS]
            ) from None
    return 0


def _everything(data_root: Path, weights_root: Path) -> str:
    method_rows = []
    for key in keys():
        detector = find(key)
        method_rows.append((key, detector.title, _here(detector, weights_root), " ".join(detector.presets)))
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
            tabulate(method_rows, headers=("method", "title", f"weights in {weights_root}", "presets")),
            tabulate(
                dataset_rows, headers=("dataset", "title", "domain", "levels", "classes", f"in {data_root}")
            ),
            tabulate(metric_rows, headers=("metric", "name", "level")),
            "groups: " + ", ".join(f"{name} ({len(members)})" for name, members in GROUPS.items()),
        )
    )


def _here(detector: type[ZeroShotDetector], root: Path) -> str:
    files = {
        file
        for target in CATALOG
        for options in [detector.resolve(detector.target_options.get(target, {}))]
        for file in detector.files(options, detector.source_for(target, options)).values()
    }
    if not files:
        return "none needed"
    return f"{sum(weights.locate(file, root) is not None for file in files)} of {len(files)}"


def _method(key: str, detector: type[ZeroShotDetector]) -> str:
    facts = [
        ("title", detector.title),
        ("paper", detector.paper),
        ("code", detector.code),
        ("licence", detector.licence),
        ("notes", detector.notes),
    ]
    if detector.sources:
        facts.append(
            ("trained on", ", ".join(f"{source} for {target}" for target, source in detector.sources.items()))
        )
    facts += [(f"selected on ({source})", " ".join(names)) for source, names in detector.selected_on.items()]
    facts += [(f"on {target}", _options(options)) for target, options in detector.target_options.items()]
    facts += [(f"preset {name}", _options(options)) for name, options in detector.presets.items()]
    facts += [(f"option {name}", repr(value)) for name, value in detector.defaults.items()]
    return f"{key}\n" + tabulate(
        [fact for fact in facts if fact[1]], tablefmt="plain", maxcolwidths=[None, 90]
    )


def _options(options: object) -> str:
    return ", ".join(f"{name}={value}" for name, value in dict(options).items())  # type: ignore[call-overload]


def _dataset(key: str) -> str:
    entry = CATALOG[key]
    facts = [
        ("title", entry.title),
        ("domain", entry.domain),
        ("levels", ", ".join(entry.levels)),
        ("protocols", ", ".join(protocol.key for protocol in entry.protocols)),
        ("licence", entry.licence),
        ("homepage", entry.homepage),
        ("how to get it", entry.how_to_get),
        ("also called", ", ".join(entry.aliases)),
    ]
    classes = [
        (each.key, each.prompts["anomalyclip"], each.prompts["adaclip"], each.normal, each.anomalous)
        for each in entry.classes
    ]
    return (
        f"{key}\n"
        + tabulate([fact for fact in facts if fact[1]], tablefmt="plain", maxcolwidths=[None, 90])
        + "\n\n"
        + tabulate(
            classes, headers=("class", "prompt name", "adaclip's", "normal", "anomalous"), missingval="?"
        )
    )
