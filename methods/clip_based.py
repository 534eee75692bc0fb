"""What methods on one frozen CLIP, or DINO, share: its file, its input, tensors learned beside it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

import open_clip
import torch
from torch import Tensor, nn

from methods import states
from methods.backbones import blocks, clip, dinov2
from methods.backbones.vit import VisionTransformer
from methods.base import Features, ZeroShotDetector
from methods.card import as_typed
from methods.fill import filled
from methods.pictures import NetworkInput
from methods.weights import WeightFile, is_learned

Shapes = dict[str, tuple[int, ...]]


class ClipBased(ZeroShotDetector):
    """A method on open_clip's CLIP, option `backbone`; no method by itself.

    Subclasses that learn something say who published it (`published`), its names and shapes
    (`learned_shapes`) and its start (`fresh`), take it as the constructor's second argument, and hand it on
    to be kept as it is or return it from a `learned` of their own.
    """

    quick_gelu: ClassVar[bool] = False
    """Activation of both towers; an option of this name overrides it. The papers differ on equal weights."""
    position_resize: ClassVar[tuple[str, bool]] = ("bicubic", True)
    """How the pretrained positions are brought to another grid: interpolation, and whether anti-aliased."""
    shaping: ClassVar[Sequence[str]] = ()
    """Options that decide what is learned: files of other than the usual values lie apart."""
    published: ClassVar[Mapping[str, WeightFile]] = {}
    """Source -> what the authors learned on it, on the usual backbone and of usual form."""
    learned_key: ClassVar[str] = "state_dict"
    """Under which the publisher's file holds what is learned, where it is not the whole file."""
    sections: ClassVar[Sequence[str]] = ()
    """State dicts that the publisher's file holds beside single tensors; our names begin with theirs."""
    dinos: ClassVar[Sequence[str]] = ()
    """Of `methods.backbones.dinov2`, the networks that `backbone` may name in CLIP's place."""

    model: Any
    positions: Tensor

    def __init__(
        self,
        model: open_clip.CLIP | VisionTransformer,
        learned: Mapping[str, Tensor] | None = None,
        **options: Any,
    ) -> None:
        """Take a built CLIP, or one of `dinos`, and what is learned by its published names.

        Raises `ValueError` where the options, or names and shapes of what is learned, do not fit it.
        """
        super().__init__(**options)
        self.model = model
        self._names: tuple[str, ...] = ()
        self._own = nn.ParameterList()
        if learned is not None:
            shapes = self.learned_shapes(self.options, model.state_dict())
            states.check(learned, blank(shapes), f"what {self.title} learns")
            self._names = tuple(shapes)
            self._own.extend(nn.Parameter(learned[name].detach().float().clone()) for name in shapes)
        if isinstance(model, VisionTransformer):
            depth, self.grid = len(model.blocks), model.grid_of(self.image_size, self.image_size)
            positions = model.position_embedding(self.grid)
        else:
            depth, self.grid = len(clip.vision_blocks(model)), clip.grid_of(model, self.image_size)
            mode, antialias = self.position_resize
            positions = clip.positions(model, self.image_size, mode=mode, antialias=antialias)
        blocks.check_taps(self.options.get("layers", ()), depth)
        self.register_buffer("positions", positions, persistent=False)

    # --- options and files --------------------------------------------------------------------------

    @classmethod
    def resolve(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options with their values; raises `ValueError` for a backbone that there is not."""
        resolved = super().resolve(options)
        if cls.network(resolved) is clip:
            clip.file(resolved["backbone"], cls.dinos)
        return resolved

    @classmethod
    def network(cls, options: Mapping[str, Any]) -> ModuleType:
        """Return the room that knows the option `backbone`: its file, how it is read, its input."""
        return dinov2 if options["backbone"] in cls.dinos else clip

    @classmethod
    def learned_file(cls, options: Mapping[str, Any], source: str) -> WeightFile | None:
        """Return the file of what is learned on `source` with these options; None if nothing is.

        Where it is several, `files` has the others under roles that begin with `learned`.
        """
        if cls.recipe is None:
            return None
        usual = cls.is_usual(options) and options["backbone"] == cls.defaults["backbone"]
        own = cls.own_file(options, source)
        return cls.published.get(source, own) if usual else own

    @classmethod
    def own_file(cls, options: Mapping[str, Any], source: str, variant: str = "") -> WeightFile:
        """Return the file of what this suite trained on `source`, a `variant` in a folder of its own."""
        kind = (
            "" if cls.is_usual(options) else "_".join(as_typed(options[name]) for name in cls.shaping) + "/"
        )
        folder = f"{cls.__module__.rpartition('.')[2]}{variant}/{options['backbone']}/{kind}"
        return WeightFile(f"{folder}trained_on_{source}.safetensors", trained_here=True)

    @classmethod
    def is_usual(cls, options: Mapping[str, Any]) -> bool:
        """Return whether what is learned has the usual form, whatever the backbone."""
        return all(as_typed(options[name]) == as_typed(cls.defaults[name]) for name in cls.shaping)

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what is learned, for CLIP's state dict `backbone`."""
        return {}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with."""
        raise NotImplementedError(f"{cls.__name__} learns nothing")

    @classmethod
    def without_rows(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is `kept` as training begins."""
        return {}

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the publisher's files hold besides: required there, and dropped.

        Tensors without storage tell a shape; others must be the same.
        """
        return {}

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read the publisher's file or a flat one, with what is kept beside what is learned.

        Raises `ValueError` naming a file that does not fit.
        """
        content, backbone = states.read(path), clip.blank(options["backbone"])
        unwrapped = states.flat(content) if cls.sections and isinstance(content, dict) else content
        state = states.unwrap(unwrapped, cls.learned_key, path)
        wanted, extra = blank(cls.learned_shapes(options, backbone)), {}
        kept = cls.without_rows(options, backbone)
        if state.keys() == content.keys():
            wanted |= kept
        else:
            extra = cls.unused(options, backbone)
        states.check(state, wanted | extra, path, any_rows=kept)
        for name, tensor in extra.items():
            if not tensor.is_meta and not torch.equal(state[name].to(tensor.dtype), tensor):
                raise ValueError(f"{path}: {name} is not that of this model; fetch the file again")
        return {name: state[name] for name in wanted}

    @classmethod
    def read_state(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read what depends on the source from all files of it, see `read_learned`."""
        parts = [cls.read_learned(path, options) for role, path in files.items() if is_learned(role)]
        return {name: tensor for part in parts for name, tensor in part.items()}

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled tensors: `.safetensors` as a flat state dict, any other as published."""
        backbone = clip.blank(options["backbone"])
        tensors = blank(cls.learned_shapes(options, backbone))
        if path.suffix == ".safetensors":
            states.write(filled(tensors, seed), path)
            return
        tensors |= cls.unused(options, backbone)
        made = filled({name: each for name, each in tensors.items() if each.is_meta}, seed)
        state = {**tensors, **made}
        states.write(states.nested(state, cls.sections) if cls.sections else {cls.learned_key: state}, path)

    @classmethod
    def files(cls, options: Mapping[str, Any], source: str | None) -> dict[str, WeightFile]:
        """Return CLIP's weights (`vision`: both towers) and, if any, what was learned on `source`."""
        files = {"vision": cls.network(options).file(options["backbone"])}
        learned = cls.learned_file(options, source) if source else None
        return files if learned is None else {**files, "learned": learned}

    @classmethod
    def _network(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> Any:
        if cls.network(options) is dinov2:
            return dinov2.load(options["backbone"], files["vision"])
        quick_gelu = options.get("quick_gelu", cls.quick_gelu)
        return clip.load(options["backbone"], files["vision"], quick_gelu=quick_gelu)

    @classmethod
    def beside(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, nn.Module]:
        """Return the frozen networks that the constructor takes beside CLIP, by its argument."""
        return {}

    @classmethod
    def load(cls, files: Mapping[str, Path], **options: Any) -> Self:
        """Build from local files; raises `ValueError` naming a file that does not fit exactly."""
        resolved = cls.resolve(options)
        learned = cls.read_state(files, resolved) if cls.recipe else None
        return cls(cls._network(files, resolved), learned, **cls.beside(files, resolved), **options)

    @classmethod
    def begin(cls, files: Mapping[str, Path], seed: int, **options: Any) -> Self:
        """Build from CLIP's file with what training begins with."""
        resolved = cls.resolve(options)
        model = cls._network(files, resolved)
        learned = cls.fresh(resolved, model.state_dict(), seed)
        return cls(model, learned, **cls.beside(files, resolved), **options)

    @classmethod
    def write_untrained(cls, paths: Mapping[str, Path], options: Mapping[str, Any], seed: int) -> None:
        """Write untrained weights in the published formats; roles not in `paths` are left out."""
        resolved = cls.resolve(options)
        if "vision" in paths:
            cls.network(resolved).write_untrained(resolved["backbone"], paths["vision"], seed)
        for role, path in paths.items():
            if is_learned(role):
                cls.write_learned(path, resolved, seed)

    def learned(self) -> dict[str, nn.Parameter]:
        """Return what is trained and saved, under the published names."""
        return dict(zip(self._names, self._own, strict=True))

    def layer(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        """Return the weight and the bias of a learned layer."""
        own = self.learned()
        return own[f"{name}.weight"], own[f"{name}.bias"]

    # --- images -------------------------------------------------------------------------------------

    @property
    def input(self) -> NetworkInput:
        """CLIP's."""
        return clip.network_input(self.image_size)

    def plain_levels(self, images: Tensor, layers: Sequence[int]) -> Features:
        """Return `image` (B, E), the raw class embedding, and `levels` (B, L, 1 + N, W), block outputs."""
        hidden = clip.embed_image(self.model, images, self.positions)
        last, levels = blocks.run_blocks(clip.vision_blocks(self.model), hidden, taps=layers)
        image = clip.project(self.model, last[:, 0]).float()
        return {"image": image, "levels": torch.stack(levels, dim=1).float()}

    def clip_encoder(self, name: str, **options: Any) -> dict[str, Any]:
        """Return what `encoder` says of a computation called `name`, with all that it depends on."""
        own, cls = self.options, type(self)
        shared = {
            "backbone": own["backbone"],
            "image_size": self.image_size,
            "quick_gelu": own.get("quick_gelu", cls.quick_gelu),
            "positions": list(cls.position_resize),
        }
        return {"name": name, "options": {**shared, **options}}

    # --- texts --------------------------------------------------------------------------------------

    def encode_text(self, sentences: Sequence[str]) -> Tensor:
        """Return the un-normalised embeddings (n, E) of sentences, float32."""
        return clip.encode_text(self.model, sentences)


def blank(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return tensors without storage of these names and shapes."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def layer(name: str, *shape: int) -> Shapes:
    """Return names and shapes of a layer's weight and bias."""
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def normal(shapes: Mapping[str, tuple[int, ...]], seed: int, deviation: float = 0.02) -> dict[str, Tensor]:
    """Return tensors of these names and shapes, drawn from N(0, deviation^2) in their order."""
    generator = torch.Generator().manual_seed(seed)
    return {name: deviation * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def as_torch_draws(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Return the weights and biases of layers, in their order, as nn.Linear and nn.Conv1d begin.

    Uniform up to the inverse root of the weight's inputs; a bias needs its weight among the shapes.
    """
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        of_weight = shapes[f"{name.removesuffix('bias')}weight"] if name.endswith("bias") else shape
        bound = math.prod(of_weight[1:]) ** -0.5
        found[name] = bound * (2 * torch.rand(shape, generator=generator) - 1)
    return found
