"""FAPrompt: one normal and ten abnormal learned prompts, the latter shifted by what an image shows.

Zhu, Ong, Shen, Pang, ICCV 2025, arXiv 2410.10289. On AnomalyCLIP's frozen network.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.backbones import clip
from methods.base import Features, Prediction, TrainingBatch
from methods.learned_prompts import MOST_WORDS, Sentences
from methods.learned_tensors import Shapes
from methods.learning import Recipe, Stage, focal_and_dice
from methods.maps import enlarge, gaussian_smooth, similarity_logits
from methods.object_agnostic import ObjectAgnostic
from methods.options import one_of


class _Passes(NamedTuple):
    """What both passes of texts make of B images."""

    abnormal_texts: Tensor
    """Raw abnormal texts of the first pass (`num_p`, D)."""
    prior: Tensor
    """(B, W)."""
    probabilities: Tensor
    """(normal, abnormal) probabilities of both passes (B, 2, N, 2)."""
    image_logits: Tensor
    """(B, 2), of the second pass."""
    scores: Tensor
    """Image scores (B,), 0 to 1."""


class FAPrompt(ObjectAgnostic):
    """Compound abnormality prompts (CAP) with a prior from the image's own patches (DAP)."""

    title = "FAPrompt"
    prompting = "learned words, object-agnostic; a prior from the image on the abnormal ones"
    paper = "https://arxiv.org/abs/2410.10289"
    code = "https://github.com/mala-lab/FAPrompt"
    licence = "MIT"
    notes = (
        "No published weights could be had: train it. The prior sees the first ten patches of the image, its "
        "top left corner, as in the released code; the preset top-prior takes the most abnormal ones, as "
        "described. The authors use epoch 7; how it was chosen is not told."
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "n_ctx_pos": 5,  # learned words of the normal prompt, shared by the abnormal ones
        "n_ctx_neg": 2,  # further learned words of each abnormal prompt
        "num_p": 10,  # abnormal prompts
        "k": 10,  # patches whose features make the prior
        "prior": "first",  # which patches: `first` in raster order, or `top`, the most abnormal of the image
        "depth": 9,  # text blocks 1 .. depth - 1 (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "dpam_layer": 20,  # the authors' count: dpam_layer - 1 blocks at the end have two paths
        "sigma": 10.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides the similarities before the softmax
    }
    presets = {
        "top-prior": {"prior": "top"},
        "mini": {"backbone": "mini", "image_size": 140, "dpam_layer": 5, "depth": 6},
    }
    sources = {"*": "mvtec", "mvtec": "visa"}

    encoder_options = ("backbone", "image_size", "dpam_layer")
    shaping = ("depth", "t_n_ctx", "n_ctx_pos", "n_ctx_neg", "num_p", "k", "prior")
    words_take_features = True
    least = {"num_p": 1, "k": 1}
    has_projections = True
    recipe = Recipe(
        stages=(
            Stage(
                epochs=7,
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={
                    "focal": 1.0,
                    "dice_abnormal": 1.0,
                    "dice_normal": 1.0,
                    "focal_prior": 0.5,
                    "dice_abnormal_prior": 0.5,
                    "dice_normal_prior": 0.5,
                    "image": 1.0,
                    "image_score": 1.0,
                    "orthogonality": 0.1,
                    "prior": 1.0,
                },
            ),
        ),
        seed=111,
    )

    patch_meta_net: nn.Module
    normal_tokens: Tensor
    abnormal_tokens: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and what is learned by its published names, see `learned`.

        Raises `ValueError` where options and CLIP, or the learned names or shapes, do not fit.
        """
        super().__init__(model, learned, **options)
        patches = self.grid[0] * self.grid[1]
        if self.options["k"] > patches:
            raise ValueError(f"k is {self.options['k']}, but an image has {patches} patches")
        for name, (ids, _) in zip(("normal", "abnormal"), self.sentences(self.options).values(), strict=True):
            short = clip.trimmed(ids, at_least=1 + self.options["t_n_ctx"])
            self.register_buffer(f"{name}_tokens", short, persistent=False)

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        if resolved["n_ctx_pos"] + resolved["n_ctx_neg"] > MOST_WORDS:
            raise ValueError(f"n_ctx_pos and n_ctx_neg together must be at most {MOST_WORDS}")
        one_of(resolved, prior=("first", "top"))
        return resolved

    # --- compound abnormality prompts ---------------------------------------------------------------

    @classmethod
    def words(cls, options: Mapping[str, Any], width: int) -> Shapes:
        """Return names and shapes of the words that all prompts share and of each abnormal prompt's own."""
        return {
            "ctx_pos": (1, 1, options["n_ctx_pos"], width),
            "ctx_neg": (1, options["num_p"], options["n_ctx_neg"], width),
        }

    @classmethod
    def sentences(cls, options: Mapping[str, Any]) -> Sentences:
        """Return the normal prompt and the abnormal ones, which differ in their learned words only."""
        shared, own = options["n_ctx_pos"], options["n_ctx_neg"]
        ids = clip.tokenize([f"{'N ' * shared}object.", f"{'N ' * shared}{'A ' * own}damaged object."])
        return {"pos": (ids[:1], shared), "neg": (ids[1:].expand(options["num_p"], -1), shared + own)}

    def encode_prompts(self) -> Tensor:
        """Return the raw texts of the first pass (1 + `num_p`, D), the normal one first."""
        normal = self.encode_words(self.normal_tokens, self.ctx_pos[0])
        return torch.cat([normal, self.abnormal_texts(torch.zeros_like(self.ctx_pos[0, :, 0]))[0]])

    def abnormal_texts(self, prior: Tensor) -> Tensor:
        """Return raw abnormal texts (B, `num_p`, D): the prior (B, W) is added to each prompt's own words."""
        own = self.ctx_neg + prior[:, None, None]
        count, each = own.shape[:2]
        words = torch.cat([self.ctx_pos.expand(count, each, -1, -1), own], dim=2)
        return self.encode_words(self.abnormal_tokens.repeat(count, 1), words.flatten(0, 1)).unflatten(
            0, (count, each)
        )

    # --- prior from the image -----------------------------------------------------------------------

    @classmethod
    def learned_modules(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]
    ) -> dict[str, nn.Module]:
        """Return the network that makes the prior."""
        width = backbone["token_embedding.weight"].shape[1]
        wide = options["k"] * width
        layers = {
            "linear1": nn.Linear(wide, wide // 16),
            "relu": nn.ReLU(),
            "linear2": nn.Linear(wide // 16, width),
        }
        return {"patch_meta_net": nn.Sequential(OrderedDict(layers))}

    def prior_of(self, patches: Tensor, probabilities: Tensor) -> Tensor:
        """Return the prior (B, W) from patches (B, N, D) and their abnormal probabilities (B, N).

        The official code looks for the most abnormal patches, and then takes as many from the start.
        """
        count = self.options["k"]
        if self.options["prior"] == "first":
            return self.patch_meta_net(patches[:, :count].flatten(1))
        highest = probabilities.topk(count, dim=1).indices
        return self.patch_meta_net(patches.take_along_dim(highest[..., None], dim=1).flatten(1))

    # --- images -------------------------------------------------------------------------------------

    @property
    def layers(self) -> tuple[int]:
        """The last block, from 1."""
        return (len(clip.vision_blocks(self.model)),)

    @property
    def encoder(self) -> Mapping[str, Any]:
        """AnomalyCLIP's as well, if layers and paths are the same."""
        return self.unit_paths_encoder(self.layers)

    def encode(self, images: Tensor) -> Features:
        """Return unit-length features: `image` (B, D), and `patches` (B, 1, N, D) of the last block."""
        return self.unit_paths(images, self.layers)

    def passes(self, features: Features) -> _Passes:
        """Compare the image with texts twice: without the prior, and with the one that it gave."""
        image, patches = features["image"], features["patches"][:, 0]
        temperature = self.options["temperature"]
        texts = self.text_features()
        first = similarity_logits(patches, _pair(texts[:1], texts[1:]), temperature).softmax(dim=-1)
        prior = self.prior_of(patches, first[..., 1])
        shifted = _pair(texts[:1], self.abnormal_texts(prior))
        second = similarity_logits(patches, shifted, temperature).softmax(dim=-1)
        logits = similarity_logits(image, shifted, temperature)
        highest = (2 * first[..., 1].amax(dim=1) + second[..., 1].amax(dim=1)) / 3
        return _Passes(
            texts[1:],
            prior,
            torch.stack([first, second], dim=1),
            logits,
            0.5 * (logits.softmax(dim=-1)[:, 1] + highest),
        )

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Average both passes; object names play no part."""
        passes = self.passes(features)
        maps = enlarge(passes.probabilities[..., 1:], self.grid, self.image_size).mean(dim=(1, 2))
        return Prediction(passes.scores, gaussian_smooth(maps, self.options["sigma"]))

    # --- training -----------------------------------------------------------------------------------

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars."""
        passes, labels = self.passes(features), batch.labels
        maps = enlarge(passes.probabilities, self.grid, self.image_size).unbind(1)
        first, second = (focal_and_dice([each], batch.masks) for each in maps)
        # A probability where a logit belongs: so the official code has it.
        of_image = F.binary_cross_entropy_with_logits(passes.scores, labels.float(), reduction="none")
        texts = F.normalize(passes.abnormal_texts, dim=-1)
        return {
            **first,
            **{f"{name}_prior": term for name, term in second.items()},
            "image": F.cross_entropy(passes.image_logits, labels.long()),
            "image_score": ((1 - torch.exp(-of_image)) ** 2 * of_image).mean(),
            "orthogonality": (texts @ texts.mT).triu(diagonal=1).abs().sum(),
            "prior": (passes.prior.square().mean(dim=1) * (labels == 0)).sum(),
        }


def _pair(normal: Tensor, abnormal: Tensor) -> Tensor:
    """Return unit (normal, abnormal) texts (..., 2, D) from raw ones: (1, D), and (..., n, D), averaged."""
    mean = abnormal.mean(dim=-2)
    return F.normalize(torch.stack([normal[0].expand_as(mean), mean], dim=-2), dim=-1)
