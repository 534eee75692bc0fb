"""CoPS: two prompts made anew for every image, from prototypes of its patches and a sampled class vector.

Chen, Qu, Luo, Yao, Cao, Jiang, Duan, Luo, Lv, Zhang, CVPR 2026 Findings, arXiv 2508.03447. On AnomalyCLIP's
frozen network.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from methods import learned_prompts as prompts
from methods.backbones import blocks, clip
from methods.base import Features, Prediction, Preset, TrainingBatch
from methods.learned_tensors import Shapes
from methods.learning import Recipe, Stage, focal_and_dice
from methods.maps import enlarge, gaussian_smooth, neighbourhood_mean, similarity_logits
from methods.object_agnostic import ObjectAgnostic
from methods.weights import WeightFile

_REPOSITORY = "https://raw.githubusercontent.com/cqylunlun/CoPS/a3a41fcce10afd0e5c608c878ac8174c0ad426e3"
_SHA256 = {
    ("visa", 10, "9b658b4cf04d05b69af77c151d22b10b24786fc2"): (
        "9fe3682d79f40b0acf8dde8808098e1365c161f8baefc0663e3131905704909c"
    ),
    ("mvtec", 5, "eddc18e60823ac370a0c43526226fe745c1caf07"): (
        "ccb6caf98709e04d3e6faa35031c20114f9937f60d7a1e82834109e2b3bed1bf"
    ),
}
"""Source, epoch, git blob id -> SHA-256 of the same file on another branch of the repository."""
_STATES = 6
"""Words that prototypes are added to; as many prototypes of either kind."""
_CLASSES = 2
"""Words behind them that the class vector is added to."""


class CoPS(ObjectAgnostic):
    """Conditional prompt synthesis: explicit states from prototypes, an implicit class from a decoder."""

    title = "CoPS"
    prompting = "learned words, object-agnostic; prototypes of the image and noise on them"
    paper = "https://arxiv.org/abs/2508.03447"
    code = "https://github.com/cqylunlun/CoPS"
    licence = "MIT"
    notes = (
        "Neighbours, alpha, beta, epochs and losses differ between VisA and the rest; nothing but the test "
        "sets was there to choose them on. Until April 2026 the released code used VisA's alpha and beta for "
        "all but MVTec; which state made the README's numbers is not told. Noise is drawn once for all "
        "images, officially for each by its place in the list."
    )

    defaults = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        "layers": (24,),  # the block, from 1, whose local features are compared; one only
        "n_ctx": 12,  # learned words: n_ctx - 6 are fixed, 6 are states; two for the class come on top
        "depth": 8,  # text blocks 1 .. depth (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "dpam": 24,  # blocks at the end that have two paths
        "heads": 12,  # of the attention that extracts the prototypes
        "neighbours": 5,  # side of the square of patches that are averaged before all else; odd
        "alpha": 0.26,  # share of the distance to normal prototypes in the map's weight
        "beta": 0.9,  # share of the global feature in the image score; the rest is the map's maximum
        "weighted": True,  # whether distances to the prototypes weigh the map
        "recon": 1.0,  # weight of the reconstruction of image features in training
        "samples": 10,  # class vectors drawn, whose texts are averaged
        "noise_seed": 0,  # of these draws
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides the similarities before the softmax
    }
    source_options = {
        "mvtec": {"neighbours": 3},
        "visa": {"recon": 0.0},
    }
    target_options = {"visa": {"neighbours": 3, "alpha": 0.35, "beta": 1.0}}
    presets = {
        "global-only": {"beta": 1.0},
        "no-distance": {"weighted": False},
        "april-12": Preset(  # the rule of the first release
            {"alpha": 0.35, "beta": 1.0}, target_options={"mvtec": {"alpha": 0.26, "beta": 0.9}}
        ),
        "mini": {"backbone": "mini", "image_size": 140, "layers": (6,), "dpam": 6, "depth": 5, "heads": 4},
    }
    sources = {"*": "visa", "visa": "mvtec"}

    encoder_options = ("backbone", "image_size", "layers", "dpam")
    shaping = ("depth", "n_ctx", "t_n_ctx", "heads")
    dual = ("dpam", 0)
    shallow = 0
    words_take_features = True
    least = {"n_ctx": _STATES, "samples": 1, "heads": 1, "neighbours": 1}
    unpublished = ("vae_encoder",)
    published = {
        source: WeightFile(
            name=f"cops/ViT-L-14-336/trained_on_{source}_epoch_{epoch}.pth",
            url=f"{_REPOSITORY}/results/models/{source}/epoch_{epoch}.pth",
            size=19_141_911,
            git_sha1=blob,
            sha256=sha256,
            digest_by_third_party=True,
            licence="MIT",
        )
        for (source, epoch, blob), sha256 in _SHA256.items()
    }
    recipe = Recipe(
        stages=(
            Stage(
                epochs=10,
                epochs_on={"mvtec": 5},
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={
                    "image": 1.0,
                    "focal": 4.0,
                    "dice_abnormal": 4.0,
                    "dice_normal": 4.0,
                    "gather": 1.0,
                    "scatter": 1.0,
                    "kl": 1.0,
                    "recon": 1.0,
                },
            ),
        ),
        seed=0,
    )

    t_n: nn.Parameter
    t_a: nn.Parameter
    extractor: ResidualAttentionBlock
    vae_encoder: nn.ModuleDict
    vae_decoder: nn.ModuleDict
    tokens: Tensor
    noise: Tensor
    """What the decoder makes class vectors of: (samples, D) for all images, or (B, samples, D) for each."""

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and what is learned by its published names, see `learned`.

        `vae_encoder.*` may be missing: only training needs it. Raises `ValueError` where options and CLIP,
        or the learned names or shapes, do not fit.
        """
        super().__init__(model, learned, **options)
        words = prompts.tokens(self.options["n_ctx"] + _CLASSES, (".",))
        self.register_buffer("tokens", clip.trimmed(words, 1 + self.options["t_n_ctx"]), persistent=False)
        generator = torch.Generator().manual_seed(self.options["noise_seed"])
        drawn = torch.randn(self.options["samples"], model.text_projection.shape[1], generator=generator)
        self.register_buffer("noise", drawn, persistent=False)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        if len(resolved["layers"]) != 1:
            raise ValueError(f"layers must name one block, not {resolved['layers']}")
        if resolved["neighbours"] % 2 == 0:
            raise ValueError(f"neighbours must be odd, not {resolved['neighbours']}")
        return resolved

    @classmethod
    def words(cls, options: Mapping[str, Any], width: int) -> Shapes:
        """Return names and shapes of both prompts' words and of what asks for the prototypes."""
        words, queries = (1, 1, options["n_ctx"] + _CLASSES, width), (_STATES, width)
        return {"ctx_pos": words, "ctx_neg": words, "t_n": queries, "t_a": queries}

    @classmethod
    def learned_modules(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]
    ) -> dict[str, nn.Module]:
        """Return the extractor of prototypes and the two halves of the autoencoder, as training begins."""
        width = backbone["token_embedding.weight"].shape[1]
        if width % options["heads"]:
            raise ValueError(f"heads must divide the width {width}, which {options['heads']} does not")

        def linear() -> nn.Linear:
            return nn.Linear(width, width)

        parts = {
            "extractor": ResidualAttentionBlock(width, options["heads"], 1.0, act_layer=QuickGELU),
            "vae_encoder": nn.ModuleDict(
                {"net": nn.Sequential(linear(), nn.ReLU()), "mean": linear(), "log_var": linear()}
            ),
            "vae_decoder": nn.ModuleDict({"net": nn.Sequential(linear(), nn.ReLU(), linear())}),
        }
        for module in (each for part in parts.values() for each in part.modules()):
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        return parts

    # --- images -------------------------------------------------------------------------------------

    def encode(self, images: Tensor) -> Features:
        """Return raw features: `image` (B, D), and `patches` (B, N, D) of the local path."""
        image, patches = self.two_paths(images, self.options["layers"])
        return {"image": image, "patches": patches[:, 0]}

    def pooled(self, features: Features) -> Tensor:
        """Return patches (B, N, D) averaged over their neighbourhood; beyond the border are zeros."""
        return neighbourhood_mean(features["patches"], self.grid, self.options["neighbours"])

    # --- explicit states: prototypes ----------------------------------------------------------------

    def prototypes(self, patches: Tensor) -> Tensor:
        """Return raw prototypes (B, 2, 6, D) of pooled patches (B, N, D): normal, then abnormal ones."""
        queries = torch.cat([self.t_n, self.t_a]).expand(len(patches), -1, -1)
        query, _, _ = blocks.heads(self.extractor, queries)
        _, key, value = blocks.heads(self.extractor, patches)
        attended = blocks.attend(self.extractor, query, key, value)
        return blocks.residual(self.extractor, queries, attended).unflatten(1, (2, _STATES))

    @staticmethod
    def distances(patches: Tensor, prototypes: Tensor) -> Tensor:
        """Return each patch's cosine distance (B, 2, N) from the nearest normal and abnormal prototype."""
        unit = F.normalize(prototypes, dim=-1)
        return 1 - (unit @ F.normalize(patches, dim=-1)[:, None].mT).amax(dim=2)

    # --- texts --------------------------------------------------------------------------------------

    def texts(self, prototypes: Tensor, classes: Tensor) -> Tensor:
        """Return unit texts (B, 2, samples, D), normal then abnormal, from class vectors (B, samples, D).

        The prototypes are crossed, as in the official code: the normal text gets the abnormal ones.
        """
        count, samples = classes.shape[:2]
        fixed, states, named = (
            torch.cat([self.ctx_pos, self.ctx_neg])  # (2, 1, words, W)
            .expand(count, -1, samples, -1, -1)
            .split([self.options["n_ctx"] - _STATES, _STATES, _CLASSES], dim=3)
        )
        states = states + prototypes.flip(1)[:, :, None]
        named = named + classes[:, None, :, None]
        words = torch.cat([fixed, states, named], dim=3).flatten(0, 2)
        encoded = self.encode_words(self.tokens.expand(len(words), -1), words)
        return F.normalize(encoded, dim=-1).unflatten(0, (count, 2, samples))

    # --- scores -------------------------------------------------------------------------------------

    def logits(self, features: Tensor, texts: Tensor) -> Tensor:
        """Return (normal, abnormal) logits (B, ..., 2) of raw features (B, ..., D)."""
        return similarity_logits(F.normalize(features, dim=-1), texts, self.options["temperature"])

    def weights(self, distances: Tensor) -> Tensor:
        """Return the weight (B, N), 0 to 1, that an image's distances (B, 2, N) give its patches."""
        if not self.options["weighted"]:
            return torch.ones_like(distances[:, 0])
        low, high = distances.aminmax(dim=2, keepdim=True)
        # Equal distances become 0, not NaN.
        scaled = (distances - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        alpha = self.options["alpha"]
        return alpha * scaled[:, 0] + (1 - alpha) * (1 - scaled[:, 1])

    def enlarged(self, patches: Tensor) -> Tensor:
        """Return patch values (B, N, C) as maps (B, C, S, S), each patch a square."""
        return enlarge(patches[:, None], self.grid, self.image_size, mode="nearest")[:, 0]

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare with the image's own texts; object names play no part."""
        image, patches = features["image"], self.pooled(features)
        prototypes = self.prototypes(patches)
        classes = self.vae_decoder["net"](self.noise).expand(len(image), -1, -1)
        texts = F.normalize(self.texts(prototypes, classes).mean(dim=2), dim=-1)
        weights = self.weights(self.distances(patches, prototypes))
        abnormal = self.logits(patches, texts).softmax(dim=-1)[..., 1] * weights
        beta, of_image = self.options["beta"], self.logits(image, texts).softmax(dim=-1)[:, 1]
        scores = beta * of_image + (1 - beta) * abnormal.amax(dim=1)
        maps = self.enlarged(abnormal[..., None])[:, 0]
        return Prediction(scores, gaussian_smooth(maps, self.options["sigma"]))

    # --- training -----------------------------------------------------------------------------------

    def training_noise(self, count: int) -> Tensor:
        """Draw standard normal noise (count, D) for a training step; on the CPU, for all devices alike."""
        return torch.randn(count, self.noise.shape[-1])

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars. Prototypes learn from the distances only, not from the texts.

        Raises `ValueError` where what is learned came without the encoder.
        """
        if not hasattr(self, "vae_encoder"):
            raise ValueError("published files lack CoPS's encoder; training starts by `begin`")
        image, patches = features["image"], self.pooled(features)
        prototypes = self.prototypes(patches)
        normal, abnormal = self.distances(patches, prototypes).unbind(1)
        anomalous = self._anomalous(batch.masks)

        hidden = self.vae_encoder["net"](image)
        mean, log_var = self.vae_encoder["mean"](hidden), self.vae_encoder["log_var"](hidden)
        noise = self.training_noise(len(image)).to(image.device)
        decoded = self.vae_decoder["net"](mean + (log_var / 2).exp() * noise)
        divergence = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum(dim=1)

        texts = F.normalize(self.texts(prototypes.detach(), decoded[:, None])[:, :, 0], dim=-1)
        maps = self.enlarged(self.logits(patches, texts).softmax(dim=-1))
        return {
            "image": F.cross_entropy(self.logits(image, texts), batch.labels.long()),
            **focal_and_dice([maps], batch.masks),
            "gather": _mean_where(normal, ~anomalous),
            "scatter": _mean_where(abnormal, anomalous),
            "kl": divergence.mean(),
            # Every decoded vector against every image's feature: so the official code has it.
            "recon": self.options["recon"] * (image - decoded[:, None]).square().mean(),
        }

    def _anomalous(self, masks: Tensor) -> Tensor:
        """Return which patches (B, N) touch the masks (B, S, S)."""
        patch = self.model.visual.patch_size
        return F.max_pool2d(masks[:, None].float(), patch, stride=patch).flatten(1) > 0


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of the chosen values; 0 if there are none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
