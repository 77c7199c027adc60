from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cellclf.errors import DataError, OptionError
from cellclf.evaluation.ood import DomainShift, energy, fit_ood_detector

CENTRES = np.random.default_rng(9).normal(0, 1, (3, 80))


def cells(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes that scatter along few axes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    axes = np.random.default_rng(5).normal(0, 1, (10, 80))
    rows = 3 * CENTRES[labels] + rng.normal(0, 1, (n, 10)) @ axes * 0.3 + rng.normal(0, 0.1, (n, 80))
    return rows * rng.uniform(0.5, 2, (n, 1)), labels


@pytest.fixture(scope="module")
def known():
    rows, labels = cells(600, 0)
    return fit_ood_detector(rows, labels, cells(400, 1)[0])


def test_out_of_distribution_features_are_separated_from_known_ones(known):
    rng = np.random.default_rng(2)
    usual, other = known.distance(cells(500, 3)[0]), known.distance(rng.normal(0, 1, (500, 80)))
    assert roc_auc_score([0] * 500 + [1] * 500, np.concatenate([usual, other])) > 0.999
    for refuse in (0.05, 0.01):
        assert (usual > known.limit(refuse)).mean() == pytest.approx(refuse, abs=0.03)
    assert (other > known.limit(0.01)).all()
    assert known.limit(0.0) == np.inf
    assert known.limit(1e-6) == known.reference[-1]


def test_a_set_of_the_same_kind_is_rarely_called_shifted(known):
    found = [known.compare(known.distance(cells(60, seed)[0])) for seed in range(10, 40)]
    assert not any(shift.shifted for shift in found)
    assert np.mean([shift.auroc for shift in found]) == pytest.approx(0.5, abs=0.05)
    moved = cells(60, 4)[0] + np.random.default_rng(0).normal(0, 0.3, (60, 80))
    shift = known.compare(known.distance(moved))
    assert shift.shifted and shift.auroc > 0.9
    assert str(shift).startswith("SHIFTED") and str(found[0]).startswith("no shift")
    assert json.loads(json.dumps(shift.to_dict()))["shifted"] is True


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), factor=st.floats(0.1, 10))
def test_neither_the_order_nor_the_length_of_features_matters(known, seed, factor):
    rows = cells(20, seed)[0]
    order = np.random.default_rng(seed).permutation(20)
    np.testing.assert_allclose(known.distance(factor * rows[order]), known.distance(rows)[order], rtol=1e-6)


@pytest.mark.parametrize("width", [1, 3, 64, 200])
def test_any_width_and_dead_features_are_borne(width):
    rows = np.maximum(np.random.default_rng(0).normal(-1, 1, (40, width)), 0)  # as after a ReLU: many zeros
    rows[0] = 0
    known = fit_ood_detector(rows, np.arange(40) % 2, rows[:10])
    assert np.isfinite(known.distance(rows)).all() and known.axes.shape == (width, min(64, width))


def test_what_does_not_fit_is_refused(known):
    with pytest.raises(DataError, match="expected \\(images, 80\\)"):
        known.distance(np.zeros((3, 79)))
    with pytest.raises(OptionError, match="refuse=1"):
        known.limit(1)
    with pytest.raises(DataError, match="no images"):
        known.compare([])
    with pytest.raises(DataError, match="2 or more of each"):
        fit_ood_detector(np.zeros((1, 4)), [0], np.zeros((5, 4)))
    with pytest.raises(DataError, match="expected \\(N, d\\)"):
        fit_ood_detector(np.zeros((5, 4)), [0], np.zeros((5, 4)))


def test_energy_is_lower_for_sure_logits():
    assert np.argsort(energy([[9.0, 0, 0], [1, 1, 1], [0, 0, 0]])).tolist() == [0, 1, 2]


def laboratory(n, mix, seed, moved=0.0):
    """Features of four classes that scatter differently, in a given mix."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(4, n, p=np.asarray(mix, float) / np.sum(mix))
    features = np.eye(16)[classes] + rng.normal(0, 1, (n, 16)) * np.array([0.05, 0.1, 0.2, 0.3])[classes, None]
    features[:, 8:] += moved
    return features, classes


MIXES = [(1, 1, 1, 1), (8, 1, 1, 0), (0, 1, 1, 8), (1, 0, 0, 0), (0, 0, 0, 1), (1, 1, 0, 0), (0, 0, 1, 1), (1, 9, 1, 1)]


@pytest.mark.parametrize("mix", MIXES)
def test_another_class_mix_is_no_domain_shift(mix):
    train, labels = laboratory(800, (4, 3, 2, 1), 0)
    val, predicted = laboratory(600, (4, 3, 2, 1), 1)
    known = fit_ood_detector(train, labels, val, predicted)
    found = []
    for seed in range(40):
        features, classes = laboratory(150, mix, 100 + seed)
        found.append(known.compare(known.distance(features), classes, class_names="abcd"))
    assert sum(shift.shifted for shift in found) <= 2
    features, classes = laboratory(150, mix, 7, moved=0.8)
    assert known.compare(known.distance(features), classes).shifted, "a moved laboratory is still found"


def test_the_class_mix_is_a_sentence_of_its_own():
    val, predicted = laboratory(600, (4, 3, 2, 1), 1)
    known = fit_ood_detector(*laboratory(800, (4, 3, 2, 1), 0), val, predicted)
    features, classes = laboratory(100, (0, 0, 0, 1), 2)
    text = str(known.compare(known.distance(features), classes, class_names="abcd"))
    assert text.startswith("no shift") and "100 % of these images are predicted as d, 1" in text
    same, classes = laboratory(300, (4, 3, 2, 1), 3)
    assert "class mix" not in str(known.compare(known.distance(same), classes, class_names="abcd"))


def test_a_detector_without_classes_compares_with_all():
    val, _ = laboratory(600, (4, 3, 2, 1), 1)
    known = fit_ood_detector(*laboratory(800, (4, 3, 2, 1), 0), val)
    features, classes = laboratory(100, (4, 3, 2, 1), 2)
    distance = known.distance(features)
    assert known.compare(distance, classes) == known.compare(distance)


@pytest.mark.parametrize(("n", "said"), [(1, False), (5, False), (60, True)])
def test_the_mix_of_a_handful_of_images_is_chance(n, said):
    shift = DomainShift(
        n=n,
        auroc=0.5,
        p_value=0.5,
        out_of_distribution=0.0,
        shifted=False,
        class_mix={"a": (1.0, 0.5), "b": (0.0, 0.5)},
    )
    assert ("class mix differs" in str(shift)) == said
