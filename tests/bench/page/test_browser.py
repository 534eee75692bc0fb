"""The page in a real browser: sorting, filters, drill-down, dark mode, hostile names, silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.cli import main
from bench.results import read
from bench.show import build
from bench.store.cells import CellStore
from tests.bench.page.grid import HOSTILE
from tests.show.figures.conftest import Measured

Open = Callable[..., Any]


def column(page: Any, number: int, level: str = "image") -> list[str]:
    """Return the texts of a column of the table by datasets, as shown."""
    rows = page.locator(f".level[data-level={level}] [data-rows=dataset] tbody tr:visible")
    return rows.evaluate_all("(rows, at) => rows.map((row) => row.children[at].innerText.trim())", number)


def test_numbers_ranks_and_marks_are_the_tables(open_page: Open, report: Path, results: Path) -> None:
    page = open_page(report).page
    table = build(read(CellStore(results / "runs")), "paper", aupro="both")
    for section, level in zip(table.sections, ("image", "pixel"), strict=True):
        shown = page.locator(f".level[data-level={level}] [data-rows=dataset] tbody tr")
        assert shown.count() == len(section.rows)
        for row, of_table in zip(shown.all(), section.rows, strict=True):
            cells = row.locator("td").evaluate_all(
                "(cells) => cells.map((cell) => [...cell.querySelectorAll('.v')].map((v) => "
                "[v.firstChild.textContent, v.querySelector('sup')?.textContent ?? '', "
                "v.classList.contains('best'), v.classList.contains('second')]))"
            )
            for values, entry in zip(cells, of_table.entries, strict=True):
                expected = [[v.text, v.symbols, v.bold, v.rank == 2] for v in entry]
                if all(v.number is None for v in entry):
                    expected = expected[:1]
                assert values == expected


def test_sorting_by_any_metric_stays_within_the_domain_and_keeps_averages_last(
    open_page: Open, report: Path
) -> None:
    page = open_page(report).page
    level = ".level[data-level=image] [data-rows=dataset]"
    for metric, place in (("image_auroc", 0), ("image_ap", 1)):
        page.select_option("[name=sort]", metric)
        if not place:
            for _ in range(2):  # highest first, then lowest first; another metric keeps the direction
                page.locator(f"{level} th[data-name=Tipsomaly]").click()
        domains, names, numbers = column(page, 0), column(page, 1), column(page, 3)
        assert domains == sorted(domains)
        for domain in set(domains):
            of_domain = [
                (name, float(text.split()[place].rstrip("*")) if text != "n/a" else -1.0)
                for where, name, text in zip(domains, names, numbers, strict=True)
                if where == domain
            ]
            averages = [name for name, _ in of_domain if name.startswith("Average")]
            assert averages == [name for name, _ in of_domain][len(of_domain) - len(averages) :]
            rest = [number for name, number in of_domain if not name.startswith("Average")]
            assert rest == sorted(rest)


def test_filters_hide_and_rank_nothing_anew(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    level = ".level[data-level=image] [data-rows=dataset]"
    before = page.locator(f"{level} tbody tr:has-text('MVTec') .best").all_inner_texts()
    page.locator("summary", has_text="Methods").first.click()
    page.uncheck("[name=method][value=Tipsomaly]")
    assert page.locator(f"{level} th[data-name=Tipsomaly]").count() == 0
    after = page.locator(f"{level} tbody tr:has-text('MVTec') .best").all_inner_texts()
    assert after == [text for text in before if text in after]
    assert len(after) < len(before)
    page.keyboard.press("Escape")
    page.locator("summary", has_text="Domains").first.click()
    page.uncheck("[name=domain][value=Medical]")
    assert "Medical" not in column(page, 0)
    page.keyboard.press("Escape")
    page.uncheck("[name=metric][value=image_ap]")
    assert page.locator(f"{level} [data-metric=image_ap]:visible").count() == 0
    assert page.locator(f"{level} [data-metric=image_auroc]:visible").count() > 0
    page.uncheck("[name=level][value=pixel]")
    assert not page.locator(".level[data-level=pixel]").is_visible()
    page.check("[name=rows][value=method]")
    turned = page.locator(".level[data-level=image] [data-rows=method]")
    names = turned.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.children[1].innerText)")
    assert names == ["VAND", "MuSc"]
    assert turned.locator("[data-metric=image_ap]:visible").count() == 0
    assert turned.locator("th[data-span=Medical]").count() == 0


def test_every_number_leads_to_its_cells_also_by_keyboard(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    row = page.locator(".level[data-level=image] [data-rows=dataset] tbody tr", has_text="BTAD")
    row.locator("td").nth(1).click()
    dialog = page.locator("#provenance")
    assert dialog.locator("h3").inner_text() == "Its 3 cells"
    assert dialog.locator("ul.said").inner_text().startswith("Image AUROC")
    dialog.locator("summary").first.click()
    facts = dialog.locator("dl.facts").first.inner_text()
    for text in (
        "0123456789abcdef0123456789abcdef01234567",
        "run_bench.py run --methods tipsomaly",
        "cd" * 32,
    ):
        assert text in facts
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    assert dialog.locator("h2").inner_text() == "MuSc, BTAD"
    dialog.locator("summary").first.click()
    dialog.locator("button", has_text="Curves").first.click()
    assert not dialog.is_visible()
    assert page.locator("#class-dataset option:checked").inner_text() == "BTAD"


def test_the_tables_are_reached_by_tab(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    table = ".level[data-level=image] [data-rows=dataset]"
    page.locator(f"{table} thead [tabindex]").last.focus()
    page.keyboard.press("Tab")
    assert page.locator(f"{table} tbody td:focus").get_attribute("data-where") == "0|0|0|"
    page.keyboard.press("Tab")
    assert page.locator(f"{table} :focus").count() == 0


def test_a_class_shows_curves_histograms_and_telling_images(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    page.select_option("#class-dataset", label="MVTec")
    page.select_option("#class-name", "hazelnut")
    page.locator("#histograms svg").wait_for()
    page.locator("#roc .mark-line path").nth(2).wait_for()
    assert page.locator("#roc .mark-line path").count() == 3
    assert page.locator("#pr .mark-line path").count() == 3
    assert page.locator("#roc .mark-symbol path").count() == 3
    assert page.locator("#histograms .mark-rule line").count() >= 3
    assert "hazelnut/test" in page.locator("#telling").inner_text()
    page.locator("#class summary", has_text="Methods").click()
    page.locator("#class-methods label", has_text="VAND").locator("input").uncheck()
    page.locator("#roc .mark-line path").nth(2).wait_for(state="detached")
    assert page.locator("#roc .mark-line path").count() == 2


def test_names_from_data_are_text(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    page.select_option("#class-dataset", label="<i>own</i>")
    assert page.locator("#class-name option").all_inner_texts() == [HOSTILE]
    page.locator("#classes-dataset").select_option(label="<i>own</i> (other)")
    assert page.locator("#classes-table tbody th").first.inner_text() == HOSTILE
    page.locator("#classes-table td[data-where]").first.click()
    assert HOSTILE in page.locator("#provenance").inner_text()
    assert page.locator("main b:text-is('own'), main i, #provenance b, #provenance i").count() == 0
    assert page.title() == "Zero-shot anomaly detection: results"


def test_partial_numbers_are_seen_and_not_ranked(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    values = page.locator(
        ".level[data-level=image] [data-rows=dataset] tbody tr", has_text="<i>own</i>"
    ).locator(".v[data-sort]")
    assert values.count() == 6
    for value in values.all():
        assert value.get_attribute("class") == "v unranked"
        assert value.locator("sup").inner_text() == "*"
        assert "not ranked" in (value.get_attribute("title") or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_mode_follows_the_system_and_the_button(open_page: Open, report: Path, scheme: str) -> None:
    page = open_page(report, color_scheme=scheme).page

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    first = brightness()
    assert (first < 200) == (scheme == "dark")
    page.click("#theme")
    assert (brightness() < 200) == (scheme == "light")


def test_a_small_screen_scrolls_tables_and_not_the_page(open_page: Open, report: Path) -> None:
    page = open_page(report, viewport={"width": 390, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_matrix_speed_and_published_numbers(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    page.select_option("#cross-method", label="Tipsomaly")
    page.select_option("#cross-metric", "pixel_aupro")
    matrix = page.locator("#cross-table tbody tr", has_text="MVTec")
    assert matrix.locator(".v[style]").count() > 0
    assert "‡" in matrix.inner_text()
    assert page.locator("#speed-chart .mark-symbol path").count() == 3
    assert page.locator("#memory-chart .mark-symbol path").count() == 3
    page.select_option("#published-name", label="tipsomaly_paper")
    assert "difference" in page.locator("#published-table").inner_text()


@pytest.mark.parametrize("inside", [False, True])
def test_images_heat_maps_and_pixel_curves_are_shown(
    open_page: Open, measured: Measured, tmp_path: Path, inside: bool
) -> None:
    out = tmp_path / "site" / "index.html"
    where = ["--images", "--out", str(out)] if inside else ["--site", str(out.parent)]
    words = ["report", "--results", str(measured.results), "--data-root", str(measured.data)]
    assert main([*words, *where]) == 0
    page = open_page(out).page
    images = page.locator("#telling img")
    assert images.count() == 2 * 3 * 2  # methods, best to worst, image and heat map
    for image in images.all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 56
        assert (image.get_attribute("src") or "").startswith("data:" if inside else "images/")
    assert (images.nth(1).get_attribute("alt") or "").startswith("heat map of bolt/test/")
    for chart in ("pixel-roc", "pixel-pr", "pixel-pro"):
        page.locator(f"#{chart} .mark-line path").nth(1).wait_for(state="attached")
        assert page.locator(f"#{chart} .mark-line path").count() == 2
    assert "outline is the ground truth" in page.locator("#class").inner_text()
    assert "no kept maps" not in page.locator("#class").inner_text()


def test_without_kept_maps_the_page_says_so(open_page: Open, report: Path) -> None:
    page = open_page(report).page
    assert not page.locator("#pixel-charts").is_visible()
    assert (
        "maps of 0 of these 3 cells; run --save-maps keeps them" in page.locator("#pixel-note").inner_text()
    )
    assert page.locator("#telling img").count() == 0
