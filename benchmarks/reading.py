"""Host work per image: five methods that read a class one by one, and in one pass; readers side by side.

    python -m benchmarks.reading
    python -m benchmarks.reading --side 2000 --threads 1 4 16

Pictures are generated PNGs; network inputs are those of the papers: three methods on CLIP at 518 pixels,
WinCLIP at 240, Tipsomaly at 518 with its own filter. Half of the pictures have a mask. CPU is of all threads.
Prints Markdown.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tabulate import tabulate

from bench.run.machine import cores
from bench.run.plan import Settings
from bench.run.reading import Reader
from benchmarks.common import parser_of, write_dataset
from datasets.images import read_image
from datasets.meta import open_dataset
from datasets.samples import Sample
from methods.backbones import clip
from methods.pictures import NetworkInput

INPUTS = {
    "winclip": clip.network_input(240),
    **dict.fromkeys(("vand", "anomalyclip", "adaclip"), clip.network_input(518)),
    "tipsomaly": NetworkInput(518),
}


@dataclass(frozen=True)
class _Wanted:
    """What a reader asks of an encoder."""

    input: NetworkInput

    def has(self, digest: str) -> bool:
        return False


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=1000, help="of the pictures, in pixels")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, cores()])
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="zsad-reading-") as folder:
        made = write_dataset(Path(folder), {"part": parsed.images}, (parsed.side, parsed.side))
        (data,) = open_dataset(made).classes
        samples = data.samples
        one_by_one = [_reader([wanted]) for wanted in INPUTS.values()]
        together = _reader(list(INPUTS.values()))
        ways: dict[str, Callable[[Sample], object]] = {
            "decoding alone": lambda sample: read_image(sample.image),
            "one by one": lambda sample: [reader(sample).seconds for reader in one_by_one],
            "in one pass": together,
        }
        spent = {name: _cpu(work, samples) for name, work in ways.items()}
        rows = [(name, 1e3 * each, each / spent["in one pass"]) for name, each in spent.items()]
        print(f"{len(INPUTS)} methods, {parsed.side} px PNG\n")
        print(tabulate(rows, ("way", "CPU ms/image", "of one pass"), "github", floatfmt=".3g"))
        print("\n" + tabulate(_readers(samples, parsed.threads), "keys", "github", floatfmt=".3g"))


def _reader(wanted: Sequence[NetworkInput]) -> Reader:
    return Reader([_Wanted(each) for each in wanted], {each.size for each in wanted}, Settings())  # type: ignore[misc]


def _cpu(work: Callable[[Sample], object], samples: Sequence[Sample]) -> float:
    """Return CPU seconds per image, the least of three rounds."""
    work(samples[0])
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for sample in samples:
            work(sample)
        rounds.append((time.process_time() - started) / len(samples))
    return min(rounds)


def _read(samples: Sequence[Sample], index: int) -> float:
    return _reader(list(INPUTS.values()))(samples[index]).seconds


def _readers(samples: Sequence[Sample], counts: Sequence[int]) -> list[dict[str, float | str]]:
    """Measure readers as threads and as processes, which return nothing: pictures would cost them more."""
    rows: list[dict[str, float | str]] = []
    for count in counts:
        for kind, pools in {"threads": ThreadPoolExecutor, "processes": ProcessPoolExecutor}.items():
            with pools(count) as pool:
                read = partial(_read, samples)
                list(pool.map(read, range(count)))
                started = time.perf_counter()
                list(pool.map(read, range(len(samples))))
                rows.append(
                    {
                        "readers": f"{count} {kind}",
                        "images/s": len(samples) / (time.perf_counter() - started),
                    }
                )
    return rows


if __name__ == "__main__":
    main()
