"""Which models a worker keeps loaded."""

import weakref
from pathlib import Path

import pytest
import torch

from bench.demo.untrained import write_untrained
from bench.run.models import Models
from bench.run.plan import ModelSpec
from bench.run.protocol import MethodRequest, setup


@pytest.mark.parametrize("key", ["clip", "anomalyclip"])
def test_a_model_that_is_dropped_is_gone_before_the_next_is_loaded(key: str, tmp_path: Path) -> None:
    request = MethodRequest(key, "mini")
    write_untrained(request, ["mvtec"], tmp_path)
    options, source, files = setup(request, "mvtec")
    spec = ModelSpec(request, source, options, {role: tmp_path / file.name for role, file in files.items()})
    models = Models(torch.device("cpu"), lambda _: None)
    model = models.get(spec).model
    with torch.inference_mode():
        model(torch.zeros(1, 3, model.image_size, model.image_size), ["bottle"])
    watched = weakref.ref(model)
    del model
    models.make_room([spec], memory=0)
    assert watched() is not None, "it is wanted"
    models.make_room([], memory=0)
    assert watched() is None
