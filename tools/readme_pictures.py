"""Make the README's pictures, docs/gallery.png and docs/table.png, from the demo's results.

Run `python run_bench.py demo`, then `python -m tools.readme_pictures`. The table is the results page in a
headless Chromium (extra `browser`).
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image

from bench.demo.demo import Demo
from bench.results import read
from bench.show.choose import choose, fill_columns
from bench.show.figures.gallery import draw_gallery, gallery_rows
from bench.show.figures.paper import paper_style
from bench.show.images import Images

DOCS = Path(__file__).parent.parent / "docs"
METHODS = ("winclip", "vand", "anomalyclip", "tipsomaly", "faprompt", "visualad", "musc")
DATASETS = ("standin_mvtec", "standin_visa", "standin_isic", "standin_cvc_colondb")
WIDTH, DPI, COLOURS = 8.6, 100, 256
ONE_METRIC = """() => {
  document.querySelector("[name=rows][value=method]").click();
  for (const box of document.querySelectorAll("[name=metric]"))
    if (box.checked !== ["image_auroc", "pixel_aupro_exact"].includes(box.value)) box.click();
  const rest = "header, .filters, #results > *:not(.level)";
  for (const each of document.querySelectorAll(rest)) each.hidden = true;
}"""


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("demo"), help="of the demo")
    demo = Demo(parser.parse_args().root)
    for name, picture in (("gallery", gallery(demo)), ("table", table(demo.page))):
        path = DOCS / f"{name}.png"
        picture.quantize(COLOURS).save(path, optimize=True)
        print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


def gallery(demo: Demo) -> Image.Image:
    """Return the gallery of some methods and datasets, on images of median rank."""
    cells = read(demo.store)
    images = Images(demo.store, cells, demo.data / "prepared")
    kept = [cell for cell in cells if images.keeps_maps(cell)]
    columns = fill_columns(choose(kept, methods=[f"{key}:mini" for key in METHODS], datasets=DATASETS))
    rows = gallery_rows(columns, images, most=len(DATASETS))
    buffer = io.BytesIO()
    with paper_style():
        figure = draw_gallery(rows, [column.title for column in columns], WIDTH, "map")
        figure.savefig(buffer, format="png", dpi=DPI)
    return Image.open(buffer).convert("RGB")


def table(page: Path) -> Image.Image:
    """Return the table of the results page: methods by datasets, one metric for each level."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 (of the extra `browser`)

    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--headless", "--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1640, "height": 900}, color_scheme="light")
        opened.goto(page.resolve().as_uri())
        opened.wait_for_selector("html[data-ready=yes]", state="attached")
        opened.evaluate(ONE_METRIC)
        picture = opened.locator("#results").screenshot()
        browser.close()
    return Image.open(io.BytesIO(picture)).convert("RGB")


if __name__ == "__main__":
    main()
