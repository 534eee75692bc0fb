"""Crane and Crane+: object-agnostic prompts, refined attention, and patches that speak in the image score.

Salehi, Salehi, Hosseini, Snoek, Yamada, Sabokrou, arXiv 2504.11055. Prompts, texts and the two paths are
AnomalyCLIP's; only the prompts are learned. Crane+ (preset `plus`) adds a frozen DINOv2.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn

from methods import learned_prompts as prompts
from methods.backbones import clip, dinov2
from methods.backbones.blocks import attend, heads, join, residual, two_paths
from methods.backbones.vit import VisionTransformer
from methods.base import Features, Prediction, Preset, TrainingBatch
from methods.learning import Recipe, Stage, dice, focal, summed
from methods.maps import enlarge, gaussian_smooth, similarity_logits
from methods.object_agnostic import PromptPair
from methods.weights import WeightFile, WeightsError

IMAGE_TEMPERATURE = 0.01
"""Of the image logits in training; in testing they take the option `temperature`."""
_DINO = "dinov2_vitb14_reg4"
_REPOSITORY = "https://raw.githubusercontent.com/AlirezaSalehy/Crane"
_CHECKPOINTS = f"{_REPOSITORY}/39181f9f718a28c1b06b5aa72bfb81e74b9a2cc3/checkpoints"
# Path -> bytes, git blob id, SHA-256. The folder names the training data, and Crane+ by its p.
_PUBLISHED = {
    "trained_on_mvtec_crane/epoch_5.pth": (
        576_693,
        "078cf30d576f7b1b3652d68c4ddded575397b02f",
        "dc9bf1584c8abd8744f39e9607fdea8a04c8d30aa147de595d22bf444488e4c8",
    ),
    "trained_on_visa_crane/epoch_5.pth": (
        576_693,
        "354e75448658baf28d452b66fdcbc51d49a9dccd",
        "66d070e3b72b61704495bdadd0f8c4979b62a23ca7211cfe08bd08ec7c0ab831",
    ),
    "trained_on_mvtec_cranep/epoch_5.pth": (
        577_159,
        "b8f0df94a926414ce51b06ff26c9d37dfc3c4131",
        "9163f13a9c0a75ac63de16239b850cf70d366b5591b083bea2c0c41e76beed53",
    ),
    "trained_on_visa_cranep/epoch_5.pth": (
        577_159,
        "284c46268433d5152bf8f2f50e86029d8757dc4a",
        "732c7d1b76745950c56b0f9846f46f297619dcbb1db69a61e7b8fa5609ac10ab",
    ),
    "trained_on_mvtec_cranep/epoch_1.pth": (
        576_693,
        "cd9efdc951a7f2b882235840def88ae2345c422b",
        "233cc4e623716f1aa26ebe374dd11aa7d77205266a52902837857c5a0fdc9e21",
    ),
}
# The settings of test.sh for Crane+; on DAGM, and on what it does not name, the method's own.
_INDUSTRIAL = ("mvtec", "visa", "mpdd", "ksdd", "btad", "dtd_synthetic")
_MEDICAL = ("brainmri", "headct", "br35h", "isic", "tn3k", "cvc_colondb", "cvc_clinicdb")


class Crane(PromptPair):
    """Learned prompts for any object against global and local features of a frozen CLIP, which are fused.

    In training the prompts also hold the image's global feature as a word.
    """

    title = "Crane"
    paper = "https://arxiv.org/abs/2504.11055"
    code = "https://github.com/AlirezaSalehy/Crane"
    licence = "MIT"
    prompting = "learned words, object-agnostic; in training with the image's feature"
    notes = (
        "The authors' test runs leave out the image context (preset `conditioned` has it). Crane+ takes"
        " an image's own mean similarity, the authors a batch's: the first decimal may differ. Its files are"
        " epochs 4 (medical) and 12 of a longer training, renamed; no rule for the choice is told."
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "n_ctx": 12,  # learned word vectors in front of "object."
        "depth": 9,  # text blocks 1 .. depth - 1 (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "eattn_layers": 19,  # blocks at the end that have a local path, with self-correlations
        "dattn": False,  # a second map, whose patches are mixed by DINOv2's similarities: Crane+
        "image_context": False,  # the image's feature is a word of the prompts in testing as in training
        "soft_mean": True,  # maps are averaged as probabilities, not as logits ahead of the softmax
        "epoch": 5,  # which of the published files, by the authors' number; own training keeps the last
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides the similarities before the softmax
    }
    presets = {
        "plus": Preset(
            {"dattn": True},
            title="Crane+",
            target_options={
                **{target: {"soft_mean": False} for target in _INDUSTRIAL},
                **{target: {"epoch": 1} for target in _MEDICAL},
            },
            selected_on={"mvtec": _MEDICAL},
        ),
        "conditioned": {"image_context": True},
        "mini": {"backbone": "mini", "image_size": 140, "eattn_layers": 4, "depth": 6},
    }
    sources = {"*": "mvtec", "mvtec": "visa"}

    encoder_options = ("backbone", "image_size", "eattn_layers", "dattn")
    recipe = Recipe(
        stages=(
            Stage(
                epochs=5,
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.6, 0.999),
                losses={"focal": 2.0, "dice": 2.0, "image": 0.2},
            ),
        ),
        seed=111,
    )

    dual = ("eattn_layers", 0)
    words_take_features = True
    most_words = prompts.MOST_WORDS - 1  # the image's stands behind them

    context_tokens: Tensor

    def __init__(
        self,
        model: open_clip.CLIP,
        learned: Mapping[str, Tensor],
        dino: VisionTransformer | None = None,
        **options: Any,
    ) -> None:
        """Take CLIP, prompts and, with option `dattn`, DINOv2; raises `ValueError` if they do not fit."""
        super().__init__(model, learned, **options)
        if (dino is not None) != self.options["dattn"]:
            raise ValueError("a DINOv2 comes with the option dattn and only then")
        if dino is not None:
            dino.grid_of(self.image_size, self.image_size)  # raises where a remainder would be left
        self.dino = dino
        ids = clip.trimmed(prompts.tokens(self.options["n_ctx"] + 1), at_least=1 + self.options["t_n_ctx"])
        self.register_buffer("context_tokens", ids, persistent=False)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def learned_file(cls, options: Mapping[str, Any], source: str) -> WeightFile:
        """Return the file of the prompts learned on `source`; the authors published some of default sizes.

        Raises `WeightsError` for an epoch of theirs that is not pinned.
        """
        plus, epoch = options["dattn"], options["epoch"]
        folder = f"trained_on_{source}_crane{'p' * plus}"
        known = [path for path in _PUBLISHED if path.startswith(f"{folder}/")]
        if not known or not cls.is_usual(options) or options["backbone"] != cls.defaults["backbone"]:
            return cls.own_file(options, source, "_plus" * plus)
        path = f"{folder}/epoch_{epoch}.pth"
        if path not in known:
            raise WeightsError(f"{path} is not pinned, but {' and '.join(known)}; set the option epoch")
        size, blob, sha256 = _PUBLISHED[path]
        name, url = f"crane/{options['backbone']}/{path}", f"{_CHECKPOINTS}/{path}"
        return WeightFile(name, url, size=size, git_sha1=blob, sha256=sha256, licence="MIT")

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return CLIP's weights (`vision`), DINOv2's (`dino`, with `dattn`), and the prompts (`learned`)."""
        files = super().files(options, source)
        return {**files, "dino": dinov2.file(_DINO)} if options["dattn"] else files

    @classmethod
    def beside(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, nn.Module]:
        """Return DINOv2 where the options want it."""
        return {"dino": dinov2.load(_DINO, files["dino"])} if options["dattn"] else {}

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights in the published formats; roles not in `paths` are left out."""
        super().write_untrained(paths, options, seed)
        if "dino" in paths:
            dinov2.write_untrained(_DINO, paths["dino"], seed)

    # --- texts --------------------------------------------------------------------------------------

    def conditioned(self, image: Tensor) -> Tensor:
        """Return unit-length text features (B, 2, D), one pair for each global image feature (B, D).

        The feature is a word behind the learned ones.
        """
        words = self.pair().expand(len(image), -1, -1, -1)
        word = image[:, None, None].expand(-1, 2, -1, -1)
        ids = self.context_tokens.repeat(len(image), 1)
        text = self.encode_words(ids, torch.cat([words, word], dim=2).flatten(0, 1))
        return F.normalize(text, dim=-1).unflatten(0, (-1, 2))

    # --- images -------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Tensor) -> Features:
        """Return unit-length features: `image` (B, D), and `patches` (B, K, N, D) of one map or, Crane+, two.

        The local path adds up self-correlations (E-Attn); the map of D-Attn stands before it.
        """
        *others, last = clip.vision_blocks(self.model)
        hidden = clip.embed_image(self.model, images, self.positions)
        count, before = self.options["eattn_layers"], len(others)
        hidden, (local,) = two_paths(
            others, hidden, last=max(count - 1, 0), taps=(before,), local=self_correlation
        )
        states = heads(last, hidden)
        attended = attend(last, *states)
        read = 1 if count else None  # beside a local path only the class token
        ordinary = residual(last, hidden[:, :read], attended[:, :read])
        local = local + self_correlation(last, *states) if count else ordinary
        maps = [local[:, 1:]]
        if self.dino is not None:
            # The input of D-Attn is not the block's: the authors' code has added the attention to it by then.
            weights = affinities(self.dino_patches(images))
            _, _, value = heads(last, hidden + last.ls_1(attended))
            maps.insert(0, join(last, weights[:, None].to(value.dtype) @ value[:, :, 1:]))
        projected = {"image": ordinary[:, 0], "patches": torch.stack(maps, dim=1)}
        return {
            name: F.normalize(clip.project(self.model, each).float(), dim=-1)
            for name, each in projected.items()
        }

    def dino_patches(self, images: Tensor) -> Tensor:
        """Return DINOv2's patch tokens (B, N, C) for CLIP's network input (B, 3, S, S)."""
        assert self.dino is not None
        return self.dino(dinov2.normalise(clip.pixels(images)))[1]

    # --- scores -------------------------------------------------------------------------------------

    def patch_logits(self, features: Features, text: Tensor) -> Tensor:
        """Return (normal, abnormal) logits (B, K, N, 2) of the patches of each map."""
        return similarity_logits(features["patches"], text, self.options["temperature"])

    def pooled(self, features: Features, text: Tensor) -> Tensor:
        """Return the unit-length mean (B, D) of the patches, weighted by their abnormal probability."""
        weights = self.patch_logits(features, text).mean(dim=1).softmax(dim=-1)[..., 1:]
        return F.normalize((weights * features["patches"].mean(dim=1)).sum(dim=1), dim=-1)

    def fused(self, features: Features, text: Tensor) -> Tensor:
        """Return the unit-length feature (B, D) half of the patches and half of the whole image."""
        return F.normalize(0.5 * self.pooled(features, text) + 0.5 * features["image"], dim=-1)

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare fused features and patches with the two texts; object names play no part."""
        given = self.options["image_context"]
        text = self.conditioned(features["image"]) if given else self.text_features()
        fused = similarity_logits(self.fused(features, text), text, self.options["temperature"])
        logits = self.patch_logits(features, text)
        if self.options["soft_mean"]:
            logits = logits.softmax(dim=-1)
        maps = enlarge(logits, self.grid, self.image_size).mean(dim=1)
        if not self.options["soft_mean"]:
            maps = maps.softmax(dim=1)
        return Prediction(fused.softmax(dim=-1)[:, 1], gaussian_smooth(maps[:, 1], self.options["sigma"]))

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars; every image has texts of its own."""
        text, masks = self.conditioned(features["image"]), batch.masks.float()
        image = similarity_logits(self.fused(features, text), text, IMAGE_TEMPERATURE)
        patches = self.patch_logits(features, text).softmax(dim=-1)
        maps = enlarge(patches, self.grid, self.image_size, mode="nearest").unbind(1)
        # The authors collect "four layers" without copying them, and get the last one four times.
        times = 1 if self.options["dattn"] else 4
        return {
            "focal": times * summed(focal, maps, masks),
            "dice": times * summed(dice, [each[:, 1] for each in maps], masks),
            "image": F.cross_entropy(image, batch.labels.long()),
        }


def self_correlation(block: ResidualAttentionBlock, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Sum of the values mixed by the query, key and value attention with themselves (E-Attn)."""
    mixed = [F.scaled_dot_product_attention(each, each, value) for each in (query, key, value)]
    return join(block, torch.stack(mixed).sum(dim=0))


def affinities(patches: Tensor) -> Tensor:
    """Return how D-Attn mixes patches: weights (B, N, N), float32, of DINOv2's patch tokens (B, N, C).

    The authors take the mean over the batch; here an image's own. A patch always keeps itself: where all
    are nearly alike the authors' softmax is over nothing.
    """
    with torch.autocast(patches.device.type, enabled=False):
        unit = F.normalize(patches.float(), dim=-1)
        similarity = unit @ unit.mT
        above = 3 * (similarity - 1.2 * similarity.mean(dim=(1, 2), keepdim=True))
        itself = torch.eye(above.shape[-1], dtype=torch.bool, device=above.device)
        return above.masked_fill((above < 0) & ~itself, -torch.inf).softmax(dim=-1)
