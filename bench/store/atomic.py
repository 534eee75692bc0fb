"""Files are written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.errors import BenchError


def write_whole(path: Path, write: Callable[[Path], object], flag: str, *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then put it in place.

    What can be computed anew need not be `durable`: flushing costs milliseconds.

    Raises `BenchError` naming the command line's `flag` for another folder where the disk refuses.
    """
    place = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        place = Path(temporary)
        write(place)
        if durable:
            with place.open("rb") as file:
                os.fsync(file.fileno())
        place.chmod(0o644)
        place.replace(path)
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror or error}; free space, or choose another {flag}"
        ) from error
    finally:
        if place is not None:
            place.unlink(missing_ok=True)
