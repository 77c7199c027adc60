"""The command line: words in, an object called, its answer printed. Everything slow is imported when it is used."""

from __future__ import annotations

import click

import cellclf
from cellclf.cli import again, augment, cleaning, explain, external, job, networks, robustness, use
from cellclf.cli.options import Group


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cellclf.__version__, prog_name="cellclf")
def main() -> None:
    """From a messy set of single-cell images to a classifier that works on next month's slides.

    SRC is an .npz (images, labels), a folder with one folder for each class, a .csv of path,label[,group], or a
    quoted pattern such as 'cells/*.png'. Start with `cellclf demo`, then `cellclf inspect SRC`.
    """


for _command in (
    job.run,
    job.demo,
    cleaning.inspect,
    cleaning.dedup,
    cleaning.leaks,
    cleaning.outliers,
    job.train,
    job.compare,
    job.labels,
    again.crossval,
    again.rerun,
    use.evaluate,
    use.predict,
    external.external,
    explain.explain,
    use.export,
    robustness.robustness,
    augment.augment,
    networks.backbones,
    networks.plugins,
):
    main.add_command(_command)
