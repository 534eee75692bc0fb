"""Where a number comes from: the suite's commit, the versions it ran with, the machine, the command."""

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
)


@cache
def suite() -> dict[str, Any]:
    """Return the suite's `version`, `commit` (None outside a git checkout) and whether it is `dirty`."""
    import tomllib  # noqa: PLC0415 (only here)

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return {"suite_version": declared, "commit": commit, "dirty": None if commit is None else bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache  # reading it opens a file, and every cell asks
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _command() -> str:
    script = Path(sys.argv[0])
    inside = script.is_relative_to(ROOT)  # `python -m` gives the whole path
    return shlex.join([str(script.relative_to(ROOT)) if inside else str(script), *sys.argv[1:]])


def provenance(device: torch.device) -> dict[str, Any]:
    """Return what every cell records of how it was made."""
    on_gpu = device.type == "cuda"
    return {
        **suite(),
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "device": torch.cuda.get_device_name(device)
        if on_gpu
        else platform.processor() or platform.machine(),
        "device_type": device.type,
        "command": _command(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
