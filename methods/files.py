"""Writing files so that a reader finds the old content or the new one, never half of it."""

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk, then rename it to `path`.

    Folders are made as needed and flushed too, so that the name survives a power cut. The file gets the
    permissions that the umask leaves, whatever `write` gave it. What can be computed anew need not be
    `durable`: flushing costs milliseconds. Raises what `write` raises, or `OSError`.
    """
    changed = {path.parent, *(folder.parent for folder in path.parents if not folder.exists())}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")  # short: `path` may use all that a name may have
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        permissions = temporary.stat().st_mode
        write(temporary)
        temporary.chmod(permissions)
        if durable:
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        flush_folders(changed)


def flush_folders(folders: Iterable[Path]) -> None:
    """Make the names in the folders survive a power cut; Windows cannot, and need not."""
    if os.name != "posix":
        return
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
