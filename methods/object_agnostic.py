"""AnomalyCLIP's frozen network and learned prompts, as later papers took them over."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import learned_prompts as prompts
from methods.backbones import clip
from methods.backbones.blocks import two_paths
from methods.base import Features
from methods.clip_based import ClipBased
from methods.learned_tensors import Shapes, blank, normal
from methods.options import between
from methods.prompts import TextPairs


class ObjectAgnostic(ClipBased):
    """A method with learned prompts for any object and two paths through CLIP's image tower.

    No method by itself. Subclasses have the options `depth` and `t_n_ctx` of the compound prompts and that
    of `dual`, and say what else is learned: `words`, and modules (`learned_modules`).
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
    least: ClassVar[Mapping[str, int]] = {}
    """Smallest values of further options."""
    shallow: ClassVar[int] = 1
    """Value of `depth` where there are no compound prompts."""
    words_take_features: ClassVar[bool] = False
    """Whether features of images enter the prompts' words: then both have to be equally wide."""

    ctx_pos: nn.Parameter
    ctx_neg: nn.Parameter

    def __init__(self, model: open_clip.CLIP, learned: Mapping[str, Tensor], **options: Any) -> None:
        """Take a CLIP built with QuickGELU, and what is learned by its published names.

        Raises `ValueError` where options and CLIP, or the learned names or shapes, do not fit.
        """
        super().__init__(model, learned, **options)
        name, none = self.dual
        between(self.options, **{name: (none, len(clip.vision_blocks(model)) + none)})
        width, joint = model.text_projection.shape
        if self.words_take_features and joint != width:
            raise ValueError(
                f"features of {joint} values cannot enter words of {width}; {self.title} needs a backbone"
                " where both are equally wide"
            )
        self._texts = TextPairs(lambda _: self.encode_prompts(), lambda: self.learned().values())

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
    def sentences(cls, options: Mapping[str, Any]) -> prompts.Sentences:
        """Return the prompts that published files hold copies of."""
        return {}

    @classmethod
    def tensors(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what is learned outside modules: words and compound prompts."""
        width = backbone["token_embedding.weight"].shape[1]
        deep = prompts.deep_shapes(options["depth"] - cls.shallow, options["t_n_ctx"], width)
        return {**cls.words(options, width), **deep}

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of all that is learned."""
        return {**cls.tensors(options, backbone), **super().learned_shapes(options, backbone)}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: N(0, 0.02^2), and modules as `learned_modules` makes them."""
        return normal(cls.tensors(options, backbone), seed) | super().fresh(options, backbone, seed)

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what published files copy from CLIP, and projections that nothing uses."""
        embedding = backbone["token_embedding.weight"]
        count = options["depth"] - cls.shallow if cls.has_projections else 0
        projections = prompts.unused_projections(count, embedding.shape[1])
        return prompts.copies(cls.sentences(options), embedding) | blank(projections)

    # --- texts --------------------------------------------------------------------------------------

    def text_features(self) -> Tensor:
        """Return the text features that no image enters, see `encode_prompts`.

        Computed once, and anew whenever what is learned has changed or gradients are asked for.
        """
        return self._texts(["object"], self.positions)[0]

    def encode_prompts(self) -> Tensor:
        """Compute the text features that no image enters."""
        raise NotImplementedError

    def encode_words(self, ids: Tensor, words: Tensor) -> Tensor:
        """Return raw embeddings (n, D) of prompts with ids (n, T) and learned words (n, k, W)."""
        deep = [tensor for name, tensor in self.learned().items() if name.startswith("compound_prompts")]
        return prompts.encode(self.model, ids, words, deep)

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
