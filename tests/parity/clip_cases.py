"""What the golden files of methods on small CLIP networks have in common."""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from types import MappingProxyType
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from datasets.images import resize_mask
from methods.backbones import clip
from methods.base import ZeroShotDetector
from methods.fill import filled


def small_clip(about: dict[str, Any]) -> open_clip.CLIP:
    """Build the network that `config`, `activation` and `seed` describe."""
    given = about["config"]
    config = {
        "embed_dim": given["embed_dim"],
        "vision_cfg": {
            "image_size": given.get("base_size") or given["image_size"],
            "patch_size": given["patch_size"],
            "width": given["width"],
            "layers": given["layers"],
            "head_width": given["vision_head_width"],
        },
        "text_cfg": {
            "width": given["text_width"],
            "heads": given["text_heads"],
            "layers": given["text_layers"],
            "vocab_size": given["vocab_size"],
            "context_length": given["context_length"],
        },
    }
    return clip.build(config, filled(clip.blank(config), about["seed"]), quick_gelu=is_quick(about))


def clip_of(about: dict[str, Any]) -> open_clip.CLIP:
    """Build the network that `model` and `seed` describe."""
    given = about["model"]
    vision = dict(given["vision"])
    vision["head_width"] = vision["width"] // vision.pop("heads")
    config = {"embed_dim": given["embed_dim"], "vision_cfg": vision, "text_cfg": given["text"]}
    return clip.build(config, filled(clip.blank(config), about["seed"]), quick_gelu=given["quick_gelu"])


def strided(name: str) -> tuple[str, int]:
    """Return the quantity that an array is named after, and that every how many-th value is stored."""
    found = re.fullmatch(r"(.+)_every_(\d+)(?:st|nd|rd|th)", name)
    return (found[1], int(found[2])) if found else (name, 1)


def is_quick(about: dict[str, Any]) -> bool:
    return about["activation"].startswith("QuickGELU")


def pictures(golden: Any) -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in golden.arrays["images_u8"]]


def masks(golden: Any, size: int) -> Tensor:
    """Return the masks (N, size, size) as training gets them."""
    return torch.stack([torch.from_numpy(resize_mask(mask, size)) for mask in golden.arrays["masks_u8"]])


def names(golden: Any) -> list[str]:
    """Return the class name of each image."""
    return [golden.about["class_names"][index] for index in golden.arrays["class_index"]]


def tolerance(about: dict[str, Any], name: str) -> float:
    """Return the golden file's tolerance for an array; its table also lists groups such as `a, b`, `a2/3`."""
    for key, value in about["suggested_tolerance"].items():
        for entry in key.split(", "):
            stem, _, other = entry.partition("/")
            candidates = [stem, stem[: len(stem) - len(other)] + other if other else stem]
            if any(fnmatch(name, candidate) for candidate in candidates):
                return float(str(value).split()[0])
    if name == "preprocessed_strided":
        return tolerance(about, "preprocessed")
    return float(about["suggested_tolerance"].get("everything else", 1e-4))


def network_inputs(golden: Any, detector: ZeroShotDetector) -> tuple[Tensor, dict[str, Tensor]]:
    """Preprocess the pictures; return them, and what is stored of them: all, or every n-th row, column."""
    images = torch.stack([detector.preprocess(picture) for picture in pictures(golden)])
    stored = {}
    if "preprocessed" in golden.arrays:
        stored["preprocessed"] = images
    if "preprocessed_strided" in golden.arrays:
        described = re.search(r"every (\d+)(?:st|nd|rd|th) row", golden.about["keys"]["preprocessed_strided"])
        assert described, f"{golden.path.name} does not say the stride of preprocessed_strided"
        stride = int(described[1])
        stored["preprocessed_strided"] = images[:, :, ::stride, ::stride]
    return images, stored


def compare(golden: Any, deviations: Any, got: dict[str, Tensor], inputs: set[str]) -> None:
    """Check all quantities; fail where the file holds an array that is neither an input nor compared."""
    unknown = set(golden.arrays) - set(got) - inputs
    assert not unknown, f"{golden.path.name} holds arrays this test does not know: {sorted(unknown)}"
    for name in sorted(set(golden.arrays) - inputs):
        deviations.check(golden, name, got[name], golden.arrays[name], tolerance(golden.about, name))


def compare_kept(
    golden: Any,
    deviations: Any,
    got: Mapping[str, Tensor],
    inputs: set[str],
    allowed: Callable[[str], float],
    shares: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Check all arrays but the inputs, stored whole or every n-th value, to within `allowed(quantity)`.

    Of a quantity of `shares` that part of the values must be as near.
    """
    quantities = {name: strided(name) for name in sorted(set(golden.arrays) - inputs)}
    for name, (quantity, stride) in quantities.items():
        assert quantity in got, f"{golden.path.name}: nothing here checks {name}"
        want, mine = golden.tensor(name).double(), got[quantity].detach().double()
        mine = mine[..., ::stride, ::stride] if stride > 1 else mine
        if quantity in shares:
            assert mine.shape == want.shape
            mine, want = (mine - want).abs().flatten().quantile(shares[quantity]), torch.zeros(())
        deviations.check(golden, quantity, mine, want, allowed(quantity))
    found = {quantity for quantity, _ in quantities.values()}
    assert found & {"anomaly_maps", "losses"}, f"{golden.path.name} is of no known kind"
