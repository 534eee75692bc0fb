"""DINO and DINOv2 image encoders: their released files, and reading and writing those.

DINO: Caron et al., ICCV 2021. DINOv2: Oquab et al., TMLR 2024; registers: Darcet et al., ICLR 2024.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from methods import states
from methods.backbones.vit import DINO, Resize, VisionTransformer
from methods.fill import filled
from methods.pictures import NetworkInput, standardise
from methods.weights import WeightFile

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet: what a network input was normalised with."""

_BASE = "https://dl.fbaipublicfiles.com"


@dataclass(frozen=True)
class Variant:
    """The sizes of one network, and its released file below the publisher's address."""

    width: int
    depth: int
    heads: int
    release: str = ""
    """Empty: nobody published it."""
    size: int | None = None
    sha256: str | None = None
    """As third parties have it; the publisher tells none."""
    patch: int = 14
    grid: int = 37
    registers: int = 0
    second: bool = True
    """DINOv2, not DINO."""

    def build(self) -> VisionTransformer:
        """Build the network, its weights unset."""
        return VisionTransformer(
            self.width,
            self.depth,
            self.heads,
            4 * self.width,
            grid=self.grid,
            patch=self.patch,
            registers=self.registers,
            scaled=self.second,
            resize=Resize(antialias=True) if self.registers else DINO,  # as the publisher's code has it
        )


_FIRST = Variant(768, 12, 12, patch=16, grid=14, second=False)

VARIANTS: dict[str, Variant] = {
    "dinov2_vitb14": Variant(768, 12, 12, "dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth"),
    "dinov2_vitl14": Variant(
        1024,
        24,
        16,
        "dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        size=1_217_586_395,
        sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    ),
    "dinov2_vitb14_reg4": Variant(
        768, 12, 12, "dinov2/dinov2_vitb14/dinov2_vitb14_reg4_pretrain.pth", registers=4
    ),
    "dino_vitbase16": Variant(
        768,
        12,
        12,
        "dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
        patch=16,
        grid=14,
        second=False,
    ),
    "dino_vitbase8": Variant(
        768, 12, 12, "dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth", patch=8, grid=28, second=False
    ),
}
"""Values of the methods' option for the backbone, and the network each stands for."""


def variant(backbone: str | Variant) -> Variant:
    """Return the network of a name, or the given one; raises `ValueError` naming the nearest one there is."""
    if isinstance(backbone, Variant):
        return backbone
    if backbone not in VARIANTS:
        near = difflib.get_close_matches(backbone, VARIANTS, n=1, cutoff=0.0)
        raise ValueError(f"there is no DINO backbone {backbone!r}; did you mean {near[0]!r}?")
    return VARIANTS[backbone]


def file(backbone: str) -> WeightFile:
    """Return the weight file of a network; raises `ValueError` naming the nearest one there is."""
    found = variant(backbone)
    return WeightFile(
        name=f"dino/{found.release.rpartition('/')[2]}",
        url=f"{_BASE}/{found.release}",
        size=found.size,
        rough_size=None if found.size else sum(4 * tensor.numel() for tensor in blank(found).values()),
        sha256=found.sha256,
        digest_by_third_party=found.sha256 is not None,
        licence="Apache-2.0 (Meta)",
    )


def blank(backbone: str | Variant) -> dict[str, Tensor]:
    """Return the names and shapes of a network's weights, as tensors without storage (device "meta")."""
    with torch.device("meta"):
        return variant(backbone).build().state_dict()


def build(
    backbone: str | Variant, state: Mapping[str, Tensor], *, origin: str | Path = "weights"
) -> VisionTransformer:
    """Build a frozen float32 network in eval mode with the weights `state`.

    Raises `ValueError` naming `origin` unless the names and shapes of `state` are exactly the network's.
    """
    with torch.device("meta"):
        network = variant(backbone).build()
    states.check(state, network.state_dict(), origin)
    network.load_state_dict({name: each.float() for name, each in state.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def load(backbone: str | Variant, path: Path) -> VisionTransformer:
    """`build` with the plain state dict in the file `path`; loading is strict."""
    return build(backbone, states.unwrap(states.read(path), "state_dict", path), origin=path)


def write_untrained(backbone: str | Variant, path: Path, seed: int) -> None:
    """Write untrained weights (`methods.fill`) to `path`, a plain state dict as published."""
    states.write(filled(blank(backbone), seed), path)


def network_input(size: int, resample: Image.Resampling) -> NetworkInput:
    """Return the input (3, size, size), squashed with Pillow's filter `resample`, normalised as above."""
    return NetworkInput(size, resample, MEAN, DEVIATION)


def normalise(pixels: Tensor) -> Tensor:
    """Turn pixels (..., 3, H, W) in [0, 1] into a network input, with ImageNet's mean and deviation."""
    return standardise(pixels, MEAN, DEVIATION)
