"""A step and a corruption are each added by one definition, and appear everywhere."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import cellclf as cc
from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.steps import base
from cellclf.augmentation.steps.base import STEPS, Step, step_from_dict
from cellclf.errors import OptionError, UnknownNameError
from cellclf.evaluation.robustness import corrupt, corruptions, list_corruptions, robustness
from cellclf.evaluation.robustness.corruptions import CORRUPTIONS, Corruption
from cellclf.evaluation.robustness.families import families_of, list_families
from cellclf.evaluation.robustness.result import Robustness
from cellclf.reporting.content import PageContent
from cellclf.reporting.page import write_page


@pytest.fixture(autouse=True)
def registries():
    """Remove what a test has added."""
    steps, added = dict(STEPS), dict(CORRUPTIONS)
    yield
    for registry, before in ((STEPS, steps), (CORRUPTIONS, added)):
        registry.clear()
        registry.update(before)
    assert "toy" not in STEPS and "toy" not in CORRUPTIONS


@pytest.fixture(scope="module")
def cells() -> cc.ImageSet:
    return cc.make_cells(24, size=32, seed=1)


def by_light(images: np.ndarray) -> np.ndarray:
    weights = np.exp(-np.abs(images.mean((1, 2, 3))[:, None] - np.linspace(120, 220, 8)) / 4)
    return weights / weights.sum(1, keepdims=True)


def add_step(families: tuple[str, ...] = ("blur",)) -> type[Step]:
    @base.register("toy", families=families)
    @dataclass(frozen=True, kw_only=True)
    class Toy(Step):
        """Set every level to one value."""

        level: int = 7

        def emit(self, rng, program, active, strength):
            program.table(active & (strength > 0), np.full((program.count, 256), self.level, np.uint8))

    return Toy


def add_corruption(**changes) -> Corruption:
    def invert(images, setting, rng):
        return np.where(images > setting, 255 - images, images).astype(np.uint8)

    toy = Corruption("toy", "inversion", "bright levels are inverted", (250, 200, 150, 100, 50), invert)
    return corruptions.register(replace(toy, **changes))


def test_a_step_by_one_definition(cells: cc.ImageSet) -> None:
    toy = add_step()
    table = tomllib.loads(tomli_w.dumps({"steps": [{"step": "toy", "level": 9}], "seed": 3}))
    augmenter = Augmenter.from_dict(table)
    augmenter.check((32, 32, 3))
    assert list(augmenter.steps) == [toy(level=9)] and augmenter.names() == ("toy",)
    assert Augmenter.from_dict(json.loads(json.dumps(augmenter.to_dict()))) == augmenter
    assert (augmenter(cells.images[:2]) == 9).all()
    recipe = cc.Pipeline.from_recipe("fast", ['trainer.augmenter={steps = [{step = "toy", level = 9}], seed = 3}'])
    assert recipe.trainer.augmenter == augmenter
    assert families_of(["toy"]) == families_of(Augmenter([cc.augmentation.SomeOf(steps=(toy(),))]).names()) == ("blur",)
    found = robustness(by_light, cells, seen=augmenter.names(), resamples=100)
    assert [scores.name for scores in found.corruptions if scores.seen] == ["defocus_blur", "motion_blur"]


@pytest.mark.parametrize(
    ("families", "error", "words"),
    [("blur", OptionError, "expected a tuple"), ((1,), OptionError, "expected a tuple")],
)
def test_a_step_with_unusable_families(families, error, words: str) -> None:
    with pytest.raises(error, match=words):
        add_step(families)
    assert "toy" not in STEPS


def test_a_step_must_declare_its_families() -> None:
    with pytest.raises(TypeError, match="families"):
        base.register("toy")
    assert add_step(()).families == () and families_of(["toy"]) == ()


def test_a_name_of_a_step_is_that_of_one_class() -> None:
    with pytest.raises(OptionError, match="'blur' is taken by Blur"):
        base.register("blur", families=())(add_step())
    assert step_from_dict({"step": "blur"}) == cc.augmentation.Blur()
    add_step()  # the same definition again, as a notebook's cell that is run twice


def test_a_step_and_a_corruption_of_a_new_family(cells: cc.ImageSet) -> None:
    add_step(("inversion",))
    with pytest.raises(UnknownNameError, match="declared by the step 'toy'"):
        families_of(["toy"])
    add_corruption()
    assert families_of(["toy"]) == ("inversion",)


def test_a_step_has_seen_the_family_of_its_own_name() -> None:
    assert families_of(["noise"]) == ()
    add_corruption(family="noise")
    assert families_of(["noise"]) == families_of(Augmenter.preset("light").names())[-1:] == ("noise",)


def test_a_corruption_by_one_definition(cells: cc.ImageSet, tmp_path: Path) -> None:
    add_corruption()
    assert list_corruptions()[-1].name == "toy" and list_families()[-1] == "inversion"
    assert (corrupt(np.full((1, 4, 4, 3), 120, np.uint8), "toy", 4) == 135).all()
    assert families_of(["inversion"]) == ("inversion",)
    found = robustness(by_light, cells, seen=["inversion"], resamples=100)
    scores = found.corruptions[-1]
    assert scores.name == "toy" and scores.seen and scores.be is None and scores.relative_be is None
    assert len(scores.balanced_accuracy) == 5 and scores.mean == pytest.approx(np.mean(scores.balanced_accuracy))
    known = [row.be for row in found.corruptions[:-1]]
    assert found.be == pytest.approx(np.mean(known)) and None not in known
    assert "toy" in str(found) and "mean of all 12" in str(found) and "11 of 12 corruptions" in str(found)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["corruptions"][-1]["name"] == "toy" and str(Robustness.from_dict(data)) == str(found)
    assert [axes.get_title().split("\n")[0] for axes in found.plot().axes if axes.get_visible()][-1] == "toy (seen)"
    page = write_page(PageContent(title="toys", robustness=[found]), tmp_path / "report.html").read_text("utf-8")
    rows = re.findall(r"<tr>.*?</tr>", page.split('id="robustness0"')[1], re.S)
    assert len(rows) == 13 and "<td>toy</td>" in rows[-1]
    assert len({len(re.findall("<t[hd]", row)) for row in rows}) == 1, "a row without a figure keeps its place for it"


def test_no_corruption_needs_a_figure_of_alexnet(cells: cc.ImageSet) -> None:
    CORRUPTIONS.clear()
    add_corruption()
    add_corruption(name="toy again")
    found = robustness(by_light, cells, resamples=100)
    assert found.be is None and found.relative_be is None
    assert "BE" not in str(found) and "AlexNet" not in str(found) and len(found.plot().axes) >= 2


def test_the_figure_of_alexnet_stands_with_the_corruption(cells: cc.ImageSet) -> None:
    add_corruption(alexnet=0.25)
    scores = robustness(by_light, cells, resamples=100).corruptions[-1]
    assert scores.be == pytest.approx(np.mean([1 - value for value in scores.balanced_accuracy]) / 0.25)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "bubble"}, "'bubble' is taken"),
        ({"values": (1, 2)}, "has 2 settings; expected 5"),
        ({"alexnet": 0.01}, "alexnet is 0.01"),
        ({"alexnet": 25.0}, "at most 1"),
    ],
)
def test_a_corruption_that_cannot_work_is_refused(changes, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        add_corruption(**changes)
