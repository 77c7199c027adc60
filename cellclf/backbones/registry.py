"""All backbones by name: the built-in ones and those of plugins. Nothing here imports Keras."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cellclf.backbones import applications, custom
from cellclf.backbones.spec import BackboneSpec, Pretrained
from cellclf.errors import OptionError, PluginError, UnknownNameError, unknown
from cellclf.plugins.discovery import Found, brief, find_plugins


@dataclass(frozen=True)
class Plugin:
    """The backbones of one entry point, or the reason why it has none.

    Args:
        name: Name of the entry point, the prefix in ``plugin:backbone``.
        package: Name of the package that provides it.
        version: The package's version.
        backbones: The backbones that can be used.
        error: What is wrong, in one line, or None. The plugin's other backbones remain usable.
    """

    name: str
    package: str
    version: str
    backbones: tuple[BackboneSpec, ...] = ()
    error: str | None = None

    @property
    def adds(self) -> tuple[str, ...]:
        """Full names of its backbones."""
        return tuple(f"{self.name}:{spec.name}" for spec in self.backbones)


@dataclass(frozen=True)
class Listed:
    """One backbone that is available.

    Args:
        name: Its full name, which is unambiguous: ``"resnet50"``, or ``"plugin:name"`` for a plugin's.
        short: The short name that means this backbone, or None where another has it.
        plugin: Name of the plugin that provides it, or None for a built-in one.
        spec: Its description.
    """

    name: str
    short: str | None
    plugin: str | None
    spec: BackboneSpec


class Registry:
    """A fixed set of backbones, found by full or short name.

    Args:
        plugins: What ``discover()`` found.
        builtin: The built-in backbones, whose names no plugin can take.

    Examples:
        >>> Registry(plugins=()).find("mobilenet").spec.params
        {'alpha': 1.0}
    """

    def __init__(self, *, plugins: Iterable[Plugin], builtin: Iterable[BackboneSpec] | None = None) -> None:
        self.plugins = tuple(plugins)
        own = tuple((*applications.SPECS, *custom.SPECS) if builtin is None else builtin)
        added = [(plugin.name, spec) for plugin in self.plugins for spec in plugin.backbones]
        taken = {spec.name for spec in own}
        names = [spec.name for _, spec in added]
        self._short: dict[str, list[str]] = {}
        listed = [Listed(spec.name, spec.name, None, spec) for spec in own]
        for plugin, spec in added:
            full = f"{plugin}:{spec.name}"
            clash = spec.name in taken or names.count(spec.name) > 1
            listed.append(Listed(full, None if clash else spec.name, plugin, spec))
            if spec.name not in taken:
                self._short.setdefault(spec.name, []).append(full)
        self.backbones = tuple(listed)

    def find(self, name: str) -> Listed:
        """Return the backbone of that full or short name.

        Raises:
            UnknownNameError: There is none, or the short name means several.
        """
        for entry in self.backbones:
            if name in (entry.name, entry.short):
                return entry
        several = self._short.get(name, [])
        if several:
            raise UnknownNameError(f"the backbone name {name!r} is ambiguous: use {' or '.join(map(repr, several))}")
        broken = next((plugin for plugin in self.plugins if plugin.error and plugin.name == name.split(":")[0]), None)
        if broken is not None:
            raise UnknownNameError(
                f"there is no backbone {name!r}: the plugin {broken.name!r} is broken: {broken.error}"
            )
        raise unknown("backbone", name, [entry.short or entry.name for entry in self.backbones])


def discover(environ: Mapping[str, str] | None = None) -> tuple[Plugin, ...]:
    """Load the plugins of the installed packages and check their backbones.

    Args:
        environ: See ``find_plugins``.

    Returns:
        A record of every plugin that was looked for, the broken ones with their error.

    Examples:
        >>> discover({"CELLCLF_PLUGINS": ""})
        ()
    """
    return tuple(_checked(found) for found in find_plugins(environ))


def _checked(found: Found) -> Plugin:
    good: dict[str, BackboneSpec] = {}
    errors = [found.error] if found.error else []
    for spec in found.offered:
        try:
            _accept(spec, good)
        except (OptionError, PluginError) as error:
            errors.append(str(error))
    return Plugin(found.name, found.package, found.version, tuple(good.values()), "; ".join(errors) or None)


def _accept(spec: object, good: dict[str, BackboneSpec]) -> None:
    if not isinstance(spec, BackboneSpec):
        raise PluginError(f"cellclf_backbones returned {brief(spec)} in its list, expected BackboneSpec")
    spec.check()
    if spec.name in good:
        raise PluginError(f"backbone {spec.name!r} is defined twice: the first is kept")
    good[spec.name] = spec


@functools.cache
def registry() -> Registry:
    """Return the registry of this process, created at the first call.

    It is a cache, not a store: after ``registry.cache_clear()`` the next call looks for plugins again, and
    ``Registry(plugins=discover())`` is an independent one.
    """
    return Registry(plugins=discover())


def list_backbones() -> tuple[Listed, ...]:
    """Return every available backbone, the built-in ones first.

    Examples:
        >>> [entry.name for entry in list_backbones()][:3]
        ['resnet50', 'inceptionv3', 'xception']
    """
    return registry().backbones


def list_pretrained() -> tuple[tuple[Listed, Pretrained], ...]:
    """Return the published weights that are on this machine, with their backbones; nothing is downloaded.

    Examples:
        >>> all(entry.spec.pretrained for entry, _ in list_pretrained())
        True
    """
    return tuple((entry, one) for entry in list_backbones() for one in entry.spec.pretrained if _is_here(one))


def _is_here(weights: Pretrained) -> bool:
    try:
        return bool(weights.at_hand())
    except Exception:  # a plugin's function can raise anything; what it cannot say is not here
        return False


def list_plugins() -> tuple[Plugin, ...]:
    """Return every plugin that was looked for, the broken ones with their error."""
    return registry().plugins
