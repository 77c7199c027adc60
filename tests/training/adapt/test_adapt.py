"""Adapting arrays: what is fitted, chosen and promised, on laboratories drawn from known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf.errors import DataError
from cellclf.runs.features.space import learn_space, spread
from cellclf.training.adapt.adapt import adapt_labelled, adapt_unlabelled, doubt
from cellclf.training.adapt.candidates import UNCHANGED, Candidate, Fitter, Reading, heads, sizes
from cellclf.training.adapt.logistic import balanced, fit_logistic, softmax
from cellclf.training.adapt.mixture import fit_gate, mix
from cellclf.training.adapt.proof import doubts, expected, learnable, learning_curve, priors, prove
from cellclf.training.adapt.select import AS_IT_WAS, Blend, Blends, CrossFit, best, cross_fit, folds, inside

CLASSES, WIDTHS = 4, (10, 12)


def laboratory(n=200, *, seed=0, right=0.6, views=4, noise=0.6, shift=3.0, shares=(0.4, 0.3, 0.2, 0.1)):
    """Draw features in which classes stand apart, and a run that is right for some of the cells only."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, n, p=shares)
    centres = np.random.default_rng(99).normal(size=(CLASSES, sum(WIDTHS)))
    middle = centres[labels] + noise * rng.normal(size=(n, sum(WIDTHS))) + shift
    features = middle + 0.2 * rng.normal(size=(views, n, sum(WIDTHS)))
    called = np.where(rng.random(n) < right, labels, rng.integers(CLASSES, size=n))
    given = softmax(2.5 * np.eye(CLASSES)[called] + 0.3 * rng.normal(size=(views, n, CLASSES)))
    return features.astype(np.float32), given.astype(np.float32), labels


def reading(features, given, picked, *, home=None, home_labels=None, zoom=1.0, viewed=60):
    rows = np.r_[picked, np.setdiff1d(np.arange(features.shape[1]), picked)[:viewed]]
    return Reading(zoom, WIDTHS, features[0], given[0], features[:, rows], given[:, rows], home, home_labels)


def a_case(count=24, **options):
    features, given, labels = laboratory(**options)
    picked = np.random.default_rng(1).permutation(len(labels))[:count]
    return features, given, labels, picked, {1.0: reading(features, given, picked)}


def balanced_accuracy(labels, called):
    return np.mean([(called[labels == k] == k).mean() for k in np.unique(labels)])


# --- logistic regression and the space


def test_logistic_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=120)
    rows = rng.normal(size=(120, 4)) + np.eye(3, 4)[labels]
    weights = balanced(labels, 3)
    kernel, bias = fit_logistic(
        rows, np.eye(3)[labels], np.zeros((120, 3)), weights, strength=10.0, bias_strength=1e9, steps=500
    )
    peer = LogisticRegression(C=10.0, tol=1e-9, max_iter=5000).fit(rows, labels, sample_weight=weights / weights.sum())
    np.testing.assert_allclose(softmax(rows @ kernel + bias), peer.predict_proba(rows), atol=2e-3)


def test_offsets_are_part_of_the_logits():
    rng = np.random.default_rng(0)
    offsets = 5 * rng.normal(size=(50, 3))
    targets = softmax(offsets)
    kernel, bias = fit_logistic(rng.normal(size=(50, 4)), targets, offsets, np.ones(50))
    assert abs(kernel).max() < 0.05 and abs(bias - bias.mean()).max() < 0.05


def test_a_space_takes_away_scale_and_shift_of_a_layer():
    features, _, _ = laboratory()
    moved = features.copy()
    moved[..., : WIDTHS[0]] = 50 * moved[..., : WIDTHS[0]] + 7
    first, again = learn_space(features[0], features, WIDTHS), learn_space(moved[0], moved, WIDTHS)
    one, other = first.apply(features[0]), again.apply(moved[0])
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-3)


def test_directions_in_which_views_differ_are_shortened():
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(1, 300, 6))
    views = np.repeat(cells, 8, 0)
    views[..., 0] += 3 * rng.normal(size=(8, 300))
    space = learn_space(views[0], views, (6,))
    lengths = np.linalg.norm(space.axes, axis=1)
    assert lengths[0] < 0.5 * lengths[1:].min()


def test_layers_that_are_not_used_count_nothing():
    features, _, _ = laboratory()
    space = learn_space(features[0], features, WIDTHS, columns=[False, True])
    assert not space.axes[: WIDTHS[0]].any() and space.axes[WIDTHS[0] :].any()


@pytest.mark.parametrize("count", [1, 5, 999, 1000, 12345])
def test_a_spread_of_positions_reaches_both_ends(count):
    found = spread(count)
    assert len(np.unique(found)) == min(count, 1000) and found[0] == 0 and found[-1] == count - 1


def test_spaces_of_arrays_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="expected"):
        learn_space(np.zeros((5, 3)), np.zeros((2, 5, 4)), (3,))
    with pytest.raises(DataError, match="two or more"):
        learn_space(np.zeros((1, 3)), np.zeros((2, 1, 3)), (3,))


# --- folds and the choice


def test_folds_share_out_every_class_and_keep_duplicates_together():
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    for fold in folds(labels, 3, 0):
        for label in (0, 1, 2):
            counts = np.bincount(fold[labels == label], minlength=5)
            assert counts.max() - counts.min() <= 1
    clusters = np.arange(35) // 2
    for fold in folds(labels, 3, 0, clusters=clusters):
        assert all(len(set(fold[clusters == one])) == 1 for one in np.unique(clusters))


def test_no_cell_is_scored_by_a_head_that_saw_it():
    _, _, labels, picked, readings = a_case()
    fitter = Fitter(readings, labels[picked], np.arange(CLASSES))
    dealt = folds(labels[picked], 2, 0)
    seen = []

    def fit(candidate, rows, quick):
        seen.append(rows)
        return fitter.fit(candidate, rows, quick=quick)

    cross_fit(fitter, Candidate("x"), dealt, CLASSES, fit=fit)
    expected_rows = [np.flatnonzero(fold != one) for fold in dealt for one in np.unique(fold)]
    assert all(np.array_equal(a, b) for a, b in zip(seen, expected_rows, strict=True))


def test_the_one_to_beat_is_kept_unless_another_is_clearly_better():
    _, _, labels, picked, readings = a_case()
    fitter = Fitter(readings, labels[picked], np.arange(CLASSES))
    dealt = folds(labels[picked], 3, 0)
    first = cross_fit(fitter, sizes(readings)[0], dealt, CLASSES)
    blind = cross_fit(fitter, Candidate("blind", layers=0, pull=0.0), dealt, CLASSES)
    assert best([first, blind], labels[picked]) == 0
    assert best([blind, first], labels[picked]) == 1
    assert best([first, first], labels[picked]) == 1
    given = readings[1.0].views_given[0, : len(picked)].astype(np.float64)
    blends = [Blends(one.probabilities, given, labels[picked]) for one in (first, blind)]
    nested = inside([first, blind], blends, dealt, labels[picked])
    np.testing.assert_allclose(nested.sum(-1), 1)
    np.testing.assert_allclose(nested[0], blends[0].without(dealt[0], 0))


def test_the_farther_a_size_is_the_more_evidence_it_takes():
    labels = np.repeat([0, 1], 20)
    noise = np.random.default_rng(0).normal(size=40)
    noise = (noise - noise.mean()) / noise.std()

    def tried(zoom, lead):  # by so many standard errors
        return CrossFit(Candidate("x", zoom=zoom), np.zeros((1, 40, 2)), 5 - 0.1 * (noise + lead / np.sqrt(40)))

    for zoom, least in ((0.7, 0.93), (1.5, 1.05), (2.0, 1.8)):
        first = CrossFit(Candidate("x"), np.zeros((1, 40, 2)), np.full(40, 5.0))
        assert best([first, tried(zoom, least + 0.05)], labels) == 1
        assert best([first, tried(zoom, least - 0.05)], labels) == 0


def test_a_class_with_one_label_decides_no_choice():
    labels = np.asarray([0] * 10 + [1] * 10 + [2])
    first = CrossFit(Candidate("x"), np.zeros((1, 21, 3)), np.ones(21))
    other = CrossFit(Candidate("x", zoom=1.5), np.zeros((1, 21, 3)), np.asarray([1.1] * 20 + [-50.0]))
    assert best([first, other], labels) == 0


def test_a_clearly_better_size_is_taken():
    features, given, labels = laboratory(noise=4.0)
    sharper, _, same = laboratory(noise=0.3)
    assert np.array_equal(labels, same)
    picked = np.random.default_rng(1).permutation(len(labels))[:30]
    readings = {1.0: reading(features, given, picked), 1.5: reading(sharper, given, picked, zoom=1.5)}
    made = adapt_labelled(readings, labels[picked], np.arange(CLASSES), curve=False)
    assert made.zoom == 1.5 and made.candidate.name.startswith("shown 1.5 times")


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_a_head_is_brought_to_the_temperature_that_the_labels_speak_for(factor):
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(4000, 3))
    labels = np.asarray([rng.choice(3, p=p) for p in softmax(logits)])
    found = Blends(softmax(factor * logits)[None], np.full((4000, 3), 1 / 3), labels).best()
    assert found.own == pytest.approx(1 / factor, abs=0.1) and found.run == 0


def a_head_and_a_run(head_right, run_right, count=60):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    found = []
    for right in (head_right, run_right):
        called = np.where(rng.random(count) < right, labels, rng.integers(3, size=count))
        found.append(softmax(3.0 * np.eye(3)[called] + 0.1 * rng.normal(size=(count, 3))))
    return labels, found[0][None], found[1]


def test_a_run_that_is_right_is_kept_and_one_that_is_lost_is_left():
    labels, head, run = a_head_and_a_run(0.5, 1.0)
    assert Blends(head, run, labels).best().run > 0.5
    sure = np.eye(3)[labels] * 0.994 + 0.002
    assert Blends(head, sure, labels).best() == AS_IT_WAS
    labels, head, run = a_head_and_a_run(0.9, 0.0)
    assert Blends(head, run, labels).best().run == 0
    lacking = sure * [1, 1, 0]
    assert Blends(head, lacking / lacking.sum(1, keepdims=True), labels).best().own > 0


def test_a_blended_head_says_what_the_blend_says():
    features, given, labels, picked, readings = a_case(30)
    head = Fitter(readings, labels[picked], np.arange(CLASSES)).fit(Candidate("x"), np.arange(30))
    one = Blend(0.7, 0.5)
    np.testing.assert_allclose(
        softmax(head.blended(one.own, one.run).logits(features[0], given[0])),
        one(softmax(head.logits(features[0], given[0])), given[0].astype(np.float64)),
        atol=1e-9,
    )


# --- what is made


@pytest.mark.parametrize("candidate", [*sizes(a_case()[-1]), *heads(sizes(a_case()[-1])[0], a_case()[-1][1.0])])
def test_every_head_beats_or_equals_the_run(candidate):
    features, given, labels, picked, readings = a_case(40)
    head = Fitter(readings, labels[picked], np.arange(CLASSES)).fit(candidate, np.arange(40))
    called = head.classes[head.logits(features[0], given[0]).argmax(1)]
    before = balanced_accuracy(labels, given[0].argmax(1))
    assert balanced_accuracy(labels, called) >= before - 0.05


@pytest.mark.parametrize("viewed", [0, 60, 64, 180])
def test_unlabelled_cells_help_where_labels_are_few(viewed):
    plain, trained = Candidate("plain"), Candidate("self-training", self_training=True)
    gains = []
    for seed in range(4):
        features, given, labels = laboratory(seed=seed, noise=0.9)
        picked = np.random.default_rng(seed).permutation(len(labels))[:12]
        fitter = Fitter({1.0: reading(features, given, picked, viewed=viewed)}, labels[picked], np.arange(CLASSES))
        first, then = (fitter.fit(one, np.arange(12)) for one in (plain, trained))
        called = [head.classes[head.logits(features[0], given[0]).argmax(1)] for head in (first, then)]
        gains.append(balanced_accuracy(labels, called[1]) - balanced_accuracy(labels, called[0]))
    assert np.mean(gains) > 0 and min(gains) > -0.05


def test_labels_bring_what_they_promise():
    features, given, labels, picked, readings = a_case(25)
    made = adapt_labelled(readings, labels[picked], np.arange(CLASSES))
    found = made.mixture.probabilities(features[0], given[0])
    score = balanced_accuracy(labels, found.argmax(1))
    assert score > balanced_accuracy(labels, given[0].argmax(1)) + 0.15
    assert made.proof.after.low <= score <= made.proof.after.high
    assert [size for size, _ in made.proof.curve] == [12, 19, 25]
    assert sum(one.chosen for one in made.tried) == 1
    np.testing.assert_allclose(found.sum(1), 1)


def test_more_labels_show_that_they_help():
    _, _, labels, picked, readings = a_case(80)
    assert adapt_labelled(readings, labels[picked], np.arange(CLASSES), curve=False).proof.helps


def test_the_same_seed_gives_the_same():
    _, _, labels, picked, readings = a_case()
    one, other = (adapt_labelled(readings, labels[picked], np.arange(CLASSES), curve=False) for _ in range(2))
    assert np.array_equal(one.mixture.head.kernel, other.mixture.head.kernel) and one.proof == other.proof


def test_a_new_class_is_learnt():
    features, given, labels = laboratory(n=300)
    given = np.delete(given, 3, -1)
    given /= given.sum(-1, keepdims=True)
    picked = np.random.default_rng(1).permutation(300)[:40]
    made = adapt_labelled(
        {1.0: reading(features, given, picked)}, labels[picked], np.asarray([0, 1, 2, -1]), curve=False
    )
    found = made.mixture.probabilities(features[0], given[0])
    assert (found[labels == 3].argmax(1) == 3).mean() > 0.8


def test_a_class_without_labels_keeps_the_word_of_the_run_until_it_is_contradicted():
    features, given, labels = laboratory()
    picked = np.flatnonzero(labels < 3)[:20]
    readings = {1.0: reading(features, given, picked)}
    head = Fitter(readings, labels[picked], np.arange(CLASSES)).fit(Candidate("x"), np.arange(20))
    silent, wrong = np.tile([0.4, 0.3, 0.3, 0.0], (20, 1)), np.tile([0.0, 0.0, 0.0, 1.0], (20, 1))
    sure = np.asarray([[0.01, 0.01, 0.01, 0.97]])
    assert mix(head, np.arange(CLASSES), silent).probabilities(features[0, :1], sure).argmax() == 3
    assert mix(head, np.arange(CLASSES), wrong).probabilities(features[0, :1], sure)[0, 3] < 0.05


def test_the_gate_leaves_home_as_it_was():
    features, given, labels, picked, _ = a_case()
    home, home_given, home_labels = laboratory(seed=5, right=0.97, shift=-3.0)
    seen = reading(features, given, picked, home=home[0], home_labels=home_labels)
    gate = fit_gate(seen, 2)
    assert gate(features[0]).mean() > 0.97 and gate(home[0]).mean() < 0.03
    made = adapt_labelled({1.0: seen}, labels[picked], np.arange(CLASSES), curve=False)
    at_home = made.mixture.probabilities(home[0], home_given[0]).argmax(1)
    assert (at_home == home_given[0].argmax(1)).mean() > 0.97
    assert fit_gate(reading(features, given, picked), 2) is None


def test_a_run_that_is_right_already_is_not_harmed():
    features, given, labels, picked, readings = a_case(16, right=1.0, noise=3.0)
    made = adapt_labelled(readings, labels[picked], np.arange(CLASSES), curve=False)
    found = made.mixture.probabilities(features[0], given[0]).argmax(1)
    assert balanced_accuracy(labels, found) > 0.95
    assert not made.proof.helps and made.proof.before.value > 0.85 and made.proof.before.high > 0.99
    assert all(one.recall == one.before for one in made.proof.classes)
    assert made.candidate is UNCHANGED and [one.name for one in made.tried if one.chosen] == [UNCHANGED.name]


# --- the proof


def test_permuted_labels_are_not_shown_to_help():
    shown = 0
    for seed in range(12):
        _, _, labels, picked, readings = a_case(25, seed=seed)
        dealt = np.random.default_rng(seed).permutation(labels[picked])
        shown += adapt_labelled(readings, dealt, np.arange(CLASSES), curve=False).proof.helps
    assert shown <= 1


def test_the_interval_covers_what_it_promises():
    covered = []
    for seed in range(16):
        _features, _given, labels, picked, readings = a_case(25, seed=seed, noise=1.2)
        made = adapt_labelled(readings, labels[picked], np.arange(CLASSES), curve=False, seed=seed)
        fresh, fresh_given, truth = laboratory(n=800, seed=1000 + seed, noise=1.2)
        score = balanced_accuracy(truth, made.mixture.probabilities(fresh[0], fresh_given[0]).argmax(1))
        covered.append(made.proof.after.low <= score <= made.proof.after.high)
    assert np.mean(covered) >= 0.88


def test_shares_are_found_where_classes_are_unequal():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3000, p=[0.8, 0.15, 0.05])
    rows = 1.5 * np.eye(3)[labels] + rng.normal(size=(3000, 3))
    shares, weighed = priors(softmax(1.5 * rows))
    np.testing.assert_allclose(shares, [0.8, 0.15, 0.05], atol=0.03)
    np.testing.assert_allclose(weighed.sum(1), 1)
    called = softmax(1.5 * rows).argmax(1)
    assert expected(softmax(1.5 * rows), [0, 1, 2]) == pytest.approx(balanced_accuracy(labels, called), abs=0.03)


def test_the_interval_of_a_gain_is_wider_where_labels_are_few():
    widths = []
    for count in (25, 100):
        labels = np.arange(count) % 2
        sure = np.where(np.arange(count)[:, None] % 2 == [0, 1], 0.9, 0.1)
        proof = prove(labels, sure[None], sure, sure[:, ::-1], sure[:, ::-1])
        widths.append(proof.gain.high - proof.gain.low)
    assert widths[0] > widths[1] > 0


def test_what_the_run_is_worth_is_not_judged_by_a_head_that_knows_less():
    rng = np.random.default_rng(0)
    labels, truth = np.repeat(np.arange(4), 6), rng.integers(4, size=400)
    right = 0.02 + 0.92 * np.eye(4)
    blurred = softmax(np.log(right[truth]) * 0.3 + 1.5 * rng.normal(size=(400, 4)))
    crossed = softmax(np.log(right[labels]) * 0.3 + 1.5 * rng.normal(size=(3, 24, 4)))
    judged = prove(labels, crossed, blurred, right[labels], right[truth])
    believed = prove(labels, crossed, blurred, right[labels], right[truth], pool_belief=right[truth])
    assert believed.before.value > 0.95 and judged.before.value > 0.9 and not believed.helps


def test_a_class_with_one_label_is_not_counted_as_missed():
    labels = np.asarray([0] * 8 + [1] * 8 + [2])
    crossed = (0.02 + 0.94 * np.eye(3))[np.where(labels == 2, 0, labels)][None]
    pool = (0.02 + 0.94 * np.eye(3))[np.arange(90) % 3]
    proof = prove(labels, crossed, pool, crossed[0], pool)
    once, often = proof.classes[2], proof.classes[0]
    assert proof.after.value > 0.9 and once.labels == 1 and once.recall.low < often.recall.low


def test_labels_without_meaning_are_known_by_their_folds():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=25)
    found = [learnable(rng.permutation(labels), labels[None], times=200) for _ in range(40)]
    assert np.mean(np.asarray(found) < 0.05) <= 0.1
    mostly = np.where(rng.random(25) < 0.6, labels, rng.integers(4, size=25))
    assert learnable(labels, mostly[None]) < 0.01


def test_confidence_that_the_folds_contradict_is_not_believed():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=30)
    wrong = np.eye(3)[(labels + 1) % 3][None].repeat(3, 0)
    sure = np.eye(3)[rng.integers(3, size=200)]
    proof = prove(labels, wrong, sure, np.full((30, 3), 1 / 3), np.full((200, 3), 1 / 3))
    assert proof.after.value < 0.1 and not proof.helps


def test_wrong_labels_are_among_the_first_doubts():
    found = 0
    for seed in range(6):
        _, _, labels, picked, readings = a_case(25, seed=seed)
        given_labels = labels[picked].copy()
        wrong = np.random.default_rng(seed).choice(25, 2, replace=False)
        given_labels[wrong] = (given_labels[wrong] + 1) % CLASSES
        made = adapt_labelled(readings, given_labels, np.arange(CLASSES), curve=False, seed=seed)
        found += set(wrong) <= set(made.proof.doubts)
    assert found >= 5


def test_nobody_is_doubted_where_all_agree():
    crossed = np.eye(3)[np.repeat([0, 1, 2], 5)][None] * 0.9 + 0.03
    assert doubts(np.repeat([0, 1, 2], 5), crossed, np.full((15, 3), 1 / 3)) == ()


def test_the_curve_says_what_more_labels_would_bring():
    labels = np.repeat([0, 1], 20)
    points, more = learning_curve(40, lambda rows: 1 - len(rows) ** -0.3, labels)
    assert [size for size, _ in points] == [20, 30, 40] and points[0][1] == pytest.approx(1 - 20**-0.3)
    assert more == pytest.approx(40**-0.3 - 65**-0.3, abs=1e-6)
    points, half = learning_curve(40, lambda rows: 1 - len(rows) ** -0.3, labels, after=1 - 40**-0.3 / 2)
    assert half == pytest.approx(more / 2) and points[-1][1] == pytest.approx(1 - 40**-0.3 / 2)
    assert points[0][1] == pytest.approx(1 - 20**-0.3 / 2)
    flat = learning_curve(40, lambda rows: 0.5, labels)[1]
    assert 0 < flat < learning_curve(40, lambda rows: 1 - 3 * len(rows) ** -0.5, labels)[1]
    assert learning_curve(40, lambda rows: 1.0, labels, after=1.0)[1] == 0
    assert learning_curve(8, lambda rows: 0.5, labels[16:24])[1] is None


# --- without labels


def test_without_labels_the_classes_are_restricted_and_nothing_else():
    features, given, _, _picked, readings = a_case()
    made = adapt_unlabelled(readings, np.asarray([0, 2]))
    assert made.candidate is UNCHANGED and made.zoom == 1.0
    found = made.mixture.probabilities(features[0], given[0])
    kept = given[0][:, [0, 2]]
    np.testing.assert_allclose(found, kept / kept.sum(1, keepdims=True), atol=1e-6)


def test_another_size_needs_both_signs():
    features, given, _, picked, readings = a_case()
    sharp = np.repeat((given[:1] ** 6) / (given[:1] ** 6).sum(-1, keepdims=True), len(given), 0)
    torn = softmax(20 * np.random.default_rng(0).normal(size=given.shape)).astype(np.float32)
    both = adapt_unlabelled({**readings, 2.0: reading(features, sharp, picked, zoom=2.0)}, np.arange(CLASSES))
    sure_only = adapt_unlabelled({**readings, 2.0: reading(features, torn, picked, zoom=2.0)}, np.arange(CLASSES))
    assert both.zoom == 2.0 and sure_only.zoom == 1.0
    assert doubt(reading(features, sharp, picked), np.arange(CLASSES))[1] == pytest.approx(0, abs=1e-6)


# --- refusals


@pytest.mark.parametrize(
    ("labels", "text"),
    [([1] * 24, "expected two classes"), ([0, 1, 2, 3], "expected at least two cells")],
)
def test_labels_that_teach_nothing_are_refused(labels, text):
    features, given, _ = laboratory()
    picked = np.arange(len(labels))
    with pytest.raises(DataError, match=text):
        adapt_labelled({1.0: reading(features, given, picked)}, np.asarray(labels), np.arange(CLASSES))


def test_more_labels_than_cells_are_refused():
    _, _, _labels, _picked, readings = a_case()
    with pytest.raises(DataError, match="read in several views"):
        Fitter(readings, np.zeros(500, np.int64), np.arange(CLASSES))
