"""CPU seconds and peak memory of the verbs that only read, each in a process of its own.

    python -m benchmarks.waits
    python -m benchmarks.waits --methods 12

The cells are generated: every class of the paper's fourteen datasets, with as many images as it has. Prints
Markdown.
"""

import os
import subprocess
import sys
import tempfile

from tabulate import tabulate

from benchmarks.common import ROOT, parser_of

VERBS = (
    "--help",
    "list",
    "table",
    "table --layout per-class",
    "table --layout cross",
    "table --format csv",
    "report",
)

_WRITE = """
import sys
from pathlib import Path
from tests.bench.page.grid import METHODS, write_grid
write_grid(Path(sys.argv[1]), tuple(METHODS)[: int(sys.argv[2])], true_size=True)
"""


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--methods", type=int, default=5, help="how many, at most 12; default: %(default)s")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zsad-waits-") as folder:
        # In another process: memory that this one has taken would count as that of those it starts.
        subprocess.run([sys.executable, "-c", _WRITE, folder, str(parsed.methods)], cwd=ROOT, check=True)
        os.environ |= {"ZSAD_RESULTS": folder, "OMP_NUM_THREADS": "1"}
        print(f"{parsed.methods} methods, {parsed.methods * 66} cells:\n")
        rows = [(f"`{verb}`", *_measured(verb, folder)) for verb in VERBS]
    print(tabulate(rows, ("verb", "CPU s", "MB"), tablefmt="github", floatfmt=("", ".2f", ".0f")))


def _measured(verb: str, folder: str) -> tuple[float, float]:
    """Return the CPU seconds (the least of two runs) and the peak memory in MB."""
    seconds, peak = [], 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "run_bench.py"), *verb.split()], stdout=subprocess.DEVNULL, cwd=folder
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{verb} failed")
        seconds.append(used.ru_utime + used.ru_stime)
        peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return min(seconds), peak / 1e6


if __name__ == "__main__":
    main()
