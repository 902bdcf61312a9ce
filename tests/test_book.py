"""Equations and figures of chapter 9 of *Deep Learning*, by literal loops. The book's indices begin at 1."""

import numpy as np
import pytest

from convnd import Layout, Tensor, nn, ops
from convnd.window import Window


def image(v):
    """The book's V, (channel, row, column), as a batch of one."""
    return np.ascontiguousarray(v.transpose(1, 2, 0))[None]


def kernel(k):
    """The book's K, (output channel, input channel, row, column), as a weight."""
    return np.ascontiguousarray(k.transpose(2, 3, 1, 0))


def book(z):
    """A batch of one as the book's (channel, row, column)."""
    return z[0].transpose(2, 0, 1)


def test_equation_3_and_4_convolution_flips_the_kernel(rng):
    x, w = rng.standard_normal(9), rng.standard_normal(4)
    s = [sum(x[a] * w[t - a] for a in range(9) if 0 <= t - a < 4) for t in range(12)]
    found = ops.conv(x[None, :, None], w[:, None, None], padding="full", flip=True)
    np.testing.assert_allclose(found.ravel(), s, atol=1e-12)
    i, k = rng.standard_normal((5, 6)), rng.standard_normal((3, 2))
    want = np.zeros((7, 7))
    for row, column in np.ndindex(want.shape):
        for m, n in np.ndindex(i.shape):
            if 0 <= row - m < 3 and 0 <= column - n < 2:
                want[row, column] += i[m, n] * k[row - m, column - n]
    found = ops.conv(i[None, :, :, None], k[:, :, None, None], padding="full", flip=True)[0, :, :, 0]
    np.testing.assert_allclose(found, want, atol=1e-12)
    # Equation 5: it is commutative.
    other = ops.conv(k[None, :, :, None], i[:, :, None, None], padding="full", flip=True)[0, :, :, 0]
    np.testing.assert_allclose(other, want, atol=1e-12)


def test_equation_6_is_what_libraries_call_convolution(rng):
    i, k = rng.standard_normal((5, 6)), rng.standard_normal((3, 2))
    want = np.zeros((3, 5))
    for row, column in np.ndindex(want.shape):
        for m, n in np.ndindex(k.shape):
            want[row, column] += i[row + m, column + n] * k[m, n]
    found = ops.conv(i[None, :, :, None], k[:, :, None, None])[0, :, :, 0]
    np.testing.assert_allclose(found, want, atol=1e-12)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_equations_7_and_8_multichannel_convolution_with_a_stride(s, rng):
    v, k = rng.standard_normal((3, 11, 9)), rng.standard_normal((4, 3, 3, 2))
    rows, columns = (11 - 3) // s + 1, (9 - 2) // s + 1
    z = np.zeros((4, rows, columns))
    for i, j, c in np.ndindex(z.shape):
        for channel, m, n in np.ndindex(3, 3, 2):
            z[i, j, c] += v[channel, j * s + m, c * s + n] * k[i, channel, m, n]
    np.testing.assert_allclose(book(ops.conv(image(v), kernel(k), stride=s)), z, atol=1e-12)
    # A stride is the full convolution followed by downsampling.
    np.testing.assert_allclose(book(ops.conv(image(v), kernel(k)))[:, ::s, ::s], z, atol=1e-12)


def test_equation_9_locally_connected(rng):
    v, w = rng.standard_normal((2, 6, 5)), rng.standard_normal((3, 5, 4, 2, 2, 2))  # w_i,j,k,l,m,n
    z = np.zeros((3, 5, 4))
    for i, j, k in np.ndindex(z.shape):
        for channel, m, n in np.ndindex(2, 2, 2):
            z[i, j, k] += v[channel, j + m, k + n] * w[i, j, k, channel, m, n]
    found = ops.local_conv(image(v), w.transpose(1, 2, 4, 5, 3, 0))
    np.testing.assert_allclose(book(found), z, atol=1e-12)


def test_equation_10_tiled(rng):
    """The book's j % t + 1 is of a j that begins at 1, so ours is its roll by one."""
    t, v, k = 3, rng.standard_normal((2, 8, 9)), rng.standard_normal((4, 2, 2, 2, 3, 3))
    z = np.zeros((4, 7, 8))
    for i, j, c in np.ndindex(z.shape):
        for channel, m, n in np.ndindex(2, 2, 2):
            z[i, j, c] += v[channel, j + m, c + n] * k[i, channel, m, n, (j + 1) % t, (c + 1) % t]
    weight = np.roll(k.transpose(4, 5, 2, 3, 1, 0), -1, axis=(0, 1))
    np.testing.assert_allclose(book(ops.tiled_conv(image(v), weight)), z, atol=1e-12)


@pytest.mark.parametrize("s", [1, 2, 3])
def test_equations_11_to_13_the_gradients(s, rng):
    v, k = rng.standard_normal((3, 11, 9)), rng.standard_normal((4, 3, 3, 2))
    rows, columns = (11 - 3) // s + 1, (9 - 2) // s + 1
    upstream = rng.standard_normal((4, rows, columns))
    to_k = np.zeros_like(k)  # g(G, V, s), eq. 11
    for i, j, row, column in np.ndindex(k.shape):
        for m, n in np.ndindex(rows, columns):
            to_k[i, j, row, column] += upstream[i, m, n] * v[j, m * s + row, n * s + column]
    to_v = np.zeros_like(v)  # h(K, G, s), eq. 13
    for i, j, c in np.ndindex(v.shape):
        for row, m in np.ndindex(rows, 3):
            if row * s + m != j:
                continue
            for column, p in np.ndindex(columns, 2):
                if column * s + p == c:
                    to_v[i, j, c] += sum(k[q, i, m, p] * upstream[q, row, column] for q in range(4))
    x, w = Tensor(image(v), requires_grad=True), Tensor.parameter(kernel(k))
    ops.conv(x, w, stride=s).backward(image(upstream))
    np.testing.assert_allclose(w.grad, kernel(to_k), atol=1e-11)
    np.testing.assert_allclose(book(x.grad), to_v, atol=1e-11)
    found = ops.conv_weight(image(v), image(upstream), (3, 2), stride=s)
    np.testing.assert_allclose(found, kernel(to_k), atol=1e-11)
    back = ops.conv_transpose(image(upstream), kernel(k), stride=s, like=image(v))
    np.testing.assert_allclose(book(back), to_v, atol=1e-11)


def test_a_bias_is_shared_by_a_channel_or_by_a_tile_or_by_nobody(rng):
    v, k = rng.standard_normal((2, 5, 6)), rng.standard_normal((3, 2, 2, 2))
    z = book(ops.conv(image(v), kernel(k)))
    shared, tiled, own = rng.standard_normal(3), rng.standard_normal((2, 2, 3)), rng.standard_normal((4, 5, 3))
    found = {
        "shared": ops.conv(image(v), kernel(k), shared),
        "tiled": ops.tiled_bias(ops.conv(image(v), kernel(k)), tiled),
        "own": ops.tiled_bias(ops.conv(image(v), kernel(k)), own),
    }
    for i, j, c in np.ndindex(z.shape):
        assert np.isclose(book(found["shared"])[i, j, c], z[i, j, c] + shared[i])
        assert np.isclose(book(found["tiled"])[i, j, c], z[i, j, c] + tiled[j % 2, c % 2, i])
        assert np.isclose(book(found["own"])[i, j, c], z[i, j, c] + own[j, c, i])


def test_figure_1_convolution_by_hand():
    a, b, c, d, e, f, g, h, i, j, k, m = np.arange(1.0, 13.0)
    w, x, y, z = 100.0, 10.0, 1.0, 0.1
    want = [
        [a * w + b * x + e * y + f * z, b * w + c * x + f * y + g * z, c * w + d * x + g * y + h * z],
        [e * w + f * x + i * y + j * z, f * w + g * x + j * y + k * z, g * w + h * x + k * y + m * z],
    ]
    picture = np.array([[a, b, c, d], [e, f, g, h], [i, j, k, m]])
    found = ops.conv(picture[None, :, :, None], np.array([[w, x], [y, z]])[:, :, None, None])
    np.testing.assert_allclose(found[0, :, :, 0], want)


def test_figure_13_without_padding_the_sizes_shrink():
    """Kernels six wide: sixteen pixels last for three layers. Five zeros a layer keep the size."""
    x, weight = np.ones((1, 16, 1)), np.ones((6, 1, 1))
    sizes = [16]
    for _ in range(3):
        x = ops.conv(x, weight)
        sizes.append(x.shape[1])
    assert sizes == [16, 11, 6, 1]
    shape = (16,)
    for _ in range(10):
        shape = Window.of(1, 6, padding=((2, 3),)).on(Layout.dense(1, shape)).output.shape(0)
    assert shape == (16,)
    assert ops.conv(np.ones((1, 16, 1)), weight, padding="same").shape == (1, 16, 1)


def matrix(op, size, channels=1):
    """A linear operation on a sequence as (outputs, inputs)."""
    columns = [op(unit.reshape(1, size, channels)).ravel() for unit in np.eye(size * channels)]
    return np.array(columns).T


def test_figures_14_and_16_local_tiled_and_convolutional_connections():
    """Patches of two: which edges there are, and which share a letter."""
    letters = np.arange(1.0, 9.0)
    connected = np.array([[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1]], bool)
    local = matrix(lambda x: ops.local_conv(x, letters.reshape(4, 2, 1, 1)), 5)
    tiled = matrix(lambda x: ops.tiled_conv(x, letters[:4].reshape(2, 2, 1, 1)), 5)
    conv = matrix(lambda x: ops.conv(x, letters[:2].reshape(2, 1, 1)), 5)
    for found, edges in (
        (local, [1, 2, 3, 4, 5, 6, 7, 8]),  # a ... h: no sharing
        (tiled, [1, 2, 3, 4, 1, 2, 3, 4]),  # a b c d a b c d: two kernels in turn
        (conv, [1, 2, 1, 2, 1, 2, 1, 2]),  # a b a b a b a b: one
    ):
        assert (found != 0).tolist() == connected.tolist()
        assert found[connected].tolist() == edges
    full = matrix(lambda x: ops.linear(ops.flatten(x), np.arange(1.0, 26.0).reshape(5, 5)), 5)
    assert len(set(full.ravel())) == 25  # fully connected: every edge its own


def test_figure_15_connections_limited_between_channels(rng):
    """The first two outputs see the first two inputs alone, the others the others."""
    weight = rng.standard_normal((3, 2, 4))
    found = matrix(lambda x: ops.conv(x, weight, groups=2), 5, channels=4).reshape(3, 4, 5, 4)
    reached = np.abs(found).sum(axis=(0, 2)) > 0  # output channel x input channel
    assert reached.tolist() == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2


def test_sparse_interactions_reach_further_with_depth(rng):
    """Figures 2 to 4: a unit sees three inputs, one two layers deep five."""
    net = nn.Sequential(nn.Conv(1, 3, init=1.0), nn.Conv(1, 3, init=1.0)).build(1, 1, dtype="float64")
    x = Tensor(rng.standard_normal((1, 9, 1)), requires_grad=True)
    y = net(x)
    g = np.zeros((1, 5, 1))
    g[0, 2] = 1.0
    y.backward(g)
    assert (x.grad.ravel() != 0).tolist() == [False, False, True, True, True, True, True, False, False]
