"""How fast a backbone trains and predicts on this machine, and in how much memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, Len

from cellclf.backbones.registry import list_backbones, registry
from cellclf.errors import CellclfError, one_line
from cellclf.utils.parameters import Count, check_arguments, plain
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns, markdown_table

SIZES = (96, 128, 224)
CLASSES = 8
_MOST_STEPS = 20
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cellclf.backbones.measure import answer
answer(json.loads(sys.argv[2]))
"""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured of one backbone at one size.

    Args:
        backbone: Its name.
        size: Side of the images, pixels.
        batch_size: Images in a step.
        parameters: Numbers in its weights, without a head; None if it was not built.
        train: Images a second, all layers learning; None if it was not measured.
        predict: Images a second; None if it was not measured.
        memory: Bytes that both took at most, beyond those that Keras takes by itself, of the machine's memory, not of
            a GPU's; None where the system does not report it.
        error: Why it was not measured; empty if it was.
    """

    backbone: str
    size: int
    batch_size: int
    parameters: int | None = None
    train: float | None = None
    predict: float | None = None
    memory: int | None = None
    error: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Speeds(Result):
    """A table of measured backbones.

    Args:
        rows: One for each backbone and size.

    Examples:
        >>> print(Speeds([Speed(backbone="tiny", size=96, batch_size=16, parameters=2_000_000, train=41.04)]))
        backbone  parameters   size  train, images/s  predict, images/s  memory
        tiny           2.0 M  96 px               41                  -       -
    """

    rows: Sequence[Speed]

    def summary(self) -> str:
        """Give the table, and below it why rows lack their figures."""
        errors = [f"{row.backbone}, {row.size} px: {row.error}" for row in self.rows if row.error]
        return "\n".join([*columns(self._table(), right=(1, 2, 3, 4, 5)), *errors])

    def to_markdown(self) -> str:
        """Give the table as Markdown."""
        return markdown_table(self._table())

    def to_dict(self) -> dict[str, Any]:
        """Give the rows as plain data."""
        return {"backbones": [asdict(row) for row in self.rows]}

    def _table(self) -> list[list[str]]:
        head = ["backbone", "parameters", "size", "train, images/s", "predict, images/s", "memory"]
        return [head, *([row.backbone, *_texts(row)] for row in self.rows)]


def measure_backbones(
    names: Annotated[Sequence[str], Len(1)] | None = None,
    *,
    params: Mapping[str, Any] | None = None,
    sizes: Annotated[Sequence[Count], Len(1)] = SIZES,
    batch_size: Count = 16,
    seconds: Annotated[float, Interval(ge=0, le=3600)] = 1.0,
) -> Generator[Speed]:
    """Measure backbones on this machine: a few steps of training all layers, and of predicting.

    Each backbone is built with random weights under a small head, in a process of its own, so that its memory can be
    counted, and one that needs more than there is ends none but its own row. A figure is the median of its steps, after
    one that is not counted. What else runs on the machine meanwhile slows it down.

    Args:
        names: Which backbones; None measures all.
        params: Of the backbones, where they are not the defaults.
        sizes: Sides of the images, pixels.
        batch_size: Images in a step.
        seconds: After which no further step begins, for each figure; at least one step is measured.

    Yields:
        A row for each backbone and size, as soon as it is there; the smallest size first.

    Raises:
        UnknownNameError: There is no backbone or parameter of that name.
        OptionError: An argument of a wrong kind or outside its range.

    Examples:
        >>> rows = measure_backbones(["mobilenet"], params={"alpha": 0.75}, sizes=[96, 128])
        >>> rows.close()  # nothing is measured before a row is asked for: Speeds(list(rows)) makes the table
    """
    check_arguments(measure_backbones, names=names, params=params, sizes=sizes, batch_size=batch_size, seconds=seconds)
    chosen = [entry.name for entry in list_backbones()] if names is None else [registry().find(n).name for n in names]
    for name in chosen:
        registry().find(name).spec.settings(params)
    job = {"params": params, "sizes": sorted({*plain(list(sizes))}), "batch_size": plain(batch_size)}
    return _rows([{"name": name, **job, "seconds": plain(seconds)} for name in chosen])


def answer(job: Mapping[str, Any]) -> None:
    """Measure one backbone in the process that was started for it, and print a line of JSON for each row."""
    output, sys.stdout = sys.stdout, sys.stderr  # what a network prints is not for the reader
    import keras

    from cellclf.backbones.backbone import Backbone

    backbone = Backbone(job["name"], weights=None, params=job["params"])
    keras.ops.convert_to_numpy(keras.ops.zeros(1))  # the backend takes its memory before it is counted
    start = peak_memory()
    for size in job["sizes"]:
        row = Speed(backbone=job["name"], size=size, batch_size=job["batch_size"])
        try:
            found = asdict(row) | _measure(backbone, row, job["seconds"])
            peak = peak_memory()
            found["memory"] = None if start is None or peak is None else peak - start
        except CellclfError as error:
            found = asdict(row) | {"error": one_line(str(error))}
        print(json.dumps(found), file=output, flush=True)
        keras.backend.clear_session()


def peak_memory() -> int | None:
    """Give the most bytes of memory that this process has had at once; None where the system does not report it."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:  # Windows
        return None
    # macOS counts in bytes; Linux, which counts in kilobytes, was read above: this number includes the parent's
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if sys.platform == "darwin" else None


def _rows(jobs: Sequence[Mapping[str, Any]]) -> Generator[Speed]:
    for job in jobs:
        missing = list(job["sizes"])
        with tempfile.TemporaryFile() as errors:
            command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), json.dumps(job)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    missing.pop(0)
                    yield Speed(**json.loads(line))
                child.wait()
            finally:  # Ctrl-C, or a caller who has seen enough
                child.kill()
                child.wait()
                if child.stdout is not None:
                    child.stdout.close()
            if missing:
                errors.seek(0)
                reason = _reason(child.returncode, errors.read().decode(errors="replace"))
                row = Speed(backbone=job["name"], size=missing[0], batch_size=job["batch_size"], error=reason)
                yield row


def _reason(code: int, printed: str) -> str:
    """Give why a process ended early, in a line."""
    if code < 0:
        return f"the process was ended by signal {-code}, as it is where memory does not suffice"
    lines = printed.strip().splitlines()
    return one_line(lines[-1]) if lines else f"the process ended with exit code {code}"


def _measure(backbone: Any, row: Speed, seconds: float) -> dict[str, Any]:
    import keras
    import numpy as np

    base = backbone.build((row.size, row.size, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, keras.layers.Dense(CLASSES, activation="softmax")(pooled))
    model.compile(optimizer=keras.optimizers.AdamW(1e-5), loss="sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (row.batch_size, row.size, row.size, 3), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, row.batch_size)
    return {
        "parameters": int(base.count_params()),
        "predict": _rate(lambda: model.predict_on_batch(images), row.batch_size, seconds),
        "train": _rate(lambda: model.train_on_batch(images, labels), row.batch_size, seconds),
    }


def _rate(step: Callable[[], Any], batch_size: int, seconds: float) -> float:
    """Time a step, images a second; the first, which compiles, is not counted."""
    step()
    times: list[float] = []
    while not times or (sum(times) < seconds and len(times) < _MOST_STEPS):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    return batch_size / statistics.median(times)


def _texts(row: Speed) -> list[str]:
    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"

    return [
        "-" if row.parameters is None else f"{row.parameters / 1e6:.1f} M",
        f"{row.size} px",
        rate(row.train),
        rate(row.predict),
        "-" if row.memory is None else f"{row.memory / 1e9:.2f} GB",
    ]
