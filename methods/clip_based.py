"""What methods on one frozen CLIP, or DINO, share: its file, its input, tensors learned beside it."""

from collections.abc import Iterable, Mapping, Sequence
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
from methods.learned_tensors import Shapes, blank, hold, named
from methods.pictures import NetworkInput
from methods.weights import WeightFile, is_learned


class ClipBased(ZeroShotDetector):
    """A method on open_clip's CLIP, option `backbone`; no method by itself.

    Subclasses that learn something say who published it (`published`), and either its modules
    (`learned_modules`) or its names and shapes (`learned_shapes`) and its start (`fresh`). They take it as
    the constructor's second argument and hand it on; it is held and saved under its published names.
    """

    quick_gelu: ClassVar[bool] = False
    """Activation of both towers; an option of this name overrides it. The papers differ on equal weights."""
    position_resize: ClassVar[tuple[str, bool]] = ("bicubic", True)
    """How the pretrained positions are brought to another grid: interpolation, and whether anti-aliased."""
    shaping: ClassVar[Sequence[str]] = ()
    """Options that decide what is learned: files of other than the usual values lie apart."""
    published: ClassVar[Mapping[str, WeightFile]] = {}
    """Source -> what the authors learned on it, on the usual backbone and of usual form."""
    learned_key: ClassVar[str] = ""
    """Under which the publisher's file holds what is learned; empty: it is the whole file."""
    sections: ClassVar[Sequence[str]] = ()
    """State dicts that the publisher's file holds beside single tensors; our names begin with theirs."""
    unpublished: ClassVar[Sequence[str]] = ()
    """Of `learned_modules`, those that only training needs: a file may be without them."""
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
        if isinstance(model, VisionTransformer):
            depth, self.grid = len(model.blocks), model.grid_of(self.image_size, self.image_size)
            positions = model.position_embedding(self.grid)
        else:
            depth, self.grid = len(clip.vision_blocks(model)), clip.grid_of(model, self.image_size)
            mode, antialias = self.position_resize
            positions = clip.positions(model, self.image_size, mode=mode, antialias=antialias)
        blocks.check_taps(self.options.get("layers", ()), depth)
        self.register_buffer("positions", positions, persistent=False)
        self._names: tuple[str, ...] = ()
        if learned is not None:
            self._take(learned, model.state_dict())

    def _take(self, learned: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> None:
        wanted = self._needed(self.options, backbone, learned)
        states.check(learned, wanted, f"what {self.title} learns")
        with torch.device("meta"):
            for part, module in self.learned_modules(self.options, backbone).items():
                if any(name.startswith(f"{part}.") for name in wanted):
                    self.add_module(part, module)
        hold(self, {name: learned[name] for name in wanted})
        self._names = tuple(wanted)

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
        values = "_".join(as_typed(options[name]) or "none" for name in cls.shaping)
        kind = "" if cls.is_usual(options) else f"{values}/"
        folder = f"{cls.__module__.rpartition('.')[2]}{variant}/{options['backbone']}/{kind}"
        return WeightFile(f"{folder}trained_on_{source}.safetensors", trained_here=True)

    @classmethod
    def is_usual(cls, options: Mapping[str, Any]) -> bool:
        """Return whether what is learned has the usual form, whatever the backbone."""
        return all(as_typed(options[name]) == as_typed(cls.defaults[name]) for name in cls.shaping)

    @classmethod
    def learned_modules(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]
    ) -> dict[str, nn.Module]:
        """Return the modules that learn, as training begins; their tensors' names begin with theirs.

        `backbone` is the frozen network's state dict, of which the shapes count.
        """
        return {}

    @classmethod
    def learned_shapes(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> Shapes:
        """Return names and shapes of what is learned: those of `learned_modules`."""
        with torch.device("meta"):
            parts = named(cls.learned_modules(options, backbone))
        return {name: tuple(tensor.shape) for name, tensor in parts.items()}

    @classmethod
    def fresh(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], seed: int
    ) -> dict[str, Tensor]:
        """Return what training begins with: modules as `learned_modules` makes them."""
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return named(cls.learned_modules(options, backbone))

    @classmethod
    def without_rows(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what is `kept` as training begins."""
        return {}

    @classmethod
    def unused(cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the publisher's files hold besides: all or nothing of it, and dropped.

        Tensors without storage tell a shape; others must be the same.
        """
        return {}

    @classmethod
    def _needed(
        cls, options: Mapping[str, Any], backbone: Mapping[str, Tensor], names: Iterable[str]
    ) -> dict[str, Tensor]:
        absent = set(cls.unpublished) - {name.partition(".")[0] for name in names}
        shapes = cls.learned_shapes(options, backbone)
        return blank({name: shapes[name] for name in shapes if name.partition(".")[0] not in absent})

    @classmethod
    def read_learned(cls, path: Path, options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read the publisher's file or a flat one, with what is kept beside what is learned.

        Raises `ValueError` naming a file that does not fit.
        """
        content = states.read(path)
        unwrapped = states.flat(content) if cls.sections and isinstance(content, dict) else content
        state = states.unwrap(unwrapped, cls.learned_key, path)
        return cls.accept(state, options, path, flat=state.keys() == content.keys())

    @classmethod
    def accept(
        cls, state: Mapping[str, Tensor], options: Mapping[str, Any], origin: Path, *, flat: bool
    ) -> dict[str, Tensor]:
        """Return what is wanted of a file; raises `ValueError` naming `origin` where it does not fit."""
        backbone = cls.network(options).blank(options["backbone"])
        wanted, extra = cls._needed(options, backbone, state), cls.unused(options, backbone)
        kept = cls.without_rows(options, backbone)
        if flat and extra.keys().isdisjoint(state):  # not the publisher's
            wanted, extra = wanted | kept, {}
        states.check(state, wanted | extra, origin, any_rows=kept)
        for name, tensor in extra.items():
            if not tensor.is_meta and not torch.equal(state[name].to(tensor.dtype), tensor):
                raise ValueError(f"{origin}: {name} is not that of this model; fetch the file again")
        return {name: state[name] for name in wanted}

    @classmethod
    def read_state(cls, files: Mapping[str, Path], options: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read what depends on the source from all files of it, see `read_learned`."""
        parts = [cls.read_learned(path, options) for role, path in files.items() if is_learned(role)]
        return {name: tensor for part in parts for name, tensor in part.items()}

    @classmethod
    def write_learned(cls, path: Path, options: Mapping[str, Any], seed: int) -> None:
        """Write filled tensors: `.safetensors` as a flat state dict, any other as published."""
        backbone = cls.network(options).blank(options["backbone"])
        if path.suffix == ".safetensors":
            states.write(filled(blank(cls.learned_shapes(options, backbone)), seed), path)
            return
        tensors = cls._needed(options, backbone, ()) | cls.unused(options, backbone)
        state = tensors | filled({name: each for name, each in tensors.items() if each.is_meta}, seed)
        nested = states.nested(state, cls.sections)
        states.write({cls.learned_key: nested} if cls.learned_key else nested, path)

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
        return {name: self.get_parameter(name) for name in self._names}

    def layer(self, name: str) -> tuple[nn.Parameter, nn.Parameter]:
        """Return the weight and the bias of a learned layer."""
        return self.get_parameter(f"{name}.weight"), self.get_parameter(f"{name}.bias")

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
