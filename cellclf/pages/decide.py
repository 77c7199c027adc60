"""The page on which people decide about cells: one HTML file that labels, keeps and saves without a server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import string
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decisions import COLUMNS, LABEL, NOT_A_CELL, UNSURE
from cellclf.data.sources import check_images
from cellclf.errors import CellclfWarning, DataError, OptionError
from cellclf.utils.atomic import write_text
from cellclf.utils.spreadsheet import PLAIN

if TYPE_CHECKING:
    from PIL import Image

PAGE_KEYS = {"undo": "Z", "unsure": "U", "not a cell": "X", "note": "N", "guess": "G", "save": "S"}
"""Letters that the page needs itself; the arrow keys, Enter and Escape besides. No class has one of them."""

_LETTERS = [letter for letter in string.ascii_uppercase if letter not in PAGE_KEYS.values()]
KEYS = [*"1234567890", *_LETTERS, *(f"Shift+{letter}" for letter in _LETTERS)]
"""The keys of classes, in their order."""

_RESERVED = {"label", "unsure", "not sure", "not a cell", "no cell", "non cell", "unanswered", "?"}
_BUDGET = 165_000  # characters of an image, so that 25 and their neighbours stay below 5 MB
_SMALL = 88  # longer side of a neighbour in pixels
_MOST_NEIGHBOURS = 8


def write_label_page(
    path: str | Path,
    images: NDArray[np.uint8],
    ids: Sequence[str],
    classes: Sequence[str],
    *,
    reasons: Sequence[str] | None = None,
    guesses: Sequence[tuple[str, float]] | None = None,
    neighbours: Sequence[NDArray[np.uint8] | None] | None = None,
    title: str = "What are these cells?",
    next_step: str = "",
    show_ids: bool = False,
    seed: int = 0,
) -> Path:
    """Write a page on which somebody labels cells, by keyboard, mouse or touch; it saves ``labelled.csv``.

    The page is one file that asks for nothing, also from ``file://``. It keeps its state in the browser where that is
    allowed, under a key of its own (ids, classes and pixels), and reads saved tables; ``cellclf.load_decisions`` reads
    what it saves. Ids are in the file, since the table needs them, but not on the screen unless ``show_ids``.

    Reasons and guesses are shown after an answer, and only if whoever answers switches them on: what a run believes
    would pull the answer towards it.

    Args:
        path: Ends in ``.html``.
        images: (n, H, W, 3) uint8, 0-255; every pixel gets into the page, without loss.
        ids: n texts, each once.
        classes: What a cell can be, up to 50 names; each gets a key: digits first, then letters.
        reasons: n texts: why this cell was chosen.
        guesses: For each cell the class that a run believes in, and its probability.
        neighbours: For each cell (m, h, w, 3) uint8 images that look alike, or None; shown small, eight at most.
        title: Heading.
        next_step: What to do with the saved table, in a sentence.
        show_ids: Show ids instead of running numbers. File names may hold names of patients.
        seed: Shuffles the order, so that it says nothing.

    Returns:
        The path.

    Raises:
        DataError: No images, or lengths, ids or shapes that do not fit.
        OptionError: No classes or too many, one twice, or one that is called like "unsure" or "not a cell".

    Examples:
        >>> import tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
        >>> write_label_page(tempfile.mkdtemp() + "/label.html", images, ["a", "b"], ["round", "lobed"]).name
        'label.html'
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"cannot write a page to {path.name!r}; expected a name that ends in .html")
    images = check_images(images)
    names = _checked_classes(classes)
    ids = _checked_ids(ids, len(images))
    for what, values in (("reasons", reasons), ("guesses", guesses), ("neighbours", neighbours)):
        if values is not None and len(values) != len(images):
            raise DataError(f"{len(values)} {what} for {len(images)} images; expected one for each image")
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    shown = _shown(names)
    data = {
        "key": _store(images, ids, names),
        "columns": COLUMNS,
        "plain": PLAIN,
        "decisions": {"label": LABEL, "unsure": UNSURE, "not_a_cell": NOT_A_CELL},
        "classes": names,
        "shown": shown,
        "keys": KEYS[: len(names)],
        "ids": [ids[k] for k in order],
        "show_ids": show_ids,
        "size": images.shape[1:3],
        "images": _encoded(images[order]),
        "neighbours": [] if neighbours is None else [_small(neighbours[k], ids[k]) for k in order],
        "guesses": [] if guesses is None else [[_plain(guesses[k][0]), float(guesses[k][1])] for k in order],
        "reasons": [] if reasons is None else [str(reasons[k]) for k in order],
    }
    page = _render(data, title, next_step)
    if len(page) > max(5_000_000, 200_000 * len(images)):
        warnings.warn(
            f"{path.name} has {len(page) / 1e6:.0f} MB for {len(images)} images of {images.shape[2]}x{images.shape[1]} "
            "pixels and may open slowly; pass images that are cut closer round their cells",
            CellclfWarning,
            stacklevel=2,
        )
    return write_text(path, page)


def _checked_classes(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str):
        raise OptionError(f"classes={classes!r} is one text; expected a list of class names")
    names = [str(name) for name in classes]
    if not 1 <= len(names) <= len(KEYS):
        raise OptionError(f"{len(names)} classes; expected 1 to {len(KEYS)}, since each needs a key of its own")
    for name in names:
        if not name.strip() or " ".join(name.lower().replace("_", " ").replace("-", " ").split()) in _RESERVED:
            raise OptionError(
                f"a class cannot be called {name!r}: the page has this as an answer of its own; leave it out"
            )
        if names.count(name) > 1:
            raise OptionError(f"the class {name!r} stands twice; expected each class once")
    return names


def _checked_ids(ids: Sequence[str], count: int) -> list[str]:
    if not count:
        raise DataError("there are no images to label; expected at least one")
    if len(ids) != count:
        raise DataError(f"{len(ids)} ids for {count} images; expected one for each image")
    texts = [str(id_) for id_ in ids]
    if len(set(texts)) < count:
        twice = next(id_ for id_ in texts if texts.count(id_) > 1)
        raise DataError(f"the id {twice!r} stands {texts.count(twice)} times; expected each id once")
    for id_ in texts:
        try:
            id_.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"the id {id_!r} is no valid text; rename the file") from None
    return texts


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _shown(names: list[str]) -> list[str]:
    """Write names as words, unless two would look the same."""
    words = [_plain(name) for name in names]
    return words if len(set(words)) == len(words) else names


def _store(images: NDArray[np.uint8], ids: list[str], classes: list[str]) -> str:
    """Name what the browser keeps: the pixels count, too, since arrays without names have the same ids everywhere."""
    digest = hashlib.sha256(json.dumps([sorted(ids), classes]).encode())
    for place in sorted(range(len(ids)), key=ids.__getitem__):
        digest.update(np.ascontiguousarray(images[place]).tobytes())
    return f"cellclf:{digest.hexdigest()}"


def _encoded(images: NDArray[np.uint8]) -> list[str]:
    """Encode images without loss: as PNG, or as lossless WebP where PNG would make the page too large."""
    from PIL import Image

    made = [Image.fromarray(np.ascontiguousarray(image)) for image in images]
    files = [_file(image, "png") for image in made]
    if sum(map(len, files)) * 4 / 3 > _BUDGET * len(files):
        return [_address(_file(image, "webp", lossless=True, quality=60), "webp") for image in made]
    return [_address(file, "png") for file in files]


def _small(images: NDArray[np.uint8] | None, id_: str) -> list[str]:
    from PIL import Image

    if images is None or not len(images):
        return []
    try:
        checked = check_images(images)
    except DataError as error:
        raise DataError(f"neighbours of {id_!r}: {error}") from None
    made = [Image.fromarray(np.ascontiguousarray(image)) for image in checked[:_MOST_NEIGHBOURS]]
    for image in made:
        image.thumbnail((_SMALL, _SMALL))
    return [_address(_file(image, "webp", quality=82), "webp") for image in made]


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _address(file: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def _render(data: dict[str, Any], title: str, next_step: str) -> str:
    """Fill the template; the browser runs the one script whose hash the page states, whatever ids and names hold."""
    import jinja2
    from markupsafe import Markup

    loader = jinja2.PackageLoader("cellclf.pages")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = resources.files("cellclf.pages").joinpath("templates", "decide.js").read_text("utf-8")
    held = json.dumps(data).replace("<", "\\u003c")
    return environment.get_template("decide.html.j2").render(
        title=title,
        next_step=next_step,
        count=len(data["ids"]),
        classes=list(zip(data["keys"], data["shown"], strict=True)),
        guesses=bool(data["guesses"] or data["reasons"]),
        page_keys=PAGE_KEYS,
        data=Markup(held),  # JSON without < is safe in a script element
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
