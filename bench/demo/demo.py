"""The demo: the main job from raw folders to the paper's table, offline, on generated data.

Its data, weights, cells and tables live in a folder of their own and never meet real ones.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.demo.gallery import choose_exhibits, draw_gallery
from bench.demo.standin import stand_in_folders
from bench.run.collect import Machine
from bench.run.plan import Plan
from bench.run.planner import Library, make_plan
from bench.run.protocol import MethodRequest
from bench.store.cells import CellStore
from bench.store.digests import DigestCache
from methods import registry
from methods.backbones import mini
from methods.registry import keys

HEADLINE = "demo: generated data, small models; not the paper's numbers"


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps its things."""

    root: Path

    @property
    def data(self) -> Path:
        """The generated datasets, raw and prepared."""
        return self.root / "data"

    @property
    def weights(self) -> Path:
        """Weights of the small models."""
        return self.root / "weights"

    @property
    def store(self) -> CellStore:
        """The demo's cells."""
        return CellStore(self.root / "runs")

    @property
    def tables(self) -> Path:
        """The demo's rendered tables."""
        return self.root / "tables"

    def prepare(self) -> Plan:
        """Generate and prepare data and weights (what is there stays); plan all methods on all datasets."""
        folders = stand_in_folders(self.data)
        mini.install(self.weights)
        return make_plan(
            demo_requests(), folders, self.store, weights_root=self.weights, digest=DigestCache()
        )

    def draw_gallery(self, machine: Machine, count: int = 6) -> Image.Image:
        """Return the picture of images, masks and heat maps of `count` datasets under all methods."""
        exhibits = choose_exhibits(stand_in_folders(self.data), count)
        requests = [request for request in demo_requests() if request.preset]
        return draw_gallery(exhibits, requests, Library(self.weights, DigestCache()), machine)


def demo_requests() -> list[MethodRequest]:
    """Return every method that has a small version, and the two baselines that bound the scale."""
    unusable = registry.failures()
    small = [key for key in keys() if "mini" in registry.card(key).presets and key not in unusable]
    return [*(MethodRequest(key, "mini") for key in small), MethodRequest("chance"), MethodRequest("oracle")]
