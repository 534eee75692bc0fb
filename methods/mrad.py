"""MRAD: images and patches are judged by attention over a memory of labelled features.

Xu, Lv, Chen, Zhang, Zhang, ICLR 2026, arXiv 2602.00522. The memory bank holds one feature for every image of
the source, and one for each of its abnormal and normal regions. TF retrieves as it is; FT puts learned maps
before the similarities; CLIP lets what FT finds enter AnomalyCLIP's learned prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from methods import learned_prompts as prompts
from methods import memory_bank
from methods.backbones import clip
from methods.backbones.blocks import two_paths
from methods.base import Features, Prediction, TrainingBatch
from methods.clip_based import ClipBased
from methods.learned_tensors import Shapes, as_torch_draws, blank, layer, normal
from methods.learning import Cosine, Recipe, Stage, focal_and_dice
from methods.maps import gaussian_smooth, similarity_logits, to_grid, upsample
from methods.options import between, one_of
from methods.weights import WeightFile

TOP = 0.01  # share of the map's pixels, the largest ones, that enter the image score
_BANKS = {"image": "cache_model", "patch": "cache_patch_model"}
_DRIVE = "https://drive.google.com/drive/folders"
_BANK_FOLDER, _PROMPT_FOLDER = "1XLl297B_jnu9Qv5KPZEw8MeAY9JJnaZg", "11lugxXdal5_3RUhr9UcC2JItp95C4aIv"
_PUBLISHED = {"visa": "mvtec", "mvtec": "visa"}  # a checkpoint's name tells the target

_MAPS = Stage(
    name="maps",
    when={"variant": ("clip",)},
    epochs=1,
    batch_size=8,
    learning_rate=4e-4,
    betas=(0.5, 0.999),
    losses={"focal": 1.0, "dice_abnormal": 1.0, "image": 1.0},
    learns=("image_proj.*", "patch_proj.*"),
)


class Mrad(ClipBased):
    """MRAD by its variants TF (train-free), FT (tuned maps) and CLIP (with prompts), without class names."""

    title = "MRAD"
    paper = "https://arxiv.org/abs/2602.00522"
    code = "https://github.com/CROVO1026/MRAD"
    licence = "MIT"
    notes = (
        "MRAD-CLIP unless a preset says otherwise. Which similarity dropout and which of six epochs made the "
        "published weights is not told, and a user fell short of the paper with them on MVTec AD."
    )

    prompting = "learned words, object-agnostic, with features of the image's regions"
    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "variant": "clip",  # tf: plain retrieval; ft: with learned maps; clip: ft, and prompts for the map
        "dpam_layer": 24,  # the authors' count: dpam_layer - 1 blocks at the end have two paths
        "n_ctx": 12,  # learned word vectors in front of "object."
        "depth": 9,  # text blocks 1 .. depth - 1 (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "k": 0.7,  # of the retrieved image probability in the image score; the map has the rest
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides cosines with texts, and in training the image probabilities
        "area_threshold": 0.5,  # patches of a higher abnormal probability make the abnormal region
        "image_quantile": 0.95,  # in training, images in the bank more similar than this are left out
        "patch_quantile": 0.8,  # the same for the bank's regions
    }
    presets = {
        "tf": {"variant": "tf"},
        "ft": {"variant": "ft"},
        "mini": {"backbone": "mini", "image_size": 140, "dpam_layer": 6, "depth": 6},
    }
    sources = {"*": "visa", "visa": "mvtec"}
    recipe = Recipe(
        stages=(
            replace(_MAPS, when={"variant": ("ft",)}, schedule=Cosine(floor=1e-6, per="step")),
            _MAPS,
            replace(
                _MAPS,
                name="prompts",
                epochs=5,
                losses={"focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
                learns=("prompt_learner.*", "prompt_proj.*"),
            ),
        ),
        seed=111,
    )

    encoder_options = ("backbone", "image_size", "dpam_layer")
    quick_gelu = True
    position_resize = ("bilinear", False)
    shaping = ("variant", "n_ctx", "depth", "t_n_ctx")
    sections = ("prompt_learner", "prompt_proj", "image_proj", "patch_proj")

    tokens: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and what is learned and a bank (or none) by their names."""
        bank = {name: each for name, each in learned.items() if name.startswith(memory_bank.PREFIX)}
        super().__init__(model, {name: each for name, each in learned.items() if name not in bank}, **options)
        between(self.options, dpam_layer=(1, len(clip.vision_blocks(model)) + 1))
        self.bank = memory_bank.MemoryBank(self.widths(model.state_dict()))
        self.keep(bank)
        ids = clip.trimmed(prompts.tokens(self.options["n_ctx"]), at_least=1 + self.options["t_n_ctx"])
        self.register_buffer("tokens", ids, persistent=False)

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        one_of(resolved, variant=("tf", "ft", "clip"))
        prompts.check_sizes(resolved, {"depth": 1})
        return resolved

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return CLIP's weights and what depends on `source`; published: a checkpoint beside two banks."""
        tuned, names = options["variant"] != "tf", (*cls.encoder_options, *cls.shaping)
        usual = (options[name] == cls.defaults[name] for name in (names if tuned else cls.encoder_options))
        if source not in _PUBLISHED or not all(usual):  # none for the variant ft
            return super().files(options, source)
        folder, target = f"mrad/{options['backbone']}", _PUBLISHED[source]
        by_hand = f"get it from {_DRIVE}/{_BANK_FOLDER}"
        banks = {
            f"learned_{kind}": WeightFile(f"{folder}/{name}_{source}.pt", by_hand=by_hand)
            for kind, name in _BANKS.items()
        }
        by_hand = f"get test_on_{target}.pth, trained on {source}, from {_DRIVE}/{_PROMPT_FOLDER}"
        checkpoint = WeightFile(f"{folder}/trained_on_{source}.pth", by_hand=by_hand, rough_size=57_300_000)
        return super().files(options, None) | ({"learned": checkpoint} if tuned else {}) | banks

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what the variant learns."""
        (wide, joint), (_, text) = backbone["visual.proj"].shape, backbone["token_embedding.weight"].shape
        words = (1, 1, options["n_ctx"], text)
        deep = prompts.deep_shapes(options["depth"] - 1, options["t_n_ctx"], text)
        found = {"ctx_pos": words, "ctx_neg": words, **deep}
        maps = layer("image_proj.mlp1", joint, joint) | layer("image_proj.mlp2", joint, joint)
        maps |= layer("patch_proj.fc.0", joint, wide) | layer("patch_proj.fc.1", joint, wide)
        shapes = {f"prompt_learner.{name}": shape for name, shape in found.items()}
        shapes |= layer("prompt_proj.mlp1", text, joint) | layer("prompt_proj.mlp2", text, joint)
        return {"tf": {}, "ft": maps, "clip": shapes | maps}[options["variant"]]

    @staticmethod
    def widths(backbone: Mapping[str, Tensor]) -> dict[str, int]:
        """Return the widths of the memory bank's keys, by kind."""
        return dict(zip(("patch", "image"), backbone["visual.proj"].shape, strict=True))

    @classmethod
    def without_rows(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the memory bank as it begins."""
        return memory_bank.without_rows(cls.widths(backbone))

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what published checkpoints hold and nothing ever uses."""
        width = backbone["token_embedding.weight"].shape[1]
        found = prompts.copies(prompts.two(options["n_ctx"]), backbone["token_embedding.weight"])
        found |= blank(prompts.unused_projections(options["depth"] - 1, width))
        found |= blank(layer("mlp.c_fc", 4 * width, width) | layer("mlp.c_proj", width, 4 * width))
        return {f"prompt_learner.{name}": each for name, each in found.items()}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: prompts of N(0, 0.02^2), maps as torch draws them."""
        shapes = cls.learned_shapes(options, backbone)
        words = {name: shape for name, shape in shapes.items() if name.startswith("prompt_learner.")}
        return normal(words, seed) | as_torch_draws({n: s for n, s in shapes.items() if n not in words}, seed)

    @classmethod
    def read_state(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read what is learned, and the bank from the same file or from its own."""
        state = cls.read_learned(files["learned"], options) if "learned" in files else {}
        return memory_bank.read(files, state, cls.widths(clip.blank(options["backbone"])))

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights in the published formats; roles not in `paths` are left out."""
        usual = {role: path for role, path in paths.items() if role in ("vision", "learned")}
        super().write_untrained(usual, options, seed)
        memory_bank.write(memory_bank.untrained(cls.widths(clip.blank(options["backbone"])), seed), paths)

    def kept(self) -> dict[str, Tensor]:
        """Return the memory bank."""
        return self.bank.rows()

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Take back a memory bank."""
        self.bank.take(kept)

    def remember(self, features: Features, labels: Tensor, masks: Tensor) -> None:
        """Add the images, and of each its abnormal and its normal region, where a patch is wholly in it."""
        inside = F.interpolate(masks[:, None].float(), size=self.grid, mode="bilinear").flatten(1)
        self.bank.add("image", features["image"], labels)
        for patches, of_image in zip(features["patches"], inside, strict=True):
            for label in (1, 0):
                if (of_image == label).any():
                    key = F.normalize(patches[of_image == label].mean(dim=0, keepdim=True), dim=-1)
                    self.bank.add("patch", key, labels.new_tensor([label]))

    def retrieve(self, kind: str, queries: Tensor, *, dropout: bool = False) -> Tensor:
        """Return (normal, abnormal) probabilities (B, ..., 2) of unit features (B, ..., D), no temperature.

        `dropout` leaves out what is nearest in the bank: an image of the source would find itself.
        """
        limit = self.options[f"{kind}_quantile"] if dropout else 1.0
        if self.options["variant"] == "tf":
            return self.bank.answer(kind, queries, limit=limit)
        names = {"image": ("mlp1", "mlp2"), "patch": ("fc.0", "fc.1")}[kind]
        return self.bank.answer(kind, queries, [self.layer(f"{kind}_proj.{name}") for name in names], limit)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Features:
        """Return `image` (B, E), unit, and `patches` (B, N, W): local features averaged over neighbours."""
        last, (local,) = two_paths(
            clip.vision_blocks(self.model),
            clip.embed_image(self.model, images, self.positions),
            last=self.options["dpam_layer"] - 1,
            taps=(len(clip.vision_blocks(self.model)),),
        )
        image = clip.project(self.model, last[:, 0], norm=False).float()
        grid = to_grid(self.model.visual.ln_post(local[:, 1:]).float(), self.grid)
        # Beyond the border there are zeros, which count.
        near = [F.avg_pool2d(grid, size, stride=1, padding=size // 2) for size in (3, 5)]
        patches = torch.stack([grid, *near]).mean(dim=0).flatten(2).mT
        return {"image": F.normalize(image, dim=-1), "patches": patches}

    def projected(self, features: Features) -> Tensor:
        """Return what is compared with texts: unit patch features (B, N, E)."""
        return F.normalize(features["patches"] @ self.model.visual.proj, dim=-1)

    def patch_probabilities(self, features: Features, *, dropout: bool = False) -> Tensor:
        """Return the (normal, abnormal) probabilities (B, N, 2) that the bank gives patches."""
        return self.retrieve("patch", F.normalize(features["patches"], dim=-1), dropout=dropout)

    def regions(self, features: Features, *, dropout: bool = False) -> Tensor:
        """Return the mean projected features (B, 2, E) of regions, normal first; zeros for empty ones."""
        found = self.patch_probabilities(features, dropout=dropout)[..., 1] > self.options["area_threshold"]
        members = torch.stack([~found, found], dim=1).float()
        return members @ self.projected(features) / members.sum(dim=-1, keepdim=True).clamp(min=1)

    def bias(self, regions: Tensor) -> Tensor:
        """Return what regions (B, 2, E) add to the normal and the abnormal prompt's words, (B, 2, T)."""
        parts = [F.linear(regions[:, row], *self.layer(f"prompt_proj.mlp{row + 1}")) for row in (0, 1)]
        return torch.stack(parts, dim=1)

    def text_features(self, regions: Tensor) -> Tensor:
        """Return the unit text features (B, 2, E) of images with these regions, normal first."""
        own, count = self.learned(), len(regions)
        words = torch.cat([own["prompt_learner.ctx_pos"], own["prompt_learner.ctx_neg"]], dim=1)
        words = (words + self.bias(regions)[:, :, None]).flatten(0, 1)
        deep = [each for name, each in own.items() if "compound" in name]
        text = prompts.encode(self.model, self.tokens.repeat(count, 1), words, deep)
        return F.normalize(text, dim=-1).unflatten(0, (count, 2))

    def text_probabilities(self, features: Features, regions: Tensor) -> Tensor:
        """Return the (normal, abnormal) probabilities (B, N, 2) that the texts give patches."""
        text = self.text_features(regions)
        return similarity_logits(self.projected(features), text, self.options["temperature"]).softmax(dim=-1)

    def enlarged(self, probabilities: Tensor) -> Tensor:
        """Return maps (B, 2, S, S) of patches' probabilities (B, N, 2)."""
        return upsample(to_grid(probabilities, self.grid), self.image_size, align_corners=False)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Judge by bank and texts."""
        if self.options["variant"] == "clip":
            patches = self.text_probabilities(features, self.regions(features))
        else:
            patches = self.patch_probabilities(features)
        maps = gaussian_smooth(self.enlarged(patches)[:, 1], self.options["sigma"])
        largest = maps.flatten(1).topk(int(self.image_size**2 * TOP)).values.mean(dim=1)
        image, share = self.retrieve("image", features["image"])[:, 1], self.options["k"]
        return Prediction(share * image + (1 - share) * largest, maps)

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms of the stage, scalars; in both what is nearest in the bank is left out."""
        if batch.stage == "prompts":
            with torch.no_grad():
                regions = self.regions(features, dropout=True)
            maps = self.enlarged(self.text_probabilities(features, regions))
            return focal_and_dice([maps], batch.masks)
        maps = self.enlarged(self.patch_probabilities(features, dropout=True))
        image = self.retrieve("image", features["image"], dropout=True)
        image = F.cross_entropy(image / self.options["temperature"], batch.labels.long())
        return {"image": image, **focal_and_dice([maps], batch.masks)}
