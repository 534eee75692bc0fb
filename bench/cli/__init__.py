"""The command line: arguments in, exit code out. It computes nothing itself."""

import argparse
import importlib
import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, printable, refuse_unknown
from methods import registry

VERBS = {
    "demo": "run everything offline on generated data",
    "list": "list methods, datasets, metrics and what is here",
    "weights": "say what weights are needed and here, fetch and verify them",
    "prepare": "bring a downloaded dataset into the suite's form",
    "check": "look a prepared dataset over",
    "run": "measure methods on datasets",
    "table": "print the paper's table and others from finished cells",
    "figure": "draw figures for papers: galleries, curves, matrices, speed",
    "report": "write the results page: tables, charts and where each number comes from",
    "export": "send finished cells to Weights & Biases or MLflow",
    "predict": "score pictures of your own",
    "train": "train prompts or projections on a source",
    "cross": "train on some datasets, test on others: the generalisation matrix",
    "compare": "compare methods on the same images: intervals, p-values, average ranks",
    "try": "check that a method keeps the contract",
}
"""Verb -> what it does; the modules are imported only when used, because most need torch."""

_MODULES = {"try": "trial", "list": "listing"}
"""Of verbs that cannot or should not be module names."""
_EPILOG = """\
typical use:
  python run_bench.py demo                                   everything, offline, on generated data
  python run_bench.py prepare mvtec --from mvtec_anomaly_detection.tar.xz
  python run_bench.py weights --methods tipsomaly --fetch
  python run_bench.py run --methods tipsomaly --datasets industrial
  python run_bench.py table

folders (flag, or environment variable, or default):
  --data-root     ZSAD_DATA      ./data       one folder a dataset, each with its meta.json
  --weights-root  ZSAD_WEIGHTS   ./weights    pretrained and learned weights
  --results       ZSAD_RESULTS   ./results    cells in runs/, rendered tables in tables/
  --methods-path  ZSAD_METHODS   none         methods of your own, one a file, beside those of methods/

exit codes: 0 all that was asked for is there; 1 something failed or was refused; 2 wrong request."""


def parser_of(verb: str | None) -> argparse.ArgumentParser:
    """Return the parser of the command line, with the arguments of one verb; None: of none."""
    parser = argparse.ArgumentParser(
        prog="run_bench.py",
        description="Measure zero-shot anomaly detection on many datasets, and print the paper's table.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, help_line in VERBS.items():
        if name != verb:
            verbs.add_parser(name, help=help_line, add_help=False)
            continue
        module = importlib.import_module(f"bench.cli.{_MODULES.get(name, name)}")
        description, _, examples = str(module.__doc__).partition("\n\nexamples:\n")
        sub = verbs.add_parser(
            name,
            help=help_line,
            description=description,
            epilog=f"examples:\n{examples.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        module.arguments(sub)
        sub.set_defaults(main=module.main)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    verb = next((word for word in words if not word.startswith("-")), None)
    try:
        _refuse_other_datasets_package()
        refuse_unknown("verb", [] if verb is None else [verb], VERBS)
        _quiet()
        parsed = parser_of(verb).parse_args(words)
        registry.use_folders(getattr(parsed, "methods_path", None))
        return int(parsed.main(parsed))
    except KeyboardInterrupt:
        print("\ninterrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of a pipe (head, less) left: not our failure.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        expected = isinstance(error, (BenchError, OSError, ValueError))
        kind = "" if expected else f"{type(error).__name__}: "
        more = "" if debug or expected else "  (--debug shows where)"
        print(f"error: {kind}{printable(str(error))}{more}", file=sys.stderr)
        return 2 if expected else 1


def _refuse_other_datasets_package() -> None:
    import datasets  # noqa: PLC0415 (before anything else can import it from elsewhere)

    here = Path(__file__).resolve().parents[2]
    found = Path(datasets.__file__ or "").resolve()
    if here not in found.parents:
        raise BenchError(
            f"`import datasets` found {found.parent}, not this checkout's folder. Run the suite as "
            f"`python {here / 'run_bench.py'}`"
        )


def _quiet() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name that is no UTF-8 must not end a command
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", message="QuickGELU mismatch")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.formatwarning = _in_one_line


def _in_one_line(message: Warning | str, *_: object, **__: object) -> str:
    return f"warning: {printable(str(message))}\n"
