"""The hooks that a plugin may implement.

A plugin is a module (or an object) that a package offers as an entry point of the group ``cellclf``::

    [project.entry-points.cellclf]
    tinyvgg = "cellclf_tinyvgg"

and that implements one or more of these hooks, marked with ``cellclf.hookimpl``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

PROJECT = "cellclf"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook of the same name."""


@hookspec
def cellclf_backbones() -> Iterable[Any]:  # type: ignore[empty-body]  # pluggy reads only the signature
    """Return the ``cellclf.BackboneSpec``s that this plugin adds. Must not import keras, so that listing is fast."""
