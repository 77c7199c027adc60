from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellclf.backbones.registry import Registry, list_backbones
from cellclf.backbones.spec import BackboneSpec
from cellclf.errors import OptionError, UnknownNameError


def build(input_shape: tuple[int, int, int], *, weights: str | None, width: int) -> Any:
    raise NotImplementedError


SPEC = BackboneSpec(
    name="net",
    build=build,
    summary="s",
    source="s",
    min_size=8,
    blocks=("a", "b"),
    weights=("imagenet", "*.pth"),
    params={"width": 4, "rate": 0.5, "filters": [1, 2], "bias": True, "note": None},
)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "Net", "name must be"),
        ("name", "a:b", "name must be"),
        ("name", "", "name must be"),
        ("build", "build", "expected a function"),
        ("summary", "two\nlines", "expected one line"),
        ("source", "", "expected one line"),
        ("min_size", 0, "expected a number of pixels"),
        ("min_size", True, "expected a number of pixels"),
        ("grid_from", 7, ">= min_size 8"),
        ("blocks", (), "at least one"),
        ("blocks", ["a"], "expected a tuple"),
        ("blocks", ("a", "a"), "different names"),
        ("weights", "imagenet", "expected a tuple"),
        ("params", {"filters": (1, 2)}, "lists, not tuples"),
        ("params", {"rate": float("nan")}, "JSON"),
        ("params", {"weights": None}, "cannot be a parameter"),
        ("params", {"a b": 1}, "cannot be a parameter"),
        ("params", {1: 1}, "JSON"),
        ("head", {"unit": [8]}, "did you mean 'units'"),
        ("head", [8], "expected a dict"),
        ("api", 2, "upgrade cellclf"),
        ("api", "1", "upgrade the plugin"),
    ],
)
def test_a_field_that_breaks_the_contract_is_named(field: str, value: object, message: str) -> None:
    SPEC.check()
    with pytest.raises(OptionError, match=message) as caught:
        dataclasses.replace(SPEC, **{field: value}).check()
    assert "\n" not in str(caught.value)


def test_settings_are_the_defaults_changed_and_belong_to_the_caller() -> None:
    settings = SPEC.settings({"rate": 1, "filters": (3,), "note": "x"})
    assert settings == {"width": 4, "rate": 1, "filters": [3], "bias": True, "note": "x"}
    SPEC.settings(None)["filters"].append(9)
    assert SPEC.params["filters"] == [1, 2]


@given(
    st.sampled_from(["width", "rate", "filters", "bias"]),
    st.none() | st.text() | st.dictionaries(st.text(), st.integers()),
)
def test_a_parameter_of_another_kind_is_refused(key: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{key}="):
        SPEC.settings({key: value})


def test_a_whole_number_is_a_rate_but_true_is_no_number() -> None:
    assert SPEC.settings({"rate": 2})["rate"] == 2
    for key in ("width", "rate"):
        with pytest.raises(OptionError, match=key):
            SPEC.settings({key: True})
    with pytest.raises(OptionError, match="width"):
        SPEC.settings({"width": 1.5})


def test_an_unknown_parameter_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'width'"):
        SPEC.settings({"widht": 1})


def test_patterns_are_files_that_build_reads() -> None:
    assert SPEC.published == ("imagenet",)
    assert SPEC.reads("net.pth") and not SPEC.reads("imagenet")


def test_every_built_in_backbone_keeps_the_contract_and_pickles() -> None:
    specs = [entry.spec for entry in Registry(plugins=()).backbones]
    assert len({spec.name for spec in specs}) == len(specs) == 10
    for spec in specs:
        spec.check()
        again = pickle.loads(pickle.dumps(spec))
        assert dataclasses.replace(again, build=spec.build) == spec
        assert hash(spec) == hash(dataclasses.replace(spec))
    assert {entry.name for entry in list_backbones()} >= {spec.name for spec in specs}
