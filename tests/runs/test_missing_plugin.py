"""A run whose network needs a plugin that is not here says which, and how to get it."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

import cellclf as cc

OWN = "Tests>Shift"


def build(input_shape, *, weights):
    import keras

    class Shift(keras.layers.Layer):
        def call(self, x):
            return x / 255 - 0.5

    keras.saving.register_keras_serializable("Tests")(Shift)
    pixels = keras.Input(input_shape, name="pixels")
    return keras.Model(pixels, keras.layers.Conv2D(4, 3, name="conv")(Shift(name="shift")(pixels)))


@pytest.fixture(scope="module")
def trained(parts, small_trainer, tmp_path_factory):
    """Train a network with a layer of its own, which only a plugin could define again."""
    spec = cc.BackboneSpec(name="own", build=build, summary="s", source="a test", min_size=5, blocks=("conv",))
    trainer = small_trainer(backbone=spec, stages=(cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all"),))
    folder = tmp_path_factory.mktemp("runs") / "own"
    trainer.fit(parts.train, parts.val, out=folder)
    return folder


@pytest.fixture
def other_machine(trained, monkeypatch):
    """Give a function that names the plugins in the manifest, as another machine sees the run: without the layer."""
    import keras

    manifest = trained / "manifest.json"
    kept = manifest.read_text(encoding="utf-8")

    def name(**plugins: str):
        manifest.write_text(json.dumps(json.loads(kept) | {"plugins": plugins}), encoding="utf-8")
        monkeypatch.delitem(keras.saving.get_custom_objects(), OWN)
        return trained

    yield name
    manifest.write_text(kept, encoding="utf-8")


def test_the_layer_makes_the_run_readable(trained, parts):
    assert cc.load_run(trained).predict_proba(parts.val).shape == (len(parts.val), 3)


def test_a_plugin_that_is_not_installed_is_named_with_its_fix(other_machine):
    with pytest.raises(cc.RunFolderError) as caught:
        cc.load_run(other_machine(own="cellclf-own 1.2"))
    message = str(caught.value)
    assert "plugin 'own' (package cellclf-own 1.2), which is not installed here" in message
    assert message.endswith("pip install 'cellclf-own==1.2'")
    assert "Could not locate class 'Shift'" in message and "\n" not in message


def test_only_the_absent_one_of_several_is_named(other_machine):
    with pytest.raises(cc.RunFolderError, match=r"pip install 'cellclf-own==1\.2'$") as caught:
        cc.load_run(other_machine(keras=f"keras {version('keras')}", own="cellclf-own 1.2"))
    assert "plugin 'keras'" not in str(caught.value)


def test_a_plugin_that_is_there_but_has_not_registered_its_layers(other_machine):
    with pytest.raises(cc.RunFolderError, match="Could not locate class 'Shift'") as caught:
        cc.load_run(other_machine(own="keras 0.1"))
    message = str(caught.value)
    assert f"the plugin 'own' (package keras 0.1; here {version('keras')})" in message
    assert "import the module that defines its layers first, or pip install 'keras==0.1'" in message


def test_without_plugins_the_version_of_keras_is_named(other_machine):
    with pytest.raises(
        cc.RunFolderError, match=rf"it was written with keras {version('keras')} \(here {version('keras')}\)$"
    ):
        cc.load_run(other_machine())


def test_a_run_of_plain_layers_needs_no_plugin(parts, small_trainer, tmp_path):
    run = small_trainer(stages=(cc.Stage(epochs=1, learning_rate=1e-3, unfreeze="all"),)).fit(parts.train, parts.val)
    run.manifest["plugins"] = {"own": "cellclf-own 1.2"}
    assert cc.load_run(run.save(tmp_path)).manifest["plugins"] == {"own": "cellclf-own 1.2"}
