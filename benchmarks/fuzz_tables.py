"""Tables of image files, and what is right for each. A part of fuzz_files.py."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
from fuzz_npz import damage
from fuzz_outcome import REFUSED, Outcome, Random, spelled, wrong
from fuzz_trees import decoded, file_of

import cellclf as cc


def make_csv(rng: Random, folder: Path) -> tuple[Path, Outcome]:
    """Write images and a table of them, in every spelling of a table; give its outcome."""
    side = (8, 8)
    encoding = str(rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    classes = [str(name) for name in rng.choice(["round", "lobed", "=sum", "-1", "'x", "naïve", "x|y", "@b"], 3, False)]
    labelled, grouped = rng.random() < 0.8, rng.random() < 0.4
    separator = str(rng.choice([",", ";", "\t"])) if labelled or grouped else ","
    head = [
        str(rng.choice(["path", "file", "filename", "image", "Path", " FILE "])),
        *([str(rng.choice(["label", "class", "Target"]))] if labelled else []),
        *([str(rng.choice(["group", "patient", "slide"]))] if grouped else []),
    ]
    rows: list[list[str]] = []
    right = Outcome(ids=[], labels=[] if labelled else None, groups=[] if grouped else None)
    pixels: list[np.ndarray] = []
    for k in range(int(rng.integers(1, 9))):
        data, suffix, good = file_of(rng, side)
        name = f"{rng.choice(['a', 'b c', '=1', '-2', 'Ü', 'x,y', 'p;q'])}{k}{suffix or '.png'}"
        label, group = str(rng.choice(classes)), str(rng.choice(["p1", "p2", "+7"]))
        fate = str(rng.choice(["fine"] * 7 + ["missing", "twice", "nameless"] + ["unlabelled"] * (k > 0)))
        if fate != "missing":
            (folder / name).write_bytes(data)
        shown = name if rng.random() < 0.8 else os.path.join(".", name)
        disarm = rng.random() < 0.5  # as a program writes it that knows what spreadsheets do
        cells = ["" if fate == "nameless" else shown]
        cells += ["" if fate == "unlabelled" else label] if labelled else []
        cells += [group] if grouped else []
        cells = ["'" + cell if disarm and cell[:1] in tuple("=+-@'") else cell for cell in cells]
        rows += [cells] * (2 if fate == "twice" else 1)
        if fate == "nameless":
            if any(cell.strip() for cell in cells):
                right.skipped.add(spelled(",".join(cells)))
            continue
        if (fate == "unlabelled" and labelled) or fate == "missing" or not good:
            right.skipped.add(spelled(shown))
            continue
        if fate == "twice":
            right.skipped.add(spelled(shown))
        right.ids.append(spelled(shown))
        pixels.append(decoded(data, side))
        if labelled:
            right.labels.append(label)
        if grouped:
            right.groups.append(group)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=str(rng.choice(["\n", "\r\n"])))
    writer.writerows([head, *rows])
    path = folder / "cells.csv"
    path.write_bytes(text.getvalue().encode(encoding, "replace"))
    right.pixels = np.stack(pixels) if pixels else None
    if not pixels:
        return path, REFUSED
    if encoding in ("utf-16", "cp1252") and not text.getvalue().isascii():
        right.refused, right.pixels = "perhaps", None
        return path, right
    if encoding == "utf-16":
        right.refused = "perhaps"
    if rng.random() < 0.1:
        damage(rng, path)
        return path, Outcome(refused="anything")
    return path, right


def fuzz_csv(rng: Random, folder: Path) -> str | None:
    """Make one table and load it."""
    path, right = make_csv(rng, folder)
    if right.refused == "anything":  # a table has no checksum: it is read as what it says now, or refused in a line
        said = wrong(lambda: cc.load(path, show=False), REFUSED)
        return None if said is not None and said.startswith("loaded") else said
    return wrong(lambda: cc.load(path, show=False), right)
