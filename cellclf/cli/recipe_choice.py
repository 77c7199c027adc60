"""The recipe that a command follows, and what its options change in it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class RecipeChoice:
    """Which recipe is meant, and what is changed in it."""

    recipe: str
    backbone: str | None = None
    params: tuple[str, ...] = ()
    weights: str | None = None
    seed: int | None = None
    changes: tuple[str, ...] = ()
    chosen: bool = True

    @property
    def names_backbone(self) -> bool:
        """Whether the network was named: by an option, a setting, or a recipe that is not built in."""
        from cellclf.pipeline import list_recipes

        options = self.backbone or self.weights or self.params
        settings = any(change.startswith("trainer.backbone") for change in self.changes)
        return bool(options or settings or self.recipe.partition(":")[0] not in list_recipes())

    def read_started(self, start: str) -> dict[str, Any]:
        """Read the recipe of a training that continues a run: that of the run, unless another one was chosen.

        Args:
            start: The folder of the run; backbone, head and size come from it, stages that begin at a low rate replace
                those of a recipe that is not itself for continuing a run.

        Raises:
            UsageError: An option that says what the run brings.
        """
        from cellclf.pipeline import read_recipe
        from cellclf.training.start import STAGES, parent_of

        named = {"--backbone": self.backbone, "--weights": self.weights, "--param": " ".join(self.params)}
        if given := [f"{option} {value}" for option, value in named.items() if value]:
            raise click.UsageError(
                f"--start {start} and {', '.join(given)}: backbone, head and size come from the run; expected --start "
                "alone"
            )
        own = parent_of(start).folder
        table = read_recipe(own if not self.chosen and own and (own / "recipe.toml").is_file() else self.recipe)
        trainer = dict(table.get("trainer") or {})
        if trainer.get("start") in (None, "none"):
            trainer["stages"] = [stage.to_dict() for stage in STAGES]
        brought = ("backbone", "head", "image_size")
        table["trainer"] = {key: value for key, value in trainer.items() if key not in brought} | {"start": start}
        return read_recipe(table if self.seed is None else with_seed(table, self.seed), self.changes)

    def read(self) -> dict[str, Any]:
        """Read the recipe; another backbone, its weights and its parameters first, ``--set`` last."""
        from cellclf.pipeline import read_recipe
        from cellclf.pipeline.compare import recipe_for

        table = read_recipe(self.recipe)
        trainer = table.get("trainer")
        used = trainer.get("backbone") if isinstance(trainer, dict) else None
        used = {"name": used} if isinstance(used, str) else used
        if isinstance(used, dict) and "name" in used and (self.backbone or self.weights or self.params):
            chosen: dict[str, Any] = {"name": self.backbone or used["name"]}
            chosen |= {} if self.weights is None else {"weights": self.weights}
            if self.params:
                params = used.get("params") if chosen["name"] == used["name"] else None
                chosen |= read_recipe({"params": params}, [f"params.{param}" for param in self.params])
            table = recipe_for(table, chosen)
        return read_recipe(table if self.seed is None else with_seed(table, self.seed), self.changes)


def with_seed(recipe: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Give a recipe in which everything random has one seed, also where it names seeds of its own.

    Args:
        recipe: As data; the recipe of a run folder names every seed.
        seed: The seed.

    Examples:
        >>> with_seed({"split": {"seed": 1, "val": 0.2}, "trainer": {"augmenter": {"seed": 3}}}, 5)
        {'split': {'val': 0.2}, 'trainer': {'augmenter': {}}, 'seed': 5}
    """

    def without(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: without(item) for key, item in value.items() if key != "seed"}

    return {**without(recipe), "seed": seed}


change_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1."
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``recipe``."""

    @click.option(
        "--recipe",
        "name",
        default="fast",
        show_default=True,
        help="report, fast, challenge, challenge:quick, challenge:gpu, demo, or a .toml file.",
    )
    @click.option("--backbone", help="Network to use instead of the recipe's; `cellclf backbones` lists them.")
    @click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of the backbone: alpha=0.75.")
    @click.option("--weights", metavar="NAME|FILE", help="Of the backbone: imagenet, a file, or none.")
    @click.option("--seed", type=click.IntRange(0), help="Of everything random.")
    @change_option
    @functools.wraps(command)
    def with_recipe(
        *args: Any,
        name: str,
        backbone: str | None,
        params: tuple[str, ...],
        weights: str | None,
        seed: int | None,
        changes: tuple[str, ...],
        **options: Any,
    ) -> Any:
        default = click.get_current_context().get_parameter_source("name") is ParameterSource.DEFAULT
        choice = RecipeChoice(name, backbone, params, weights, seed, changes, chosen=not default)
        return command(*args, recipe=choice, **options)

    return with_recipe
