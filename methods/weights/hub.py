"""What open_clip's registry of pretrained weights says of a (model, tag), and its download from the Hub.

open_clip (and with it torch) is imported only when it is asked.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.weights.transfer import DownloadError, reachable


@dataclass(frozen=True)
class Origin:
    """Where the weights of one (model, tag) are published."""

    registered: dict[str, Any]
    """open_clip's entry."""
    repository: str | None
    """On the Hugging Face Hub; None where open_clip names none, or one that holds another tag's weights."""
    names: tuple[str, ...]
    """File names in the repository, in the order open_clip tries them."""
    url: str | None
    """Direct address of the original file."""

    @property
    def page(self) -> str:
        """Address of the repository for people."""
        return f"https://huggingface.co/{self.repository}"

    @property
    def url_name(self) -> str | None:
        """Name of the original file."""
        return last_part(self.url)


def last_part(url: str | None) -> str | None:
    """Return the file name at the end of an address."""
    return url.rsplit("/", 1)[-1] if url else None


def sha256_in(url: str | None) -> str | None:
    """Return the SHA-256, or its first digits, that OpenAI and open_clip put into their addresses."""
    whole = re.search(r"/([0-9a-f]{64})/[^/]+$", url or "")
    start = re.search(r"/mlfoundations/.*-([0-9a-f]{8})\.pth?$", url or "")
    found = whole or start
    return found[1] if found else None


def origin(model: str, tag: str) -> Origin:
    """Look (model, tag) up in open_clip's registry; raises `ValueError` if it is not there."""
    from open_clip import __version__, pretrained  # noqa: PLC0415 (takes seconds)
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME  # noqa: PLC0415

    entry = pretrained.get_pretrained_cfg(model, tag)
    if not entry:
        raise ValueError(f"open_clip {__version__} has no weights {tag!r} of {model!r}")
    repository, name = os.path.split(entry.get("hf_hub", ""))
    url = entry.get("url") or None
    # timm's repositories end in their tag. In open_clip 2.29 to 3.3 the entry of ViT-B-16-plus-240,
    # laion400m_e32 names the repository of e31, so its download gives other weights than it says.
    says = repository.partition("/")[2].rpartition(".")[2] if repository.startswith("timm/") else ""
    if not repository or (url and says and says != tag.lower().replace("-", "_")):
        return Origin(entry, None, (), url)
    names = (Path(name).stem + ".safetensors", name) if name else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    return Origin(entry, repository, names, url)


def cached(source: Origin, root: Path) -> Path | None:
    """Return the weights that open_clip downloaded earlier, into `root` or to its usual places."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    for folder in (root, None):  # None: the Hub's own cache
        for name in source.names:
            found = try_to_load_from_cache(str(source.repository), name, cache_dir=folder)
            if isinstance(found, str):
                return Path(found)
    original = Path.home() / ".cache" / "clip" / (source.url_name or "")
    return original if original.is_file() else None


def cached_sha256(path: Path) -> str | None:
    """Return the SHA-256 that the Hub publishes of a file in its cache: the name of the blob behind it."""
    blob = path.resolve().name
    return blob if path.is_symlink() and re.fullmatch("[0-9a-f]{64}", blob) else None


def download(source: Origin, root: Path) -> Path:
    """Let open_clip download from the Hub into `root`; raises `DownloadError` with the reason.

    The Hub's client resumes, checks and draws bars itself.
    """
    from huggingface_hub import hf_hub_url  # noqa: PLC0415
    from open_clip import pretrained  # noqa: PLC0415

    # Offline, the Hub's client retries for most of a minute and says little.
    address = hf_hub_url(str(source.repository), source.names[0])
    if not reachable(address):
        raise DownloadError(f"no connection to {address}")
    try:
        return Path(pretrained.download_pretrained(source.registered, cache_dir=str(root)))
    except Exception as error:  # the Hub's client has many kinds of them
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DownloadError(f"{source.page} failed ({reason[0]})") from error
