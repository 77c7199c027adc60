from __future__ import annotations

import json
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

import cellclf as cc
from cellclf.errors import OptionError, UnknownNameError
from cellclf.pipeline.recipe import list_recipes, make_backbone, make_trainer, read_recipe, recipe_text
from cellclf.utils.parameters import construct

RECIPES = sorted(list_recipes())


def test_the_built_in_recipes_are_there_and_say_what_they_are_for():
    assert {"report", "fast", "demo"} <= set(RECIPES)
    assert all(summary and "\n" not in summary for summary in list_recipes().values())


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_and_comes_back_from_toml(name):
    pipe = cc.Pipeline.from_recipe(name)
    pipe.trainer.check_options()
    assert cc.Pipeline.from_recipe(tomllib.loads(recipe_text(pipe.to_dict()))) == pipe
    assert cc.Pipeline.from_dict(json.loads(json.dumps(pipe.to_dict()))) == pipe


def test_the_report_recipe_is_the_reports():
    pipe = cc.Pipeline.from_recipe("report")
    trainer = pipe.trainer
    assert trainer.backbone.name == "resnet50" and trainer.backbone.weights == "imagenet"
    assert (trainer.optimizer, trainer.batch_size, trainer.class_weight) == ("lion", 64, "balanced")
    assert trainer.head == cc.Head(units=(512, 256), dropout=0.5)
    assert [(s.epochs, s.learning_rate, s.unfreeze) for s in trainer.stages] == [(30, 1e-4, 0), (70, 1e-5, 1)]
    assert pipe.split.val == 0.2 and pipe.expand.strengths == (0.5, 1.0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("spilt.val=0.1", "no slot of a recipe 'spilt'; did you mean 'split'"),
        ("split.vall=0.1", r"no option of \[split\]: 'vall'; did you mean 'val'"),
        ("dedup.max_copy=3", r"option of \[dedup\]: 'max_copy'; did you mean 'max_copies'"),
        ("trainer.batchsize=3", r"option of \[trainer\]: 'batchsize'; did you mean 'batch_size'"),
        ("trainer.head.unit=[3]", r"option of \[trainer.head\]: 'unit'; did you mean 'units'"),
        ("trainer.stages.0.epoch=3", r"option of \[trainer.stages.0\]: 'epoch'; did you mean 'epochs'"),
        ("trainer.backbone.weight=none", r"option of \[trainer.backbone\]: 'weight'; did you mean 'weights'"),
        ("trainer.augmenter.presets=light", r"option of \[trainer.augmenter\]: 'presets'; did you mean 'preset'"),
        ("trainer.augmenter.preset=lihgt", r"no \[trainer.augmenter\] preset: 'lihgt'; did you mean 'light'"),
        ("outlier=", "key to remove, as 'outlier=' asks: 'outlier'; did you mean 'outliers'"),
    ],
)
def test_a_wrong_name_gives_the_nearest(setting, message):
    with pytest.raises(UnknownNameError, match=message):
        cc.Pipeline.from_recipe("fast", [setting])


def test_a_wrong_recipe_gives_the_nearest():
    with pytest.raises(
        UnknownNameError, match=r"no recipe 'fsat'; did you mean 'fast'\? There are: challenge, demo, fast"
    ):
        read_recipe("fsat")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("trainer.batch_size=many", r"\[trainer\] batch_size='many'; expected a whole number of 1 or more"),
        ("trainer.batch_size=3.5", r"batch_size=3.5; expected a whole number"),
        ("trainer.compute.deterministic=1", r"\[trainer.compute\] deterministic=1; expected true or false"),
        ("trainer.stages=5", r"\[trainer\] stages=5; expected a list of 1 or more, each entry a table"),
        (
            "trainer.stages.0.patience=never",
            r'\[trainer.stages.0\] patience=\'never\'; expected a whole number of 1 or more, or "none"',
        ),
        (
            "trainer.head.units=64",
            r"\[trainer.head\] units=64; expected a list, each entry a whole number from 1 to 65536",
        ),
        ("trainer.head.units=[64, a]", r"units='\[64, a\]'; expected a list"),
        ("trainer.head.units=[64.5]", r"units\[0\]=64.5; expected a whole number"),
        ("trainer.head=7", r'\[trainer\] head=7; expected a table or "none"'),
        ("trainer.augmenter=light", r'\[trainer\] augmenter=\'light\'; expected a table or "none"'),
        ("trainer.backbone=7", r"\[trainer\] backbone=7; expected a text or a BackboneSpec or a table"),
        ("trainer.backbone.params=7", r'\[trainer.backbone\] params=7; expected a table or "none"'),
        ("trainer=7", r"\[trainer\] is 7; expected a table"),
        ("split=0.2", r"\[split\] is 0.2; expected a table with some of: val, test, seed"),
        ("split.val=half", r"\[split\] val='half'; expected a number"),
        ("seed=abc", "seed='abc'; expected a whole number"),
        ("trainer=", r"the recipe lacks \[trainer\]"),
        ("trainer.backbone=", r"\[trainer\] lacks backbone"),
        ("trainer.stages.0.epochs=", r"\[trainer.stages.0\] lacks epochs"),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_clear_line(setting, message):
    with pytest.raises(OptionError, match=message) as caught:
        cc.Pipeline.from_recipe("fast", [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("trainer.batch_size=32", ("trainer", "batch_size"), 32),
        (" split.val = .1 ", ("split", "val"), 0.1),
        ("trainer.stages.0.learning_rate=1e-4", ("trainer", "stages", 0, "learning_rate"), 1e-4),
        ("trainer.optimizer=lion", ("trainer", "optimizer"), "lion"),
        ("trainer.optimizer='lion'", ("trainer", "optimizer"), "lion"),
        ("trainer.backbone={ name = 'resnet50' }", ("trainer", "backbone"), {"name": "resnet50"}),
        ("trainer.backbone.weights=a/b=c.h5", ("trainer", "backbone", "weights"), "a/b=c.h5"),
        ("trainer.head.units=[8, 4]", ("trainer", "head", "units"), [8, 4]),
        ("trainer.compute.deterministic=true", ("trainer", "compute", "deterministic"), True),
        ("downsample.target=0.5", ("downsample", "target"), 0.5),
    ],
)
def test_the_grammar_of_settings(setting, path, value):
    found = read_recipe("fast", [setting])
    for key in path:
        found = found[key]
    assert found == value and type(found) is type(value)


def test_an_empty_value_leaves_a_step_out_and_the_last_setting_wins():
    assert cc.Pipeline.from_recipe("fast", ["outliers="]).outliers is None
    assert read_recipe("fast", ["seed=1", "seed=2"])["seed"] == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed.deep=3", "'seed' is a value and holds no keys"),
        ("trainer.stages.4.epochs=3", "there are 1 entries, counted from 0, no '4'"),
        ("trainer.stages.last.epochs=3", "no 'last'"),
        ("trainer.stages.0=3", r"name a field of the entry, such as trainer.stages.0.epochs=3"),
    ],
)
def test_a_setting_that_does_not_fit_says_why(setting, message):
    with pytest.raises(OptionError, match=message):
        read_recipe("fast", [setting])


@given(st.one_of(st.integers(-(2**62), 2**62), st.booleans(), st.floats(allow_nan=False), st.text()))
def test_any_toml_value_can_be_set(value):
    text = tomli_w.dumps({"v": value}).removeprefix("v = ")
    assert read_recipe({}, [f"a.b={text}"]) == {"a": {"b": value}}


def test_data_that_is_given_stays_as_it_was():
    given_data = {"trainer": {"stages": [{"epochs": 3}]}}
    assert read_recipe(given_data, ["trainer.stages.0.epochs=9"])["trainer"]["stages"][0]["epochs"] == 9
    assert given_data == {"trainer": {"stages": [{"epochs": 3}]}}


def test_recipes_from_files(tmp_path, monkeypatch):
    (tmp_path / "mine.toml").write_text('seed = 3\n[trainer]\nbackbone = "sequential"\n', encoding="utf-8")
    assert cc.Pipeline.from_recipe(tmp_path / "mine.toml").trainer.seed == 3
    (tmp_path / "run").mkdir()
    (tmp_path / "mine.toml").rename(tmp_path / "run" / "recipe.toml")
    assert read_recipe(str(tmp_path / "run"))["seed"] == 3
    for name, content, message in (
        ("bad.toml", b"seed = = 3", "bad.toml is not TOML"),
        ("photo.toml", b"\xff\xd8\xff", "photo.toml is not TOML"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OptionError, match=message):
            read_recipe(tmp_path / name)
    with pytest.raises(OptionError, match=r"there is no recipe file .missing\.toml"):
        read_recipe("missing.toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").write_text("not a recipe", encoding="utf-8")
    assert "trainer" in read_recipe("fast"), "a file that is called like a recipe does not hide it"


def test_one_seed_reaches_every_step_that_has_none_of_its_own():
    pipe = cc.Pipeline.from_recipe("fast", ["seed=5", "split.seed=6", "downsample.target=min", "expand.copies=1"])
    assert pipe.split.seed == 6
    seeded = (pipe.outliers, pipe.downsample, pipe.expand, pipe.trainer, pipe.trainer.augmenter)
    assert [step.seed for step in seeded] == [5] * 5


@given(
    st.builds(
        cc.Stage,
        epochs=st.integers(1, 99),
        learning_rate=st.floats(1e-6, 1),
        unfreeze=st.one_of(st.integers(0, 5), st.just("all")),
        patience=st.none() | st.integers(1, 20),
        reduce_patience=st.none() | st.integers(1, 20),
    )
)
def test_an_object_comes_back_from_its_table(stage):
    assert construct(cc.Stage, tomllib.loads(recipe_text(stage.to_dict())), "[stage]") == stage


def test_what_no_recipe_can_hold_is_not_lost_in_silence():
    pipe = cc.Pipeline.from_recipe("fast")
    pipe.outliers.embed = len
    with pytest.raises(OptionError, match=r"\[outliers\] embed='function len'; expected a function"):
        cc.Pipeline.from_recipe(pipe.to_dict())
    assert cc.Pipeline.from_recipe(pipe.to_dict(), ["outliers.embed=none"]) == cc.Pipeline.from_recipe("fast")


def test_backbones_of_a_table():
    assert make_backbone({"name": "mobilenet", "weights": "none"}).weights is None
    assert make_backbone({"name": "mobilenet"}).weights == "default"
    with pytest.raises(OptionError, match="lacks name"):
        make_backbone({})
    assert make_trainer({"backbone": "sequential"}, 4).used_backbone().name == "sequential"


def test_a_variant_changes_slots_and_nothing_else():
    plain, gpu = read_recipe("challenge"), read_recipe("challenge:gpu")
    assert gpu["trainer"]["image_size"] == 224 and gpu["trainer"]["backbone"]["name"] == "convnexttiny"
    assert gpu["trainer"]["stages"] == plain["trainer"]["stages"] and "variants" not in {*plain, *gpu}
    grown = read_recipe("challenge:quick")["trainer"]
    assert [stage.get("image_size") for stage in grown["stages"]] == [64, None]
    assert grown["augmenter"] == plain["trainer"]["augmenter"]
    with pytest.raises(UnknownNameError, match="variant of the recipe challenge: 'gpv'; did you mean 'gpu'"):
        read_recipe("challenge:gpv")
