"""Augmenters judged by families of change that were left out of the training.

usage: CELLCLF_DATA=FOLDER python benchmarks/worlds.py AUGMENTER [AUGMENTER ...] [--out runs/worlds] [--seed 7]
       CELLCLF_DATA=FOLDER python benchmarks/worlds.py --table [AUGMENTER ...] [--out runs/worlds]

An AUGMENTER is a preset, several joined by + (each image draws one), or a TOML file that holds the table of one.

For each of the families of `world_families.py` the network is trained without the augmenter's steps of that family and
scored on cells that are shown in that way: what is measured is a world that the training has not met. Trainings that
leave out the same steps are one. All start from the same network, trained on turned and flipped cells alone. Cells of
training and of scoring are disjoint parts of FOLDER/data/acevedo96/train, without copies; nothing else is read.

One line a training is written to OUT/trainings.jsonl; the same command goes on behind the last one. --table prints
the balanced accuracies: each family left out, the mean and the worst.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from world_families import WORLDS, World, shown

import cellclf as cc
from cellclf.augmentation.steps.base import STEPS
from cellclf.augmentation.steps.policies import RAND_AUGMENT_OPS
from cellclf.utils.atomic import replacing

WEIGHTS = "weights/mobilenet_v1_0.25_imagenet_notop.weights.h5"
PLAIN = {"steps": [{"step": "flip"}, {"step": "rotate", "degrees": 180.0}]}
SIDE, BATCH, FIRST_EPOCHS = 64, 64, 10


def main() -> None:
    """Train, score and print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("augmenters", nargs="*", metavar="AUGMENTER")
    parser.add_argument("--out", type=Path, default=Path("runs/worlds"))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--images", type=int, default=1600, help="Cells to train on, as many of each class.")
    parser.add_argument("--score-on", type=int, default=800, help="Cells to score on, as many of each class.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--consistency", type=float, default=0.0, help="Weight of the term of the same name.")
    parser.add_argument("--only", nargs="*", default=[], metavar="FAMILY", help="Leave out these families only.")
    parser.add_argument("--table", action="store_true", help="Print what is finished; train nothing.")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = {world.name for world in WORLDS}
    if unknown := set(arguments.only) - names:
        parser.error(f"there is no family {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    if not arguments.table:
        bench = Bench(arguments)
        for name in arguments.augmenters:
            bench.judge(name, read(name))
    table(arguments)


def read(name: str) -> dict[str, Any]:
    """Give an augmenter as plain data: of a preset, of several joined by +, or of a TOML file."""
    if name.endswith(".toml"):
        data = tomllib.loads(Path(name).read_text("utf-8"))
    else:
        presets = name.split("+")
        data = {"preset": presets if len(presets) > 1 else presets[0]}
    return cc.Augmenter.from_dict(data).to_dict()


def belongs(step: str, world: World) -> bool:
    """Return whether a step resembles a family: by a family of corruptions that it declares, or by its name."""
    return step in world.steps or bool({*STEPS[step].families} & {*world.families})


def without(table: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Give the table of an augmenter in which no step of a family ever happens: such steps have the rate 0.

    The steps are kept, so that all trainings of an augmenter share one compiled program.
    """
    found = dict(table)
    if (name := found.get("step")) is not None and belongs(name, world):
        found["rate"] = 0.0
    if "ops" in found:
        kept = [op for op in found["ops"] if not belongs(RAND_AUGMENT_OPS[op].name, world)]
        found |= {"ops": kept} if kept else {"rate": 0.0}
    if "steps" in found:
        found["steps"] = [without(step, world) for step in found["steps"]]
    return found


class Bench:
    """The cells, the worlds and one compiled network, for trainings one after the other."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.given = arguments
        self.shared = Path(os.environ["CELLCLF_DATA"])
        self.done = {line["key"] for line in lines(arguments.out)}
        self._model: Any = None

    def judge(self, name: str, augmenter: dict[str, Any]) -> None:
        """Train an augmenter whole and without each family, and score every training."""
        whole = key_of(augmenter, self.given)
        keys = {world: key_of(without(augmenter, world), self.given) for world in WORLDS}
        for world in (None, *WORLDS):
            if self.given.only and (world is None or world.name not in self.given.only):
                continue
            key = keys.get(world, whole)
            if key not in self.done:
                start = time.process_time()
                self.train(augmenter if world is None else without(augmenter, world))
                scores = self.scores([other.name for other in WORLDS if key in (whole, keys[other])])
                line = {"key": key, "scores": scores, "cpu_seconds": round(time.process_time() - start, 1)}
                with (self.given.out / "trainings.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                self.done.add(key)
                print(f"{name} without {world.name if world else 'nothing'}: {scores}", flush=True)

    def train(self, augmenter: dict[str, Any]) -> None:
        """Train from the common start with an augmenter."""
        model = self.model()
        model.set_weights(self.start())
        self.fit(model, cc.Augmenter.from_dict(augmenter | {"seed": self.given.seed}), self.given.epochs, 1.5e-3)

    def fit(self, model: Any, augmenter: cc.Augmenter, epochs: int, rate: float) -> None:
        """Train for some epochs: AdamW, the rate along a cosine after a short warm-up."""
        images, labels, _, _, _ = self.cells()
        classes = np.eye(labels.max() + 1, dtype=np.float32)
        for variable in model.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        steps = epochs * (len(images) // BATCH)
        step = 0
        for epoch in range(epochs):
            order = np.random.default_rng([self.given.seed, epoch]).permutation(len(images))
            views = [augmenter(images, np.arange(len(images)), epoch)]
            if self.given.consistency:
                views = [images, views[0], augmenter(images, np.arange(len(images)) + 10**6, epoch)]
            for batch in range(len(images) // BATCH):
                rows = order[batch * BATCH : (batch + 1) * BATCH]
                model.optimizer.learning_rate.assign(
                    rate * min((step + 1) / 15, 1) * (0.5 + 0.5 * np.cos(np.pi * step / steps))
                )
                given = np.concatenate([view[rows] for view in views])
                model.train_on_batch(given, np.tile(classes[labels[rows]], (len(views), 1)))
                step += 1

    def scores(self, names: list[str]) -> dict[str, float]:
        """Give the balanced accuracy on the cells as they are and in some worlds."""
        _, _, _, labels, worlds = self.cells()
        found = {}
        for name in ["clean", *names]:
            right = self.model().predict(worlds[name], batch_size=200, verbose=0).argmax(1) == labels
            found[name] = round(float(np.mean([right[labels == c].mean() for c in np.unique(labels)])), 4)
        return found

    def model(self) -> Any:
        """Make the network, once: its weights are set anew for every training."""
        if self._model is None:
            import keras

            from cellclf.training.losses import make_loss

            keras.utils.set_random_seed(self.given.seed)
            body = keras.applications.MobileNet(
                input_shape=(SIDE, SIDE, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
            )
            body.load_weights(self.shared / WEIGHTS)
            for layer in body.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = 0.9  # a training has 125 batches: the usual .99 would remember its start
            inputs = keras.Input((SIDE, SIDE, 3))
            hidden = body(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
            self._model = keras.Model(inputs, keras.layers.Dense(8, activation="softmax")(hidden))
            optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.02)
            self._model.compile(optimizer, make_loss(0.05, self.given.consistency), jit_compile=False)
            optimizer.build(self._model.trainable_variables)
        return self._model

    def start(self) -> list[np.ndarray]:
        """Give the weights that all trainings start from."""
        path = self.given.out / f"start-{self.given.images}-{self.given.seed}.npz"
        if not path.exists():
            model = self.model()
            consistency, self.given.consistency = self.given.consistency, 0.0
            if consistency:
                raise SystemExit("the common start is trained without the consistency term; run once without it first")
            self.fit(model, cc.Augmenter.from_dict(PLAIN | {"seed": self.given.seed}), FIRST_EPOCHS, 2e-3)
            with replacing(path) as new:
                np.savez(new, *model.get_weights())
        with np.load(path) as file:
            return [file[f"arr_{k}"] for k in range(len(file.files))]

    def cells(self) -> tuple[Any, ...]:
        """Give images and labels to train on, images and labels to score on, and the latter in every world."""
        if not hasattr(self, "_cells"):
            path = self.given.out / f"cells-{self.given.images}-{self.given.score_on}-{self.given.seed}.npz"
            if not path.exists():
                self.make_cells(path)
            with np.load(path) as file:
                worlds = {"clean": file["score"]} | {world.name: file[f"in {world.name}"] for world in WORLDS}
                self._cells = (file["train"], file["train_labels"], file["score"], file["score_labels"], worlds)
        return self._cells

    def make_cells(self, path: Path) -> None:
        """Draw the cells, as many of each class, and show those to score on in every world."""
        from PIL import Image

        cells = cc.load(self.shared / "data" / "acevedo96" / "train")
        cells = cc.Dedup().find(cells).apply(cells)
        rng = np.random.default_rng(self.given.seed)
        classes = np.arange(cells.num_classes)
        counts = [self.given.images // len(classes), self.given.score_on // len(classes)]
        parts: list[list[np.ndarray]] = [[], []]
        for label in classes:
            rows = rng.permutation(np.flatnonzero(cells.labels == label))
            parts[0].append(rows[: counts[0]])
            parts[1].append(rows[counts[0] : sum(counts)])
        drawn = {}
        for name, rows in zip(("train", "score"), map(np.concatenate, parts), strict=True):
            small = [
                Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for image in cells.read(rows)
            ]
            drawn[name], drawn[f"{name}_labels"] = np.stack([np.asarray(image) for image in small]), cells.labels[rows]
        lent = drawn["train"][drawn["train_labels"] == list(cells.class_names).index("platelet")]
        for world in WORLDS:
            drawn[f"in {world.name}"] = shown(drawn["score"], world, lent, seed=self.given.seed)
        with replacing(path) as new:
            np.savez(new, **drawn)


def key_of(augmenter: Mapping[str, Any], given: argparse.Namespace) -> str:
    """Give the key of a training: what it depends on."""
    parts = [{k: v for k, v in augmenter.items() if k != "seed"}]
    parts += [given.images, given.score_on, given.epochs, given.seed, given.consistency]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def lines(out: Path) -> Iterator[dict[str, Any]]:
    """Read what is finished; a line that a stop cut off is not."""
    path = out / "trainings.jsonl"
    for text in path.read_text("utf-8").splitlines() if path.exists() else []:
        if text.startswith("{") and text.endswith("}"):
            yield json.loads(text)


def table(given: argparse.Namespace) -> None:
    """Print the families as rows and the augmenters as columns, as Markdown."""
    found = {line["key"]: line["scores"] for line in lines(given.out)}
    columns: dict[str, dict[str, float]] = {}
    for name in given.augmenters:
        augmenter = read(name)
        whole = found.get(key_of(augmenter, given), {})
        column = {"clean": whole.get("clean", np.nan)}
        for world in WORLDS:
            column[world.name] = found.get(key_of(without(augmenter, world), given), {}).get(world.name, np.nan)
        left_out = [column[world.name] for world in WORLDS]
        column |= {"**mean**": float(np.mean(left_out)), "**worst**": float(np.min(left_out))}
        column["mean, nothing left out"] = float(np.mean([whole.get(world.name, np.nan) for world in WORLDS]))
        columns[Path(name).stem] = column
    print(f"\n| left out | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for row in next(iter(columns.values()), {}):
        print(f"| {row} | {' | '.join(f'{column[row]:.3f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
