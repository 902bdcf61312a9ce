"""Augmentations: pure functions of a sample and a generator, that keep labels on what they say; SciPy is the oracle."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from convnd.data import augment
from convnd.data.augment import (
    Affine,
    Augmentation,
    Compose,
    Elastic,
    Flip,
    FrequencyMask,
    Gain,
    Mask,
    Noise,
    RandomCrop,
    Shift,
    TimeMask,
    from_config,
    from_text,
)
from convnd.errors import ArgumentError, DataError

EDGES = ("nearest", "reflect", "wrap", "constant")
# Each with the ranks it takes.
ALL = [
    (Flip(), (0, 1, 2, 3)),
    (Flip(axis=(0, -1), p=0.3), (2, 3)),
    (RandomCrop(4), (0, 1, 2, 3)),
    (RandomCrop((3, None)), (2,)),
    (RandomCrop(share=(0.2, 0.9)), (1, 2, 3)),
    (RandomCrop(share=0.01, p=0.5), (1, 2, 3)),
    (Shift(3), (1, 2, 3)),
    (Shift(share=0.5, axis=None, mode="reflect"), (1, 2, 3)),
    (Gain(), (0, 1, 2, 3)),
    (Gain(0.1, 3.0, by_channel=True, p=0.7), (0, 1, 2, 3)),
    (Noise(sigma=(0.1, 2.0)), (0, 1, 2, 3)),
    (Noise(snr=(-5, 30)), (0, 1, 2, 3)),
    (Mask(4, axis=-1, count=3, share=1.0, fill=-7.5), (1, 2, 3)),
    (TimeMask(5), (1, 2, 3)),
    (FrequencyMask(5), (1, 2, 3)),
    (Affine(translation=0.2, scale=(0.5, 2.0)), (1, 2, 3)),
    (Affine(rotation=30, shear=0.3, mode="wrap", order=3), (2, 3)),
    (Affine(rotation=30, axis=(1, 2), mode="constant", fill=2.0), (3,)),
    (Elastic(20, 3), (1, 2, 3)),
    (Elastic(20, 3, axis=0, order=0, mode="reflect"), (1, 2, 3)),
    (Compose([Flip(), RandomCrop(4), "noise(0.1)"], p=0.8), (1, 2, 3)),
]
CASES = [(change, ndim) for change, ranks in ALL for ndim in ranks]


def rng_of(seed):
    return np.random.default_rng(seed)


def draw(rng, ndim, channels=2):
    shape = tuple(rng.integers(1, 11, ndim))
    return rng.standard_normal((*shape, channels)).astype("float32"), rng.integers(0, 5, (*shape, 1))


@pytest.mark.parametrize(("change", "ndim"), CASES, ids=str)
def test_a_pure_function_within_its_bound(change, ndim):
    rng = rng_of(ndim)
    sizes = set()
    for seed in range(15):
        values, labels = draw(rng, ndim)
        before = values.copy(), labels.copy()
        got, target = change(values, labels, rng_of(seed))
        again, same = change(values, labels, rng_of(seed))
        assert got.dtype == np.float32
        assert target.dtype == labels.dtype
        assert got.ndim == ndim + 1
        assert got.shape[-1] == 2
        assert got.size
        assert target.shape == (*got.shape[:-1], 1)
        assert (got.tobytes(), target.tobytes()) == (again.tobytes(), same.tobytes())
        assert (values.tobytes(), labels.tobytes()) == (before[0].tobytes(), before[1].tobytes())
        bound = change.bound(np.array([values.shape[:-1]], dtype=np.int64).reshape(1, ndim))[0]
        assert (np.array(got.shape[:-1]) <= bound).all()
        sizes.add(got.shape[:-1] == tuple(bound.tolist()))
        for given in (7, None, np.float32([1, 2])):  # a class, nothing, numbers: as they were
            changed, kept = change(values, given, rng_of(seed))
            assert kept is given
            assert changed.tobytes() == got.tobytes()
    assert True in sizes  # The bound is met, not far away.


@pytest.mark.parametrize("change", [change for change, _ in ALL], ids=str)
def test_config_and_repr_rebuild(change):
    assert from_config(json.loads(json.dumps(change.config()))).config() == change.config()
    rebuilt = eval(repr(change), vars(augment))
    assert rebuilt.config() == change.config()
    values, labels = draw(rng_of(3), 3 if "axis=(1, 2)" in repr(change) else 2)
    results = [made(values, labels, rng_of(5))[0].tobytes() for made in (change, rebuilt, from_config(change.config()))]
    assert len(set(results)) == 1


def ranked(rng, ndim):
    """A smooth image whose labels are a function of its values, and that function."""
    shape = tuple(rng.integers(6, 14, ndim))
    values = ndimage.gaussian_filter(rng.standard_normal((*shape, 1)), [2] * ndim + [0]).astype("float32")
    edges = np.quantile(values, [0.25, 0.5, 0.75]).astype("float32")
    return values, lambda x: np.digitize(x, edges).astype("int64")


MOVING = [
    Flip(), RandomCrop(5), RandomCrop(share=(0.3, 1.0)),
    *(Shift(4, axis=None, mode=mode, fill=-9.0, fill_label=0) for mode in EDGES),
    *(Affine(rotation=40, scale=(0.7, 1.4), shear=0.2, translation=0.2, order=0, mode=mode, fill=-9.0)
      for mode in EDGES),
    *(Elastic(60, 3, order=0, mode=mode, fill=-9.0) for mode in EDGES),
    Compose([Flip(), Elastic(40, 2, order=0), Affine(rotation=20, order=0), Shift(2), RandomCrop(6)]),
]  # fmt: skip


@pytest.mark.parametrize("change", MOVING, ids=str)
@pytest.mark.parametrize("ndim", [2, 3])
def test_labels_stay_on_what_they_say(change, ndim):
    """What the nearest position's value says is what the nearest position's label says."""
    moved = 0
    for seed in range(6):
        values, label_of = ranked(rng_of(seed), ndim)
        got, labels = change(values, label_of(values), rng_of(seed))
        np.testing.assert_array_equal(labels, label_of(got))
        moved += got.shape != values.shape or bool((got != values).any())
    assert moved >= 3


def test_label_maps_take_the_nearest_label_and_numbers_are_interpolated():
    values = np.linspace(0, 1, 20, dtype="float32")[:, None]
    change = Affine(scale=(1.3, 1.7), translation=0.2, order=1)
    _, labels = change(values, np.arange(20)[:, None] * 10, rng_of(0))
    assert set(labels.ravel().tolist()) <= set(range(0, 200, 10))
    got, field = change(values, values.copy(), rng_of(0))
    np.testing.assert_array_equal(got, field)
    assert len(np.unique(field)) > 10


class Largest:
    """A generator whose every draw is the largest, so that results can be worked out."""

    def random(self, size=None):
        return 1.0 if size is None else np.ones(size)

    def uniform(self, low, high, size=None):
        return high if size is None else np.full(size, high)

    def integers(self, low, high, endpoint=True):
        return high


def test_rotation_by_a_right_angle():
    image = rng_of(0).standard_normal((9, 9, 2)).astype("float32")
    got, labels = Affine(rotation=90)(image, (image > 0).astype(int), Largest())
    # Counted from axis 0 (down) to axis 1 (right): what pointed down now points right.
    np.testing.assert_allclose(got, np.rot90(image, 1, axes=(0, 1)), atol=1e-5)
    np.testing.assert_array_equal(labels, np.rot90(image > 0, 1, axes=(0, 1)))


def affine_by_loops(image, matrix, shift, fill):
    """Every position asks where it comes from, and takes the linear mean of the positions around that."""
    result = np.full(image.shape, fill, dtype=np.float64)
    centre = (np.array(image.shape) - 1) / 2
    for place in np.ndindex(*image.shape):
        source = np.linalg.solve(matrix, np.array(place) - centre - shift) + centre
        low = np.floor(source).astype(int)
        total = 0.0
        for corner in np.ndindex(*(2,) * image.ndim):
            at = low + corner
            weight = np.prod(np.where(np.array(corner) == 1, source - low, 1 - (source - low)))
            inside = ((at >= 0) & (at < image.shape)).all()
            if weight > 1e-12:
                total += weight * (image[tuple(at)] if inside else np.nan)
        if np.isfinite(total):
            result[place] = total
    return result


@pytest.mark.parametrize("ndim", [2, 3])
def test_affine_is_the_formula_it_states(ndim):
    image = rng_of(ndim).standard_normal((7, 6, 5)[:ndim]).astype("float32")
    change = Affine(rotation=25, scale=(0.8, 1.25), shear=0.15, translation=0.1, mode="constant", fill=9.0)
    got, _ = change(image[..., None], None, Largest())
    turn = np.eye(ndim)
    cosine, sine = np.cos(np.deg2rad(25)), np.sin(np.deg2rad(25))
    for one in range(ndim):
        for other in range(one + 1, ndim):
            plane = np.eye(ndim)
            plane[one, one] = plane[other, other] = cosine
            plane[one, other], plane[other, one] = -sine, sine
            turn = plane @ turn
    shear = np.eye(ndim) + 0.15 * np.triu(np.ones((ndim, ndim)), 1)
    wanted = affine_by_loops(image, 1.25 * turn @ shear, 0.1 * np.array(image.shape), 9.0)
    outside = wanted == 9.0
    np.testing.assert_allclose(got[..., 0][~outside], wanted[~outside], atol=1e-4)
    assert 0 < outside.sum() < outside.size
    assert (got[..., 0][outside] == 9.0).mean() > 0.9  # SciPy's edge lies elsewhere by rounding, if at all.


def test_affine_acts_on_the_axes_named():
    video = rng_of(0).standard_normal((4, 8, 8, 1)).astype("float32")
    got, _ = Affine(rotation=33, axis=(1, 2), mode="reflect")(video, None, Largest())
    for frame in range(4):
        alone, _ = Affine(rotation=33, mode="reflect")(video[frame], None, Largest())
        np.testing.assert_allclose(got[frame], alone, atol=1e-5)


@pytest.mark.parametrize(("mode", "theirs"), [("nearest", "nearest"), ("reflect", "reflect"), ("wrap", "grid-wrap"),
                                              ("constant", "constant")])  # fmt: skip
def test_shifts_are_scipys(mode, theirs):
    rng = rng_of(0)
    for seed in range(20):
        values = rng.standard_normal((*rng.integers(1, 9, 2), 2)).astype("float32")
        got, _ = Shift(7, axis=None, mode=mode, fill=3.0)(values, None, rng_of(seed))
        draws = rng_of(seed)
        steps = [int(draws.integers(-7, 7, endpoint=True)) for _ in range(2)]
        wanted = ndimage.shift(values, [*steps, 0], order=0, mode=theirs, cval=3.0)
        np.testing.assert_array_equal(got, wanted)
    share = Shift(share=0.5, axis=1)(values, None, Largest())[0]
    np.testing.assert_array_equal(share, np.roll(values, int(0.5 * values.shape[1]), axis=1))


def test_elastic_moves_by_smoothed_noise():
    image = ndimage.gaussian_filter(rng_of(0).standard_normal((30, 26)), 2).astype("float32")
    got, _ = Elastic(50, 4, mode="reflect")(image[..., None], None, rng_of(1))
    rng = rng_of(1)
    fields = [50 * ndimage.gaussian_filter(rng.uniform(-1, 1, image.shape), 4) for _ in range(2)]
    padded = np.pad(image, 12, mode="symmetric")
    for place in [(0, 0), (5, 20), (17, 3), (29, 25)]:
        row, column = (place[axis] + fields[axis][place] + 12 for axis in range(2))
        low, left = int(row), int(column)
        corners = padded[low : low + 2, left : left + 2].astype(float)
        wanted = np.array([1 - (row - low), row - low]) @ corners @ np.array([1 - (column - left), column - left])
        assert got[(*place, 0)] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_elastic_displacements_are_as_large_as_it_says(ndim):
    shape, alpha, sigma = [(20_000,), (250, 250), (50, 50, 50)][ndim - 1], 10, 2
    ramp = np.broadcast_to(np.arange(shape[0], dtype="float32").reshape(-1, *[1] * ndim), (*shape, 1))
    got, _ = Elastic(alpha, sigma, axis=0)(np.ascontiguousarray(ramp), None, rng_of(0))
    inside = slice(20, -20)
    moved = (got - ramp)[inside]
    wanted = alpha / np.sqrt(3) / (2 * np.sqrt(np.pi) * sigma) ** (ndim / 2)
    assert moved.std() == pytest.approx(wanted, rel=0.08)


def test_crops_are_boxes_and_reach_everywhere():
    index = np.arange(7 * 5).reshape(7, 5, 1)
    starts = set()
    for seed in range(200):
        values, labels = RandomCrop((3, None))(index.astype("float32"), index, rng_of(seed))
        row = int(labels[0, 0, 0]) // 5
        np.testing.assert_array_equal(values, index[row : row + 3])
        np.testing.assert_array_equal(labels, values)
        starts.add(row)
    assert starts == set(range(5))
    crop, image = RandomCrop(share=(0.3, 0.8)), index.astype("float32")
    lengths = {crop(image, None, rng_of(seed))[0].shape[:2] for seed in range(300)}
    assert {rows for rows, _ in lengths} == {3, 4, 5, 6}
    assert {columns for _, columns in lengths} == {2, 3, 4}
    assert RandomCrop(share=0.001)(index.astype("float32"), None, rng_of(0))[0].shape == (1, 1, 1)
    assert RandomCrop(100)(index.astype("float32"), None, rng_of(0))[0].shape == (7, 5, 1)


def test_flips_are_as_likely_as_they_say():
    index = np.arange(6, dtype="float32").reshape(2, 3, 1)
    counts = {}
    for seed in range(800):
        values, _ = Flip(p=0.25)(index, None, rng_of(seed))
        for axes in [(), (0,), (1,), (0, 1)]:
            if (values == np.flip(index, axes)).all():
                counts[axes] = counts.get(axes, 0) + 1 / 800
    assert counts[()] == pytest.approx(9 / 16, abs=0.05)
    assert counts[0,] == pytest.approx(3 / 16, abs=0.04)
    assert counts[1,] == pytest.approx(3 / 16, abs=0.04)
    assert counts[0, 1] == pytest.approx(1 / 16, abs=0.03)


@pytest.mark.parametrize("change", [Gain(2.0, 2.0, p=0.3), Compose([Gain(2.0, 2.0)], p=0.3)], ids=str)
def test_p_is_the_share_of_samples_changed(change):
    ones = np.ones((3, 1), "float32")
    changed = [bool((change(ones, None, rng_of(seed))[0] == 2).all()) for seed in range(1000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)


def test_gain_is_one_factor_or_one_a_channel():
    values = rng_of(0).uniform(1, 2, (6, 5, 3)).astype("float32")
    factors = []
    for seed in range(300):
        ratio = Gain(0.25, 4.0)(values, None, rng_of(seed))[0] / values
        np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-6)
        factors.append(np.log(ratio[0, 0, 0]))
    assert np.log(0.25) <= min(factors) < -1
    assert 1 < max(factors) <= np.log(4) + 1e-6
    assert np.mean(factors) == pytest.approx(0, abs=0.15)  # As likely half as twice.
    ratio = Gain(0.25, 4.0, by_channel=True)(values, None, rng_of(0))[0] / values
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0], ratio.shape), rtol=1e-6)
    assert len(np.unique(ratio[0, 0])) == 3


def test_noise_has_the_deviation_or_ratio_it_says():
    wave = (5 * np.sin(np.arange(200_000) / 10))[:, None].astype("float32")
    for snr in (-10, 0, 25):
        noise = Noise(snr=snr)(wave, None, rng_of(1))[0] - wave
        assert 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) == pytest.approx(snr, abs=0.1)
        assert np.abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.01  # White.
    noise = Noise(sigma=0.3)(wave, None, rng_of(1))[0] - wave
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    low, high = zip(*(_extent(Noise(sigma=(0.5, 2.0)), wave[:2000], seed) for seed in range(60)), strict=True)
    assert 0.5 * 0.9 < min(low) < 0.7
    assert 1.8 < max(high) < 2 * 1.1
    silence = np.zeros((9, 1), "float32")
    np.testing.assert_array_equal(Noise(snr=10)(silence, None, rng_of(0))[0], silence)


def _extent(change, wave, seed):
    deviation = (change(wave, None, rng_of(seed))[0] - wave).std()
    return deviation, deviation


@pytest.mark.parametrize(("change", "axis"), [(TimeMask(4, fill=0.0), 0), (FrequencyMask(4, fill=0.0), 1),
                                              (Mask(4, axis="channels", fill=0.0), 2)])  # fmt: skip
def test_masks_are_specaugments(change, axis):
    """The width is uniform in 0 ... 4; the start is uniform where the mask fits."""
    values = np.ones((12, 10, 9), "float32")
    widths, starts = [], []
    for seed in range(1500):
        masked = change(values, None, rng_of(seed))[0] == 0
        other = tuple(n for n in range(3) if n != axis)
        line = masked.all(axis=other)
        assert (line == masked.any(axis=other)).all()
        places = np.flatnonzero(line)
        widths.append(len(places))
        if len(places):
            assert (np.diff(places) == 1).all()
            starts.append((len(places), places[0]))
    np.testing.assert_allclose(np.bincount(widths, minlength=5) / 1500, 0.2, atol=0.04)
    found = np.bincount([start for width, start in starts if width == 2])
    assert len(found) == values.shape[axis] - 1
    assert found.min() > 0


def test_masks_fill_with_the_mean_and_respect_their_share():
    values = rng_of(0).standard_normal((10, 8, 3)).astype("float32")
    masked, _ = TimeMask(5)(values, None, rng_of(3))
    rows = (masked != values).all(axis=(1, 2))
    assert 0 < rows.sum() <= 5
    np.testing.assert_allclose(masked[rows], np.broadcast_to(values.mean(axis=(0, 1)), masked[rows].shape), rtol=1e-5)
    short = np.arange(1, 5, dtype="float32")[:, None]
    assert max((TimeMask(100, share=0.5)(short, None, rng_of(s))[0] != short).sum() for s in range(50)) == 2
    bands = rng_of(0).standard_normal((20, 6)).astype("float32")  # One axis: the bands are its channels.
    masked, _ = FrequencyMask(3)(bands, None, rng_of(1))
    changed = (masked != bands).all(axis=0)
    assert changed.any()
    np.testing.assert_allclose(masked[:, changed], np.broadcast_to(bands[:, changed].mean(axis=0), (20, changed.sum())),
                               rtol=1e-5)  # fmt: skip
    many = [(Mask(2, count=4, fill=0.0)(np.ones((40, 1), "float32"), None, rng_of(s))[0] == 0).sum() for s in range(99)]
    assert 4 < max(many) <= 8


def test_compose_does_all_in_order():
    values, labels = draw(rng_of(0), 2)
    steps = [Flip(), RandomCrop(4), Gain(0.5, 2.0), Noise(sigma=0.1)]
    wanted, rng = (values, labels), rng_of(9)
    for step in steps:
        wanted = step(*wanted, rng)
    for made in (Compose(steps), Compose(Compose(steps)), augment.composed(steps)):
        got = made(values, labels, rng_of(9))
        assert got[0].tobytes() == wanted[0].tobytes()
        assert got[1].tobytes() == wanted[1].tobytes()
    bounds = Compose([RandomCrop(9), RandomCrop((4, None)), Flip()]).bound(np.array([[20, 20], [3, 30]]))
    assert bounds.tolist() == [[4, 9], [3, 9]]
    assert Compose([RandomCrop(9)], p=0.5).bound(np.array([[20]])).tolist() == [[20]]
    assert Compose([RandomCrop(9, p=0.5)]).bound(np.array([[20]])).tolist() == [[20]]
    assert augment.composed(steps[0]) is steps[0]
    assert augment.composed([steps[0]]) is steps[0]
    assert augment.composed("flip") == augment.composed(["flip"]) == Flip()


def test_texts():
    assert from_text("flip") == Flip()
    assert from_text(" random_crop(16000) ") == RandomCrop(16000)
    assert from_text("RandomCrop((3, None), p=0.5)") == RandomCrop((3, None), p=0.5)
    assert from_text("noise(snr=(10, 30))") == Noise(snr=(10, 30))
    assert from_text("shift(2, axis=-1, mode='wrap')") == Shift(2, axis=-1)
    assert Compose(["flip(axis=0)", Gain()]).steps == (Flip(axis=0), Gain())


@dataclass(frozen=True)
class Doubled(Augmentation):
    factor: float = 2.0

    def change(self, values, target, rng):
        return values * np.float32(self.factor), target


def test_an_augmentation_of_ones_own():
    assert Doubled(3.0).config() == {"type": "Doubled", "p": 1.0, "factor": 3.0}
    assert from_text("doubled(3.0)") == from_config(Doubled(3.0).config()) == Doubled(3.0)
    with pytest.raises(NotImplementedError, match=r"Augmentation needs a method change\(values, target, rng\)"):
        Augmentation()(np.ones((2, 1), "float32"), None, rng_of(0))


REFUSED = [
    (lambda: Flip(p=1.5), "p must be a number of at least 0 and at most 1. Received: p=1.5"),
    (lambda: Gain(p=True), "p must be a number"),
    (lambda: Flip(axis=0.5), "axis must be an int, several, or None for all. Received: axis=0.5"),
    (lambda: Flip(axis=()), "axis must be an int"),
    (lambda: RandomCrop(), r"RandomCrop takes size= or share=, one of them. Received: size=None, share=None"),
    (lambda: RandomCrop(3, share=0.5), "RandomCrop takes size= or share="),
    (lambda: RandomCrop(0), "size must be an int of at least 1. Received: size=0"),
    (lambda: RandomCrop((3, 2.0)), "size must be an int of at least 1. Received: size=2.0"),
    (lambda: RandomCrop(share=0), "share must be a number above 0 and at most 1. Received: share=0"),
    (lambda: RandomCrop(share=(0.5, 1.5)), "share must be a number above 0 and at most 1. Received: share=1.5"),
    (lambda: RandomCrop(share=(0.9, 0.5)), r"a pair \(low, high\) with low <= high. Received: share=\(0.9, 0.5\)"),
    (lambda: RandomCrop(share=(0.1, 0.2, 0.3)), r"one number or a pair \(low, high\)"),
    (lambda: Shift(), "Shift takes size= or share="),
    (lambda: Shift(-1), "size must be an int of at least 0"),
    (lambda: Shift(share=2), "share must be a number of at least 0 and at most 1"),
    (lambda: Shift(1, mode="edge"), "mode must be one of nearest, reflect, wrap, constant. Received: mode='edge'"),
    (lambda: Gain(0.0), "low must be a number above 0. Received: low=0.0"),
    (lambda: Gain(2.0, 1.0), "high must be a number of at least 2.0. Received: high=1.0"),
    (lambda: Noise(), "Noise takes sigma= or snr="),
    (lambda: Noise(sigma=-1), "sigma must be a number of at least 0"),
    (lambda: Noise(snr=float("nan")), "snr must be a number of at least -300 and at most 300"),
    (lambda: Mask(0), "size must be an int of at least 1"),
    (lambda: Mask(3, count=0), "count must be an int of at least 1"),
    (lambda: Mask(3, share=0), "share must be a number above 0"),
    (lambda: Mask(3, fill=float("inf")), "fill must be a number that is finite"),
    (lambda: Mask(3, axis="time"), 'axis must be an int or "channels". Received: axis=\'time\''),
    (lambda: Affine(rotation=200), "rotation must be a number of at least 0 and at most 180"),
    (lambda: Affine(scale=(0, 1)), "scale must be a number above 0"),
    (lambda: Affine(shear=-1), "shear must be a number of at least 0"),
    (lambda: Affine(translation="a"), "translation must be a number"),
    (lambda: Affine(order=6), "order must be a number of at least 0 and at most 5. Received: order=6"),
    (lambda: Affine(order=1.0), "order must be an int"),
    (lambda: Affine(mode="mirror"), "mode must be one of"),
    (lambda: Elastic(-1, 2), "alpha must be a number of at least 0"),
    (lambda: Elastic(1, 0), "sigma must be a number above 0"),
    (lambda: Compose([Flip(), 3]), "augment must be an Augmentation, its text, or a list of them. Received: 3"),
    (lambda: augment.composed(5), "augment must be an Augmentation, its text, or a list of them. Received: 5"),
    (lambda: from_text("flop()"), r"an augmentation must be one of affine, .*timemask. Received: 'flop'"),
    (lambda: from_text("flip(axes=1)"), r"flip: .*unexpected keyword argument 'axes'"),
    (lambda: from_text("elastic(3)"), r"elastic: missing 1 required positional argument: 'sigma'"),
    (lambda: from_text("flip(axis=x)"), r"written as a name or a call with plain values, such as flip\(axis=1\)"),
    (lambda: from_text("a.b(1)"), "written as a name or a call"),
    (lambda: from_text("flip(**{'axis': 1})"), "flip: "),
    (lambda: from_text(""), "written as a name or a call"),
    (lambda: from_text("warp()"), "an augmentation must be one of"),
    (lambda: from_config({"axis": 1}), "an augmentation must be one of .* Received: 'None'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[row[1] for row in REFUSED])
def test_arguments(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "ndim", "message"),
    [
        (Flip(axis=2), 2, r"axis must name different axes of the 2 of a sample. Received: axis=2"),
        (Flip(axis=(0, -2)), 2, "axis must name different axes of the 2"),
        (RandomCrop((3, 3)), 1, r"size must have an entry for each of 1 axes. Received: size=\(3, 3\)"),
        (Shift(1), 0, "axis must name different axes of the 0"),
        (TimeMask(3), 0, "axis must be one of the 0 of a sample"),
        (Mask(3, axis=-3), 2, "axis must be one of the 2 of a sample. Received: axis=-3"),
        (Affine(rotation=5), 1, "rotation and shear need two axes. Received: rotation=5, shear=0.0 for samples of 1"),
        (Affine(shear=0.5, axis=(1,)), 3, "rotation and shear need two axes"),
        (Affine(), 0, "Affine needs samples with spatial axes"),
        (Elastic(3, 1), 0, "Elastic needs samples with spatial axes"),
        (Compose([Gain(), Affine(rotation=5)]), 1, "rotation and shear need two axes"),
    ],
    ids=str,
)
def test_ranks(change, ndim, message):
    values, _ = draw(rng_of(0), ndim)
    with pytest.raises(ArgumentError, match=message):
        change(values, 0, rng_of(0))
    with pytest.raises(ArgumentError, match=message):
        change.bound(np.ones((4, ndim), dtype=np.int64))


@pytest.mark.parametrize("change", [Flip(), RandomCrop(2), Shift(1), Affine(), Elastic(1, 1)], ids=str)
def test_a_target_that_cannot_move_along_is_refused(change):
    values = np.ones((4, 6, 1), "float32")
    for target in (np.zeros((2, 3, 1), int), np.zeros((9, 1), int)):
        with pytest.raises(DataError, match=rf"{type(change).__name__} moves positions, so a target must be one of .*"
                                            rf"positions, \(4, 6\). Received: a target on positions"):  # fmt: skip
            change(values, target, rng_of(0))
    Gain()(values, np.zeros((2, 3, 1), int), rng_of(0))  # What moves nothing takes any.


def test_scipy_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy.ndimage", None)
    with pytest.raises(DataError, match=r"needs the package scipy.ndimage: pip install convnd\[augment\]"):
        Affine()(np.ones((3, 1), "float32"), 0, rng_of(0))
