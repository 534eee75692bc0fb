"""The libraries that travel inside the page, with their licences."""

import re
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

from bench.errors import BenchError

_EXPORT = re.compile(r"\bexport\s*\{([^{}]*)\};?")
_ALIAS = re.compile(r"([\w$]+) as ([\w$]+)")
_PACKAGES = {
    "itables": "DataTables, its extensions and jQuery (MIT), packed by itables (MIT)",
    "vl-convert-python": "Vega, Vega-Lite, Vega-Embed (BSD-3-Clause) and D3 (ISC), packed by vl-convert "
    "(BSD-3-Clause)",
}


class Library(NamedTuple):
    """A package whose files are in the page."""

    name: str
    version: str
    what: str
    licence: str


def libraries() -> list[Library]:
    """Return the packages of the page; raises `BenchError` where one is not installed."""
    found = []
    for name, what in _PACKAGES.items():
        try:
            package = distribution(name)
        except PackageNotFoundError as error:
            raise BenchError(
                f"the page needs {name}: bring the environment up to date with `pip install -e .`"
            ) from error
        files = [file for file in package.files or () if "licen" in file.name.lower()]
        texts = [str(file.read_text()) for file in files if file.suffix != ".py"]
        found.append(Library(name, package.version, what, "\n\n".join(texts)))
    return found


def table_script() -> str:
    """Return DataTables and jQuery as one script that sets `window.itables`."""
    module = resources.files("itables").joinpath("html/dt_bundle.js").read_text(encoding="utf-8")
    exports = list(_EXPORT.finditer(module))
    names = _ALIAS.findall(exports[-1][1]) if exports else []
    if "ITable" not in {name for _, name in names}:
        raise BenchError("this itables packs DataTables in another way; install itables>=2.9,<3")
    last = exports[-1]
    exported = ",".join(f'"{name}":{inner}' for inner, name in names)
    return f"(()=>{{{module[: last.start()]}window.itables={{{exported}}};{module[last.end() :]}\n}})();"


def table_style() -> str:
    """Return the style sheet of DataTables."""
    return resources.files("itables").joinpath("html/dt_bundle.css").read_text(encoding="utf-8")


@cache
def chart_script() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that sets `window.vegaEmbed`."""
    import vl_convert  # noqa: PLC0415 (an extra)

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))
