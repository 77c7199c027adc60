"""What the package says of itself in several places is the same everywhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cellclf

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_there_is_one_version():
    assert PROJECT["version"] == cellclf.__version__
    assert f"\nversion: {cellclf.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\n## {cellclf.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_there_is_one_licence():
    assert PROJECT["license"] == "Apache-2.0"
    assert "\nlicense: Apache-2.0\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    for plugin in (ROOT / "plugins").glob("*/pyproject.toml"):
        assert tomllib.loads(plugin.read_text("utf-8"))["project"]["license"] == "Apache-2.0"


def test_typed_for_those_who_use_it():
    assert (ROOT / "cellclf" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_every_requirement_has_a_lowest_version_and_the_release_tries_it():
    extras = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["cpu"]]
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", requirement) for requirement in extras), extras
    pinned = (ROOT / "scripts" / "lowest.txt").read_text("utf-8")
    for requirement in extras:
        name, _, lowest = requirement.partition(">=")
        found = re.search(rf"^{name}==([\d.]+)$", pinned, re.M | re.I)
        assert found, f"{name} is missing in scripts/lowest.txt; run scripts/release.sh --lowest"
        assert tuple(map(int, found[1].split("."))) >= tuple(map(int, lowest.split("."))), name


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_workflows_call_what_anyone_can_call(path):
    text = path.read_text("utf-8")
    assert ".ci/run" in text or "scripts/release.sh" in text or "mkdocs build" in text


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "cellclf", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"cellclf, version {cellclf.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(shell):
    code = "from cellclf.cli import main; main(prog_name='cellclf')"
    env = {"_CELLCLF_COMPLETE": f"{shell}_complete", "COMP_WORDS": "cellclf de", "COMP_CWORD": "1"}
    env |= {"PATH": "/usr/bin:/bin"}
    if shell == "fish":
        env["COMP_WORDS"], env["COMP_CWORD"] = "cellclf de", "de"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert "dedup" in done.stdout and "demo" in done.stdout, done.stderr
