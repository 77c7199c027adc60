"""Scores with intervals, calibration, conformal sets, out-of-distribution tests, saliency, label noise."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
