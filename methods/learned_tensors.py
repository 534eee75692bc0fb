"""What a method learns beside a frozen network, by its published names: shapes, how it begins, holding it."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

Shapes = dict[str, tuple[int, ...]]


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


def named(parts: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the parameters of modules, the name of its module ahead of each."""
    return {
        f"{part}.{name}": tensor.detach()
        for part, module in parts.items()
        for name, tensor in module.named_parameters()
    }


def hold(owner: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make copies of tensors parameters of `owner` by these names, float32; dots lead into its modules."""
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        place = owner
        for part in path:
            if part not in dict(place.named_children()):
                place.add_module(part, nn.Module())
            place = place.get_submodule(part)
        place.register_parameter(last, nn.Parameter(tensor.detach().float().clone()))
