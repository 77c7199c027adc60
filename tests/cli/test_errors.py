"""How commands end: errors and warnings in one line, exit codes, and help that loads nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import click
import pytest
from helpers.command import run

import cellclf.cli
from cellclf.cli import main
from cellclf.errors import CellclfWarning

COMMANDS = main.list_commands(click.Context(main))
assert COMMANDS, "without a command, the test of their help would pass unseen"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "nowhere.npz"), "there is no 'nowhere.npz'"),
        (("inspect", ""), "the source is an empty text"),
        (("inspect", "https://example.org/cells.npz"), "is an address; expected a file"),
        (("predict", "", "{npz}"), "is no path"),
        (("run", "{npz}", "--recipe", "fsat", "--out", "x"), "did you mean 'fast'"),
        (("run", "{npz}", "--recipe", "{recipe}", "--backbone", "resnet5", "--out", "x"), "did you mean 'resnet50'"),
        (("run", "{npz}", "--recipe", "{recipe}", "--param", "widht=3", "--out", "x"), "no parameter of backbone"),
        (("run", "{npz}", "--recipe", "{recipe}", "--set", "seed", "--out", "x"), "expected key=value"),
        (("run", "{npz}", "--recipe", "{recipe}", "--out", "{folder}"), "is not empty and holds no run"),
        (("run", "{npz}", "--recipe", "{recipe}", "--out", "{npz}"), "is a file"),
        (("run", "{bare}", "--recipe", "{recipe}", "--out", "x"), "the images have no labels"),
        (("run", "{npz}", "--val", "{bare}", "--recipe", "{recipe}", "--out", "x"), "the val part has no labels"),
        (("dedup", "{npz}", "--method", "sha"), "no Dedup method: 'sha'"),
        (("outliers", "{npz}", "--method", "forrest"), "did you mean 'forest'"),
        (("dedup", "{npz}", "--apply", "{npz}/cells.npz"), "is a file; choose another name"),
        (("evaluate", "{folder}", "{npz}"), "holds no run"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_code_1(words, message, npz, recipe, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = cellclf.load(npz).replace(labels=None).save(tmp_path / "bare.npz")
    places = {"npz": npz, "recipe": recipe, "folder": folder, "bare": bare}
    done = run(*(word.format(**places) for word in words))
    assert done.exit_code == 1
    assert message in done.stderr and done.stderr.startswith("cellclf: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("runn",),
        ("run", "{npz}"),
        ("inspect",),
        ("run", "{npz}", "\u2013recipe", "demo", "--check"),
        ("inspect", "{npz}", "--plot", "sheet.gif"),
        ("dedup", "{npz}", "--apply", "cells.txt"),
        ("dedup", "{npz}", "--gallery", "cells.pdf"),
        ("dedup", "{npz}", "--keep", "last"),
        ("run", "{npz}", "--check", "--test", "{npz}", "--test", "{npz}"),
        ("demo", "-n", "3"),
    ],
)
def test_a_command_line_that_is_not_understood_is_exit_code_2(words, npz):
    done = run(*(word.format(npz=npz) for word in words))
    assert done.exit_code == 2 and "Usage: " in done.stderr


def test_a_stop_by_the_keyboard_is_exit_code_130(npz, monkeypatch):
    def stopped(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cellclf, "load", stopped)
    done = run("inspect", npz)
    assert done.exit_code == 130 and "the same command continues" in done.stderr


def test_a_warning_is_one_line_printed_once(npz, monkeypatch):
    cells = cellclf.load(npz)

    def warning(*words, **options):
        for _ in range(2):
            warnings.warn("a class is small", CellclfWarning, stacklevel=2)
        return cells

    monkeypatch.setattr(cellclf, "load", warning)
    done = run("inspect", npz)
    assert done.exit_code == 0 and done.stderr == "note: a class is small\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = run(command, "--help")
    assert done.exit_code == 0 and done.stdout.startswith("Usage: ")
    assert re.search(rf"^  {command} ", run("--help").stdout, re.M)


def test_every_summary_fits_one_line_of_the_help():
    for command in COMMANDS:
        summary = re.search(rf"^  {command} +(.+)$", run("--help").stdout, re.M)[1]
        first = " ".join(main.commands[command].help.partition("\n\n")[0].split())
        assert "..." not in summary and first.startswith(summary), command


def test_every_command_has_a_file_of_its_name():
    files = {path.stem for path in Path(cellclf.cli.__file__).parent.glob("*.py")}
    shared = {
        "exit_codes",
        "group",
        "job_sources",
        "options",
        "output",
        "recipe_choice",
        "sources",
        "spelling",
        "started",
    }
    assert files - {"__init__", *shared} == set(COMMANDS)


def test_help_takes_less_than_three_tenths_of_a_second_of_processor_time():
    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "cellclf", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    resource = pytest.importorskip("resource", reason="processor time of a child: not on Windows")
    assert min(seconds() for _ in range(3)) < 0.3


def test_help_loads_nothing_heavy_and_no_backend_says_how_to_get_one():
    code = (
        "import sys; sys.argv = ['cellclf', '--help']\n"
        "from cellclf.cli import main; main(standalone_mode=False)\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'sklearn', 'PIL', 'matplotlib', 'jinja2', 'pluggy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    code = "import sys; sys.modules['tensorflow'] = None\nfrom cellclf.cli import main; main(['predict', 'a', 'b'])"
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("cellclf: Keras has no backend to run on: ") and done.stderr.count("\n") == 1
    assert "tensorflow, not installed" in done.stderr and "'cellclf[cpu]' brings TensorFlow" in done.stderr
