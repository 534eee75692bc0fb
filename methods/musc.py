"""MuSc: a patch is anomalous if few of the other unlabelled images of its class have one like it."""

import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from methods import maps
from methods.backbones import clip, dinov2
from methods.backbones.blocks import run_blocks
from methods.backbones.vit import VisionTransformer
from methods.base import Features, Prediction
from methods.clip_based import ClipBased
from methods.image_set import ImageSet
from methods.mutual_scoring import mean_distances
from methods.pictures import NetworkInput

_MAPS_AT_ONCE = 8


class MuSc(ClipBased):
    """MuSc (arXiv 2401.16753) as its code has it: transductive, nothing learned, no text.

    The map is every patch's mean distance to the 30 % of the other images that are nearest, over levels of
    a frozen ViT and sizes of neighbourhood. The image score is the map's maximum, scaled to [0, 1] over the
    class and averaged with those of the images most alike: 0.4 in one class means nothing in another.
    """

    title = "MuSc"
    paper = "https://arxiv.org/abs/2401.16753"
    code = "https://github.com/xrli-U/MuSc"
    licence = "MIT"
    official_precision = "float16"
    notes = (
        "Sees all unlabelled test images of a class together: a part of them gives other numbers. The "
        "numbers of neighbours, VisA's apart, look chosen on the test results. The published numbers are "
        "float16's, and of masks that are cut otherwise than ours."
    )
    transductive = True

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP; or a DINO or DINOv2, see methods/backbones/dinov2.py
        "image_size": 518,
        "layers": (6, 12, 18, 24),  # blocks whose outputs are compared, counted from 1
        "quick_gelu": False,  # QuickGELU, not GELU; the code drops it when the size is not the pretrained one
        "degrees": (1, 3, 5),  # sides of the neighbourhoods that patches are averaged over
        "share": 0.3,  # of the other images, the nearest, that a patch is compared with
        "neighbours": (1, 2, 3),  # numbers of images, itself included, whose image scores are averaged
        "subsets": 1,  # compare within so many parts of a class, divided by their content: for large ones
    }
    target_options = {"visa": {"neighbours": (1, 8, 9)}}
    presets = {
        "native": {"image_size": 336, "quick_gelu": True},  # what the code does at CLIP's own size
        "no-rescoring": {"neighbours": (1,)},
        "one-degree": {"degrees": (1,)},
        "dinov2-l": {"backbone": "dinov2_vitl14"},
        "dinov2-b": {"backbone": "dinov2_vitb14", "layers": (3, 6, 9, 12)},
        "dino-b": {"backbone": "dino_vitbase16", "image_size": 512, "layers": (3, 6, 9, 12)},
        "mini": {"backbone": "mini", "image_size": 140, "layers": (2, 3, 5, 6)},
    }
    encoder_options = ("backbone", "image_size", "layers", "quick_gelu")

    position_resize = ("bicubic", False)
    dinos = tuple(dinov2.VARIANTS)

    @property
    def levels(self) -> list[str]:
        """Names of the features that are compared."""
        return [f"level{number}" for number in self.options["layers"]]

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for one that cannot be."""
        resolved = super().resolve(options)
        if resolved["quick_gelu"] and resolved["backbone"] in cls.dinos:
            raise ValueError("quick_gelu: DINO has no QuickGELU")
        if any(degree < 1 or degree % 2 == 0 for degree in resolved["degrees"]):
            raise ValueError(f"degrees {resolved['degrees']}: a neighbourhood has an odd side")
        if not 0 < resolved["share"] <= 1:
            raise ValueError(f"share {resolved['share']}: it has to be above 0 and at most 1")
        for name in ("degrees", "neighbours", "layers"):
            if not resolved[name] or min(resolved[name]) < 1:
                raise ValueError(f"{name} {resolved[name]}: whole numbers from 1, at least one of them")
        if resolved["subsets"] < 1:
            raise ValueError(f"subsets {resolved['subsets']}: at least 1")
        return resolved

    @classmethod
    def judge_flops(cls, options: Mapping[str, Any], count: int) -> float:
        """Return what comparing each pair of `count` images once takes, in floating-point operations."""
        if options["backbone"] in cls.dinos:
            network = dinov2.variant(options["backbone"])
            width, patch = network.width, network.patch
        else:
            vision = clip.architecture(options["backbone"])["vision_cfg"]
            width, patch = vision["width"], vision["patch_size"]
        products = 2 * width * (options["image_size"] // patch) ** 4
        pairs = sum(len(part) * (len(part) - 1) / 2 for part in _divided(count, options["subsets"]))
        return len(options["layers"]) * len(options["degrees"]) * products * pairs

    # --- one image ----------------------------------------------------------------------------------

    @property
    def input(self) -> NetworkInput:
        """CLIP's, or bilinear with ImageNet's statistics."""
        if isinstance(self.model, VisionTransformer):
            return dinov2.network_input(self.image_size, Image.Resampling.BILINEAR)
        return super().input

    def encode(self, images: Tensor) -> Features:
        """Return `image` (B, E), the class embedding, and `level<block>` (B, P, C), the patches after it.

        CLIP: the residual stream, and the class token projected, of unit length. DINO: all through its final
        norm, the class token not normalised.
        """
        network, layers = self.model, self.options["layers"]
        if isinstance(network, VisionTransformer):
            last, states = network.run(network.embed(images), taps=layers)
            image = network.norm(last)[:, 0].float()
            tokens = [network.norm(state)[:, network.leading :] for state in states]
        else:
            hidden = clip.embed_image(network, images, self.positions)
            last, states = run_blocks(clip.vision_blocks(network), hidden, taps=layers)
            image = F.normalize(clip.project(network, last[:, 0]).float(), dim=-1)
            tokens = [state[:, 1:] for state in states]
        return {"image": image} | {name: each.float() for name, each in zip(self.levels, tokens, strict=True)}

    def aggregate(self, tokens: Tensor, degree: int) -> Tensor:
        """Return unit features (B, P, C) of patches and their neighbourhood (section 3.2, LNAMD).

        The layer norm is over all numbers of an image at once. Beyond the edge are zeros; the divisor
        there does not matter.
        """
        whole = F.layer_norm(tokens, tokens.shape[1:])
        if degree > 1:
            whole = maps.neighbourhood_mean(whole, self.grid, degree)
        return F.normalize(whole, dim=-1)

    # --- all images ---------------------------------------------------------------------------------

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        """Yield what the images say of each other; `also["map_max"]` is the image score before rescoring.

        Raises `ValueError` for fewer images than `share` needs, with the default 5 in each subset.
        """
        order = sorted(range(len(images)), key=lambda index: images.digests[index])
        patches = self.patch_scores(images, order)
        peaks = torch.cat([self.enlarged(each).amax(dim=(1, 2)) for each in patches.split(_MAPS_AT_ONCE)])
        scores = self.rescored(images, order, peaks)
        places = torch.tensor(order).argsort().to(peaks.device)
        for part in places.split(_MAPS_AT_ONCE):
            yield Prediction(
                scores[part].float(), self.enlarged(patches[part]).float(), {"map_max": peaks[part].float()}
            )

    def patch_scores(self, images: ImageSet, order: Sequence[int]) -> Tensor:
        """Return the patches' scores (N, P), float64, of the images in this order (section 3.3, MSM)."""
        parts = self.divide(len(order))
        least = next(n for n in itertools.count(2) if self._nearest(n) > 0)
        if min(map(len, parts)) < least:
            each = f" in each of {len(parts)} subsets" if len(parts) > 1 else ""
            raise ValueError(
                f"MuSc compares the images of a class with each other and needs at least {least}{each}; "
                f"here are {len(order)}"
            )
        kinds = list(itertools.product(self.levels, self.options["degrees"]))
        device = next(self.parameters()).device
        totals = torch.zeros(len(order), self.grid[0] * self.grid[1], dtype=torch.float64, device=device)
        for part in parts:
            members = [order[rank] for rank in part]
            for number, (level, degree) in enumerate(kinds, start=1):
                images.note(f"comparing {len(part)} images, {number} of {len(kinds)} (level and degree)")
                totals[list(part)] += self.mutual_scores(images, members, level, degree).double()
        return totals / len(kinds)

    def mutual_scores(self, images: ImageSet, members: Sequence[int], level: str, degree: int) -> Tensor:
        """Return mean distances (n, P), float32, of patches to the nearest `share` of the other members."""

        def patches(part: range) -> Tensor:
            tokens = images.features([members[place] for place in part], [level])[level]
            return self.aggregate(tokens, degree)

        return mean_distances(patches, len(members), self._nearest(len(members)), images.budget)

    def divide(self, count: int) -> Sequence[Sequence[int]]:
        """Return the ranks (by content) of the images that are compared with each other, subset by subset.

        The official code divides by the kind of defect, that is, by the truth.
        """
        return _divided(count, self.options["subsets"])

    def _nearest(self, count: int) -> int:
        return int(self.options["share"] * (count - 1))

    def enlarged(self, patches: Tensor) -> Tensor:
        """Return maps (B, S, S), float64, of patch scores (B, P)."""
        grid = maps.to_grid(patches[..., None], self.grid)
        return maps.upsample(grid, self.image_size, align_corners=True)[:, 0]

    def rescored(self, images: ImageSet, order: Sequence[int], peaks: Tensor) -> Tensor:
        """Return image scores (N,), float64, from the maps' maxima, in this order (section 3.4, RsCIN)."""
        spread = peaks.max() - peaks.min()
        if spread == 0:
            warnings.warn("MuSc: all maps have the same maximum, so all image scores are 0", stacklevel=2)
            return torch.zeros_like(peaks)
        scaled = (peaks - peaks.min()) / spread
        alike, which = self._most_alike(images, order)
        means = []
        for count in self.options["neighbours"]:
            weights = alike[:, :count] / alike[:, :count].sum(dim=1, keepdim=True)
            means.append((weights * scaled[which[:, :count]]).sum(dim=1))
        return torch.stack(means).mean(dim=0)

    def _most_alike(self, images: ImageSet, order: Sequence[int], more: int = 0) -> tuple[Tensor, Tensor]:
        """Return the largest products of class embeddings, sorted, and their places: (N, k) each."""
        classes = images.features(order, ["image"])["image"].double()
        count = min(max(self.options["neighbours"]) + more, len(order))
        rows = [(part @ classes.mT).sort(descending=True, stable=True) for part in classes.split(256)]
        alike, which = (torch.cat([row[at][:, :count] for row in rows]) for at in (0, 1))
        return alike, which

    def unsettled(self, images: ImageSet) -> list[int]:
        """Return images whose last neighbour kept and first one dropped are alike up to rounding."""
        indices = list(range(len(images)))
        alike, _ = self._most_alike(images, indices, more=1)
        cuts = [count for count in self.options["neighbours"] if count < alike.shape[1]]
        if not cuts:
            return []
        gaps = torch.stack([alike[:, count - 1] - alike[:, count] for count in cuts], dim=1)
        return [index for index in indices if gaps[index].min() <= 1e-6]


def _divided(count: int, subsets: int) -> list[range]:
    return [range(first, count, subsets) for first in range(subsets)]
