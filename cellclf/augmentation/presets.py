"""Ready-made augmenters, as data.

A preset holds what a recipe would: a list of steps.
"""

from __future__ import annotations

from typing import Any, Literal

Preset = dict[str, Any]
PresetName = Literal["none", "report", "light", "challenge", "stain", "laboratory"]

_REPORT: list[dict[str, Any]] = [
    {"step": "rotate", "degrees": 180.0},
    {"step": "flip"},
    {"step": "zoom", "low": 0.9, "high": 1.1},
    {"step": "brightness", "low": 0.8, "high": 1.2},
    {"step": "noise", "low": 0.0, "high": 8.0},
]

_LIGHT: list[dict[str, Any]] = [
    {"step": "flip"},
    {"step": "rotate", "degrees": 180.0},
    {"step": "crop", "rate": 0.5, "area": 0.8, "aspect": 1.1},
    {"step": "brightness", "rate": 0.5, "low": 0.85, "high": 1.15},
    {"step": "contrast", "rate": 0.5, "low": 0.85, "high": 1.15},
    {"step": "saturation", "rate": 0.5, "low": 0.8, "high": 1.2},
    {"step": "noise", "rate": 0.3, "low": 0.0, "high": 6.0},
]

_CHALLENGE: list[dict[str, Any]] = [
    {"step": "flip"},
    {"step": "rotate", "rate": 0.5, "degrees": 180.0},
    {"step": "seam", "rate": 0.1},
    {"step": "crop", "rate": 0.3, "area": 0.75, "aspect": 1.2},
    {
        "step": "rand_augment",
        "rate": 0.6,
        "count": 3,
        "magnitude": 0.5,
        "deviation": 0.2,
        "shear": 0.8,
        "translate": 0.5,
    },
    {"step": "brightness", "rate": 0.2, "low": 0.6, "high": 1.4},
    {"step": "saturation", "rate": 0.2, "low": 0.3, "high": 1.9},
    {"step": "contrast", "rate": 0.2, "low": 0.5, "high": 1.6},
    {"step": "channel_shift", "rate": 0.2, "levels": 40.0},
    {"step": "shear", "rate": 0.3, "low": 0.0, "high": 0.5},
    {"step": "seam", "rate": 0.25, "mirror": [0.1, 0.35]},
    {
        "step": "some_of",
        "rate": 0.3,
        "count": 1,
        "steps": [
            {"step": "grey"},
            {"step": "invert"},
            {"step": "solarise", "low": 64.0, "high": 224.0},
            {"step": "equalise"},
            {"step": "hue", "degrees": 180.0},
            {"step": "channel_shuffle"},
            {"step": "gamma", "low": 0.5, "high": 2.0},
            {"step": "posterise", "bits": 3},
        ],
    },
    {
        "step": "some_of",
        "rate": 0.3,
        "count": 1,
        "steps": [
            {"step": "blur", "low": 0.3, "high": 1.2},
            {"step": "noise", "low": 1.0, "high": 16.0},
            {"step": "jpeg", "low": 15.0, "high": 80.0},
            {"step": "sharpness", "low": 0.0, "high": 4.0},
        ],
    },
    {"step": "cutout", "rate": 0.2, "low": 0.1, "high": 0.35, "fill": [0, 128, 255]},
    {"step": "gridmask", "rate": 0.1},
]

_STAIN: list[dict[str, Any]] = [
    {"step": "flip"},
    {"step": "rotate", "degrees": 180.0},
    {"step": "zoom", "low": 0.7, "high": 1.5},
    {"step": "aspect", "rate": 0.3, "low": 0.85, "high": 1.18},
    {"step": "translate", "rate": 0.5, "low": 0.0, "high": 0.15},
    {
        "step": "some_of",
        "rate": 0.9,
        "count": 1,
        "steps": [
            {"step": "stain_hed", "theta": 0.2},
            {"step": "stain_lab", "mean": [8.0, 6.0, 8.0], "spread": 0.2},
        ],
    },
    {"step": "hue", "rate": 0.3, "degrees": 20.0},
    {"step": "saturation", "rate": 0.3, "low": 0.4, "high": 1.6},
    {"step": "gamma", "rate": 0.3, "low": 0.7, "high": 1.4},
    {"step": "channel_shift", "rate": 0.3, "levels": 20.0},
    {"step": "grey", "rate": 0.05},
    {
        "step": "some_of",
        "rate": 0.5,
        "count": 1,
        "steps": [
            {"step": "blur", "low": 0.3, "high": 1.6},
            {"step": "defocus", "low": 0.5, "high": 2.2},
            {"step": "sharpness", "low": 0.2, "high": 3.0},
            {"step": "noise", "low": 1.0, "high": 10.0},
            {"step": "jpeg", "low": 25.0, "high": 90.0},
        ],
    },
]

_LABORATORY: list[dict[str, Any]] = [
    {"step": "background", "rate": 0.2},
    {"step": "flip"},
    {"step": "rotate", "degrees": 180.0},
    {"step": "crop", "rate": 0.3, "area": 0.5, "aspect": 1.2},
    {"step": "zoom", "rate": 0.8, "low": 0.6, "high": 1.6},
    {"step": "aspect", "rate": 0.3, "low": 0.75, "high": 1.33},
    {"step": "translate", "rate": 0.4, "low": 0.0, "high": 0.15},
    {
        "step": "some_of",
        "rate": 0.85,
        "count": 1,
        "steps": [
            {"step": "stain_vectors", "low": 0.5, "high": 1.8, "theta": 0.2, "mixing": 0.08},
            {"step": "stain_lab", "mean": [8.0, 6.0, 8.0], "spread": 0.2},
            {"step": "tone_curve", "spread": 0.7, "ends": 0.2, "channels": 0.3},
            {"step": "hue", "degrees": 30.0},
            {"step": "saturation", "low": 0.3, "high": 1.7},
        ],
    },
    {"step": "grey", "rate": 0.05},
    {"step": "illumination", "rate": 0.2, "slope": 0.8, "rim": 0.6},
    {
        "step": "some_of",
        "rate": 0.3,
        "count": 1,
        "steps": [
            {"step": "blur", "low": 0.3, "high": 1.6},
            {"step": "defocus", "low": 0.5, "high": 2.2},
            {"step": "sharpness", "low": 0.2, "high": 3.0},
        ],
    },
    {"step": "noise", "rate": 0.2, "low": 1.0, "high": 20.0},
    {"step": "jpeg", "rate": 0.2, "low": 10.0, "high": 80.0},
]

PRESETS: dict[str, Preset] = {
    "none": {"summary": "Nothing.", "steps": []},
    "report": {
        "summary": "Rotation, flips, zoom, brightness, Gaussian noise; no translation, so that the cell stays centred.",
        "steps": _REPORT,
    },
    "light": {
        "summary": "Turns, flips, small crops, a little light and colour: for data like the training data.",
        "steps": _LIGHT,
    },
    "challenge": {
        "summary": "Strips, mirror seams, shear, strong light and colour, blur, noise, JPEG, masks: for altered data.",
        "steps": _CHALLENGE,
    },
    "stain": {
        "summary": "Stain, white balance, scale, focus and compression: for another laboratory and another microscope.",
        "steps": _STAIN,
    },
    "laboratory": {
        "summary": "Background, scale, stain, camera, light, focus, noise: for other laboratories and microscopes.",
        "steps": _LABORATORY,
    },
}
