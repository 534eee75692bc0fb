"""The page as a file: one HTML text with all it needs, which asks for nothing outside itself."""

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.show.model import only_gap
from bench.show.page.content import Content
from bench.show.page.grids import colour, kind, said
from bench.show.page.libraries import chart_script, libraries, table_script, table_style
from bench.store.atomic import write_atomically

LARGEST = 5 * 2**20
"""Bytes that a page without images should stay below."""
_HERE = Path(__file__).parent


def write_page(page: Content, path: Path, *, images: str | None = None, flag: str = "--out") -> Path:
    """Write the page whole or not at all; `images` says what is to be known of the images beside it."""
    text = render(page, images)
    write_atomically(path, lambda place: place.write_text(text, encoding="utf-8"), flag)
    return path


def render(page: Content, images: str | None = None) -> str:
    """Return the page as HTML; every text of the data is escaped, and only the page's own scripts may run."""
    inside = libraries()  # first: it says what is not installed
    environment = Environment(
        loader=PackageLoader("bench.show.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"kind": kind, "said": said, "colour": colour, "only_gap": only_gap}
    scripts = [table_script(), chart_script(), (_HERE / "templates/page.js").read_text(encoding="utf-8")]
    lists = {name: page.tables[name] for name in ("methods", "domains", "datasets")}
    data = {"cells": page.cells, "charts": page.charts, "fragments": _fragments(page, environment), **lists}
    return environment.get_template("page.html").render(
        **page.tables,
        data=_packed(data),
        scripts=[Markup(script) for script in scripts],
        allowed=[_digest(script) for script in scripts],
        styles=[Markup(style) for style in (table_style(), (_HERE / "templates/page.css").read_text())],
        libraries=inside,
        images=images,
    )


def _fragments(page: Content, environment: Environment) -> dict[str, str]:
    """Return the tables that are put in when asked for, by the name that the page's script knows."""
    make: Any = environment.get_template("fragments.html").module
    tables = page.tables
    named = {f"turned-{level['level']}": make.turned(level) for level in tables["paper"]}
    named |= {f"classes-{place}": make.classes(each) for place, each in enumerate(tables["classes"])}
    named |= {f"published-{place}": make.published(each) for place, each in enumerate(tables["published"])}
    crossed = tables["cross"].get("sections", ())
    return named | {f"cross|{each['method']}|{each['metric']}": make.cross(each["grid"]) for each in crossed}


def _packed(data: Any) -> str:
    """Return JSON, compressed, as letters that mean nothing to HTML."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), mtime=0)).decode()


def _digest(script: str) -> str:
    """Return the digest by which the page's policy allows a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
