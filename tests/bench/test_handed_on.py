"""An encoder of which only a part is unprompted: that part is kept, the input is made of the image again."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.demo.untrained import write_untrained
from bench.run.features import Encoder, FeatureCache
from bench.run.protocol import MethodRequest, setup
from methods.adaclip import AdaCLIP
from methods.base import ZeroShotDetector

IMAGES = torch.randn(3, 3, 140, 140, generator=torch.Generator().manual_seed(0))
DIGESTS = ["aa", "bb", "cc"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    for kind in ("SD", "S"):
        write_untrained(MethodRequest("adaclip", "mini", {"prompting_type": kind}), ["*"], root)
    return root


def load(root: Path, **changes: object) -> ZeroShotDetector:
    request = MethodRequest("adaclip", "mini", changes)
    options, _, files = setup(request, "*")
    return request.detector.load({role: root / file.name for role, file in files.items()}, **options)


def inputs(places: Sequence[int]) -> Tensor:
    return IMAGES[list(places)]


def test_the_unprompted_pass_is_kept_and_the_input_is_not(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, cache = load(weights), FeatureCache(tmp_path, 10**9)
    encoder = Encoder(model, "adaclip", {"vision": "ab"}, cache=cache, device=torch.device("cpu"))
    whole = model.encoded(IMAGES)
    passes: list[int] = []
    usual = AdaCLIP._unprompted
    monkeypatch.setattr(
        AdaCLIP, "_unprompted", lambda self, images: passes.append(len(images)) or usual(self, images)
    )
    for digests, computed in (([*DIGESTS[:2], None], 3), (DIGESTS, 1), (DIGESTS, 0)):
        passes.clear()
        features = encoder.features(digests, inputs)
        assert sum(passes) == computed
        assert features.keys() == whole.keys()
        assert all(torch.equal(features[name], tensor) for name, tensor in whole.items())
    kept = cache.read(str(encoder.key), "aa")
    assert kept is not None and set(kept) == {"unprompted"}
    assert not encoder.has("aa"), "the image has to be read all the same"
    assert cache.used < IMAGES[0].numel()


def test_where_nothing_is_unprompted_nothing_is_kept(weights: Path, tmp_path: Path) -> None:
    model = load(weights, prompting_type="S")
    cache = FeatureCache(tmp_path, 10**9)
    encoder = Encoder(model, "adaclip", {"vision": "ab"}, cache=cache, device=torch.device("cpu"))
    for _ in range(2):
        features = encoder.features(DIGESTS, inputs)
        assert set(features) == {"images"} and torch.equal(features["images"], IMAGES)
    assert cache.used == 0
