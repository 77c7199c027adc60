from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from cellclf.utils.atomic import replacing, replacing_folder
from cellclf.utils.progress import track


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with replacing(target) as new:
        new.write_text("one")
        assert not target.exists() and new.suffix == ".txt"
    assert target.read_text() == "one"
    assert os.listdir(target.parent) == ["a.txt"]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, kind):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(kind), replacing(target) as new:
        new.write_text("half")
        raise kind
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_kill_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    code = (
        "import os, sys, signal, pathlib; from cellclf.utils.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as new:\n"
        "    new.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)])
    assert done.returncode == -9
    assert target.read_text() == "old"


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_folder_is_kept_if_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, kind):
    place, steps = tmp_path / "model", []
    place.mkdir()
    (place / "sign").write_text("old")

    def replace(source, target, real=os.replace):
        steps.append(target)
        if len(steps) == 2:
            raise kind("between the two steps")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(kind, match="between"), replacing_folder(place, sign="sign") as new:
        (new / "sign").write_text("new")
    assert (place / "sign").read_text() == "old" and os.listdir(tmp_path) == ["model"]
    with replacing_folder(place, sign="sign") as new:
        (new / "sign").write_text("new")
    assert (place / "sign").read_text() == "new" and os.listdir(tmp_path) == ["model"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "big").mkdir()
    link = tmp_path / "a.txt"
    link.symlink_to(tmp_path / "big" / "a.txt")
    with replacing(link) as new:
        new.write_text("one")
    assert link.is_symlink() and (tmp_path / "big" / "a.txt").read_text() == "one"


def test_progress_is_drawn_when_asked_and_silent_off_a_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(track(iter("abc"), total=3, label="reading")) == ["a", "b", "c"]
    assert screen.getvalue() == ""
    assert list(track(iter("abc"), total=3, label="reading", show=True)) == ["a", "b", "c"]
    assert "reading" in screen.getvalue() and "0/3" in screen.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    assert list(track([1], show=True)) == [1]
