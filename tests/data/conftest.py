from __future__ import annotations

import pytest
from helpers.images import image


@pytest.fixture
def folder(tmp_path):
    """Give a folder of two classes with two images each, whose levels are 0 to 3."""
    root = tmp_path / "cells"
    for k, name in enumerate(["lobed/a.png", "lobed/b.PNG", "round/a.png", "round/deep/er/c.bmp"]):
        image(root / name, k)
    return root
