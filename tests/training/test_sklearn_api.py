from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.utils import estimator_checks

import cellclf as cc
from cellclf.errors import CellclfWarning, DataError
from cellclf.training.sklearn_api import check_labels

STAGES = (cc.Stage(epochs=1, learning_rate=3e-3, unfreeze="all", train_batch_norm=True),)


@pytest.fixture(scope="module")
def model(small_trainer):
    return cc.CellClassifier(trainer=small_trainer(stages=STAGES, batch_size=8), val=0.25)


@pytest.fixture(scope="module")
def cells(parts):
    names = np.asarray(["dark", "grey", "light"])
    return parts.train.images[:36], names[parts.train.labels[:36]]


def test_a_trainer_is_cloned_with_all_its_settings(small_trainer):
    trainer = small_trainer(class_weight="balanced", ema=0.9)
    copy = clone(trainer)
    assert copy is not trainer and copy.to_dict() == trainer.to_dict()
    assert copy.set_params(batch_size=8).batch_size == 8 and trainer.batch_size == 16
    with pytest.raises(cc.UnknownNameError, match="did you mean 'batch_size'"):
        trainer.set_params(batchsize=8)


def test_labels_come_back_as_they_were_given(model, cells):
    images, labels = cells
    assert is_classifier(model)
    with pytest.raises(NotFittedError):
        clone(model).predict(images)
    fitted = clone(model).fit(images, labels, groups=np.arange(36) // 2)
    assert fitted.classes_.tolist() == ["dark", "grey", "light"]
    assert set(fitted.predict(images).tolist()) <= {"dark", "grey", "light"}
    probabilities = fitted.predict_proba(images)
    assert probabilities.shape == (36, 3)
    assert fitted.score(images, labels) == (fitted.classes_[probabilities.argmax(1)] == labels).mean()
    assert not hasattr(model, "run_")
    with pytest.raises(cc.DataError, match="2 dimensions"):
        fitted.predict(images.reshape(36, -1))


def test_scikit_learn_cross_validates_it(model, cells):
    found = cross_validate(model, *cells, cv=2, scoring=("accuracy", "neg_log_loss"), error_score="raise")
    assert len(found["test_accuracy"]) == 2 and np.isfinite(found["test_neg_log_loss"]).all()


def test_scikit_learn_searches_what_is_inside_the_stages(model, cells):
    rates = [3e-3, np.float64(1e-9)]
    grid = {
        "trainer__stages__0__learning_rate": rates,
        "trainer__stages__0__epochs": [4],
        "trainer__head__dropout": [0.0],
    }
    search = GridSearchCV(model, grid, cv=2, refit=True, scoring="neg_log_loss", error_score="raise").fit(*cells)
    assert search.best_params_["trainer__stages__0__learning_rate"] == 3e-3
    assert search.best_estimator_.trainer.stages[0].learning_rate == 3e-3
    assert search.best_estimator_.run_.manifest["trainer"]["head"]["dropout"] == 0.0
    assert model.trainer.stages == STAGES and model.trainer.head.dropout == 0.2


CHECKS = (
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_set_params",
    "check_valid_tag_types",
)
"""Those of scikit-learn that ask for no matrix of features as X."""


@pytest.mark.parametrize("check", [name for name in CHECKS if hasattr(estimator_checks, name)])
def test_scikit_learns_own_checks_pass(model, check):
    getattr(estimator_checks, check)("CellClassifier", clone(model))


def test_settings_are_refused_when_it_is_fitted(model, cells):
    with pytest.raises(cc.OptionError, match="CellClassifier val=1; expected a number above 0 and below 1"):
        clone(model).set_params(val=1).fit(*cells)
    with pytest.raises(cc.OptionError, match="Stage epochs=0"):
        clone(model).set_params(trainer__stages__0__epochs=0).fit(*cells)


def test_scikit_learn_searches_its_settings(model, cells):
    search = GridSearchCV(model, {"trainer__batch_size": [4, 8]}, cv=2, refit=False, error_score="raise")
    search.fit(*cells)
    assert search.best_params_["trainer__batch_size"] in (4, 8)
    assert model.trainer.batch_size == 8


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0.0, np.nan, 1.0], "1 of 3 labels are missing"),
        (["a", " ", "b"], "1 of 3 labels are missing"),
        (["a", None, "b"], "1 of 3 labels are missing"),
        (pd.Series(["a", np.nan, np.nan]), "2 of 3 labels are missing"),
        (pd.Series([1, None, 2], dtype="Int64"), "1 of 3 labels are missing"),
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "1 of 3 labels are missing"),
        ([0.37, 1.0, 2.0], "numbers such as 0.37, no classes"),
        (np.random.default_rng(0).random(5), "no classes"),
        ([0.0, np.inf], "numbers such as inf"),
        (np.eye(3), r"shape \(3, 3\); expected one label for each image.*argmax"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        ([1, "a", 2], "texts and numbers"),
        (np.array([1, "a", 2], dtype=object), "texts and numbers"),
        (np.array(["2024-01-01", "2024-01-02"], dtype="datetime64[D]"), "datetime64"),
        ([1 + 2j, 3j], "complex"),
        (3, r"shape \(\)"),
    ],
)
def test_labels_that_name_no_classes_are_refused(labels, expected):
    if isinstance(labels, list) and {type(one) for one in labels} == {int, str}:
        labels = np.array(labels, dtype=object)
    with pytest.raises(DataError, match=expected):
        check_labels(labels)


@pytest.mark.parametrize(
    "labels",
    [
        [1.0, 2.0],
        [True, False],
        ["a", "b"],
        np.array([[0], [1]]),
        pd.Categorical(["a", "b"]),
        np.array(["x", "y"], dtype=object),
        pd.Series([3, 5], dtype="Int64"),
    ],
)
def test_labels_of_any_other_kind_are_taken(labels):
    assert len(np.unique(check_labels(labels))) == 2


class Seeing(cc.Trainer):
    """A trainer whose training is left out, and which notes the groups that both parts have."""

    seen: list = []  # noqa: RUF012

    def fit(self, train, val, **more):
        Seeing.seen.append(None if train.groups is None else set(train.groups) & set(val.groups))
        return cc.Run(None, train.class_names)


@pytest.mark.parametrize("how", ["cross_validate", "cross_val_score", "cross_val_predict", "search", "plain"])
@pytest.mark.parametrize("routed", [False, True])
def test_groups_reach_fit_or_it_is_said_that_they_do_not(how, routed, monkeypatch, recwarn):
    monkeypatch.setattr(cc.Run, "predict_proba", lambda self, images, show=None: np.full((len(images), 2), 0.5))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    model = cc.CellClassifier(trainer=Seeing(backbone="residual"))
    Seeing.seen.clear()
    given = {"cv": GroupKFold(2)} | ({"params": {"groups": groups}} if routed else {"groups": groups})

    def work():
        if how == "search":
            search = GridSearchCV(model, {"val": [0.2, 0.3]}, cv=GroupKFold(2), error_score="raise")
            search.fit(images, labels, groups=groups)
        elif how == "plain":
            model.fit(images, labels, groups=groups)
        else:
            {"cross_validate": cross_validate, "cross_val_score": cross_val_score}.get(how, cross_val_predict)(
                model, images, labels, **given
            )

    with config_context(enable_metadata_routing=routed):
        if routed or how == "plain":
            work()
            assert Seeing.seen and all(shared == set() for shared in Seeing.seen)
        else:
            with pytest.warns(CellclfWarning, match="enable_metadata_routing=True"):
                work()
            assert set(map(type, Seeing.seen)) == {type(None)}


def test_nothing_is_said_where_there_are_no_groups(monkeypatch):
    monkeypatch.setattr(cc.Run, "predict_proba", lambda self, images, show=None: np.full((len(images), 2), 0.5))
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    model = cc.CellClassifier(trainer=Seeing(backbone="residual"))
    cross_validate(model, images, np.arange(40) % 2, cv=2, error_score="raise")
