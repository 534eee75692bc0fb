"""The small version of every method, its untrained weights written once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.demo.untrained import write_untrained
from bench.run.protocol import MethodRequest, setup
from methods.backbones import clip
from methods.base import ZeroShotDetector
from methods.fill import filled
from methods.registry import find


class Mini:
    """Loads methods with their preset `mini`, the files of each written once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def files(self, key: str, **options: Any) -> dict[str, Path]:
        request = MethodRequest(key, "mini", options)
        write_untrained(request, ["*"], self.root)
        return {role: self.root / file.name for role, file in setup(request, "*").files.items()}

    def options(self, key: str, **options: Any) -> dict[str, Any]:
        return MethodRequest(key, "mini", options).options("*")

    def __call__(self, key: str, **options: Any) -> Any:
        """Return the method as it is loaded."""
        return find(key).load(self.files(key, **options), **self.options(key, **options)).eval()

    def begin(self, key: str, seed: int, **options: Any) -> Any:
        """Return the method as its training begins."""
        return find(key).begin(self.files(key, **options), seed, **self.options(key, **options)).eval()


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Mini:
    return Mini(tmp_path_factory.mktemp("mini"))


def noisy_inputs(count: int, size: int) -> Tensor:
    """Return network inputs (count, 3, size, size) of CLIP for pictures of several shapes."""
    random = np.random.default_rng(8)
    pixels = (random.integers(0, 256, (90 + 9 * n, 130, 3), dtype=np.uint8) for n in range(count))
    return torch.stack([clip.network_input(size)(Image.fromarray(each)) for each in pixels])


def unlike_inputs(detector: ZeroShotDetector, count: int) -> Tensor:
    """Return network inputs of pictures of few spatial frequencies, whose patches are unlike each other."""
    random = np.random.default_rng(8)
    small = (Image.fromarray(random.integers(0, 256, (4 + n, 5, 3), dtype=np.uint8)) for n in range(count))
    return torch.stack([detector.preprocess(each.resize((160, 130))) for each in small])


def small_clip(quick_gelu: bool = False, **config: Any) -> Any:
    """Return a CLIP with filled weights: patches of 14 px and blocks of width 64 unless told otherwise."""
    vision = {"image_size": 56, "patch_size": 14, "width": 64, "layers": 3, "head_width": 32}
    text = {"width": 64, "heads": 2, "layers": 3, "context_length": 77, "vocab_size": 49408}
    sizes = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    for name, value in config.items():
        sizes[name] = {**sizes[name], **value} if isinstance(value, dict) else value
    return clip.build(sizes, filled(clip.blank(sizes), seed=5), quick_gelu=quick_gelu)
