"""What commutes with what: exact for shifts of convolutions, not for scalings and rotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convnd import Ragged, nn, ops
from convnd.analysis import Flip, Rotate, Scale, Shift, Transform, equivariance_error, sensitivity
from convnd.errors import ArgumentError, DtypeError, ShapeError


def direct(rng: np.random.Generator, ndim: int, dtype: Any, kernel: int = 3, **options: Any) -> Any:
    weight = rng.standard_normal((*(kernel,) * ndim, 2, 3)).astype(dtype)
    return lambda x: ops.conv(x, weight, algorithm="direct", **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
def test_a_convolution_commutes_with_shifts_to_the_last_bit(ndim: int, dtype: Any) -> None:
    rng = np.random.default_rng(ndim)
    x = rng.standard_normal((2, *(9, 11, 8, 7)[:ndim], 2)).astype(dtype)
    for _ in range(4):
        by = tuple(rng.integers(-3, 4, ndim).tolist())
        assert equivariance_error(direct(rng, ndim, dtype), x, Shift(by)) == 0.0
        same = direct(rng, ndim, dtype, padding="same", activation="relu")
        assert equivariance_error(same, x, Shift(by), margin=1) == 0.0
    # The border isn't equivariant: zeros don't move along.
    assert equivariance_error(same, x, Shift(1)) > 1e-3


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_circular_shifts_are_compared_everywhere(ndim: int) -> None:
    rng = np.random.default_rng(5 + ndim)
    x = rng.standard_normal((2, *(6, 5, 7)[:ndim], 2))
    valid = direct(rng, ndim, np.float64)

    def periodic(v: Any) -> Any:
        return valid(np.pad(v, ((0, 0), *((1, 1),) * ndim, (0, 0)), mode="wrap"))

    by = (2, -3, 11)[:ndim]
    assert equivariance_error(periodic, x, Shift(by, circular=True)) == 0.0
    assert equivariance_error(direct(rng, ndim, np.float64, padding="same"), x, Shift(by, circular=True)) > 1e-3
    assert equivariance_error(nn.GlobalPool("max"), x, Shift(by, circular=True)) == 0.0


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_strides_let_through_their_multiples(ndim: int) -> None:
    rng = np.random.default_rng(10 + ndim)
    x = rng.standard_normal((1, *(13,) * ndim, 2))
    conv = direct(rng, ndim, np.float64, stride=2)
    assert equivariance_error(conv, x, Shift(4), stride=2) == 0.0
    with pytest.raises(ArgumentError, match=r"by must be a multiple of the function's stride, 2. Received: by=3"):
        equivariance_error(conv, x, Shift(3), stride=2)
    pool = nn.MaxPool(2)
    assert equivariance_error(pool, x, Shift(-2)) == 0.0
    # Moved by one position, a pool of stride 2 gives something else.
    assert equivariance_error(lambda v: pool(v), x, Shift(1)) > 0.1


def test_a_network_knows_its_stride_and_margin() -> None:
    rng = np.random.default_rng(20)
    net = nn.Sequential(
        nn.Conv(4, 3, padding="same", activation="tanh"),
        nn.MaxPool(2),
        nn.Conv(3, (3, 2), padding="causal", stride=(1, 2)),
    ).build(ndim=2, channels=1, dtype="float64")
    x = rng.standard_normal((2, 24, 25, 1))
    assert equivariance_error(net, x, Shift((2, -4))) < 1e-14
    assert equivariance_error(net, x, Shift((-6, 8))) < 1e-14
    assert equivariance_error(net, x, Shift((2, -4)), margin=0) > 1e-3
    with pytest.raises(ArgumentError, match="must be a multiple of the function's stride, 4"):
        equivariance_error(net, x, Shift((2, 2)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_rotations_and_scalings_are_not_let_through(ndim: int) -> None:
    rng = np.random.default_rng(30 + ndim)
    x = rng.standard_normal((1, *(8,) * ndim, 2))
    conv = direct(rng, ndim, np.float64, padding="same")
    for transform in (Rotate(), Rotate(2), Rotate(-1, (ndim - 1, 0)), Scale(2), Scale(0.5), Scale(1.3), Flip((0,))):
        assert equivariance_error(conv, x, transform, margin=1) > 0.1, transform
    assert equivariance_error(conv, x, Rotate(4)) == 0.0
    assert equivariance_error(conv, x, Scale(1)) == 0.0
    assert equivariance_error(direct(rng, ndim, np.float64, kernel=1), x, Rotate()) == 0.0
    assert equivariance_error(ops.relu, x, Rotate()) == 0.0


def test_symmetric_kernels_do_commute_with_rotations() -> None:
    rng = np.random.default_rng(40)
    weight = rng.standard_normal((3, 3, 2, 1))
    weight = sum(np.rot90(weight, turns) for turns in range(4))
    x = rng.standard_normal((2, 7, 9, 2))
    assert equivariance_error(lambda v: ops.conv(v, weight, padding="same"), x, Rotate()) < 1e-15


def test_without_axes_it_is_invariance() -> None:
    x = np.random.default_rng(50).standard_normal((2, 6, 6, 3))
    largest = nn.GlobalPool("max")
    assert equivariance_error(largest, x, Rotate()) == 0.0
    assert equivariance_error(largest, x, Flip((0, 1))) == 0.0
    assert equivariance_error(nn.Flatten(), x, Flip((0,))) > 0.1
    x[:, 4:] = 0  # what moves out of the sample is nothing
    assert equivariance_error(nn.GlobalPool("mean"), x, Shift((2, 0))) < 1e-15
    assert equivariance_error(nn.GlobalPool("mean"), x, Shift((0, 2))) > 0.01


def test_the_measure() -> None:
    x = np.zeros((1, 4, 1))
    x[0, :, 0] = 3, 0, 0, 4
    # f(g(x)) = 2 x reversed, g(f(x)) = x reversed: as far apart as they are long.
    calls: list[Any] = []

    def first_doubles(v: Any) -> Any:
        calls.append(v)
        return v * (2 if len(calls) == 1 else 1)

    assert equivariance_error(first_doubles, x, Flip((0,))) == 1.0
    assert equivariance_error(lambda v: v + (v[0, 0, 0] == 4), 0 * x, Flip((0,))) == 0.0
    assert equivariance_error(lambda v: 0 * v + (v[:, :1] == 4), x, Flip((0,))) == float("inf")


def test_samples_of_several_sizes() -> None:
    rng = np.random.default_rng(60)
    samples = [rng.standard_normal((size, 2)) for size in (7, 12, 9)]
    conv = direct(rng, 1, np.float64)
    assert equivariance_error(conv, Ragged.pack(samples), Shift(2)) == 0.0
    together = equivariance_error(conv, Ragged.pack(samples), Flip((0,)))
    y = [(np.asarray(conv(s[::-1][None].copy())), np.asarray(conv(s[None]))[:, ::-1]) for s in samples]
    apart, whole = (sum(float((v**2).sum()) for v in part) for part in ([a - b for a, b in y], [b for _, b in y]))
    assert together == pytest.approx(np.sqrt(apart / whole), rel=1e-12)


def test_shifts_by_loops() -> None:
    rng = np.random.default_rng(70)
    x = rng.standard_normal((2, 3, 4, 1))
    for by in ((0, 0), (1, -2), (-2, 3), (3, 0), (0, -9)):
        wanted = np.zeros_like(x)
        for p in np.ndindex(3, 4):
            q = (p[0] - by[0], p[1] - by[1])
            if 0 <= q[0] < 3 and 0 <= q[1] < 4:
                wanted[:, p[0], p[1]] = x[:, q[0], q[1]]
        np.testing.assert_array_equal(Shift(by)(x), wanted)


def test_scaling_is_torchs_interpolation() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(71)
    for ndim, mode in ((1, "linear"), (2, "bilinear"), (3, "trilinear")):
        x = rng.standard_normal((2, *(5, 4, 6)[:ndim], 3))
        for factor in (2, 3, 0.5, 1.5):
            sizes = [max(1, round(size * factor)) for size in x.shape[1:-1]]
            given = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
            theirs = torch.nn.functional.interpolate(given, size=sizes, mode=mode, align_corners=False)
            np.testing.assert_allclose(Scale(factor)(x), np.moveaxis(theirs.numpy(), 1, -1), rtol=1e-10, atol=1e-12)
    assert Scale(0.1)(np.ones((1, 3, 1), np.float32)).dtype == np.float32


def test_scaling_is_let_through_by_what_looks_at_single_positions() -> None:
    x = np.random.default_rng(72).standard_normal((1, 9, 9, 2))
    linear = direct(np.random.default_rng(73), 2, np.float64, kernel=1)
    assert equivariance_error(linear, x, Scale(2)) < 1e-14
    even = np.full((2, 2, 2, 1), 0.25)
    with pytest.raises(ShapeError, match="f\\(g\\(x\\)\\) and g\\(f\\(x\\)\\) must have one centre"):
        equivariance_error(lambda v: ops.conv(v, even), x, Scale(2))
    # A smooth sample changes slowly: blurring it commutes nearly with scaling it.
    wave = np.sin(np.arange(64) / 10).reshape(1, 64, 1)
    blur = np.full((3, 1, 1), 1 / 3)
    assert equivariance_error(lambda v: ops.conv(v, blur), wave, Scale(2)) < 0.01


@pytest.mark.parametrize(
    ("x", "transform", "options", "error", "message"),
    [
        (np.ones((1, 4, 1)), Shift((1, 2)), {}, ArgumentError, "by must be an int, or 1 of them"),
        (np.ones((1, 4, 1)), Shift(4), {}, ArgumentError, "no outputs are left to compare"),
        (np.ones((1, 4, 1)), Shift(9), {}, ArgumentError, "no outputs are left to compare"),
        (np.ones((1, 4, 1)), Flip((0,)), {"margin": 3}, ArgumentError, "no outputs are left to compare"),
        (np.ones((1, 4, 1)), Rotate(), {}, ArgumentError, "axes must be 2 of the sample's 1"),
        (np.ones((1, 4, 4, 1)), Rotate(1, (1, 1)), {}, ArgumentError, "none of them twice. Received: axes=.1, 1."),
        (np.ones((1, 4, 1)), Flip(-2), {}, ArgumentError, "axes must be some of the sample's 1"),
        (np.ones((1, 4, 1)), Flip(()), {}, ArgumentError, "axes must be some of the sample's 1"),
        (np.ones((1, 4, 1)), Shift(1.5), {}, ArgumentError, "by must be an int, or 1 of them"),
        (np.ones((1, 4, 1)), "shift", {}, ArgumentError, "transform must be a Shift, Scale, Rotate or Flip"),
        (np.ones((1, 4, 1), int), Flip((0,)), {}, DtypeError, "x must be float32 or float64"),
        (np.ones(4), Flip((0,)), {}, ShapeError, r"x must be \(samples, \*shape, channels\) or a Ragged"),
        (np.ones((1, 0, 1)), Flip((0,)), {}, ShapeError, "sample 0 has no positions"),
    ],
)
def test_errors(x: Any, transform: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        equivariance_error(ops.relu, x, transform, **options)


def test_arguments_of_transforms() -> None:
    with pytest.raises(ArgumentError, match=r"factor must be a positive number. Received: factor=0"):
        Scale(0)
    with pytest.raises(ArgumentError, match=r"turns must be an int. Received: turns=0.5"):
        Rotate(0.5)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Transform()(np.ones((1, 1, 1)))


def test_a_step_changes_every_input_and_half_of_the_maxima():
    """Figure 9.8 of the book; a convolution changes throughout."""
    x = np.array([0.3, 0.1, 1.0, 0.2, 0.1, 0.0]).reshape(1, 6, 1)
    assert sensitivity(lambda x: ops.max_pool(x, 3, stride=1), x, Shift(1)) == (1.0, 0.5)
    weight = np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1)
    assert sensitivity(lambda x: ops.conv(x, weight), x, Shift(1)) == (1.0, 1.0)
    assert sensitivity(lambda x: ops.global_pool(x, "max"), x, Flip(0))[1] == 0.0
    with pytest.raises(ShapeError, match="keep the shapes"):
        sensitivity(lambda x: x, np.ones((1, 4, 1)), Scale(2))
