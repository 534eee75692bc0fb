"""Tipsomaly: fixed prompts judge the image, learned prompts its patches, on frozen TIPS encoders.

Salehi et al., TIPS Over Tricks, ICASSP 2026, arXiv 2602.03594.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import states
from methods.backbones import tips_weights
from methods.backbones.tips import MAX_TOKENS, PATCH, TipsText, TipsTokenizer, TipsVision
from methods.base import Features, Prediction, TrainingBatch, ZeroShotDetector
from methods.fill import fill
from methods.learning import Recipe, Stage, focal_and_dice
from methods.maps import gaussian_smooth, similarity_logits, to_grid, upsample
from methods.prompts import (
    ABNORMAL_STATES,
    NORMAL_STATES,
    SHORT_TEMPLATES,
    PromptEnsemble,
    TextPairs,
    mean_feature,
)
from methods.weights import WeightFile

# --- sentences, learned rows, and their files --------------------------------------------------------

MEDICAL_NORMAL = (
    "normal {}",
    "intact {}",
    "{} with uniform structure",
    "{} showing clear tissue",
    "{} with normal anatomy",
    "{} showing no distortion",
    "{} with symmetric appearance",
    "{} looking normal",
    "{} with even texture",
    "{} with regular shape",
)
MEDICAL_ABNORMAL = (
    "abnormal {}",
    "{} with spot",
    "{} with abnormality",
    "diseased {}",
    "{} showing distortion",
    "{} with irregular area",
    "{} with irregular shape",
    "{} with uneven texture",
)
MEDICAL_TEMPLATES = (
    "a medical image of a {}.",
    "a medical image of the {}.",
    "a diagnostic scan of a {}.",
    "a diagnostic scan of the {}.",
    "a slice showing a {}.",
    "a slice showing the {}.",
    "a scan of the {}.",
    "a clinical brain scan of a {}.",
)
# The templates of the authors' snapshots from September 2025 to January 2026.
PHOTO_TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "a cropped photo of a {}.",
    "a cropped photo of the {}.",
    "a close-up photo of a {}",
    "a close-up photo of the {}",
    "a photo of the {} for visual inspection",
    "a photo of a {} for visual inspection",
)
ENSEMBLES = {
    "industrial": PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, SHORT_TEMPLATES),
    "medical": PromptEnsemble(MEDICAL_NORMAL, MEDICAL_ABNORMAL, MEDICAL_TEMPLATES),
    "object_agnostic": PromptEnsemble(("{}",), ("damaged {}",), ("{}",)),
    "industrial_photo": PromptEnsemble(NORMAL_STATES, ABNORMAL_STATES, PHOTO_TEMPLATES),
}
LEARNING = ("concat", "sumate", "entire_learnable", "none")

_REPOSITORY = "AlirezaSalehy/Tipsomaly/7eb43a7a5c1863166ea65efa7749e8c3b8d21ed6"
_OFFICIAL = {  # epoch 2, the paper's: sha256 and git blob id
    "mvtec": (
        "15546df6300fe8d9e272ee6cba5844f78bf2e1579d69eaf3fdf4f4c81b7a5fbb",
        "54dd256efc3eb8eb3e86ac7b22a8a310bf464ee7",
    ),
    "visa": (
        "9758adc7e1303ffe991c0ab0052e26067d120b8036a864c9fd9aabc8212ac055",
        "4435db85fe559321317bb63c332994f04764ad45",
    ),
}


def join(method: str, rows: Tensor, tokens: Tensor, paddings: Tensor) -> tuple[Tensor, Tensor]:
    """Join learned rows (n, D) with embedded sentences (B, T, D), as the paper's options have it."""
    if method == "sumate":
        count = min(len(rows), tokens.shape[1])
        return torch.cat([tokens[:, :count] + rows[:count], tokens[:, count:]], dim=1), paddings
    learned = rows.expand(len(tokens), -1, -1)
    present = paddings.new_zeros(learned.shape[:2])
    if method == "entire_learnable":
        return learned, present
    joined = torch.cat([learned, tokens], dim=1), torch.cat([present, paddings], dim=1)
    return joined[0][:, :MAX_TOKENS], joined[1][:, :MAX_TOKENS]


def fresh_prompts(count: int, width: int, seed: int) -> list[Tensor]:
    """Return the (normal, abnormal) rows (count, width) that training begins with: N(0, 0.02^2)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, width, generator=generator) * 0.02 for _ in range(2)]


def learned_file(source: str, backbone: str, method: str, count: int) -> WeightFile:
    """Return the file of `count` rows learned on `source`; the authors published those of the default."""
    kind = "" if (method, count) == ("concat", 8) else f"{method}{count}/"
    if source in _OFFICIAL and backbone == "l14" and not kind:
        sha256, git_sha1 = _OFFICIAL[source]
        folder = f"workspaces/trained_on_{source}_default/vegan-arkansas/checkpoints"
        return WeightFile(
            f"tipsomaly/trained_on_{source}/learnable_params_2.pth",
            url=f"https://raw.githubusercontent.com/{_REPOSITORY}/{folder}/learnable_params_2.pth",
            size=67738,
            sha256=sha256,
            git_sha1=git_sha1,
            licence="MIT",
        )
    return WeightFile(f"tipsomaly/{backbone}/{kind}trained_on_{source}.safetensors", trained_here=True)


def read_prompts(path: Path, count: int, width: int) -> list[Tensor]:
    """Return the (normal, abnormal) prompts, float32 (count, width), of an official `.pth` or our own file.

    Official files hold a `ParameterList`, bare or under "learnable_prompts". Nothing else is unpickled:
    `ValueError` for any other content, and for another shape.
    """
    with torch.serialization.safe_globals([nn.ParameterList]):
        content = states.read(path)
    if isinstance(content, dict) and "learnable_prompts" in content:
        content = content["learnable_prompts"]
    if isinstance(content, dict):
        content = [content.get("learnable_prompts.0"), content.get("learnable_prompts.1")]
    found = list(content) if isinstance(content, list | nn.ParameterList) else []
    if [tuple(getattr(rows, "shape", ())) for rows in found] != [(count, width)] * 2:
        raise ValueError(
            f"{path} does not hold two prompts of shape {(count, width)}; they belong to another model,"
            f" or to another n_prompt"
        )
    return [rows.detach().float() for rows in found]


def write_prompts(path: Path, prompts: Sequence[Tensor]) -> None:
    """Write (normal, abnormal) prompts: `.safetensors` as a flat state dict, `.pth` as the official code."""
    if path.suffix == ".safetensors":
        states.write({f"learnable_prompts.{state}": rows for state, rows in enumerate(prompts)}, path)
    else:
        states.write({"learnable_prompts": nn.ParameterList(prompts)}, path)


# --- the method --------------------------------------------------------------------------------------


_MEDICAL = {"prompt_type": "medical"}


class Tipsomaly(ZeroShotDetector):
    """Decoupled prompts with local evidence.

    Built from a TIPS image encoder, text encoder and tokenizer; `learned` are the (normal, abnormal)
    prompts (n_prompt, D), unused with `prompt_learning` "none". Raises `ValueError` for an option's
    value or a shape that does not fit.
    """

    title = "Tipsomaly"
    prompting = "prompt ensemble with the name (image), learned words (pixels)"
    paper = "TIPS Over Tricks, ICASSP 2026, arXiv 2602.03594"
    code = "https://github.com/AlirezaSalehy/Tipsomaly"
    licence = "MIT (code and prompts); TIPS: Apache-2.0 (code), CC-BY-4.0 (weights)"
    notes = "the paper does not say which class token its table shows; both scores are kept"

    defaults = {
        "backbone": "l14",  # of TIPS
        "image_size": 518,
        "sigma": 4.0,  # of the Gaussian that smooths the final map, in pixels
        "n_prompt": 8,  # learned prompt tokens
        "prompt_type": "industrial",  # the ensemble of sentences
        "prompt_learning": "concat",  # concat, sumate, entire_learnable or none (fixed prompts alone)
        "decoupled": True,  # the image is judged by fixed prompts, its patches by learned ones
        "local_evidence": True,  # the largest value of the map is part of the image score
        "cls_token": 2,  # TIPS trains the second one on captions that say where things are
    }
    presets = {
        "fixed-prompts": {"prompt_learning": "none"},
        "coupled": {"decoupled": False},
        "no-local-evidence": {"local_evidence": False},
        "cls1": {"cls_token": 1},
        "object-agnostic": {"prompt_type": "object_agnostic"},
        "photo-templates": {"prompt_type": "industrial_photo"},
        "small": {"backbone": "s14"},
        "base": {"backbone": "b14"},
        "so400m": {"backbone": "so400m14"},
        "giant": {"backbone": "g14"},
        "giant-lowres": {"backbone": "g14_lowres", "image_size": 224},
        "v2": {"backbone": "v2_l14"},
        "mini": {"backbone": "mini", "image_size": 140},
    }
    target_options = {"headct": _MEDICAL, "brainmri": _MEDICAL, "br35h": _MEDICAL}
    sources = {"*": "mvtec", "mvtec": "visa"}
    encoder_options = ("backbone", "image_size")
    recipe = Recipe(
        stages=(
            Stage(
                epochs=2,
                batch_size=8,
                learning_rate=1e-3,
                betas=(0.5, 0.999),
                losses={"focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0},
            ),
        ),
        seed=111,
    )

    def __init__(
        self,
        vision: TipsVision,
        text: TipsText,
        tokenizer: TipsTokenizer,
        learned: Sequence[Tensor] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if tokenizer.size > text.token_embedding.num_embeddings:
            raise ValueError(
                f"the tokenizer has {tokenizer.size} pieces, the text encoder knows only"
                f" {text.token_embedding.num_embeddings}; they are not of the same model"
            )
        self.vision, self.text, self.tokenizer = vision, text, tokenizer
        self.requires_grad_(False)
        learns = self.options["prompt_learning"] != "none"
        wanted = [(self.options["n_prompt"], text.width)] * 2 if learns else []
        found = [tuple(rows.shape) for rows in learned] if learns else []
        if found != wanted:
            raise ValueError(f"the learned prompts must be two of shape {wanted[0]}; these are {found}")
        rows = [each.detach().clone().float() for each in learned] if learns else []
        self.learnable_prompts = nn.ParameterList(rows)
        self._fixed = TextPairs(self._text_pair)
        self._learned = TextPairs(
            lambda name: self._text_pair(name, self.learnable_prompts), lambda: self.learnable_prompts
        )

    # Options and files

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        allowed: dict[str, Sequence[Any]] = {
            "backbone": tuple(tips_weights.VARIANTS),
            "prompt_type": tuple(ENSEMBLES),
            "prompt_learning": LEARNING,
            "cls_token": (1, 2),
            "n_prompt": range(1, MAX_TOKENS + 1),
        }
        for name, values in allowed.items():
            if resolved[name] not in values:
                choices = f"1 to {MAX_TOKENS}" if name == "n_prompt" else ", ".join(map(str, values))
                raise ValueError(f"{name} cannot be {resolved[name]!r}; choose {choices}")
        if resolved["image_size"] <= 0 or resolved["image_size"] % PATCH:
            raise ValueError(f"image_size must be a multiple of {PATCH}, not {resolved['image_size']}")
        return resolved

    @classmethod
    def source_for(cls, target: str, options: Mapping[str, Any]) -> str | None:
        """Return what the prompts for `target` were trained on; None if there are none."""
        if cls.resolve(options)["prompt_learning"] == "none":
            return None
        return super().source_for(target, options)

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return the encoders' files, the tokenizer, and the prompts learned on `source` if there is one."""
        options = cls.resolve(options)
        files = tips_weights.weight_files(options["backbone"])
        learning = options["prompt_learning"]
        if source is not None and learning != "none":
            files["learned"] = learned_file(source, options["backbone"], learning, options["n_prompt"])
        return files

    @classmethod
    def load(cls, files: Mapping[str, Path], **options: Any) -> Self:
        """Build the method from local files; each must hold exactly what belongs there."""
        resolved = cls.resolve(options)
        encoders = cls._encoders(files, resolved["backbone"])
        if resolved["prompt_learning"] == "none":
            return cls(*encoders, **options)
        if "learned" not in files:
            raise ValueError("Tipsomaly needs learned prompts: name their source, or prompt_learning=none")
        prompts = read_prompts(files["learned"], resolved["n_prompt"], encoders[1].width)
        return cls(*encoders, prompts, **options)

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int = recipe.seed, **options: Any) -> Self:
        """Build the method from local files (`learned` unused) with the prompts that training begins with."""
        resolved = cls.resolve(options)
        encoders = cls._encoders(files, resolved["backbone"])
        return cls(*encoders, fresh_prompts(resolved["n_prompt"], encoders[1].width, seed), **options)

    @staticmethod
    def _encoders(files: Mapping[str, Path], backbone: str) -> tuple[TipsVision, TipsText, TipsTokenizer]:
        variant = tips_weights.VARIANTS[backbone]
        tokenizer = TipsTokenizer(files["tokenizer"])  # first: it fails in no time
        text = tips_weights.load_text(files["text"], variant)
        return tips_weights.load_vision(files["vision"], variant), text, tokenizer

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights in the published formats to the paths, by role."""
        options = cls.resolve(options)
        variant = tips_weights.VARIANTS[options["backbone"]]
        for role, path in paths.items():
            if role == "tokenizer":
                spoken = [group for each in ENSEMBLES.values() for group in each.sentences("object")]
                tips_weights.write_tokenizer(path, [sentence for group in spoken for sentence in group])
            elif role == "learned":
                shape = (options["n_prompt"], variant.width)
                names = ("learnable_prompts.0", "learnable_prompts.1")
                write_prompts(path, [torch.from_numpy(fill(name, shape, seed)) for name in names])
            else:
                tips_weights.write_encoder(path, variant, role, seed)

    # Text

    def fixed_features(self, names: Sequence[str]) -> Tensor:
        """Return the (normal, abnormal) features (B, 2, D) of the fixed sentences about each object."""
        return self._fixed(names, self.text.temperature)

    def learned_features(self) -> Tensor:
        """Return the (normal, abnormal) features (2, D) of the learned prompts; the same for every object.

        Computed once, and anew whenever the prompts have changed or gradients are asked for.
        """
        return self._learned(["object"], self.text.temperature)[0]

    def _text_pair(self, name: str, prompts: nn.ParameterList | None = None) -> Tensor:
        spoken = name.replace("_", " ").replace("-", " ")
        if not spoken.strip():
            raise ValueError("an object needs a name to be put into the prompts; this one is empty")
        groups = ENSEMBLES[self.options["prompt_type"]].sentences(spoken)
        features = [
            self._encode_text(group, prompts[state] if prompts else None)
            for state, group in enumerate(groups)
        ]
        return torch.stack([mean_feature(each, normalise_each=True) for each in features])

    def _encode_text(self, sentences: Sequence[str], rows: Tensor | None) -> Tensor:
        ids, paddings = (each.to(self.text.temperature.device) for each in self.tokenizer(sentences))
        longest = int((1 - paddings).sum(dim=1).max())  # columns of padding alone change nothing
        tokens, paddings = self.text.embed(ids[:, :longest]), paddings[:, :longest]
        if rows is not None:
            tokens, paddings = join(self.options["prompt_learning"], rows, tokens, paddings)
        return self.text.encode(tokens, paddings)

    # Images

    def encode(self, images: Tensor) -> Features:
        """Return both class tokens `cls` (B, 2, D) and the patches (B, N, D), float32, of unit length."""
        tokens, patches = self.vision(images)
        return {"cls": F.normalize(tokens.float(), dim=-1), "patches": F.normalize(patches.float(), dim=-1)}

    def score(self, features: Features, prompts: Sequence[str]) -> Prediction:
        """Compare the features with the texts: image scores in 0 to 2, maps in 0 to 1."""
        shared = self.learned_features() if self.learnable_prompts else None
        own = self.fixed_features(prompts) if shared is None or self.options["decoupled"] else shared
        scores = self._probabilities(features["cls"], own)[..., 1]
        of_patches = self._probabilities(features["patches"], own if shared is None else shared)
        if self.options["local_evidence"]:
            scores = scores + of_patches[..., 1].amax(dim=1, keepdim=True)
        normal, abnormal = self._upsampled(of_patches).unbind(dim=1)
        maps = gaussian_smooth(((1 - normal + abnormal) / 2).clamp(0, 1), self.options["sigma"])
        return Prediction(
            scores[:, self.options["cls_token"] - 1], maps, {"cls1": scores[:, 0], "cls2": scores[:, 1]}
        )

    def _probabilities(self, features: Tensor, texts: Tensor) -> Tensor:
        return similarity_logits(features, texts, self.text.temperature).softmax(dim=-1)

    def _upsampled(self, probabilities: Tensor) -> Tensor:
        side = self.image_size // PATCH
        return upsample(to_grid(probabilities, (side, side)), self.image_size, align_corners=False)

    # Training

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, by name."""
        return {f"learnable_prompts.{state}": rows for state, rows in enumerate(self.learnable_prompts)}

    def loss(self, features: Features, batch: TrainingBatch) -> dict[str, Tensor]:
        """Return the loss terms, scalars, of encoded images.

        The recipe says what of them is minimised. The objects' names play no part: all are "object".
        """
        texts = self.learned_features()
        of_tokens = self._probabilities(features["cls"], texts)
        maps = self._upsampled(self._probabilities(features["patches"], texts))
        classes = batch.labels.long()
        return {
            # Probabilities where logits belong: so the official code has it.
            "class_tokens": F.cross_entropy(of_tokens[:, 0], classes)
            + F.cross_entropy(of_tokens[:, 1], classes),
            **focal_and_dice([maps], batch.masks),
            "l1": texts.abs().sum(),
        }
