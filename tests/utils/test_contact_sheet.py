from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from helpers.images import png
from PIL import Image

from cellclf.utils.contact_sheet import PALETTE, drawable, sheet, thumbnail


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


def drawn(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure, dpi=60))).convert("RGB"))


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_each_image_gets_its_place_inside_the_sheet(count):
    figure = sheet(images(count), captions=[str(k) for k in range(count)], title="cells")
    assert len(figure.axes) == count
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])
    assert drawn(figure).std() > 0 or not count


def test_long_captions_extend_over_free_places_and_are_cut_before_the_next():
    name = "basophil/a_very_long_name_of_a_file_0123456789.jpg"
    figure = sheet(images(6), captions=[name, "", "", "b", name, "c"], columns=3, side=1.1)
    first, cut = (figure.axes[k].get_title(loc="left") for k in (0, 4))
    assert first == name
    assert len(cut) < 25 and "…" in cut and cut.startswith("basophil") and cut.endswith(".jpg")


def test_captions_of_any_text_are_drawn_without_a_warning():
    text = "cost $5 and $x^$ \t 細胞 🔬 \\frac"
    figure = sheet(images(2), captions=[text, "two\nlines"], title=text)
    assert drawn(figure).std() > 0
    assert "□" in drawable(text) and drawable("plain_name-é.png") == "plain_name-é.png"


def test_a_thumbnail_holds_the_image():
    image = images(1)[0]
    image.flags.writeable = False
    wide = np.broadcast_to(image[:1, :1], (40, 200, 3))
    for each, shape in ((image, (8, 8)), (wide, (50, 10)), (image[:, ::-1], (8, 8))):
        head, _, data = thumbnail(each, side=50).partition(",")
        found = Image.open(io.BytesIO(base64.b64decode(data)))
        assert head == f"data:image/{found.format.lower()};base64" and found.size == shape


def test_the_palette_is_distinct_without_red_and_green():
    colours = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in PALETTE]) / 255
    linear = colours**2.2
    deuteranopia = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])  # Machado 2009
    seen = linear @ deuteranopia.T
    gaps = np.abs(seen[:, None] - seen).sum(2) + np.eye(len(seen))
    assert gaps.min() > 0.08
