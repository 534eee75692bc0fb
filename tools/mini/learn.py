"""What the trainable methods learn on the small backbones, by the suite's own training."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.demo.demo import demo_requests
from bench.demo.standin import stand_in_folders
from bench.run.library import Library
from bench.run.machine import Machine
from bench.run.protocol import MethodRequest, chosen_source
from bench.store.digests import DigestCache
from bench.study.job import TrainJob, make_job
from bench.study.train import train
from datasets.samples import Folder
from methods.backbones import mini


def learn(
    root: Path,
    packed: Path,
    device: torch.device,
    say: Callable[[str], None],
    methods: Sequence[str] | None = None,
) -> list[Path]:
    """Train every method of the demo, or those named, on its protocol's sources of stand-ins.

    Returns the files.

    `root` gets the stand-ins at full scale, or has them; the backbones in `packed` are used, and what is
    learned goes there too.
    """
    folders, digest = by_key(stand_in_folders(root / "data")), DigestCache()
    requests = [each for each in demo_requests() if methods is None or each.key in methods]
    written = []
    with TemporaryDirectory() as work:
        mini.install(Path(work), packed, learned=False)
        library = Library(Path(work), digest)
        for job, _ in chain.from_iterable(jobs(request, folders, library) for request in requests):
            say(f"training {job}")
            made = train(job, Machine(device), digest)
            place = packed / mini.LEARNED / made.relative_to(work)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, place)
            written.append(place)
    return written


def by_key(folders: list[Folder]) -> dict[str, Folder]:
    """Return stand-in folders by the keys of the datasets they stand in for."""
    return {folder.entry.key: folder for folder in folders if folder.entry}


def jobs(
    request: MethodRequest, folders: Mapping[str, Folder], library: Library, later: int = 0
) -> Iterator[tuple[TrainJob, list[Folder]]]:
    """Yield the trainings that the protocol asks for, each with the targets that its weights are for.

    The seed is the recipe's, `later` counted on; nothing for a method that learns nothing.
    """
    sources = {target: chosen_source(request, target, None) for target in folders}
    for source in sorted({each for each in sources.values() if each}, key=str):
        job = make_job(
            request, [folders[key] for key in source.datasets], request.recipe.seed + later, library
        )
        yield job, [folders[target] for target, own in sources.items() if own == source]
