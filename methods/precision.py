"""In which precision an image encoder runs: the words for it, and what each of them switches on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AUTOCAST = ("bfloat16", "float16")
PRECISIONS = ("float32", "tf32", *AUTOCAST)
"""`float32` as IEEE has it, `tf32` with products of matrices in TensorFloat-32, the others under autocast."""


def plain_float32() -> None:
    """Have this process compute in float32 as IEEE has it from now on: no TensorFloat-32 but in `lowered`."""
    import torch  # noqa: PLC0415 (the words above are wanted without it)

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


@contextmanager
def lowered(precision: str, device: torch.device) -> Iterator[None]:
    """Run what is inside in one of `PRECISIONS` on the device; `tf32` means something on CUDA alone."""
    import torch  # noqa: PLC0415 (the words above are wanted without it)

    if precision in AUTOCAST:
        with torch.autocast(device.type, getattr(torch, precision)):
            yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
