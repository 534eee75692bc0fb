"""Say which weights each method needs for each target, what is here, and how to get the rest; fetch it.

examples:
  run_bench.py weights                                  what every method needs
  run_bench.py weights --methods tipsomaly --fetch      download and verify
  run_bench.py weights --methods vand --datasets mvtec  what one target needs
  run_bench.py weights --methods tipsomaly --untrained --weights-root /tmp/w
                                                        stand-ins at true size, to try a machine
"""

import argparse

from tabulate import tabulate

from bench.cli.common import (
    add_methods,
    add_options,
    add_roots,
    dataset_keys,
    open_methods,
    parse_source,
)
from bench.cli.progress import on_terminal
from bench.demo.untrained import write_untrained
from bench.run.library import how_to_get
from bench.run.needs import fetch_missing, needed
from bench.store.digests import DigestCache
from methods import weights
from methods.backbones import mini


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=False)
    parser.add_argument("--datasets", nargs="+", default=["all"], metavar="D", help="targets (default: all)")
    add_options(parser)
    parser.add_argument(
        "--source", metavar="D[+D2]", help="weights trained on these instead of the protocol's"
    )
    add_roots(parser, "weights")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--fetch", action="store_true", help="download what is missing, verify all")
    action.add_argument(
        "--untrained",
        action="store_true",
        help="write untrained stand-in weights in the published formats (results are chance, and marked so)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of --untrained (default: %(default)s)")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code: 0 if everything needed is here."""
    requests, all_open = open_methods(parsed, parsed.methods or ["all"])
    words = dataset_keys(parsed.datasets)  # weights are chosen by dataset, whatever its protocol
    targets = list(dict.fromkeys(word if "/" in word else word.partition(":")[0] for word in words))
    source = parse_source(parsed.source)
    if parsed.untrained:
        for request in requests:
            for path in write_untrained(
                request, targets, parsed.weights_root, source=source, seed=parsed.seed
            ):
                print(f"wrote untrained {path}")
        return 0 if all_open else 1
    needs = needed(requests, targets, source)
    digest = DigestCache()
    failures = {}
    if parsed.fetch:
        failures = fetch_missing(needs, parsed.weights_root, digest, progress=on_terminal())
    rows, complete = [], True
    notes: dict[str, list[str]] = {}
    for file, need in needs.items():
        status = weights.status(file, parsed.weights_root, digest)
        complete = complete and status.path is not None and status.state != "damaged"
        users = "; ".join(f"{word}: {_targets(keys, targets)}" for word, keys in need.users.items())
        rows.append((file.name, status.state, _size(status), status.basis, users))
        note = status.note
        if status.state == "missing" and (file.trained_here or file.name in mini.names()):
            note = how_to_get(need.request, [file], need.source)
        if note and file not in failures:
            notes.setdefault(note, []).append(file.name)
    print(tabulate(rows, headers=("file", "state", "size", "digest", "needed by"), tablefmt="simple"))
    for note, names in notes.items():
        print(f"  {', '.join(names)}: {note}")
    for failure in failures.values():
        print(f"error: {failure}")
    return 0 if complete and all_open and not failures else 1


def _targets(keys: list[str], everything: list[str]) -> str:
    return "all" if set(keys) == set(everything) else " ".join(keys)


def _size(status: weights.Status) -> str:
    size = status.path.stat().st_size if status.path else status.file.size
    rough = "" if status.file.rough_size is None else f"about {status.file.rough_size / 1e6:,.0f} MB"
    return rough if size is None else f"{size / 1e6:,.1f} MB"
