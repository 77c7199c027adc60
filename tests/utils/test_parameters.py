"""One declaration of what a parameter may be: checked, described, read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from annotated_types import Interval, Len

import cellclf as cc
from cellclf.errors import OptionError, UnknownNameError
from cellclf.utils.annotations import annotations_of, described
from cellclf.utils.parameters import (
    Called,
    Count,
    Example,
    Jobs,
    NotNegative,
    Params,
    Positive,
    Seed,
    Share,
    check_parameters,
    check_value,
    construct,
    plain,
    shortened,
)

EVERY_NUMBER = [3, np.int8(3), np.uint64(3), np.int64(3), np.array(3)]
RIGHT = [
    *((value, Count) for value in EVERY_NUMBER),
    *((value, Positive) for value in (*EVERY_NUMBER, 0.5, np.float16(0.5), np.float32(0.5), np.longdouble(0.5))),
    (np.bool_(True), bool),
    (np.str_("avg"), Literal["avg", "max"]),
    ([1, 2], tuple[Count, ...]),
    ((np.int64(1),), Sequence[Count]),
    (np.array([1, 2]), Sequence[Count]),
    ((), Sequence[Count]),
    ({"a": np.float32(1)}, Mapping[str, NotNegative]),
    (None, Count | None),
    ("all", Count | Literal["all"]),
    (Path("a"), str | Path | None),
    (len, Callable[[Any], int] | None),
    (cc.Head(), cc.Head | None),
    ([cc.Head()], Sequence[cc.Head]),
    (-1, Jobs),
    (2**31 - 1, Seed),
    (1, Annotated[float | None, Example("0.5")]),
]
WRONG = [
    (True, Count, "v=True; expected a whole number of 1 or more"),
    (np.True_, Share, "v=True; expected a number from 0 to 1"),
    (1.0, Count, "v=1.0; expected a whole number of 1 or more"),
    (math.nan, Share, "v=nan; expected a number from 0 to 1"),
    (np.float32("nan"), Positive, "v=nan; expected a number above 0"),
    (-math.inf, NotNegative, "v=-inf; expected a number of 0 or more"),
    (10**40, Seed, "v=a whole number of 41 digits; expected a whole number from 0 to below 2147483648"),
    (10**5000, Positive, "v=a whole number of 5001 digits; expected a number above 0 and below 2147483648"),
    (-(2**31), Seed, "v=-2147483648; expected a whole number of 0 or more"),
    (0, Jobs | None, "v=0; expected a whole number of 1 or more, -1 for every core, or None"),
    ("3", Count | None, "v='3'; expected a whole number of 1 or more, or None"),
    (b"avg", Literal["avg", "max"], "v=b'avg'; expected 'avg' or 'max'"),
    ("a\nb\x1b[2J", Count, "v='a\\nb\\x1b[2J'; expected a whole number of 1 or more"),
    ([1, "a"], Sequence[Count], "v[1]='a'; expected a whole number of 1 or more"),
    ([1], Annotated[Sequence[Count], Len(2, 2)], "v=[1]; expected a list of 2, each entry a whole number of 1 or more"),
    ([[1, "a"]], Sequence[Sequence[Count]], "v[0][1]='a'; expected a whole number of 1 or more"),
    ({"a": -1}, Mapping[str, NotNegative], "v['a']=-1; expected a number of 0 or more"),
    ({1: 1}, Mapping[str, NotNegative], "v={1: 1}; expected a mapping from names to numbers of 0 or more"),
    (
        64,
        Annotated[Sequence[Count], Example("(64,)")],
        "v=64; expected a list, each entry a whole number of 1 or more; such as (64,)",
    ),
    (cc.Head, cc.Head | None, "v=<class 'cellclf.training.head.Head'>; expected a Head or None"),
    (3, Annotated[cc.Head, Called("a pair of ears")] | None, "v=3; expected a pair of ears or None"),
    (object, Callable[[Any], int] | bool, None),
    (
        np.zeros((2, 2)),
        Sequence[Count],
        "v=array([[0., 0.], [0., 0.]]); expected a list, each entry a whole number of 1 or more",
    ),
]


@pytest.mark.parametrize(("value", "annotation"), RIGHT, ids=range(len(RIGHT)))
def test_what_is_declared_is_accepted(value: Any, annotation: Any) -> None:
    check_value(value, annotation, "v")


@pytest.mark.parametrize(("value", "annotation", "message"), WRONG, ids=range(len(WRONG)))
def test_anything_else_is_refused_in_a_line(value: Any, annotation: Any, message: str | None) -> None:
    if message is None:  # a class can be called, too
        check_value(value, annotation, "v")
        return
    with pytest.raises(OptionError) as caught:
        check_value(value, annotation, "v")
    assert str(caught.value) == message


@pytest.mark.parametrize("annotation", [Literal["avg", "max"], Literal["avg", "max"] | None])
def test_a_wrong_name_gives_the_nearest(annotation: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"no v: 'agv'; did you mean 'avg'\? There are: avg, max"):
        check_value("agv", annotation, "v")
    with pytest.raises(OptionError, match="did you mean 'auto'"):
        check_value("aoto", Count | Literal["auto"], "v")


def test_the_words_of_a_recipe_are_those_of_toml() -> None:
    annotation = bool | cc.Head | Mapping[str, float] | None
    assert described(annotation) == "True or False, a Head, a mapping from names to numbers, or None"
    assert described(annotation, toml=True) == 'true or false, a table, or "none"'


def test_what_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(OptionError, match="expected a list, each entry a whole number"):
        check_value(endless, Sequence[Count], "v")


def test_a_repr_that_fails_or_is_long_is_shortened() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert shortened(Broken()) == "a Broken"
    assert len(shortened("x" * 10**6)) == 60 and shortened("\ud800").isprintable()


def test_numbers_become_pythons_at_any_depth() -> None:
    made = plain(
        {"a": [np.int64(1), (np.float32(0.5),)], np.str_("b"): cc.Head(units=[np.int64(8)], dropout=np.float64(0))}
    )
    assert made == {"a": [1, (0.5,)], "b": cc.Head(units=[8], dropout=0.0)}
    assert [type(made["a"][0]), type(made["a"][1][0]), type(made["b"].units[0])] == [int, float, int]


def build(shape: tuple[int, int], *, width: Count, kind: NotThere = "a", note: int | NotThere = 0) -> None:  # noqa: F821 - as under TYPE_CHECKING
    """A function as a plugin has it."""


def test_annotations_are_read_from_functions_classes_and_partials() -> None:
    found = annotations_of(partial(build, (1, 2)))
    assert found["width"] == Count and found["kind"] is Any
    check_value("anything", found["note"], "v")
    assert set(annotations_of(cc.Stage)) == set(cc.Stage(epochs=1, learning_rate=1).get_params(deep=False))


class Ear(Params):
    def __init__(self, *, size: Count = 3, side: Literal["left", "right"] = "left") -> None:
        self.size, self.side = size, side


class Animal(Params):
    def __init__(self, *, name: str, ears: Sequence[Ear] = (), tail: Ear | None = None) -> None:
        self.name, self.ears, self.tail = name, ears, tail


def test_tables_become_the_objects_that_are_declared() -> None:
    made = construct(Animal, {"name": "hare", "ears": [{"size": 9}, {"side": "right"}], "tail": "none"}, "[animal]")
    assert made == Animal(name="hare", ears=(Ear(size=9), Ear(side="right")), tail=None)
    assert Animal.from_dict(made.to_dict()) == made


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"\[animal\] lacks name"),
        ({"name": 3}, r"\[animal\] name=3; expected a text"),
        ({"name": "a", "tial": 3}, r"no option of \[animal\]: 'tial'; did you mean 'tail'"),
        ({"name": "a", "tail": 3}, r'\[animal\] tail=3; expected a table or "none"'),
        ({"name": "a", "tail": {"size": "big"}}, r"\[animal.tail\] size='big'; expected a whole number of 1 or more"),
        ({"name": "a", "ears": [{}, {"size": 0.5}]}, r"\[animal.ears.1\] size=0.5; expected a whole number"),
        ({"name": "a", "ears": [{}, {"sise": 1}]}, r"no option of \[animal.ears.1\]: 'sise'; did you mean 'size'"),
        ({"name": "a", "ears": {"size": 1}}, r"\[animal.ears\] |\[animal\] ears="),
        ({"name": "a", "ears": [3]}, r"\[animal\] ears\[0\]=3; expected a table"),
        (7, r"\[animal\] is 7; expected a table with some of: name, ears, tail"),
    ],
)
def test_a_table_that_does_not_fit_names_its_place(table: Any, message: str) -> None:
    with pytest.raises(cc.CellclfError, match=message) as caught:
        construct(Animal, table, "[animal]")
    assert "\n" not in str(caught.value)


def test_limits_are_left_to_the_check_which_names_all() -> None:
    made = construct(Ear, {"size": -1, "side": "up"}, "[ear]")
    with pytest.raises(OptionError, match=r"Ear size=-1; .*; there is no Ear side: 'up'"):
        check_parameters(made)


def test_limits_hold_at_their_ends() -> None:
    between = Annotated[float, Interval(gt=0, lt=1)]
    for value, right in ((0, False), (1e-12, True), (0.5, True), (1, False)):
        if right:
            check_value(value, between, "v")
        else:
            with pytest.raises(OptionError, match="above 0 and below 1"):
                check_value(value, between, "v")
