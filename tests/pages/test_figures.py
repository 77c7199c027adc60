from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
from helpers.report import history

from cellclf.data.image_set import ImageSet
from cellclf.pages.figures import curves_in, inline_svg, plot_balance, plot_curve, plot_history, restored


def test_curves_draw_the_numbers_of_the_history() -> None:
    rows = history()
    figure = plot_history(rows)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Loss (nats)", "Accuracy (%)", "Macro F1 (%)", "Learning rate"]
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(lines["training"], [100 * row["accuracy"] for row in rows])
    np.testing.assert_allclose(lines["validation"], [100 * row["val_accuracy"] for row in rows])
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[2:]] == [3.5, 5]  # stages part, best epoch


def test_a_history_from_a_csv_is_text_and_has_holes() -> None:
    rows = [{name: "" if name == "val_macro_f1" else str(value) for name, value in row.items()} for row in history()]
    assert curves_in(rows) == ["loss", "accuracy", "learning rate"]
    assert restored(rows) == 4
    assert plot_history(rows).axes
    assert restored([{"best": "False"}]) is None and curves_in([]) == []


def test_balance_shows_both_counts() -> None:
    labels = np.repeat([0, 1, 2], [9, 4, 2])
    cells = ImageSet(np.zeros((15, 8, 8, 3), np.uint8), labels, class_names=["a", "b", "c_d"])
    figure = plot_balance(cells, cells.subset(labels != 1))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == ["0", "2", "2", "4", "9", "9"]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["c d", "b", "a"]


def test_inline_svg_is_the_same_each_time_and_follows_the_page() -> None:
    one, two = (inline_svg(plot_curve(history(), "loss"), 'a "loss" & more', "k") for _ in range(2))
    assert one == two
    other = inline_svg(plot_curve(history(), "accuracy"), "accuracy", "m")
    ElementTree.fromstring(one)
    ids = re.findall(r'\bid="([^"]+)"', one + other)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))
    assert used <= set(ids)
    assert "var(--ink)" in one and "var(--blue)" in one and "<style" not in one and "<metadata" not in one
