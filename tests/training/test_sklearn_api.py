from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.utils import estimator_checks

import cellclf as cc

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
    grid = {"trainer__stages__0__learning_rate": [3e-3, np.float64(1e-9)], "trainer__head__dropout": [0.0]}
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
