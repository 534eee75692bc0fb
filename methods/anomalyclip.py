"""AnomalyCLIP: two learned prompts that call every product "object", against a frozen CLIP.

Zhou, Pang, Tian, He, Chen, ICLR 2024, arXiv 2310.18961. Only the prompts are learned. Global and local
features come from two paths through the image tower, the local one with value-value attention.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from methods import states
from methods.backbones import clip
from methods.base import Features, Prediction, TrainingBatch, ZeroShotDetector
from methods.fill import filled
from methods.learning import Recipe, Stage, dice, focal, state_of
from methods.maps import gaussian_smooth, similarity_logits, to_grid, upsample
from methods.weights import WeightFile

# --- what is learned, and the published files --------------------------------------------------------

_REPOSITORY = "https://raw.githubusercontent.com/zqhang/AnomalyCLIP"
_CHECKPOINTS = f"{_REPOSITORY}/45ed4dd35c05797d854294b5e8d585c545920089/checkpoints"
# The publisher's folder suffix names the target, not the training data; our names say what was learned from.
_PUBLISHED = {
    "visa": ("9_12_4_multiscale", "c90f1d9d92d158b436a8fc193f984d4cec8b1fc8"),
    "mvtec": ("9_12_4_multiscale_visa", "72adc786e031b49ea288ba5f815f0d38cf158708"),
}


def learned_file(options: Mapping[str, Any], defaults: Mapping[str, Any], source: str | None) -> WeightFile:
    """Return the file of the prompts learned on `source`; the authors published two of the default sizes."""
    backbone = options["backbone"]
    sizes = {name: options[name] for name in ("depth", "n_ctx", "t_n_ctx")}
    usual = sizes.items() <= defaults.items()
    if source in _PUBLISHED and usual and backbone == defaults["backbone"]:
        folder, digest = _PUBLISHED[source]
        return WeightFile(
            name=f"anomalyclip/{backbone}/trained_on_{source}_epoch_15.pth",
            url=f"{_CHECKPOINTS}/{folder}/epoch_15.pth",
            rough_size=22_700_000,
            git_sha1=digest,
            licence="MIT",
        )
    kind = "" if usual else "_".join(map(str, sizes.values())) + "/"
    return WeightFile(
        name=f"anomalyclip/{backbone}/{kind}trained_on_{source}.safetensors",
        trained_here=True,
    )


def prompt_tokens(n_ctx: int) -> Tensor:
    """Return the token ids (2, 77) of the normal and the abnormal prompt, with placeholders."""
    return clip.tokenize([f"{'X ' * n_ctx}object.", f"{'X ' * n_ctx}damaged object."])


def blank(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return names and shapes of what is learned, for CLIP's state dict `backbone`; without storage."""
    width = backbone["token_embedding.weight"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    shapes["ctx_pos"] = shapes["ctx_neg"] = (1, 1, options["n_ctx"], width)
    for index in range(options["depth"] - 1):
        shapes[f"compound_prompts_text.{index}"] = (options["t_n_ctx"], width)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def fresh(options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the prompts that training begins with: N(0, 0.02^2)."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.02 * torch.randn(each.shape, generator=generator)
        for name, each in blank(options, backbone).items()
    }


def read_prompts(path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read learned prompts from the publisher's `.pth` or from a flat state dict of them alone.

    Raises `ValueError` naming the file unless names, shapes and the prompts' token ids are as expected.
    """
    state = states.unwrap(states.read(path), "prompt_learner", path)
    backbone = clip.blank(options["backbone"])
    wanted = blank(options, backbone)
    if any(name.startswith("token") for name in state):
        copies = _copies(options, backbone)
        states.check(state, {**wanted, **_projections(options, backbone), **copies}, path)
        for name in ("tokenized_prompts_pos", "tokenized_prompts_neg"):
            if not torch.equal(state[name].int(), copies[name]):
                raise ValueError(f"{path}: {name} are not the words of this prompt; fetch the file again")
        state = {name: state[name] for name in wanted}
    states.check(state, wanted, path)
    return state


def write_untrained(path: Path, options: Mapping[str, Any], seed: int) -> None:
    """Write filled prompts: `.safetensors` as a flat state dict, else with all that published files hold."""
    backbone = clip.blank(options["backbone"])
    if path.suffix == ".safetensors":
        states.write(filled(blank(options, backbone), seed), path)
        return
    words = filled({"token_embedding.weight": backbone["token_embedding.weight"]}, seed)
    parts = filled({**blank(options, words), **_projections(options, words)}, seed)
    states.write({"prompt_learner": {**parts, **_copies(options, words)}}, path)


def _projections(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return names and shapes of projections that published files hold and nothing ever uses."""
    width = backbone["token_embedding.weight"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {}
    for index in range(options["depth"] - 1):
        shapes[f"compound_prompt_projections.{index}.weight"] = (896, width)
        shapes[f"compound_prompt_projections.{index}.bias"] = (896,)
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def _copies(options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what published files copy from CLIP: token ids, and the embeddings of the fixed tokens."""
    copies = {}
    for state, tokens in zip(("pos", "neg"), prompt_tokens(options["n_ctx"]), strict=True):
        embedded = backbone["token_embedding.weight"][tokens][None, None]
        copies[f"token_prefix_{state}"] = embedded[:, :, :1].clone()
        copies[f"token_suffix_{state}"] = embedded[:, :, 1 + options["n_ctx"] :].clone()
        copies[f"tokenized_prompts_{state}"] = tokens.int()[None, None]
    return copies


# --- the method --------------------------------------------------------------------------------------


_MOST_WORDS = 72  # 77 positions less start, "damaged object." and end


class AnomalyCLIP(ZeroShotDetector):
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

    tokens: Tensor
    positions: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and the prompts by their published names, see `learned`.

        Raises `ValueError` where options and CLIP, or the prompts' names or shapes, do not fit.
        """
        super().__init__(**options)
        self.model = model
        blocks = len(model.visual.transformer.resblocks)
        clip.check_taps(self.options["layers"], blocks)
        if not 1 <= self.options["dpam_layer"] <= blocks + 1:
            raise ValueError(
                f"dpam_layer must lie between 1 and {blocks + 1}, not {self.options['dpam_layer']}"
            )
        states.check(learned, blank(self.options, model.state_dict()), "AnomalyCLIP's learned prompts")
        own = {name: nn.Parameter(tensor.detach().float().clone()) for name, tensor in learned.items()}
        self.ctx_pos, self.ctx_neg = own["ctx_pos"], own["ctx_neg"]
        self.compound_prompts_text = nn.ParameterList(
            own[f"compound_prompts_text.{index}"] for index in range(self.options["depth"] - 1)
        )
        self.grid = clip.grid_of(model, self.image_size)
        where = clip.positions(model, self.image_size, mode="bilinear", antialias=False)
        self.register_buffer("positions", where, persistent=False)
        tokens = clip.trimmed(prompt_tokens(self.options["n_ctx"]), at_least=1 + self.options["t_n_ctx"])
        self.register_buffer("tokens", tokens, persistent=False)
        self._text: tuple[object, Tensor] | None = None

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        clip.file(resolved["backbone"])
        if not 1 <= resolved["n_ctx"] <= _MOST_WORDS:
            raise ValueError(f"n_ctx must lie between 1 and {_MOST_WORDS}, not {resolved['n_ctx']}")
        if not 1 <= resolved["t_n_ctx"] <= _MOST_WORDS or resolved["depth"] < 1:
            raise ValueError(f"t_n_ctx must lie between 1 and {_MOST_WORDS}, and depth be at least 1")
        return resolved

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return CLIP's weights (`vision`: both towers) and the prompts learned on `source` (`learned`)."""
        learned = learned_file(options, cls.defaults, source)
        return {"vision": clip.file(options["backbone"]), "learned": learned}

    @classmethod
    def load(cls, files: Mapping[str, Path], **options: Any) -> Self:
        """Build from local files; raises `ValueError` naming a file that does not fit exactly."""
        resolved = cls.resolve(options)
        learned = read_prompts(files["learned"], resolved)
        return cls(clip.load(resolved["backbone"], files["vision"], quick_gelu=True), learned, **options)

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int = recipe.seed, **options: Any) -> Self:
        """Build from local files (`learned` unused) with the prompts training begins with: N(0, 0.02^2)."""
        resolved = cls.resolve(options)
        model = clip.load(resolved["backbone"], files["vision"], quick_gelu=True)
        return cls(model, fresh(resolved, model.state_dict(), seed), **options)

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights in the published formats; roles not in `paths` are left out."""
        resolved = cls.resolve(options)
        if "vision" in paths:
            clip.write_untrained(resolved["backbone"], paths["vision"], seed)
        if "learned" in paths:
            write_untrained(paths["learned"], resolved, seed)

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, under the published names."""
        return {name: tensor for name, tensor in self.named_parameters() if not name.startswith("model.")}

    # --- text ---------------------------------------------------------------------------------------

    def text_features(self) -> Tensor:
        """Return the unit-length text features (2, D), normal then abnormal; one pair for every object.

        Computed once, and anew whenever the prompts have changed or gradients are asked for.
        """
        prompts = list(self.learned().values())
        if torch.is_grad_enabled() and any(prompt.requires_grad for prompt in prompts):
            return self._encode_text()
        state = state_of(prompts)
        if self._text is None or self._text[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._text = state, self._encode_text()
        return self._text[1]

    def _encode_text(self) -> Tensor:
        n_ctx, deep = self.options["n_ctx"], self.options["t_n_ctx"]

        def overwrite(index: int, hidden: Tensor) -> Tensor:
            if not 1 <= index <= len(self.compound_prompts_text):
                return hidden
            # Through float16 as in the official code, for each prompt apart: so do the gradients.
            prompt = self.compound_prompts_text[index - 1].expand(2, -1, -1).half().to(hidden.dtype)
            return torch.cat([hidden[:, :1], prompt, hidden[:, 1 + deep :]], dim=1)

        with torch.autocast(self.tokens.device.type, enabled=False):
            words = self.model.token_embedding(self.tokens)
            context = torch.cat([self.ctx_pos[0], self.ctx_neg[0]])
            words = torch.cat([words[:, :1], context, words[:, 1 + n_ctx :]], dim=1)
            text = clip.text_pass(self.model, self.tokens, embeddings=words, before=overwrite)
            return F.normalize(text, dim=-1)

    # --- images -------------------------------------------------------------------------------------

    def preprocess(self, image: Image.Image) -> Tensor:
        """Squash to (3, S, S), bicubic, normalised as CLIP's images."""
        return clip.preprocess(image, self.image_size)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Features:
        """Return unit-length features: `image` (B, D), and `patches` (B, layers, N, D) of the local path.

        Section 3.3 of the paper: the local path adds up value-value attention over the ordinary path's
        tokens, without feed-forward. The global feature goes without the last layer norm.
        """
        blocks = self.model.visual.transformer.resblocks
        hidden = local = clip.embed_image(self.model, images, self.positions)
        kept = {}
        for number, block in enumerate(blocks, start=1):
            query, key, value = clip.heads(block, hidden)
            hidden = clip.residual(block, hidden, clip.attend(block, query, key, value))
            if number > len(blocks) - (self.options["dpam_layer"] - 1):
                local = local + clip.attend(block, value, value, value)
            else:
                local = hidden
            if number in self.options["layers"]:
                kept[number] = F.normalize(clip.project(self.model, local[:, 1:]).float(), dim=-1)
        image = clip.project(self.model, hidden[:, 0], norm=False).float()
        patches = torch.stack([kept[layer] for layer in self.options["layers"]], dim=1)
        return {"image": F.normalize(image, dim=-1), "patches": patches}

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
