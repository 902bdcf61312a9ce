"""The same as PyTorch on random draws of all arguments: values and gradients, small and large enough to run parallel.

As many draws a family as CONVND_PARITY_DRAWS says, 40 if it doesn't.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from convnd import Layout, Ragged, Tensor, loss, ops
from convnd.errors import ShapeError
from convnd.window import Window

torch = pytest.importorskip("torch")
hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")
given, F = hypothesis.given, torch.nn.functional
DRAWS = int(os.environ.get("CONVND_PARITY_DRAWS", "40"))
draws = hypothesis.settings(
    max_examples=DRAWS, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
LIMITS = {np.float32: 1e-5, np.float64: 1e-12}


def close(found: Any, wanted: Any, dtype: Any, what: str) -> None:
    """The difference's root mean square, relative to that of the values, or to a tenth (what comes back is about 1:
    a gradient near 0 is a difference of such numbers)."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, what
    scale = np.sqrt(np.mean(wanted**2)) if wanted.size else 0.0
    error = np.sqrt(np.mean((found - wanted) ** 2)) if wanted.size else 0.0
    assert error <= LIMITS[dtype] * max(scale, 0.1), f"{what}: {error:.2e} of {scale:.2e}"


def first(x: np.ndarray) -> Any:
    """Channels first, for PyTorch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()


def last(t: Any) -> np.ndarray:
    """And back."""
    return np.moveaxis(t.detach().numpy(), 1, -1)


def compare(
    x: np.ndarray, op: Any, theirs: Any, parameters: dict[str, np.ndarray], turned: dict[str, Any], wide: bool = False
) -> None:
    """Values and all gradients, and the batch as ragged; ``wide``: PyTorch's in float64."""
    dtype = x.dtype.type
    rng = np.random.default_rng(0)
    ours = {name: Tensor.parameter(value) for name, value in parameters.items()}
    given = Tensor(x, requires_grad=True)
    y = op(given, **ours)
    t = {name: turned[name](value) for name, value in parameters.items()}
    tx = first(x.astype(np.float64) if wide else x)
    ty = theirs(tx, **t)
    close(y.numpy(), last(ty), dtype, "values")
    g = rng.standard_normal(y.numpy().shape).astype(x.dtype)
    y.backward(g)
    ty.backward(torch.from_numpy(np.ascontiguousarray(np.moveaxis(g, -1, 1))).to(ty.dtype))
    close(given.grad, last(tx.grad), dtype, "gradient of x")
    for name, value in ours.items():
        wanted = turned[f"{name} back"](t[name].grad.numpy())
        close(value.grad, wanted, dtype, f"gradient of {name}")
    alone = op(Ragged.pack(list(x)), **parameters)
    np.testing.assert_array_equal(alone.values.reshape(y.numpy().shape), y.numpy())


def leaf(value: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(value)).requires_grad_()


def turned_weight(value: np.ndarray) -> Any:
    """(*kernel, C, F) to (F, C, *kernel)."""
    return leaf(np.moveaxis(value, (-1, -2), (0, 1)))


WEIGHT = {
    "weight": turned_weight, "weight back": lambda g: np.moveaxis(g, (0, 1), (-1, -2)),
    "bias": leaf, "bias back": lambda g: g,
}  # fmt: skip


@st.composite
def windows(draw: Any, large: bool = True) -> dict[str, Any]:
    """A rank, sizes, a window that fits, channels, a dtype."""
    rank = draw(st.integers(1, 3))
    kernel = draw(st.lists(st.integers(1, 5 if rank < 3 else 3), min_size=rank, max_size=rank))
    dilation = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    stride = draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = [draw(st.integers(0, e // 2)) for e in extent]
    most = ([400, 30, 12] if large and draw(st.integers(0, 9)) == 0 else [30, 10, 6])[rank - 1]
    least = [max(1, e - 2 * p) for e, p in zip(extent, padding, strict=True)]
    size = [draw(st.integers(n, n + most)) for n in least]
    return {
        "rank": rank, "kernel": kernel, "dilation": dilation, "stride": stride, "padding": padding, "size": size,
        "batch": draw(st.integers(1, 3)), "dtype": draw(st.sampled_from([np.float32, np.float64])),
        "groups": draw(st.sampled_from([1, 1, 2, 3, 4])), "each": draw(st.integers(1, 9)),
        "out": draw(st.integers(1, 9)), "wide": draw(st.sampled_from([1, 1, 4])), "seed": draw(st.integers(0, 2**31)),
    }  # fmt: skip


def numbers(d: dict[str, Any], *shape: int) -> np.ndarray:
    d["seed"] += 1
    values: np.ndarray = np.random.default_rng(d["seed"]).standard_normal(shape).astype(d["dtype"])
    return values


@draws
@given(windows(), st.sampled_from([None, "relu", "tanh"]))
def test_conv(d: dict[str, Any], activation: str | None) -> None:
    groups, each = d["groups"], d["each"] * (d["wide"] if d["rank"] < 3 else 1)
    x = numbers(d, d["batch"], *d["size"], groups * each)
    weight = numbers(d, *d["kernel"], each, groups * d["out"])
    window = {"stride": d["stride"], "padding": d["padding"], "dilation": d["dilation"], "groups": groups}
    conv = (F.conv1d, F.conv2d, F.conv3d)[d["rank"] - 1]
    after = {None: lambda t: t, "relu": torch.relu, "tanh": torch.tanh}[activation]
    compare(
        x, lambda x, weight, bias: ops.conv(x, weight, bias, activation=activation, **window),
        lambda x, weight, bias: after(conv(x, weight, bias, **window)),
        {"weight": weight, "bias": numbers(d, groups * d["out"])}, WEIGHT,
    )  # fmt: skip


@draws
@given(windows(), st.integers(0, 2))
def test_conv_transpose(d: dict[str, Any], more: int) -> None:
    groups = d["groups"]
    x = numbers(d, d["batch"], *d["size"], groups * d["each"])
    weight = numbers(d, *d["kernel"], d["out"], groups * d["each"])
    extra = [min(more, max(s, k) - 1) for s, k in zip(d["stride"], d["dilation"], strict=True)]
    extents = [k * (n - 1) + 1 for k, n in zip(d["dilation"], d["kernel"], strict=True)]
    whole = [
        (n - 1) * s + e - 2 * p + o
        for n, s, e, p, o in zip(d["size"], d["stride"], extents, d["padding"], extra, strict=True)
    ]
    if min(whole) < 1:
        return
    window = {"stride": d["stride"], "padding": d["padding"], "dilation": d["dilation"], "groups": groups}
    conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[d["rank"] - 1]
    compare(
        x, lambda x, weight, bias: ops.conv_transpose(x, weight, bias, output_padding=extra, **window),
        lambda x, weight, bias: conv(x, weight, bias, output_padding=extra, **window),
        {"weight": weight, "bias": numbers(d, groups * d["out"])}, WEIGHT,
    )  # fmt: skip


POOLS = ["max", "mean", "mean padded", "lp", "bins max", "bins mean", "global"]


@draws
@given(windows(), st.sampled_from(POOLS), st.booleans())
def test_pools(d: dict[str, Any], kind: str, ceil_mode: bool) -> None:
    rank, x = d["rank"], numbers(d, d["batch"], *d["size"], d["each"])
    padding = [min(p, k // 2) for p, k in zip(d["padding"], d["kernel"], strict=True)]  # PyTorch's rule
    dilation = d["dilation"] if kind == "max" else 1
    extents = np.array(dilation) * (np.array(d["kernel"]) - 1) + 1
    if (np.array(d["size"]) + 2 * np.array(padding) < extents).any():
        return
    window = {"stride": d["stride"], "padding": padding, "ceil_mode": ceil_mode}
    bins = [min(n, s) for n, s in zip(d["kernel"], d["size"], strict=True)]

    def pick(name: str) -> Any:
        return getattr(F, f"{name}{rank}d")

    if kind == "max":
        ours = lambda x: ops.max_pool(x, d["kernel"], dilation=dilation, **window)  # noqa: E731
        theirs = lambda x: pick("max_pool")(x, d["kernel"], dilation=dilation, **window)  # noqa: E731
    elif kind.startswith("mean"):
        if (np.array(d["size"]) < d["kernel"]).any():  # which PyTorch refuses in 3D, whatever the padding
            return
        padded = kind == "mean padded"
        ours = lambda x: ops.avg_pool(x, d["kernel"], count_include_pad=padded, **window)  # noqa: E731
        theirs = lambda x: pick("avg_pool")(x, d["kernel"], count_include_pad=padded, **window)  # noqa: E731
    elif kind == "lp":
        window.pop("padding")
        if (np.array(d["size"]) < d["kernel"]).any():
            return
        if ceil_mode:  # PyTorch scales a last window that isn't full
            window["ceil_mode"] = False
        ours = lambda x: ops.lp_pool(x, d["kernel"], 3, **window)  # noqa: E731
        x = np.abs(x) + d["dtype"](0.1)  # PyTorch's odd powers keep the sign
        wide, window["stride"] = (d["kernel"], d["stride"]) if rank > 1 else (d["kernel"][0], d["stride"][0])
        theirs = lambda x: pick("lp_pool")(x, 3, wide, **window)  # noqa: E731
    elif kind == "global":
        ours = lambda x: ops.proportional_pool(x, 1, "mean")  # noqa: E731
        theirs = lambda x: pick("adaptive_avg_pool")(x, 1)  # noqa: E731
    else:
        mode = kind.removeprefix("bins ")
        ours = lambda x: ops.proportional_pool(x, bins, mode)  # noqa: E731
        theirs = lambda x: pick(f"adaptive_{'avg' if mode == 'mean' else mode}_pool")(x, bins)  # noqa: E731
    if kind == "max" and np.isinf(theirs(first(x)).detach().numpy()).any():  # of padding alone
        with pytest.raises(ShapeError, match="without a true position"):
            ours(x)
        return
    compare(x, ours, theirs, {}, {})


@draws
@given(windows(), st.sampled_from(["batch", "instance", "group", "layer", "response"]))
def test_norms(d: dict[str, Any], kind: str) -> None:
    channels = 4 * d["each"]
    x = numbers(d, d["batch"], *[n + 5 for n in d["size"]], channels)  # of a few numbers a variance may be close to 0
    parameters = {"gamma": numbers(d, channels), "beta": numbers(d, channels)}
    turned = {"gamma": leaf, "gamma back": lambda g: g, "beta": leaf, "beta back": lambda g: g}
    mean, var = numbers(d, channels), np.abs(numbers(d, channels)) + d["dtype"](0.5)
    if kind == "batch":
        ours: Any = lambda x, gamma, beta: ops.batch_norm(x, gamma, beta, mean.copy(), var.copy())  # noqa: E731
        theirs: Any = lambda x, gamma, beta: F.batch_norm(  # noqa: E731
            x, torch.from_numpy(mean), torch.from_numpy(var), gamma, beta
        )
    elif kind == "instance":
        ours = ops.instance_norm
        theirs = lambda x, gamma, beta: F.instance_norm(x, weight=gamma, bias=beta)  # noqa: E731
    elif kind == "group":
        ours = lambda x, gamma, beta: ops.group_norm(x, 4, gamma, beta)  # noqa: E731
        theirs = lambda x, gamma, beta: F.group_norm(x, 4, gamma, beta)  # noqa: E731
    elif kind == "layer":
        ours = ops.layer_norm
        theirs = lambda x, gamma, beta: torch.movedim(  # noqa: E731
            F.layer_norm(torch.movedim(x, 1, -1), (channels,), gamma, beta), -1, 1
        )
    else:
        ours = lambda x: ops.local_response_norm(x, 3, alpha=0.5, k=1.5)  # noqa: E731
        theirs = lambda x: F.local_response_norm(x, 3, alpha=0.5, k=1.5)  # noqa: E731
        parameters, turned = {}, {}
    compare(x, ours, theirs, parameters, turned)


@draws
@given(windows(), st.sampled_from(["constant", "reflect", "replicate", "circular"]), st.data())
def test_pad(d: dict[str, Any], mode: str, data: Any) -> None:
    x = numbers(d, d["batch"], *d["size"], d["each"])
    most = [n - 1 if mode == "reflect" else n for n in d["size"]]
    pairs = [(data.draw(st.integers(0, min(4, m))), data.draw(st.integers(0, min(4, m)))) for m in most]
    flat = [side for pair in reversed(pairs) for side in pair]
    compare(x, lambda x: ops.pad(x, pairs, mode), lambda x: F.pad(x, flat, mode), {}, {})


@draws
@given(windows(), st.sampled_from(["nearest", "linear", "corners"]), st.data())
def test_resize(d: dict[str, Any], mode: str, data: Any) -> None:
    x = numbers(d, d["batch"], *d["size"], d["each"])
    size = tuple(data.draw(st.integers(1, 2 * n + 2)) for n in d["size"])
    name = "nearest" if mode == "nearest" else ("linear", "bilinear", "trilinear")[d["rank"] - 1]
    corners = {} if mode == "nearest" else {"align_corners": mode == "corners"}
    wide = mode != "nearest"  # its float32 coordinates are off by more than ours
    compare(
        x, lambda x: ops.resize(x, size, mode="linear" if wide else "nearest", **corners),
        lambda x: F.interpolate(x, size, mode=name, **corners), {}, {}, wide,
    )  # fmt: skip


ACTIVATIONS = {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "selu": F.selu, "gelu": F.gelu, "silu": F.silu,
    "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus, "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid, "absolute": torch.abs, "softmax": lambda t: F.softmax(t, 1),
    "log_softmax": lambda t: F.log_softmax(t, 1),
}  # fmt: skip


@draws
@given(windows(), st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from([0.1, 1.0, 3.0]))
def test_activations(d: dict[str, Any], name: str, scale: float) -> None:
    if name == "hardsigmoid":
        d["dtype"] = np.float32  # PyTorch's slope is a float32's 1/6 in float64 as well
    x = numbers(d, d["batch"], *d["size"], d["each"]) * d["dtype"](scale)
    compare(x, getattr(ops, name), ACTIVATIONS[name], {}, {})


@draws
@given(windows(), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_losses(d: dict[str, Any], weighted: bool, ignoring: bool, smoothing: float) -> None:
    """Cross-entropy per position with class weights, an ignored label and label smoothing; the mean squared error."""
    classes, dtype = d["each"] + 1, d["dtype"]
    x = numbers(d, d["batch"], *d["size"], classes)
    labels = np.random.default_rng(d["seed"]).integers(0, classes, size=x.shape[:-1])
    labels.flat[0] = 0
    ignore = classes - 1 if ignoring else None
    weights = np.abs(numbers(d, classes)) + dtype(0.1) if weighted else None
    given_x, t = Tensor(x, requires_grad=True), first(x)
    ours = loss.cross_entropy(given_x, labels, class_weights=weights, ignore=ignore, label_smoothing=smoothing)
    theirs = F.cross_entropy(
        t, torch.from_numpy(labels), None if weights is None else torch.from_numpy(weights),
        ignore_index=-100 if ignore is None else ignore, label_smoothing=smoothing,
    )  # fmt: skip
    close(ours.values, theirs.detach().numpy(), dtype, "cross-entropy")
    ours.backward()
    theirs.backward()
    count = labels.size  # the gradients are of about one over that
    close(given_x.grad * count, last(t.grad) * count, dtype, "its gradient")
    other = numbers(d, *x.shape)
    close(loss.mse(x, other).values, F.mse_loss(first(x), first(other)).detach().numpy(), dtype, "squares")


@draws
@given(windows(), st.sampled_from(["valid", "full", "same", "same_lower"]), st.booleans())
def test_conv_is_scipys(d: dict[str, Any], padding: str, flip: bool) -> None:
    """scipy.signal: for even kernels its "same" has the odd one first, as "same_lower" has it here."""
    signal = pytest.importorskip("scipy.signal")
    x, weight = numbers(d, *d["size"]), numbers(d, *d["kernel"])
    if padding == "valid" and (np.array(d["size"]) < d["kernel"]).any():
        return
    theirs = signal.convolve if flip else signal.correlate
    wanted = theirs(x, weight, mode="full", method="direct")
    if padding == "valid":
        wanted = wanted[tuple(slice(k - 1, n) for n, k in zip(d["size"], d["kernel"], strict=True))]
    elif padding != "full":
        low = [(k - 1) // 2 if padding == "same" else k // 2 for k in d["kernel"]]
        starts = [k - 1 - n for k, n in zip(d["kernel"], low, strict=True)]
        wanted = wanted[tuple(slice(start, start + n) for start, n in zip(starts, d["size"], strict=True))]
    found = ops.conv(x[None, ..., None], weight[..., None, None], padding=padding, flip=flip)
    close(found[0, ..., 0], wanted, d["dtype"], "values")
    if padding == "same_lower" and (np.array(d["size"]) >= d["kernel"]).all():
        close(found[0, ..., 0], theirs(x, weight, mode="same", method="direct"), d["dtype"], "scipy's same")


@draws
@given(windows(), st.sampled_from(["constant", "nearest", "mirror", "wrap"]))
def test_padding_modes_are_those_of_ndimage(d: dict[str, Any], mode: str) -> None:
    """scipy.ndimage.correlate pads as ops.pad does, under its own names."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x, weight = numbers(d, *d["size"]), numbers(d, *d["kernel"])
    ours = {"constant": "constant", "nearest": "replicate", "mirror": "reflect", "wrap": "circular"}[mode]
    pads = [(k // 2, k - 1 - k // 2) for k in d["kernel"]]
    if any(n < (k // 2 + 1) for n, k in zip(d["size"], d["kernel"], strict=True)):
        return
    found = ops.conv(ops.pad(x[None, ..., None], pads, ours), weight[..., None, None])
    close(found[0, ..., 0], ndimage.correlate(x, weight, mode=mode), d["dtype"], "values")


@draws
@given(windows(large=False))
def test_local_conv_is_jaxs(d: dict[str, Any]) -> None:
    jax = pytest.importorskip("jax")
    rank = d["rank"]
    x = numbers(d, d["batch"], *d["size"], d["each"]).astype(np.float32)
    place = Window.of(rank, d["kernel"], d["stride"], d["padding"], d["dilation"]).on(Layout.dense(len(x), d["size"]))
    output = place.output.shape(0)
    weight = numbers(d, *output, *d["kernel"], d["each"], d["out"]).astype(np.float32)
    flat = np.moveaxis(weight, -2, rank).reshape(*output, -1, d["out"])  # the channels slowest
    letters = "DHW"[-rank:]
    wanted = jax.lax.conv_general_dilated_local(
        x, flat, d["stride"], [(p, p) for p in d["padding"]], d["kernel"], rhs_dilation=d["dilation"],
        dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
    )  # fmt: skip
    window = {"stride": d["stride"], "padding": d["padding"], "dilation": d["dilation"]}
    close(ops.local_conv(x, weight, **window), np.asarray(wanted), np.float32, "values")
