from __future__ import annotations

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from cellclf.data.generated import make_cells
from cellclf.errors import CellclfWarning, DataError, OptionError
from cellclf.pages.decide import KEYS, PAGE_KEYS, write_label_page

CLASSES = ["basophil", "immature_granulocyte", "neutrophil"]
IDS = ["007", "=1+1", 'a,"b"', "x</script><b>", "ü"]


def images(n=5, side=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def data_of(path):
    text = path.read_text("utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def pixels(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))


def test_every_pixel_is_in_the_page_and_ids_stay_with_their_images(tmp_path):
    cells = images()
    found = data_of(write_label_page(tmp_path / "label.html", cells, IDS, CLASSES))
    assert sorted(found["ids"]) == sorted(IDS) and found["ids"] != IDS
    for id_, address in zip(found["ids"], found["images"], strict=True):
        assert address.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(pixels(address), cells[IDS.index(id_)])
    assert found["classes"] == CLASSES and found["shown"] == ["basophil", "immature granulocyte", "neutrophil"]


def test_the_order_is_shuffled_by_the_seed_alone(tmp_path):
    ids = [str(k) for k in range(30)]
    orders = [
        data_of(write_label_page(tmp_path / "a.html", images(30), ids, CLASSES, seed=seed))["ids"] for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[2]) == sorted(ids)


def test_what_goes_with_a_cell_follows_it(tmp_path):
    cells = images()
    extra = {
        "reasons": [f"why {id_}" for id_ in IDS],
        "guesses": [(CLASSES[k % 3], k / 10) for k in range(5)],
        "neighbours": [None, cells[:2], cells[:0], cells, np.repeat(cells, 3, axis=0)],
    }
    found = data_of(write_label_page(tmp_path / "label.html", cells, IDS, CLASSES, **extra))
    for k, id_ in enumerate(found["ids"]):
        place = IDS.index(id_)
        assert found["reasons"][k] == f"why {id_}" and found["guesses"][k][1] == place / 10
        assert len(found["neighbours"][k]) == (0, 2, 0, 5, 8)[place]


def test_the_page_runs_one_script_that_it_names_and_nothing_else(tmp_path):
    nasty = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a&amp;b"]
    path = write_label_page(
        tmp_path / "label.html", images(3), nasty, nasty, title=nasty[1], next_step=nasty[0], reasons=nasty
    )
    text = path.read_text("utf-8")
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S)
    assert [kind for kind, _ in scripts] == [' type="application/json" id="data"', ""]
    digest = base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text and "default-src 'none'" in text and "<img src=x" not in text
    assert not re.search(r"(?:src|href)=[\"']?(?!data:)[a-z]+:", text) and data_of(path)["reasons"] != []
    assert sorted(data_of(path)["ids"]) == sorted(nasty)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 14, 30, 50])
def test_every_class_has_a_printed_key_that_is_nothing_else(tmp_path, count):
    names = [f"class {k}" for k in range(count)]
    path = write_label_page(tmp_path / "label.html", images(), IDS, names)
    keys = data_of(path)["keys"]
    assert len(set(keys)) == count and not set(keys) & {*PAGE_KEYS.values()}
    printed = re.findall(r"<kbd[^>]*>(.*?)</kbd><span>class", path.read_text("utf-8"))
    assert [key.replace("⇧", "Shift+") for key in printed] == keys == KEYS[:count]


def test_pages_that_differ_share_no_store(tmp_path):
    def key(cells, ids, names, **more):
        return data_of(write_label_page(tmp_path / "a.html", cells, ids, names, **more))["key"]

    cells, ids = images(), ["0", "1", "2", "3", "4"]
    first = key(cells, ids, CLASSES)
    others = [
        key(images(seed=1), ids, CLASSES),
        key(cells, IDS, CLASSES),
        key(cells, ids, [*CLASSES, "blast"]),
        key(cells[::-1], ids, CLASSES),
    ]
    assert len({first, *others}) == 5
    assert first == key(cells, ids, CLASSES, seed=4, title="again", show_ids=True)
    assert first == key(cells[::-1], ids[::-1], CLASSES), "the same cells in another order"


def photograph(image, rng):
    """Give the pixels that a JPEG of a noisy camera holds."""
    buffer = io.BytesIO()
    noisy = (image + rng.normal(0, 3, image.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(buffer, "jpeg", quality=95)
    return np.asarray(Image.open(buffer))


def test_25_large_cells_stay_below_5_mb_and_lose_nothing(tmp_path):
    rng = np.random.default_rng(0)
    few = [photograph(image, rng) for image in make_cells(5, size=360, seed=1).images]
    cells = np.stack([np.roll(few[k % 5], k, axis=1) for k in range(25)])
    path = write_label_page(
        tmp_path / "a.html", cells, [str(k) for k in range(25)], CLASSES, neighbours=[cells[:8]] * 25
    )
    assert path.stat().st_size < 5_000_000
    found = data_of(path)
    assert found["images"][0].startswith("data:image/webp")
    np.testing.assert_array_equal(pixels(found["images"][0]), cells[int(found["ids"][0])])


def test_a_page_that_is_too_heavy_says_so(tmp_path):
    with pytest.warns(CellclfWarning, match=r"has \d+ MB for 5 images of 1000x1000 pixels"):
        write_label_page(tmp_path / "a.html", images(5, 1000), IDS, CLASSES)


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"images": images(0), "ids": []}, DataError, "no images to label"),
        ({"images": images() / 255}, DataError, "uint8"),
        ({"ids": IDS[:4]}, DataError, "4 ids for 5 images"),
        ({"ids": ["a"] * 5}, DataError, "the id 'a' stands 5 times"),
        ({"ids": ["\udcff", *IDS[1:]]}, DataError, "no valid text"),
        ({"classes": []}, OptionError, "0 classes; expected 1 to 50"),
        ({"classes": [str(k) for k in range(51)]}, OptionError, "51 classes"),
        ({"classes": "basophil"}, OptionError, "one text"),
        ({"classes": ["a", "a"]}, OptionError, "'a' stands twice"),
        ({"classes": ["a", "Not_a-cell"]}, OptionError, "cannot be called 'Not_a-cell'"),
        ({"classes": ["a", " "]}, OptionError, "cannot be called ' '"),
        ({"reasons": ["a"]}, DataError, "1 reasons for 5 images"),
        ({"guesses": []}, DataError, "0 guesses for 5 images"),
        ({"neighbours": [images() / 2, *[None] * 4]}, DataError, "neighbours of '007': "),
        ({"path": "label.csv"}, OptionError, r"ends in \.html"),
    ],
)
def test_what_makes_no_page_is_refused(tmp_path, change, kind, match):
    given = {"path": "label.html", "images": images(), "ids": IDS, "classes": CLASSES} | change
    path = tmp_path / given.pop("path")
    with pytest.raises(kind, match=match) as caught:
        write_label_page(path, **given)
    assert "\n" not in str(caught.value) and not path.exists()
