"""Find plugins among the installed packages; a broken one is recorded with its error and stops nothing.

Entry points are loaded one by one, each into a plugin manager of its own, so that no plugin is affected by
another's failure (pluggy's own loader stops at the first).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version

import pluggy

from cellclf.errors import PluginError
from cellclf.plugins import hookspecs

GROUP = "cellclf"
VARIABLE = "CELLCLF_PLUGINS"


@dataclass(frozen=True)
class Found:
    """What one entry point offers, unchecked, or why it offers nothing.

    Args:
        name: Name of the entry point, the prefix in ``plugin:backbone``.
        package: Name of the package that offers it.
        version: The package's version.
        offered: What its hooks returned, unchecked: the rooms that use the objects check them.
        error: What is wrong, in one line, or None.
    """

    name: str
    package: str
    version: str
    offered: tuple[object, ...] = ()
    error: str | None = None


def find_plugins(environ: Mapping[str, str] | None = None) -> tuple[Found, ...]:
    """Load the plugins of the installed packages, in the order of their names.

    Args:
        environ: Where to look for ``CELLCLF_PLUGINS``: unset loads all plugins, empty none, else a comma list of names.
            None is ``os.environ``.

    Returns:
        A record of every plugin that was asked for, the broken ones with their error.

    Examples:
        >>> find_plugins({"CELLCLF_PLUGINS": ""})
        ()
    """
    asked = _asked(os.environ if environ is None else environ)
    if asked is not None and not asked:
        return ()
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _package(entry)))
    installed = {entry.name for entry in found}
    plugins: dict[str, Found] = {}
    clashing: list[Found] = []
    for entry in found:
        if asked is not None and entry.name not in asked:
            continue
        if entry.name in plugins:
            owner = plugins[entry.name].package
            clashing.append(
                _record(
                    entry, error=f"the plugin name {entry.name!r} is taken by package {owner!r}: rename one of the two"
                )
            )
        else:
            plugins[entry.name] = _load(entry)
    offered = ", ".join(sorted(installed)) or "none"
    missing = [
        Found(
            name,
            "",
            "",
            error=f"{VARIABLE} names it, but no installed package offers it; there are: {offered}",
        )
        for name in asked or ()
        if name not in installed
    ]
    return tuple(sorted([*plugins.values(), *clashing, *missing], key=lambda plugin: plugin.name))


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None where it is not installed.

    Examples:
        >>> installed_version("no-such-package") is None
        True
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _asked(environ: Mapping[str, str]) -> list[str] | None:
    if VARIABLE not in environ:
        return None
    return [name.strip() for name in environ[VARIABLE].split(",") if name.strip()]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else ""


def _record(entry: EntryPoint, *, offered: Iterable[object] = (), error: str | None = None) -> Found:
    version = entry.dist.version if entry.dist else ""
    return Found(entry.name, _package(entry), version, tuple(offered), error)


def _load(entry: EntryPoint) -> Found:
    try:
        return _record(entry, offered=_ask(entry))
    # a plugin is third-party code: whatever it raises is its own error (SystemExit: a module that calls sys.exit)
    except (Exception, SystemExit) as error:
        return _record(entry, error=one_line(error))


def _ask(entry: EntryPoint) -> list[object]:
    """Call the plugin's hook and return what it offers, unchecked."""
    plugin = entry.load()
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, entry.name)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            f"{entry.value} implements no hook of cellclf: mark a function cellclf_backbones with cellclf.hookimpl"
        )
    offered: list[object] = []
    for answer in manager.hook.cellclf_backbones():
        if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
            raise PluginError(f"cellclf_backbones returned {brief(answer)}, expected a list of BackboneSpec")
        offered.extend(answer)
    return offered


def brief(thing: object) -> str:
    """Describe an object in a few words: its type, and its text, shortened."""
    text = repr(thing)
    return f"a {type(thing).__name__} ({text if len(text) <= 60 else text[:57] + '...'})"


def one_line(error: BaseException) -> str:
    """Give the message of an error in one line, with its type."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
