"""Progress on stderr: a bar where somebody watches, a line every half minute in a log."""

import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

EVERY = 30.0
"""Seconds between two lines of a log; what is done sooner writes none."""

_ON_TERMINAL = (
    "{percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt}, {rate_noinv_fmt}{postfix}, {remaining} left, {desc}"
)
"""What is worked on stands last: a narrow terminal cuts it, and no number."""
_IN_LOG = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed} so far, {remaining} left, {rate_noinv_fmt}"


def on_terminal() -> bool:
    """Whether somebody watches: bars that are drawn over, and colour, only then."""
    return sys.stderr.isatty()


def progress(
    over: Iterable[Any] | None = None, *, total: int | None = None, unit: str, description: str = ""
) -> Any:
    """Return a `tqdm` for this stderr, over an iterable or of `total` units."""
    shared: dict[str, Any] = {
        "iterable": over,
        "total": total,
        "unit": f" {unit}",
        "desc": description,
        "smoothing": 0.05,
        "leave": False,
    }
    if on_terminal():
        return _Bar(**shared, bar_format=_ON_TERMINAL, dynamic_ncols=True)
    return _Log(**shared, bar_format=_IN_LOG, delay=EVERY, mininterval=EVERY, miniters=1)


class _Bar(tqdm):
    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Name what is worked on, without the colon that tqdm puts behind it."""
        self.set_description_str(desc, refresh)


class _Log(tqdm):
    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the state on a line of its own."""
        if msg is None:
            print(self, file=sys.stderr, flush=True)

    def set_description(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """Name what is worked on, from the next line on; it is written now if the last one is old enough."""
        self.set_description_str(desc, refresh=False)
        now = time.time()
        if min(now - self.last_print_t, now - self.start_t) >= EVERY:
            self.refresh()
            self.last_print_t = now

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        """Write a line of something else."""
        print(s, file=file, end=end, flush=True)
