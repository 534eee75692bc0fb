"""AnomalyCLIP's frozen network and learned prompts, as later papers took them over."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
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
from methods.base import Features
from methods.clip_based import ClipBased, Shapes, normal
from methods.learning import state_of


class ObjectAgnostic(ClipBased):
    """A method with learned prompts for any object and two paths through CLIP's image tower.

    No method by itself. Subclasses have the options `depth` and `t_n_ctx` of the compound prompts and that
    of `dual`, and say what else is learned: `words`, and modules (`parts`). All of it is held under its
    published names.
    """

    quick_gelu = True
    position_resize = ("bilinear", False)
    learned_key = "prompt_learner"
    dual: ClassVar[tuple[str, int]] = ("dpam_layer", 1)
    """The option that counts the blocks with two paths, and its value where there is none."""
    shaping: ClassVar[Sequence[str]] = ("depth", "n_ctx", "t_n_ctx")
    most_words: ClassVar[int] = prompts.MOST_WORDS
    """Positions that a prompt has for learned words."""
    has_projections: ClassVar[bool] = False
    """Whether published files hold projections that nothing uses."""
    frozen: ClassVar[tuple[str, ...]] = ("model.",)
    """How the names of parameters begin that are not learned."""
    least: ClassVar[Mapping[str, int]] = {}
    """Smallest values of further options."""
    shallow: ClassVar[int] = 1
    """Value of `depth` where there are no compound prompts."""
    words_take_features: ClassVar[bool] = False
    """Whether features of images enter the prompts' words: then both have to be equally wide."""
    unpublished: ClassVar[Sequence[str]] = ()
    """Modules that only training needs: a file may be without them."""

    ctx_pos: nn.Parameter
    ctx_neg: nn.Parameter
    compound_prompts_text: nn.ParameterList

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and what is learned by its published names.

        Raises `ValueError` where options and CLIP, or the learned names or shapes, do not fit.
        """
        super().__init__(model, **options)
        name, none = self.dual
        most = len(clip.vision_blocks(model)) + none
        if not none <= self.options[name] <= most:
            raise ValueError(f"{name} must lie between {none} and {most}, not {self.options[name]}")
        width, joint = model.text_projection.shape
        if self.words_take_features and joint != width:
            raise ValueError(
                f"features of {joint} values cannot enter words of {width}; {self.title} needs a backbone"
                " where both are equally wide"
            )
        for part, shape in self.words(self.options, width).items():
            self.register_parameter(part, nn.Parameter(torch.empty(shape)))
        deep = prompts.deep_shapes(self.options["depth"] - self.shallow, self.options["t_n_ctx"], width)
        self.compound_prompts_text = nn.ParameterList(torch.empty(shape) for shape in deep.values())
        for part, module in self.parts(self.options, width).items():
            if part not in self._left_out(learned):
                self.add_module(part, module)
        states.check(learned, self.learned(), f"what {self.title} learned")
        with torch.no_grad():
            for part, parameter in self.learned().items():
                parameter.copy_(learned[part])
        self._text: tuple[object, Tensor] | None = None

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a value that cannot be."""
        resolved = super().resolve(options)
        prompts.check_sizes(resolved, {"depth": cls.shallow, **cls.least}, cls.most_words)
        return resolved

    @classmethod
    @abstractmethod
    def words(cls, options: Mapping[str, Any], width: int) -> Shapes:
        """Return names and shapes of the learned words, and of other tensors outside modules."""

    @classmethod
    def parts(cls, options: Mapping[str, Any], width: int) -> dict[str, nn.Module]:
        """Return the modules that learn besides, by name; `width` is the text tower's."""
        return {}

    @classmethod
    def sentences(cls, options: Mapping[str, Any]) -> prompts.Sentences:
        """Return the prompts that published files hold copies of."""
        return {}

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of all that is learned."""
        width = backbone["token_embedding.weight"].shape[1]
        deep = prompts.deep_shapes(options["depth"] - cls.shallow, options["t_n_ctx"], width)
        with torch.device("meta"):
            parts = _named(cls.parts(options, width))
        return {**cls.words(options, width), **deep, **{name: tuple(each.shape) for name, each in parts}}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: N(0, 0.02^2), and modules as `parts` makes them."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            parts = dict(_named(cls.parts(options, backbone["token_embedding.weight"].shape[1])))
        shapes = cls.learned_shapes(options, backbone)
        return {**normal({name: shapes[name] for name in shapes if name not in parts}, seed), **parts}

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read the publisher's `.pth` or a flat state dict of what is learned alone.

        Raises `ValueError` naming the file unless names, shapes and the prompts' token ids are as expected.
        """
        state = states.unwrap(states.read(path), cls.learned_key, path)
        backbone = clip.blank(options["backbone"])
        copied = prompts.copies(cls.sentences(options), backbone["token_embedding.weight"])
        left_out, unused = cls._left_out(state), cls._unused(options, backbone)
        shapes = _without(cls.learned_shapes(options, backbone), left_out)
        return prompts.without_copies(state, shapes, copied, unused, path)

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled tensors: `.safetensors` as a flat state dict, else all that published files hold."""
        if path.suffix == ".safetensors":
            super().write_learned(path, options, seed)
            return
        backbone = clip.blank(options["backbone"])
        shapes = _without(cls.learned_shapes(options, backbone), cls.unpublished)
        shapes |= cls._unused(options, backbone)
        content = prompts.as_published(
            shapes, cls.sentences(options), backbone["token_embedding.weight"].shape, seed
        )
        states.write({cls.learned_key: content}, path)

    @classmethod
    def _unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        width = backbone["token_embedding.weight"].shape[1]
        if not cls.has_projections:
            return {}
        return prompts.unused_projections(options["depth"] - cls.shallow, width)

    @classmethod
    def _left_out(cls, names: Iterable[str]) -> list[str]:
        there = {name.partition(".")[0] for name in names}
        return [part for part in cls.unpublished if part not in there]

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, under the published names."""
        return {name: tensor for name, tensor in self.named_parameters() if not name.startswith(self.frozen)}

    # --- texts --------------------------------------------------------------------------------------

    def text_features(self) -> Tensor:
        """Return the text features that no image enters, see `encode_prompts`.

        Computed once, and anew whenever what is learned has changed or gradients are asked for.
        """
        learned = list(self.learned().values())
        if torch.is_grad_enabled() and any(each.requires_grad for each in learned):
            return self.encode_prompts()
        state = state_of(learned)
        if self._text is None or self._text[0] != state:
            with torch.inference_mode(False), torch.no_grad():
                self._text = state, self.encode_prompts()
        return self._text[1]

    def encode_prompts(self) -> Tensor:
        """Compute the text features that no image enters."""
        raise NotImplementedError

    def encode_words(self, ids: Tensor, words: Tensor) -> Tensor:
        """Return raw embeddings (n, D) of prompts with ids (n, T) and learned words (n, k, W)."""
        return prompts.encode(self.model, ids, words, list(self.compound_prompts_text))

    # --- images -------------------------------------------------------------------------------------

    def unit_paths(self, images: Tensor, layers: Sequence[int]) -> Features:
        """Return `two_paths` at unit length: `image` (B, D), and `patches` (B, layers, N, D)."""
        image, patches = self.two_paths(images, layers)
        return {"image": F.normalize(image, dim=-1), "patches": F.normalize(patches, dim=-1)}

    def unit_paths_encoder(self, layers: Sequence[int]) -> dict[str, Any]:
        """Return what `unit_paths` depends on, for `encoder`."""
        name, none = self.dual
        return self.clip_encoder("unit_paths", layers=list(layers), last=self.options[name] - none)

    @torch.no_grad()
    def two_paths(self, images: Tensor, layers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return raw features: global ones (B, D), local ones (B, layers, N, D) after blocks `layers`.

        AnomalyCLIP's section 3.3: the local path adds up value-value attention over the ordinary path's
        tokens, without feed-forward. The global feature goes without the last layer norm.
        """
        name, none = self.dual
        last, local = two_paths(
            clip.vision_blocks(self.model),
            clip.embed_image(self.model, images, self.positions),
            last=self.options[name] - none,
            taps=layers,
            first=1,
        )
        patches = [clip.project(self.model, each[:, 1:]).float() for each in local]
        return clip.project(self.model, last[:, 0], norm=False).float(), torch.stack(patches, dim=1)


def _named(parts: Mapping[str, nn.Module]) -> list[tuple[str, Tensor]]:
    return [
        (f"{part}.{name}", tensor.detach())
        for part, module in parts.items()
        for name, tensor in module.named_parameters()
    ]


def _without(shapes: Shapes, parts: Sequence[str]) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name.partition(".")[0] not in parts}


class PromptPair(ObjectAgnostic):
    """A method with AnomalyCLIP's two prompts, `n_ctx` learned words and an ending each; none by itself."""

    tokens: Tensor

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and the prompts by their published names, see `learned`."""
        super().__init__(model, learned, **options)
        ids = clip.trimmed(prompts.tokens(self.options["n_ctx"]), at_least=1 + self.options["t_n_ctx"])
        self.register_buffer("tokens", ids, persistent=False)

    @classmethod
    def words(cls, options: Mapping[str, Any], width: int) -> Shapes:
        """Return names and shapes of the learned words of the normal and the abnormal prompt."""
        shape = (1, 1, options["n_ctx"], width)
        return {"ctx_pos": shape, "ctx_neg": shape}

    @classmethod
    def sentences(cls, options: Mapping[str, Any]) -> prompts.Sentences:
        """Return the two prompts."""
        return prompts.two(options["n_ctx"])

    def pair(self) -> Tensor:
        """Return the learned words (2, `n_ctx`, W) of the normal and the abnormal prompt."""
        return torch.cat([self.ctx_pos[0], self.ctx_neg[0]])

    def encode_prompts(self) -> Tensor:
        """Return the unit-length text features (2, D), normal then abnormal; one pair for every object."""
        return F.normalize(self.encode_words(self.tokens, self.pair()), dim=-1)
