"""The TIPS variants, their released files, and reading and writing those files."""

import io
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import sentencepiece
import torch
from torch import Tensor, nn

from methods import states
from methods.backbones.tips import TipsText, TipsVision, swiglu_hidden
from methods.files import write_atomically
from methods.fill import fill
from methods.weights import WeightFile

BASE = "https://storage.googleapis.com/tips_data"
LICENCE = "CC-BY-4.0"

Encoder = TypeVar("Encoder", TipsVision, TipsText)


@dataclass(frozen=True)
class Variant:
    """The sizes of one TIPS model, the stem of its released files, and the temperature stored in them."""

    stem: str
    temperature: float
    width: int
    depth: int
    heads: int
    hidden: int
    text_hidden: int
    text_layers: int = 12
    swiglu: bool = False
    grid: int = 32
    release: str | None = "v1_0"
    """Folder of the release; None for a model that nobody published."""
    vocabulary: int = 32000

    def vision(self) -> TipsVision:
        """Build the image encoder, its weights unset."""
        return TipsVision(self.width, self.depth, self.heads, self.hidden, swiglu=self.swiglu, grid=self.grid)

    def text(self) -> TipsText:
        """Build the text encoder, its weights unset."""
        return TipsText(self.width, self.text_layers, self.heads, self.text_hidden, self.vocabulary)


_S = Variant("tips_oss_s14_highres_distilled", 0.005497702397406101, 384, 12, 6, 1536, 1536)
_B = Variant("tips_oss_b14_highres_distilled", 0.00397537462413311, 768, 12, 12, 3072, 3072)
_L = Variant("tips_oss_l14_highres_distilled", 0.004205586854368448, 1024, 24, 16, 4096, 4096)
_SO = Variant(
    "tips_oss_so400m14_highres_largetext_distilled",
    0.002699660835787654,
    1152,
    27,
    16,
    4304,
    4304,
    text_layers=27,
)
_G = Variant(
    "tips_oss_g14_highres", 0.003517505945637822, 1536, 40, 24, swiglu_hidden(1536), 6144, swiglu=True
)
# Small and unpublished, its weights are in `backbones/mini`: lets the whole suite be tried on a laptop.
_MINI = Variant("mini", 0.01, 128, 6, 4, 512, 256, text_layers=3, grid=10, release=None, vocabulary=1024)


def _v2(variant: Variant, stem: str, temperature: float) -> Variant:
    return replace(variant, stem=f"tips_v2_oss_{stem}", temperature=temperature, release="v2_0")


VARIANTS: dict[str, Variant] = {
    "s14": _S,
    "b14": _B,
    "l14": _L,
    "so400m14": _SO,
    "g14": _G,
    "g14_lowres": replace(_G, stem="tips_oss_g14_lowres", temperature=0.003806645981967449, grid=16),
    "v2_b14": _v2(_B, "b14", 0.005065968260169029),
    "v2_l14": _v2(_L, "l14", 0.004785141441971064),
    "v2_so400m14": _v2(_SO, "so14", 0.004638021811842918),
    "v2_g14": _v2(_G, "g14", 0.003622700460255146),
    "mini": _MINI,
}


def weight_files(backbone: str) -> dict[str, WeightFile]:
    """Return the files of a variant: `vision`, `text`, `tokenizer`."""
    variant = VARIANTS[backbone]
    if variant.release is None:
        names = {"vision": "vision.npz", "text": "text.npz", "tokenizer": "tokenizer.model"}
        by_hand = "get it by `run_bench.py weights --fetch`"
        return {
            role: WeightFile(f"tips/{variant.stem}_{end}", by_hand=by_hand) for role, end in names.items()
        }
    base = f"{BASE}/{variant.release}/checkpoints/pytorch/{variant.stem}"
    digest = _THIRD_PARTY_DIGESTS.get(f"{variant.stem}_vision")
    return {
        "vision": WeightFile(
            f"tips/{variant.stem}_vision.npz",
            url=f"{base}_vision.npz",
            rough_size=_bytes(backbone, "vision"),
            sha256=digest,
            digest_by_third_party=digest is not None,
            licence=LICENCE,
        ),
        "text": WeightFile(
            f"tips/{variant.stem}_text.npz",
            url=f"{base}_text.npz",
            rough_size=_bytes(backbone, "text"),
            licence=LICENCE,
        ),
        "tokenizer": WeightFile(
            "tips/tokenizer.model", url=f"{BASE}/v1_0/checkpoints/tokenizer.model", licence=LICENCE
        ),
    }


@cache
def _bytes(backbone: str, role: str) -> int:
    """Return the bytes of an encoder's values, which is the size of its file but for the names."""
    with torch.device("meta"):
        encoder: nn.Module = VARIANTS[backbone].vision() if role == "vision" else VARIANTS[backbone].text()
    return sum(4 * tensor.numel() for tensor in encoder.state_dict().values())


_THIRD_PARTY_DIGESTS = {
    "tips_oss_l14_highres_distilled_vision": (
        "3421b4e0d473cafe5e9cdbd2bf05b5c346270b6be05a27b0af7eca0734639c80"
    )
}


def load_vision(path: Path, variant: Variant) -> TipsVision:
    """Read the image encoder from a released `_vision.npz`; see `load_text` for what is raised."""
    with torch.device("meta"):
        encoder = variant.vision()
    return _load(path, encoder)


def load_text(path: Path, variant: Variant) -> TipsText:
    """Read the text encoder from a released `_text.npz`.

    Raises `FileNotFoundError`, or `ValueError` when the file is torn, when a name is missing or unknown,
    or when a shape is not the variant's.
    """
    with torch.device("meta"):
        encoder = variant.text()
    return _load(path, encoder, ignored=("temperature_contrastive",))


def _load(path: Path, encoder: Encoder, ignored: Sequence[str] = ()) -> Encoder:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights; `run_bench.py weights` fetches them")
    wanted = encoder.state_dict()
    state = read_npz(path, wanted, ignored)
    encoder.load_state_dict(state, strict=True, assign=True)
    return encoder.eval().requires_grad_(False)


def read_npz(
    path: Path, wanted: Mapping[str, Tensor] | None = None, ignored: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Return the arrays of an `.npz` file as float32 tensors, but for the names `ignored`.

    With `wanted`, names and shapes are compared before any values are read; a scalar may be stored as one
    row. Raises `ValueError` naming the file for anything else in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            shapes = {name: _shape(archive, members[name]) for name in members if name not in ignored}
            if wanted is not None:
                for name in shapes.keys() & wanted.keys():
                    if wanted[name].dim() == 0 and shapes[name] == (1,):
                        shapes[name] = ()
                blank = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
                states.check(blank, wanted, path)
            state = {}
            for name, shape in shapes.items():
                with archive.open(members[name]) as stream:
                    values = np.lib.format.read_array(stream, allow_pickle=False)
                state[name] = torch.from_numpy(values.astype(np.float32, copy=False)).reshape(shape)
    except states.OtherModelError:
        raise
    except Exception as error:  # damage reaches numpy and zipfile as errors of a dozen kinds
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a readable .npz of weights ({reason}); fetch it again") from error
    return state


def _shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Return the shape of an array by its header; `ValueError` where its values are not what follows."""
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[version](stream)
        if dtype.kind != "f":
            raise ValueError(f"{member.filename} holds {dtype}, not floating-point numbers")
        if math.prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise ValueError(f"{member.filename} does not hold the values that its header tells")
    return shape


def write_encoder(path: Path, variant: Variant, role: str, seed: int) -> None:
    """Write an untrained `vision` or `text` encoder in the released format, one tensor at a time.

    Values by `methods.fill`, but the released temperature.
    """
    with torch.device("meta"):
        encoder: nn.Module = variant.vision() if role == "vision" else variant.text()

    def arrays() -> Iterator[tuple[str, np.ndarray]]:
        for name, tensor in encoder.state_dict().items():
            if name == "temperature":
                yield name, np.full((), variant.temperature, dtype=np.float32)
            else:
                yield name, fill(name, tuple(tensor.shape), seed)

    write_npz(path, arrays())


def write_npz(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write named arrays, one at a time, to an `.npz` file; the same arrays give the same bytes."""

    def write(place: Path) -> None:
        with zipfile.ZipFile(place, "w") as archive:
            for name, values in arrays:
                member = zipfile.ZipInfo(f"{name}.npy")  # with a fixed date
                with archive.open(member, "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, values, allow_pickle=False)

    write_atomically(path, write)


def write_tokenizer(path: Path, sentences: Sequence[str], size: int = 512) -> None:
    """Train a small tokenizer of at most `size` pieces on the spot, laid out like the released one.

    Byte pair encoding with byte fallback; 0 pads, 2 is unknown, 4 to 259 are the bytes.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentence.lower() for sentence in sentences),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,  # fewer pieces where the sentences give no more
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=3,
        num_threads=1,
        minloglevel=2,
    )
    write_atomically(path, lambda place: place.write_bytes(model.getvalue()))
