"""Try methods on generated data: shapes, ranges, determinism, batch invariance, speed; prints a report.

examples:
  run_bench.py try --methods mymethod
  run_bench.py try --methods all > report.md
"""

import argparse
import tempfile
from pathlib import Path

from bench.cli.common import add_methods, add_options, open_methods
from bench.demo.trial import Finding, report, try_method
from bench.errors import reason_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_methods(parser, required=True)
    add_options(parser)


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code: 0 if every method keeps the contract."""
    requests, sound = open_methods(parsed, parsed.methods)
    for request in requests:
        with tempfile.TemporaryDirectory(prefix="zsad-try-") as work:
            try:
                findings = try_method(request, Path(work))
            except Exception as error:
                if parsed.debug:
                    raise
                findings = [Finding("answers at all", False, reason_of(error))]
        print(report(request, findings), end="\n\n")
        sound = sound and all(finding.ok is not False for finding in findings)
    return 0 if sound else 1
