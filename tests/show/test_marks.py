from bench.store.marks import Mark, legend, symbols


def test_marks_are_the_words_that_cells_store() -> None:
    stored = ["partial", "selected", "seen", "overlap", "untrained", "privileged", "stand-in"]
    assert [Mark(word) for word in stored] == stored
    assert f"{Mark.STANDIN}" == "stand-in"
    assert [mark for mark in Mark if not mark.ranked][:4] == ["partial", "seen", "untrained", "privileged"]


def test_symbols_and_legend_come_in_one_order() -> None:
    assert symbols({Mark.FEW_THRESHOLDS, Mark.PARTIAL, Mark.PRIVILEGED}) == "*§"
    assert [symbol for symbol, _ in legend({Mark.PROTOCOL, Mark.SEEN, Mark.STANDIN})] == ["‡", "□"]
    every = [mark.symbol for mark in Mark if mark.symbol]
    assert len(set(every)) == len(every)
    assert all(bool(mark.symbol) == bool(mark.legend) for mark in Mark)
