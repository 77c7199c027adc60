"""What each backend offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

Batch = tuple[NDArray[Any], ...]
"""Images or features, one-hot labels and weights of one batch, or, with one axis more, of several."""

Group = tuple[Any, Any, int]
"""What is held on the device, what was drawn for some batches (one axis more than for one), and how many these are:
the arrays may be longer, so that all groups have one shape."""

Moving = Sequence[tuple[Any, Any]]
"""Pairs of a Keras variable that is trained, and the one that holds its moving average."""

Train = Callable[[Iterable[Any], Callable[[], None], Callable[[int], bool]], None]
"""Trains on batches or groups: before the first, the second argument is called; after each, the third with the number
of batches that were done; True ends the training. The variables of the model are then up to date."""


class Backend(Protocol):
    """The functions of one backend; each file beside this one is one."""

    __name__: str
    TITLE: str
    """What people call it."""
    PACKAGES: tuple[str, ...]
    """The packages that it is installed from."""

    def version(self) -> str:
        """Give its version, as it stands in the key of a feature cache."""
        ...

    def gpus(self) -> list[str]:
        """Name the GPUs that it would use."""
        ...

    def on_processor(self) -> AbstractContextManager[Any]:
        """Give a block in which it computes on the processor, also where there is a GPU."""
        ...

    def devices(self, count: int) -> AbstractContextManager[Any]:
        """Give the scope in which a model that ``count`` devices share is built and trained.

        Raises:
            OptionError: The machine has fewer, or this backend cannot share a batch.
        """
        ...

    def shares_batches(self) -> bool:
        """Whether this is inside of such a scope."""
        ...

    def make_deterministic(self) -> None:
        """Let the process use only operations that repeat bit for bit.

        Raises:
            OptionError: It is too late for that, or it needs another setting.
        """
        ...

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Compile a pure function of arrays and dicts of arrays, where that pays.

        Each function is called with one kind of shapes only.
        """
        ...

    def forward(self, model: Any, rows: int | None = None) -> Callable[[NDArray[Any]], Any]:
        """Compile the forward pass of a Keras model, in inference.

        Args:
            model: Its weights may change afterwards, its layers and their precision may not.
            rows: Images at a time; None for any number.

        Returns:
            From (n, ...) to the output as an array, or to a list of all outputs.
        """
        ...

    def slopes(self, front: Any, rest: Callable[[Any], Any]) -> Callable[[NDArray[Any], Any], tuple[NDArray[Any], ...]]:
        """Compile the gradient of a class's score with respect to a layer.

        Args:
            front: Keras model from images to the layer's output.
            rest: From that output to (n, K) scores before the softmax.

        Returns:
            From (n, ...) images and n classes, None for the highest scores, to the layer's output, its gradients (both
            (n, h, w, c) float32), scores (n, K) and classes (n,).
        """
        ...

    def batches(
        self, make: Callable[[], Iterator[Batch]], entries: Sequence[tuple[tuple[int | None, ...], Any]], count: int
    ) -> Iterable[Any]:
        """Make batches ready some steps ahead of the training.

        Args:
            make: Begins anew and gives one batch after the other.
            entries: Shape and type of each array of a batch; None where batches differ.
            count: How many batches there are.
        """
        ...

    def train_batches(self, model: Any) -> Train:
        """Make what trains a compiled model, whose metrics are built, on what ``batches`` gives."""
        ...

    def train_groups(self, model: Any) -> Train:
        """Make what trains a compiled model on several batches in one call, from arrays with one axis more.

        It is valid until the model is compiled again.
        """
        ...

    def place(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Copy arrays to the device on which Keras computes."""
        ...

    def train_drawn(self, model: Any, make: Callable[[Any, Any], tuple[Any, ...]], moving: Moving = ()) -> Train:
        """Make what trains a compiled model on groups of batches that are made on the device, each in one call.

        It is valid until the model is compiled again.

        Args:
            model: With a running loss and an accuracy, whose metrics are built.
            make: Pure function that can be compiled: from what is held and what was drawn for one batch to its images,
                labels, weights, and 1 for each row that counts, 0 for one that only fills the batch up.
            moving: Averages that follow each step by the share ``drawn["follow"]``.

        Returns:
            Takes ``Group``s.
        """
        ...
