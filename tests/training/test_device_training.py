"""A training whose batches are made on the device ends as the one whose batches are made on the host."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.augmentation import Cutout, Noise
from cellclf.augmentation.mixing import Mix
from cellclf.backends import current
from cellclf.training import Compute, epoch_steps
from cellclf.training.batches import Batches
from cellclf.training.checkpoint import Checkpoint, values
from cellclf.training.device_epochs import DeviceEpochs, device_epochs
from cellclf.training.device_images import DeviceImages
from cellclf.training.drawn import Drawn
from cellclf.training.ema import EMA
from cellclf.training.epoch_steps import AfterBatch, build_metrics, fit_epoch
from cellclf.training.losses import make_loss

COUNT, SIZE = 44, 8  # the last batch is half full
AUGMENTER = cc.Augmenter([Noise(), Cutout()], seed=3)
WEIGHTS = np.linspace(0.5, 2, COUNT, dtype=np.float32)


@pytest.fixture(scope="module")
def cells():
    rng = np.random.default_rng(0)
    labels = np.arange(56) % 2
    images = rng.normal(80 + 60 * labels[:, None, None, None], 30, (56, 16, 16, 3)).clip(0, 255).astype(np.uint8)
    return cc.ImageSet(images, labels, class_names=["dark", "light"])


def new_model(*, norm=False, consistency=0.0):
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 5, strides=4, kernel_initializer=keras.initializers.GlorotUniform(1))(x)
    x = keras.layers.BatchNormalization()(x) if norm else x
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    start = keras.initializers.GlorotUniform(2)
    model = keras.Model(inputs, keras.layers.Dense(2, "softmax", kernel_initializer=start)(x))
    jit = keras.config.backend() == "jax"
    model.compile(keras.optimizers.SGD(0.1), make_loss(0.05, consistency), metrics=["accuracy"], jit_compile=jit)
    model.optimizer.build(model.trainable_variables)
    build_metrics(model)
    return model


def hook(after_step=lambda done: None):
    return AfterBatch(0, after_step, lambda done: None, lambda: False)


SETTINGS = {
    "plain": ({}, {}),
    "mixed, of equal classes": ({"mix": Mix(seed=2), "sampling": "balanced"}, {}),
    "BatchNorm that learns": ({}, {"norm": True}),
    "consistency": ({"views": 3}, {"consistency": 2.0}),
}


@pytest.mark.backend
@pytest.mark.parametrize("name", SETTINGS)
def test_after_fifty_steps_the_weights_are_those_of_the_host(cells, name):
    how, kind = SETTINGS[name]
    batches = Batches(cells[:COUNT], AUGMENTER, SIZE, WEIGHTS, seed=1, **how)
    host, device = new_model(**kind), new_model(**kind)
    averages = [EMA(model.trainable_variables, 0.9) for model in (host, device)]
    epochs = device_epochs(device, batches, DeviceImages(cells[:COUNT], WEIGHTS), averages[1])
    for number in range(9 if name == "plain" else 2):
        fit_epoch(host, batches.epoch(number), hook(lambda done: averages[0].update()), [])
        epochs.fit(batches, number, number * batches.steps, hook(), [])
        for key, value in host.get_metrics_result().items():
            assert float(device.get_metrics_result()[key]) == pytest.approx(float(value), rel=1e-4), key
    pairs = [(host.variables, device.variables), (averages[0].averages, averages[1].averages)]
    for one, other in pairs:
        assert all(np.abs(a - b).max() < 1e-4 for a, b in zip(values(one), values(other), strict=True))
    assert averages[0].steps == averages[1].steps == (number + 1) * batches.steps
    assert int(device.optimizer.iterations) == int(host.optimizer.iterations) == (number + 1) * 6


def trainer(pipeline="device", **changes):
    settings = {
        "backbone": cc.Backbone("residual", weights=None, params={"filters": [4, 4, 4]}),
        "head": cc.Head(units=(), dropout=0.2),
        "augmenter": AUGMENTER,
        "stages": (cc.Stage(epochs=2, learning_rate=1e-2, unfreeze="all", schedule="cosine"),),
        "optimizer": "adamw",
        "batch_size": SIZE,
        "ema": 0.9,
        "cache": None,
        "seed": 3,
        "compute": Compute(pipeline=pipeline),
    }
    return cc.Trainer(**{**settings, **changes})


@pytest.fixture(scope="module")
def whole(cells):
    """Train without a stop, and record what is sent to the device and how often a batch's function is traced."""
    sent, traced = [], []
    place, make = current().place, Drawn.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(current(), "place", lambda arrays: sent.append(dict(arrays)) or place(arrays))
        patch.setattr(Drawn, "make", lambda self, held, drawn: traced.append(1) or make(self, held, drawn))
        run = trainer().fit(cells[:COUNT], cells[COUNT:], show=False)
    return run, sent, len(traced)


class KilledError(Exception):
    pass


@pytest.mark.backend
def test_killed_within_an_epoch_and_started_again_it_ends_bit_for_bit_the_same(cells, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(epoch_steps, "SAVE_EVERY", 0.0)
    done = []
    after = AfterBatch.__call__

    def dying(self, batches):
        found = after(self, batches)
        done.append(self.done)
        if len(done) == 3:  # in the second epoch
            raise KilledError  # nothing is saved any more
        return found

    monkeypatch.setattr(AfterBatch, "__call__", dying)
    with pytest.raises(KilledError):
        trainer().fit(cells[:COUNT], cells[COUNT:], out=tmp_path, show=False)
    assert done[-1] == 4, "it was killed after four of six batches"
    monkeypatch.setattr(AfterBatch, "__call__", after)
    resumed = trainer().fit(cells[:COUNT], cells[COUNT:], out=tmp_path, show=False)
    assert resumed.manifest["end_sha256"] == whole[0].manifest["end_sha256"]
    assert [{**row, "seconds": 0} for row in resumed.history] == [{**row, "seconds": 0} for row in whole[0].history]


@pytest.mark.backend
def test_images_are_sent_once_and_a_stage_is_compiled_once(cells, whole):
    run, sent, traced = whole
    assert run.manifest["chosen"]["pipeline"] == "device"
    first, *others = sent
    assert first["images"].nbytes == cells[:COUNT].images.nbytes and len(others) == 2 * 2
    assert all("images" not in one for one in others)
    assert max(sum(array.nbytes for array in one.values()) for one in others) < 4 * SIZE * 100
    if keras.config.backend() != "torch":  # which compiles nothing
        assert traced == 1


@pytest.mark.backend
def test_jax_sees_no_other_transfer(cells):
    if keras.config.backend() != "jax":
        pytest.skip("JAX counts transfers")
    import jax

    batches = Batches(cells[:COUNT], AUGMENTER, SIZE, WEIGHTS, seed=1)
    model = new_model()
    epochs = device_epochs(model, batches, DeviceImages(cells[:COUNT], WEIGHTS))
    epochs.fit(batches, 0, 0, hook(), [])
    guard = jax.transfer_guard("disallow")  # in both directions, but for what ``place`` asks for
    try:
        epochs.fit(batches, 1, 6, hook(lambda done: guard.__enter__() if done == 4 else None), [])
    finally:
        guard.__exit__(None, None, None)
    assert int(model.optimizer.iterations) == 12


@pytest.mark.backend
def test_a_ctrl_c_is_answered_after_the_call_and_what_is_saved_is_in_memory(cells, tmp_path, monkeypatch):
    state = {}
    fit = DeviceEpochs.fit

    def asking(self, batches, number, before, after_batch, metrics):
        after_batch.asked_to_stop = lambda: number == 1
        fit(self, batches, number, before, after_batch, metrics)
        state["optimizer"] = values(self.model.optimizer.variables)
        state["ema"] = values(self.ema.averages)

    monkeypatch.setattr(DeviceEpochs, "fit", asking)
    with pytest.raises(KeyboardInterrupt, match="after 4 of 6 batches of epoch 2"):
        trainer().fit(cells[:COUNT], cells[COUNT:], out=tmp_path, show=False)
    meta, saved = Checkpoint(tmp_path).load("epoch")
    assert meta["ema_steps"] == 10
    for name, arrays in state.items():
        assert all(np.array_equal(one, other) for one, other in zip(arrays, saved[name], strict=True)), name


def test_a_processor_makes_them_on_the_host_unless_asked(cells):
    auto = trainer("auto", ema=None).fit(cells[:COUNT], cells[COUNT:], show=False)
    if not current().gpus():
        assert auto.manifest["chosen"]["pipeline"] == "host"
    with pytest.raises(cc.UnknownNameError, match="there is no Compute pipeline"):
        Compute(pipeline="gpu").check()


@pytest.mark.slow
def test_within_a_budget_it_is_repeated_bit_for_bit(cells):
    how = {"stages": (cc.Stage(epochs=1, learning_rate=1e-2, unfreeze="all"),), "ema": 0.9}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cc.CellclfWarning)  # too short, on a busy machine
        run = trainer(**how).fit(cells[:COUNT], cells[COUNT:], show=False, minutes=0.05)
        again = trainer(**how).fit(cells[:COUNT], cells[COUNT:], show=False, chosen=run.manifest["chosen"])
    assert again.manifest["end_sha256"] == run.manifest["end_sha256"]
