"""Send finished cells to an experiment tracker: a run for each method's column, with settings and numbers.

examples:
  run_bench.py export wandb --project zsad
  run_bench.py export wandb --offline --to exported     then: wandb sync exported/wandb/offline-run-*
  run_bench.py export mlflow --to sqlite:///mlflow.db   then: mlflow ui --backend-store-uri sqlite:///mlflow.db
  run_bench.py export mlflow --to http://localhost:5000 --methods tipsomaly --datasets mvtec
"""

import argparse
from pathlib import Path

from bench.cli.common import add_roots, add_selection, open_selection
from bench.errors import BenchError
from bench.show.export import runs
from bench.show.trackers import to_mlflow, to_wandb


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("tracker", choices=("wandb", "mlflow"), help="each needs the extra of its name")
    parser.add_argument(
        "--project", default="zsad-bench", metavar="NAME", help="or MLflow's experiment; default: %(default)s"
    )
    parser.add_argument(
        "--to",
        metavar="PLACE",
        help="folder for wandb's files, or MLflow's database or server (default: as the tracker has it)",
    )
    parser.add_argument("--offline", action="store_true", help="wandb: write files only, to be synced later")
    add_selection(parser)
    add_roots(parser, "results")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.offline and parsed.tracker != "wandb":
        raise BenchError("--offline goes with wandb; MLflow writes files with --to sqlite:///mlflow.db")
    _, cells, wanted = open_selection(parsed, scores=False)
    chosen = runs(cells, **wanted)
    if parsed.tracker == "wandb":
        folder = Path(parsed.to) if parsed.to else None
        done = to_wandb(chosen, parsed.project, folder, offline=parsed.offline)
    else:
        done = to_mlflow(chosen, parsed.project, parsed.to)
    print("\n".join(done))
    return 0
