"""Arguments by name, as scikit-learn's ``clone`` and searches need them."""

from __future__ import annotations

import inspect
from typing import Any, Self

from cellclf.errors import unknown


class Params:
    """For objects that store their constructor's arguments under their own names.

    Examples:
        >>> class Step(Params):
        ...     def __init__(self, *, size: int = 3) -> None:
        ...         self.size = size
        >>> Step().set_params(size=5).get_params()
        {'size': 5}
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name.

        Args:
            deep: For scikit-learn; no argument is an estimator with arguments of its own.
        """
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change arguments by name.

        Raises:
            UnknownNameError: The constructor has no argument of that name.
        """
        names = list(inspect.signature(type(self)).parameters)
        for name, value in params.items():
            if name not in names:
                raise unknown(f"parameter of {type(self).__name__}", name, names)
            setattr(self, name, value)
        return self
