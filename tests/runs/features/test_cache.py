from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cellclf as cc
from cellclf import training
from cellclf.augmentation.mixing import Mix
from cellclf.augmentation.steps.colour import Brightness
from cellclf.runs.features.cache import (
    OWN_FOLDER,
    Cache,
    Features,
    byte_count,
    key_of,
    make_room,
    size_text,
    sweep,
)
from cellclf.training.freezing import freeze
from cellclf.training.split_model import split_for_stage

HEAD = (cc.Stage(epochs=3, learning_rate=3e-3),)


def small_cache(path, *, rows=8, limit=10**9, dtype="float32"):
    """Give a cache of ``rows`` rows of 4 numbers and the list that counts how often it was made."""
    made = []

    def make():
        made.append(True)
        yield np.arange(rows * 4, dtype=dtype).reshape(rows, 4)

    return Cache(path, (rows, 4), np.dtype(dtype), make, limit), made


def cached_stages():
    return (*HEAD, cc.Stage(epochs=2, learning_rate=1e-3, unfreeze=1, train_batch_norm=True))


def differences(one, other):
    return max(np.abs(a.numpy() - b.numpy()).max() for a, b in zip(one.variables, other.variables, strict=True))


@pytest.fixture(scope="module")
def plain_and_cached(small_trainer, parts, tmp_path_factory):
    """The same training on images and on cached features: head, then the last block with its BatchNorm."""
    folder = tmp_path_factory.mktemp("cached") / "run"
    settings = {"stages": cached_stages(), "ema": 0.9, "val_augmenter": cc.Augmenter([Brightness()], seed=9)}
    plain = small_trainer(cache=None, **settings).fit(parts.train, parts.val)
    cached = small_trainer(**settings).fit(parts.train, parts.val, out=folder)
    return plain, cached


def test_cached_features_give_what_the_images_give(plain_and_cached):
    plain, cached = plain_and_cached
    for one, other in zip(plain.history, cached.history, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, abs=1e-5
        )
    assert differences(plain.model, cached.model) < 1e-5


def same_confidence(one, other):
    assert one.temperature == pytest.approx(other.temperature, rel=1e-3)
    np.testing.assert_allclose(np.sort(one.conformal.given), np.sort(other.conformal.given), atol=1e-4)
    np.testing.assert_allclose(one.familiar.centres, other.familiar.centres, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one.familiar.reference, other.familiar.reference, rtol=1e-2)
    return True


def test_the_confidence_of_a_run_comes_from_the_cache_and_is_the_same(plain_and_cached):
    plain, cached = plain_and_cached
    assert same_confidence(plain.confidence, cached.confidence)


@pytest.mark.parametrize("augmented", [False, True])
def test_calibrating_on_cached_pooled_features_is_calibrating_on_images(small_trainer, parts, augmented):
    augmenter = cc.Augmenter([Brightness()], seed=1) if augmented else None
    run = small_trainer(stages=HEAD, augmenter=augmenter, cache=training.Cache(views=2 if augmented else 1)).fit(
        parts.train, parts.val
    )
    first = run.confidence
    assert same_confidence(first, run.calibrate(parts.train, parts.val)) and run.confidence is not first


def test_the_cache_of_a_run_is_removed_after_its_stage(plain_and_cached):
    _, cached = plain_and_cached
    assert not (cached.folder / "cache").exists()


def test_without_a_folder_the_cache_is_a_temporary_file(small_trainer, parts, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    caplog.set_level("INFO", "cellclf")
    small_trainer(stages=HEAD).fit(parts.train, parts.val)
    assert f"in {tmp_path / 'cellclf-scratch-'}" in caplog.text
    assert not list(tmp_path.iterdir())


def test_frozen_statistics_are_unchanged_and_trained_ones_move(small_trainer, parts, plain_and_cached):
    _, cached = plain_and_cached
    start, blocks, _ = small_trainer()._build(parts.train.image_shape, 3)
    end = {v.path: v.numpy() for v in cached.model.variables}
    moved = {v.path for v in start.variables if "moving" in v.path and not np.array_equal(v.numpy(), end[v.path])}
    last = {v.path for layer in blocks[-1] for v in layer.variables if "moving" in v.path}
    assert moved == last
    assert last


def test_the_cache_holds_the_views_and_each_epoch_takes_one(small_trainer, parts, tmp_path, caplog):
    augmenter = cc.Augmenter.preset("report", seed=5)
    trainer = small_trainer(stages=HEAD, augmenter=augmenter, cache=training.Cache(views=2, dir=tmp_path))
    caplog.set_level("INFO", "cellclf")
    trainer.fit(parts.train, parts.val)
    size = size_text((2 * 72 + 24) * 16 * 4)
    assert f"stage 1: feature cache of {size} in {tmp_path / OWN_FOLDER}, 2 views of each" in caplog.text
    assert "runs 2 instead of 3 times over 72 images" in caplog.text
    (path,) = (tmp_path / OWN_FOLDER).iterdir()
    held = np.load(path, mmap_mode="r")
    assert held.shape == (2 * 72 + 24, 16)
    assert path.stat().st_size == pytest.approx(held.nbytes, abs=128)
    model, blocks, layers = trainer._build(parts.train.image_shape, 3)
    freeze(layers, blocks, HEAD[0])
    front = split_for_stage(model, blocks, 0).front
    for view in range(2):
        seen = front.predict(augmenter(parts.train.images, parts.train.ids, view), verbose=0)
        np.testing.assert_allclose(held[view * 72 : (view + 1) * 72], seen, atol=1e-4)
    np.testing.assert_allclose(held[144:], front.predict(parts.val.images, verbose=0), atol=1e-4)

    caplog.clear()
    trainer.fit(parts.train, parts.val)
    assert "found in" in caplog.text
    assert [p.name for p in tmp_path.rglob("*")] == [OWN_FOLDER, path.name]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"augmenter": cc.Augmenter.preset("report")},
            r"one augmented view of each image; expected Cache(views=6)",
        ),
        ({"augmenter": cc.Augmenter.preset("report"), "cache": training.Cache(views=3)}, "as many passes as 1 epochs"),
        ({"mix": Mix()}, "mix blends the images"),
        ({"cache": training.Cache(limit=500)}, "it needs 6.1 KB, more than the cache's limit=0.5 KB"),
    ],
)
def test_where_no_cache_is_made_one_line_says_why(small_trainer, parts, caplog, changes, line):
    epochs = 1 if "passes" in line else 2
    caplog.set_level("INFO", "cellclf")
    small_trainer(stages=(cc.Stage(epochs=epochs, learning_rate=1e-3),), **changes).fit(parts.train, parts.val)
    lines = [text for text in caplog.messages if "no feature cache" in text]
    assert len(lines) == 1
    assert line in lines[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"cache": training.Cache(mode="dsk")}, "did you mean 'disk'"),
        ({"cache": "disk"}, r"Trainer cache='disk'; expected a Cache or None; such as Cache\(mode=\"disk\"\)"),
        ({"cache": training.Cache(views=0)}, "Cache views=0; expected a whole number from 1"),
        ({"cache": training.Cache(limit="4 gigs")}, "expected a size such as '4GB'"),
        ({"cache": training.Cache(mode="disk"), "mix": Mix()}, "expected 'auto' with mix or consistency"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(small_trainer, changes, match):
    with pytest.raises(cc.CellclfError, match=match):
        small_trainer(**changes).check_options()


def test_sizes_are_read_and_written():
    assert [byte_count(size) for size in (7, "7 B", "1.5GB", ".5 kb", "2tb")] == [7, 7, 15 * 10**8, 500, 2 * 10**12]
    assert [size_text(size) for size in (500, 6_100, 113_000_000, 2_400_000_000)] == [
        "0.5 KB",
        "6.1 KB",
        "113 MB",
        "2.4 GB",
    ]


def test_the_key_follows_all_that_makes_the_features(small_trainer):
    def front():
        model, blocks, _ = small_trainer()._build((32, 32, 3), 3)
        return split_for_stage(model, blocks, 0).front

    one, other = front(), front()
    content = {"data": "a", "augmenter": {"seed": 1}, "views": 1}
    key = key_of(content, one)
    assert key == key_of(dict(reversed(content.items())), other)
    assert key != key_of(content | {"augmenter": {"seed": 2}}, one)
    assert key != key_of(content | {"views": 2}, one)
    norm = next(layer for layer in other.layers if isinstance(layer, keras.layers.BatchNormalization))
    norm.moving_mean.assign(norm.moving_mean + 1)
    assert key != key_of(content, other)


def test_only_a_whole_file_is_read(tmp_path):
    path = tmp_path / "features-a.npy"
    cache, made = small_cache(path)
    np.testing.assert_array_equal(cache.open(), np.arange(32).reshape(8, 4))
    assert len(made) == 1
    again, made = small_cache(path)
    assert again.exists()
    again.open()
    assert not made
    for damage in (path.read_bytes()[:-1], b"", b"something else"):
        path.write_bytes(damage)
        damaged, made = small_cache(path)
        assert not damaged.exists()
        np.testing.assert_array_equal(damaged.open(), np.arange(32).reshape(8, 4))
        assert len(made) == 1
    other, made = small_cache(path, dtype="float16")
    assert other.open().dtype == np.float16
    assert len(made) == 1


def test_a_failure_while_it_is_written_leaves_nothing(tmp_path):
    cache, _ = small_cache(tmp_path / "features-a.npy", rows=4096)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # as a full disk: the write fails half-way
    try:
        with pytest.raises(cc.RunFolderError, match=r"feature cache of 66 KB cannot be written .* cache=None"):
            cache.open()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def named(letter):
    """Give the name of a cache, whose hash has 40 hexadecimal digits."""
    return f"features-{letter * 40}.npy"


def test_room_is_made_by_what_was_used_longest_ago(tmp_path):
    for age, letter in enumerate("abc"):
        path = tmp_path / named(letter)
        small_cache(path)[0].open()
        os.utime(path, (1e9 - age, 1e9 - age))
    (tmp_path / "mine.npy").write_bytes(b"x" * 1000)
    size = (tmp_path / named("c")).stat().st_size
    small_cache(tmp_path / named("c"))[0].open()  # used again
    make_room(tmp_path, 2 * size)
    assert {p.name for p in tmp_path.iterdir()} == {named("a"), named("c"), "mine.npy"}
    cache, _ = small_cache(tmp_path / named("d"), limit=2 * size)
    cache.open()
    assert {p.name for p in tmp_path.iterdir()} == {named("d"), named("c"), "mine.npy"}


OTHERS = (
    "features-hospital_a.npy",
    "features-.npy",
    "features-2024.npy",
    f"features-{'a' * 39}.npy",
    f"features-{'a' * 41}.npy",
    f"features-{'A' * 40}.npy",
    f"features-{'g' * 40}.npy",
    f"features-{'a' * 40}.npz",
    f"features-{'a' * 40}.npy.bak",
    f"my-features-{'a' * 40}.npy",
    "features-" + "a" * 40,
)


@pytest.mark.parametrize("place", ["", OWN_FOLDER])
def test_files_of_others_are_never_removed(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    for name in OTHERS:
        (folder / name).write_bytes(b"x" * 50_000)
        os.utime(folder / name, (1, 1))
    linked = folder / named("e")
    linked.symlink_to(folder / OTHERS[0])
    make_room(folder, 0)
    small_cache(folder / named("a"), limit=1)[0].open()
    sweep(folder, after=0)
    assert {p.name for p in folder.iterdir()} - {OWN_FOLDER} == {*OTHERS, linked.name, named("a")}


def test_two_containers_whose_processes_have_one_number_write_two_files(tmp_path):
    """Each process is number 1 in its own container; the folder is shared."""
    path, rows = tmp_path / named("a"), np.arange(32, dtype="f4").reshape(8, 4)
    other, _ = small_cache(path)

    def slowly():
        yield rows[:4]
        other.open()  # the other container writes the same cache meanwhile, and is done first
        yield rows[4:]

    first = Cache(path=path, shape=(8, 4), dtype=np.dtype("f4"), make=slowly, limit=10**9)
    np.testing.assert_array_equal(first.open(), rows)
    np.testing.assert_array_equal(other.open(), rows)
    assert [p.name for p in tmp_path.iterdir()] == [named("a")]


def test_parts_of_killed_processes_are_removed(tmp_path):
    part = tmp_path / ".features-a.123.part.npy"
    part.write_bytes(b"half")
    sweep(tmp_path, after=3600)
    assert part.exists()  # perhaps someone is writing it
    os.utime(part, (1e9, 1e9))
    sweep(tmp_path, after=3600)
    assert not part.exists()


@given(
    ids=st.lists(st.text(max_size=4), min_size=1, max_size=20, unique=True),
    views=st.integers(1, 6),
    epoch=st.integers(0, 99),
)
def test_each_image_takes_one_of_its_own_views(ids, views, epoch):
    count = len(ids)
    features = Features(Cache(Path("none"), (count * views, 2), np.dtype("f4"), lambda: iter(()), 0), 0, count, views)
    places = np.arange(count)
    rows = features.choose(places, ids, 7, epoch)
    np.testing.assert_array_equal(rows % count, places)
    assert rows.max() < count * views
    backwards = features.choose(places[::-1], ids[::-1], 7, epoch)[::-1]
    np.testing.assert_array_equal(rows, backwards)


def test_all_views_come_up_alike_often():
    features = Features(Cache(Path("none"), (6 * 200, 2), np.dtype("f4"), lambda: iter(()), 0), 0, 200, 6)
    chosen = np.concatenate([features.choose(np.arange(200), range(200), 0, epoch) // 200 for epoch in range(30)])
    assert np.bincount(chosen, minlength=6) == pytest.approx(1000, abs=120)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_cache_takes_disk_and_not_memory(tmp_path):
    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

    def make():
        for value in range(96):
            yield np.full((1, 1 << 18), value, np.float32)

    cache = Cache(tmp_path / "features-big.npy", (96, 1 << 18), np.dtype("f4"), make, 10**9)
    before = anonymous()
    rows = cache.open()
    total = sum(float(rows[[row]].sum()) for row in range(96))
    assert total == sum(range(96)) * (1 << 18)
    assert anonymous() - before < 16 << 20
    assert cache.size == 96 << 20


def test_a_run_resumes_without_its_cache(small_trainer, parts, plain_and_cached):
    _, cached = plain_and_cached
    settings = {"stages": cached_stages(), "ema": 0.9, "val_augmenter": cc.Augmenter([Brightness()], seed=9)}
    plain = small_trainer(cache=training.Cache(mode=None, limit="1GB"), **settings)
    assert plain.fit(parts.train, parts.val, out=cached.folder).history == cached.history
    with pytest.raises(cc.RunFolderError, match="other trainer"):
        small_trainer(cache=training.Cache(views=2), **settings).fit(parts.train, parts.val, out=cached.folder)


SCRIPT = """
import sys
import numpy as np
import cellclf as cc
from cellclf.training import Cache, Compute

rng = np.random.default_rng(0)
labels = np.arange(3000) % 2
images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (3000, 32, 32, 3)).clip(0, 255).astype(np.uint8)
parts = cc.Split(val=0.1).apply(cc.ImageSet(images, labels))
trainer = cc.Trainer(
    backbone=cc.Backbone("residual", weights=None, params={"filters": [16, 16, 16]}),
    head=cc.Head(units=(8,)),
    augmenter=cc.Augmenter.preset("report", seed=5),
    stages=(cc.Stage(epochs=3, learning_rate=3e-3),),
    cache=Cache(views=2),
    compute=Compute(deterministic=True),
)
run = trainer.fit(parts.train, parts.val, out=sys.argv[1], show=True)
np.save(sys.argv[2], run.predict_proba(parts.val))
"""


@pytest.mark.slow
def test_killed_while_the_cache_is_written_it_resumes_as_if_not(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}

    def command(name):
        return [sys.executable, str(script), str(tmp_path / name), str(tmp_path / f"{name}.npy")]

    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.PIPE)
    cache = tmp_path / "killed" / "cache"
    while process.poll() is None and not any(part.stat().st_size > 200 for part in cache.glob(".features-*")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [part.name.startswith(".features-") for part in cache.iterdir()] == [True]
    for name in ("killed", "whole"):
        errors = subprocess.run(command(name), check=True, env=environment, capture_output=True, text=True).stderr
        assert "runs 2 instead of 3 times" in errors
        assert not (tmp_path / name / "cache").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "whole.npy"), np.load(tmp_path / "killed.npy"))
