"""Values on their way to a worker: paths below a known root travel as the root's name and the rest."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLES = {"data": "ZSAD_DATA", "weights": "ZSAD_WEIGHTS", "results": "ZSAD_RESULTS"}
"""Root -> the environment variable by which a node names its own."""


def pack(value: Any, roots: Mapping[str, Path]) -> bytes:
    """Return `value` pickled; its paths are told by the roots they lie below, others are made absolute."""
    file = io.BytesIO()
    _Packer(file, roots).dump(value)
    return file.getvalue()


def unpack(parcel: bytes, roots: Mapping[str, Path]) -> Any:
    """Return the value of `pack` with its paths below these roots."""
    return _Unpacker(io.BytesIO(parcel), roots).load()


def own_roots(
    roots: Mapping[str, Path], driver: Mapping[str, str], here: Mapping[str, str]
) -> dict[str, Path]:
    """Return a node's roots: the driver's, or what this node's environment says and the driver's does not."""

    def own(name: str, root: Path) -> Path:
        named = here.get(VARIABLES[name])
        return Path(named) if named and named != driver.get(VARIABLES[name]) else root

    return {name: own(name, root) for name, root in roots.items()}


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, roots: Mapping[str, Path]) -> None:
        super().__init__(file)
        self._roots = {name: root.absolute() for name, root in roots.items()}

    def persistent_id(self, value: Any) -> tuple[str, str] | None:
        if not isinstance(value, Path):
            return None
        place = value.absolute()
        for name, root in self._roots.items():
            if place.is_relative_to(root):
                return name, str(place.relative_to(root))
        return "", str(place)


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, roots: Mapping[str, Path]) -> None:
        super().__init__(file)
        self._roots = roots

    def persistent_load(self, told: tuple[str, str]) -> Path:
        root, rest = told
        return self._roots[root] / rest if root else Path(rest)
