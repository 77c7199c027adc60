"""Draw, apply, call, data as plain tables: what every augmenter promises."""

from __future__ import annotations

import json
import time
import tomllib

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.presets import PRESETS
from cellclf.augmentation.steps.base import STEPS, step_from_dict
from cellclf.augmentation.steps.colour import Brightness
from cellclf.augmentation.steps.geometry import Flip, Rotate, Zoom
from cellclf.augmentation.steps.optics import Blur, Noise
from cellclf.augmentation.steps.policies import AllOf, AugMix, RandAugment, SomeOf
from cellclf.data.generated import make_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.utils.backend import chosen_backend

REPORT = Augmenter.preset("report", seed=7)
"""One for the whole file, so that it is compiled once."""

IMAGES = np.random.default_rng(0).integers(0, 256, (90, 12, 16, 3), dtype=np.uint8)
IDS = [f"cell {i}" for i in range(90)]
CELLS = make_cells(6, size=48, seed=3).images


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_draws_do_not_depend_on_the_batch(name, data):
    augmenter = Augmenter.preset(name, seed=data.draw(st.integers(-5, 5)))
    epoch = data.draw(st.integers(0, 1000))
    ids = data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True))
    whole = augmenter.draw(ids, epoch)
    for place, one in enumerate(ids):
        alone = augmenter.draw([one], epoch)
        assert alone.keys() == whole.keys()
        for key in whole:
            np.testing.assert_array_equal(alone[key][0], whole[key][place])


@pytest.mark.parametrize("size", [1, 7, 64, 90])
def test_images_do_not_depend_on_batch_size_or_order(size):
    whole = REPORT(IMAGES, IDS, epoch=2)
    order = np.random.default_rng(1).permutation(90)
    for start in range(0, 90, size)[:4]:
        rows = order[start : start + size]
        np.testing.assert_array_equal(REPORT(IMAGES[rows], [IDS[r] for r in rows], epoch=2), whole[rows])


def test_epochs_seeds_and_ids_draw_anew():
    first = REPORT(IMAGES[:4], IDS[:4], epoch=0)
    assert (REPORT(IMAGES[:4], IDS[:4], epoch=1) != first).any(axis=(1, 2, 3)).all()
    assert (REPORT(IMAGES[:4], IDS[4:8], epoch=0) != first).any(axis=(1, 2, 3)).all()
    other = REPORT.replace(seed=8).draw(IDS[:4])
    assert any((other[key] != value).any() for key, value in REPORT.draw(IDS[:4]).items())


def test_input_is_left_alone_and_types_stay():
    before = IMAGES.copy()
    as_bytes = REPORT(IMAGES[:5], IDS[:5])
    as_floats = REPORT(IMAGES[:5].astype(np.float32), IDS[:5])
    assert as_bytes.dtype == np.uint8 and as_floats.dtype == np.float32
    np.testing.assert_array_equal(as_bytes, as_floats)
    np.testing.assert_array_equal(IMAGES, before)


def test_apply_together_equals_one_by_one_and_compiled():
    augmenter = Augmenter.preset("challenge", seed=1)
    params = augmenter.draw(IDS[:20])
    whole = np.asarray(augmenter.apply(IMAGES[:20], params))
    np.testing.assert_array_equal(np.asarray(augmenter.apply(IMAGES[:20], params, together=False)), whole)
    compiled = augmenter(IMAGES[:20], IDS[:20])
    # the compiler may order float sums in another way: a level here and there, three after JPEG rounds a tie
    assert (np.abs(compiled.astype(int) - whole) > 3).mean() < 1e-3


@pytest.mark.parametrize("name", sorted(set(STEPS)))
def test_strength_zero_is_the_identity(name):
    inner = (Rotate(), Brightness())
    step = STEPS[name](steps=inner) if name in ("all_of", "some_of", "aug_mix") else STEPS[name]()
    augmenter = Augmenter([step], strength=0.0)
    augmenter.check(IMAGES.shape[1:])
    np.testing.assert_array_equal(np.asarray(augmenter.apply(IMAGES[:6], augmenter.draw(IDS[:6]))), IMAGES[:6])


@pytest.mark.parametrize("name", sorted(set(STEPS)))
def test_every_step_does_something_and_keeps_shape_and_type(name):
    inner = (Rotate(), Brightness())
    step = STEPS[name](steps=inner) if name in ("all_of", "some_of", "aug_mix") else STEPS[name]()
    augmenter = Augmenter([step], seed=3)
    batch = CELLS if name == "background" else IMAGES[:72].reshape(6, 48, 48, 3) // 2
    out = np.asarray(augmenter.apply(batch, augmenter.draw(IDS[:6])))
    assert out.shape == batch.shape and out.dtype == np.uint8
    assert (out != batch).any()


@pytest.mark.skipif(chosen_backend()[0] == "torch", reason="on PyTorch nothing is compiled")
def test_new_draws_do_not_compile_anew():
    kinds = [kind for name, kind in STEPS.items() if name not in ("all_of", "some_of", "aug_mix")]
    augmenter = Augmenter([kind(rate=0.5) for kind in kinds], seed=1)
    spent = []
    for epoch, count in enumerate((40, 64, 9, 33)):
        before = time.process_time()
        augmenter(IMAGES[:count], IDS[:count], epoch=epoch)
        spent.append(time.process_time() - before)
    assert max(spent[1:]) < spent[0] / 4


def test_rate_is_the_share_of_images():
    drawn = Augmenter([Rotate(rate=0.3)], seed=1).draw(range(4000))
    assert abs(drawn["0/warp_count"].mean() - 0.3) < 0.03


def test_a_step_does_not_move_the_draws_of_others():
    short = Augmenter([Rotate(), Brightness()], seed=1).draw(IDS)
    longer = Augmenter([Rotate(), Brightness(), Noise()], seed=1).draw(IDS)
    for key, value in short.items():
        np.testing.assert_array_equal(longer[key], value)


def test_ids_are_their_text():
    for key, value in REPORT.draw(["0", "1"]).items():
        np.testing.assert_array_equal(REPORT.draw(np.arange(2))[key], value)
        np.testing.assert_array_equal(REPORT.draw(np.asarray(["0", "1"]))[key], value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_plain_data(name):
    augmenter = Augmenter.preset(name, seed=3, strength=0.5)
    augmenter.check((96, 96, 3))
    data = augmenter.to_dict()
    assert Augmenter.from_dict(json.loads(json.dumps(data))) == augmenter
    assert Augmenter.from_dict(tomllib.loads(tomli_w.dumps(data))) == augmenter


def test_report_never_translates():
    drawn = REPORT.draw(range(500))
    assert not drawn["0/warp_shift"].any()


def test_nested_steps_come_back_from_data():
    augmenter = Augmenter(
        [
            AllOf(rate=0.5, steps=(Flip(), SomeOf(steps=(Zoom(), Brightness()), count=2))),
            AugMix(steps=(Rotate(degrees=30),), width=2),
            RandAugment(count=3),
        ]
    )
    augmenter.check()
    again = Augmenter.from_dict(augmenter.to_dict())
    assert again == augmenter
    assert again.names()[:5] == ("all_of", "flip", "some_of", "zoom", "brightness")
    for key, value in augmenter.draw(IDS[:3]).items():
        np.testing.assert_array_equal(again.draw(IDS[:3])[key], value)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Augmenter.preset("chalenge"), UnknownNameError, "did you mean 'challenge'"),
        (lambda: step_from_dict({"step": "rotat"}), UnknownNameError, "did you mean 'rotate'"),
        (lambda: step_from_dict({"step": "rotate", "degree": 3}), UnknownNameError, "did you mean 'degrees'"),
        (lambda: step_from_dict({"degrees": 3}), OptionError, "step's name"),
        (lambda: Augmenter.from_dict({"stepps": []}), UnknownNameError, "did you mean 'steps'"),
        (
            lambda: Augmenter([Rotate(degrees=270)]).check(),
            OptionError,
            "rotate degrees=270; expected a number from 0 to 180",
        ),
        (lambda: Augmenter([Rotate(rate=1.5)]).check(), OptionError, r"rotate rate=1.5; expected a number from 0 to 1"),
        (lambda: Augmenter([Zoom(low=2, high=1)]).check(), OptionError, "low <= high"),
        (lambda: Augmenter([Zoom(border="mirror")]).check(), UnknownNameError, "reflect"),
        (
            lambda: Augmenter([Rotate(fill=(300,))]).check(),
            OptionError,
            r"fill\[0\]=300; expected a grey level from 0 to 255",
        ),
        (lambda: Augmenter(["rotate"]).check(), OptionError, r"Augmenter steps\[0\]='rotate'; expected a Step"),
        (lambda: Augmenter([Rotate()], strength=-1).check(), OptionError, "strength"),
        (lambda: Augmenter([Rotate()], seed=0.5).check(), OptionError, "seed"),
        (lambda: Augmenter([Blur(high=8)]).check((12, 12, 3)), OptionError, "does not fit"),
        (lambda: Augmenter([AllOf(steps=(AugMix(steps=(Rotate(),)),))]).check(), OptionError, "own list"),
        (lambda: Augmenter([SomeOf(steps=(Rotate(),), count=2)]).check(), OptionError, "count=2; expected at most 1"),
        (lambda: Augmenter([RandAugment(ops=("sheer_x",))]).check(), UnknownNameError, "shear_x"),
        (lambda: REPORT(IMAGES[0]), DataError, r"pass images\[None\]"),
        (lambda: REPORT([IMAGES[0], IMAGES[0][:9]]), DataError, "are not an array"),
        (lambda: REPORT(np.full((2, 8, 8, 3), np.nan, np.float32)), DataError, "2 of 2 images hold NaN"),
        (lambda: REPORT(IMAGES[:, :3]), OptionError, "expected at least 4x4"),
        (lambda: REPORT(IMAGES, [0] * len(IMAGES)), DataError, "labels are no ids"),
        (lambda: Augmenter([Rotate(rate=1.5)])(IMAGES), OptionError, "rotate rate=1.5"),
        (lambda: REPORT(IMAGES.astype(int)), DataError, "expected uint8"),
        (lambda: REPORT(IMAGES, IDS[:3]), DataError, "one id"),
    ],
)
def test_mistakes_are_reported_in_one_line(make, error, words):
    with pytest.raises(error, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_steps_that_are_set_later_count():
    augmenter = Augmenter([])
    assert (augmenter(IMAGES) == IMAGES).all()
    augmenter.steps = [Rotate(degrees=90)]
    assert not (augmenter(IMAGES) == IMAGES).all()


def test_plot_draws_each_original_with_its_views():
    cells = ImageSet(IMAGES[:8])
    figure = REPORT.plot(cells, images=2, n_augmentations=3)
    assert len(figure.axes) == 8
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert "0" in texts and texts.count("augmented 3") == 2
