"""Whether a command names the network: only where it does not may a time budget choose another."""

from __future__ import annotations

import pytest

from cellclf.cli.recipe_choice import RecipeChoice


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        (RecipeChoice("fast"), False),
        (RecipeChoice("challenge:quick", changes=("trainer.batch_size=32",), seed=3), False),
        (RecipeChoice("mine.toml"), True),
        (RecipeChoice("runs/a"), True),
        (RecipeChoice("fast", backbone="mobilenet"), True),
        (RecipeChoice("fast", weights="a.weights.h5"), True),
        (RecipeChoice("fast", params=("alpha=0.5",)), True),
        (RecipeChoice("fast", changes=("trainer.backbone.name=xception",)), True),
    ],
)
def test_a_network_is_named_by_options_settings_and_own_recipes(choice: RecipeChoice, named: bool) -> None:
    assert choice.names_backbone == named
