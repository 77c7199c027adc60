from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
from helpers.report import history

from cellclf.pages.figures import CURVES, curves_in, inline_svg, plot_curve, restored


def test_curves_draw_the_numbers_of_the_history() -> None:
    rows = history()
    curves = {name: plot_curve(rows, name).axes[0] for name in CURVES}
    titles = [axes.get_title() for axes in curves.values()]
    assert titles == ["Loss (nats)", "Accuracy (%)", "Macro F1 (%)", "Learning rate"]
    lines = {line.get_label(): line.get_ydata() for line in curves["accuracy"].lines}
    np.testing.assert_allclose(lines["training"], [100 * row["accuracy"] for row in rows])
    np.testing.assert_allclose(lines["validation"], [100 * row["val_accuracy"] for row in rows])
    assert [line.get_xdata()[0] for line in curves["loss"].lines[2:]] == [3.5, 5]  # the stage ends, best epoch


def test_a_history_from_a_csv_is_text_and_has_holes() -> None:
    rows = [{name: "" if name == "val_macro_f1" else str(value) for name, value in row.items()} for row in history()]
    assert curves_in(rows) == ["loss", "accuracy", "learning rate"]
    assert restored(rows) == 4
    assert all(plot_curve(rows, name).axes for name in curves_in(rows))
    assert restored([{"best": "False"}]) is None and curves_in([]) == []


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
