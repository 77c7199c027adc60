"""Plugins and backbones are listed, even if one of them is broken."""

from __future__ import annotations

from helpers.command import run

from cellclf.backbones.registry import registry


def test_plugins_and_backbones_are_listed_the_broken_one_with_its_error(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    registry.cache_clear()
    try:
        plugins, backbones = run("plugins").stdout, run("backbones").stdout
    finally:
        registry.cache_clear()
    assert "broken  (pkg-broken 1.0)\n    error: ModuleNotFoundError: No module named 'nowhere_to_be_found'" in plugins
    assert "good  (pkg-good 1.0)\n    adds good:twoconv" in plugins
    for name in ("good:twoconv", "mobilenet", "sequential", "residual", "inception"):
        assert f"{name}\n" in backbones
    assert '"width": 16' in backbones


def test_without_plugins_it_says_so(monkeypatch):
    monkeypatch.setenv("CELLCLF_PLUGINS", "")
    registry.cache_clear()
    try:
        assert run("plugins").stdout == "no plugin is installed\n"
    finally:
        registry.cache_clear()
