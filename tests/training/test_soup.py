"""A greedy soup: which epochs go in, what is averaged, and that a stop at any moment changes nothing."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.training.ema import EMA
from cellclf.training.soup import Soup, mean

pytestmark = pytest.mark.backend


def stirred(rows, new, *, monitor="mean_macro_f1", best=4, most=3):
    """Stir the last epochs, epoch k having the weight 10 ** k; ``new`` gives scores for sums of the weights in it."""
    soup, tried = Soup(most), []
    for epoch in sorted(rows):
        soup.add(epoch, [np.asarray([10.0**epoch], np.float32)])

    def score(weights):
        inside = tuple(parts_of(weights))
        tried.append(inside)
        return new(inside)

    def parts_of(weights):
        for count in range(1, 5):
            total = round(float(weights[0][0]) * count)
            digits = [k for k in range(9) if total // 10**k % 10 == 1]
            if len(digits) == count and total == sum(10**k for k in digits):
                return digits
        raise AssertionError(weights)

    found, record = soup.stir([np.asarray([10.0**best], np.float32)], best, rows, monitor, score)
    return parts_of(found), record, tried


def scores(both, clean=None, altered=None):
    clean, altered = both if clean is None else clean, both if altered is None else altered
    return {"mean_macro_f1": both, "val_macro_f1": clean, "shifted_macro_f1": altered, "val_loss": 1 - both}


ROWS = {1: scores(0.1), 2: scores(0.7), 3: scores(0.5), 4: scores(0.9), 5: scores(0.8)}


def test_the_best_of_the_last_are_tried_first_and_kept_where_all_scores_agree():
    parts, record, tried = stirred(ROWS, lambda inside: scores(0.9 + 0.01 * len(inside)))
    assert parts == [3, 4, 5] and tried == [(4, 5), (3, 4, 5)], "epoch 2 is none of the last three"
    assert record == {"epochs": [3, 4, 5], "monitor": "mean_macro_f1", "before": 0.9, "after": pytest.approx(0.93)}


@pytest.mark.parametrize("worse", [{"clean": 0.8}, {"altered": 0.8}, {}])
def test_what_makes_one_score_worse_is_left_out(worse):
    def new(inside):
        return scores(0.95 if worse else 0.89, **worse) if 5 in inside else scores(0.92)

    parts, record, _ = stirred(ROWS, new)
    assert parts == record["epochs"] == [3, 4] and record["after"] == 0.92


def test_where_nothing_helps_the_best_epoch_is_kept_as_it_is():
    parts, record, tried = stirred(ROWS, lambda inside: scores(0.1))
    assert parts == record["epochs"] == [4] and record["before"] == record["after"] == 0.9 and len(tried) == 2


def test_a_loss_is_better_when_it_is_lower_and_a_tie_goes_in():
    parts, record, _ = stirred(ROWS, lambda inside: scores(0.9), monitor="val_loss")
    assert parts == [3, 4, 5] and record["before"] == record["after"] == pytest.approx(0.1)
    parts, _, _ = stirred(ROWS, lambda inside: scores(0.9) | {"val_loss": 0.2}, monitor="val_loss")
    assert parts == [4]


def test_the_best_epoch_may_lie_before_the_last_ones():
    parts, _, _ = stirred(ROWS, lambda inside: scores(0.95), best=2, most=2)
    assert parts == [2, 4, 5]


def test_numbers_are_averaged_and_random_states_are_not():
    one = [np.float32([[1, 2]]), np.uint32([7, 8]), np.float32([0.5])]
    two = [np.float32([[3, 4]]), np.uint32([1, 1]), np.float32([1.0])]
    found = mean([one, two])
    assert [array.tolist() for array in found] == [[[2, 3]], [7, 8], [0.75]]
    assert [array.dtype for array in found] == [array.dtype for array in one]


def test_it_is_stored_and_read():
    soup = Soup(2)
    for epoch in (1, 2, 3):
        soup.add(epoch, [np.float32([epoch]), np.float32([[2 * epoch]])])
    again = Soup(2)
    again.load(soup.epochs, soup.state())
    assert again.epochs == [2, 3] and [one[0].tolist() for one in again.weights] == [[2.0], [3.0]]


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True, "3", 101])
def test_a_number_that_cannot_be_is_refused(small_trainer, wrong):
    with pytest.raises(cc.OptionError, match="soup="):
        small_trainer(soup=wrong).check_options()


@pytest.mark.slow
def test_stopped_before_and_while_it_is_stirred_it_ends_as_without_a_stop(small_trainer, parts, tmp_path, monkeypatch):
    stages = (cc.Stage(epochs=4, learning_rate=3e-3, unfreeze="all", train_batch_norm=True, monitor="mean_macro_f1"),)
    settings = {"ema": 0.8, "soup": 3, "val_augmenter": cc.Augmenter.preset("light", seed=5)}
    trainer = small_trainer(stages=stages, augmenter=cc.Augmenter.preset("light", seed=2), **settings)
    averaged, kept = EMA.averaged, []

    def keeping(ema, arrays):
        found = averaged(ema, arrays)
        kept.append(found)
        return found

    monkeypatch.setattr(EMA, "averaged", keeping)
    whole = trainer.fit(parts.train, parts.val)
    monkeypatch.setattr(EMA, "averaged", averaged)
    made = whole.manifest["chosen"]["soup"]
    assert made["monitor"] == "mean_macro_f1" and made["after"] >= made["before"]
    # other backends draw other first weights, with which one epoch may be best alone
    assert len(made["epochs"]) > 1 or keras.backend.backend() != "tensorflow"
    scored = kept[1::2]  # of each epoch, once for its scores and once to keep
    expected = mean([scored[epoch - 1] for epoch in made["epochs"]])
    found = [variable.numpy() for variable in whole.model.variables]
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(expected, found, strict=True))
    calls = []

    def stop(row):
        calls.append(row)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(parts.train, parts.val, out=tmp_path / "a", callbacks=[stop])
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr(Soup, "stir", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(parts.train, parts.val, out=tmp_path / "a")
    resumed = trainer.fit(parts.train, parts.val, out=tmp_path / "a")
    assert resumed.manifest["end_sha256"] == whole.manifest["end_sha256"]
    assert resumed.manifest["chosen"]["soup"] == made
