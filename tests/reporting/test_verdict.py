"""The first screen judges the set that it leads with, whatever the order of the sets, and says what to do next."""

from __future__ import annotations

import dataclasses
import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.report import read

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import UnknownNameError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.ood import DomainShift
from cellclf.reporting.content import PageContent
from cellclf.reporting.further_sets import further_sets, headline_name
from cellclf.reporting.markdown import write_markdown
from cellclf.reporting.page import write_page
from cellclf.reporting.score_tables import in_order, unit_line
from cellclf.reporting.verdict import Verdict, judge

NAMES = ("basophil", "lymphocyte", "immature_granulocyte")
SHIFTED = DomainShift(n=90, auroc=0.93, p_value=1e-9, out_of_distribution=0.4, shifted=True)
ALIKE = DomainShift(n=90, auroc=0.51, p_value=0.6, out_of_distribution=0.01, shifted=False)


def report(right: float, *, each: int = 30, counts: tuple[int, ...] = (), groups: int | None = None) -> Report:
    """Score a classifier that is right on this share of each class, and else says the next one."""
    counts = counts or (each,) * len(NAMES)
    labels = np.repeat(np.arange(len(NAMES)), counts)
    place = np.concatenate([np.arange(n) / max(n, 1) for n in counts])
    called = np.where(place < right, labels, (labels + 1) % len(NAMES))
    slides = None if groups is None else np.arange(len(labels)) % groups
    return evaluate(labels, 0.9 * np.eye(len(NAMES))[called] + 0.1 / 3, NAMES, min_count=None, groups=slides)


def content(reports: dict[str, Report], shifts: dict[str, DomainShift] | None = None, **fields: object) -> PageContent:
    evaluations = {name: (one, None) for name, one in reports.items()}
    return PageContent(
        title="a",
        evaluations=evaluations,
        domain_shifts=shifts or {},
        folder="runs/a",
        **fields,  # type: ignore[arg-type]
    )


def judged(reports: dict[str, Report], shifts: dict[str, DomainShift] | None = None, **fields: object) -> Verdict:
    found = judge(content(reports, shifts, **fields))
    assert found is not None and len(found.sentences) == 3
    return found


HOME = {"train": report(1.0), "val": report(0.9)}


def test_a_set_that_falls_is_judged_in_its_first_sentence() -> None:
    there = report(0.2)
    found = judged({**HOME, "hospital_b": there}, {"hospital_b": SHIFTED}, sources={"hospital_b": "other cells/"})
    first, second, third = found.sentences
    points = 100 * (HOME["val"].macro_f1 - there.macro_f1)
    assert found.headline == "hospital_b" and "90 images of “hospital_b”" in first
    assert (
        f"{100 * there.macro_f1:.1f}\u202f%" in first and f", {points:.0f} points lower than at home (“val”;" in first
    )
    assert first.endswith("unlike the training cells (domain shift): do not rely on it there.")
    assert second.startswith(f"Its weakest class is {there.weakest.name.replace('_', ' ')} (F1 ")
    assert "of its 30 images are predicted as" in second
    assert third.startswith("Next: label 25 images of “hospital_b” in the browser, and adapt")
    suggest, adapt = map(shlex.split, found.commands)
    assert suggest == ["cellclf", "suggest", "runs/a", "other cells/", "--count", "25", "--out", "label.html"]
    assert adapt[:4] == ["cellclf", "adapt", "runs/a", "other cells/"] and adapt[-2:] == ["--out", "runs/a-hospital_b"]


def test_of_two_sets_each_sentence_is_about_its_own_figures_and_their_order_changes_nothing(tmp_path: Path) -> None:
    sets = {"month_2": report(0.9, each=40), "hospital_b": report(0.2)}
    shifts = {"month_2": ALIKE, "hospital_b": SHIFTED}
    screens = set()
    for names in itertools.permutations([*HOME, *sets]):
        every = {**HOME, **sets}
        page = content({name: every[name] for name in names}, dict(itertools.islice(shifts.items(), 2)))
        text = write_markdown(page, tmp_path / "report.md").read_text(encoding="utf-8")
        html = write_page(page, tmp_path / "report.html").read_text(encoding="utf-8")
        screens.add((text, html[html.index("<header") : html.index("</header>")]))
    assert len(screens) == 1
    found = judged({**HOME, **sets}, shifts)
    assert found.headline == "hospital_b" and "lower than at home" in found.sentences[0]
    (other,) = [line for line in found.lines if "month_2" in line and line.startswith("On ")]
    assert other.startswith("On 120 images of “month_2” it reaches a macro F1 of 90.0\u202f%")
    assert "not significantly different from home (“val”;" in other and "no domain shift" in other


def test_the_own_test_part_leads_and_the_worst_set_comes_second() -> None:
    sets = {"month_2": report(0.9), "hospital_b": report(0.2), "hospital_c": report(0.5)}
    found = judged({**HOME, "test": report(0.85), **sets}, {"hospital_b": SHIFTED}, copies={"test": 0})
    first, second, third = found.sentences
    assert first.startswith("On 90 images of “test”, which it has never seen, the classifier reaches a macro F1 of")
    assert "the mean over 3 classes" in first
    assert second.startswith("On 90 images of “hospital_b”, the worst of 3 further sets, it reaches a macro F1 of")
    assert "lower than at home (“test”;" in second and "its weakest class is" in second and "hospital_b" in third
    order = [line.split("”")[0] for line in found.lines if "it reaches" in line]
    assert order == ["On 90 images of “hospital_c", "On 90 images of “month_2"]
    assert any(line.startswith("On “test”, the weakest class is") for line in found.lines)


def test_a_set_called_test_that_is_no_own_part_is_compared_with_home() -> None:
    cells = ImageSet(np.zeros((20, 8, 8, 3), np.uint8), np.arange(20) % 2, ids=[f"{k}" for k in range(20)])
    parts = Split(val=0.5, seed=1).apply(cells)
    found = judged({**HOME, "test": report(0.2)}, parts=parts)
    assert "lower than at home (“val”;" in found.sentences[0]


@pytest.mark.parametrize(
    ("right", "shift", "expected", "step"),
    [
        (0.9, None, r"not significantly different from home \(“val”; -[\d.]+ to [\d.]+ points\)\.$", "classify new"),
        (0.9, ALIKE, r"not significantly different.*, and no domain shift is found\.$", "classify new images"),
        (0.9, SHIFTED, r"not significantly.*, although its images as a whole are unlike", "label 25 images"),
        (
            0.2,
            ALIKE,
            r"lower than at home.*, although no domain shift is found: do not rely on it there\.$",
            "label 25",
        ),
        (1.0, ALIKE, r"higher than at home|not significantly", "classify new images"),
    ],
)
def test_a_set_that_holds_is_not_called_a_fall(
    right: float, shift: DomainShift | None, expected: str, step: str
) -> None:
    found = judged({**HOME, "b": report(right)}, {} if shift is None else {"b": shift})
    assert re.search(expected, found.sentences[0]), found.sentences[0]
    assert step in found.sentences[2] and "runs/a" in found.commands[0]


def test_a_fall_that_may_be_chance_says_so() -> None:
    found = judged({"val": report(0.9, each=6), "b": report(0.7, each=6)})
    assert "lower than at home" in found.sentences[0] and "which may be chance" in found.sentences[0]
    assert "do not rely" not in found.sentences[0] and "label 25" in found.sentences[2]


def test_only_classes_that_both_have_are_compared() -> None:
    found = judged({"val": report(0.9), "b": report(0.9, counts=(40, 40, 0))})
    assert "not significantly different from home (“val”, over the 2 classes that both have;" in found.sentences[0]
    assert "No images in “b”, so nothing is known about: immature granulocyte." in found.lines
    apart = judged({"val": report(0.9, counts=(40, 40, 0)), "b": report(0.0, counts=(0, 0, 40))})
    assert "of classes that “val” has no image of" in apart.sentences[0]


def test_classes_with_few_images_do_not_lead_an_average() -> None:
    few = report(0.9, counts=(40, 40, 3))
    assert list(few.left_out) == ["immature_granulocyte"] and few.min_count == 40
    assert few.weakest.name != "immature_granulocyte"
    tiny = report(0.9, counts=(4, 40, 3))
    assert not tiny.left_out, "of one class alone there is no average"
    found = judged({"val": report(0.9), "b": few})
    assert "over the 2 classes" in found.sentences[0]
    assert "Fewer than 20 images in “b”: immature granulocyte. Their scores are uncertain." in found.lines


def test_without_an_external_set_the_next_step_is_one() -> None:
    found = judged({**HOME, "test": report(0.9)})
    assert found.sentences[1].startswith("The weakest class is ") and found.worst is None
    assert "no external images were evaluated" in found.sentences[2]
    assert found.commands == ("cellclf evaluate runs/a SRC",)
    perfect = judged({"val": report(1.0)})
    assert "choose the best epoch" in perfect.sentences[0]
    assert perfect.sentences[1] == "There is no mistake among these 90 images: more images would show some."


def test_copies_and_overfitting_are_reported() -> None:
    sets = {"train": report(1.0), "val": report(0.7), "test": report(0.7), "b": report(0.7)}
    found = judged(sets, copies={"test": 3, "b": 1}, searched="every kind")
    assert "“test”, of which 3 are copies of training or validation images, the classifier" in found.sentences[0]
    assert any(line.startswith("Overfitting") for line in found.lines)
    assert found.lines[-2].startswith("Of the 90 images of “b”, 1 is a copy of training or validation images")
    assert found.lines[-1] == "Copies of training and validation images were searched: every kind."
    assert not any("copies" in line for line in judged(sets).lines)


def test_few_slides_are_said_to_be_few() -> None:
    found = judged({"val": report(0.9), "b": report(0.9, groups=4)})
    assert "The images of “b” are of 4 patients or slides only: few, so that the intervals are rough." in found.lines
    assert not any("patients or slides" in line for line in judged({"val": report(0.9, groups=12)}).lines)
    home = judged({"val": report(0.9, groups=2), "b": report(0.9)})
    assert any("“val” are of 2 patients or slides only" in line for line in home.lines), "home is half of a comparison"


def test_the_unit_of_the_intervals_is_stated(tmp_path: Path) -> None:
    assert unit_line({"val": report(0.9)}) == "Intervals by image."
    every = {"test": report(0.9, groups=12), "b": report(0.9, groups=1), "val": report(0.9)}
    line = "Intervals by patient or slide: test (12), b (1, which says nothing about others). By image: val."
    assert unit_line(every) == line
    shown = line.replace(
        "test (12), b (1, which says nothing about others)", "test (12), b (1, which says nothing about others)"
    )
    page = content(every)
    assert shown in read(write_page(page, tmp_path / "a.html"))[2]
    assert shown in write_markdown(page, tmp_path / "a.md").read_text(encoding="utf-8")


def test_the_date_of_the_run_stands_on_the_page(tmp_path: Path) -> None:
    page = content(HOME, manifest={"date": "2026-11-28T09:46:01+01:00"})
    for text in (
        read(write_page(page, tmp_path / "a.html"))[2],
        write_markdown(page, tmp_path / "a.md").read_text(encoding="utf-8"),
    ):
        assert "2026-11-28, 08:46 UTC" in text
    for manifest in ({}, {"date": "yesterday"}, {"date": None}):  # of older versions
        assert "UTC" not in read(write_page(content(HOME, manifest=manifest), tmp_path / "a.html"))[2]


def test_any_name_of_a_set_is_text_in_a_command() -> None:
    found = judged({"val": report(0.9), "a; rm -rf ~": report(0.1)}, sources={"a; rm -rf ~": "$(id)/x'y"})
    for command in found.commands:
        words = shlex.split(command)
        assert words[3] == "$(id)/x'y" and words[:1] == ["cellclf"]
    assert shlex.split(found.commands[1])[-1] == "runs/a-a-rm-rf"


def test_headline() -> None:
    def lead(*names: str, headline: str | None = None) -> str | None:
        reports = dict.fromkeys(names, report(0.9, each=3)) | ({"bad": report(0.0, each=3)} if "bad" in names else {})
        return headline_name(dataclasses.replace(content(reports), headline=headline))

    assert lead("train", "val") == "val" and lead("train") == "train" and lead() is None
    assert lead("val", "lab", "test") == "test" and lead("val", "test", headline="val") == "val"
    assert lead("val", "lab", "bad") == "bad" == lead("bad", "lab") and lead("b", "a") == "a"
    with pytest.raises(UnknownNameError, match="did you mean 'test'"):
        lead("val", "test", headline="tset")
    assert judge(PageContent(title="")) is None and further_sets(PageContent(title="")) == []
    assert in_order({"train": 0, "val": 0, "c": 0, "b": 0, "test": 0}, "test") == ["test", "b", "c", "train", "val"]


@pytest.mark.parametrize(("right", "poor"), [(0.3, True), (0.6, True), (0.7, False)])
def test_what_is_poor_at_home_is_to_be_trained_better_first(right: float, poor: bool) -> None:
    """With three classes, 2/3 is halfway between guessing and all right."""
    home = {"train": report(1.0), "val": report(right)}
    found = judged({**home, "hospital_b": report(0.1)}, {"hospital_b": SHIFTED})
    assert ("Next: train it better" in found.sentences[2]) == poor
    assert found.commands[0].startswith("cellclf run SRC --set" if poor else "cellclf suggest")
    if poor:
        assert "at home (\u201cval\u201d)" in found.sentences[2] and "guessing (33.3\u202f%)" in found.sentences[2]


@pytest.mark.parametrize(
    ("budget", "sample", "minutes"),
    [
        ({"minutes": 1.0, "enough": 74, "too_short": True}, None, 74),
        ({"minutes": 10.0, "enough": 8, "too_short": False}, {"images": 100, "of": 300}, 24),
        ({"minutes": 1.5, "too_short": True}, None, 3),
    ],
)
def test_what_had_too_little_time_is_given_more_first(budget: Any, sample: Any, minutes: int) -> None:
    manifest = {"chosen": {"budget": budget} | ({"sample": sample} if sample else {})}
    given = dataclasses.replace(content({"val": report(0.9)}), manifest=manifest, command="cellclf run a.npz --out b")
    found = judge(given)
    assert found is not None
    assert found.sentences[2].startswith(f"Next: give it more time before it is used; about {minutes} minutes")
    assert found.commands == (f"cellclf run SRC --minutes {minutes} --out NEW_RUN",)
    typed = "cellclf run a.npz --recipe challenge --minutes 1 --out 'runs/a b' --seed 3"
    again = judge(dataclasses.replace(given, command=typed))
    assert again is not None
    assert again.commands == (f"cellclf run a.npz --recipe challenge --minutes {minutes} --out NEW_RUN --seed 3",)


def test_what_had_a_budget_is_trained_better_with_more_time_not_more_epochs() -> None:
    manifest = {"chosen": {"budget": {"minutes": 20.0, "enough": 12, "too_short": False}}}
    found = judge(dataclasses.replace(content({"train": report(1.0), "val": report(0.3)}), manifest=manifest))
    assert found is not None and "more time, such as 40 minutes" in found.sentences[2]
    assert "epochs" not in " ".join((*found.sentences, *found.lines, *found.commands))
    assert "cellclf run SRC --minutes 40 --out NEW_RUN" in found.commands
