"""The page of methods follows from the classes."""

from tools.methods_page import TARGET, page


def test_the_page_is_up_to_date() -> None:
    assert TARGET.read_text(encoding="utf-8") == page(), "run `python -m tools.methods_page`"
