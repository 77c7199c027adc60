"""Compute: on what a training computes, and in which numbers; nothing of it is meant to change what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from annotated_types import Interval

from cellclf.utils.parameters import Params, check_parameters

Precision = Literal["mixed_bfloat16", "mixed_float16"]
PRECISIONS = get_args(Precision)


@dataclass(frozen=True, kw_only=True, eq=False)
class Compute(Params):
    """On what a training computes, and in which numbers.

    Args:
        precision: ``"mixed_bfloat16"`` or ``"mixed_float16"`` computes in 16 bits while it trains, which GPUs with
            tensor cores do faster; weights and the finished model are float32. None for float32. ``"auto"`` tries some
            steps in float32 and in mixed_bfloat16, on TensorFlow with and without XLA, before the training, and takes
            what is fastest, float32 where nothing is a tenth faster. A run that is resumed or repeated takes the same.
        jit_compile: Whether XLA compiles the training steps. ``"auto"`` leaves it to Keras, which does on a single GPU
            where all layers allow it and ``deterministic`` is False; on CPUs XLA mostly trains slower; True
            is refused on PyTorch. The manifest of a run says what was chosen.
        pipeline: Where batches are made. ``"device"`` holds the training images in the memory of the device, as far as
            they fit, augments them there, and does many steps in one compiled call; the host only draws numbers, ahead.
            ``"host"`` makes batches on the processor while the step before runs. ``"auto"`` takes the device on a GPU,
            and the host on a processor, which both share, or with several devices. The images are the same.
        devices: How many GPUs of this machine share each batch (logical CPUs where there is no GPU).
        deterministic: True asks the backend for operations that repeat bit for bit. This holds for the whole process;
            nothing else here changes the process.

    Examples:
        >>> Compute(precision="mixed_float16", devices=2).check()
    """

    precision: Precision | Literal["auto"] | None = None
    jit_compile: bool | Literal["auto"] = "auto"
    pipeline: Literal["auto", "host", "device"] = "auto"
    devices: Annotated[int, Interval(ge=1, le=1024)] = 1
    deterministic: bool = False

    def check(self) -> None:
        """Raise for values that cannot be used.

        Raises:
            OptionError: A value of the wrong kind or outside its range.
            UnknownNameError: No precision of that name.
        """
        check_parameters(self)
