"""cellclf: from a messy set of single-cell images to a classifier that works on next month's slides.

Everything public is reachable from here or from one of the folders and loaded at first use, so that ``import cellclf``
stays fast. The stub beside this file lists the names, for the program and for type checkers alike.
"""

import lazy_loader

__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
__all__ += ["__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)
