"""What is published about a file of weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class HubFile(NamedTuple):
    """A file in a repository of the Hugging Face Hub."""

    repository: str
    name: str
    revision: str = "main"
    """Commit; `main` where none is known: then what is seen first binds."""
    sha256: str | None = None
    """In hex; None where it is the `WeightFile`'s own, or only the Hub tells it at the time."""

    @property
    def url(self) -> str:
        """Address for people."""
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True)
class WeightFile:
    """One file of weights as its publisher names it.

    Raises `ValueError` for a digest that cannot be one.
    """

    name: str
    """Path below the weights root, `/` as separator; says what the file was trained on."""
    url: str | None = None
    """Direct address: of a file in a repository, with the commit; of Git LFS, not of the pointer."""
    size: int | None = None
    """Bytes, where known."""
    rough_size: int | None = None
    """Bytes, where they are known roughly only: shown, not compared."""
    sha256: str | None = None
    """In hex; its first digits, where the publisher tells no more (then the first file seen binds too)."""
    git_sha1: str | None = None
    """Git blob id: SHA-1 of "blob <size>\\0" followed by the content; not of a Git LFS pointer."""
    digest_by_third_party: bool = False
    """Whether `sha256` is by somebody else than the publisher: a mismatch is a warning, not an error."""
    hub: HubFile | None = None
    """Where the Hub has these weights; under another suffix if in another format."""
    by_hand: str = ""
    """What to do when it cannot be fetched."""
    trained_here: bool = False
    """Made by `train`, published by nobody: it may be trained again, so no first digest binds it."""
    licence: str = ""

    def __post_init__(self) -> None:
        for digest, form in ((self.sha256, "[0-9a-fA-F]{6,64}"), (self.git_sha1, "[0-9a-fA-F]{40}")):
            if digest is not None and not re.fullmatch(form, digest):
                raise ValueError(f"{self.name}: {digest!r} is no digest; it has to match {form}")


def is_learned(role: str) -> bool:
    """Return whether a file of this role depends on the source that was trained on."""
    return role.startswith("learned")


def frozen(roles: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of roles of what depends on no source."""
    return {role: each for role, each in roles.items() if not is_learned(role)}
