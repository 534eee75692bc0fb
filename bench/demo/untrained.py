"""Stand-in weights for a request: right in format and shape, chance in what they answer."""

from collections.abc import Iterable
from pathlib import Path

from bench.errors import BenchError
from bench.run.protocol import MethodRequest, setup
from methods import weights
from methods.source import Source


def write_untrained(
    request: MethodRequest, targets: Iterable[str], root: Path, *, source: Source | None = None, seed: int = 0
) -> list[Path]:
    """Write what is missing of the untrained weights for `targets` below `root`; returns the new files.

    The folder is marked, so that every result computed with them says so.
    Raises `BenchError` if `root` holds files and is not marked as untrained, or if the method does not
    implement `write_untrained` for all of its files.
    """
    if root.exists() and any(root.iterdir()) and not weights.untrained(root / "any", root):
        raise BenchError(
            f"{root} holds other weights; name an empty folder with --weights-root for stand-ins"
        )
    weights.mark_untrained(root, "written by `run_bench.py weights --untrained`")
    detector = request.detector
    written: list[Path] = []
    for target in targets:
        options, _, files = setup(request, target, source)
        paths = {role: root / file.name for role, file in files.items()}
        missing = {role: path for role, path in paths.items() if not path.exists()}
        for path in missing.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        if missing:
            detector.write_untrained(missing, options, seed)
            forgotten = [role for role, path in missing.items() if not path.exists()]
            if forgotten:
                raise BenchError(
                    f"{request.key} has no untrained weights to try it with ({', '.join(forgotten)}): "
                    f"implement write_untrained in {detector.__name__}"
                )
            written += missing.values()
    return written
