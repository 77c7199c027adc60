"""Recipes: a whole job as a TOML file, read into objects and written from them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cellclf.augmentation.augmenter import Augmenter
from cellclf.backbones.backbone import Backbone
from cellclf.errors import OptionError, unknown
from cellclf.training.head import Head
from cellclf.training.stage import Stage
from cellclf.training.trainer import Trainer

Table = dict[str, Any]


def list_recipes() -> dict[str, str]:
    """Give the built-in recipes: name -> what it is for.

    Example:
        >>> "fast" in list_recipes()
        True
    """
    folder = resources.files("cellclf") / "recipes"
    texts = {file.name.removesuffix(".toml"): file.read_text("utf-8") for file in folder.iterdir()}
    return {name: tomllib.loads(text).get("summary", "") for name, text in sorted(texts.items())}


def read_recipe(recipe: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Table:
    """Read a recipe by name or path, changed by settings.

    Args:
        recipe: Name of a built-in recipe, path of a TOML file, or the data itself.
        settings: Texts ``"trainer.batch_size=32"``: a path of keys and a TOML value (a bare word is a text;
            ``stages`` are counted from 0: ``"trainer.stages.0.epochs=3"``; an empty value removes the key).

    Returns:
        The recipe as plain data.

    Raises:
        UnknownNameError: No recipe of that name.
        OptionError: Not TOML, or a setting that does not fit.

    Example:
        >>> read_recipe("fast", ["trainer.batch_size=32"])["trainer"]["batch_size"]
        32
    """
    if isinstance(recipe, Mapping):
        table: Table = _copied(recipe)
    else:
        path = Path(recipe)
        if path.suffix == ".toml" or path.is_file():
            if not path.is_file():
                raise OptionError(
                    f"there is no recipe file {str(path)!r}; wanted a path or {', '.join(list_recipes())}"
                )
            text = path.read_text("utf-8")
        else:
            names = list_recipes()
            if str(recipe) not in names:
                raise unknown("recipe", str(recipe), names)
            text = (resources.files("cellclf") / "recipes" / f"{recipe}.toml").read_text("utf-8")
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise OptionError(f"{recipe} is not TOML: {error}") from None
    for setting in settings:
        _set(table, setting)
    return table


def _copied(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(item) for item in data] if isinstance(data, list | tuple) else data


def _set(table: Table, setting: str) -> None:
    path, sign, text = setting.partition("=")
    if not sign or not path.strip():
        raise OptionError(f"setting {setting!r}; wanted key=value, such as trainer.batch_size=32")
    *parents, key = path.strip().split(".")
    place: Any = table
    for parent in parents:
        if isinstance(place, list):
            if not parent.isdecimal() or int(parent) >= len(place):
                raise OptionError(f"setting {setting!r}: there are {len(place)} entries, counted from 0, no {parent!r}")
            place = place[int(parent)]
        else:
            place = place.setdefault(parent, {})
        if not isinstance(place, dict | list):
            raise OptionError(f"setting {setting!r}: {parent!r} is a value and holds no keys")
    if isinstance(place, list):
        raise OptionError(f"setting {setting!r}: name a field of the entry, such as {path}.epochs=3")
    if not text.strip():
        place.pop(key, None)
    else:
        place[key] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def construct(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    """Make an object from a table whose keys are the names of its arguments.

    Args:
        kind: A class whose arguments are all keywords.
        table: The values.
        where: What the table is called in messages, such as ``"[split]"``.

    Raises:
        UnknownNameError: A key that is no argument.
        OptionError: A value that is missing or unusable.
    """
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} is {table!r}; wanted a table of {', '.join(inspect.signature(kind).parameters)}")
    names = inspect.signature(kind).parameters
    for key in table:
        if key not in names:
            raise unknown(f"option of {where}:", key, names)
    missing = [n for n, p in names.items() if p.default is p.empty and n not in table]
    if missing:
        raise OptionError(f"{where} lacks {', '.join(missing)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def make_trainer(table: Mapping[str, Any], seed: int) -> Trainer:
    """Make a Trainer from the ``[trainer]`` table of a recipe.

    Args:
        table: Its settings; ``backbone``, ``head`` and ``augmenter`` are tables, ``stages`` a list of tables.
        seed: For all that has no seed of its own.
    """
    if "backbone" not in table:
        raise OptionError('[trainer] lacks backbone; wanted a table such as { name = "mobilenet" }')
    settings = {"seed": seed} | dict(table)
    named = settings["backbone"]
    settings["backbone"] = make_backbone({"name": named} if isinstance(named, str) else named)
    if "head" in settings:
        settings["head"] = construct(Head, settings["head"], "[trainer.head]")
    if "augmenter" in settings:
        settings["augmenter"] = Augmenter.from_dict({"seed": seed} | settings["augmenter"])
    if "stages" in settings:
        settings["stages"] = tuple(
            construct(Stage, stage, f"[trainer.stages.{k}]") for k, stage in enumerate(settings["stages"])
        )
    trainer: Trainer = construct(Trainer, settings, "[trainer]")
    return trainer


def make_backbone(table: Mapping[str, Any]) -> Backbone:
    """Make a Backbone from ``name``, ``weights`` (``"none"`` for random ones) and ``params``."""
    for key in table:
        if key not in ("name", "weights", "params"):
            raise unknown("option of [trainer.backbone]:", key, ("name", "weights", "params"))
    if "name" not in table:
        raise OptionError("[trainer.backbone] lacks name; `cellclf backbones` lists them")
    chosen: Table = {"params": table.get("params")}
    if "weights" in table:
        chosen["weights"] = None if table["weights"] == "none" else table["weights"]
    return Backbone(table["name"], **chosen)
