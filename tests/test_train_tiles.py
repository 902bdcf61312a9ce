"""Trained models applied tile by tile: the answers of the whole, from files to files, in bounded memory."""

from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest
from command import convnd
from training_files import classes_file, labels_file, numbers_file

import convnd as cn
from convnd import data, nn
from convnd.data import Normaliser, normalise
from convnd.data.rows import Rows
from convnd.errors import ArgumentError, ConvndError, DataError, DtypeError, ShapeError
from convnd.train import Model

CLASSES = ["a", "b", "c"]
SIZES = {1: (301,), 2: (33, 41), 3: (17, 12, 15)}
TILES = {1: 40, 2: (7, 16), 3: 6}


def model(ndim=2, channels=2, kind="labels", normaliser=None, algorithm="direct", scale=None, **conv):
    """Windows, strides back and forth, statistics of training: what a small segmentation network has."""
    conv = {"algorithm": algorithm, "padding": "same"} | conv
    net = nn.Sequential(
        nn.Conv(6, 5, activation="relu", **conv), nn.BatchNorm(), nn.Conv(5, 3, dilation=2, **conv),
        nn.Activation("tanh"), nn.Conv(3, 3, **conv),
    ).build(ndim=ndim, channels=channels, seed=3)  # fmt: skip
    if normaliser == "channel":
        normaliser = Normaliser("channel", np.linspace(0.5, 1, channels), np.linspace(1.5, 2, channels))
    elif normaliser is not None:
        normaliser = Normaliser(normaliser)
    objective = {"kind": kind, "classes": CLASSES if kind == "labels" else [], "outputs": 3}
    config = {"data": {"ndim": ndim, "channels": channels, "scale": scale, "recipe": None}, "objective": objective}
    return Model(net, normaliser, config)


def sample(ndim=2, channels=2, seed=0):
    return (np.random.default_rng(seed).normal(size=(*SIZES[ndim], channels)) * 3 + 1).astype("float32")


# The normaliser, part by part


@pytest.mark.parametrize("part", [1 << 20, 1000, 7])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_sample_is_normalised_in_parts_to_the_same_bits(monkeypatch, part, ndim):
    monkeypatch.setattr(normalise, "PART", part)
    by_sample, x = Normaliser("sample"), sample(ndim)
    whole = by_sample.apply(cn.Ragged.pack([x])).unpack()[0]
    values = x.reshape(-1, 2).astype("float64")
    expected = ((values - values.mean(axis=0)) / values.std(axis=0)).reshape(x.shape)
    np.testing.assert_allclose(whole, expected, rtol=1e-6, atol=1e-6)
    change = by_sample.change(x)
    box = tuple(slice(1, size - 2) for size in x.shape[:-1])
    assert change(x[box]).tobytes() == whole[box].tobytes()


@pytest.mark.parametrize("shape", [(1,), (50,), (7, 9), (1, 40), (40, 1), (3, 4, 5), (2, 1, 3, 4), ()])
@pytest.mark.parametrize("limit", [1, 2, 5, 12, 1000])
def test_parts_follow_one_another_in_memory(shape, limit):
    numbers = np.arange(math.prod(shape)).reshape(shape)
    parts = [numbers[box].reshape(-1) for box in normalise._runs(list(shape), limit)]
    assert np.concatenate(parts).tolist() == list(range(numbers.size))
    assert max(map(len, parts)) <= limit
    assert len(parts) <= 1 or max(map(len, parts)) > 1 or limit == 1 or max(shape[-1:]) == 1


# Model.predict(tile=...)


@pytest.mark.parametrize("normaliser", [None, "channel", "sample"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_tiles_give_the_whole_to_the_bit_with_direct_kernels(ndim, normaliser, monkeypatch):
    monkeypatch.setattr(normalise, "PART", 300)
    x = sample(ndim)
    for kind, dtype in (("fields", np.float32), ("labels", np.int64)):
        made = model(ndim, kind=kind, normaliser=normaliser)
        whole, = made.predict([x])
        tiled, = made.predict([x], tile=TILES[ndim])
        assert (tiled.dtype, tiled.shape) == (dtype, whole.shape)
        assert tiled.tobytes() == whole.astype(dtype).tobytes()
    assert len(np.unique(tiled)) == 3


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_tiles_of_other_algorithms_agree(padding):
    x = sample(3)
    made = model(3, kind="fields", normaliser="sample", algorithm="auto", padding=padding)
    whole, tiled = made.predict([x])[0], made.predict([x], tile=6)[0]
    np.testing.assert_allclose(tiled, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


def test_samples_in_every_form(tmp_path):
    made = model(normaliser="sample")
    samples = [sample(seed=seed) for seed in range(3)]
    batch = np.stack(samples)
    wanted = made.predict(batch)
    assert made.predict(batch, tile=9).tobytes() == wanted.tobytes()
    assert made.predict(batch.astype("float64"), tile=9).tobytes() == wanted.tobytes()
    smaller = [samples[0], samples[1][:20], samples[2][5:, 3:]]
    for given in (smaller, tuple(smaller), cn.Ragged.pack(smaller)):
        tiled = made.predict(given, tile=9)
        assert isinstance(tiled, list)
        for ours, theirs in zip(tiled, made.predict(smaller), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.save(tmp_path / "x.npy", batch)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert made.predict(mapped, tile=9).tobytes() == wanted.tobytes()
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = batch
        out = file.create_dataset("labels", wanted.shape, "uint8")
        assert made.predict(file["x"], tile=9, out=out) is out
        np.testing.assert_array_equal(out[...], wanted)
        arrays = [file.create_dataset(f"one{n}", wanted.shape[1:], "int16") for n in range(2)]
        made.predict([file["x"][2], mapped[0]], tile=9, out=arrays)
        np.testing.assert_array_equal(arrays[0][...], wanted[2])
        np.testing.assert_array_equal(arrays[1][...], wanted[0])
    whole = np.empty(wanted.shape, np.int64)  # A place for the results needs no tile.
    assert made.predict(batch, out=whole) is whole
    np.testing.assert_array_equal(whole, wanted)


def test_one_channel_needs_no_axis_and_integers_their_scale():
    made = model(channels=1, normaliser="sample", scale=2**-7)
    stored = np.random.default_rng(0).integers(-300, 300, (33, 41)).astype("int16")
    wanted, = made.predict([stored[..., None]])
    assert made.predict([stored], tile=8)[0].tobytes() == wanted.tobytes()
    assert made.predict([stored[..., None] / np.float32(128)], tile=8)[0].tobytes() == wanted.tobytes()


def test_progress_counts_positions():
    seen = []
    model().predict([sample(), sample()[:20]], tile=(10, 41), progress=lambda *now: seen.append(now))
    total = 33 * 41 + 20 * 41
    assert seen == [(done * 41, total) for done in (10, 20, 30, 33, 43, 53)]


class Spy:
    """An array that remembers what was read of it."""

    def __init__(self, values):
        self.values, self.shape, self.read = values, values.shape, []

    def __getitem__(self, box):
        part = self.values[box]
        self.read.append(part.size)
        return part


@pytest.mark.parametrize("normaliser", ["channel", "sample"])
def test_a_sample_is_never_read_as_a_whole(normaliser, monkeypatch):
    monkeypatch.setattr(normalise, "PART", 500)
    spy = Spy(sample(3))
    made = model(3, normaliser=normaliser)
    made.predict([spy], tile=4)
    seen_around = 2 * (2 + 2 + 1)
    assert max(spy.read) <= max(500, (4 + seen_around) ** 3 * 2)
    assert max(spy.read) < spy.values.size
    tiles = math.prod(math.ceil(size / 4) for size in spy.shape[:-1])
    parts = 0 if normaliser == "channel" else 2 * sum(1 for _ in normalise._runs(list(spy.shape[:-1]), 250))
    assert len(spy.read) == tiles + parts
    assert sum(spy.read[:parts]) == (2 * spy.values.size if parts else 0)


def wrong():
    """Calls that are refused, with what they say."""
    x, image = sample(), model()
    bad = x.copy()
    bad[30, 2, 1] = np.nan
    pooled = Model(nn.Sequential(nn.Conv(4, 3), nn.GlobalPool(), nn.Linear(3)).build(ndim=2, channels=2), None,
                   image.config | {"objective": {"kind": "class", "classes": CLASSES, "outputs": 3}})  # fmt: skip
    looking = Model(nn.Sequential(nn.InstanceNorm(), nn.Conv(3, 1)).build(ndim=2, channels=2), None, image.config)
    return [
        (pooled, [x], {"tile": 8}, ArgumentError, "GlobalPool can't be computed tile by tile: "),
        (pooled, [x], {"out": [np.empty(3)]}, ArgumentError, "this model gives one answer a sample"),
        (looking, [x], {"tile": 100}, ArgumentError, "InstanceNorm can't be computed tile by tile: "),
        (image, [x], {"tile": 0}, ArgumentError, "tile must be an int of at least 1, or 2 of them"),
        (image, [x], {"tile": (4, 4, 4)}, ArgumentError, "tile must be an int of at least 1, or 2 of them"),
        (image, [x, x[..., 0]], {"tile": 8}, ShapeError, r"sample 1: the model takes samples of 2 axes and 2 channels"),
        (image, [x, x[None]], {"tile": 8}, ShapeError, r"sample 1: .*Received: shape \(1, 33, 41, 2\)"),
        (image, ["scan"], {"tile": 8}, ShapeError, "Received: str"),
        (image, x, {"tile": 8}, ShapeError, r"sample 0: .*Received: shape \(41, 2\)"),
        (image, [], {"tile": 8}, ArgumentError, "at least one sample"),
        (image, 5, {"tile": 8}, ArgumentError, "x must be an array, a Ragged or a list of samples. Received: int"),
        (image, [x, bad], {"tile": 8}, DataError, "sample 1: values must be finite, in float32. Received: NaN"),
        (image, [x, x.astype("float64") * 1e39], {"tile": 8}, DataError, "sample 1: values must be finite"),
        (image, [x + 1j], {"tile": 8}, DtypeError, "samples must be real numbers. Received: dtype complex"),
        (image, [x], {"tile": 8, "out": np.empty((33, 41))}, ArgumentError, "out must be a list of 1"),
        (image, [x], {"tile": 8, "out": [np.empty((33, 40))]}, ShapeError,
         r"sample 0: out must have the answer's shape \(33, 41\). Received: shape \(33, 40\)"),
        (image, [x], {"tile": 8, "out": [None]}, ShapeError, "Received: NoneType"),
        (image, x[None], {"tile": 8, "out": np.empty((2, 33, 41))}, ShapeError, "out must be an array of 1 answers"),
        (image, x[None], {"out": x[None, ..., 0]}, ArgumentError, "out must not be x"),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(19))
def test_what_is_refused(number):
    calls = wrong()
    assert len(calls) == 19
    made, x, given, error, message = calls[number]
    with pytest.raises(error, match=message):
        made.predict(x, **given)


def test_a_sample_that_is_too_small_is_named():
    with pytest.raises(ConvndError, match="sample 1"):
        model(padding="valid").predict([sample(), sample()[:3]], tile=8)


# Rows of a data file


@pytest.fixture(scope="module", params=[("int16", 0.37), ("float32", None)], ids=["scaled", "plain"])
def volumes(request, tmp_path_factory):
    dtype, scale = request.param
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("rows") / "a.h5"
    with data.create(path, ndim=3, channels=2, dtype=dtype, scale=scale, target=None) as writer:
        for number in range(3):
            writer.append(rng.integers(-99, 99, (*rng.integers(4, 12, 3), 2)).astype(dtype), name=f"scan {number}")
    return path


@pytest.mark.parametrize("hull", [1 << 22, 60, 1])
def test_rows_are_the_sample_box_by_box(volumes, hull, monkeypatch):
    monkeypatch.setattr("convnd.data.rows.HULL", hull)
    rng = np.random.default_rng(1)
    with data.open(volumes) as file:
        for number in range(3):
            rows, whole = Rows(file, number), file.samples[number].values
            assert rows.shape == whole.shape
            for _ in range(20):
                ends = [sorted(rng.choice(size + 1, 2, replace=False).tolist()) for size in whole.shape[:-1]]
                box = tuple(slice(*pair) for pair in ends)
                part = rows[box]
                assert part.dtype == np.float32
                assert part.tobytes() == np.ascontiguousarray(whole[box]).tobytes()


def test_rows_that_are_damaged_name_their_sample(tmp_path):
    values = np.arange(60_000, dtype="int16").reshape(300, 200, 1)
    with data.create(tmp_path / "a.h5", ndim=2, channels=1, dtype="int16", target=None, compress=None) as writer:
        writer.append(values, name="first")
    content = bytearray((tmp_path / "a.h5").read_bytes())
    place = content.index(values.reshape(-1)[50_000:50_010].tobytes())
    content[place] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with data.open(tmp_path / "a.h5") as file:
        rows = Rows(file, 0)
        with pytest.raises(DataError, match=r"a.h5: sample 0 \('first'\) can't be read"):
            rows[slice(0, 300), slice(100, 200)]


# The command line


TRAIN = ["--epochs", "1", "--samples", "8", "--seed", "1", "-q"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Runs of every kind and their data."""
    folder = tmp_path_factory.mktemp("place")
    labels_file(folder / "labels.h5")
    numbers_file(folder / "numbers.h5")
    classes_file(folder / "classes.h5")
    net = 'type = "Sequential"\n' + "".join(
        f'[[layers]]\ntype = "Conv"\nfilters = {filters}\nkernel = 3\npadding = "same"\nalgorithm = "direct"\n'
        for filters in (4, 2)
    )  # fmt: skip
    (folder / "net.toml").write_text(net)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnd.plots.available", lambda: False)
        for normaliser in ("sample", "channel"):
            convnd("train", folder / "labels.h5", "--model", folder / "net.toml", "--out", folder / normaliser,
                   "--normalize", normaliser, *TRAIN)  # fmt: skip
        for name in ("numbers", "classes"):
            small = ["--model", "small", "--set", "width=4"]
            convnd("train", folder / f"{name}.h5", *small, "--out", folder / name, *TRAIN)
    return folder


@pytest.mark.parametrize("normaliser", ["sample", "channel"])
def test_from_a_data_file_to_label_maps(place, tmp_path, normaliser):
    arguments = ["predict", place / normaliser, place / "labels.h5", "--split", "test", "--json"]
    whole = json.loads(convnd(*arguments, "--save", tmp_path / "whole"))
    tiled = json.loads(convnd(*arguments, "--save", tmp_path / "tiled", "--tile", "4,3"))
    out = tmp_path / "maps.h5"
    kept = json.loads(convnd(*arguments, "--out", out, "--tile", 4))
    untiled = json.loads(convnd(*arguments, "--out", tmp_path / "untiled.h5"))
    counted = json.loads(convnd(*arguments, "--tile", 4))
    assert len(whole) == len(tiled) == len(kept) == 3
    with h5py.File(out) as maps, h5py.File(tmp_path / "untiled.h5") as others:
        assert list(maps.attrs["classes"]) == ["background", "thing"]
        for number, (a, b, c) in enumerate(zip(whole, tiled, kept, strict=True)):
            label_map = np.load(a["saved"])
            ours = np.load(b["saved"])
            assert ours.dtype == label_map.dtype == maps[str(number)].dtype == np.uint8
            for found in (ours, maps[str(number)][...], others[str(number)][...]):
                np.testing.assert_array_equal(found, label_map)
            assert dict(maps[str(number)].attrs) == {"file": a["file"], "sample": a["sample"]}
            assert c["saved"] == str(out)
    for other in (tiled, kept, untiled, counted):
        for answer, first in zip(other, whole, strict=True):
            assert {**answer, "saved": 0} == {**first, "saved": 0}
    assert not list(tmp_path.rglob("*.part"))


def test_from_an_array_to_an_array(place, tmp_path):
    x = sample(2, channels=1)
    wanted, = cn.load(place / "sample").predict([x])
    for number, array in enumerate([x, x[..., 0], x.astype("float64"), x.astype(">f4")]):
        np.save(tmp_path / "x.npy", array)
        out = tmp_path / f"maps/{number}.npy"
        out.parent.mkdir(exist_ok=True)
        shown = convnd("predict", place / "sample", tmp_path / "x.npy", "--tile", "16", "--out", out)
        assert shown.startswith(f"{tmp_path / 'x.npy'}\t33x41\tbackground: ")
        assert shown.rstrip().endswith(str(out))
        np.testing.assert_array_equal(np.load(out), wanted)
    np.save(tmp_path / "x.npy", np.round(x * 10).astype("int16"))  # Physical values, whatever their dtype.
    convnd("predict", place / "sample", tmp_path / "x.npy", "--tile", "16", "--out", tmp_path / "y.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), cn.load(place / "sample").predict([np.round(x * 10)])[0])


@pytest.mark.parametrize("recipe", [{"kind": "volumes", "dtype": "int16"}, {"kind": "volumes", "spacing": None}])
def test_volumes_stay_on_the_disk(tmp_path, recipe):
    from convnd.data.prepare.inputs import load_inputs, stored_input

    for array in (np.arange(24, dtype="int16").reshape(2, 3, 4), np.random.default_rng(0).normal(size=(2, 3, 4, 2))):
        np.save(tmp_path / "a.npy", array)
        found = stored_input(tmp_path / "a.npy", recipe)
        assert isinstance(found, np.memmap)
        (_, wanted), = load_inputs(tmp_path / "a.npy", recipe)
        assert np.asarray(found).astype("float32").tobytes() == wanted.tobytes()
        assert found.shape == wanted.shape
    assert stored_input(tmp_path / "a.npy", recipe | {"spacing": [1, 1, 1]}) is None  # which load_inputs refuses
    assert stored_input(tmp_path / "a.npy", {"kind": "series"}) is None
    assert stored_input(tmp_path / "none.npy", recipe) is None
    assert stored_input(tmp_path / "a.nii", recipe) is None
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(DataError, match="a volume has three axes"):
        stored_input(tmp_path / "flat.npy", recipe)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-8])
    with pytest.raises(DataError, match=r"cut.npy: it claims an array .* truncated or damaged"):
        stored_input(tmp_path / "cut.npy", None)
    (tmp_path / "no.npy").write_bytes(b"PK\3\4 this is none")
    with pytest.raises(DataError, match=r"isn't a sound \.npy file"):
        stored_input(tmp_path / "no.npy", None)
    np.save(tmp_path / "none.npy", np.zeros((0, 2)))
    with pytest.raises(DataError, match=r"must hold numbers"):
        stored_input(tmp_path / "none.npy", None)


def test_a_bar_while_tiles_are_made(place, tmp_path, monkeypatch):
    seen = []

    class Bar:
        def __init__(self, label, what):
            assert (label, what) == ("predicting", "positions")

        def __call__(self, done, total, name):
            seen.append((done, total, name))

        def close(self):
            seen.append("closed")

    monkeypatch.setattr("convnd.cli.tiles.Bar", Bar)
    np.save(tmp_path / "x.npy", sample(2, channels=1))
    convnd("predict", place / "channel", tmp_path / "x.npy", "--tile", "20,41")
    assert seen == [(820, 1353, "x-0"), (1353, 1353, "x-0"), "closed"]
    convnd("predict", place / "channel", tmp_path / "x.npy", "--tile", "20,41", "--quiet")
    assert len(seen) == 3


MISTAKES = [
    (1, ["classes", "classes.h5", "--tile", "8"], "ProportionalPool can't be computed tile by tile"),
    (1, ["classes", "classes.h5", "classes.h5", "--tile", "8", "--out", "o.npy"], "can't be computed tile by tile"),
    (1, ["numbers", "numbers.h5", "--tile", "8", "--out", "o.h5"], "can't be computed tile by tile"),
    (2, ["classes", "classes.h5", "--out", "o.npy"], "--out is for results at positions"),
    (2, ["sample", "labels.h5", "--tile", "8,x"], "must be whole numbers above 0"),
    (2, ["sample", "labels.h5", "--tile", "0"], "must be whole numbers above 0"),
    (2, ["sample", "labels.h5", "--tile", "8,8,8"], "one for each of the data's 2 axes. Received: 3"),
    (2, ["sample", "labels.h5", "--out", "o.txt"], "must end in .h5, .hdf5 or .npy. Received: o.txt"),
    (2, ["sample", "labels.h5", "--out", "o.h5", "--save", "o"], "give one of them"),
    (2, ["sample", "labels.h5", "--tile", "4", "--out", "o.npy"], "o.npy can hold one result"),
    (1, ["sample", "wide.npy", "--tile", "4", "--out", "o.npy"], "2 axes and 1 channels. Received: shape (4, 5, 6)"),
    (1, ["sample", "nan.npy", "--tile", "4", "--out", "o.npy"], "sample nan.npy: values must be finite"),
    (1, ["channel", "nan.npy", "--tile", "4", "--out", "o.h5"], "sample nan.npy: values must be finite"),
    (1, ["channel", "none.npy", "--tile", "4", "--out", "o.h5"], "none.npy: there is no such file"),
    (1, ["channel", "labels.h5", "--tile", "4", "--split", "dev"], "has no split 'dev'"),
    (1, ["channel", "wide.npy", "--out", "nowhere/o.npy"], "2 axes and 1 channels"),
    (1, ["channel", "good.npy", "--out", "nowhere/o.npy"], "No such file or directory"),
    (1, ["channel", "good.npy", "--out", "nowhere/o.h5"], "No such file or directory"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words", "message"), MISTAKES, ids=[" ".join(words) for _, words, _ in MISTAKES])
def test_a_mistake_gets_one_plain_line_and_leaves_nothing(place, monkeypatch, code, words, message):
    monkeypatch.chdir(place)
    np.save("good.npy", sample(2, channels=1))
    np.save("wide.npy", np.zeros((4, 5, 6)))
    bad = sample(2, channels=1)
    bad[32, 40] = np.inf
    np.save("nan.npy", bad)
    before = sorted(place.iterdir())
    error = convnd("predict", *words, code=code)
    assert message in " ".join(error.split())
    assert len([line for line in error.splitlines() if line.startswith(("convnd:", "Error:"))]) == 1
    kept = {"o.npy"} if "can hold one result" in message else set()  # The first sample's result is complete.
    assert {path.name for path in set(place.iterdir()) - set(before)} == kept
    for name in kept:
        (place / name).unlink()


def test_a_bad_file_among_good_ones(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = sample(2, channels=1), sample(2, channels=1)
    bad[32, 40] = np.nan
    for name, array in (("a", good), ("b", bad), ("c", good[:9])):
        np.save(f"{name}.npy", array)
    error = convnd("predict", place / "channel", "a.npy", "b.npy", "c.npy", "--tile", "8", "--out", "o.h5", code=1)
    assert error.splitlines() == [
        "convnd: b.npy: sample b.npy: values must be finite, in float32. Received: NaN or infinity"
    ]
    with h5py.File("o.h5") as file:
        assert {name: file[name].attrs["file"] for name in file} == {"0": "a.npy", "1": "c.npy"}
        np.testing.assert_array_equal(file["1"][...], cn.load(place / "channel").predict([good[:9]])[0])
