"""A memory of labelled features that is asked by attention, as MRAD has it, and its published files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import states
from methods.fill import filled

PREFIX = "bank."
"""Ahead of its tensors' names in files of learned tensors."""


class MemoryBank(nn.Module):
    """Of several kinds of features: unit keys (n, D), float32, and their labels (n,), uint8, 1 abnormal."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        """Begin without rows; `widths` gives D by kind."""
        super().__init__()
        for name, tensor in without_rows(widths).items():
            self.register_buffer(name.removeprefix(PREFIX), tensor, persistent=False)

    def keys(self, kind: str) -> Tensor:
        """Return the keys of a kind."""
        return self.get_buffer(f"{kind}_keys")

    def labels(self, kind: str) -> Tensor:
        """Return the labels of a kind."""
        return self.get_buffer(f"{kind}_labels")

    def rows(self) -> dict[str, Tensor]:
        """Return all tensors by their names in files."""
        return {PREFIX + name: tensor for name, tensor in self.named_buffers()}

    def take(self, rows: Mapping[str, Tensor]) -> None:
        """Hold these rows instead."""
        for name, tensor in rows.items():
            setattr(self, name.removeprefix(PREFIX), tensor)

    def add(self, kind: str, keys: Tensor, labels: Tensor) -> None:
        """Hold further rows of a kind."""
        for name, more in ((f"{kind}_keys", keys), (f"{kind}_labels", labels)):
            held = self.get_buffer(name)
            setattr(self, name, torch.cat([held, more.to(held)]))

    def answer(
        self,
        kind: str,
        queries: Tensor,
        layers: Sequence[tuple[Tensor, Tensor]] = (),
        limit: float = 1.0,
    ) -> Tensor:
        """Return (normal, abnormal) probabilities (B, ..., 2) of unit queries (B, ..., D): their labels'.

        A softmax over all similarities, without temperature; after `layers`, weight and bias for queries and
        for keys. Keys nearer than the quantile `limit` of a query's cosines are left out.
        """
        keys = self.keys(kind)
        similarity = plain = queries @ keys.mT
        if layers:
            # The keys' bias would add one number to all that the softmax sees.
            of_query, (weight, _) = layers
            similarity = F.linear(queries, *of_query) @ (keys @ weight.mT).mT
        if limit < 1:
            # One image after the other: a quantile is not to be had of all at once.
            limits = [torch.quantile(each, limit, dim=-1, keepdim=True) for each in plain]
            similarity = similarity.masked_fill(plain > torch.stack(limits), float("-inf"))
        return similarity.softmax(dim=-1) @ F.one_hot(self.labels(kind).long(), 2).to(similarity.dtype)


def without_rows(widths: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the tensors of a bank of these widths as it begins, by their names in files."""
    keys = {f"{PREFIX}{kind}_keys": torch.empty(0, width) for kind, width in widths.items()}
    return {**keys, **{f"{PREFIX}{kind}_labels": torch.empty(0, dtype=torch.uint8) for kind in widths}}


def read(
    files: Mapping[str, Path], rows: Mapping[str, Tensor], widths: Mapping[str, int]
) -> dict[str, Tensor]:
    """Return the bank of which some `rows` were in the file `learned`, and others are published by kind.

    A published file, role `learned_KIND`, has `keys` and one-hot `values`, normal first. Raises `ValueError`
    naming a file that does not fit, or has not one label of 0 or 1 for every key.
    """
    found, origins = dict(rows), dict.fromkeys(widths, files.get("learned"))
    for kind, width in widths.items():
        if path := files.get(f"learned_{kind}"):
            origins[kind], state = path, states.unwrap(states.read(path), "", path)
            wanted = {"keys": torch.empty(0, width), "values": torch.empty(0, 2)}
            states.check(state, wanted, path, any_rows=wanted)
            labels = state["values"].argmax(dim=-1)
            if not torch.equal(state["values"].float(), F.one_hot(labels, 2).float()):
                raise ValueError(f"{path}: its values are not one-hot labels; fetch it again")
            found[f"{PREFIX}{kind}_keys"] = state["keys"].float()
            found[f"{PREFIX}{kind}_labels"] = labels.to(torch.uint8)
    for kind, origin in origins.items():
        keys, labels = found[f"{PREFIX}{kind}_keys"], found[f"{PREFIX}{kind}_labels"]
        if len(keys) != len(labels) or labels.max() > 1:
            raise ValueError(f"{origin} has not one label, 0 or 1, for every key; get or train it again")
    return found


def write(rows: Mapping[str, Tensor], files: Mapping[str, Path]) -> None:
    """Write each kind that has a file as published, see `read`; the others' rows beside what is learned."""
    for role, path in files.items():
        kind = role.removeprefix("learned_")
        if kind != role:
            values = F.one_hot(rows[f"{PREFIX}{kind}_labels"].long(), 2).float()
            states.write({"keys": rows[f"{PREFIX}{kind}_keys"], "values": values}, path)
        elif role == "learned" and path.suffix == ".safetensors":
            states.write(states.read(path) | dict(rows), path)


def untrained(widths: Mapping[str, int], seed: int) -> dict[str, Tensor]:
    """Return a bank of eight filled rows a kind, their labels in turn."""
    keys = filled(
        {f"{PREFIX}{kind}_keys": torch.empty(8, width, device="meta") for kind, width in widths.items()}, seed
    )
    labels = {f"{PREFIX}{kind}_labels": torch.arange(8, dtype=torch.uint8) % 2 for kind in widths}
    return {**{name: F.normalize(each, dim=-1) for name, each in keys.items()}, **labels}
