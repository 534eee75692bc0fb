"""Try methods on generated data: shapes, ranges, determinism, batch invariance, speed; prints a report."""

import argparse
import tempfile
from pathlib import Path

from bench.cli.common import add_methods, parse_pairs
from bench.demo.trial import report, try_method
from bench.run.protocol import parse_methods

HELP = "check that a method keeps the contract"
EXAMPLES = """\
  run_bench.py try --methods mymethod
  run_bench.py try --methods all > report.md"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=True)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the method"
    )


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code: 0 if every method keeps the contract."""
    sound = True
    for request in parse_methods(parsed.methods, parse_pairs(parsed.set, "--set")):
        with tempfile.TemporaryDirectory(prefix="zsad-try-") as work:
            findings = try_method(request, Path(work))
        print(report(request, findings), end="\n\n")
        sound = sound and all(finding.ok is not False for finding in findings)
    return 0 if sound else 1
