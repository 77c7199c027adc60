from __future__ import annotations

import pickle

import pytest

from cellclf import errors
from cellclf.errors import CellclfError, UnknownNameError, unknown

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, CellclfError) and value is not CellclfError
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error_is_also_a_built_in_kind_and_drawn_in_the_tree(kind):
    built_in = [base for base in kind.__mro__ if base.__module__ == "builtins" and base is not Exception]
    drawn = next(line for line in errors.__doc__.splitlines() if kind.__name__ in line)
    assert f"({built_in[0].__name__})" in drawn
    again = pickle.loads(pickle.dumps(kind("what is wrong")))
    assert type(again) is kind and str(again) == "what is wrong"


@pytest.mark.parametrize(
    ("name", "near"), [("resnt50", "'resnet50'"), ("RESNET50", "'resnet50'"), ("xception", "'Xception'")]
)
def test_a_wrong_name_is_answered_with_the_nearest_and_the_list(name, near):
    error = unknown("backbone", name, ["resnet50", "Xception"])
    assert isinstance(error, UnknownNameError) and isinstance(error, LookupError)
    assert str(error) == f"there is no backbone {name!r}; did you mean {near}? There are: Xception, resnet50"


def test_no_name_is_near_or_there_is_none():
    assert "did you mean" not in str(unknown("recipe", 7, ["fast"]))
    assert str(unknown("recipe", "x", [])) == "there is no recipe 'x'. There are: none"
