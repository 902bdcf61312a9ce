"""Results made tile by tile: those of the whole, to the bit; and what needs the whole is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from predicting import CHANNELS, Draw
from test_nn_layers import LAYERS, OTHERS

from convnd import Ragged, Tensor, analysis, layout, nn
from convnd.errors import ArgumentError, DtypeError, ShapeError
from convnd.models.segment import unet


@pytest.fixture
def direct(monkeypatch):
    """Every convolution runs direct, those too that have no argument for it."""
    module = sys.modules["convnd.kernels.conv"]
    ways = tuple(way for way in module.IMPLEMENTATIONS if way.algorithm == "direct")
    assert len(ways) > 1
    monkeypatch.setattr(module, "IMPLEMENTATIONS", ways)
    layout._dense.cache_clear()  # layouts remember which way was chosen, operations which can be
    module._operation.cache_clear()
    yield
    layout._dense.cache_clear()
    module._operation.cache_clear()


def conv(filters, kernel, **settings):
    return nn.Conv(filters, kernel, algorithm="direct", **settings)


def segmenter(ndim, channels=1, dtype="float32"):
    """Any layer's bits are those of the whole here."""
    net = nn.Graph({
        "encoder": conv(4, 3, padding="same", activation="relu"),
        "down": nn.MaxPool(2, padding="same"),
        "middle": conv(8, 3, padding="same", activation="relu"),
        "norm": nn.BatchNorm(),
        "up": nn.Node(nn.ConvTranspose(4, 2, stride=2, padding="same"), "norm", like="encoder"),
        "join": nn.Node(nn.Concat(), "encoder", "up"),
        "scores": nn.Linear(3),
    })  # fmt: skip
    return net.build(ndim, channels, seed=1, dtype=dtype)


def global_net():
    return nn.Sequential(conv(4, 3), nn.GlobalPool(), nn.Linear(2)).build(1, 2)


def untrained(net, rng):
    """What training would have made of what starts as 0 or 1."""
    for _, layer in net.walk():
        for name, values in layer.params.items():
            if name in ("bias", "beta", "gamma"):
                values.assign(rng.standard_normal(values.values.shape).astype(values.dtype))
        for name, values in layer.buffers.items():
            layer.buffers[name] = (rng.random(values.shape) + 0.5).astype(values.dtype)
    return net


class Reading:
    """A sample that keeps which boxes of it were read."""

    def __init__(self, values):
        self.values, self.shape, self.boxes = values, values.shape, []

    def __getitem__(self, key):
        self.boxes.append(tuple((s.start, s.stop) for s in key))
        return self.values[key]


# The bits


@pytest.mark.parametrize("seed", range(32))
def test_networks_drawn_at_random_give_the_bits_of_the_whole(seed, direct):
    tried, draws = 0, np.random.default_rng(seed)
    while tried < 2:  # not every draw is a network
        ndim, dtype = seed % 4 + 1, ("float32", "float64")[seed // 4 % 2]
        shape = tuple(int(size) for size in draws.integers(3, (20, 11, 8, 5)[ndim - 1], ndim))
        x = draws.standard_normal((2, *shape, CHANNELS)).astype(dtype)
        try:
            net = untrained(Draw(draws, ndim).graph().build(ndim, CHANNELS, shape=shape, dtype=dtype), draws)
            whole = net(x)
        except (ShapeError, ArgumentError):
            continue
        tried += 1
        for _ in range(2):
            tile = tuple(int(draws.integers(1, size + 2)) for size in whole.shape[1:-1])
            np.testing.assert_array_equal(net.predict(x, tile=tile), whole, err_msg=f"{net!r}, {shape}, {tile}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("ndim", "tiles"), [(1, (1, 2, 3, 7, 30)), (2, (3, (1, 9), (8, 4))), (3, (4, (2, 9, 5)))])
def test_an_encoder_and_its_decoder(ndim, tiles, dtype, rng):
    net = untrained(segmenter(ndim, dtype=dtype), rng)
    for shape in ((23, 9, 8), (8, 10, 7)):
        x = rng.standard_normal((2, *shape[:ndim], 1)).astype(dtype)
        for tile in tiles:
            result = net.predict(x, tile=tile)
            np.testing.assert_array_equal(result, net(x))
            assert result.dtype == dtype


def test_the_named_segmenter(direct, rng):
    net = untrained(unet(3, width=4, depth=3).build(2, 1), rng)
    x = rng.standard_normal((1, 37, 50, 1)).astype(np.float32)
    for tile in (16, (5, 64)):
        np.testing.assert_array_equal(net.predict(x, tile=tile), net(x))


def test_a_classifier_that_slides(rng):
    """The result is smaller than the sample."""
    net = nn.Sequential(conv(6, 5, stride=2, activation="relu"), nn.AvgPool(2), conv(4, 3), nn.Linear(2)).build(2, 3)
    x = rng.standard_normal((1, 61, 40, 3)).astype(np.float32)
    whole = net(x)
    assert whole.shape == (1, 12, 7, 2)
    for tile in (1, (5, 3)):
        np.testing.assert_array_equal(net.predict(x, tile=tile), whole)


def test_what_reads_padding_alone(rng):
    """Outputs that read no position of the sample, in tiles of their own."""
    for layer in (conv(2, 1, padding=3), conv(2, 2, stride=3, padding=((5, 4),)), nn.Pad(((4, 3),), value=2.0)):
        net = nn.Sequential(layer, nn.Activation("sigmoid")).build(1, 2)
        x = rng.standard_normal((1, 4, 2)).astype(np.float32)
        for tile in (1, 2):
            np.testing.assert_array_equal(net.predict(x, tile=tile), net(x))
    nothing = conv(2, 1, stride=3, padding=1).build(1, 2)
    np.testing.assert_array_equal(nothing.predict(x[:, :1], tile=1), nothing(x[:, :1]))


def test_automatic_choices_differ_by_rounding_alone(rng):
    net = nn.Sequential(*(nn.Conv(32, 3, padding="same", activation="relu") for _ in range(3)), nn.Conv(4, 9))
    net.build(2, 8)
    x = rng.standard_normal((1, 90, 70, 8)).astype(np.float32)
    whole, tiled = net(x), net.predict(x, tile=32)
    assert np.sqrt(np.mean((tiled - whole) ** 2) / np.mean(whole**2)) < 1e-5
    np.testing.assert_array_equal(net.predict(x, tile=(82, 100)), whole)  # one tile


# What is read


@pytest.mark.parametrize("tile", [1, 3, (4, 7)])
def test_a_tile_reads_exactly_its_receptive_field(tile, rng):
    net = nn.Graph({
        "a": conv(3, 3, stride=2, padding="same_lower"),
        "b": conv(3, 3, dilation=2, padding="same"),
        "c": nn.MaxPool(2, padding="same"),
        "up": nn.Node(nn.ConvTranspose(3, 3, stride=2, padding="same"), "c", like="a"),
        "sum": nn.Node(nn.Add(), "b", "up"),
        "large": nn.Node(nn.Resize(mode="linear"), "sum", like="input"),
        "crop": nn.Crop(((1, 2), (0, 3))),
    }).build(2, 1)  # fmt: skip
    shape = (21, 18)
    sample = Reading(rng.standard_normal((*shape, 1)).astype(np.float32))
    result = net.predict(sample, tile=tile)
    field = analysis.receptive_fields(net, (*shape, 1)).output
    tile = np.broadcast_to(tile, 2)
    starts = [range(0, size, step) for size, step in zip(result.shape, tile, strict=False)]
    wanted = [
        tuple(
            (int(field.first[axis][q : q + step].min()), int(field.last[axis][q : q + step].max()) + 1)
            for axis, (q, step) in enumerate(zip((i, j), tile, strict=True))
        )
        for i in starts[0]
        for j in starts[1]
    ]
    assert sample.boxes == wanted


# Less than the receptive field


def test_an_overlap_in_positions_is_approximate(rng):
    net = segmenter(2)
    sample = Reading(rng.standard_normal((64, 48, 1)).astype(np.float32))
    whole = net.predict(sample)
    errors, read = [], []
    for overlap in (0, 1, (0, 10), 3):
        sample.boxes.clear()
        errors.append(np.abs(net.predict(sample, tile=16, overlap=overlap) - whole).max())
        read.append(sum(np.prod([stop - start for start, stop in box]) for box in sample.boxes))
    assert errors[0] > errors[1] > 0
    assert errors[2] > errors[3] == 0  # on both axes it is all that there is to see
    assert read[0] == 64 * 48 < read[1] < read[3]
    assert read[0] < read[2] < read[3]
    np.testing.assert_array_equal(net.predict(sample, tile=16, overlap=1000), whole)


@pytest.mark.parametrize("seed", range(12))
def test_any_overlap_works_and_a_large_one_is_exact(seed, direct):
    draws, done = np.random.default_rng(seed), 0
    while not done:
        ndim = seed % 3 + 1
        shape = tuple(int(size) for size in draws.integers(4, (20, 12, 8)[ndim - 1], ndim))
        x = draws.standard_normal((1, *shape, CHANNELS)).astype(np.float32)
        try:
            net = Draw(draws, ndim).graph().build(ndim, CHANNELS, shape=shape)
            whole = net(x)
        except (ShapeError, ArgumentError):
            continue
        done += 1
        assert net.predict(x, tile=2, overlap=0).shape == whole.shape
        np.testing.assert_array_equal(net.predict(x, tile=3, overlap=10_000), whole)


# Every layer


def either(first, second, *others, feeds=None):
    """Two layers side by side that a third one takes."""
    return nn.Graph({
        "a": nn.Node(first, "input"),
        "b": nn.Node(second, "input"),
        "last": nn.Node(others[0], *(feeds or ("a", "b"))),
    })


SEVERAL = {
    "Add": lambda: either(conv(4, 3, padding="same"), nn.Activation("tanh"), nn.Add()),
    "Concat": lambda: either(conv(4, 3, padding="same"), nn.Activation("tanh"), nn.Concat()),
    "Multiply": lambda: either(conv(1, 3, padding="same"), nn.Activation("tanh"), nn.Multiply()),
    "CropLike": lambda: either(nn.Activation("tanh"), conv(4, 3), nn.CropLike()),
    "PadLike": lambda: either(conv(4, 3), nn.Activation("tanh"), nn.PadLike()),
    "MaxUnpool": lambda: either(nn.MaxPool(2), nn.Activation("tanh"), nn.MaxUnpool(2)),
    "StochasticPool": lambda: nn.Sequential(nn.Activation("relu"), nn.StochasticPool(3, stride=2)),
    "Graph": lambda: nn.Graph({"conv": conv(4, 3)}),
    "Sequential": lambda: nn.Sequential(conv(4, 3)),
    "Embedding": lambda: nn.Sequential(nn.Embedding(9, 4), conv(4, 3)),
}
REASONS = {
    "GlobalPool": "it pools all positions of the sample",
    "ProportionalPool": "its bins are shares of the whole sample",
    "SpatialPyramidPool": "its bins are shares of the whole sample",
    "QuadrantPool": "its bins are shares of the whole sample",
    "Flatten": "it joins all positions of the sample in one vector",
    "InstanceNorm": "it normalises by statistics of the whole sample",
    "GroupNorm": "it normalises by statistics of the whole sample",
    "LocalContrastNorm": "its least divisor is a mean over the whole sample",
    "SqueezeExcite": "it scales by means over the whole sample",
    "ScaleChannels": "its factors are the same for the whole sample",
    "KMaxPool": "its k largest are those of the whole first axis",
    "RoiPool": "its regions lie anywhere in the sample",
}


def test_every_layer_is_made_in_tiles_or_refused():
    """A new layer must be in one of the lists."""
    ours = {name for name, kind in nn.Layer.types.items() if kind.__module__.startswith("convnd.")}
    assert ours == {type(layer).__name__ for layer in LAYERS} | SEVERAL.keys() | REASONS.keys()
    assert not SEVERAL.keys() & REASONS.keys()
    assert OTHERS - REASONS.keys() == SEVERAL.keys()


LOCAL = [layer for layer in LAYERS if type(layer).__name__ not in REASONS]


@pytest.mark.parametrize("layer", LOCAL, ids=repr)
def test_layers_made_in_tiles(layer, direct, rng):
    net = nn.from_config(layer.config()).build(2, 4, shape=(7, 8))
    x = rng.standard_normal((2, 7, 8, 4)).astype(np.float32)
    for tile in (1, 3, (4, 2)):
        np.testing.assert_array_equal(untrained(net, rng).predict(x, tile=tile), net(x))


@pytest.mark.parametrize("name", SEVERAL)
def test_layers_of_several_inputs_made_in_tiles(name, direct, rng):
    net = SEVERAL[name]().build(2, 1 if name == "Embedding" else 4)
    x = rng.integers(0, 9, (2, 8, 6, 1)) if name == "Embedding" else rng.standard_normal((2, 8, 6, 4))
    x = x.astype(np.float32)
    for tile in (1, 3, (4, 2)):
        np.testing.assert_array_equal(net.predict(x, tile=tile), net(x))


REFUSED = {
    **{type(layer).__name__: layer for layer in LAYERS if type(layer).__name__ in REASONS},
    "ScaleChannels": nn.ScaleChannels(),
    "RoiPool": nn.RoiPool(2),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_needs_the_whole_is_refused_with_its_name_and_the_reason(name):
    layer = REFUSED[name]
    first = nn.Activation("relu")
    if name == "ScaleChannels":
        net = nn.Graph({"inner": nn.Graph({"a": first, "last": nn.Node(layer, "a", "input")})})
        x, where = np.zeros((2, 4), np.float32), "inner: last"
    elif name == "RoiPool":
        net = nn.Graph({"inner": nn.Graph({"last": nn.Node(layer, "input", "input")})})
        x, where = np.zeros((2, 9, 2), np.float32), "inner: last"
    else:
        net = nn.Sequential(first, nn.Sequential(layer)).build(2, 4, shape=(7, 8))
        x, where = np.zeros((2, 7, 8, 4), np.float32), f"sequential1: {name.lower()}1"
    with pytest.raises(ArgumentError) as error:
        net.predict(x, tile=3)
    message = f"{where}: {name} can't be computed tile by tile: {REASONS[name]}. Leave out tile, which runs each "
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(f"Received: {layer!r}")


def test_a_refusal_writes_nothing(tmp_path, rng):
    net = nn.Sequential(conv(4, 3, padding="same"), nn.InstanceNorm()).build(1, 2)
    out = np.full((1, 40, 4), 7.0, np.float32)
    with pytest.raises(ArgumentError, match="InstanceNorm can't"):
        net.predict(rng.standard_normal((1, 40, 2)).astype(np.float32), tile=64, out=out)  # of one tile, too
    assert (out == 7).all()


class Sums(nn.Layer):
    """A user's own layer, which says nothing of what it reads."""

    def output(self, *inputs):
        return inputs[0]

    def forward(self, *inputs, mode):
        return inputs[0]


class Positions(Sums):
    """One that does."""

    pointwise = True


class Backwards(nn.Sequential):
    """A user's own network that runs its layers in another way."""

    def __init__(self):
        super().__init__(conv(2, 3))

    def forward(self, *inputs, mode):
        return super().forward(*inputs, mode=mode)


def test_a_users_own_layers(rng):
    x = rng.standard_normal((1, 9, 2)).astype(np.float32)
    with pytest.raises(ArgumentError, match=r"sums1: Sums can't be .*: it says neither that it is pointwise nor which"):
        nn.Sequential(conv(2, 3), Sums()).build(1, 2).predict(x, tile=2)
    net = nn.Sequential(conv(2, 3), Positions()).build(1, 2)
    np.testing.assert_array_equal(net.predict(x, tile=2), net(x))
    with pytest.raises(ArgumentError, match="Backwards can't be computed tile by tile"):
        Backwards().build(1, 2).predict(x, tile=2)


# Forms of samples, and where results go


def test_ragged_batches_and_lists_of_different_sizes(rng):
    net = segmenter(2)
    samples = [rng.standard_normal((*size, 1)).astype(np.float32) for size in ((9, 14), (1, 3), (20, 6), (20, 6))]
    ragged = Ragged.pack(samples)
    whole = net(ragged)
    for tile in (None, 5, (100, 2)):
        result = net.predict(ragged, tile=tile)
        assert isinstance(result, Ragged)
        assert result.layout == whole.layout
        np.testing.assert_array_equal(result.values, whole.values)
        listed = net.predict(samples, tile=tile)
        assert isinstance(listed, list)
        for own, wanted in zip(listed, whole, strict=True):
            np.testing.assert_array_equal(own, wanted)
    outs = [np.zeros_like(sample) for sample in whole]
    assert net.predict(samples, tile=4, out=outs) is outs
    for own, wanted in zip(outs, whole, strict=True):
        np.testing.assert_array_equal(own, wanted)


def test_one_sample_with_and_without_channels(rng):
    net = segmenter(2)
    x = rng.standard_normal((17, 9, 1)).astype(np.float32)
    whole = net(x[None])[0]
    for sample in (x, x[..., 0]):
        for tile in (None, 4):
            np.testing.assert_array_equal(net.predict(sample, tile=tile), whole)
            out = np.zeros_like(whole)
            assert net.predict(sample, tile=tile, out=out) is out
            np.testing.assert_array_equal(out, whole)


def test_networks_that_tell_no_rank_take_batches(rng):
    net = nn.Sequential(nn.MaxPool(3, stride=1), nn.Activation("tanh"))
    x = rng.standard_normal((3, 8, 5, 2)).astype(np.float32)
    np.testing.assert_array_equal(net.predict(x, tile=2), net(x))
    (one,) = net.predict([x[1]], tile=2)
    np.testing.assert_array_equal(one, net(x)[1])
    rows = rng.standard_normal((6, 4)).astype(np.float32)
    for flat in (nn.Linear(3).build(0, 4), nn.Sequential(nn.Linear(3)).build(0, 4)):
        np.testing.assert_array_equal(flat.predict(rows, tile=1), flat(rows))
    np.testing.assert_array_equal(flat.predict(rows[0], tile=1), flat(rows)[0])


def test_batches_without_samples():
    net, none = segmenter(1), np.zeros((0, 5, 1), np.float32)
    assert net.predict(none, tile=2).shape == net(none).shape
    assert net.predict([], tile=2) == []
    assert len(net.predict(Ragged(np.zeros((0, 1), np.float32), layout.Layout(np.zeros((0, 1), int))), tile=2)) == 0


def test_without_a_tile_any_network_runs(tmp_path, rng):
    net = global_net()
    samples = [rng.standard_normal((size, 2)).astype(np.float32) for size in (9, 5)]
    whole = net(Ragged.pack(samples))
    np.testing.assert_array_equal(net.predict(Ragged.pack(samples)).values, whole.values)
    np.testing.assert_array_equal(net.predict(samples), whole.values)
    x = np.stack([samples[0]] * 3)
    out = np.zeros((3, 2), np.float32)
    assert net.predict(x, out=out) is out
    np.testing.assert_array_equal(out, net(x))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x
        np.testing.assert_array_equal(net.predict(file["x"]), net(x))
        np.testing.assert_array_equal(net.predict([file["x"][0], samples[1]]), whole.values)


@pytest.mark.parametrize("stored", ["float32", "float64", "int16", "uint8", "bool"])
def test_from_file_to_file(stored, tmp_path, rng):
    net = nn.Sequential(conv(4, 3, padding="same", activation="tanh"), conv(1, 3, padding="same")).build(3, 1)
    volume = (rng.standard_normal((14, 9, 20)) * 10).astype(stored)
    whole = net(volume[None, ..., None].astype(np.float32))[0]
    with h5py.File(tmp_path / "in.h5", "w") as source, h5py.File(tmp_path / "out.h5", "w") as target:
        source["volume"] = volume
        source["with channels"] = volume[..., None]
        source["batch"] = np.stack([volume, volume[::-1]])[..., None]
        plain = target.create_dataset("plain", volume.shape, "float32", chunks=(8, 8, 8))
        full = target.create_dataset("full", whole.shape, "float32")
        half = target.create_dataset("half", whole.shape, "float16")
        both = target.create_dataset("both", (2, *whole.shape), "float32")
        assert net.predict(source["volume"], tile=6, out=plain) is plain
        net.predict(source["with channels"], tile=6, out=full)
        net.predict(source["volume"], tile=6, out=half)
        net.predict(source["batch"], tile=(14, 4, 5), out=both)
        np.testing.assert_array_equal(plain[...], whole[..., 0])
        np.testing.assert_array_equal(full[...], whole)
        np.testing.assert_array_equal(half[...], whole.astype(np.float16))
        np.testing.assert_array_equal(both[0], whole)
        np.testing.assert_array_equal(both[1], net(volume[::-1][None, ..., None].astype(np.float32))[0])


def test_memory_mapped_samples(tmp_path, rng):
    net = segmenter(2)
    image = (rng.standard_normal((30, 25)) * 50).astype(np.int16)
    image.tofile(tmp_path / "image")
    mapped = np.memmap(tmp_path / "image", np.int16, "r", shape=(30, 25))
    out = np.memmap(tmp_path / "scores", np.float32, "w+", shape=(30, 25, 3))
    net.predict(mapped, tile=8, out=out)
    np.testing.assert_array_equal(out, net(image[None, ..., None].astype(np.float32))[0])
    batch = np.memmap(tmp_path / "image", np.int16, "r", shape=(2, 15, 25, 1))
    np.testing.assert_array_equal(net.predict(batch), net(np.asarray(batch).astype(np.float32)))


def test_progress_counts_positions_of_the_result(rng):
    net, told = nn.Sequential(conv(2, 3)).build(1, 1), []
    samples = [rng.standard_normal((size, 1)).astype(np.float32) for size in (12, 3, 7)]
    net.predict(samples, tile=4, progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 16), (8, 16), (10, 16), (11, 16), (15, 16), (16, 16)]
    told.clear()
    net.predict(np.stack(samples[:1]), progress=lambda done, total: told.append((done, total)))
    net.predict(Ragged.pack(samples), progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 10), (16, 16)]


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a process's peak memory is read from /proc")
def test_memory_is_bounded_by_the_tile(tmp_path):
    """16 MB in, 16 MB out, 128 MB between."""
    code = (
        "import h5py, numpy as np\n"
        "from convnd import nn\n"
        "def peak():\n"
        "    return next(int(s.split()[1]) for s in open('/proc/self/status') if s.startswith('VmHWM'))\n"
        "net = nn.Sequential(nn.Conv(8, 3, padding='same'), nn.MaxPool(2, 1, 'same'), nn.Conv(1, 3)).build(2, 1)\n"
        "with h5py.File('in.h5', 'w') as file:\n"
        "    file.create_dataset('x', (2048, 2048), 'float32', chunks=(128, 128), fillvalue=1.0)\n"
        "with h5py.File('in.h5') as file, h5py.File('out.h5', 'w') as to:\n"
        "    out = to.create_dataset('y', (2046, 2046), 'float32', chunks=(128, 128))\n"
        "    net.predict(file['x'][:300, :300], tile=128)\n"
        "    before = peak()\n"
        "    net.predict(file['x'], tile=128, out=out)\n"
        "    print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert int(run.stdout) < 12288  # KB
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["y"][1, 1] == file["y"][2000, 2000] != 0


# Wrong use


def test_wrong_use_is_named(tmp_path, rng):
    net = segmenter(2)
    x = rng.standard_normal((1, 12, 9, 1)).astype(np.float32)

    def refuses(error, message, *args, net=net, **kwargs):
        with pytest.raises(error, match=message):
            net.predict(*args, **kwargs)

    refuses(ArgumentError, r"call build\(ndim, channels\) before predict\(\)", x, net=nn.Conv(2, 3))
    refuses(ArgumentError, "keeps no tape: call the network on a Tensor", Tensor(x), tile=4)
    refuses(ArgumentError, "x must be an array, or have a shape .* Received: str", "volume.h5", tile=4)
    refuses(ArgumentError, r"x\[1\] must be an array.* Received: float", [x[0], 1.0], tile=4)
    refuses(ShapeError, r"x must be samples of 2 axes: .* Received: shape \(12,\)", x[0, :, 0, 0], tile=4)
    refuses(ShapeError, r"x\[0\] must be a sample of 2 axes.* Received: shape \(1, 12, 9, 1\)", [x], tile=4)
    refuses(ShapeError, r"x must be samples: .* Received: shape \(3,\)", np.zeros(3, np.float32), net=nn.MaxPool(2))
    refuses(DtypeError, r"x must be float32 or float64; cast it", x.astype(int), tile=4)
    refuses(DtypeError, r"encoder: Conv was built in float32: cast the input", x.astype(float), tile=4)
    refuses(ShapeError, r"Conv was built for .*, channels=1. Received: ndim=2, channels=2", x[..., [0, 0]], tile=4)
    refuses(ShapeError, r"was built for .*, channels=1. Received: ndim=2, channels=2", x[..., [0, 0]])
    refuses(ShapeError, r"channels=2", np.memmap(tmp_path / "x", np.float32, "w+", shape=(12, 9, 2)), tile=4)
    refuses(DtypeError, "x must hold real numbers. Received: dtype complex64", Reading(x[0] + 1j), tile=4)
    refuses(ArgumentError, r"tile must be an int of at least 1, or 2 of them .* Received: tile=0", x, tile=0)
    refuses(ArgumentError, r"tile must be .* Received: tile=\(3,\)", x, tile=(3,))
    refuses(ArgumentError, r'overlap must be "receptive field", or positions. Received: overlap=\'all\'', x, 4, "all")
    refuses(ArgumentError, r"overlap must be an int of at least 0, or 2 .* Received: overlap=-1", x, 4, -1)
    refuses(ArgumentError, r"overlap goes with a tile. Received: overlap=2, tile=None", x, overlap=2)
    refuses(ArgumentError, r"progress must be a function \(done, total\). Received: progress=True", x, progress=True)


def test_samples_are_named_by_their_place(rng):
    net = nn.Sequential(conv(2, 5), nn.MaxPool(2)).build(1, 1)
    samples = [rng.standard_normal((size, 1)).astype(np.float32) for size in (9, 12, 5)]
    for x in (samples, Ragged.pack(samples)):
        with pytest.raises(ShapeError, match=r"^maxpool1: sample 2 is too short"):
            net.predict(x, tile=2)
    with pytest.raises(ShapeError, match=r"^maxpool1: sample 0 is too short"):
        net.predict(samples[2], tile=2)


@pytest.mark.parametrize("tile", [None, 4])
def test_places_that_a_result_does_not_fit_are_refused(tile, tmp_path, rng):
    net = segmenter(2)
    x = rng.standard_normal((1, 12, 9, 1)).astype(np.float32)

    def refuses(error, message, out, x=x):
        with pytest.raises(error, match=message):
            net.predict(x, tile=tile, out=out)

    refuses(ArgumentError, "out must be an array that slices can be assigned to. Received: str", "out.h5")
    refuses(ShapeError, r"result's shape \(1, 12, 9, 3\). Received: shape \(1, 12, 9\)", np.zeros((1, 12, 9), "f4"))
    refuses(DtypeError, "out must hold floats.* Received: dtype int32", np.zeros((1, 12, 9, 3), np.int32))
    fixed = np.zeros((1, 12, 9, 3), np.float32)
    fixed.flags.writeable = False
    refuses(ArgumentError, "out must be writeable", fixed)
    refuses(ArgumentError, "out goes with arrays: give x.unpack", np.zeros((108, 3), np.float32), Ragged.pack(list(x)))
    refuses(ArgumentError, "out must be a list of 1, as x is. Received: ndarray", fixed, list(x))
    refuses(ArgumentError, "out must be a list of 1, as x is. Received: list", [], list(x))
    refuses(ShapeError, r"out\[0\] must have the result's shape \(12, 9, 3\)", [np.zeros((12, 9), np.float32)], list(x))
    same = nn.Sequential(conv(1, 3, padding="same")).build(2, 1)
    with pytest.raises(ArgumentError, match="out must not be x"):
        same.predict(x, tile=tile, out=x)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = x[0]
        with pytest.raises(ArgumentError, match="out must not be x"):
            same.predict(file["x"], tile=tile, out=file["x"])
