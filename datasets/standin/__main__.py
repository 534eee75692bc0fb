"""Command line: write the stand-in datasets."""

import argparse
import sys
from pathlib import Path

from datasets.standin.generate import KEYS, generate
from datasets.standin.shots import SCALES


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m datasets.standin", description=__doc__)
    parser.add_argument("root", type=Path, help="folder to write <key>/ into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", choices=tuple(SCALES), default="full")
    parser.add_argument(
        "--keys", nargs="+", choices=KEYS, metavar="KEY", help=f"default: all of {' '.join(KEYS)}"
    )
    options = parser.parse_args(arguments)
    try:
        folders = generate(options.root, seed=options.seed, keys=options.keys, scale=options.scale)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for key, folder in folders.items():
        print(f"{key:14s} {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
