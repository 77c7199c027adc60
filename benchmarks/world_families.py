"""Worlds that a training may not have met: fourteen families of change, each drawn by numpy and scipy alone.

Nothing here uses the kernels of `cellclf.augmentation`, so that a preset cannot be made for this code; severities reach
beyond what the presets do. A family also names the steps that resemble it, on the strict side: those that declare a
family of corruptions in common (``Step.families``, by which `cellclf robustness` marks what a training has seen), and
steps of geometry and colour by name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Floats = np.ndarray
Change = Callable[[Floats, Floats, np.random.Generator], Floats]


@dataclass(frozen=True)
class World:
    """A family of change.

    Args:
        name: What it is called in tables.
        summary: What happens, in a line.
        change: Changes one (H, W, 3) float image 0-1; takes the image, others to borrow from, and a generator.
        families: Families of corruptions; steps that declare one of them are left out.
        steps: Names of further steps that are left out.
    """

    name: str
    summary: str
    change: Change
    families: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


def affine(image: Floats, linear: Floats, shift: Floats, mode: str = "reflect", fill: Floats | None = None) -> Floats:
    """Resample: the new pixel at p (from the centre) shows the old one at linear @ p + shift."""
    middle = (np.array(image.shape[:2]) - 1) / 2
    offset = middle + shift - linear @ middle
    colours = np.zeros(3) if fill is None else fill
    planes = [
        ndimage.affine_transform(image[:, :, k], linear, offset, order=1, mode=mode, cval=colours[k]) for k in range(3)
    ]
    return np.stack(planes, axis=2)


def resized(image: Floats, factor: float) -> Floats:
    """Scale by a factor, smoothed first where it shrinks."""
    if factor < 1:
        image = ndimage.gaussian_filter(image, (0.4 / factor, 0.4 / factor, 0))
    return np.clip(ndimage.zoom(image, (factor, factor, 1), order=1, grid_mode=True, mode="nearest"), 0, 1)


def middle_of(image: Floats, side: int) -> Floats:
    """Cut the middle out."""
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def tiled(lent: Floats, factor: float, rng: np.random.Generator) -> Floats:
    """Lay 3 x 3 other images, scaled by a factor, beside each other."""
    rows = []
    for _ in range(3):
        chosen = rng.choice(len(lent), 3)
        rows.append(np.concatenate([np.rot90(resized(lent[k], factor), rng.integers(4)) for k in chosen], axis=1))
    return np.concatenate(rows, axis=0)


def level_of(image: Floats) -> Floats:
    """Weigh each pixel by how grey it is: 0 black, 1 white."""
    return image @ np.array([0.299, 0.587, 0.114])


def strips(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Move, fill with a colour, move on, fill with the mirror image, turn: strips and seams inside the image."""
    side = image.shape[0]
    for _ in range(rng.integers(1, 3)):
        along = np.eye(2)[rng.integers(2)] * rng.choice([-1, 1])
        fill = np.repeat(rng.uniform(0, 1), 3) if rng.uniform() < 0.6 else rng.uniform(0, 1, 3)
        image = affine(image, np.eye(2), along * side * rng.uniform(0.03, 0.14), "constant", fill)
        image = affine(image, np.eye(2), along * side * rng.uniform(0.1, 0.4))
        angle = np.radians(rng.uniform(-60, 60))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        image = affine(image, turn, np.zeros(2))
    return image


def shear(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Shear along one or both axes; beyond the border the mirror image or a colour."""
    linear = np.eye(2)
    for axis in rng.permutation(2)[: rng.integers(1, 3)]:
        one = np.eye(2)
        one[axis, 1 - axis] = rng.choice([-1, 1]) * rng.uniform(0.35, 0.9)
        linear = one @ linear
    if rng.uniform() < 0.7:
        return affine(image, linear, np.zeros(2))
    return affine(image, linear, np.zeros(2), "constant", rng.uniform(0, 1, 3))


def cutouts(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Cover parts by boxes, discs and bars: a colour, noise, or a piece of another image."""
    image = image.copy()
    side = image.shape[0]
    down, right = np.mgrid[0:side, 0:side] / side
    for _ in range(rng.integers(1, 4)):
        y, x = rng.uniform(0.1, 0.9, 2)
        a, b = rng.uniform(0.06, 0.2, 2)
        kind = rng.integers(3)
        if kind == 0:
            inside = (abs(down - y) < a) & (abs(right - x) < b)
        elif kind == 1:
            inside = ((down - y) / a) ** 2 + ((right - x) / b) ** 2 < 1
        else:
            turn = rng.uniform(0, np.pi)
            inside = abs((down - y) * np.cos(turn) + (right - x) * np.sin(turn)) < a / 3
        paint = rng.integers(3)
        if paint == 0:
            image[inside] = rng.uniform(0, 1, 3)
        elif paint == 1:
            image[inside] = rng.uniform(0, 1, (inside.sum(), 3))
        else:
            image[inside] = lent[rng.integers(len(lent))][inside]
    return image


def casts(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Give another white balance, turn the hue, exchange channels, remove the colour, or tint it."""
    kind = rng.integers(5)
    grey = level_of(image)[:, :, None]
    if kind == 0:
        return image * np.exp(rng.normal(0, 0.35, 3))
    if kind == 1:
        axis = np.ones(3) / np.sqrt(3)
        angle = rng.uniform(-np.pi, np.pi)
        cross = np.cross(np.eye(3), axis)
        turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
        return image @ turn.T
    if kind == 2:
        return image[:, :, rng.permutation(3)]
    if kind == 3:
        return grey + rng.uniform(0, 0.35) * (image - grey)
    return 0.5 * image + 0.5 * grey * rng.uniform(0.4, 1.3, 3)


def stain(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Stain weaker or stronger, and let each dye absorb other colours: optical density over the bright ground."""
    white = np.quantile(image.reshape(-1, 3), 0.9, axis=0)
    density = -np.log(np.clip(image, 0.02, 1) / white)
    strength = np.exp(rng.uniform(np.log(0.4), np.log(2.0)))
    dyes = strength * (np.diag(np.exp(rng.normal(0, 0.3, 3))) + rng.normal(0, 0.12, (3, 3)))
    return white * rng.uniform(0.85, 1.1) * np.exp(-(density @ dyes))


def blur(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Blur along both axes or one, or sharpen with halos."""
    side = image.shape[0] / 64
    kind = rng.integers(4)
    if kind == 0:
        return ndimage.gaussian_filter(image, (*[side * rng.uniform(0.9, 2.2)] * 2, 0))
    if kind == 1:
        reach = int(np.ceil(3 * side))
        far = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
        disc = np.clip(side * rng.uniform(1.5, 3) + 0.5 - far, 0, 1)
        return ndimage.convolve(image, (disc / disc.sum())[:, :, None], mode="reflect")
    if kind == 2:
        angle = rng.integers(4)
        size = int(rng.integers(4, 9) * side)
        line = np.eye(size) / size if angle > 1 else np.ones((1, size)) / size
        return ndimage.convolve(image, np.rot90(line, angle)[:, :, None], mode="reflect")
    smooth = ndimage.gaussian_filter(image, (*[side * rng.uniform(0.6, 1.5)] * 2, 0))
    return image + rng.uniform(1.5, 5) * (image - smooth)


def noise(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Add sensor noise, grain or dead pixels, or save as a poor JPEG."""
    from PIL import Image

    kind = rng.integers(4)
    if kind == 0:
        return image + rng.normal(0, rng.uniform(0.04, 0.14), image.shape)
    if kind == 1:
        grain = ndimage.gaussian_filter(rng.normal(0, 1, image.shape[:2]), 0.8)
        return image + rng.uniform(0.06, 0.2) * grain[:, :, None]
    if kind == 2:
        dead = rng.uniform(0, 1, image.shape[:2]) < rng.uniform(0.01, 0.08)
        return np.where(dead[:, :, None], rng.integers(0, 2, image.shape[:2])[:, :, None], image)
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(4, 22)))
    return np.asarray(Image.open(file), np.float64) / 255


def scale(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Show the cell at .5 to 1.6 of its size, among other cells where it shrinks."""
    side = image.shape[0]
    factor = np.exp(rng.choice([rng.uniform(np.log(0.5), np.log(0.8)), rng.uniform(np.log(1.2), np.log(1.6))]))
    small = resized(image, factor)
    if factor > 1:
        return middle_of(small, side)
    around = middle_of(tiled(lent, factor, rng), side)
    reach = small.shape[0]
    far = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, reach)] * 2))
    weight = np.clip((1.05 - far) / 0.15, 0, 1)[:, :, None]
    top, left = (side - reach) // 2 + rng.integers(-2, 3, 2)
    window = around[top : top + reach, left : left + reach]
    window[:] = weight * small + (1 - weight) * window
    return around


def cell_of(image: Floats) -> Floats:
    """Weigh the pixels of the cell in the middle, softly: what is darker or more colourful than the ground."""
    ground = np.quantile(image.reshape(-1, 3), 0.85, axis=0)
    away = ndimage.gaussian_filter(abs(image - ground).sum(2), 1)
    found, _ = ndimage.label(away > max(0.3 * np.quantile(away, 0.98), 0.12))
    side = image.shape[0]
    near = middle_of(found, side // 4)
    near = near[near > 0]
    if not len(near):
        return np.clip(1.4 - np.hypot(*np.meshgrid(*[np.linspace(-2, 2, side)] * 2)), 0, 1)
    cell = ndimage.binary_fill_holes(found == np.bincount(near).argmax())
    cell &= np.hypot(*np.meshgrid(*[np.linspace(-1, 1, side)] * 2)) < 0.85  # red cells that touch it
    return ndimage.gaussian_filter(ndimage.binary_dilation(cell, iterations=1).astype(float), 0.7)


def background(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Cut the cell out and lay it on another ground: flat and mottled, full of red cells, or another image."""
    side = image.shape[0]
    weight = cell_of(image)[:, :, None]
    kind = rng.integers(3)
    if kind == 2:
        ground = np.roll(np.rot90(lent[rng.integers(len(lent))], rng.integers(4)), side // 2, (0, 1))
        return weight * image + (1 - weight) * ground
    ground = rng.uniform(0.55, 0.95, 3) + 0.03 * rng.normal(0, 1, (1, 1, 3))
    mottled = ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), side / 20)
    ground = ground + rng.uniform(0, 0.5) * mottled[:, :, None]
    if kind == 1:
        colour = np.array([0.85, 0.62, 0.62]) * rng.uniform(0.5, 1.1, 3)
        for _ in range(rng.integers(4, 14)):
            place, radius = rng.uniform(0, side, 2), rng.uniform(0.1, 0.2) * side
            far = np.hypot(*(np.mgrid[0:side, 0:side] - place[:, None, None])) / radius
            inside = np.clip((1 - far) * radius, 0, 1)[:, :, None]
            pale = 1 + 0.25 * np.clip(1 - 2 * far, 0, 1)[:, :, None]
            ground = ground * (1 - inside) + inside * colour * pale
    return weight * image + (1 - weight) * ground


def off_centre(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Crop off the centre: the cell lies .15 to .35 of the side away, and other images follow."""
    side = image.shape[0]
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.35) * side
    down, right = np.rint(reach * np.array([np.sin(angle), np.cos(angle)])).astype(int)
    field = tiled(lent, 1.0, rng)
    field[side : 2 * side, side : 2 * side] = image
    return field[side + down : 2 * side + down, side + right : 2 * side + right]


def light(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Light falls off to one side, to the rim, or in a shadow; the darker part may be warmer or colder."""
    side = image.shape[0]
    down, right = np.mgrid[0:side, 0:side] / side - 0.5
    kind = rng.integers(3)
    if kind == 0:
        turn = rng.uniform(0, 2 * np.pi)
        dark = 0.5 + (down * np.sin(turn) + right * np.cos(turn)) / 1.2
    elif kind == 1:
        y, x = rng.uniform(-0.3, 0.3, 2)
        dark = ((down - y) ** 2 + (right - x) ** 2) * 2
    else:
        turn = rng.uniform(0, 2 * np.pi)
        edge = down * np.sin(turn) + right * np.cos(turn) - rng.uniform(-0.25, 0.25)
        dark = 1 / (1 + np.exp(-edge * rng.uniform(8, 30)))
    depth = rng.uniform(0.4, 0.85) * np.clip(dark, 0, 1)
    return image * (1 - depth[:, :, None] * np.exp(rng.normal(0, 0.12, 3)))


def curves(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Pass through another camera's tone curve: gamma, S or its inverse, lifted black, clipped white."""
    kind = rng.integers(4)
    if kind == 0:
        return np.clip(image, 0, 1) ** np.exp(rng.choice([-1, 1]) * rng.uniform(0.4, 1.0))
    if kind == 1:
        steep, middle = rng.uniform(4, 12), rng.uniform(0.4, 0.75)
        low, high = (1 / (1 + np.exp(-steep * (v - middle))) for v in (0, 1))
        return (1 / (1 + np.exp(-steep * (image - middle))) - low) / (high - low)
    if kind == 2:
        low, high = rng.uniform(0, 0.45), rng.uniform(0.65, 1)
        return low + (high - low) * image
    low, high = rng.uniform(0, 0.3), rng.uniform(0.55, 0.9)
    return (image - low) / (high - low)


def negatives(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Break the order of levels: negative, solarised, equalised, few levels."""
    kind = rng.integers(4)
    if kind == 0:
        return 1 - image
    if kind == 1:
        return np.where(image > rng.uniform(0.3, 0.85), 1 - image, image)
    if kind == 2:
        ranks = [np.searchsorted(np.sort(image[:, :, k].ravel()), image[:, :, k], "right") for k in range(3)]
        return np.stack(ranks, axis=2) / image[:, :, 0].size
    count = rng.integers(2, 5)
    return np.floor(np.clip(image, 0, 0.999) * count) / (count - 1)


def pixels(image: Floats, lent: Floats, rng: np.random.Generator) -> Floats:
    """Show fewer, larger pixels, or bubbles in the mount: what no preset may hold."""
    from PIL import Image

    side = image.shape[0]
    if rng.uniform() < 0.5:
        small = round(side * rng.uniform(0.22, 0.5))
        fine = Image.fromarray(np.rint(255 * image).astype(np.uint8))
        coarse = fine.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)
        return np.asarray(coarse, np.float64) / 255
    for _ in range(rng.integers(4, 12)):
        place, radius = rng.uniform(0, side, 2), rng.uniform(0.02, 0.08) * side
        far = np.hypot(*(np.mgrid[0:side, 0:side] - place[:, None, None]))
        inside = (0.4 * (far < radius) + 0.12 * (abs(far - radius) < 1))[:, :, None]
        image = image + inside * (1 - image)
    return image


WORLDS = (
    World("strips", "strips and mirror seams", strips, steps=("seam", "translate")),
    World("shear", "shear", shear, steps=("shear", "aspect")),
    World("cut-outs", "boxes, discs and bars over it", cutouts, families=("occlusion",)),
    World(
        "casts",
        "colour casts, hue, exchanged channels, grey",
        casts,
        families=("saturation",),
        steps=("hue", "channel_shift", "channel_shuffle"),
    ),
    World("stain", "stain strength and directions", stain, families=("saturation", "contrast")),
    World("blur", "blur and sharpening", blur, families=("blur",)),
    World("noise", "noise and JPEG", noise, families=("noise", "compression"), steps=("noise",)),
    World("scale", "the cell at .5 to 1.6", scale, steps=("zoom", "crop")),
    World("background", "background and neighbours replaced", background, steps=("background",)),
    World("off centre", "crop off the centre", off_centre, steps=("translate", "crop", "seam")),
    World("light", "illumination gradients and shadows", light, steps=("illumination",)),
    World("curves", "camera curves", curves, families=("brightness", "contrast")),
    World(
        "negatives",
        "negative, solarised, equalised, few levels",
        negatives,
        steps=("invert", "solarise", "equalise", "posterise"),
    ),
    World("pixels", "large pixels and bubbles", pixels, families=("pixelation", "bubbles")),
)


def shown(images: np.ndarray, world: World, lent: np.ndarray, *, seed: int) -> np.ndarray:
    """Show images as a world does.

    Args:
        images: (N, H, W, 3) uint8.
        world: How.
        lent: (M, H, W, 3) uint8, other images, from which neighbours and grounds are borrowed.
        seed: Of everything drawn.
    """
    out = np.empty_like(images)
    others = lent / 255
    for k, image in enumerate(images):
        rng = np.random.default_rng([seed, k, *world.name.encode()])
        out[k] = np.rint(255 * np.clip(world.change(image / 255, others, rng), 0, 1))
    return out
