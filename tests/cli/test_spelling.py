"""Fixes in messages are spelled as the options of the command that is running."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest
from helpers.command import run as command

import cellclf
from cellclf.cli import main
from cellclf.cli.spelling import _ARGUMENT, as_options

COMMANDS = main.commands

PAIRS = [
    ("run", "pass fit='pad' or verify=False", "pass --fit pad or verify=False"),
    ("run", 'pass fit="pad"', "pass --fit pad"),
    ("run", "or fit='stretch', 'pad' or 'crop' to resize", "or --fit stretch, pad or crop to resize"),
    ("run", "their proportions changed (fit=pad or fit=crop keeps them)", "(--fit pad or --fit crop keeps them)"),
    ("run", "3 sizes; pass size=(96, 128), or", "pass --size 96 128, or"),
    ("run", "name the label in group_from='{label}/{group}/*', too", "in --group-from '{label}/{group}/*', too"),
    ("run", "or columns={'box': None} (--columns box=) if", "or --columns box= if"),
    ("run", "columns={'part': None} (--columns part=).", "--columns part=."),
    ("run", "name it with columns={'my label': 'cell type'}", "name it with --columns 'my label=cell type'"),
    ("run", "names (class_names=..., on the command line --class-names)", "names (--class-names)"),
    ("rerun", "give them: cellclf.rerun(folder, cells=...), or on the command line --src SRC", "them: --src SRC"),
    ("run", "16-bit; expected bits=12, or none", "expected --bits 12, or none"),
    ("run", "enlarge them with Trainer(image_size=160)", "with --set trainer.image_size=160"),
    ("run", "such as those of Split(val=0.2)", "such as those of --set split.val=0.2"),
    (
        "run",
        "another Cache(dir=...), or cache=None",
        "another --set trainer.cache.dir=..., or --set trainer.cache=none",
    ),
    (
        "run",
        "Stage(schedule='cosine', warmup=1) changes",
        "--set trainer.stages.0.schedule=cosine --set trainer.stages.0",
    ),
    ("run", "mix=5; expected consistency=12", "mix=5; expected --set trainer.consistency=12"),
    (
        "run",
        'expected val_augmenter=Augmenter.preset("laboratory"), or',
        "--set trainer.val_augmenter.preset=laboratory, or",
    ),
    ("run", "its path as weights=, or weights=None", "its path as --weights, or --weights none"),
    ("run", "of another width, pass params={'alpha': 0.5}", "pass --param alpha=0.5"),
    ("run", "start='runs/a' does not exist", "--start runs/a does not exist"),
    ("run", "lower min_count", "lower --min-count"),
    ("run", "Split val=2; expected a number", "--set split.val=2; expected a number"),
    ("run", "val=0.7 and test=0.4 leave nothing", "--set split.val=0.7 and --set split.test=0.4 leave nothing"),
    ("run", "Trainer start='runs/a' and backbone='mobilenet'", "--start runs/a and --backbone mobilenet"),
    ("run", "Stage epochs=0; expected 1 or more", "--set trainer.stages.0.epochs=0; expected 1 or more"),
    ("predict", "Split val=2; expected a number", "Split val=2; expected a number"),
    ("predict", "cannot be turned; expected tta=4", "expected --tta 4"),
    ("predict", "enlarge them with Trainer(image_size=160)", "enlarge them with Trainer(image_size=160)"),
    ("dedup", "look at them with plot(), or choose on_loss='warn'", "with --plot FILE, or choose --on-loss warn"),
    ("dedup", "offset is 2 without foreground=True; or offset=0", "without --foreground; or --offset 0"),
    ("external", "map them: mapping={external: own}, --map external=own", "map them: --map external=own"),
]


@pytest.mark.parametrize(("name", "python", "expected"), PAIRS)
def test_a_fix_is_spelled_as_the_command_spells_it(name, python, expected):
    found = as_options(python, COMMANDS[name])
    assert expected in found
    assert as_options(found, COMMANDS[name]) == found, "what is spelled already is left as it is"


@pytest.mark.parametrize(
    "text",
    [
        "slides/fit=pad/1.png is truncated",
        "the file 'a.fit=pad' is empty",
        "no class immature_granulocyte",
        "--columns part=x,label=y",
        "5 images were skipped",
    ],
)
def test_names_and_options_are_left_as_they_are(text):
    assert as_options(text, COMMANDS["run"]) == text
    assert as_options("fit='pad'") == "fit='pad'", "without a command there are no options"


def test_a_flag_that_can_be_switched_off_is():
    flags = click.Command("x", params=[click.Option(["--verify/--no-verify"]), click.Option(["--all", "all_"])])
    assert as_options("pass verify=False", flags) == "pass --no-verify"
    assert as_options("pass verify=True", flags) == "pass --verify"


def messages() -> list[str]:
    """List every text of the package that names an argument with its value; what is filled in is a 7."""
    found = []
    for path in sorted(Path(cellclf.__file__).parent.rglob("*.py")):
        if path.parent.name in ("cli", "testing"):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        inner = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
        inner |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = (v.value if isinstance(v, ast.Constant) else "7" for v in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                found.append(node.value)
    return [text for text in found if " " in text and re.search(r"(?<![\w./-])[a-z_]+=(?!=)", text)]


def test_no_message_leaves_an_argument_in_python_for_which_there_is_an_option():
    texts = messages()
    assert len(texts) > 100
    left = []
    for name, one in COMMANDS.items():
        options = {option.name for option in one.params if isinstance(option, click.Option)}
        for text in texts:
            if not any(f"{option}=" in text for option in options):
                continue
            found = as_options(text, one)
            left += [
                f"{name}: {found}"
                for match in _ARGUMENT.finditer(found)
                if match[2] in options and not re.search(r"--[\w-]+ '?[\w.,=]*$", found[: match.start()])
            ]
    assert not left, "\n".join(left)


def test_errors_warnings_and_notices_of_a_command_are_spelled(npz, folder, tmp_path):
    small = command("run", npz, "--backbone", "inceptionv3", "--weights", "none", "--check")
    assert "--set trainer.image_size=" in small.stderr and "Trainer(" not in small.stderr, small.output
    looked = command("inspect", npz, "--bits", "12")
    assert "bits=" not in looked.output
