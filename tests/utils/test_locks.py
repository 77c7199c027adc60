from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import cellclf as cc
from cellclf.utils.locks import LOCK, held, is_free, scratch

HOLD = """
import pathlib, sys, time
from cellclf.utils.locks import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

SCRATCH = """
import time
from cellclf.utils.locks import scratch
with scratch() as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a run folder until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process, tmp_path / "run"
        process.kill()


def test_a_second_process_gets_the_number_of_the_first(holder):
    process, folder = holder
    with pytest.raises(cc.RunFolderError, match=rf"in use by process {process.pid} on .*; wait for it"), held(folder):
        pass
    assert process.poll() is None and (folder / LOCK).exists()


def test_what_a_killed_process_held_is_free(holder):
    process, folder = holder
    part = folder / f".manifest.{process.pid}.part.json"
    part.write_text("{")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / f".epoch.{process.pid}.part.npz").write_text("")
    (folder / "checkpoint" / "epoch.npz").write_text("")
    process.send_signal(signal.SIGKILL)
    process.wait()
    with held(folder):
        assert f"process {os.getpid()} " in (folder / LOCK).read_text()
    assert [str(p.relative_to(folder)) for p in sorted(folder.rglob("*"))] == ["checkpoint", "checkpoint/epoch.npz"]


def test_temporary_folders_of_killed_processes_are_removed_and_those_in_use_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "cellclf-scratch-unknown").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SCRATCH], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    ) as process:
        theirs = Path(process.stdout.readline().strip())
        (theirs / "cache").mkdir()
        long_ago = time.time() - 3600
        os.utime(theirs / LOCK, (long_ago, long_ago))
        try:
            with scratch() as outer:
                os.utime(outer / LOCK, (long_ago, long_ago))
                with scratch() as inner:
                    assert outer.is_dir() and inner.is_dir() and (theirs / "cache").is_dir()
        finally:
            process.kill()
    with scratch() as own:
        assert {item.name for item in tmp_path.iterdir()} == {own.name, "cellclf-scratch-unknown"}


def test_the_same_thread_may_ask_again_and_another_may_not(tmp_path):
    refused = []

    def ask():
        try:
            with held(tmp_path):
                pass
        except cc.RunFolderError as error:
            refused.append(str(error))

    with held(tmp_path):
        with held(tmp_path):
            pass
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()} " in refused[0]
    assert is_free(tmp_path) and not (tmp_path / LOCK).exists()


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(cc.RunFolderError, match=r"cannot be made: .*notes is a file"), held(tmp_path / "notes" / "run"):
        pass
    assert (tmp_path / "notes").read_text() == "mine"


def test_what_a_killed_run_left_before_its_first_file_is_no_obstacle(tmp_path):
    assert is_free(tmp_path / "missing")
    (tmp_path / LOCK).write_text("process 1")
    (tmp_path / ".manifest.123.part.json").write_text("{")
    assert is_free(tmp_path)
    (tmp_path / ".notes.part.json").write_text("mine")
    assert not is_free(tmp_path)
