"""Say which weights each method needs for each target, what is here, and how to get the rest; fetch it."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from tabulate import tabulate

from bench.cli.common import add_methods, add_options, add_roots, dataset_keys, open_methods
from bench.cli.progress import on_terminal
from bench.demo.untrained import write_untrained
from bench.run.protocol import MethodRequest, chosen_source
from bench.store.digests import DigestCache
from methods import weights
from methods.weights import WeightFile, WeightsError

EXAMPLES = """\
  run_bench.py weights                                  what every method needs
  run_bench.py weights --methods tipsomaly --fetch      download and verify
  run_bench.py weights --methods vand --datasets mvtec  what one target needs
  run_bench.py weights --methods tipsomaly --untrained --weights-root /tmp/w
                                                        stand-ins at true size, to try a machine"""


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
    targets = dataset_keys(parsed.datasets)
    if parsed.untrained:
        for request in requests:
            for path in write_untrained(
                request, targets, parsed.weights_root, source=parsed.source, seed=parsed.seed
            ):
                print(f"wrote untrained {path}")
        return 0 if all_open else 1
    needs = needed(requests, targets, parsed.source)
    digest = DigestCache()
    failures = fetch_missing(needs, parsed.weights_root, digest) if parsed.fetch else []
    rows, complete, notes = [], True, []
    for file, users in needs.items():
        status = weights.status(file, parsed.weights_root, digest)
        complete = complete and status.path is not None and status.state != "damaged"
        rows.append(
            (
                file.name,
                status.state,
                _size(file),
                "; ".join(f"{key}: {_targets(keys, targets)}" for key, keys in users.items()),
            )
        )
        if status.note:
            notes.append(f"{file.name}: {status.note}")
    print(tabulate(rows, headers=("file", "state", "size", "needed by"), tablefmt="simple"))
    for note in notes:
        print(f"  {note}")
    for failure in failures:
        print(f"error: {failure}")
    return 0 if complete and all_open and not failures else 1


def _targets(keys: list[str], everything: list[str]) -> str:
    return "all" if set(keys) == set(everything) else " ".join(keys)


def _size(file: WeightFile) -> str:
    return "" if file.size is None else f"{file.size / 1e6:,.1f} MB"


def needed(
    requests: Iterable[MethodRequest], targets: Iterable[str], source: str | None
) -> dict[WeightFile, dict[str, list[str]]]:
    """Return each file needed with the methods that need it and their targets."""
    needs: dict[WeightFile, dict[str, list[str]]] = {}
    for request in requests:
        for target in targets:
            for file in _files(request, target, source).values():
                users = needs.setdefault(file, {})
                users.setdefault(request.key, []).append(target)
    return needs


def _files(request: MethodRequest, target: str, source: str | None) -> dict[str, WeightFile]:
    return request.detector.files(request.options(target), chosen_source(request, target, source))


def fetch_missing(files: Iterable[WeightFile], root: Path, digest: DigestCache) -> list[str]:
    """Download what is not below `root` and verify the rest; returns one message for each failure."""
    failures = []
    for file in files:
        try:
            path = weights.locate(file, root)
            if path is None:
                weights.fetch(file, root, progress=on_terminal(), digest=digest)
            else:
                weights.verify(path, file, root, digest)
        except WeightsError as error:
            failures.append(str(error))
    return failures
