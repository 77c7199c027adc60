"""No class shrinks unseen: every selector states what it does to each class, and refuses what is too much."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.command import run
from helpers.smooth import smooth

from cellclf import CellclfWarning, DataError, Dedup, Downsample, ImageSet, OptionError, OutlierFilter, UnknownNameError
from cellclf.cleaning.losses import ClassLoss, LossLimit, class_losses, loss_lines
from cellclf.cleaning.selection import Selection, Selector

BASE = smooth(40, seed=3)


def conflicts(torn: int, rare: int = 10) -> ImageSet:
    """Make a class of which some images are copies of images of another one."""
    images = np.concatenate([BASE, smooth(rare, seed=8)])
    images[40 : 40 + torn] = images[:torn]
    return ImageSet(images, [0] * 40 + [1] * rare, class_names=["common", "rare"])


def test_every_summary_names_the_classes_and_apply_the_limit() -> None:
    found = Dedup().find(conflicts(2))
    assert "class common loses 2 of 40 images\nclass rare loses 2 of 10 images" in found.summary()
    assert len(found.apply(conflicts(2))) == 46
    found = Dedup().find(conflicts(3))
    assert "class rare loses 3 of 10 images - too many: apply refuses this" in found.summary()
    with pytest.raises(
        DataError, match=r"class rare loses 3 of 10 images: more than max_loss=0.2 allows; .*raise max_"
    ):
        found.apply(conflicts(3))
    assert found.to_dict()["classes"][1] == {
        "class": "rare", "images": 10, "removed": 3, "different": 10, "different_lost": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("dedup", "torn", "rare", "outcome"),
    [
        (Dedup(), 2, 10, None),
        (Dedup(), 3, 10, "more than max_loss=0.2"),
        (Dedup(max_loss=0.3), 3, 10, None),
        (Dedup(max_loss=0), 1, 10, "more than max_loss=0 "),
        (Dedup(max_loss=1), 8, 10, None),
        (Dedup(max_loss=None), 8, 10, None),
        (Dedup(max_loss=1), 9, 10, "fewer than 2"),
        (Dedup(max_loss=None, on_loss="warn"), 9, 10, "fewer than 2"),
        (Dedup(max_loss=None), 10, 10, "fewer than 2"),
        (Dedup(max_loss=np.float32(0.5)), 2, 4, None),
        (Dedup(max_loss=1), 1, 2, "fewer than 2"),
        (Dedup(max_loss=1), 1, 1, "fewer than 2"),
    ],
)
def test_what_is_refused(dedup: Dedup, torn: int, rare: int, outcome: str | None) -> None:
    cells = conflicts(torn, rare)
    doors: list[Callable[[], Any]] = [
        lambda: dedup.find(cells).apply(cells),
        lambda: dedup.apply(cells),
        lambda: dedup.fit_resample(cells.images, cells.labels),
    ]
    for door in doors:
        if outcome is None:
            door()
        else:
            with pytest.raises(DataError, match=outcome) as raised:
                door()
            assert "\n" not in str(raised.value)
            assert "class rare" in str(raised.value) or "class 1" in str(raised.value)


def test_a_warning_by_choice() -> None:
    found = Dedup(on_loss="warn").find(conflicts(5))
    assert "class rare loses 5 of 10 images - too many: apply warns of this" in found.summary()
    with pytest.warns(CellclfWarning, match="class rare loses 5 of 10"):
        assert len(found.apply(conflicts(5))) == 40


@pytest.mark.parametrize("times", [2, 3, 11, 16, 40])
def test_copies_of_one_image_count_once(times: int) -> None:
    images = np.concatenate([BASE, np.repeat(smooth(4, seed=9), times, 0)])
    cells = ImageSet(images, [0] * 40 + [1] * 4 * times, class_names=["common", "rare"])
    found = Dedup().find(cells)
    assert found.apply(cells).counts() == {"common": 40, "rare": 4}
    many = f"class rare loses {4 * times - 4} of {4 * times} images: copies; all of its 4 different images are kept"
    assert many in found.summary()


def test_a_single_image_that_was_copied_is_kept() -> None:
    cells = ImageSet(np.concatenate([BASE, smooth(1, seed=5), smooth(1, seed=5)]), [0] * 40 + [1, 1])
    assert Dedup().apply(cells).counts() == {"0": 40, "1": 1}


def test_downsampling_states_its_losses_and_leaves_two() -> None:
    cells = ImageSet(BASE[:9], [0] * 6 + [1] * 2 + [2])
    found = Downsample().find(cells)
    assert "class 0 loses 5 of 6 images" in found.summary()
    with pytest.raises(DataError, match=r"class 0 loses 5 of 6 images, class 1 loses 1 of 2 images: .* target of 2"):
        found.apply(cells)
    assert Downsample(target=2).apply(cells).counts() == {"0": 2, "1": 2, "2": 1}


def test_leaks_are_stated_and_not_limited() -> None:
    train = ImageSet(BASE[:10], [0] * 5 + [1] * 5, class_names=["a", "b"])
    found = Dedup(augmented="off").find(train, against=ImageSet(BASE[2:5]))
    assert "class a loses 3 of 5 images" in found.summary()
    assert found.apply(train).counts() == {"a": 2, "b": 5}
    found = Dedup(augmented="off").find(train, against=ImageSet(BASE[1:5]))
    with pytest.raises(DataError, match="take them out of the test set instead"):
        found.apply(train)


def test_an_own_selector_states_its_losses_too() -> None:
    class Odd(Selector):
        def find(self, cells: ImageSet) -> Selection:
            keep = np.arange(len(cells)) % 2 == 0
            return Selection(cells.ids, keep, np.where(keep, "", "odd: by position"), cells=cells)

    cells = ImageSet(BASE[:6], [0, 1, 0, 1, 0, 0])
    found = Odd().find(cells)
    assert found.lost() == ["class 0 loses 1 of 4 images", "class 1 loses 2 of 2 images"]
    assert Odd().find(ImageSet(BASE[:6])).lost() == []
    assert len(found.apply(cells)) == 3  # no limit was set


def test_counting() -> None:
    keep = np.array([True, False, False, True, False, True])
    names = np.array(["b", "b", "b", "a", "", "a"])
    assert class_losses(keep, names, np.array([0, 0, 2, 3, 4, 3])) == (
        ClassLoss("a", 2, 0, 1, 0),
        ClassLoss("b", 3, 2, 2, 1),
    )
    assert class_losses(np.empty(0, bool), np.empty(0, str)) == ()
    many = [ClassLoss(f"class-{k}", 100, k, 100, k) for k in range(1, 60)]
    lines = loss_lines(many, LossLimit(0.5))
    assert len(lines) == 13 and lines[0].startswith("class class-59 loses 59 of 100 images - too many")
    assert lines[-1] == "and 47 more classes lose images"
    with pytest.raises(DataError, match="and 6 more classes") as raised:
        LossLimit(0.5, remedy="r").check(many)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "x" * 500, "=1+1", "ü"])
def test_a_name_of_any_kind_stays_on_its_line(name: str) -> None:
    text = str(ClassLoss(name, 3, 1, 3, 1))
    assert text.isprintable() and len(text) < 150


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        (Dedup(max_loss=1.2), OptionError),
        (Dedup(max_loss=float("nan")), OptionError),
        (OutlierFilter(max_loss=-0.1), OptionError),
        (OutlierFilter(on_loss="ignore"), UnknownNameError),  # type: ignore[arg-type] # wrong on purpose
        (Dedup(on_loss="wran"), UnknownNameError),  # type: ignore[arg-type] # wrong on purpose
        (Dedup(augmented="clusters"), UnknownNameError),  # type: ignore[arg-type] # wrong on purpose
        (Dedup(distance=True), OptionError),
        (Dedup(max_copies="10"), OptionError),  # type: ignore[arg-type] # wrong on purpose
        (OutlierFilter(seed=-1), OptionError),
        (Downsample(seed=1.5), OptionError),  # type: ignore[arg-type] # wrong on purpose
    ],
)
def test_wrong_parameters_are_refused(selector: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=type(selector).__name__):
        selector.check()
    with pytest.raises(error):
        selector.find(conflicts(1))


def test_the_command_line_states_and_refuses(tmp_path: Any) -> None:
    source = conflicts(4).save(tmp_path / "cells.npz")
    out = tmp_path / "clean.npz"
    done = run("dedup", source)
    assert done.exit_code == 0 and "class rare loses 4 of 10 images - too many" in done.output
    done = run("dedup", source, "--apply", out)
    assert done.exit_code == 1 and not out.exists()
    assert re.search("class rare loses 4 of 10 images: .*--max-loss", done.output)
    done = run("dedup", source, "--apply", out, "--on-loss", "warn")
    assert done.exit_code == 0 and "note: class rare loses 4 of 10" in done.output and out.exists()
    assert run("dedup", source, "--apply", out, "--max-loss", "0.5").exit_code == 0
    assert run("dedup", source, "--max-loss", "2").exit_code == 1


def test_a_warning_is_no_error_where_nothing_is_lost() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Dedup(on_loss="warn").apply(conflicts(1))) == 48
