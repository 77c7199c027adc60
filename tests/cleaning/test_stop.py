"""Ctrl-C in the middle: nothing half-written, the input as it was, one line and exit code 130."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cellclf.data.image_set import ImageSet

# The real program in a process of its own; from some read on (or while a file reaches the disk) its disk is slow.
SLOW_DISK = """
import os, sys, time
from cellclf.cli import main
from cellclf.data.sources import ArraySource

owner, name = {"read": (ArraySource, "read"), "fsync": (os, "fsync")}[sys.argv.pop(1)]
left, plain = int(sys.argv.pop(1)), getattr(owner, name)

def slowly(*words):
    global left
    left -= 1
    if left == 0:
        print("now", flush=True)
    if left <= 0:
        time.sleep(0.2)
    return plain(*words)

setattr(owner, name, slowly)
main()
"""

HASHING = (("read", 4), ("read", 20))


@pytest.fixture(scope="module")
def cells() -> ImageSet:
    coarse = np.random.default_rng(0).integers(0, 256, (1000, 8, 8, 3), dtype=np.uint8)
    images = coarse.repeat(4, 1).repeat(4, 2)
    images[600:] = images[:400]
    return ImageSet(images, np.arange(1000) % 2)


# 16 batches are read to be hashed, then the copies again in 12, then what stays in 3 to be written
@pytest.mark.parametrize(
    ("where", "words"),
    [
        (HASHING[0], ("--on-loss", "warn", "--apply", "out.npz")),
        (HASHING[1], ("--pairs", "out.csv", "--gallery", "out.html")),
        (("read", 30), ("--on-loss", "warn", "--apply", "out.npz")),
        (("fsync", 1), ("--on-loss", "warn", "--apply", "out.csv")),
        (("fsync", 1), ("--pairs", "out.parquet")),
        (("fsync", 1), ("--gallery", "out.html")),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT, as a terminal does: POSIX only")
def test_a_stop_leaves_nothing(cells: ImageSet, where: tuple[str, int], words: tuple[str, ...], tmp_path: Path):
    source = cells.save(tmp_path / "cells.npz")
    before = hashlib.sha256(source.read_bytes()).digest(), source.stat().st_mtime_ns
    command = [sys.executable, "-c", SLOW_DISK, *map(str, where), "dedup", "cells.npz", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            if line == "now\n":
                break
            shown.append(line)
        if where not in HASHING:
            assert any(file.name.startswith(".out") for file in tmp_path.iterdir()), "it is not writing"
        process.send_signal(signal.SIGINT)
        more, reported = process.communicate(timeout=120)
    assert process.returncode == 130, reported
    assert not more
    assert reported.strip() == "cellclf: stopped; no file is half written, and the same command continues a run"
    assert [file.name for file in tmp_path.iterdir()] == ["cells.npz"]
    assert (hashlib.sha256(source.read_bytes()).digest(), source.stat().st_mtime_ns) == before
    assert bool(shown) == (where not in HASHING), "what was found is shown before it is written"
