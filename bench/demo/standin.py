"""Generated stand-in datasets, brought through the same preparation as the real ones."""

from collections.abc import Sequence
from pathlib import Path

from datasets.catalog import CATALOG, GROUPS
from datasets.meta import open_dataset
from datasets.prepare import prepare
from datasets.samples import Folder
from datasets.standin import generate


def stand_in_folders(
    root: Path,
    *,
    keys: Sequence[str] | None = None,
    scale: str = "full",
    seed: int = 0,
) -> list[Folder]:
    """Generate and prepare stand-ins below `root` (what is there already stays), and open them.

    `root/raw` gets the raw layouts, `root/prepared` the datasets; both are marked as stand-ins.
    """
    wanted = list(keys or GROUPS["all"])
    prepared = root / "prepared"
    prepared.mkdir(parents=True, exist_ok=True)
    raws = generate(root / "raw", seed=seed, keys=wanted, scale=scale)
    (prepared / "STAND-IN.txt").write_text(
        "Generated pictures in the layout of the real datasets; not the real data.\n"
    )
    folders = []
    for key in wanted:
        if not (prepared / CATALOG[key].folders[0] / "meta.json").exists():
            prepare(key, raws[key], prepared)
        folders.append(open_dataset(key, prepared))
    return folders
