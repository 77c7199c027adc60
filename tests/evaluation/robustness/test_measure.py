from __future__ import annotations

import json
import math

import numpy as np
import pytest
from helpers.images import png
from sklearn.metrics import accuracy_score, balanced_accuracy_score

import cellclf as cc
from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.steps.base import STEPS, Step
from cellclf.errors import DataError, OptionError, RunFolderError, UnknownNameError
from cellclf.evaluation.intervals import estimate_shares
from cellclf.evaluation.robustness.corruptions import ALEXNET_CLEAN, CORRUPTIONS, SEVERITIES, corrupt, list_corruptions
from cellclf.evaluation.robustness.families import families_of, list_families
from cellclf.evaluation.robustness.measure import robustness
from cellclf.evaluation.robustness.result import Robustness, stored

ALEXNET = {corruption.name: corruption.alexnet for corruption in list_corruptions()}

DECLARED: dict[str, tuple[str, ...]] = {
    "jpeg": ("compression",),
    "blur": ("blur",),
    "defocus": ("blur",),
    "motion": ("blur",),
    "sharpness": ("blur",),
    "brightness": ("brightness",),
    "gamma": ("brightness", "contrast"),
    "channel_shift": ("brightness",),
    "contrast": ("contrast",),
    "autocontrast": ("contrast",),
    "equalise": ("contrast",),
    "illumination": ("brightness",),
    "stain_vectors": ("brightness", "contrast", "saturation"),
    "tone_curve": ("brightness", "contrast"),
    "saturation": ("saturation",),
    "grey": ("saturation",),
    "stain_hed": ("brightness", "contrast", "saturation"),
    "stain_lab": ("brightness", "contrast", "saturation"),
    "cutout": ("occlusion",),
    "gridmask": ("occlusion",),
}
"""The steps that resemble a corruption. Published scores mark families as seen by them: change none silently."""


@pytest.fixture(scope="module")
def cells() -> cc.ImageSet:
    return cc.make_cells(40, size=32, seed=1)


def by_light(images: np.ndarray) -> np.ndarray:
    """A classifier of eight classes by the mean level, so that light and stains mislead it."""
    far = np.abs(images.mean((1, 2, 3))[:, None] - np.linspace(120, 220, 8))
    weights = np.exp(-far / 4)
    return weights / weights.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def found(cells: cc.ImageSet) -> Robustness:
    return robustness(by_light, cells, seen=["jpeg", "contrast", "rotate"], resamples=200, seed=3)


def test_every_figure_is_that_of_the_corrupted_images(cells: cc.ImageSet, found: Robustness) -> None:
    assert [scores.name for scores in found.corruptions] == list(CORRUPTIONS)
    for scores in found.corruptions:
        for severity, balanced, plain in zip(SEVERITIES, scores.balanced_accuracy, scores.accuracy, strict=True):
            called = by_light(corrupt(cells.images, scores.name, severity, ids=cells.ids, seed=3)).argmax(1)
            assert balanced == pytest.approx(balanced_accuracy_score(cells.labels, called))
            assert plain == pytest.approx(accuracy_score(cells.labels, called))
    assert found.clean == pytest.approx(balanced_accuracy_score(cells.labels, by_light(cells.images).argmax(1)))


def test_means_and_errors_follow_the_formulae(found: Robustness) -> None:
    each = {scores.name: np.mean(scores.balanced_accuracy) for scores in found.corruptions}
    for scores in found.corruptions:
        assert scores.mean == pytest.approx(each[scores.name])
        assert scores.mean_accuracy == pytest.approx(np.mean(scores.accuracy))
        own, other = sum(1 - v for v in scores.balanced_accuracy), 5 * ALEXNET[scores.name]
        assert scores.be == pytest.approx(own / other)
        assert scores.relative_be == pytest.approx((own - 5 * (1 - found.clean)) / (other - 5 * ALEXNET_CLEAN))
    assert found.mean == pytest.approx(np.mean(list(each.values())))
    assert found.be == pytest.approx(np.mean([scores.be for scores in found.corruptions]))
    assert found.relative_be == pytest.approx(np.mean([scores.relative_be for scores in found.corruptions]))
    unseen = [scores for scores in found.corruptions if scores.family not in ("compression", "contrast")]
    assert found.unseen == tuple(unseen) and found.seen == ("compression", "contrast")
    assert found.unseen_mean == pytest.approx(np.mean([scores.mean for scores in unseen]))


def test_alexnet_itself_has_a_be_of_one() -> None:
    """The figures of the paper: 88.75 % balanced accuracy on corrupted images, 98.16 % on clean ones."""
    assert 1 - np.mean(list(ALEXNET.values())) == pytest.approx(0.8875, abs=5e-4)
    assert pytest.approx(1 - 0.9816, abs=5e-5) == ALEXNET_CLEAN


def test_every_interval_holds_its_value(found: Robustness) -> None:
    values = [found.clean, found.mean, found.mean_accuracy, found.unseen_mean]
    values += [value for scores in found.corruptions for value in (scores.mean, *scores.accuracy)]
    assert all(value.low <= value <= value.high and value.low < value.high for value in values)


def test_the_batch_changes_nothing(cells: cc.ImageSet, found: Robustness) -> None:
    again = robustness(by_light, cells, seen=["jpeg", "contrast"], resamples=200, seed=3, batch_size=7)
    assert again.to_dict() == found.to_dict()


def test_it_is_read_once_and_predicted_in_order(cells: cc.ImageSet) -> None:
    sizes: list[int] = []

    def counting(images: np.ndarray) -> np.ndarray:
        sizes.append(len(images))
        return by_light(images)

    robustness(counting, cells, batch_size=16, resamples=100)
    assert sizes == [16] * 56 + [16] * 56 + [8] * 56


def test_it_is_plain_data_and_comes_back(found: Robustness, tmp_path) -> None:
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    again = Robustness.from_dict(data)
    assert again.to_dict() == found.to_dict() and str(again) == str(found)
    assert again.mean.low == found.mean.low and again.corruptions[0] == found.corruptions[0]
    (tmp_path / "robustness.json").write_text(json.dumps(data))
    assert stored(tmp_path)[0].to_dict() == data
    (tmp_path / "robustness-b.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"robustness-b\.json holds no robustness"):
        stored(tmp_path)


def test_the_text_and_the_figure_show_the_scores(found: Robustness) -> None:
    text = str(found)
    assert "medmnist-c: 40 images, seed 3" in text and "BE " in text
    assert "compression, seen" in text and "mean of the 8 of families not seen in training" in text
    figure = found.plot()
    assert len([axes for axes in figure.axes if axes.get_visible()]) == 11
    assert png(figure) == png(found.plot()) and len(png(figure)) > 1000
    assert any("(seen)" in axes.get_title() for axes in figure.axes)


def test_shifted_images_are_a_suite_of_one(cells: cc.ImageSet, tmp_path) -> None:
    darker = cc.ImageSet(corrupt(cells.images, "brightness_down", 3), cells.labels, class_names=cells.class_names)
    darker.save(tmp_path / "next month.npz")
    found = robustness(by_light, cells, tmp_path / "next month.npz", resamples=100)
    (scores,) = found.corruptions
    assert found.suite == scores.name == "next month" and found.be is None and not scores.seen
    assert (
        found.mean
        == scores.mean
        == pytest.approx(balanced_accuracy_score(darker.labels, by_light(darker.images).argmax(1)))
    )
    assert "BE" not in str(found) and "not seen in training" not in str(found) and len(found.plot().axes) == 1
    other = darker.subset(np.arange(30))
    same = robustness(by_light, cells, other, name="some", resamples=100)
    assert same.n == 30 and same.suite == "some" and same.clean == found.clean
    turned = cc.ImageSet(darker.images, 7 - darker.labels, class_names=cells.class_names[::-1])
    assert robustness(by_light, cells, turned, resamples=100).mean == found.mean


def test_rare_classes_are_left_out(cells: cc.ImageSet) -> None:
    rare = int(np.bincount(cells.labels).min())
    found = robustness(by_light, cells, min_count=rare + 1, resamples=100)
    assert found.left_out and all(count <= rare for count in found.left_out.values())
    assert "too few images" in str(found)


def test_all_families_may_be_seen(cells: cc.ImageSet) -> None:
    found = robustness(by_light, cells, seen=list_families(), resamples=100)
    assert found.unseen_mean is None and "there are none" in str(found)
    assert Robustness.from_dict(found.to_dict()).unseen_mean is None


def test_mistakes_are_reported(cells: cc.ImageSet) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'medmnist-c'"):
        robustness(by_light, cells, "medmnist")
    with pytest.raises(UnknownNameError, match="no augmentation step or family"):
        robustness(by_light, cells, seen=["blurr"])
    with pytest.raises(DataError, match="no labels"):
        robustness(by_light, cc.ImageSet(cells.images))
    with pytest.raises(DataError, match="expected \\(40, 8\\)"):
        robustness(lambda images: np.ones((len(images), 3)) / 3, cells)
    with pytest.raises(DataError, match="one size"):
        robustness(by_light, cells, cc.make_cells(8, size=48, seed=1))
    for wrong in ({"min_count": 0}, {"batch_size": 0}, {"resamples": 5}, {"confidence": 1}):
        with pytest.raises(OptionError):
            robustness(by_light, cells, **wrong)
    with pytest.raises(DataError, match="lower min_count"):
        robustness(by_light, cells, min_count=1000)


@pytest.mark.parametrize("name", sorted(STEPS))
def test_every_step_declares_its_families(name: str) -> None:
    assert STEPS[name].families == DECLARED.get(name, ())
    assert set(families_of([name])) == set(STEPS[name].families)


def test_mixing_declares_its_families() -> None:
    assert families_of(["cutmix"]) == families_of(["both"]) == ("occlusion",) and families_of(["mixup"]) == ()


def test_steps_that_hold_steps_have_seen_the_families_of_those() -> None:
    inner = (cc.augmentation.Blur(), cc.augmentation.Rotate())
    for kind in (cc.augmentation.AllOf, cc.augmentation.SomeOf, cc.augmentation.AugMix):
        assert families_of(Augmenter([kind(steps=inner)]).names()) == ("blur",)
    nested = cc.augmentation.SomeOf(steps=(cc.augmentation.AllOf(steps=inner), cc.augmentation.JPEG()))
    assert families_of(Augmenter([nested]).names()) == ("compression", "blur")
    whole, geometry = (Augmenter([cc.augmentation.RandAugment(**k)]) for k in ({}, {"ops": ("shear_x", "translate_y")}))
    assert families_of(whole.names()) == ("brightness", "contrast", "saturation")
    assert families_of(geometry.names()) == () and geometry.names() == ("rand_augment", "shear", "translate")


def test_a_family_of_no_corruption_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STEPS["blur"], "families", ("blurr",))
    with pytest.raises(UnknownNameError, match=r"declared by the step 'blur'.*did you mean 'blur'"):
        families_of(["blur"])
    assert Step.families == ()


def test_presets_have_seen_the_families_of_their_steps() -> None:
    assert families_of(Augmenter.preset("none").names()) == ()
    assert families_of(Augmenter.preset("report").names()) == ("brightness",)
    challenge = families_of(Augmenter.preset("challenge").names())
    assert {"brightness", "contrast", "saturation"} <= set(challenge) and "bubbles" not in challenge


def test_bootstrap_of_means_agrees_with_drawing_images() -> None:
    rng = np.random.default_rng(0)
    labels, shares = rng.integers(0, 3, 200), rng.integers(0, 6, 200) / 5
    averaged = np.array([True, True, False])
    balanced, plain = estimate_shares(shares, labels, averaged, confidence=0.9, resamples=4000, seed=1)
    groups = [shares[labels == k] for k in range(3)]
    drawn = np.array([[rng.choice(g, len(g)).mean() for g in groups] for _ in range(4000)])
    sizes = np.array([len(g) for g in groups])
    for value, point, draws in (
        (balanced, np.mean([g.mean() for g in groups[:2]]), drawn[:, :2].mean(1)),
        (plain, shares.mean(), drawn @ sizes / 200),
    ):
        assert value == pytest.approx(point)
        np.testing.assert_allclose([value.low, value.high], np.quantile(draws, [0.05, 0.95]), atol=0.008)


def test_no_mistake_at_all_still_promises_no_certainty() -> None:
    labels, settings = np.array([0, 0, 1]), {"confidence": 0.95, "resamples": 100, "seed": 0}
    right = estimate_shares(np.ones(3), labels, np.array([True, True]), **settings)
    assert all(value == 1 and value.low < 0.6 and not math.isnan(value.low) for value in right)
