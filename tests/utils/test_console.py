"""Every stream prints every name, and a command ends well where there is no stream at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import CellclfError, CellclfWarning, DataError, one_line, printable
from cellclf.utils.console import ERRORS, any_text

NAMES = ("κύτταρο", "细胞", "клетка", "Zellen_\udcfc", "🩸", "a\u202fb", "█▌", "\u200bzero", "→≥", "naïve")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437", "shift_jis", "utf-8"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_in_every_encoding(name, encoding, monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    with any_text():
        print(name)
    screen.flush()
    printed = screen.buffer.getvalue().decode(encoding)
    assert printed.strip() and "?" not in printed
    assert screen.errors == "strict", "the stream is as it was"


def test_what_is_printed_can_be_read():
    assert "██ – 3×4 → ü".encode("cp1252", ERRORS).decode("cp1252") == "## – 3×4 -> ü"
    assert "κ".encode("ascii", ERRORS) == b"\\u03ba" and "\udcfc".encode("utf-8", ERRORS) == b"\\xfc"
    with pytest.raises(UnicodeDecodeError):
        b"\xfc".decode("utf-8", ERRORS)


def test_streams_of_other_kinds_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with any_text():
        assert sys.stdout is None


HOSTILE = ("\x1b]0;owned\x07", "\x1b[2J", "line\nbreak", "\r\n", "\x00", "\x9b31m", "\u202egnp.exe", "\u2028", "\x7f")


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_spelled_in_sets_errors_and_warnings(name):
    cells = cc.ImageSet(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], class_names=["a", name], ids=["b", f"x{name}"])
    for text in (cells.class_names[1], cells.ids[1], str(DataError(name)), str(CellclfWarning(name)), printable(name)):
        assert text.isprintable(), text
    assert cells.class_names[1] == printable(name) == printable(printable(name))
    assert cells.summary().count("\n") == cc.ImageSet(cells.images, [0, 1]).summary().count("\n")


def test_an_error_is_one_line_of_less_than_a_thousand_characters():
    error = DataError("the class " + "x" * 5000 + "\n  is too long; expected\r\na shorter one")
    assert len(str(error)) < 1000 and "\n" not in str(error)
    assert str(error).startswith("the class xx") and str(error).endswith("expected a shorter one")
    assert one_line("kept as it is  , blanks too") == "kept as it is  , blanks too"
    assert isinstance(error, CellclfError)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("console")
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.savez(place / "greek.npz", images=images, labels=[0, 1] * 3, class_names=["κύτταρο", "\x1b[31mred"])
    return place


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "utf-8"])
def test_a_command_whose_output_is_redirected_prints_all_of_it(folder, encoding):
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "cellclf", "inspect", "greek.npz"]
    done = subprocess.run(command, capture_output=True, env=env, cwd=folder, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    assert ("κύτταρο" if encoding == "utf-8" else "\\u03") in text and "50.0%" in text and "\x1b" not in text


CLOSED = "import os, sys; os.close({0}); from cellclf.cli import main; main(['inspect', 'greek.npz'])"
NONE = "import sys; sys.stdout = sys.stderr = sys.stdin = None\nfrom cellclf.cli import main; main([{0!r}, {1!r}])"


@pytest.mark.skipif(os.name == "nt", reason="descriptors are another matter on Windows")
@pytest.mark.parametrize("closed", ["1", "2", "0", "1); os.close(2"])
def test_a_closed_descriptor_is_never_given_to_a_file(folder, closed):
    code = f"import os\nos.close({closed})\nfrom cellclf.utils.console import open_closed_descriptors as f\nf()\n"
    code += "with open('made', 'w') as file: print(file.fileno(), file=file)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=folder, check=True)
    assert int((folder / "made").read_text()) > 2
    done = subprocess.run([sys.executable, "-c", CLOSED.format(closed)], capture_output=True, cwd=folder, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(("src", "code"), [("greek.npz", 0), ("nothing.npz", 1)])
def test_without_a_console_a_command_ends_with_its_exit_code(folder, src, code):
    done = subprocess.run([sys.executable, "-c", NONE.format("inspect", src)], cwd=folder, check=False)
    assert done.returncode == code
