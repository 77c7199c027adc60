"""A broken plugin is recorded with its error and stops nothing; names that clash stay reachable."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import numpy as np
import pytest

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.registry import Plugin, Registry, discover, list_backbones, list_plugins, registry
from cellclf.errors import UnknownNameError
from cellclf.plugins import discovery

Install = Callable[..., None]

GOOD = """
    from cellclf import BackboneSpec, hookimpl

    def build(input_shape, *, weights, width):
        import keras
        pixels = keras.Input(input_shape, name="pixels")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
        x = keras.layers.Conv2D(width, 3, name="conv1")(x)
        return keras.Model(pixels, keras.layers.Conv2D(width, 3, name="conv2")(x))

    SPEC = BackboneSpec(name="{name}", build=build, summary="two convolutions", source="a test", min_size=5,
                        blocks=("conv1", "conv2"), params={{"width": 4}})

    @hookimpl
    def cellclf_backbones():
        return [SPEC]
"""

BROKEN = {
    "import": ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
    "syntax": ("def (", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "hookless": ("x = 1", "implements no hook"),
    "misspelt": (
        "from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbone(): return []",
        "unknown hook 'cellclf_backbone'",
    ),
    "raises": (
        "from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbones(): raise RuntimeError('two\\nlines')",
        "RuntimeError: two lines",
    ),
    "late": (
        "from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbones():\n    yield 1 / 0",
        "ZeroDivisionError",
    ),
    "number": ("from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbones(): return 7", "returned a int (7)"),
    "text": ("from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbones(): return 'net'", "returned a str"),
    "items": ("from cellclf import hookimpl\n@hookimpl\ndef cellclf_backbones(): return ['net']", "in its list"),
    "alone": (GOOD.format(name="net").replace("[SPEC]", "SPEC"), "returned a BackboneSpec"),
    "newer": (
        GOOD.format(name="net").replace('"a test"', '"a test", api=2'),
        "plugin API 2, this cellclf has 1: upgrade cellclf",
    ),
    "older": (GOOD.format(name="net").replace('"a test"', '"a test", api=0'), "upgrade the plugin"),
    "badname": (GOOD.format(name="My Net"), "the name must be"),
    "field": (
        GOOD.format(name="net").replace('"a test"', '"a test", future=1'),
        "unexpected keyword argument 'future'",
    ),
}


def entries(folder: Path, group: str) -> list[EntryPoint]:
    """List the entry points of one folder, so that plugins which are installed here do not count."""
    found = (entry for package in distributions(path=[str(folder)]) for entry in package.entry_points)
    return [entry for entry in found if entry.group == group]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return ``install(plugin, code, version="1.0")``: a package on sys.path whose entry point is that plugin."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(discovery, "entry_points", lambda group: entries(tmp_path, group))
    modules: list[str] = []

    def install(plugin: str, code: str, *, version: str = "1.0", package: str | None = None) -> None:
        package = package or f"pkg-{plugin}"
        module = package.replace("-", "_")
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[cellclf]\n{plugin} = {module}\n")
        registry.cache_clear()

    yield install
    for module in modules:
        sys.modules.pop(module, None)
    registry.cache_clear()


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_recorded_and_stops_nothing(install: Install, kind: str) -> None:
    code, message = BROKEN[kind]
    install("aaa-broken", code)
    install("zzz-good", GOOD.format(name="fine"))
    broken, good = list_plugins()
    assert (broken.name, broken.package, broken.version, broken.adds) == ("aaa-broken", "pkg-aaa-broken", "1.0", ())
    assert broken.error is not None and message in broken.error and "\n" not in broken.error
    assert good.error is None and good.adds == ("zzz-good:fine",)
    assert Backbone("fine").build((8, 8, 3)).output_shape == (None, 4, 4, 4)
    with pytest.raises(UnknownNameError, match="the plugin 'aaa-broken' is broken"):
        registry().find("aaa-broken:net")


def test_a_good_plugin_is_listed_without_keras_and_builds(install: Install, tmp_path: Path) -> None:
    install("tiny", GOOD.format(name="tinynet"), version="2.5")
    entry = registry().find("tinynet")
    assert (entry.name, entry.short, entry.plugin) == ("tiny:tinynet", "tinynet", "tiny")
    assert registry().find("tiny:tinynet") is entry
    backbone = Backbone("tinynet", params={"width": 2})
    assert backbone.name == "tiny:tinynet" and backbone.plugin == "tiny"
    model = backbone.build((8, 8, 3))
    assert model.predict(np.zeros((1, 8, 8, 3), np.uint8), verbose=0).shape == (1, 4, 4, 2)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from cellclf.backbones.registry import list_backbones, list_plugins\n"
        "assert any(e.name == 'tiny:tinynet' for e in list_backbones())\n"
        "assert [(p.package, p.version, p.error) for p in list_plugins()] == [('pkg-tiny', '2.5', None)]\n"
        "print(sorted({'keras', 'numpy', 'tensorflow'} & set(sys.modules)))"
    )
    env = {**os.environ, "CELLCLF_PLUGINS": "tiny"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"


def test_good_backbones_beside_a_bad_one_are_kept(install: Install) -> None:
    extra = (
        '[SPEC, SPEC, "bad", BackboneSpec(name="x", build=None, summary="s", source="s", min_size=1, blocks=("a",))]'
    )
    install("mixed", GOOD.format(name="fine").replace("[SPEC]", extra))
    (plugin,) = list_plugins()
    assert plugin.adds == ("mixed:fine",)
    assert plugin.error is not None
    for part in ("'fine' is defined twice", "a str ('bad')", "build is None"):
        assert part in plugin.error


def test_a_short_name_of_two_plugins_is_ambiguous(install: Install) -> None:
    install("one", GOOD.format(name="net"))
    install("two", GOOD.format(name="net"))
    with pytest.raises(UnknownNameError, match="ambiguous: use 'one:net' or 'two:net'"):
        Backbone("net").check((8, 8, 3))
    assert Backbone("two:net").name == "two:net"
    assert [entry.short for entry in list_backbones() if entry.plugin] == [None, None]


def test_a_built_in_name_cannot_be_taken(install: Install) -> None:
    install("thief", GOOD.format(name="resnet50"))
    assert registry().find("resnet50").plugin is None
    assert registry().find("thief:resnet50").plugin == "thief"


def test_two_packages_with_one_plugin_name(install: Install) -> None:
    install("tiny", GOOD.format(name="first"), package="a-first")
    install("tiny", GOOD.format(name="second"), package="b-second")
    first, second = list_plugins()
    assert first.adds == ("tiny:first",) and first.error is None
    assert second.adds == () and second.error is not None and "taken by package 'a-first'" in second.error


def test_the_environment_limits_the_plugins(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("one", GOOD.format(name="net1"))
    install("two", GOOD.format(name="net2"))
    install("bomb", "raise RuntimeError('must not be imported')")

    def names(value: str) -> list[str]:
        return [plugin.name for plugin in discover({"CELLCLF_PLUGINS": value})]

    assert names("") == [] and names(" , ") == []
    assert names("two") == ["two"] and names("two, one") == ["one", "two"]
    assert [plugin.name for plugin in discover({})] == ["bomb", "one", "two"]
    (lost,) = discover({"CELLCLF_PLUGINS": "tow"})
    assert lost.error is not None and "no installed package offers it; there are: bomb, one, two" in lost.error
    monkeypatch.setenv("CELLCLF_PLUGINS", "two")
    registry.cache_clear()
    assert [entry.name for entry in list_backbones() if entry.plugin] == ["two:net2"]
    assert "bomb" not in {plugin.name for plugin in list_plugins()}


def test_a_registry_of_ones_own_needs_no_reset(install: Install) -> None:
    install("tiny", GOOD.format(name="net"))
    mine = Registry(plugins=discover({"CELLCLF_PLUGINS": "tiny"}))
    assert mine.find("net").name == "tiny:net"
    assert Registry(plugins=[Plugin("p", "q", "1")]).find("mobilenet").short == "mobilenet"
    with pytest.raises(UnknownNameError, match="did you mean 'resnet50'"):
        Registry(plugins=()).find("resnet5")
