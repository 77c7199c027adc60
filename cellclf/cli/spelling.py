"""Fixes in messages, which speak Python, spelled as the options of the command that is running."""

from __future__ import annotations

import re
import shlex

import click

_SLOTS = {
    "Trainer": "trainer",
    "Stage": "trainer.stages.0",
    "Head": "trainer.head",
    "Cache": "trainer.cache",
    "Compute": "trainer.compute",
    "Split": "split",
    "Dedup": "dedup",
    "OutlierFilter": "outliers",
    "Downsample": "downsample",
    "Expand": "expand",
}
"""Class -> where its arguments stand in a recipe."""
_TRAINER = (
    *("accumulate", "augmenter", "batch_size", "cache", "class_weight", "compute", "consistency", "ema", "focal"),
    *("image_size", "label_smoothing", "mix", "sampling", "val_augmenter", "weight_decay"),
)
_STAGE = (
    *("epochs", "learning_rate", "monitor", "patience", "reduce_patience", "schedule", "strength", "unfreeze"),
    "warmup",
)
_SPLIT = {"val": "split.val", "test": "split.test"}
"""Fractions in messages; the options of these names are sets."""
_PLACES = {name: f"trainer.{name}" for name in _TRAINER} | {name: f"trainer.stages.0.{name}" for name in _STAGE}
"""Argument that a message names alone -> where it stands in a recipe."""

_QUOTED = r"""'[^']*'(?:(?:, '[^']*')* or '[^']*')?|"[^"]*\""""
_VALUE = rf"""{_QUOTED}|\([^()]*\)|\{{[^{{}}]*\}}|\[[^\[\]]*\]|[\w.]+\([^()]*\)|\.\.\.|[^\s,;:()]*[^\s,;:().]|"""
_PYTHON = rf"(?<![\w./\\$=-])(?:[A-Za-z_.]+\((?:\w+, )*)?[a-z_]+=(?:{_VALUE})\)?"
_BOTH = (
    re.compile(rf"{_PYTHON} \((--[\w-]+[^()]*)\)"),
    re.compile(rf"{_PYTHON},(?:(?: or)? on the command line)? (?=--|`)"),
)
"""Both spellings, one after the other: ``columns={'box': None} (--columns box=)``, ``cells=..., --src SRC``."""
_CALL = re.compile(rf"\b({'|'.join(_SLOTS)})\(((?:[a-z_]+=(?:{_VALUE})(?:, )?)+)\)")
_NAMED = re.compile(rf"\b({'|'.join(_SLOTS)}) ([a-z_]+)=({_VALUE})")
_EACH = re.compile(rf"([a-z_]+)=({_VALUE})")
_ARGUMENT = re.compile(rf"(--[\w-]+ [^\s,;()]+)|(?<![\w./\\$-])([a-z_]+)=({_VALUE})")


def as_options(text: str, command: click.Command | None = None) -> str:
    r"""Spell arguments of Python in a message as the options that a command has for them.

    What it has no option for stands in a recipe: it becomes ``--set``, where the command has that, in the part of a
    message that says what to do, behind its first semicolon. Everything else is left as it is.

    Args:
        text: A message.
        command: Whose options count; None takes that of the running command.

    Examples:
        >>> from cellclf.cli.run import run
        >>> as_options("images have 2 sizes; pass size=(96, 96), or fit='pad' to resize them", run)
        'images have 2 sizes; pass --size 96 96, or --fit pad to resize them'
        >>> as_options("images are too small; enlarge them with Trainer(image_size=160)", run)
        'images are too small; enlarge them with --set trainer.image_size=160'
    """
    if command is None:
        context = click.get_current_context(silent=True)
        command = None if context is None else context.command
    if command is None:
        return text
    options = {one.name: one for one in command.params if isinstance(one, click.Option) and one.name}
    text = _BOTH[1].sub("", _BOTH[0].sub(lambda found: found[1], text))
    if "plot" in options:
        text = text.replace("plot()", "--plot FILE")

    def option(found: re.Match[str]) -> str:
        one = options.get(found[2]) if found[2] else None
        if found[2] in _SPLIT and re.fullmatch(r"[\d.e-]+", found[3]):
            return _setting(_SPLIT[found[2]], found[3]) if "changes" in options else found[0]
        return found[0] if one is None else _option(one, found[3])

    def settings(found: re.Match[str]) -> str:
        return " ".join(_setting(f"{_SLOTS[found[1]]}.{name}", value) for name, value in _EACH.findall(found[2]))

    def setting(found: re.Match[str]) -> str:
        name = found[2]
        return _setting(_PLACES[name], found[3]) if name in _PLACES and name not in options else found[0]

    def argument(found: re.Match[str]) -> str:
        if found[2] in options and found[1] != "Split":
            return _option(options[found[2]], found[3])
        return _setting(f"{_SLOTS[found[1]]}.{found[2]}", found[3]) if "changes" in options else found[0]

    text = _NAMED.sub(argument, text)
    if "changes" in options:
        bad, sign, fix = text.rpartition(";")
        text = f"{bad}{sign}{_ARGUMENT.sub(setting, _CALL.sub(settings, fix))}"
    text = _ARGUMENT.sub(option, text)
    # names that are no words of a sentence: lower min_count
    alone = "|".join(name for name in options if "_" in name)
    named = rf"(--[\w-]+ [^\s,;()]+)|(?<![\w./\\$'\"=-])({alone})(?![\w=('\"])"
    return text if not alone else re.sub(named, lambda found: found[1] or _flag(options[found[2]]), text)


def _flag(one: click.Option) -> str:
    return max(one.opts, key=len)


def _option(one: click.Option, value: str) -> str:
    """Write a value as an option takes it."""
    name = _flag(one)
    if one.is_flag:
        if value in ("True", ""):
            return name
        return next(iter(one.secondary_opts), f"no {name}")
    plain = _plain(value)
    if plain in ("", "..."):
        return name
    if one.nargs > 1:
        return " ".join([name, *re.findall(r"[^\s,()]+", plain)])
    if value.startswith("{"):  # a mapping: KIND=NAME
        pairs = re.findall(r"""['"]?([^'":,{}]+)['"]?: *(?:['"]([^'"]*)['"]|(None)|([^,{}]+))""", value)
        words = [f"{key}={text or other.strip()}" for key, text, _, other in pairs]
        return f"{name} {shlex.quote(','.join(words))}"
    alternatives = value.count("'") > 2
    return f"{name} {plain if alternatives else shlex.quote(plain)}"


def _setting(place: str, value: str) -> str:
    """Write a value of a recipe as --set takes it."""
    preset = re.fullmatch(r"""Augmenter\.preset\(['"](\w+)['"]\)""", value)
    if preset:
        return f"--set {place}.preset={preset[1]}"
    plain = _plain(value)
    made = re.fullmatch(r"Cache\((\w+)=(.*)\)", plain)
    if made:
        return f"--set {place}.{made[1]}={_plain(made[2])}"
    word = {"None": "none", "True": "true", "False": "false", "...": "..."}.get(plain, plain)
    return f"--set {shlex.quote(f'{place}={word}')}"


def _plain(value: str) -> str:
    if value[:1] in ("'", '"'):
        return value.replace(value[0], "")  # also of 'pad' or 'crop'
    return {"None": "none"}.get(value, value)
