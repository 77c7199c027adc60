"""Sets that look wrong as a whole are reported, and sound ones are not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.command import run
from PIL import Image

import cellclf as cc
from cellclf.data.looks import odd_looks

CELLS = cc.make_cells(60, size=40, seed=5).images
rng = np.random.default_rng(0)
SHINING = np.where(np.hypot(*np.mgrid[-20:20, -20:20]) < 12, 200, 8)[None, :, :, None] + rng.integers(
    0, 20, (30, 40, 40, 3)
)


def some(count, odd):
    return np.concatenate([odd[:count], CELLS[count:]])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (CELLS // 16, "60 of 60 images looked at are nearly black, no level above 15"),
        (CELLS * 0, "nearly black, no level above 0"),
        (some(5, CELLS // 20), "5 of 60 images looked at are nearly black"),
        (CELLS // 4, "the images are dark: half of them have no level above"),
        (240 + CELLS // 18, "60 of 60 images looked at are nearly white"),
        (np.full_like(CELLS, 255), "nearly white, no level below 255"),
        (some(4, np.full_like(CELLS, 255)), "4 of 60 images looked at are nearly white"),
        (255 - CELLS, "light on dark: inverted, unless"),
        (some(6, 255 - CELLS), "light on dark, the others dark on light: are these inverted?"),
        (SHINING.astype(np.uint8), "light on dark: inverted, unless the microscope is fluorescent"),
    ],
)
def test_what_looks_odd_is_said_in_one_line(images, words, tmp_path):
    cells = cc.load(np.ascontiguousarray(images, np.uint8))
    found = odd_looks(cells)
    assert len(found) == 1 and words in found[0] and "\n" not in found[0]
    assert f"note: {found[0]}" in cells.summary()
    path = cells.replace(labels=np.arange(len(cells)) % 2).save(tmp_path / "a.npz")
    for command in (("inspect", path), ("run", path, "--check")):
        done = run(*command)
        assert words in done.stdout + done.stderr, command


@pytest.mark.parametrize(
    "images",
    [CELLS, CELLS // 2 + 60, CELLS[..., 1:2].repeat(3, -1), CELLS[:1], CELLS[:0], CELLS[:, :3, :3], CELLS // 2],
)
def test_sound_sets_are_not_reported(images):
    assert odd_looks(cc.load(np.ascontiguousarray(images))) == []


def test_files_that_look_odd_have_a_notice_and_it_is_given_once(tmp_path):
    for k, image in enumerate(255 - CELLS):
        (tmp_path / f"{k % 2}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"{k % 2}" / f"{k}.png")
    cells = cc.load(tmp_path)
    assert sum("light on dark" in one for one in cells.notices) == 1
    assert cells.summary().count("light on dark") == 1
    assert run("run", tmp_path, "--check").stderr.count("light on dark") == 1


def test_real_sets_look_sound(real_data):
    for name in ("acevedo96/train", "bccd_crops"):
        assert odd_looks(cc.load(real_data / "data" / name, verify=False)) == []
