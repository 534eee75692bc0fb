"""What models may have in common, as values: the network input, and what the encoder computes."""

from collections.abc import Mapping
from typing import Any

from methods.base import ZeroShotDetector
from methods.pictures import AnyInput, OwnInput


def input_of(model: ZeroShotDetector) -> AnyInput:
    """Return how the model's `preprocess` makes an input: equal ones are made once for several models."""
    shared = type(model).preprocess is ZeroShotDetector.preprocess
    return model.input if shared else OwnInput(model.preprocess)


def encoder_of(model: ZeroShotDetector) -> Mapping[str, Any] | None:
    """Return what the model's encoder is; None if its features depend on more, and are not kept or shared.

    That is what its class says of it, or the class itself: a derived one may override whatever `encode` uses,
    and has an encoder of its own.
    """
    if model.encoder_options is None:
        return None
    cls = type(model)
    said = model.encoder if "encoder" in vars(cls) else None
    name = {"name": f"{cls.__module__}.{cls.__qualname__}"} if said is None else said
    options = {option: model.options[option] for option in sorted(model.encoder_options)}
    return {"version": model.version, "options": options, **name}
