"""What to_dict gives, from_dict reads: equal, with None and all arguments, for every object with settings."""

from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import keras
import numpy as np
import pytest
from annotated_types import Interval, Len
from helpers.settings import NET, configured, trainer
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import cellclf as cc
from cellclf.augmentation.steps.base import STEPS, Step
from cellclf.augmentation.steps.policies import AugMix, Composite
from cellclf.pipeline.recipe import recipe_text
from cellclf.training import Cache, Compute, Teacher
from cellclf.utils.annotations import annotations_of, is_literal, item_of, parts_of
from cellclf.utils.parameters import Params, plain

KINDS = {name: type(one) for name, one in configured().items()}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5).filter(lambda text: text != "none")
JSON = st.dictionaries(TEXT, st.booleans() | st.integers(-9, 9) | TEXT | st.lists(st.integers(-9, 9)))


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Draw what an annotation allows, numbers sometimes as NumPy's."""
    return st.one_of([_values_of_part(part) for part in parts_of(annotation)])


def _values_of_part(part: Any) -> st.SearchStrategy[Any]:
    metadata = get_args(part)[1:] if get_origin(part) is Annotated else ()
    base = get_args(part)[0] if metadata else part
    interval = next((one for one in metadata if isinstance(one, Interval)), Interval())
    if base is int:
        low, high = interval.ge if interval.ge is not None else -999, interval.le
        numbers = st.integers(low, high if high is not None else min((interval.lt or 1000) - 1, 2**31 - 1))
        return numbers | numbers.map(np.int64)
    if base is float:
        low = interval.ge if interval.ge is not None else interval.gt
        high = interval.le if interval.le is not None else interval.lt
        ends = {"exclude_min": interval.gt is not None, "exclude_max": interval.lt is not None}
        numbers = st.floats(low, high, allow_nan=False, allow_infinity=False, **ends)
        return numbers | numbers.map(np.float64)
    if (item := item_of(part)) is not None:
        length = next((one for one in metadata if isinstance(one, Len)), Len(0, 3))
        entries = st.lists(values_of(item), min_size=length.min_length, max_size=length.max_length or 3)
        return entries | entries.map(tuple)
    if is_literal(base):
        return st.sampled_from(get_args(base))
    if base in (None, type(None)):
        return st.none()
    if isinstance(get_origin(base), type) and issubclass(get_origin(base), Mapping):
        _, inner = get_args(base)
        return JSON if inner is Any else st.dictionaries(TEXT, values_of(inner), max_size=3)
    if base is Any:
        return st.sampled_from(["residual", "mobilenet"])
    known: dict[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), str: TEXT, Path: TEXT.map(Path)}
    if base in known:
        return known[base]
    if isinstance(base, type) and issubclass(base, Params):
        return objects(base)
    return st.nothing()  # functions, Keras optimizers: no file can hold them, see below


def objects(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Draw an object of a class, every argument as it is declared."""
    if kind is Step:  # no steps in steps in steps
        flat = [one for one in STEPS.values() if not issubclass(one, Composite | AugMix)]
        return st.one_of([st.deferred(lambda one=one: objects(one)) for one in flat])
    return st.fixed_dictionaries({}, optional={n: values_of(a) for n, a in annotations_of(kind).items()}).map(
        lambda given: kind(**needed(kind) | given)
    )


def needed(kind: type[Any]) -> dict[str, Any]:
    return {
        cc.Stage: {"epochs": 3, "learning_rate": 0.1},
        cc.Trainer: {"backbone": NET},
        cc.Backbone: {"network": "residual"},
        cc.Pipeline: {"trainer": trainer()},
        Teacher: {"run": "runs/a"},
    }.get(kind, {})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_object_comes_back_equal_from_json_toml_and_clone(kind: Callable[..., Any]) -> None:
    @settings(max_examples=12)
    @given(objects(kind))
    def check(made: Any) -> None:
        data = made.to_dict()
        again = kind.from_dict(json.loads(json.dumps(data, allow_nan=False)))
        assert again == made and hash(again) == hash(made) and again.to_dict() == data
        table = tomllib.loads(recipe_text({"x": data}))["x"]
        assert kind.from_table(table, "[x]").to_dict() == data
        assert plain(made) == made == pickle.loads(pickle.dumps(made)) == clone(made)

    check()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"Pipeline"}))
def test_every_argument_is_written_also_none(kind: str) -> None:
    thing = configured()[kind]
    data = thing.to_dict()
    names = {"network": "name"} if kind == "Backbone" else {}
    assert {names.get(name, name) for name in thing.get_params(deep=False)} == set(data) - {"step"}
    assert cc.Stage(epochs=1, learning_rate=1, patience=None).to_dict()["patience"] is None


def test_objects_of_other_arguments_differ() -> None:
    assert cc.Head(units=[8]) == cc.Head(units=(8,)) == cc.Head(units=np.array([8])) != cc.Head(units=(9,))
    assert cc.Stage(epochs=np.int64(1), learning_rate=1) == cc.Stage(epochs=1, learning_rate=1.0)
    assert cc.Split(seed=1) != cc.Split(seed=2) and cc.Split() != cc.Dedup()
    assert trainer(seed=1) != trainer(seed=2)
    assert cc.Backbone("residual", weights=Path("a.h5")) == cc.Backbone("residual", weights="a.h5")


@pytest.mark.parametrize("name", ["Adam", "SGD", "Lion", "RMSprop", "AdamW", "Nadam"])
def test_an_optimizer_of_keras_comes_back_with_its_settings(name: str) -> None:
    made = trainer(optimizer=getattr(keras.optimizers, name)(learning_rate=0.5, clipnorm=2.0))
    data = made.to_dict()
    for again in (
        cc.Trainer.from_dict(json.loads(json.dumps(data))),
        cc.Trainer.from_table(tomllib.loads(recipe_text(data)), "[trainer]"),
    ):
        assert type(again.optimizer) is type(made.optimizer)
        assert again.optimizer.clipnorm == 2.0 and again.to_dict() == data


@pytest.mark.parametrize(
    "table",
    [
        {"class_name": "os.system", "config": {"command": "ls"}},
        {"class_name": "deserialize", "config": {}},
        {"class_name": "Optimizer2", "config": {}},
        {"class_name": "Adam", "config": {"beta_9": 1}},
        {"class_name": "Adam", "config": 7},
        {"class_name": ["Adam"]},
        {},
    ],
)
def test_a_table_that_is_no_optimizer_of_keras_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(cc.OptionError, match="optimizer") as caught:
        cc.Trainer.from_table({"backbone": "residual", "optimizer": table}, "[trainer]")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_network_that_was_given_as_an_object_is_not_taken_for_another_of_its_name() -> None:
    images = keras.Input((32, 32, 3))
    network = keras.Model(images, keras.layers.Conv2D(2, 3)(images), name="resnet50")
    data = cc.Backbone(network).to_dict()
    with pytest.raises(cc.UnknownNameError, match="no backbone 'Functional resnet50'"):
        cc.Backbone.from_dict(data).check((32, 32, 3))


def test_what_is_left_open_is_resolved_for_the_manifest() -> None:
    resolved = trainer(backbone="mobilenet", head=None).resolved()
    assert resolved.backbone == cc.Backbone("mobilenet", weights="imagenet") and resolved.head == cc.Head()
    own = trainer(backbone="residual", head=None).resolved()
    assert own.backbone.weights is None and own.head.units == (256, 128)
    assert trainer(backbone="mobilenet", head=None).head is None


def test_parameters_are_found_and_set_by_their_path() -> None:
    made = trainer(augmenter=cc.Augmenter.preset("light"), cache=Cache(views=2), compute=Compute())
    paths = made.get_params()
    assert paths["stages__0__learning_rate"] == 1e-3 and paths["cache__views"] == 2
    assert paths["augmenter__steps__1__degrees"] == 180.0 and paths["backbone__params"] == {"filters": [4, 4, 4]}
    stage = made.stages[0]
    changed = clone(made).set_params(
        stages__0__learning_rate=0.5, augmenter__steps__1__degrees=9, compute__devices=2, backbone__weights="imagenet"
    )
    assert (changed.stages[0].learning_rate, changed.augmenter.steps[1].degrees) == (0.5, 9)
    assert changed.compute.devices == 2 and changed.backbone.weights == "imagenet"
    assert made.stages[0] is stage and stage.learning_rate == 1e-3, "objects that were handed in stay as they are"
    for path in ("stages__7__epochs", "stages__0__epoch", "stages__first__epochs", "seed__x", "sed"):
        with pytest.raises(cc.CellclfError, match=r"no|entries"):
            made.set_params(**{path: 1})


def test_a_changed_object_forgets_what_it_made_of_the_old_values() -> None:
    backbone = cc.Backbone("residual", weights=None)
    augmenter = cc.Augmenter.preset("light")
    assert backbone.spec.name == "residual" and len(augmenter.draw(["a"])) > 0
    assert backbone.set_params(network="sequential").spec.name == "sequential"
    assert augmenter.set_params(steps=[]).draw(["a"]) == {}
