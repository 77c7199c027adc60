"""A reader who knows the field finds the file at first guess, and reads plain English in it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "cellclf"

FIELD_WORDS = {
    "augmentation": "augmentation",
    "atomic": "atomic",
    "cache": "cache",
    "calibration": "calibration",
    "callbacks": "callback",
    "checkpoint": "checkpoint",
    "class weights": "class_weights",
    "confidence interval": "interval",
    "conformal": "conformal",
    "CSV": "csv",
    "dedup": "dedup",
    "early stopping": "early_stopping",
    "EMA": "ema",
    "export": "export",
    "freezing": "freez",
    "hash": "hash",
    "label noise": "label_noise",
    "loss": "loss",
    "metrics": "metric",
    "optimizer": "optimizer",
    "out-of-distribution": "ood",
    "outliers": "outlier",
    "provenance": "provenance",
    "registry": "registry",
    "resume": "resume",
    "robustness": "robustness",
    "saliency": "saliency",
    "significance": "significance",
    "split": "split",
    "test-time augmentation": "tta",
}

PHRASES = (
    r"\bpictures?\b",  # images
    r"[,;:(] ?wanted\b",  # expected
    r"what (is|was) wanted",
    r"(?<!there )\b(is|are|was|were) no cells?\b",  # non-cell image
    r"\bgo(es)? whole\b",  # all of it is removed
    r"\btorn\b",  # truncated, split across
    r"\bmend(s|ed|ing)?\b",  # fix
    r"\bstrangers?\b",  # out-of-distribution, third-party
    r"not a cell that I know",  # unknown
    r"\b(is|are|was|were|be) told\b",  # reported
    r"\btold apart\b",  # no significant difference
    r"where it (looked|looks)",  # heat map
    r"\bodd(est|ness)\b",  # outlier score
    r"for want of",
    r"\band the like\b",
    r"\bforeign laborator(y|ies)\b",  # external
    r"\bhow foreign\b",
    r"\bsp(eaks?|oke) (most )?for\b(?! itself)",  # is evidence for
    r"\b(what|which|that|images) stays?\b(?! (as|at|in|out)\b)",  # is kept
    r"\bgoes on with\b",  # continues
    r"\bwhat comes of it\b",
)


@pytest.mark.parametrize("word", FIELD_WORDS)
def test_a_field_word_leads_to_a_file_or_folder(word):
    names = {path.stem for path in PACKAGE.rglob("*") if path.suffix == ".py" or path.is_dir()}
    assert [name for name in names if re.search(rf"(^|_){FIELD_WORDS[word]}", name)], f"nothing is called {word}"


def texts(path: Path) -> list[tuple[int, str]]:
    """List what people read in a file, with its lines: comments and strings that are no mere names, else everything."""
    content = path.read_text("utf-8")
    if path.suffix == ".md":  # old names in code are names
        content = re.sub(r"`[^`\n]+`", "", content)
    if path.suffix != ".py":
        return list(enumerate(content.splitlines(), 1))
    found = [
        (token.start[0], token.string)
        for token in tokenize.generate_tokens(io.StringIO(content).readline)
        if token.type == tokenize.COMMENT
    ]
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.fullmatch(r"[\w.]*", node.value):
            found += [(node.lineno + k, line) for k, line in enumerate(node.value.splitlines())]
    return found


def files(place: str) -> list[Path]:
    """List the texts of a room, of a folder, or a single one."""
    root = ROOT / place
    kinds = {".py", ".pyi", ".md", ".j2", ".toml", ".css", ".js", ".html"}
    return [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix in kinds)


ROOMS = sorted(f"cellclf/{path.name}" for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__")
PLACES = [*ROOMS, "cellclf/errors.py", "docs", "examples", "scripts", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.mark.parametrize("place", PLACES)
def test_messages_and_pages_are_in_plain_english(place):
    pattern = re.compile("|".join(PHRASES), re.I)
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {text.strip()}"
        for path in files(place)
        for line, text in texts(path)
        if pattern.search(text)
    ]
    assert files(place) and not hits, "\n" + "\n".join(hits)
