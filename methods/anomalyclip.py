"""AnomalyCLIP: two learned prompts that call every product "object", against a frozen CLIP.

Zhou, Pang, Tian, He, Chen, ICLR 2024, arXiv 2310.18961. Only the prompts are learned. Global and local
features come from two paths through the image tower, the local one with value-value attention.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import learned_prompts as prompts
from methods import states
from methods.backbones import clip
from methods.backbones.blocks import two_paths
from methods.base import Features, Prediction, TrainingBatch
from methods.clip_based import ClipBased, Shapes, blank, normal
from methods.learning import Recipe, Stage, dice, focal, state_of
from methods.maps import gaussian_smooth, similarity_logits, to_grid, upsample
from methods.weights import WeightFile

_REPOSITORY = "https://raw.githubusercontent.com/zqhang/AnomalyCLIP"
_CHECKPOINTS = f"{_REPOSITORY}/45ed4dd35c05797d854294b5e8d585c545920089/checkpoints"
# The publisher's folder suffix names the target, not the training data; our names say what was learned from.
_PUBLISHED = {
    "visa": ("9_12_4_multiscale", "c90f1d9d92d158b436a8fc193f984d4cec8b1fc8"),
    "mvtec": ("9_12_4_multiscale_visa", "72adc786e031b49ea288ba5f815f0d38cf158708"),
}


def _unused(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
    width = backbone["token_embedding.weight"].shape[1]
    return prompts.unused_projections(options["depth"] - 1, width)


class AnomalyCLIP(ClipBased):
    """CLIP with object-agnostic learned prompts and a value-value path for local features."""

    title = "AnomalyCLIP"
    paper = "https://arxiv.org/abs/2310.18961"
    code = "https://github.com/zqhang/AnomalyCLIP"
    licence = "MIT"
    notes = "the released weights give the authors' logs, not the paper's digits exactly"

    defaults: ClassVar[Mapping[str, Any]] = {
        "backbone": "ViT-L-14-336",  # of OpenAI's CLIP
        "image_size": 518,
        # Blocks whose local features are compared, from 1; their maps are summed. The authors' test
        # programs default to 6, 12, 18, 24, but every published number was made with the last one.
        "layers": (24,),
        "n_ctx": 12,  # learned word vectors in front of "object."
        "depth": 9,  # text blocks 1 .. depth - 1 (from 0) get learned tokens of their own
        "t_n_ctx": 4,  # how many positions these overwrite
        "dpam_layer": 20,  # the authors' count: dpam_layer - 1 blocks at the end have two paths
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "temperature": 0.07,  # divides the similarities before the softmax
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "multilayer": {"layers": (6, 12, 18, 24)},
        "no-dpam": {"dpam_layer": 1},
        "mini": {"backbone": "mini", "image_size": 140, "layers": (6,), "dpam_layer": 5, "depth": 6},
    }
    sources: ClassVar[Mapping[str, str]] = {"*": "mvtec", "mvtec": "visa"}

    encoder_options = ("backbone", "image_size", "layers", "dpam_layer")
    recipe = Recipe(
        stages=(
            Stage(
                epochs=15,
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={"focal": 4.0, "dice_abnormal": 4.0, "dice_normal": 4.0, "image": 1.0},
            ),
        ),
        seed=111,
    )

    quick_gelu = True
    position_resize = ("bilinear", False)
    learned_key = "prompt_learner"

    tokens: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and the prompts by their published names, see `learned`.

        Raises `ValueError` where options and CLIP, or the prompts' names or shapes, do not fit.
        """
        super().__init__(model, **options)
        most = len(clip.vision_blocks(model)) + 1
        if not 1 <= self.options["dpam_layer"] <= most:
            raise ValueError(f"dpam_layer must lie between 1 and {most}, not {self.options['dpam_layer']}")
        shapes = self.learned_shapes(self.options, model.state_dict())
        states.check(learned, blank(shapes), "AnomalyCLIP's learned prompts")
        own = {name: nn.Parameter(learned[name].detach().float().clone()) for name in shapes}
        self.ctx_pos, self.ctx_neg = own.pop("ctx_pos"), own.pop("ctx_neg")
        self.compound_prompts_text = nn.ParameterList(own.values())
        ids = clip.trimmed(prompts.tokens(self.options["n_ctx"]), at_least=1 + self.options["t_n_ctx"])
        self.register_buffer("tokens", ids, persistent=False)
        self._text: tuple[object, Tensor] | None = None

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        for name in ("n_ctx", "t_n_ctx"):
            if not 1 <= resolved[name] <= prompts.MOST_WORDS:
                raise ValueError(f"{name} must lie between 1 and {prompts.MOST_WORDS}, not {resolved[name]}")
        if resolved["depth"] < 1:
            raise ValueError(f"depth must be at least 1, not {resolved['depth']}")
        return resolved

    @classmethod
    def learned_file(cls, options: Mapping[str, Any], source: str) -> WeightFile:
        """Return the file of the prompts learned on `source`; the authors published two of default sizes."""
        backbone = options["backbone"]
        sizes = {name: options[name] for name in ("depth", "n_ctx", "t_n_ctx")}
        usual = sizes.items() <= cls.defaults.items()
        if source in _PUBLISHED and usual and backbone == cls.defaults["backbone"]:
            folder, digest = _PUBLISHED[source]
            return WeightFile(
                name=f"anomalyclip/{backbone}/trained_on_{source}_epoch_15.pth",
                url=f"{_CHECKPOINTS}/{folder}/epoch_15.pth",
                rough_size=22_700_000,
                git_sha1=digest,
                licence="MIT",
            )
        kind = "" if usual else "_".join(map(str, sizes.values())) + "/"
        return WeightFile(f"anomalyclip/{backbone}/{kind}trained_on_{source}.safetensors", trained_here=True)

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of the prompts."""
        width = backbone["token_embedding.weight"].shape[1]
        words = (1, 1, options["n_ctx"], width)
        return {
            "ctx_pos": words,
            "ctx_neg": words,
            **prompts.deep_shapes(options["depth"], options["t_n_ctx"], width),
        }

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return the prompts that training begins with: N(0, 0.02^2)."""
        return normal(cls.learned_shapes(options, backbone), seed)

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read the publisher's `.pth` or a flat state dict of the prompts alone.

        Raises `ValueError` naming the file unless names, shapes and the prompts' token ids are as expected.
        """
        state = states.unwrap(states.read(path), cls.learned_key, path)
        backbone = clip.blank(options["backbone"])
        wanted = cls.learned_shapes(options, backbone)
        ids, count = prompts.tokens(options["n_ctx"]), options["n_ctx"]
        copied = prompts.copies(ids, count, backbone["token_embedding.weight"])
        return prompts.without_copies(state, wanted, copied, _unused(options, backbone), path)

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled prompts: `.safetensors` as a flat state dict, else all that published files hold."""
        if path.suffix == ".safetensors":
            super().write_learned(path, options, seed)
            return
        backbone, count = clip.blank(options["backbone"]), options["n_ctx"]
        wanted, unused = cls.learned_shapes(options, backbone), _unused(options, backbone)
        content = prompts.as_published(wanted, prompts.tokens(count), count, unused, seed)
        states.write({cls.learned_key: content}, path)

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, under the published names."""
        return {name: tensor for name, tensor in self.named_parameters() if not name.startswith("model.")}

    # --- text ---------------------------------------------------------------------------------------

    def text_features(self) -> Tensor:
        """Return the unit-length text features (2, D), normal then abnormal; one pair for every object.

        Computed once, and anew whenever the prompts have changed or gradients are asked for.
        """
        learned = list(self.learned().values())
        if torch.is_grad_enabled() and any(each.requires_grad for each in learned):
            return self._encode_text()
        state = state_of(learned)
        if self._text is None or self._text[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._text = state, self._encode_text()
        return self._text[1]

    def _encode_text(self) -> Tensor:
        with torch.autocast(self.tokens.device.type, enabled=False):
            context = torch.cat([self.ctx_pos[0], self.ctx_neg[0]])
            text = prompts.encode(self.model, self.tokens, context, list(self.compound_prompts_text))
            return F.normalize(text, dim=-1)

    # --- images -------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, images: Tensor) -> Features:
        """Return unit-length features: `image` (B, D), and `patches` (B, layers, N, D) of the local path.

        Section 3.3 of the paper: the local path adds up value-value attention over the ordinary path's
        tokens, without feed-forward. The global feature goes without the last layer norm.
        """
        last, local = two_paths(
            clip.vision_blocks(self.model),
            clip.embed_image(self.model, images, self.positions),
            last=self.options["dpam_layer"] - 1,
            taps=self.options["layers"],
        )
        image = clip.project(self.model, last[:, 0], norm=False).float()
        patches = [clip.project(self.model, each[:, 1:]).float() for each in local]
        return {
            "image": F.normalize(image, dim=-1),
            "patches": F.normalize(torch.stack(patches, dim=1), dim=-1),
        }

    def patch_probabilities(self, features: Features, text: Tensor) -> list[Tensor]:
        """Return each layer's (normal, abnormal) probabilities (B, 2, rows, columns)."""
        logits = similarity_logits(features["patches"].float(), text, self.options["temperature"])
        return [to_grid(layer, self.grid) for layer in logits.softmax(dim=-1).unbind(1)]

    def image_logits(self, features: Features, text: Tensor) -> Tensor:
        """Return (normal, abnormal) logits (B, 2) of the global features."""
        return similarity_logits(features["image"].float(), text, self.options["temperature"])

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare with the two texts; object names play no part, nor does the map in the image score."""
        with torch.autocast(features["image"].device.type, enabled=False):
            text = self.text_features()
            scores = self.image_logits(features, text).softmax(dim=-1)[:, 1]
            abnormal = torch.stack([each[:, 1] for each in self.patch_probabilities(features, text)], dim=1)
            maps = upsample(abnormal, self.image_size, align_corners=False).sum(dim=1)
            return Prediction(scores, gaussian_smooth(maps, self.options["sigma"]))

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars."""
        with torch.autocast(features["image"].device.type, enabled=False):
            text, masks = self.text_features(), batch.masks.float()
            layers = [
                upsample(each, self.image_size, align_corners=False)
                for each in self.patch_probabilities(features, text)
            ]
            return {
                "image": F.cross_entropy(self.image_logits(features, text), batch.labels.long()),
                "focal": torch.stack([focal(each, masks) for each in layers]).sum(),
                "dice_abnormal": torch.stack([dice(each[:, 1], masks) for each in layers]).sum(),
                "dice_normal": torch.stack([dice(each[:, 0], 1 - masks) for each in layers]).sum(),
            }
