"""The small dataset and planner of the other tests of the bench, and a method that may end its process."""

from pathlib import Path
from typing import Any

import pytest

from bench.run.engines.processes import ProcessPool
from bench.store.cells import CellStore
from methods import registry
from tests.bench.conftest import data, plan_for

__all__ = ["data", "plan_for"]

FRAGILE = """
import os, signal, time
from pathlib import Path
from methods.chance import Chance
class Fragile(Chance):
    title = "Fragile"
    def forward(self, images, prompts):
        trouble = Path(__file__).parent / prompts[0]  # a dot for each end of its worker, or "!"
        time.sleep(float(os.environ.get("FRAGILE_SECONDS", 0)))
        if trouble.exists() and (dots := trouble.read_text()):
            if dots == "!":
                raise RuntimeError("in trouble")
            trouble.write_text(dots[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(images, prompts)
"""


class ForkedPool(ProcessPool):
    """Workers that need not import torch again; how users' begin is tested by a few tests alone."""

    start_method = "fork"


@pytest.fixture
def fragile(tmp_path: Path) -> Path:
    """Return a folder with the method `fragile`; the file of a class's name there says how often it kills."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "fragile.py").write_text(FRAGILE)
    registry.use_folders([folder])
    return folder


def numbers(root: Path) -> dict[str, dict[str, Any]]:
    """Return all finished cells by name, without what differs from run to run."""
    return {
        f"{cell['method']}/{cell['class']}.{cell['key']}": {
            name: value for name, value in cell.items() if name not in ("timing", "provenance")
        }
        for cell in CellStore(root)
    }
