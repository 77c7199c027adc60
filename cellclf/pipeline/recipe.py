"""Recipes: a whole job as a TOML file, read into objects and written from them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cellclf.backbones.backbone import Backbone
from cellclf.errors import OptionError, unknown
from cellclf.runs.renamed import setting_with_new_names, with_new_names
from cellclf.training.trainer import Trainer
from cellclf.utils.parameters import check_table, plain

Table = dict[str, Any]


def list_recipes() -> dict[str, str]:
    """Give the built-in recipes: name -> purpose.

    Examples:
        >>> "fast" in list_recipes()
        True
    """
    folder = resources.files("cellclf.pipeline") / "recipes"
    texts = {f.name.removesuffix(".toml"): f.read_text("utf-8") for f in folder.iterdir() if f.name.endswith(".toml")}
    return {name: tomllib.loads(text).get("summary", "") for name, text in sorted(texts.items())}


def read_recipe(recipe: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Table:
    """Read a recipe by name or path, changed by settings.

    Args:
        recipe: Name of a built-in recipe, path of a TOML file (or of a run folder, whose recipe is read), or the data
            itself. A name or path can end in ``:variant``, such as ``"challenge:gpu"``: the keys of the recipe's
            ``[variants.gpu.SLOT]`` then replace those of ``[SLOT]``.
        settings: Texts ``"trainer.batch_size=32"``: a path of keys and a TOML value (a bare word is a text;
            ``stages`` are counted from 0: ``"trainer.stages.0.epochs=3"``; an empty value removes the key, so that
            ``"dedup="`` removes a step).

    Returns:
        The recipe as plain data.

    Raises:
        UnknownNameError: No recipe of that name.
        OptionError: Not TOML, or a setting that does not fit.

    Examples:
        >>> read_recipe("fast", ["trainer.batch_size=32"])["trainer"]["batch_size"]
        32
    """
    table: Table = _copied(recipe) if isinstance(recipe, Mapping) else _variant(recipe)
    table = with_new_names(table, "the recipe" if isinstance(recipe, Mapping) else f"the recipe {recipe}")
    for setting in settings:
        _set(table, setting_with_new_names(setting))
    return table


def _variant(recipe: str | Path) -> Table:
    name, sign, variant = str(recipe).rpartition(":")
    if not sign or Path(recipe).exists():
        return {key: value for key, value in _parsed(recipe).items() if key != "variants"}
    table = _parsed(name)
    variants = table.pop("variants", {})
    if variant not in variants:
        raise unknown(f"variant of the recipe {name}:", variant, variants)
    return table | {slot: {**table.get(slot, {}), **changed} for slot, changed in variants[variant].items()}


def _parsed(recipe: str | Path) -> Table:
    names = list_recipes()
    if isinstance(recipe, str) and recipe in names:  # also if there is a file of this name
        return tomllib.loads((resources.files("cellclf.pipeline") / "recipes" / f"{recipe}.toml").read_text("utf-8"))
    path = Path(recipe)
    if path.is_dir() and (path / "recipe.toml").is_file():
        path = path / "recipe.toml"
    if not path.is_file():
        if path.suffix == ".toml" or len(path.parts) > 1 or isinstance(recipe, Path):
            raise OptionError(f"there is no recipe file {str(path)!r}; expected a path or {', '.join(names)}")
        raise unknown("recipe", recipe, names)
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise OptionError(f"cannot read the recipe {str(path)!r}: {error.strerror or error}") from None


def _copied(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(item) for item in data] if isinstance(data, list | tuple) else data


def _set(table: Table, setting: str) -> None:
    path, sign, text = setting.partition("=")
    if not sign or not path.strip():
        raise OptionError(f"setting {setting!r}; expected key=value, such as trainer.batch_size=32")
    *parents, key = path.strip().split(".")
    place: Any = table
    for parent in parents:
        if isinstance(place, list):
            if not parent.isdecimal() or int(parent) >= len(place):
                raise OptionError(f"setting {setting!r}: there are {len(place)} entries, counted from 0, no {parent!r}")
            place = place[int(parent)]
        else:
            if (found := place.get(parent)) is None or (isinstance(found, str) and found == "none"):
                place[parent] = {}
            place = place[parent]
        if not isinstance(place, dict | list):
            raise OptionError(f"setting {setting!r}: {parent!r} is a value and holds no keys")
    if isinstance(place, list):
        raise OptionError(f"setting {setting!r}: name a field of the entry, such as {path.strip()}.epochs=3")
    if text.strip():
        place[key] = _value(text.strip())
    elif place.pop(key, None) is None:
        raise unknown(f"key to remove, as {setting!r} asks:", key, place)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:  # TOML needs digits on both sides of the point; .5 is a number, too
        return float(text) if text[0] in "+-.0123456789" else text
    except ValueError:
        return text


def recipe_text(table: Mapping[str, Any]) -> str:
    """Write a recipe as TOML, in which the text "none" stands for None.

    Examples:
        >>> print(recipe_text({"trainer": {"head": None}}), end="")
        [trainer]
        head = "none"
    """
    import tomli_w

    return tomli_w.dumps(_without_none(plain(table)))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return "none" if value is None else value


def make_trainer(table: Mapping[str, Any], seed: int) -> Trainer:
    """Make a Trainer from the ``[trainer]`` table of a recipe.

    Args:
        table: Its settings; ``backbone``, ``head`` and ``augmenter`` are tables, ``stages`` a list of tables.
        seed: For every part without a seed of its own.
    """
    check_table(table, "[trainer]", inspect.signature(Trainer).parameters)
    if "backbone" not in table and "start" not in table:
        raise OptionError(
            '[trainer] lacks backbone; expected a table such as { name = "mobilenet" }, or start = "runs/a"'
        )
    settings = {"seed": seed} | dict(table)
    # another seed for the validation copy: it must not be augmented in the same way as the training images
    for name, offset in (("augmenter", 0), ("val_augmenter", 1), ("mix", 0)):
        if isinstance(settings.get(name), Mapping):
            settings[name] = {"seed": seed + offset} | settings[name]
    return Trainer.from_table(settings, "[trainer]")


def make_backbone(table: Mapping[str, Any]) -> Backbone:
    """Make a Backbone from ``name``, ``weights`` (``"none"`` for random ones) and ``params``."""
    return Backbone.from_table(table, "[trainer.backbone]")
