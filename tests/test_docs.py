"""What README and the site show is run, what they link to is there, and what they list is what there is.

The fences of a page run one after the other in one namespace and one folder: ``python`` ones as they stand; of ``sh``
ones every ``cellclf`` line, in this process. A ``toml`` fence with a title is written to a file of that name, one with
a ``[trainer]`` is read as a recipe. Lines that train are only checked (``--check``), and with ``--slow`` are done on
a network of some thousand weights. ``py`` and ``text`` fences are shown and not run.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from helpers.bench import STAGE, TINY, write_bench

import cellclf
from cellclf.backbones.registry import registry
from cellclf.cli import main
from cellclf.errors import UnknownNameError

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^\1```", re.M | re.S)
OTHER_PROGRAMS = {"pip", "python", "python3", "pytest", "source", ".", "cd", "export", "git", "eval", "echo", "uv"}
OTHER_PROGRAMS |= {
    "ruff",
    "mypy",
    "lint-imports",
    "mkdocs",
    "jupytext",
    "dask",
    ".ci/run",
    "scripts/release.sh",
    "xdg-open",
}
SLOW = ("run", "compare", "demo", "labels", "crossval", "rerun")
MINE = ["--backbone", "residual", "--weights", "none", "--param", "filters=[16,16,16]", "--set", STAGE]


SLOW_PAGES = {"docs/guides/hidden-test.md"}
TENSORFLOW = {
    "docs/guides/export.md": "files for other programs are written",
    "docs/guides/gpu.md": "the page compiles a step by it",
    "docs/guides/pieces.md": "the page augments a tf.data set",
}
NEEDED = {"docs/guides/export.md": ("tf2onnx", "onnxruntime", "ai_edge_litert")}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[tuple[str, str, str]]:
    """List the language, title and content of the fences of a page, indented ones without their indent."""
    found = []
    for indent, language, title, content in FENCE.findall(page.read_text("utf-8")):
        found.append((language, title, re.sub(f"^{indent}", "", content, flags=re.M)))
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_bench(tmp_path_factory.mktemp("bench"))


def command_lines(text: str) -> list[list[str]]:
    """Give the words of every command of a shell fence."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [words for line in lines for part in line.split(" && ") if (words := shlex.split(part, comments=True))]


def shortened(words: list[str], *, slow: bool) -> list[str] | None:
    """Make a command small enough for a test; None if it is too long for a quick one."""
    if "--weights" in words and words[0] != "compare":
        place = words.index("--weights")
        words = [*words[:place], *words[place + 2 :]]
    if words[0] == "backbones" and "--measure" in words:  # its options are read, and nothing is measured
        return [*words, "--help"]
    if words[0] not in SLOW or (words[0] == "compare" and "--out" not in words):  # finished runs
        return words
    if words[0] == "run" and not slow:
        weights = [] if "--start" in words else ["--weights", "none"]
        return [*words, *weights, *([] if "--check" in words else ["--check"])]
    if not slow:
        return None
    if words[0] == "demo":
        return [*words, "-n", "100"]
    if words[0] == "compare":
        return [*words[:2], "residual", "--recipe", "demo", "--epochs", "1", "--set", TINY[0], "--out", words[-1]]
    if "--start" in words:
        return [*words, "--set", "trainer.stages.0.epochs=1", "--set", "trainer.stages.1.epochs=1"]
    return words if words[0] == "rerun" else [*words, *MINE]


def has_its_backbone(words: list[str]) -> bool:
    """Tell whether the backbone that a command names is installed: a page may show one of a plugin."""
    if "--backbone" not in words:
        return True
    try:
        registry().find(words[words.index("--backbone") + 1])
    except UnknownNameError:
        return False
    return True


def run_shell(text: str, monkeypatch: pytest.MonkeyPatch, *, slow: bool) -> None:
    for words in command_lines(text):
        with monkeypatch.context() as patch:
            while re.fullmatch(r"\w+=.*", words[0]):
                patch.setenv(*words[0].split("=", 1))
                words = words[1:]
            if words[:3] == ["python", "-m", "cellclf"]:
                words = words[2:]
            if words[0] != "cellclf":
                assert words[0] in OTHER_PROGRAMS, f"unknown program in {shlex.join(words)!r}"
                scripts = [word for word in words if word.endswith((".py", ".sh")) and "/" in word]
                assert all((ROOT / script).exists() for script in scripts), scripts
                continue
            words = words[1:]
            if "--help" in words or "--version" in words or not words:
                small = words
            else:
                parse(words)
                small = shortened(words, slow=slow) if has_its_backbone(words) else None
            if small is None:
                continue
            if slow and "--out" in small and Path(small[small.index("--out") + 1]).is_dir():
                shutil.rmtree(small[small.index("--out") + 1])
            done = CliRunner().invoke(main, small)
            assert done.exit_code == 0, f"{shlex.join(['cellclf', *small])}\n{done.output}\n{done.exception!r}"


def parse(words: list[str]) -> None:
    """Parse a command without doing it: every option exists and takes that value."""
    context = main.make_context("cellclf", list(words))
    name, command, rest = main.resolve_command(context, list(words))
    with context:
        command.make_context(name, rest, parent=context)


def marks_of(page: Path) -> list[pytest.MarkDecorator]:
    """Give what keeps the fences of a page from being run everywhere and always."""
    reason = TENSORFLOW.get(name_of(page))
    slow = [pytest.mark.slow] if name_of(page) in SLOW_PAGES else []
    return [*slow, *([pytest.mark.tensorflow(reason)] if reason else [])]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=marks_of(page))
        for page in PAGES
        if FENCE.search(page.read_text("utf-8"))
    ],
)
def test_the_fences_of_a_page_run(page, bench, tmp_path, monkeypatch, request):
    for package in NEEDED.get(name_of(page), ()):
        pytest.importorskip(package, reason="the runtimes: pip install 'cellclf[export]'")
    slow = request.config.getoption("--slow")
    here = tmp_path / "here"
    shutil.copytree(bench, here)
    monkeypatch.chdir(here)
    names: dict[str, object] = {"__name__": "a_page"}
    for language, title, content in fences(page):
        if title:
            Path(title).write_text(content, encoding="utf-8")
        if language == "python" and not title:
            exec(compile(content, name_of(page), "exec"), names)
        elif language == "toml" and "[trainer" in content:
            cellclf.Pipeline.from_recipe(tomllib.loads(content))
        elif language == "sh" and page.name != "cli.md":
            run_shell(content, monkeypatch, slow=slow)
        elif language == "sh":
            for words in command_lines(content):
                parse(words[1:])


def test_every_page_is_in_the_navigation_and_there():
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    named = re.findall(r"(?:: |- )(\S+\.md)$", text, re.M)
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def slug(heading: str) -> str:
    """Make the anchor of a heading as Markdown's table of contents does."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.M | re.S)
    found = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}
    return found | set(re.findall(r"^::: (\S+)$", text, re.M))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_project_leads_somewhere(page):
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if page.is_relative_to(DOCS):
            assert there.is_relative_to(DOCS), f"{name_of(page)} links to {target}, which is not on the site"
        if anchor:
            assert anchor in anchors(there), f"{name_of(page)} links to {target}; there are: {sorted(anchors(there))}"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_every_image_is_there_and_has_a_text(page):
    for words, target in re.findall(r"!\[([^]]*)\]\(([^)\s]+)\)", page.read_text("utf-8")):
        assert words, f"{target} has no text for those who cannot see it"
        assert (page.parent / target).exists()


def test_pages_that_are_written_by_a_script_are_up_to_date():
    spec = importlib.util.spec_from_file_location("make_pages", ROOT / "scripts" / "make_pages.py")
    make_pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_pages)
    for path, text in make_pages.pages().items():
        assert path.read_text("utf-8") == text, f"run `python scripts/make_pages.py`: {path.name} is behind the code"


ROOMS = sorted(path.parent for path in (ROOT / "cellclf").rglob("__init__.pyi"))


def documented() -> list[str]:
    """Give every name that the reference shows."""
    text = "\n".join(page.read_text("utf-8") for page in (DOCS / "reference").glob("*.md"))
    return re.findall(r"^::: (\S+)$", text, re.M)


def test_the_reference_names_exactly_the_public_names():
    everything = documented()
    assert not [name for name in set(everything) if everything.count(name) > 1], "a name stands there twice"
    shown = [name.removeprefix("cellclf.") for name in everything if name.count(".") == 1]
    assert {*shown, "__version__"} == set(cellclf.__all__)


@pytest.mark.parametrize("name", documented())
def test_every_documented_name_comes_from_a_folder(name):
    home, _, attribute = name.rpartition(".")
    module = importlib.import_module(home)
    assert hasattr(module, "__path__"), f"{home} is a file, and files may move; the address is its folder"
    assert attribute in module.__all__
    assert getattr(module, attribute) is not None


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_name_that_a_folder_exports_is_documented(room):
    module = importlib.import_module(".".join(room.relative_to(ROOT).parts))
    assert {*module.__all__} - {name.rpartition(".")[2] for name in documented()} <= {"__version__"}


@pytest.mark.parametrize("room", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_type_checkers_see_what_the_program_finds(room):
    module = importlib.import_module(".".join(room.relative_to(ROOT).parts))
    tree = ast.parse((room / "__init__.pyi").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.name == alias.asname, "only `X as X` is exported to type checkers"
                found = getattr(module, alias.name)
                assert getattr(found, "__name__", alias.name) == alias.name


def test_no_public_name_is_that_of_a_module_too():
    """Importing `cellclf.x` would put the module in the place of the name."""
    modules = {path.stem for path in (ROOT / "cellclf").iterdir()}
    assert not modules & set(cellclf.__all__)


def test_the_reference_names_exactly_what_plugin_authors_get():
    import cellclf.testing

    text = (DOCS / "reference" / "testing.md").read_text("utf-8")
    assert sorted(re.findall(r"^::: cellclf\.testing\.(\w+)$", text, re.M)) == sorted(cellclf.testing.__all__)


def test_every_error_has_a_fix():
    parts = re.split(r"^::: cellclf\.(\w+)$", (DOCS / "reference" / "errors.md").read_text("utf-8"), flags=re.M)
    fixes = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(fixes) == {name for name in cellclf.__all__ if name.endswith(("Error", "Warning"))}
    assert all("**Fix.**" in text for text in fixes.values())


def test_every_step_of_augmentation_is_in_the_reference():
    from cellclf.augmentation.steps.base import STEPS

    text = (DOCS / "reference" / "augmentation.md").read_text("utf-8")
    shown = set(re.findall(r"^::: cellclf\.augmentation\.(\w+)$", text, re.M))
    assert {step.__name__ for step in STEPS.values()} <= shown


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the site: pip install -e '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # -q would hide broken links
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_includes_are_included(page):
    """A formatter that takes the sign of an inclusion for Python (``--8 < --``) would show it in place of the file."""
    text = page.read_text("utf-8")
    assert not re.search(r"^\s*-+ ?8 +<|^\s*--8<-(?!-)", text, re.M)
    for name in re.findall(r'^--8<-- "([^"]+)"', text, re.M):
        assert (ROOT / name).is_file()
