"""Odd values of every setting: accepted, or refused by check() in one line."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import pytest
from annotated_types import Interval
from helpers.settings import CELLS, NET, ODD, STAGE, check, configured, specs, trainer

import cellclf as cc
from cellclf.augmentation.presets import PRESETS, PresetName
from cellclf.pipeline.compare import compare
from cellclf.pipeline.recipe import list_recipes, read_recipe
from cellclf.training import Cache
from cellclf.training.head import Activation
from cellclf.training.stage import MONITORS, Monitor
from cellclf.utils.annotations import annotations_of, parts_of
from cellclf.utils.parameters import check_arguments

CONFIGURED = configured()
FUNCTIONS = {
    cc.cross_validate: ("folds", "seed", "out", "n_jobs"),
    cc.check_labels: ("recipe", "folds", "out", "seed", "n_jobs"),
    compare: ("backbones", "recipe", "out", "n_jobs"),
}


def outcome(work: Any, what: str) -> bool:
    """Return whether it is accepted; anything but a refusal in one printable line fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cc.CellclfWarning)
        try:
            work()
            return True
        except cc.CellclfError as error:
            text = str(error)
            assert len(text) < 1000 and text.isprintable(), f"{what}: {text[:300]!r}"
            return False
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error


def changed(thing: Any, name: str, value: object) -> Any:
    return copy.copy(thing).set_params(**{name: value})


@pytest.mark.parametrize("kind", sorted(CONFIGURED))
def test_an_odd_value_of_any_argument_is_accepted_or_refused_in_a_line(kind: str) -> None:
    thing = CONFIGURED[kind]
    check(thing)
    for name in thing.get_params(deep=False):
        for value in ODD:
            outcome(lambda: check(changed(thing, name, value)), f"{kind} {name}={str(value)[:40]!r}")  # noqa: B023 - runs at once


def test_an_odd_argument_of_a_function_too() -> None:
    for function, names in FUNCTIONS.items():
        for name in names:
            for value in ODD:
                outcome(lambda: check_arguments(function, **{name: value}), f"{name}={str(value)[:40]!r}")  # noqa: B023 - runs at once


def test_an_odd_description_of_a_backbone_too() -> None:
    for spec in specs():
        for field in dataclasses.fields(spec):
            for value in ODD:
                other = dataclasses.replace(spec, **{field.name: value})
                outcome(other.check, f"{field.name}={str(value)[:40]!r}")
        for name in spec.params:
            for value in ODD:
                backbone = cc.Backbone(spec.name, weights=None, params={name: value})
                outcome(lambda: backbone.check((64, 64, 3)), f"params {name}={str(value)[:40]!r}")  # noqa: B023 - runs at once


def paths(table: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the way to every value of a recipe, tables and lists included."""
    entries = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return [one for key, value in entries for one in [(*above, key), *paths(value, (*above, key))]]


def every_setting() -> dict[tuple[Any, ...], dict[str, Any]]:
    """Give all settings of all recipes, each once, with a recipe that has it."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for recipe in list_recipes():
        written = cc.Pipeline.from_recipe(recipe, ["trainer.backbone.weights=none"]).to_dict() | {"seed": 7}
        for name in ("augmenter", "val_augmenter"):
            if written["trainer"][name] is not None:  # the steps have a test of their own
                written["trainer"][name]["steps"] = [{"step": "flip"}]
        for path in paths(read_recipe(written)):
            found.setdefault(path, written)
    return found


def test_an_odd_setting_of_any_recipe_is_accepted_or_refused_in_a_line() -> None:
    settings = every_setting()
    assert len(settings) > 100
    for path, recipe in settings.items():
        table = copy.deepcopy(recipe)
        place: Any = table
        for key in path[:-1]:
            place = place[key]
        for value in ODD:
            place[path[-1]] = value
            what = f"{'.'.join(map(str, path))} = {str(value)[:40]!r}"
            outcome(lambda: cc.Pipeline.from_recipe(table).check(CELLS), what)  # noqa: B023 - runs at once


def numbers(annotation: Any, limited: bool = False) -> list[Any]:
    """Give every number in an annotation that has no limit."""
    if annotation in (int, float):
        return [] if limited else [annotation]
    has_limit = get_origin(annotation) is Annotated and any(isinstance(m, Interval) for m in get_args(annotation)[1:])
    return [one for inner in get_args(annotation) if inner is not annotation for one in numbers(inner, has_limit)]


@pytest.mark.parametrize("kind", sorted(CONFIGURED))
def test_every_argument_declares_what_it_may_be(kind: str) -> None:
    thing = CONFIGURED[kind]
    declared = annotations_of(type(thing))
    assert set(declared) == set(thing.get_params(deep=False))
    for name, annotation in declared.items():
        assert not numbers(annotation), f"{name} has no limits"
        anything = [part for part in parts_of(annotation) if part is Any]
        assert not anything or (kind, name) == ("Backbone", "network"), name


NATURAL = [
    (
        lambda: trainer(stages=STAGE),
        r"Trainer stages=Stage\(.*; expected a list of 1 or more, each entry a Stage, or None; such as",
    ),
    (lambda: trainer(head=64), r"Trainer head=64; expected a Head or None; such as Head\(units"),
    (lambda: trainer(head=cc.Head(units=64)), r"Head units=64; expected a list, .*; such as units=\(512, 256\)"),
    (lambda: trainer(augmenter="light"), r"Trainer augmenter='light'; .*such as Augmenter.preset\(\"light\"\)"),
    (lambda: trainer(mix="mixup"), r"Trainer mix='mixup'; .*such as Mix"),
    (lambda: trainer(cache="disk"), r"Trainer cache='disk'; .*such as Cache\(mode=\"disk\"\)"),
    (lambda: trainer(cache=Cache(limit="4 gigs")), "Cache limit='4 gigs'; expected a size such as"),
    (lambda: trainer(class_weight={0: 1}), "expected 'balanced' or 'effective', a mapping from names to numbers"),
    (lambda: trainer(class_weight={"a": -1}), r"Trainer class_weight\['a'\]=-1; expected a number of 0 or more"),
    (lambda: trainer(optimizer="lio"), "did you mean 'lion'"),
    (lambda: trainer(seed=2**32), "Trainer seed=4294967296; expected a whole number from 0 to below 2147483648"),
    (lambda: trainer(seed=-1), "Trainer seed=-1; expected a whole number of 0 or more"),
    (lambda: trainer(backbone=cc.Backbone("residual", params={"filters": [4, 4]})), "filters=.*expected a list of 3,"),
    (
        lambda: cc.Pipeline(trainer=trainer(), dedup=True),
        r"Pipeline dedup=True; expected a Dedup or None; such as Dedup\(\)",
    ),
    (
        lambda: cc.Pipeline(trainer=trainer(), split=0.2),
        r"Pipeline split=0.2; expected a Split; such as Split\(val=0.2\)",
    ),
    (lambda: cc.Pipeline(trainer="mobilenet"), "Pipeline trainer='mobilenet'; expected a Trainer"),
]


@pytest.mark.parametrize(("make", "message"), NATURAL)
def test_a_natural_mistake_comes_with_its_fix(make: Any, message: str) -> None:
    with pytest.raises(cc.CellclfError, match=message):
        check(make())


def test_a_class_of_an_optimizer_is_not_an_optimizer() -> None:
    import keras

    check(trainer(optimizer=keras.optimizers.Lion()))
    with pytest.raises(cc.OptionError, match=r"is the class Lion; expected one made of it: add \(\)"):
        check(trainer(optimizer=keras.optimizers.Lion))


def test_numbers_of_numpy_are_accepted_wherever_numbers_are() -> None:
    search = np.random.default_rng(0)
    numbers = {"epochs": search.integers(1, 9), "learning_rate": np.float32(1e-3), "warmup": np.float64(0.5)}
    stage = cc.Stage(**numbers, unfreeze=np.int8(2), train_batch_norm=np.bool_(True))
    check(trainer(stages=[stage], batch_size=np.uint16(8), seed=np.int64(3), ema=np.float32(0.9)))
    assert stage.epochs is numbers["epochs"], "stored as it was given"
    check(cc.Head(units=np.array([8, 4])))
    check(cc.Augmenter(seed=np.int64(3), strength=np.float32(0.5)))


def test_lists_of_names_agree_with_what_they_name() -> None:
    import keras

    assert set(get_args(PresetName)) == set(PRESETS)
    assert set(get_args(Monitor)) == set(MONITORS)
    for name in get_args(Activation):
        layer = keras.layers.Activation(name)
        assert layer(np.zeros((1, 4), "float32")).shape == (1, 4)


def test_all_mistakes_of_a_job_are_found_at_once() -> None:
    pipe = cc.Pipeline.from_recipe(
        {
            "split": {"val": 2},
            "trainer": {"backbone": {"name": "residual", "weights": "none"}, "batch_size": 0, "stages": []},
        }
    )
    with pytest.raises(cc.OptionError, match=r"2 mistakes: .*stages=.*batch_size=0.*Split val=2") as caught:
        pipe.check(CELLS)
    assert "\n" not in str(caught.value)
    assert NET.check((24, 24, 3)) == ()
