from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import cellclf as cc
from cellclf.cli import main

MADE = {"n": 64, "size": 40, "seed": 3, "balance": "even"}
RECIPE = {
    "seed": 1,
    "split": {"val": 0.25},
    "trainer": {
        "batch_size": 16,
        "optimizer": "adamw",
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.1},
        "stages": [{"epochs": 2, "learning_rate": 3e-3, "unfreeze": "all", "train_batch_norm": True}],
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a finished run that knows how its cells were made."""
    out = tmp_path_factory.mktemp("runs") / "a"
    pipe = cc.Pipeline.from_recipe(RECIPE)
    pipe.run(cc.make_cells(**MADE), out=out, show=False, command="cellclf run", source={"made": MADE})
    return out


def test_the_manifest_holds_what_made_the_run(folder):
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["command"] == "cellclf run" and manifest["source"] == {"made": MADE}
    assert manifest["recipe"]["trainer"] == manifest["trainer"] | {"stages": manifest["recipe"]["trainer"]["stages"]}
    assert manifest["split"]["train"] == 48 and len(manifest["split"]["sha256"]) == 64
    assert manifest["start_sha256"] != manifest["end_sha256"]
    assert {"keras", "numpy", "python", "cellclf"} <= set(manifest["versions"])
    assert manifest["machine"]["gpus"] == [] or all(manifest["machine"]["gpus"])


def test_repeated_from_its_folder_it_is_the_same(folder, tmp_path):
    found = cc.rerun(folder, out=tmp_path / "b", show=False)
    assert found.matches and found.largest < 1e-4
    assert str(found).startswith("the same")
    assert not [line for line in found.differences if "images" in line or "start" in line or "versions" in line]
    assert (tmp_path / "b" / "report.html").exists()


def test_other_images_are_reported_with_exit_code_3(folder, tmp_path):
    cells = cc.make_cells(**MADE)
    images = cells.images.copy()
    images[:, 0, 0] = 0
    changed = cc.ImageSet(images, cells.labels, class_names=cells.class_names, ids=cells.ids, groups=cells.groups)
    changed.save(tmp_path / "changed.npz")
    done = CliRunner().invoke(main, ["rerun", str(folder), "--src", str(tmp_path / "changed.npz")])
    assert done.exit_code == 3
    assert done.stdout.startswith("NOT the same: other images\n  other train images\n  other val images\n")


def test_a_run_that_does_not_know_its_images_asks_for_them(folder, tmp_path):
    for name in ("model.keras", "recipe.toml", "history.csv"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"source": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(cc.RunFolderError, match=r"does not name the source of its images; .*--src"):
        cc.rerun(tmp_path)


def test_a_training_alone_is_repeated_on_its_two_sets(tmp_path):
    parts = cc.Split(val=0.25, seed=1).apply(cc.make_cells(**MADE))
    pipe = cc.Pipeline.from_recipe(RECIPE)
    pipe.trainer.fit(parts.train, parts.val, out=tmp_path / "a", show=False)
    with pytest.raises(cc.RunFolderError, match="trained on two sets"):
        cc.rerun(tmp_path / "a", cells=parts.train)
    assert cc.rerun(tmp_path / "a", cells=(parts.train, parts.val), show=False).matches
