"""Several laboratories: one set of several SRC, the report by domain, one domain held out at a time."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import tomli_w
from helpers.command import run as cellclf
from helpers.recipes import RECIPE
from PIL import Image

import cellclf as cc

NAMES = ("dark", "grey", "light")


def laboratory(seed, count=30, tint=(1.0, 1.0, 1.0), names=NAMES, **columns):
    """Draw cells of some classes in the colours of a laboratory."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(names)
    places = np.asarray([NAMES.index(name) if name in NAMES else 3 for name in names])[labels]
    shapes = rng.normal(0, 40, (count, 6, 6, 3)).repeat(4, 1).repeat(4, 2)
    images = ((60 + 50 * places)[:, None, None, None] + shapes) * np.asarray(tint)
    return cc.ImageSet(images.clip(0, 255).astype(np.uint8), labels, class_names=names, **columns)


def save(cells, root):
    for k, (image, label) in enumerate(zip(cells.images, cells.labels.tolist(), strict=True)):
        path = root / cells.class_names[label] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Give the folders of two hospitals; one image of the first is in the second, too."""
    root = tmp_path_factory.mktemp("hospitals")
    north, south = laboratory(0), laboratory(1, tint=(1.0, 0.7, 0.9))
    images = south.images.copy()
    images[3] = north.images[3]
    south = cc.ImageSet(images, south.labels, class_names=NAMES)
    return save(north, root / "north"), save(south, root / "south")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(tomli_w.dumps(RECIPE))
    return path


@pytest.fixture(scope="module")
def both(hospitals):
    return cc.ImageSet.concat(list(hospitals), names=["north", "south"])


def test_two_sources_are_one_set_with_a_report_by_domain(hospitals, recipe, tmp_path):
    done = cellclf("run", *hospitals, "--recipe", recipe, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    for name in ("north", "south"):
        assert re.search(rf"^{name} +\d+ +[\d.]+ % \([\d.]+-[\d.]+\) .* 3 of 3$", done.stdout, re.M), done.stdout
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    domains = report["scores"]["val"]["domains"]
    assert {*domains} == {"north", "south"} and sum(one["n"] for one in domains.values()) == report["scores"]["val"][
        "n"
    ]
    assert {"value", "low", "high"} <= {*domains["north"]["balanced_accuracy"]}
    assert report["removed"]["duplicates"]["kept"] == 59, "the copy in the other hospital is found"
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Each domain" in page and "## Domains of val" in (tmp_path / "a" / "report.md").read_text()
    source = json.loads((tmp_path / "a" / "manifest.json").read_text())["source"]
    assert [one["name"] for one in source["sources"]] == ["north", "south"]
    assert cc.rerun(tmp_path / "a", show=False).matches
    run = cc.load_run(tmp_path / "a")
    cells = cc.ImageSet.concat(list(hospitals), names=["x", "y"])
    assert {*run.evaluate(cells).by_domain} == {"x", "y"}
    predictions = run.report_predictions(cells)
    assert [row["domain"] for row in predictions.rows()] == ["x"] * 30 + ["y"] * 30
    assert "domain x: 30 images" in str(predictions)
    done = cellclf("evaluate", tmp_path / "a", f"x={hospitals[0]}", f"y={hospitals[1]}")
    assert done.exit_code == 0 and all(re.search(rf"^{name} +30 ", done.stdout, re.M) for name in "xy")
    with predictions.save(tmp_path / "p.csv").open() as file:
        assert [row["domain"] for row in csv.DictReader(file)] == ["x"] * 30 + ["y"] * 30


def test_names_and_differences_of_sources_are_stated_before_the_training(hospitals, recipe, tmp_path):
    other = save(laboratory(2, names=("dark", "Grey", "blast")), tmp_path / "more" / "north")
    words = ("--recipe", recipe, "--check", "--set", "split.val=0.3")
    done = cellclf("run", hospitals[0], other, *words)
    assert done.exit_code == 0, done.output
    a, b = f"{hospitals[0].parent.name}/north", "more/north"
    assert f"classes differ between sources: {b} has no 'light' ({a}: 10 images); {a} has no 'blast'" in done.stderr
    done = cellclf("run", f"a={hospitals[0]}", f"b={other}", *words)
    assert "classes differ between sources: b has no 'light'" in done.stderr
    for sources in ((f"a={hospitals[0]}", f"a={other}"), (*hospitals, "--part", "train")):
        assert cellclf("run", *sources, *words).exit_code == 2


def test_sources_that_give_a_cut_are_joined_part_by_part(tmp_path, recipe):
    for name, seed in (("a", 0), ("b", 5)):
        for k, part in enumerate(("train", "test")):
            save(laboratory(seed + k, 12), tmp_path / name / part)
    done = cellclf("run", tmp_path / "a", tmp_path / "b", "--recipe", recipe, "--check")
    assert done.exit_code == 0 and "the cut that the source gives: train 24, test 24" in done.stdout, done.output
    save(laboratory(9, 12), tmp_path / "c")
    done = cellclf("run", tmp_path / "a", tmp_path / "c", "--recipe", recipe, "--check")
    assert done.exit_code == 3 and "a gives a cut and c gives none" in done.stderr
    done = cellclf("run", tmp_path / "a", tmp_path / "c", "--recipe", recipe, "--check", "--cut", "own")
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def crossed(both, tmp_path_factory):
    out = tmp_path_factory.mktemp("crossval")
    return cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), both, by="domain", out=out, show=False), out


def test_each_domain_is_held_out_once_with_intervals(crossed, both):
    found, out = crossed
    assert found.held_out == ("north", "south") and len(found.ids) == 59
    assert all(found.domains[found.folds == number].tolist() == [name] * (found.folds == number).sum()
               for number, name in enumerate(found.held_out, 1))  # fmt: skip
    for number in (1, 2):
        counts = json.loads((out / f"fold-{number}" / "manifest.json").read_text())["data"]
        assert sum(part["images"] for part in counts.values()) == (found.folds != number).sum()
    lines = str(found).splitlines()
    assert lines[0].split() == ["held", "out", "images", "macro", "F1", "balanced", "accuracy", "accuracy", "classes"]
    assert all(re.search(r"^(north|south) +\d+ +[\d.]+ % \([\d.]+-[\d.]+\)", line) for line in lines[1:3])
    assert lines[3].startswith("over 2 domains: macro F1 ")
    assert {*found.pooled().by_domain} == {"north", "south"}
    data = json.loads((out / "cross_validation.json").read_text())
    assert data["held_out"] == ["north", "south"] and data["not_scored"] == 0
    with (out / "folds.csv").open(newline="") as file:
        assert {(row["fold"], row["domain"]) for row in csv.DictReader(file)} == {("1", "north"), ("2", "south")}


def test_the_command_holds_out_one_source_at_a_time(crossed, hospitals, recipe):
    _, out = crossed
    stamps = [path.stat().st_mtime_ns for path in sorted(out.glob("*/model.keras"))]
    done = cellclf("crossval", *hospitals, "--by", "domain", "--recipe", recipe, "--seed", "1", "--out", out)
    assert done.exit_code == 0 and "over 2 domains" in done.stdout, done.output
    assert [path.stat().st_mtime_ns for path in sorted(out.glob("*/model.keras"))] == stamps, "finished folds are read"


def test_patients_and_classes_of_the_held_out_domain():
    from cellclf.pipeline.crossval import _domain_folds, _domains

    north = laboratory(0, 12, groups=["p", "p", *"abcdefghij"])
    south = laboratory(1, 12, names=("dark", "grey", "blast"), groups=["p", "q", *"KLMNOPQRST"])
    cells = cc.ImageSet.concat([north.replace(domains=["n"] * 12), south.replace(domains=["s"] * 12)])
    first, second = _domain_folds(cells, _domains(cells))
    assert {*first.val.domains.tolist()} == {"n"} and "p" not in first.train.groups.tolist()
    assert len(first.train) == 11 and first.train.class_names == ("dark", "grey", "blast")
    assert len(second.train) == 10 and second.train.class_names == ("dark", "grey", "light")


def test_a_class_that_no_other_domain_has_is_not_scored(tmp_path):
    sets = [laboratory(0, 18), laboratory(1, 18, names=("dark", "grey", "blast"))]
    cells = cc.ImageSet.concat(sets, names=["n", "s"])
    found = cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), cells, by="domain", show=False)
    assert [report.n for report in found.reports] == [12, 12] and found.pooled().n == 24
    assert "not scored, since no other domain has the class: 'light' in n (6), 'blast' in s (6)" in str(found)
    assert found.to_dict()["not_scored"] == 12


def test_networks_are_compared_by_the_domains_that_they_have_not_seen(both, tmp_path):
    networks = [{"name": "residual", "params": {"filters": [width] * 3}} for width in (16, 32)]
    found = cc.compare(both, networks, recipe=RECIPE, by="domain", out=tmp_path, show=False)
    assert found.chosen_on == "held-out domains" and "highest macro F1 on held-out domains" in found.verdict()
    assert all(one.val.n == 59 and {*one.val.by_domain} == {"north", "south"} for one in found.candidates)
    assert all(one.params for one in found.candidates) and len(found.against("held-out domains")) == 1
    with pytest.raises(cc.OptionError, match="no run is made for tests"):
        cc.compare(both, networks, recipe=RECIPE, by="domain", out=tmp_path, tests={"x": both})


@pytest.mark.parametrize("domains", [None, ["n"] * 30])
def test_without_two_domains_none_can_be_held_out(domains):
    with pytest.raises(cc.DataError, match=r"no domains; expected several|all images are of one domain"):
        cc.cross_validate(cc.Pipeline.from_recipe(RECIPE), laboratory(0).replace(domains=domains), by="domain")


def test_scores_of_a_domain_are_those_of_its_images():
    labels, domains = np.array([0, 0, 1, 1, 0, 0]), ["b", "b", "b", "a", "a", "a"]
    probabilities = np.eye(2)[[0, 0, 1, 0, 0, 1]] * 0.8 + 0.1
    report = cc.evaluate(labels, probabilities, ["x", "y"], domains=domains)
    assert list(report.by_domain) == ["b", "a"] and report.by_domain["b"].accuracy == 1
    assert float(report.by_domain["a"].accuracy) == pytest.approx(1 / 3)
    assert float(report.by_domain["a"].balanced_accuracy) == pytest.approx(0.25)
    text = str(report)
    assert text.index("\na ") < text.index("\nb "), "the worst first"
    assert report.to_dict()["domains"]["b"]["n"] == 3 and not cc.evaluate(labels, probabilities, ["x", "y"]).by_domain
    with pytest.raises(cc.DataError, match="domains have shape"):
        cc.evaluate(labels, probabilities, ["x", "y"], domains=domains[:3])
