"""Call the program in this process: what the tests of the commands share."""

from __future__ import annotations

from click.testing import CliRunner, Result
from PIL import Image

from cellclf.cli import main


def run(*words) -> Result:
    """Call ``cellclf`` with these words."""
    return CliRunner().invoke(main, [str(word) for word in words])


def width_of(path) -> int:
    """Give the width of an image that a command drew."""
    with Image.open(path) as image:
        return image.width
