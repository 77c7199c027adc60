"""The command line: words in, an object called, its answer printed. Everything slow is imported when it is used."""

from __future__ import annotations

import click

import cellclf
from cellclf.cli import (
    adapt,
    augment,
    backbones,
    compare,
    crossval,
    dedup,
    demo,
    evaluate,
    explain,
    export,
    external,
    features,
    inspect,
    labels,
    leaks,
    outliers,
    plugins,
    predict,
    rerun,
    robustness,
    run,
    suggest,
)
from cellclf.cli.group import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cellclf.__version__, prog_name="cellclf")
def main() -> None:
    """From a messy set of single-cell images to a classifier that works on next month's slides.

    SRC is an .npz (images, labels), a folder with one folder for each class, a .csv or .parquet of path, label and
    perhaps patient, or a quoted pattern such as 'cells/*.png'; SRC:train names its part. Start with `cellclf demo`,
    then `cellclf inspect SRC`.
    """


for _command in (
    run.run,
    demo.demo,
    inspect.inspect,
    dedup.dedup,
    leaks.leaks,
    outliers.outliers,
    compare.compare,
    labels.labels,
    crossval.crossval,
    rerun.rerun,
    evaluate.evaluate,
    predict.predict,
    external.external,
    suggest.suggest,
    adapt.adapt,
    features.features,
    explain.explain,
    export.export,
    robustness.robustness,
    augment.augment,
    backbones.backbones,
    plugins.plugins,
):
    main.add_command(_command)
