"""Recipes: a whole job as a TOML file, read into objects and written from them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.mixing import Mix
from cellclf.backbones.backbone import Backbone
from cellclf.errors import OptionError, unknown
from cellclf.runs.renamed import setting_with_new_names, with_new_names
from cellclf.training.head import Head
from cellclf.training.stage import Stage
from cellclf.training.trainer import Trainer

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
            place = place.setdefault(parent, {})
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


def construct(kind: Any, table: Mapping[str, Any], where: str) -> Any:
    """Make an object from a table whose keys are the names of its arguments.

    Args:
        kind: A class whose arguments are all keywords.
        table: The values; TOML has no None, so the text ``"none"`` stands for it where None is allowed.
        where: Name of the table in messages, such as ``"[split]"``.

    Raises:
        UnknownNameError: A key that is not an argument.
        OptionError: A value that is missing or of another type than the argument's.

    Examples:
        >>> construct(Stage, {"epochs": 3, "learning_rate": 0.001, "patience": "none"}, "[stage]").patience is None
        True
    """
    names = inspect.signature(kind).parameters
    _check_table(table, where, names)
    for key in table:
        if key not in names:
            raise unknown(f"option of {where}:", key, names)
    missing = [n for n, p in names.items() if p.default is p.empty and n not in table]
    if missing:
        raise OptionError(f"{where} lacks {', '.join(missing)}")
    found = {}
    for key, value in table.items():
        annotation = str(names[key].annotation)
        found[key] = tuple(value) if isinstance(value, list) else value
        if value == "none" and "None" in annotation.split(" | "):
            found[key] = None
        elif not _fits(found[key], annotation):
            raise OptionError(f"{where} {key} = {value!r}; expected {_type_names(annotation)}")
    return kind(**found)


def table_of(thing: Any) -> Table:
    """Write an object as the table that ``construct`` reads: all its arguments, so that no later default changes it.

    Args:
        thing: Stores its arguments under their names. A function among them, which no file can hold, is left out.

    Examples:
        >>> table_of(Stage(epochs=3, learning_rate=0.001, patience=None))["patience"]
        'none'
    """
    found: Table = {}
    for name, parameter in inspect.signature(type(thing)).parameters.items():
        value = getattr(thing, name)
        if callable(value) or (value is None and parameter.default is None):
            continue
        found[name] = "none" if value is None else list(value) if isinstance(value, tuple) else value
    return found


def _check_table(table: object, where: str, names: Iterable[str]) -> None:
    if not isinstance(table, Mapping):
        raise OptionError(f"{where} is {table!r}; expected a table with some of: {', '.join(names)}")


_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


_TYPE_NAMES = {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "None": '"none"'}


def _type_names(annotation: str) -> str:
    kinds = annotation.split(" | ")
    return " or ".join(_TYPE_NAMES.get(kind, "a list" if kind.startswith("tuple[") else kind) for kind in kinds)


def _fits(value: Any, annotation: str) -> bool:
    """Check a value against an annotation; types that a recipe cannot hold are accepted."""
    for kind in annotation.split(" | "):
        if kind in _PLAIN:
            if isinstance(value, _PLAIN[kind]) and (kind == "bool") == isinstance(value, bool):
                return True
        elif kind == "None":
            if value is None:
                return True
        elif kind.startswith("Literal["):  # the object's own check knows the texts
            if isinstance(value, str):
                return True
        elif kind.startswith("tuple["):
            inner = kind.removeprefix("tuple[").removesuffix("]").removesuffix(", ...")
            if isinstance(value, tuple) and all(_fits(item, inner) for item in value):
                return True
        else:
            return True
    return False


def make_trainer(table: Mapping[str, Any], seed: int) -> Trainer:
    """Make a Trainer from the ``[trainer]`` table of a recipe.

    Args:
        table: Its settings; ``backbone``, ``head`` and ``augmenter`` are tables, ``stages`` a list of tables.
        seed: For every part without a seed of its own.
    """
    _check_table(table, "[trainer]", inspect.signature(Trainer).parameters)
    if "backbone" not in table:
        raise OptionError('[trainer] lacks backbone; expected a table such as { name = "mobilenet" }')
    settings = {"seed": seed} | dict(table)
    named = settings["backbone"]
    settings["backbone"] = make_backbone({"name": named} if isinstance(named, str) else named)
    if "head" in settings:
        settings["head"] = construct(Head, settings["head"], "[trainer.head]")
    # another seed for the validation copy: it must not be augmented in the same way as the training images
    for name, offset in (("augmenter", 0), ("val_augmenter", 1)):
        if name in settings:
            _check_table(settings[name], f"[trainer.{name}]", ("preset", "steps", "strength", "seed"))
            settings[name] = Augmenter.from_dict({"seed": seed + offset} | settings[name])
    if "mix" in settings:
        settings["mix"] = construct(Mix, {"seed": seed} | settings["mix"], "[trainer.mix]")
    if "stages" in settings:
        if not isinstance(settings["stages"], list):
            raise OptionError(
                f"[trainer] stages is {settings['stages']!r}; expected a list of tables: [[trainer.stages]]"
            )
        settings["stages"] = tuple(
            construct(Stage, stage, f"[trainer.stages.{k}]") for k, stage in enumerate(settings["stages"])
        )
    trainer: Trainer = construct(Trainer, settings, "[trainer]")
    return trainer


def make_backbone(table: Mapping[str, Any]) -> Backbone:
    """Make a Backbone from ``name``, ``weights`` (``"none"`` for random ones) and ``params``."""
    _check_table(table, "[trainer.backbone]", ("name", "weights", "params"))
    for key in table:
        if key not in ("name", "weights", "params"):
            raise unknown("option of [trainer.backbone]:", key, ("name", "weights", "params"))
    if "name" not in table:
        raise OptionError("[trainer.backbone] lacks name; expected one that `cellclf backbones` lists")
    for key, kind in (("name", str), ("weights", str), ("params", Mapping)):
        if key in table and not isinstance(table[key], kind):
            expected = "a table" if kind is Mapping else "a text"
            raise OptionError(f"[trainer.backbone] {key} = {table[key]!r}; expected {expected}")
    chosen: Table = {"params": table.get("params")}
    if "weights" in table:
        chosen["weights"] = None if table["weights"] == "none" else table["weights"]
    return Backbone(table["name"], **chosen)
