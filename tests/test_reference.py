"""The specification itself, against SciPy and PyTorch."""

import numpy as np
import pytest
from scipy import ndimage, signal, special

from convnd import reference
from convnd.testing import check_adjoint


@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["valid", "full"])
def test_conv_is_scipys_correlation(rng, ndim, mode):
    x = rng.standard_normal((*rng.integers(4, 7, ndim), 2))
    weight = rng.standard_normal((*rng.integers(1, 4, ndim), 2, 3))
    for flip, oracle in ((False, signal.correlate), (True, signal.convolve)):
        wanted = np.stack(
            [sum(oracle(x[..., c], weight[..., c, f], mode, method="direct") for c in range(2)) for f in range(3)], -1
        )
        np.testing.assert_allclose(reference.conv(x, weight, padding=mode, flip=flip), wanted, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_same_is_scipys_centred_filter(rng, size):
    x, weight = rng.standard_normal(9), rng.standard_normal(size)
    # With an even kernel "same" puts the odd position at the end, so the window begins earlier than SciPy's.
    wanted = ndimage.correlate1d(x, weight, mode="constant", origin=-1 if size % 2 == 0 else 0)
    found = reference.conv(x[:, None], weight[:, None, None], padding="same")[:, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize(
    ("stride", "dilation", "padding", "groups"), [(1, 1, 0, 1), (2, 1, 1, 2), (1, 2, 2, 4), (3, 2, 1, 1)]
)
def test_convolutions_agree_with_pytorch(rng, ndim, stride, dilation, padding, groups):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    forward, transposed = getattr(f, f"conv{ndim}d"), getattr(f, f"conv_transpose{ndim}d")
    x = rng.standard_normal((*rng.integers(6, 9, ndim), 4))
    weight, bias = rng.standard_normal((*[3] * ndim, 4 // groups, 8)), rng.standard_normal(8)
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups}
    first = lambda a: torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 0)))  # noqa: E731
    w = torch.from_numpy(np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1))))
    y = reference.conv(x, weight, bias, **options)
    wanted = forward(first(x)[None], w, torch.from_numpy(bias), **options)[0].numpy()
    np.testing.assert_allclose(np.moveaxis(y, -1, 0), wanted, atol=1e-12)
    back = reference.conv_transpose(y, weight, **options)
    wanted = transposed(first(y)[None], w, None, **options)[0].numpy()
    np.testing.assert_allclose(np.moveaxis(back, -1, 0), wanted, atol=1e-11)


@pytest.mark.parametrize("padding", ["valid", "same", "same_lower", "causal", "full", ((1, 2), (0, 1))], ids=str)
@pytest.mark.parametrize(
    ("stride", "dilation", "groups", "flip"), [(1, 1, 1, False), (2, 1, 2, True), (2, 2, 1, False)]
)
def test_adjoint_identities(rng, padding, stride, dilation, groups, flip):
    options = {"stride": stride, "dilation": dilation, "padding": padding, "groups": groups, "flip": flip}
    x, w = rng.standard_normal((7, 8, 4)), rng.standard_normal((3, 2, 4 // groups, 6))
    y = reference.conv(x, w, **options)
    g = rng.standard_normal(y.shape)
    check_adjoint(
        lambda v: reference.conv(v, w, **options),
        lambda v: reference.conv_transpose(v, w, like=x.shape[:-1], **options),
        x,
        g,
    )
    check_adjoint(
        lambda v: reference.conv(x, v, **options), lambda v: reference.conv_weight(x, v, (3, 2), **options), w, g
    )


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding"), [(2, None, 0), (3, 2, 1), (2, 3, 1)])
def test_pools_agree_with_pytorch(rng, ndim, ceil_mode, size, stride, padding):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x = rng.standard_normal((*rng.integers(6, 9, ndim), 2))
    t = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 0)))[None]
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    wanted = getattr(f, f"max_pool{ndim}d")(t, size, **options)[0].numpy()
    np.testing.assert_array_equal(np.moveaxis(reference.pool(x, size, **options), -1, 0), wanted)
    found = reference.pool(x, size, "mean", **options)
    wanted = getattr(f, f"avg_pool{ndim}d")(t, size, count_include_pad=False, **options)[0].numpy()
    np.testing.assert_allclose(np.moveaxis(found, -1, 0), wanted, atol=1e-12)
    if not ceil_mode:  # PyTorch cuts a window that ceil_mode lets reach past the padding; here it counts whole
        found = reference.pool(x, size, "mean", count_include_pad=True, **options)
        wanted = getattr(f, f"avg_pool{ndim}d")(t, size, **options)[0].numpy()
        np.testing.assert_allclose(np.moveaxis(found, -1, 0), wanted, atol=1e-12)


@pytest.mark.parametrize("bins", [(1, 1), (2, 3), (4, 9)])
def test_proportional_pool_agrees_with_pytorch(rng, bins):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((5, 7, 2))
    t = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 0)))[None]
    for mode, oracle in (("max", "adaptive_max_pool2d"), ("mean", "adaptive_avg_pool2d")):
        wanted = getattr(torch.nn.functional, oracle)(t, bins)[0].numpy()
        found = reference.proportional_pool(x, bins, mode)
        np.testing.assert_allclose(np.moveaxis(found, -1, 0), wanted, atol=1e-12)


def test_batch_norm_agrees_with_numpy_over_all_positions(rng, draw):
    samples = draw(2, 3)
    rows = np.concatenate([sample.reshape(-1, 3) for sample in samples])
    gamma, beta = rng.standard_normal((2, 3))
    wanted = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-3) * gamma + beta
    found = np.concatenate([y.reshape(-1, 3) for y in reference.batch_norm(samples, gamma, beta, eps=1e-3)])
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_activations_agree_with_scipy_and_pytorch(rng):
    torch = pytest.importorskip("torch")
    x = np.concatenate([rng.standard_normal(50), [-40.0, 40.0, 0.0]])
    for name in reference.ACTIVATIONS:
        functions = torch if name in ("sigmoid", "tanh", "absolute") else torch.nn.functional
        function = getattr(functions, name)
        wanted = function(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(reference.activate(x, name), wanted, rtol=1e-7, atol=1e-12, err_msg=name)


def test_softmax_agrees_with_scipy(rng):
    x = rng.standard_normal((4, 3, 6)) * 30
    np.testing.assert_allclose(reference.softmax(x), special.softmax(x, axis=-1), atol=1e-14)
    np.testing.assert_allclose(reference.log_softmax(x), special.log_softmax(x, axis=-1), atol=1e-12)
