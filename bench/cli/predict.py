"""Score pictures of your own: prints a score an image, writes map, overlay and a CSV."""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from bench.cli.common import add_methods_path, add_roots, on_terminal
from bench.errors import BenchError
from bench.predict import Answer, load_method
from datasets.files import IMAGE_SUFFIXES

EXAMPLES = """\
  run_bench.py predict --method tipsomaly --classes "metal nut" photo.jpg
  run_bench.py predict --method winclip --classes bottle folder/ --out predictions"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--method", required=True, metavar="M", help="a method key, or key:preset")
    parser.add_argument("--classes", default="object", metavar="NAME", help="what the pictures show")
    parser.add_argument("--source", metavar="D[+D2]", help="weights trained on these")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR")
    add_methods_path(parser)
    add_roots(parser, "weights")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    pictures = _pictures(parsed.pictures)
    detect = load_method(
        parsed.method, weights_root=parsed.weights_root, source=parsed.source, device=parsed.device
    )
    if detect.untrained:
        print("untrained stand-in weights: these scores are chance", file=sys.stderr)
    parsed.out.mkdir(parents=True, exist_ok=True)
    answers: list[tuple[str, Answer]] = []
    for start in tqdm(range(0, len(pictures), parsed.batch_size), unit="batch", disable=not on_terminal()):
        batch = pictures[start : start + parsed.batch_size]
        found = detect.many([path for path, _ in batch], parsed.classes)
        answers += [(stem, answer) for (_, stem), answer in zip(batch, found, strict=True)]
    # One colour scale for all pictures of a call, so that the overlays can be compared.
    low = min(float(answer.map.min()) for _, answer in answers)
    high = max(float(answer.map.max()) for _, answer in answers)
    with (parsed.out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "score", "map_max"))
        for (path, stem), (_, answer) in zip(pictures, answers, strict=True):
            Image.fromarray(answer.map).save(parsed.out / f"{stem}_map.tiff")
            answer.overlay(low, high).save(parsed.out / f"{stem}_overlay.png")
            rows.writerow((path, answer.score, float(np.max(answer.map))))
            print(f"{answer.score:.6f}  {path}")
    print(f"maps (float32 TIFF), overlays and scores.csv in {parsed.out}", file=sys.stderr)
    return 0


def _pictures(paths: list[Path]) -> list[tuple[Path, str]]:
    """Return every picture with a stem for its output files, unique within the call."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(each for each in path.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES)
        elif path.exists():
            found.append(path)
        else:
            raise BenchError(f"no such image or folder: {path}")
    if not found:
        raise BenchError(
            f"no picture in {', '.join(map(str, paths))}; known: {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    stems: dict[str, int] = {}
    result = []
    for path in found:
        repeat = stems[path.stem] = stems.get(path.stem, 0) + 1
        result.append((path, path.stem if repeat == 1 else f"{path.stem}_{repeat}"))
    return result
