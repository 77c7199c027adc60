"""The Augmenter: draws on the host what happens to each image, applies it on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.blocks import Layout, has_gpu, run_blocks, run_whole
from cellclf.augmentation.copies import Copies, PerClass, Strength, Strengths, with_copies
from cellclf.augmentation.presets import PRESETS, PresetName
from cellclf.augmentation.program import Arrays, Program
from cellclf.augmentation.rng import ImageRng
from cellclf.augmentation.steps.base import Step, run_steps, step_from_dict
from cellclf.augmentation.steps.policies import AllOf, AugMix, SomeOf, Steps
from cellclf.data.door import Cells, as_cells
from cellclf.data.sources import check_pixels, refuse_unit_range
from cellclf.errors import DataError, OptionError
from cellclf.utils.parameters import (
    Params,
    Seed,
    check_arguments,
    check_parameters,
    check_table,
    check_value,
    construct,
    plain,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

Tensor = Any

_FIELDS = ("preset", "steps", "strength", "seed")


class Augmenter(Params):
    """Changes images as other slides, stains and microscopes might have.

    What happens to an image depends on seed, epoch and id alone: batch size, order and workers change nothing. An
    image passes through background, geometry (one resampling, however many steps), colour in the order of the steps,
    illumination, optics, noise, JPEG, masks; steps of one kind keep their order. ``AugMix`` is a stage of its own: the
    steps before it are done first.

    Images are uint8 0-255, or float32 0-255, which are rounded to whole levels.

    Args:
        steps: The steps, in order: `Rotate`, `Brightness`, `RandAugment` ...
        strength: Scales how far every step goes, 0 to 10; 0 does nothing, 1 is as given.
        seed: A whole number from 0 up.

    Examples:
        >>> from cellclf.augmentation.steps.geometry import Rotate
        >>> augmenter = Augmenter([Rotate(degrees=20)], seed=7)
        >>> images = np.zeros((2, 16, 16, 3), np.uint8)
        >>> augmenter(images, ids=["a", "b"], epoch=3).shape
        (2, 16, 16, 3)
    """

    def __init__(self, steps: Steps = (), *, strength: Strength = 1.0, seed: Seed = 0) -> None:
        self.steps = steps
        self.strength = strength
        self.seed = seed

    def __repr__(self) -> str:
        names = ", ".join(step.name for step in self.steps) or "nothing"
        return f"Augmenter({names}; strength={self.strength:g}, seed={self.seed})"

    @classmethod
    def preset(cls, name: str, *, seed: Seed = 0, strength: Strength = 1.0) -> Self:
        """Make a ready-made augmenter.

        Args:
            name: "none", "report", "light", "challenge", "stain" or "laboratory".
            seed: A whole number from 0 up.
            strength: Scales how far every step goes.

        Raises:
            UnknownNameError: There is no preset of that name.

        Examples:
            >>> Augmenter.preset("report")
            Augmenter(rotate, flip, zoom, brightness, noise; strength=1, seed=0)
        """
        check_value(name, PresetName, "augmentation preset")
        return cls([step_from_dict(step) for step in PRESETS[name]["steps"]], strength=strength, seed=seed)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make an augmenter from plain data, such as a table of a recipe.

        Args:
            data: ``strength``, ``seed``, and ``preset``, ``steps`` (a list of tables) or both: the steps then follow
                the preset's. ``preset`` is a name, or a list of names, of which each image draws one.

        Raises:
            UnknownNameError: A field, preset or step that does not exist.

        Examples:
            >>> Augmenter.from_dict({"preset": "report", "seed": 7, "steps": [{"step": "jpeg"}]})
            Augmenter(rotate, flip, zoom, brightness, noise, jpeg; strength=1, seed=7)
            >>> "stain_hed" in Augmenter.from_dict({"preset": ["challenge", "stain"]}).names()
            True
        """
        return cls.from_table(data, "augmenter")

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Make an augmenter from the table of a recipe; see ``from_dict``."""
        check_table(table, where, _FIELDS)
        named = table.get("preset")
        made = construct(cls, {key: value for key, value in table.items() if key != "preset"}, where)
        if named is None:
            return made
        several = isinstance(named, list | tuple)
        names = named if several else [named]
        for name in names:
            check_value(name, PresetName, f"{where} preset")
        lists = [list(cls.preset(name).steps) for name in names]
        steps: list[Step] = [SomeOf(steps=[AllOf(steps=one) for one in lists])] if several else lists[0]
        return made.set_params(steps=[*steps, *made.steps])

    def replace(self, *, strength: float | None = None, seed: int | None = None) -> Augmenter:
        """Give the same steps with another strength or seed."""
        return Augmenter(
            self.steps,
            strength=self.strength if strength is None else strength,
            seed=self.seed if seed is None else seed,
        )

    def check(self, image_shape: Sequence[int] | None = None) -> None:
        """Refuse what cannot work, before any work is done.

        Args:
            image_shape: (height, width, 3) of the images, if known.

        Raises:
            OptionError: A step's value cannot be used, or an image is too small for a blur.
        """
        check_parameters(self)
        for step in self.steps:
            step.check()
        if image_shape is not None:
            height, width = image_shape[:2]
            for name, values in self.draw(["0"]).items():
                if name.endswith("kernel_weights") and values.shape[-1] > 2 * min(height, width):
                    side = values.shape[-1]
                    raise OptionError(f"a blur of {side}x{side} pixels does not fit {height}x{width} images; lower it")
            _check_size(image_shape)

    @cached_property
    def _stages(self) -> list[tuple[int, list[Step] | AugMix]]:
        """Group the steps: those that are fused with each other, and every AugMix on its own."""
        stages: list[tuple[int, list[Step] | AugMix]] = []
        for place, step in enumerate(self.steps):
            if isinstance(step, AugMix):
                stages.append((place, step))
            elif stages and isinstance(stages[-1][1], list):
                stages[-1][1].append(step)
            else:
                stages.append((place, [step]))
        return stages

    @property
    def _layout(self) -> Layout:
        return tuple((place, stage.width if isinstance(stage, AugMix) else 0) for place, stage in self._stages)

    def draw(self, ids: Sequence[object] | NDArray[Any], epoch: int = 0) -> Arrays:
        """Draw what happens to each image.

        Args:
            ids: N texts (or numbers, which count as their text).
            epoch: Each epoch draws anew.

        Returns:
            Arrays whose first axis is the image. Their types and other axes depend on the steps only, so
            that they can be stacked, cut and compiled against.
        """
        rng = ImageRng.of(ids, seed=self.seed, epoch=epoch)
        everyone = np.ones(len(rng), bool)
        out: Arrays = {}

        def add(prefix: str, program: Program) -> None:
            out.update({f"{prefix}/{key}": value for key, value in program.arrays().items()})

        for place, stage in self._stages:
            own = rng.child(f"stage {place}")
            if isinstance(stage, AugMix):
                active = everyone & own.chance(stage.rate) & (self.strength > 0)
                out[f"{place}/blend"] = stage.blend(own, active).astype(np.float32)
                for chain in range(stage.width):
                    program = Program(len(rng))
                    stage.emit(own.child(f"chain {chain}"), program, active, self.strength)
                    add(f"{place}/{chain}", program)
            else:
                program = Program(len(rng))
                run_steps(stage, own, program, everyone, self.strength)
                add(f"{place}", program)
        return out

    def apply(self, images: Tensor, params: Mapping[str, Tensor], *, together: bool = True) -> Tensor:
        """Do what was drawn: pure `keras.ops`, traceable and jit-safe, shapes static.

        Args:
            images: (N, H, W, 3) uint8 or float32, 0-255; N, H and W known.
            params: What `draw` gave for these images.
            together: All images at once, which is faster on a GPU; False takes one after the other and skips what an
                image does not need, which is faster on a CPU. Changes the speed only.

        Returns:
            (N, H, W, 3) of the type that came in; float images come back in whole levels.
        """
        from cellclf.augmentation.kernels import engine

        return engine.apply(images, params, self._layout, together=together)

    def __call__(
        self, images: NDArray[Any], ids: Sequence[object] | NDArray[Any] | None = None, epoch: int = 0
    ) -> NDArray[Any]:
        """Draw and apply, compiled where the backend can.

        Args:
            images: (N, H, W, 3) uint8 or float32, 0-255.
            ids: N texts; None counts the images from 0.
            epoch: Each epoch draws anew.

        Returns:
            A new array like ``images``.

        Raises:
            DataError: Images of another shape or type, floats within 0-1, or another number of ids.
            OptionError: A tensor without values, as inside of ``Dataset.map``; ``map`` augments a data set.
        """
        if hasattr(images, "graph"):  # a tensor of TensorFlow without a value
            raise OptionError(
                "the images have no values yet, as inside of Dataset.map, where it is not known which image is which; "
                "expected augmenter.map(dataset) in place of dataset.map(...): it takes (images, labels), too"
            )
        self.check()
        images = check_pixels(images)
        ids = _checked_ids(images, str(images.dtype), ids)
        return self._run(images, ids, epoch, gpu=has_gpu())

    def on_device(self, images: Tensor, ids: Sequence[object] | NDArray[Any] | None = None, epoch: int = 0) -> Tensor:
        """Draw and apply to a batch that may be on a device already; the result remains there.

        The same as calling the augmenter, without a copy to the host and back. It is compiled once for each size of
        batch, so give batches of one size; `cellclf.training.DeviceBatches` also holds the images and their order.

        Args:
            images: (N, H, W, 3) uint8 or float32, 0-255: a tensor of the backend of Keras, or an array. The values are
                not looked at.
            ids: N texts; None counts the images from 0.
            epoch: Each epoch draws anew.

        Returns:
            A new tensor like ``images``.

        Raises:
            DataError: Images of another shape or type, or another number of ids.

        Examples:
            >>> from keras import ops
            >>> images = ops.zeros((2, 16, 16, 3), "uint8")
            >>> altered = Augmenter.preset("light").on_device(images, ids=["a", "b"], epoch=3)
            >>> tuple(altered.shape)
            (2, 16, 16, 3)
        """
        from keras.backend import standardize_dtype

        if not hasattr(images, "shape") or not hasattr(images, "dtype"):
            raise DataError(f"images={shortened(images)}; expected a tensor or an array (N, H, W, 3)")
        ids = _checked_ids(images, standardize_dtype(images.dtype), ids)
        return run_whole(partial(self.draw, epoch=epoch), self._layout, images, ids, gpu=has_gpu())

    def _run(
        self, images: NDArray[Any], ids: Sequence[object] | NDArray[Any], epoch: int, *, gpu: bool
    ) -> NDArray[Any]:
        return run_blocks(partial(self.draw, epoch=epoch), self._layout, images, ids, gpu=gpu)

    def map(self, dataset: Any, *, has_ids: bool = False, epoch: int | None = None) -> Any:
        """Augment a `tf.data.Dataset`, in parallel with the work that consumes it.

        An image's id is the last member of its element with ``has_ids=True`` (texts or whole numbers; it is
        dropped from the result), otherwise its place in the data set: 0, 1, ... Give ids when a data set is
        shuffled before this; otherwise what happens to an image depends on its place in the shuffled order.

        Args:
            dataset: Elements are images, (images, labels) or (images, labels, weights), batched or not; images
                (..., H, W, 3) uint8 or float32 0-255, H and W known.
            has_ids: Whether one more member, the last, holds the ids.
            epoch: Draw for this epoch each time; None counts how often the data set has been iterated over.

        Returns:
            A dataset of the same elements (without ids), types and static shapes.

        Raises:
            DataError: Elements of another form.
        """
        from cellclf.backends.tf_data import map_dataset

        augment = partial(self._run, gpu=False)
        return map_dataset(augment, dataset, check=refuse_unit_range, has_ids=has_ids, epoch=epoch)

    def expand(
        self,
        cells: Cells,
        *,
        copies: Copies | None = None,
        strengths: Strengths = (1.0,),
        per_class: PerClass | None = None,
    ) -> ImageSet:
        """Write an augmented data set: the originals, then augmented copies of them.

        A copy's id is its original's with ``@aug1``, ``@aug2`` ...; it has its label, group, size and cluster
        (a cluster of its own where there was none), so that a split keeps an original and its copies together.

        Args:
            cells: The images.
            copies: Copies of each image; None makes one for each strength.
            strengths: The first copy has the first strength, and so on, over and over.
            per_class: Instead of ``copies``: fill every class up to this many images, or with "max" to the
                largest class. Classes that are larger stay as they are.

        Returns:
            A new set, in memory.

        Raises:
            OptionError: Both ``copies`` and ``per_class``, or values that cannot be used.
            DataError: ``per_class`` for a set without labels.
        """
        cells = as_cells(cells)
        self.check(cells.image_shape)

        check_arguments(Augmenter.expand, copies=copies, strengths=strengths, per_class=per_class)

        def augment(images: NDArray[np.uint8], ids: NDArray[Any], strength: float) -> NDArray[np.uint8]:
            return self.replace(strength=self.strength * strength)(images, ids)

        # plain: counts that come from a search are numpy's
        return with_copies(cells, augment, copies=plain(copies), strengths=plain(strengths), per_class=plain(per_class))

    def plot(self, cells: Cells, *, images: int = 6, n_augmentations: int = 9) -> Figure:
        """Draw a sheet: in each row an original and augmented versions of it.

        Args:
            cells: Where the images come from; they are taken evenly from the set.
            images: Rows.
            n_augmentations: Augmented images a row.
        """
        cells = as_cells(cells)
        from cellclf.utils.contact_sheet import sheet

        rows = np.unique(np.linspace(0, len(cells) - 1, images).round().astype(int))
        originals = cells.read(rows)
        columns = [originals] + [self(originals, cells.ids[rows], epoch=epoch) for epoch in range(n_augmentations)]
        tiles = np.stack(columns, axis=1).reshape(-1, *cells.image_shape)
        captions = [
            f"augmented {k}" if k else str(cells.ids[row])[-14:] for row in rows for k in range(n_augmentations + 1)
        ]
        return sheet(tiles, captions=captions, columns=n_augmentations + 1, title=f"Augmented cells: {self!r}"[:150])

    def names(self) -> tuple[str, ...]:
        """Name every step that may happen, those inside other steps included."""
        return tuple(dict.fromkeys(name for step in self.steps for name in step.names()))


def _check_size(shape: Sequence[int]) -> None:
    height, width = shape[:2]
    if min(height, width) < 4:
        raise OptionError(f"images are {height}x{width}; expected at least 4x4")


def _checked_ids(images: Tensor, dtype: str, ids: Any) -> Any:
    """Give an id for each image, or refuse images or ids that are none."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[3] != 3 or dtype not in ("uint8", "float32"):
        raise DataError(f"images are {dtype} of shape {shape}; expected uint8 or float32 0-255 of shape (N, H, W, 3)")
    _check_size(shape[1:])
    ids = np.arange(shape[0]) if ids is None else ids
    if isinstance(ids, str) or not hasattr(ids, "__len__"):
        raise DataError(f"ids={shortened(ids)}; expected one id for each image")
    if len(ids) != shape[0]:
        raise DataError(f"{shape[0]} images came with {len(ids)} ids; expected one id for each image")
    if (different := len({str(id_) for id_ in ids})) < shape[0]:
        raise DataError(
            f"{shape[0]} images came with {different} different ids; expected another one for each image: images with "
            "one id are changed alike, and labels are no ids"
        )
    return ids
