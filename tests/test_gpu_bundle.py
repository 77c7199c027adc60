"""What travels to a machine with a GPU and no network stays under 64 MiB, and its scripts name what is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUNDLE = ROOT / "benchmarks" / "gpu"
OTHERS = 53 * 2**20
"""Bytes of wheels (10 MB), weights (17 MB) and 6,000 JPEG files of 96 pixels (28 MB), where they are not gathered."""


def test_tree_wheels_weights_and_images_stay_under_64_mib():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tree = sum((ROOT / name).stat().st_size for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file())
    gathered = [path for path in BUNDLE.rglob("*") if path.is_file()] if BUNDLE.is_dir() else []
    assert tree + (sum(path.stat().st_size for path in gathered) or OTHERS) < 64 * 2**20


@pytest.mark.parametrize("name", ["gpu.sh", "gpu_train.sh", "gpu_bundle.sh", "gpu_site.sh"])
def test_a_script_is_read_by_bash_and_names_what_is_there(name):
    script = ROOT / "benchmarks" / name
    assert not subprocess.run(["bash", "-n", script], capture_output=True, check=True).stderr
    for file in re.findall(r"benchmarks/(\w+\.(?:py|sh))", script.read_text("utf-8")):
        assert (ROOT / "benchmarks" / file).is_file(), file
