"""Files of the suite are written atomically; a disk that refuses is answered with what to do."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from bench.errors import BenchError
from methods import files


def write_atomically(path: Path, write: Callable[[Path], object], flag: str, *, durable: bool = True) -> None:
    """Do as `methods.files.write_atomically`.

    Raises `BenchError` naming the command line's `flag` for another folder where the disk refuses.
    """
    try:
        files.write_atomically(path, write, durable=durable)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        reason = getattr(error, "strerror", None) or error
        raise BenchError(f"cannot write {path}: {reason}; free space, or choose another {flag}") from error
