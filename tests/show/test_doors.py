"""Tables know cells: no method, no data files, and nothing heavy."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LOADED = "import sys, bench.results, bench.show, bench.study.compare; print(*sorted(sys.modules))"


def test_tables_load_no_method_no_dataset_and_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "bench.show.choose" in loaded
    ours = {name for name in loaded if name.split(".")[0] in {"methods", "datasets"}}
    assert ours <= {
        "methods", "methods.files", "methods.source", "datasets", "datasets.entry", "datasets.catalog",
        "datasets.catalog.read",
    }  # fmt: skip
    assert not {"torch", "pandas", "open_clip"} & set(loaded)
