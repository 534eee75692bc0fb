"""State dicts on disk: read without running foreign code, checked strictly, written as published."""

import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from methods import torchscript
from methods.files import write_atomically


class OtherModelError(ValueError):
    """Names or shapes are not those of the model that is wanted."""


def read(path: Path) -> Any:
    """Return the content of a safetensors file, a `torch.save` file or a TorchScript archive, on the CPU.

    The content decides, not the suffix. A TorchScript archive gives its state dict; the others what was
    saved, tensors in plain containers. Raises `ValueError` naming the file where it is none of these.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
        if head[8:] == b"{":
            return load_file(path)
        if torchscript.is_torchscript(path):
            return torchscript.read_state(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:  # torch's own message advises to switch the check off
        reason = "an HTML page or a broken download, or it holds more than tensors"
        raise ValueError(f"{path} is no weight file: {reason}; fetch it again") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is not a readable weight file ({reason}); fetch it again") from error


def unwrap(content: Any, key: str, origin: str | Path) -> dict[str, Tensor]:
    """Return the state dict under `key`, or `content` itself where it already is one.

    Raises `ValueError` naming `origin` where neither is a dictionary of tensors.
    """
    state = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{origin} holds no state dict of tensors; fetch it again")
    return state


def flat(content: Mapping[str, Any], depth: int = 3) -> dict[str, Any]:
    """Return the entries of dictionaries in dictionaries by dotted names; what lies deeper stays as it is."""
    found: dict[str, Any] = {}
    for name, each in content.items():
        inner = flat(each, depth - 1) if isinstance(each, dict) and depth > 1 else None
        found |= {name: each} if inner is None else {f"{name}.{rest}": one for rest, one in inner.items()}
    return found


def nested(state: Mapping[str, Tensor], sections: Sequence[str]) -> dict[str, Any]:
    """Return a dictionary in which `sections` (dotted: of sections) are dictionaries; `flat` undoes it."""
    found: dict[str, Any] = {}
    for name, tensor in state.items():
        section = next((each for each in sections if name.startswith(f"{each}.")), "")
        place = found
        for part in section.split(".") if section else ():
            place = place.setdefault(part, {})
        place[name[len(section) + 1 :] if section else name] = tensor
    return found


def check(
    state: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    origin: str | Path,
    *,
    any_rows: Collection[str] = (),
) -> None:
    """Raise `OtherModelError` naming `origin` unless `state` has exactly the names and shapes of `wanted`.

    The tensors of the names `any_rows` may have any number of rows, but for none.
    """

    def fits(name: str) -> bool:
        found, shape = state[name].shape, wanted[name].shape
        if name in any_rows:
            return len(found) == len(shape) and found[1:] == shape[1:] and found.numel() > 0
        return found == shape

    wrong = [name for name in wanted if name in state and not fits(name)]
    if wrong:
        name = wrong[0]
        raise OtherModelError(
            f"{origin}: {name} has shape {tuple(state[name].shape)}, not {tuple(wanted[name].shape)}"
            f" ({len(wrong)} such); these are weights of another model"
        )
    missing, foreign = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or foreign:
        raise OtherModelError(
            f"{origin}: {len(missing)} names are missing ({', '.join(missing[:2])}) and {len(foreign)} are"
            f" unknown ({', '.join(foreign[:2])}); these are weights of another model"
        )


def write(content: Mapping[str, Any], path: Path) -> None:
    """Save `content` atomically; `.safetensors` takes a flat state dict, any other suffix `torch.save`'s."""
    save = save_file if path.suffix == ".safetensors" else torch.save
    write_atomically(path, lambda place: save(dict(content), place))
