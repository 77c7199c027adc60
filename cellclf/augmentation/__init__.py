"""Augmentation on any device: steps, presets, mixing of images, and expansion of a set."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
