"""Score pictures of your own: a row of scores.csv, a map and a picture to look at for each, as it goes.

What is there is never overwritten: the same call goes on where it stopped, another one needs another --out
(or --force). A picture that cannot be read is named and left out, and the exit code is 1. Hidden files and
folders, and folders with earlier predictions, are not searched.

examples:
  run_bench.py predict --method tipsomaly --classes "metal nut" photo.jpg
  run_bench.py predict --method winclip --classes bottle folder/ --out predictions --threshold 0.4
  run_bench.py predict --method winclip --classes photos/a=bottle --classes photos/b=cable photos/
  run_bench.py predict --method winclip --classes list.csv        (lines of: file,name)
  run_bench.py predict --method winclip --threshold-from results mvtec/bottle --at fpr=0.01 photos/
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from bench.cli.common import add_methods_path, add_options, add_roots, cell_store, parse_pairs, parse_source
from bench.cli.pictures import Classes, say
from bench.cli.progress import progress
from bench.errors import BenchError, printable
from bench.predict import Answer, LoadedMethod, Picture, load_request
from bench.run.library import Library
from bench.run.machine import choose_device
from bench.run.protocol import parse_methods
from bench.run.threshold import Threshold, threshold_from
from bench.store.atomic import write_atomically
from bench.store.digests import DigestCache
from bench.store.predictions import Predictions
from datasets.files import sha256_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("pictures", nargs="*", type=Path, metavar="IMAGE_OR_FOLDER")
    parser.add_argument("--method", required=True, metavar="M", help="a method key, or key:preset")
    add_options(parser)
    parser.add_argument(
        "--classes",
        action="append",
        default=[],
        metavar="NAME",
        help="what the pictures show (default: object); PATH=NAME for one folder or file, repeatable; or a "
        ".csv file with lines of file,name, whose files are scored too",
    )
    parser.add_argument("--source", metavar="D[+D2]", help="weights trained on these")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("predictions"), metavar="DIR")
    parser.add_argument("--force", action="store_true", help="replace the answers in --out")
    verdict = parser.add_mutually_exclusive_group()
    verdict.add_argument("--threshold", type=float, metavar="X", help="scores >= X are called anomalous")
    verdict.add_argument(
        "--threshold-from",
        nargs=2,
        metavar=("RESULTS", "DATASET[/CLASS]"),
        help="compute it from the scores of finished cells of the same method, options and weights",
    )
    parser.add_argument("--at", metavar="f1max|fpr=X", help="how --threshold-from computes (default: f1max)")
    parser.add_argument(
        "--contour", type=float, metavar="V", help="map value of the outline (default: middle of the scale)"
    )
    add_methods_path(parser)
    add_roots(parser, "weights")


def main(parsed: argparse.Namespace) -> int:
    """Run the verb; returns the exit code."""
    if parsed.batch_size < 1:
        raise BenchError(f"--batch-size {parsed.batch_size}: must be at least 1")
    wanted = Classes(parsed.classes).name(parsed.pictures, parsed.out)
    (request,) = parse_methods([parsed.method], parse_pairs(parsed.set, "--set"))
    library = Library(parsed.weights_root, DigestCache())
    detect = load_request(request, library, choose_device(parsed.device), source=parse_source(parsed.source))
    threshold = _threshold(parsed, detect)
    say(_remarks(detect, threshold))
    writer = _Writer(parsed, detect, wanted, threshold)
    failed = writer.run(parsed.batch_size)
    drawn = writer.draw(parsed.contour)
    say([f"{drawn} maps (float32 TIFF), pictures and rows of scores.csv in {parsed.out}"])
    if failed:
        say([f"{failed} of {len(wanted)} pictures have no answer: see above"])
    return 1 if failed else 0


def _remarks(detect: LoadedMethod, threshold: Threshold | None) -> Iterator[str]:
    if detect.untrained:
        yield "untrained stand-in weights: these scores are chance"
    if detect.transductive:
        yield "the method judges all pictures of one name as one set: scores hold for these pictures together"
    if detect.class_normalised:
        yield (
            "the method's final image score is normalised over all images of a class: loose pictures have "
            "none; scores.csv holds its raw quantities"
        )
    if threshold:
        yield f"threshold {threshold.value:.6g} ({threshold.said}): scores at or above it are anomalous"


def _threshold(parsed: argparse.Namespace, detect: LoadedMethod) -> Threshold | None:
    if parsed.at and not parsed.threshold_from:
        raise BenchError(
            "--at says how --threshold-from computes; name a results folder and a dataset with it"
        )
    if parsed.threshold is None and not parsed.threshold_from:
        return None
    if detect.class_normalised:
        raise BenchError(
            f"{parsed.method}: its final image score needs all images of a class; loose pictures have none "
            "to compare with a threshold"
        )
    if parsed.threshold is not None:
        if not np.isfinite(parsed.threshold):
            raise BenchError(f"--threshold {parsed.threshold}: must be a number")
        return Threshold(parsed.threshold, "given")
    results, word = parsed.threshold_from
    if not Path(results).is_dir():
        raise BenchError(f"--threshold-from {results}: no such folder")
    return threshold_from(cell_store(Path(results)), detect.identity, word, parsed.at or "f1max")


class _Writer:
    """Turns answers into rows and files."""

    def __init__(
        self,
        parsed: argparse.Namespace,
        detect: LoadedMethod,
        wanted: list[tuple[Path, str]],
        threshold: Threshold | None,
    ) -> None:
        self._detect, self._wanted, self._threshold = detect, wanted, threshold
        self._digests = {path: _digest(path) for path, _ in wanted}
        self._paths = {(printable(str(path)), name): path for path, name in wanted}
        identity = {**detect.identity, "threshold": threshold and [threshold.value, threshold.said]}
        if detect.transductive:  # a score depends on the others
            identity["pictures"] = sorted([name, self._digests[path]] for path, name in wanted)
        self._folder = Predictions(parsed.out, identity, force=parsed.force)
        self._new = 0

    def run(self, batch_size: int) -> int:
        """Score what has no row yet; returns how many pictures failed."""
        wanted = self._wanted
        here = {(row["image"], row["object"]) for row in self._folder.rows if self._is_here(row)}
        todo = [(path, name) for path, name in wanted if (printable(str(path)), name) not in here]
        if len(todo) < len(wanted):
            say([f"{len(wanted) - len(todo)} of {len(wanted)} pictures have their answers here already"])
            for row in self._folder.rows:
                if self._is_here(row):
                    _show(row["image"], float(row["score"]) if row["score"] else None, row.get("verdict"))
        failures: list[Exception] = []

        def note(picture: Picture, error: Exception) -> None:
            if not any(error is known for known in failures):
                kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
                about = "" if str(picture) in str(error) else f"{picture}: "
                bar.write(printable(f"no answer: {about}{kind}{error}"), file=sys.stderr)
            failures.append(error)
            bar.update()

        with progress(total=len(todo), unit="pictures") as bar:
            for answer in self._detect.stream(todo, batch_size, note):
                self._write(answer)
                bar.update()
        return len(failures)

    def _write(self, answer: Answer) -> None:
        path = Path(str(answer.picture))
        stem = self._folder.stem(path)
        row: dict[str, object] = {"image": printable(str(path)), "object": answer.name, "score": answer.score}
        verdict = ""
        if self._threshold and answer.score is not None:
            row["verdict"] = verdict = self._threshold.verdict(answer.score)
            row["normals_below"] = self._threshold.share_below(answer.score)
        row |= {"map_min": float(answer.map.min()), "map_max": float(answer.map.max())}
        row |= {**answer.also, "files": stem, "sha256": self._digests[path]}
        tiff = Image.fromarray(answer.map)
        write_atomically(
            self._folder.map_file(stem), lambda place: tiff.save(place, "TIFF"), "--out", durable=False
        )
        self._folder.add(row)
        self._new += 1
        _show(printable(str(path)), answer.score, verdict)

    def _is_here(self, row: Mapping[str, str]) -> bool:
        path = self._paths.get((row["image"], row["object"]))
        return path is not None and self._digests[path] == row["sha256"]

    def draw(self, contour: float | None) -> int:
        """Draw the pictures to look at, all on one colour scale; returns how many rows there are.

        They come last, because the scale is known only when every picture is scored.
        """
        rows = [row for row in self._folder.rows if self._is_here(row)]
        low = min((float(row["map_min"]) for row in rows), default=0.0)
        high = max((float(row["map_max"]) for row in rows), default=1.0)

        def one(row: dict[str, str]) -> None:
            stem, path = Path(row["files"]).name, self._paths[row["image"], row["object"]]
            try:
                with Image.open(self._folder.map_file(stem)) as tiff:
                    answer = Answer(path, row["object"], None, np.asarray(tiff))
                picture = answer.side_by_side(low, high, contour)
            except (OSError, ValueError) as error:
                say([printable(f"not drawn: {path}: {error}")])
                return
            write_atomically(
                self._folder.picture_file(stem),
                lambda place: picture.save(place, "PNG", compress_level=1),
                "--out",
                durable=False,
            )

        if self._new or not all(self._folder.picture_file(Path(row["files"]).name).exists() for row in rows):
            with ThreadPoolExecutor(2) as pool:
                for _ in progress(pool.map(one, rows), total=len(rows), unit="pictures", description="draw"):
                    pass
        return len(rows)


def _show(image: str, score: float | None, verdict: str | None) -> None:
    number = "no score" if score is None else f"{score:.6f}"
    print("  ".join(part for part in (number, verdict, image) if part), flush=True)


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)[:16]
    except OSError:  # it is reported when it is read
        return ""
