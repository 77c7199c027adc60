"""Write the pages that repeat the code: docs/cli.md from the commands, docs/reference/index.md from the names.

usage: python scripts/make_pages.py [--check]

--check writes nothing and exits with 1 if a page is not up to date.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

import cellclf.cli
from cellclf.cli.exit_codes import ExitCode

DOCS = Path(__file__).parent.parent / "docs"

COMMANDS = """# Command line

Written from `cellclf --help` by `scripts/make_pages.py`; the tests compare the two.

Every command answers `--help` without loading TensorFlow. Results go to standard output, notices and progress to
standard error.

`CELLCLF_PLUGINS=NAME,NAME` in the environment uses only these plugins, `CELLCLF_PLUGINS=` none.

`python -m cellclf` is the same as `cellclf`. How the shell completes commands and options stands
[on the page about installing](start/install.md#let-the-shell-complete).

| exit code | meaning |
|---|---|
| 0 | Done. |
{exit_codes}
"""

NAMES = """# Reference

Every public name, with the folder from which it is imported: `from cellclf import Dedup`,
`from cellclf.augmentation import Rotate`. A folder is a public address, a file is not: files may move between
versions. Each name is loaded at first use, so that `import cellclf` takes some milliseconds. `cellclf.__version__` is
the version. The list is written by `scripts/make_pages.py`.

Images are `(N, H, W, 3)` uint8, 0-255, everywhere. Arguments of constructors are keywords. Everything random takes
a `seed`. Arrays that go in are never changed. The [command line](../cli.md) has a page of its own, and so have the
[errors](errors.md) with their fixes.
"""

ROOMS = [
    "data.md",
    "cleaning.md",
    "augmentation.md",
    "backbones.md",
    "training.md",
    "evaluation.md",
    "pipeline.md",
    "report.md",
    "errors.md",
    "testing.md",
]


def commands(
    command: click.Command, words: tuple[str, ...] = ("cellclf",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk a command and all below it, with the words that call each."""
    yield words, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            if below is not None and not below.hidden:
                yield from commands(below, (*words, name))


def section(words: tuple[str, ...], command: click.Command) -> str:
    """Describe one command: how it is called, what it does, its options."""
    parent: click.Context | None = None
    for word in words[:-1]:
        parent = click.Context(command, info_name=word, parent=parent)
    context = click.Context(command, info_name=words[-1], parent=parent)
    usage = " ".join([*words, *command.collect_usage_pieces(context)])
    parts = [f"{'#' * min(3, len(words))} {' '.join(words)}", prose(command.help or ""), f"```text\n{usage}\n```"]
    options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
    rows = [record for one in options if (record := one.get_help_record(context))]
    rows = [(name, text) for name, text in rows if "--help" not in name]
    if rows:
        lines = [f"| `{name}` | {cell(text)} |" for name, text in rows]  # in code, a bar does not separate cells
        parts.append("\n".join(["| option | what it does |", "|---|---|", *lines]))
    return "\n\n".join(part for part in parts if part)


def cell(text: str) -> str:
    """Make a text safe in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def prose(text: str) -> str:
    """Write a help text as Markdown: what click leaves unwrapped is an example."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            lines = "\n".join(line.strip() for line in paragraph.removeprefix("\b").strip().splitlines())
            parts.append(f"```sh\n{lines}\n```")
        else:
            parts.append(re.sub(r"\s+", " ", paragraph))
    return "\n\n".join(parts)


def command_page() -> str:
    """Write the page of the command line."""
    sections = [section(words, command) for words, command in commands(cellclf.cli.main)]
    sections[0] = "## cellclf" + sections[0].removeprefix("# cellclf")
    codes = "\n".join(f"| {code.value} | {meaning} |" for code, meaning in exit_codes().items())
    return "\n\n".join([COMMANDS.replace("{exit_codes}", codes).strip(), *sections]) + "\n"


def exit_codes() -> dict[ExitCode, str]:
    """Give each exit code with its meaning, which stands below it in its class."""
    (definition,) = ast.parse(inspect.getsource(ExitCode)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for name, text in itertools.pairwise(definition.body):
        if isinstance(name, ast.Assign) and isinstance(text, ast.Expr):
            found[ExitCode[ast.unparse(name.targets[0])]] = cell(str(ast.literal_eval(text.value))).replace("``", "`")
    assert list(found) == list(ExitCode), "each exit code has its meaning below it"
    return found


def name_page() -> str:
    """Write the list of public names, each with its first line and a link to its page."""
    rooms = []
    for page in ROOMS:
        text = (DOCS / "reference" / page).read_text(encoding="utf-8")
        names = re.findall(r"^::: ([\w.]+)\.(\w+)$", text, re.M)
        rows = [f"| [{name}]({page}#{home}.{name}) | `{home}` | {first_line(home, name)} |" for home, name in names]
        title = text.partition("\n")[0].removeprefix("# ")
        rooms.append("\n".join([f"## {title}", "", "| name | from | |", "|---|---|---|", *rows]))
    return "\n\n".join([NAMES.strip(), *rooms]) + "\n"


def first_line(home: str, name: str) -> str:
    """Take the first line of a public object's docstring."""
    if name == "hookimpl":  # a marker object of pluggy, which has no docstring of its own
        return "Marks the function in which a plugin lists what it adds."
    text = inspect.getdoc(getattr(importlib.import_module(home), name)) or ""
    return cell(text.partition("\n\n")[0]).replace("``", "`")


def pages() -> dict[Path, str]:
    """Give every page that is written here."""
    return {DOCS / "cli.md": command_page(), DOCS / "reference" / "index.md": name_page()}


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for path, text in pages().items():
        if not check:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is behind the code; run `python scripts/make_pages.py`")


if __name__ == "__main__":
    main()
