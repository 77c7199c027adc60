from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.report import history

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.data.split import Split
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.saliency import Explanation
from cellclf.reporting.content import PageContent
from cellclf.reporting.page import write_page

NAMES = ("basophil", "immature_granulocyte", "<b>odd & name</b>")


@pytest.fixture(scope="session")
def cells() -> ImageSet:
    """60 images; 3 is a copy of 0, and 12 copies of one image stand in every class."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 24, 24, 3), dtype=np.uint8)
    images[3] = images[0]
    images[48:] = images[47]
    labels = np.arange(60) % 3
    return ImageSet(
        images,
        labels,
        class_names=NAMES,
        ids=[f'<i>{k}</i>"' for k in range(60)],
        notices=["2 grey images were made RGB"],
        skipped=[Skipped("bad.png", "truncated <file>")],
    )


def report_of(cells: ImageSet, seed: int = 0, skill: float = 2.0) -> Report:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(cells), len(NAMES))) + skill * np.eye(len(NAMES))[cells.labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return evaluate(cells.labels, probabilities, cells.class_names)


class Flip:
    """A minimal augmenter."""

    def __call__(self, images: np.ndarray, ids: list[str], epoch: int = 0) -> np.ndarray:
        return images[:, :, ::-1] if epoch % 2 else images


class Looker:
    """A classifier whose heatmaps are always in the middle."""

    model = "any"

    def explain(self, cells: ImageSet, *, classes: np.ndarray, show: bool | None = None) -> Explanation:
        heat = np.zeros((len(cells), 3, 3), np.float32)
        heat[:, 1, 1] = one = np.ones(len(cells), np.float32)
        return Explanation(heat, one, classes, one, NAMES, "gradcam", "map", cells)


@pytest.fixture(scope="session")
def content(cells: ImageSet) -> PageContent:
    found = Dedup(n_jobs=1).find(cells)
    after = found.apply(cells)
    parts = Split(val=0.25, test=0.25, seed=1).apply(after)
    external = cells[:40]
    return PageContent(
        title="runs/a <script>alert(1)</script>",
        cells_before=cells,
        cells_after=after,
        removals={"duplicates": found},
        parts=parts,
        augmenter=Flip(),
        history=history(),
        evaluations={
            "train": (report_of(parts.train, 1, 9.0), parts.train),
            "val": (report_of(parts.val, 2, 0.8), parts.val),
            "test": (report_of(parts.test, 3), parts.test),
            "the other lab": (report_of(external, 4, 0.0), external),
        },
        copies={"test": 0},
        run=Looker(),
        seconds={"load": 0.5, "training": 754.0},
        manifest={
            "seed": 7,
            "versions": {"keras": "3.15"},
            "plugins": [],
            "trainer": {f"option{k}": k for k in range(9)},
        },
        recipe_toml='name = "<fast>"',
        command="cellclf run a.npz --out runs/a",
    )


@pytest.fixture(scope="session")
def page(content: PageContent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(content, tmp_path_factory.mktemp("page") / "report.html")
