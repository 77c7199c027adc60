"""What may happen to an image: the steps, as data. Importing this folder registers all of them."""

from cellclf.augmentation.steps import background, camera, colour, geometry, masks, optics, policies, stain

__all__ = ["background", "camera", "colour", "geometry", "masks", "optics", "policies", "stain"]
