"""Where weight files come from: names, addresses, digests, fetching. It never looks at a tensor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightFile:
    """One file of weights as its publisher names it."""

    name: str
    """Path below the weights root, `/` as separator; says what the file was trained on."""
    url: str | None = None
    """Direct address; None when a person has to fetch or make it (`by_hand` says how)."""
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = None
    git_sha1: str | None = None
    """Git blob id: SHA-1 of "blob <size>\\0" followed by the content."""
    open_clip: tuple[str, str] | None = None
    """(model, tag) of open_clip's pretrained registry, for files that open_clip itself downloads."""
    digest_is_hearsay: bool = False
    """True when the digest comes from a third party: a mismatch is a warning, not an error."""
    by_hand: str = ""
    """What to do when it cannot be fetched."""
    licence: str = ""
