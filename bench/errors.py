"""What the bench refuses, and how it says so."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class BenchError(Exception):
    """A request that cannot be met; the message is one line that names the cause and the mend."""


def reason_of(error: BaseException) -> str:
    """Return the error as one line for people: a `BenchError` speaks for itself, others have their type."""
    return str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"


def unknown(what: str, word: str, known: Iterable[str]) -> BenchError:
    """Return the error for a misspelt `word`: it names the nearest known one."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    return BenchError(f"no {what} {word!r}; {hint}")


def refuse_unknown(what: str, words: Iterable[str], known: Iterable[str]) -> None:
    """Raise `unknown` for the first of the words that is not known."""
    names = {*known}
    for word in words:
        if word not in names:
            raise unknown(what, word, names)


def printable(value: Any) -> Any:
    """Return JSON-like data with what its texts must not do to a terminal or a table's lines escaped.

    Control characters, line breaks, bidirectional overrides and halves of broken file names become
    `\\n`, `\\x1b`, `\\udcff`; all else stays.
    """
    if isinstance(value, str):
        if value.isprintable():
            return value
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in value
        )
    if isinstance(value, Mapping):
        return {printable(name): printable(inner) for name, inner in value.items()}
    return type(value)(map(printable, value)) if isinstance(value, list | tuple) else value
