"""Only image encoders run in lower precision: where the boundary lies, and that every method keeps it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.base import Features, ImageSet, Prediction, ZeroShotDetector
from methods.precision import PRECISIONS, lowered
from methods.registry import card, keys
from tests.methods.conftest import Mini

CPU = torch.device("cpu")
IMAGES = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def state() -> tuple[Any, ...]:
    """Return what decides the precision of a product of matrices here."""
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
    return dtype, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


class Witness(ZeroShotDetector):
    """Notes in which precision each of its parts ran."""

    title = "Witness"
    defaults = {"image_size": 28}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.layer = nn.Linear(28, 28).requires_grad_(False)
        self.seen: dict[str, tuple[Any, ...]] = {}

    def encode(self, images: Tensor) -> Features:
        self.seen["encode"] = state()
        rows = self.layer(images.mean(dim=1))
        return {"rows": rows, "count": torch.arange(len(images)), "exact": images.double()}

    def _answer(self, features: Features, part: str) -> Prediction:
        self.seen[part] = state()
        self.dtypes = {name: each.dtype for name, each in features.items()}
        return Prediction(features["rows"].amax(dim=(1, 2)), features["rows"])

    def score(self, features: Features, prompts: Any) -> Prediction:
        return self._answer(features, "score")

    def judge(self, images: ImageSet, prompt: str) -> Iterator[Prediction]:
        yield self._answer(images.features(range(len(images))), "judge")


class Prompted(Witness):
    """Runs its encoder in `score`."""

    def encode(self, images: Tensor) -> Features:
        return {"images": images}

    def score(self, features: Features, prompts: Any) -> Prediction:
        with self.encoding(features["images"]):
            rows = super().encode(features["images"])["rows"].float()
        return self._answer({"rows": rows}, "score")


EXACT = (None, False, False)
LOWER = {
    "float32": EXACT,
    "tf32": (None, True, True),
    "bfloat16": (torch.bfloat16, False, False),
    "float16": (torch.float16, False, False),
}


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    _, *before = state()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("kind", "transductive"), [(Witness, False), (Prompted, False), (Witness, True)])
def test_the_encoder_alone_is_lowered(kind: type[Witness], precision: str, transductive: bool) -> None:
    model = kind()
    model.transductive, model.encoder_precision = transductive, precision  # type: ignore[misc]
    answer = model(IMAGES, ["a"] * 3)
    assert model.seen == {"encode": LOWER[precision], "judge" if transductive else "score": EXACT}
    assert answer.scores.dtype == answer.maps.dtype == torch.float32
    assert model.dtypes["rows"] == torch.float32
    assert model.dtypes.get("count", torch.int64) == torch.int64, "what is no half stays as it is"
    assert model.dtypes.get("exact", torch.float64) == torch.float64
    assert state() == EXACT


@pytest.mark.parametrize("before", [False, True])
def test_float32_is_exact_whatever_was_allowed_and_all_is_put_back(before: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = before
    model = Witness()
    model(IMAGES, ["a"] * 3)
    assert model.seen["encode"] == EXACT
    with pytest.raises(RuntimeError), lowered("tf32", CPU):
        raise RuntimeError
    assert state() == (None, before, before)


MINI = [key for key in keys() if "mini" in card(key).presets]


@pytest.mark.parametrize("key", MINI)
def test_every_encoder_is_lowered_and_no_text(key: str, mini: Mini) -> None:
    model = mini(key)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(5, 3, model.image_size, model.image_size, generator=generator)
    told: dict[bool, set[str]] = {False: set(), True: set()}
    texts = ("token_embedding", "ln_final", "transformer.resblocks.0.mlp.c_fc", "text.transformer")

    def note(name: str) -> Any:
        return lambda *_: told[torch.is_autocast_enabled("cpu")].add(name)

    for name, module in model.named_modules():
        module.register_forward_pre_hook(note(name))
    answers = {}
    for precision in ("float32", "bfloat16"):
        model.encoder_precision = precision
        for each in told.values():
            each.clear()
        with torch.inference_mode():
            answers[precision] = model(images, ["metal nut"] * 5)
        if precision == "float32":
            assert not told[True]
    lower, exact = answers["bfloat16"], answers["float32"]
    assert told[True], "an image encoder runs in bfloat16"
    assert not [name for name in told[True] if any(part in name for part in texts) and "visual" not in name]
    assert lower.scores.dtype == lower.maps.dtype == torch.float32
    moved = (lower.maps - exact.maps).abs()
    assert 0 < moved.max() < 0.2 * (exact.maps.max() - exact.maps.min()) + 0.02
