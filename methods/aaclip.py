"""AA-CLIP: residual adapters inside both towers of CLIP, trained one tower after the other.

Ma, Zhang, Yao, Tang, Wu, Li, Yan, Jiang, Zhou, CVPR 2025, arXiv 2503.06661. As its code has it: exact GELU on
weights trained with QuickGELU, and in the first stage of training attention across the images of a batch.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from methods import states
from methods.backbones import blocks, clip
from methods.base import Features, Prediction, Preset, TrainingBatch
from methods.clip_based import ClipBased
from methods.fill import filled
from methods.learned_tensors import Shapes, blank
from methods.learning import Milestones, Recipe, Stage, focal_and_dice
from methods.maps import probability_maps, similarity_logits, to_grid, upsample
from methods.options import between, one_of
from methods.prompts import PromptEnsemble, ensemble_texts
from methods.torchvision_transforms import applies, colours, flipped, rotated, shifted
from methods.weights import WeightFile

ENSEMBLE = PromptEnsemble(
    normal=("{}", "a {}", "the {}"),
    abnormal=("a damaged {}", "a broken {}", "a {} with flaw", "a {} with defect", "a {} with damage"),
    templates=("{}.", "a photo of {}."),
)
_TOLD = json.loads(Path(__file__).with_name("aaclip_descriptions.json").read_text(encoding="utf-8"))
DESCRIPTIONS: Mapping[str, str] = {
    name: text
    for origin in ("official", "not_official", "same_under_our_names")
    for classes in _TOLD[origin]["descriptions"].values()
    for name, text in classes.items()
}
"""Class -> what its sentences speak of, whatever the dataset; the file says where each comes from."""

_TEMPERATURE = 0.01  # the code's constant factor 100; CLIP's own logit scale is not read
_PARTS = ("text_adapter", "image_adapter")  # what the official program writes one file each of
_MEDICAL = {"blur_size": 9, "blur_sigma": 1.5, "fusion": "peak"}


def _official(part: str, source: str) -> WeightFile:
    told = f"{part}.pth as the official program writes it, trained on {source}"
    return WeightFile(f"aaclip/official/trained_on_{source}/{part}.pth", by_hand=told)


def description(name: str) -> str:
    """Return what the sentences about a class speak of: its description, or else its name in words."""
    return DESCRIPTIONS.get(name, name.replace("_", " "))


class AAClip(ClipBased):
    """CLIP whose adapters make texts tell normal from abnormal, and then patches agree with the texts."""

    title = "AA-CLIP"
    paper = "https://arxiv.org/abs/2503.06661"
    code = "https://github.com/Mwxinnn/AA-CLIP"
    licence = "Apache-2.0"
    notes = (
        "final image scores are scaled over all test images of a class; sentences speak of descriptions of "
        "the classes, found by their names alone and written with the targets in view; in the first stage of "
        "training attention runs across the images of a batch, as in the code; the paper's image AUROC on "
        "VisA, 84.6, is not reproducible: re-runs of the code give 79 to 80.3"
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        # Blocks whose patches are compared with the texts, from 1; the last one makes the image feature too.
        "layers": (6, 12, 18, 24),
        "text_adapt_until": 3,  # how many text blocks, from the first, have an adapter behind them
        "image_adapt_until": 6,  # how many image blocks have
        "text_adapt_weight": 0.1,  # share of an adapter in the state behind a text block
        "image_adapt_weight": 0.1,  # share of an adapter in the state behind an image block
        "relu": False,  # whether a leaky ReLU follows the projections of patches
        "surgery_until_layer": 20,  # first stage: this less 1 blocks at the end attend across the batch
        "blur_size": 7,  # side of the Gaussian kernel that smooths maps, in patches
        "blur_sigma": 1.0,  # its standard deviation, in patches
        "fusion": "mean",  # final image score: mean of map peak and image cosine, or the peak alone
        "official": False,  # whether the adapters are two files that the official program wrote
    }
    presets = {
        "usual-sources": Preset({}, sources={"*": "mvtec", "mvtec": "visa"}),  # as other papers train
        "official": {"official": True},
        "mini": {
            "backbone": "mini",
            "image_size": 140,
            "layers": (2, 3, 5, 6),
            "text_adapt_until": 1,
            "image_adapt_until": 2,
            "surgery_until_layer": 5,
        },
    }
    sources = {"*": "visa", "visa": "mvtec"}
    target_options = {
        "headct": _MEDICAL,
        "brainmri": _MEDICAL,
        "br35h": _MEDICAL,
        "isic": _MEDICAL,
        "cvc_colondb": _MEDICAL,
        "cvc_clinicdb": _MEDICAL,
        "tn3k": _MEDICAL,
    }
    recipe = Recipe(
        stages=(
            Stage(
                name="text",
                learns=("text_adapter.*",),
                epochs=5,
                batch_size=16,
                learning_rate=1e-5,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_normal": 1.0, "dice_abnormal": 1.0, "orthogonal": 0.1},
                augments=True,
            ),
            Stage(
                name="image",
                learns=("image_adapter.*",),
                epochs=20,
                batch_size=2,
                learning_rate=5e-4,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_normal": 1.0, "dice_abnormal": 1.0, "image": 1.0},
                schedule=Milestones((16_000, 32_000), 0.5),
                augments=True,
            ),
        ),
        seed=111,
    )
    prompting = "prompt ensemble with a description of the class"
    shaping = ("text_adapt_until", "image_adapt_until", "relu")
    class_normalised = True
    training_masks = "nearest"

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with exact GELU and the adapters by their published names, see `learned`.

        Raises `ValueError` where options and CLIP, or the adapters' names or shapes, do not fit.
        """
        super().__init__(model, learned, **options)
        depth = len(clip.vision_blocks(model))
        between(
            self.options,
            text_adapt_until=(0, len(model.transformer.resblocks)),
            image_adapt_until=(0, depth),
            surgery_until_layer=(1, depth + 1),
            blur_size=(1, 2 * min(self.grid) - 1),  # mirrored at the border
        )
        self._texts = ensemble_texts(ENSEMBLE, self.encode_text, learned=self._text_adapters)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        one_of(resolved, fusion=("mean", "peak"))
        if resolved["blur_size"] % 2 == 0 or resolved["blur_sigma"] <= 0:
            raise ValueError("blur_size must be odd and blur_sigma above 0")
        if not resolved["layers"]:
            raise ValueError("layers must name at least one block")
        return resolved

    @classmethod
    def learned_file(cls, options: Mapping[str, Any], source: str) -> WeightFile:
        """Return the file of the adapters trained on `source`, kept apart by which adapters they are."""
        if options["official"]:
            return _official("text_adapter", source)
        return cls.own_file(options, source)

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return CLIP's file and the adapters', one or, if the official program made them, two."""
        files = super().files(options, source)
        if source and options["official"]:
            files["learned_image"] = _official("image_adapter", source)
        return files

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read a flat file, or one of the official program's; `ValueError` names one that does not fit."""
        content = states.read(path)
        part = next((each for each in _PARTS if isinstance(content, dict) and each in content), None)
        if part is None:
            return super().read_learned(path, options)
        state = states.unwrap(states.flat({part: content[part]}), "", path)
        shapes = cls.learned_shapes(options, clip.blank(options["backbone"]))
        own = {name: shape for name, shape in shapes.items() if name.startswith(f"{part}.")}
        states.check(state, blank(own), path)
        return state

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled adapters: `.safetensors` as a flat state dict, else the official file of this name."""
        tensors = filled(blank(cls.learned_shapes(options, clip.blank(options["backbone"]))), seed)
        whole, parts = path.suffix == ".safetensors", states.nested(tensors, _PARTS)
        states.write(tensors if whole else {"epoch": 1, path.stem: parts[path.stem]}, path)

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int, **options: Any) -> Self:
        """Build as training begins; raises `ValueError` where the adapters are to be the official ones."""
        if cls.resolve(options)["official"]:
            raise ValueError("official adapters are made by the official program; train without `official`")
        return super().begin(files, seed, **options)

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of all matrices; the last of the texts replaces CLIP's text projection."""
        (wide, joint), narrow = backbone["visual.proj"].shape, backbone["text_projection"].shape[0]
        last, layer = options["text_adapt_until"], "fc.0.weight" if options["relu"] else "fc.weight"
        shapes: Shapes = {f"text_adapter.{block}.fc.0.weight": (narrow, narrow) for block in range(last)}
        shapes[f"text_adapter.{last}.fc.0.weight"] = (joint, narrow)
        for block in range(options["image_adapt_until"]):
            shapes[f"image_adapter.layer_adapters.{block}.fc.0.weight"] = (wide, wide)
        for level in range(len(options["layers"])):
            shapes[f"image_adapter.seg_proj.{level}.{layer}"] = (joint, wide)
        return shapes | {f"image_adapter.det_proj.{layer}": (joint, wide)}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: Xavier's uniform distribution."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: nn.init.xavier_uniform_(torch.empty(shape), generator=generator)
            for name, shape in cls.learned_shapes(options, backbone).items()
        }

    # --- adapters -----------------------------------------------------------------------------------

    def _text_adapters(self) -> list[Tensor]:
        return [tensor for name, tensor in self.learned().items() if name.startswith("text_adapter.")]

    def _linear(self, name: str, values: Tensor) -> Tensor:
        return F.linear(values, self.get_parameter(f"{name}.weight"))

    def adapters(self, tower: str) -> blocks.Hook:
        """Return the hook behind the blocks of tower `text` or `image`: a residual adapter of every token.

        The adapter's answer gets the length of the state that it is mixed with.
        """
        count, share = self.options[f"{tower}_adapt_until"], self.options[f"{tower}_adapt_weight"]
        prefix = {"text": "text_adapter", "image": "image_adapter.layer_adapters"}[tower]

        def after(index: int, hidden: Tensor) -> Tensor:
            if index >= count:
                return hidden
            adapted = F.leaky_relu(self._linear(f"{prefix}.{index}.fc.0", hidden))
            adapted = adapted * (hidden.norm(dim=-1, keepdim=True) / adapted.norm(dim=-1, keepdim=True))
            return share * adapted + (1 - share) * hidden

        return after

    # --- texts --------------------------------------------------------------------------------------

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Return the un-normalised embeddings (n, E) of sentences, float32; the adapters have gradients."""
        ids = clip.trimmed(clip.tokenize(sentences)).to(self.positions.device)
        read = clip.text_pass(self.model, ids, after=self.adapters("text"), projected=False)
        return F.leaky_relu(self._linear(f"text_adapter.{self.options['text_adapt_until']}.fc.0", read))

    def text_features(self, names: Sequence[str]) -> Tensor:
        """Return unit text features (B, 2, E), normal first; kept for every class until adapters change."""
        return self._texts([description(name) for name in names], self.positions)

    # --- images -------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Features:
        """Return the `images`: adapters begin behind the first block, so nothing is worth keeping."""
        return {"images": images}

    def look(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the layers' unit patch features (B, N, E), and image features (B, E): means of unit ones."""
        layers, after = self.options["layers"], self.adapters("image")
        with self.encoding(images):
            hidden = clip.embed_image(self.model, images, self.positions)
            _, taps = blocks.run_blocks(clip.vision_blocks(self.model), hidden, taps=layers, after=after)
        tokens = [self.model.visual.ln_post(tap[:, 1:].float()) for tap in taps]
        patches = [self._project(f"seg_proj.{level}", each) for level, each in enumerate(tokens)]
        return patches, self._project("det_proj", tokens[-1]).mean(dim=1)

    def _project(self, name: str, tokens: Tensor) -> Tensor:
        relu = self.options["relu"]
        projected = self._linear(f"image_adapter.{name}.fc" + ".0" * relu, tokens)
        return F.normalize(F.leaky_relu(projected) if relu else projected, dim=-1)

    @torch.no_grad()
    def look_across(self, images: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Return what texts are aligned with in the first stage: (B, N, E) of each of the layers.

        Unit patch features of a CLIP whose last blocks attend value to value, plus the unit class feature of
        the ordinary CLIP. The code attends across the images of the batch, each position by itself: attention
        over positions was meant, but a transpose is missing. No adapter takes part.
        """
        tower = clip.vision_blocks(self.model)
        first = len(tower) - self.options["surgery_until_layer"] + 1
        plain = beside = clip.embed_image(self.model, images, self.positions)
        kept = {}
        for number, block in enumerate(tower, start=1):
            query, key, value = blocks.heads(block, plain)
            plain = blocks.residual(block, plain, blocks.attend(block, query, key, value))
            if number > first:
                value = blocks.heads(block, beside)[2].permute(2, 1, 0, 3)  # (tokens, heads, B, head width)
                across = blocks.attend(block, value, value, value).transpose(0, 1)
                beside = blocks.residual(block, beside, across)
            else:
                beside = plain
            if number in layers:
                kept[number] = beside
        classes = F.normalize(clip.project(self.model, plain[:, :1]).float(), dim=-1)
        patches = [clip.project(self.model, kept[layer][:, 1:]).float() for layer in layers]
        return [F.normalize(each, dim=-1) + classes for each in patches]

    # --- maps and scores ----------------------------------------------------------------------------

    def maps(self, similarities: Sequence[Tensor]) -> Tensor:
        """Return the anomaly maps (B, S, S): the sum over layers of their differences of (B, N, 2) logits."""
        size, sigma = self.options["blur_size"], self.options["blur_sigma"]
        grids = [to_grid(each[..., 1:] + 1 - each[..., :1], self.grid) / 2 for each in similarities]
        smooth = torch.cat([gaussian_blur(grid, size, sigma) for grid in grids], dim=1)
        return upsample(smooth, self.image_size, align_corners=True).sum(dim=1)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Return maps and what `finish` needs of each image; until then its score is the map's peak."""
        patches, image = self.look(features["images"])
        text = self.text_features(prompts)
        maps = self.maps([similarity_logits(each, text, _TEMPERATURE) for each in patches])
        least, peak = maps.flatten(1).aminmax(dim=1)
        cosine = ((image * text[:, 1]).sum(dim=-1) + 1) / 2
        return Prediction(peak, maps, {"map_peak": peak, "map_min": least, "image_cosine": cosine})

    def finish(self, also: Mapping[str, Tensor]) -> Tensor:
        """Return the final image scores (N,), 0 to 1, of a class: map peaks and cosines over its extremes.

        A part that is one value over the whole class is 0 there, with a warning.
        """
        peak = _scaled(also["map_peak"], also["map_min"].min(), "maps")
        if self.options["fusion"] == "peak":
            return peak
        return (peak + _scaled(also["image_cosine"], also["image_cosine"].min(), "image cosines")) / 2

    # --- training -----------------------------------------------------------------------------------

    def augment(
        self, image: Image.Image, mask: np.ndarray, stage: str, generator: torch.Generator
    ) -> tuple[Image.Image, np.ndarray]:
        """Change the colours in the second stage."""
        return (colours(image, 0.7, 0.5, generator) if stage == "image" else image), mask

    def augment_input(
        self, image: Tensor, mask: np.ndarray, stage: str, generator: torch.Generator
    ) -> tuple[Tensor, np.ndarray]:
        """Turn, shift and flip picture and mask alike; what comes in is the mean colour and normal."""
        both = torch.cat([image, torch.from_numpy(mask)[None].to(image.dtype)])
        if applies(0.5, generator):
            both = rotated(both, 30, generator)
        if applies(0.5, generator):
            both = shifted(both, 0.15, generator)
        both = flipped(both, generator)
        return both[:3], both[3].numpy().astype(np.uint8)

    def probabilities(self, patches: Sequence[Tensor], text: Tensor) -> Iterator[Tensor]:
        """Yield each layer's (normal, abnormal) probabilities (B, 2, S, S): softmax of enlarged logits."""
        for each in patches:
            yield probability_maps(similarity_logits(each, text, _TEMPERATURE), self.grid, self.image_size)

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms of the stage, scalars; the first stage needs the whole batch at once.

        It aligns the texts with the last layer alone: the code's loop over layers overwrites its loss.
        """
        text = self.text_features(batch.prompts)
        if batch.stage == "text":
            patches = self.look_across(features["images"], self.options["layers"][-1:])
            terms = {"orthogonal": (text[:, 0] * text[:, 1]).sum(dim=-1).mean() ** 2}
        else:
            patches, image = self.look(features["images"])
            terms = {"image": F.cross_entropy((image[:, None] * text).sum(dim=-1), batch.labels.long())}
        return terms | focal_and_dice(list(self.probabilities(patches, text)), batch.masks)


def _scaled(values: Tensor, least: Tensor, what: str) -> Tensor:
    span = values.max() - least
    if span > 0:
        return (values - least) / span
    warnings.warn(f"AA-CLIP: all {what} of a class are one value; they count as 0", stacklevel=3)
    return torch.zeros_like(values)
