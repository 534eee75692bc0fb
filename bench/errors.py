"""What the bench refuses, and how it says so."""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """A request that cannot be met; the message is one line that names the cause and the mend."""


def unknown(what: str, word: str, known: Iterable[str]) -> BenchError:
    """Return the error for a misspelt `word`: it names the nearest known one."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    return BenchError(f"no {what} {word!r}; {hint}")
