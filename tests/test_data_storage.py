"""How values lie in a file: compressions, chunks, and how threads share the reading."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from convnd import data
from convnd.data import batch as batch_module
from convnd.data import filters, finish, reader
from convnd.data.buffers import Buffers
from convnd.data.convert import convert, factor
from convnd.data.filters import NAMES
from convnd.data.handle import Handle
from convnd.errors import ArgumentError, DataError

FILTERS = {"gzip": 1, "lzf": 32000, **{name: code for name, (_, code) in filters.PLUGINS.items()}}


def samples(count=60, seed=0):
    """Walks of 1 to 6000 positions, which compress."""
    rng = np.random.default_rng(seed)
    steps = [rng.integers(-9, 10, (int(rng.integers(1, 6000)), 2)) for _ in range(count)]
    return [np.cumsum(step, axis=0).astype("int16") for step in steps]


def write(path, values, **given):
    with data.create(path, ndim=1, channels=2, dtype="int16", scale=0.5, **given) as writer:
        for number, value in enumerate(values):
            writer.append(value, label=number % 3, weight=1 + number % 2)
    return path


@pytest.mark.parametrize("compress", [False, True, None, *NAMES])
def test_compressions(tmp_path, compress):
    values = samples()
    path = write(tmp_path / "a.h5", values, compress=compress)
    with h5py.File(path) as root:
        assert root["values"].fletcher32
        plist = root["values"].id.get_create_plist()
        used = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
        name = "gzip" if compress is True else compress
        assert (FILTERS[name] in used) if name else used == [h5py.h5z.FILTER_FLETCHER32]
        assert used[-1] == h5py.h5z.FILTER_FLETCHER32  # Of the bytes as they are in the file.
        stored = root["values"].id.get_storage_size()
    size = sum(value.nbytes for value in values)
    assert (stored < 0.8 * size) == bool(compress)
    with data.open(path) as file:
        assert file.check() == []
        for batch in file["train"].batches(samples=7, seed=1):
            for number, value in zip(batch.numbers, batch.x, strict=True):
                np.testing.assert_array_equal(value, (values[number] * 0.5).astype("float32"))
            assert batch.targets.tolist() == [number % 3 for number in batch.numbers]
    again = write(tmp_path / "b.h5", values, compress=compress)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("compress", ["lzf", "blosc", "zstd"])
def test_a_flipped_byte_of_compressed_values_is_noticed(tmp_path, compress):
    path = write(tmp_path / "a.h5", samples(8), compress=compress)
    with h5py.File(path) as root:
        chunks = [root["values"].id.get_chunk_info(number) for number in range(root["values"].id.get_num_chunks())]
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for chunk in chunks[:3]:
        for place in rng.integers(0, chunk.size, 8):
            flipped = bytearray(content)
            flipped[chunk.byte_offset + int(place)] ^= 1 << int(place % 8)
            path.write_bytes(flipped)
            with data.open(path) as file, pytest.raises(DataError, match="is damaged: its values can't be read"):
                list(file["train"].batches(samples=8))


def test_compress_is_one_of_the_names(tmp_path, monkeypatch):
    for wrong in ("lz77", 3, "GZIP"):
        with pytest.raises(ArgumentError, match=r"compress must be True, False or one of gzip, lzf.* Received: "):
            write(tmp_path / "a.h5", samples(1), compress=wrong)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(DataError, match=r"compress='zstd' needs the package hdf5plugin: pip install convnd\[compres"):
        write(tmp_path / "a.h5", samples(1), compress="zstd")
    assert list(tmp_path.iterdir()) == []


def test_a_write_is_continued_with_the_same_compression_only(tmp_path):
    writer = data.create(tmp_path / "a.h5", ndim=1, channels=2, dtype="int16", compress="lzf")
    writer.append(np.zeros((4, 2), "int16"), label=0)
    writer.abandon()
    with pytest.raises(DataError, match="begun with compress='lzf': it can't be continued with compress='gzip'"):
        data.create(tmp_path / "a.h5", ndim=1, channels=2, dtype="int16", compress=True, resume=True)


def test_a_filter_that_is_not_there_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", samples(3), compress="blosc")
    with h5py.File(tmp_path / "theirs.h5", "w") as root:
        root.create_dataset("x/a", data=np.zeros(100), compression=32001)
    available = h5py.h5z.filter_avail
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: code < 30_000 and available(code))
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    message = r"a.h5: its /values needs HDF5's filter 32001 \(blosc\), which isn't installed"
    with pytest.raises(DataError, match=rf"{message}: it comes with the package hdf5plugin \(pip install convnd\["):
        data.open(path)
    monkeypatch.setitem(sys.modules, "hdf5plugin", object())  # It is there, without that filter.
    with pytest.raises(DataError, match=r"filter 32001 \(blosc\), which isn't installed$"):
        data.open(path)
    with pytest.raises(DataError, match=r"theirs.h5: its /x/a needs HDF5's filter 32001 \(blosc\)"):
        data.open(tmp_path / "theirs.h5", values="x")


KIB = 1024


@pytest.mark.parametrize(
    ("sizes", "width", "rows"),
    [
        (None, 8, 16 * KIB // 8),  # A table.
        ([10, 11], 4, 16 * KIB // 4),  # Small samples: 16 KiB.
        ([40_000, 120_000], 2, 16 * KIB // 2),  # sqrt(160,000 * 4096) = 25,600: the power of two below.
        ([400_000, 600_000], 2, 32 * KIB // 2),  # sqrt(1e6 * 4096) = 64,000
        ([10**6, 2 * 10**6], 4, 128 * KIB // 4),  # sqrt(6e6 * 4096) = 156,767
        ([10**9, 10**9 + 1], 8, 256 * KIB // 8),  # Large ones: 256 KiB.
        ([784] * 9, 1, 20 * 784),  # All of one size: whole samples,
        ([64**3] * 3, 4, 64**3 // 16),  # or whole parts of one: 64 KiB.
        ([30_030] * 3, 4, 30_030 // 10),  # (10 parts are the first that divide it; 8 wanted)
        ([10_007 * 10_009] * 2, 4, 256 * KIB // 4),  # No such part: as for any sizes.
        ([3, 5], 10**6, 1),  # A position of a megabyte.
        ([1, 1], 0, 16 * KIB),
    ],
)
def test_chunks_follow_from_the_sizes_of_samples(sizes, width, rows):
    assert finish.chunk_rows(None if sizes is None else np.array(sizes, dtype=np.int64), width) == rows


def test_chunks_in_the_file(tmp_path):
    with data.create(tmp_path / "a.h5", ndim=2, channels=3, dtype="uint8", target="ragged", classes=["a"]) as writer:
        for _ in range(50):
            writer.append(np.zeros((32, 32, 3), "uint8"), target=np.zeros((32, 32), int))
    with h5py.File(tmp_path / "a.h5") as root:
        assert root["values"].chunks == (5 * 1024, 3)
        assert root["targets"].chunks == (16 * 1024, 1)
        assert root["shapes"].chunks == (50, 2)
    with data.create(tmp_path / "b.h5", ndim=1, channels=1, dtype="uint8", target=None) as writer:
        writer.append(np.zeros((7, 1), "uint8"))
    with h5py.File(tmp_path / "b.h5") as root:
        assert root["values"].chunks == (7, 1)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("scale", [None, 0.5, 1 / 32768, 1 / 255, 0.1, (0.25, 3.0), (0.25, -2.0)], ids=str)
def test_values_are_rounded_once(dtype, scale):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        raw = rng.standard_normal((500, 2)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        raw = rng.integers(limits.min, limits.max, (500, 2), dtype=dtype, endpoint=True)
    out = np.empty((500, 2), "float32")
    convert(raw, out, factor(dtype, scale))
    scales = np.broadcast_to(1.0 if scale is None else scale, 2).tolist()
    wanted = [[float(value) * by for value, by in zip(row, scales, strict=True)] for row in raw.tolist()]
    np.testing.assert_array_equal(out, np.array(wanted).astype("float32"))


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_stretches_hold_all_runs(tmp_path, monkeypatch, dtype):
    """Read in stretches of any size, batches are the same; a lock is held once a stretch that HDF5 reads."""
    rng = np.random.default_rng(3)
    values = [rng.integers(0, 99, (int(rng.integers(1, 40)), 2)).astype(dtype) for _ in range(50)]
    with data.create(tmp_path / "a.h5", ndim=1, channels=2, dtype=dtype, target=None, compress="lzf") as writer:
        for value in values:
            writer.append(value)
    file = data.open(tmp_path / "a.h5")
    taken = []

    class Lock:
        def __enter__(self):
            taken.append(1)

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(Handle, "lock", property(lambda self: Lock()))
    turns = []
    for stretch in (1, 100, 1000, 1 << 20):
        monkeypatch.setattr(batch_module, "STRETCH", stretch)
        taken.clear()
        for given in ({"samples": 50, "shuffle": False}, {"positions": 300, "seed": 1}):
            for batch in file["train"].batches(**given, prefetch=0):
                for number, value in zip(batch.numbers, batch.x, strict=True):
                    np.testing.assert_array_equal(value, values[number].astype("float32"))
        turns.append(len(taken))
    batches = 1 + len(file["train"].batches(positions=300, seed=1))
    # Each sample by itself, twice; or nothing to convert, and so no reason to take turns within a batch.
    assert turns[0] == (batches if dtype == "float32" else 100)
    assert turns == sorted(turns, reverse=True)
    assert turns[-1] == batches


def test_two_epochs_at_once(tmp_path):
    """Threads of several iterations share a file: training, and somebody who looks at it."""
    values = samples(30)
    file = data.open(write(tmp_path / "a.h5", values))
    wrong = []

    def epoch(seed):
        for batch in file["train"].batches(samples=4, seed=seed, workers=2):
            for number, value in zip(batch.numbers, batch.x, strict=True):
                if not np.array_equal(value, (values[number] * 0.5).astype("float32")):
                    wrong.append(number)

    threads = [threading.Thread(target=epoch, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_memory_is_used_again_when_nobody_holds_it():
    buffers = Buffers(100, 2, most=2)
    first = buffers.empty(60)
    first[:] = 1
    place = first.ctypes.data
    view = first.reshape(-1)[7:20].reshape(13, 1)
    del first
    other = buffers.empty(100)
    other[:] = 2
    assert other.ctypes.data != place
    assert (view == 1).all()  # Any view keeps the memory.
    del view
    again = buffers.empty(5)
    assert again.ctypes.data == place
    assert again.shape == (5, 2)
    assert again.flags.c_contiguous
    assert again.flags.writeable
    large = buffers.empty(101)  # A sample alone.
    assert large.shape == (101, 2)
    del large
    kept = [buffers.empty(9) for _ in range(4)]
    assert len({array.ctypes.data for array in kept}) == 4
    kept.clear()
    assert len(buffers.free) == 2
    del again
    assert len(buffers.free) == 2  # No more than asked for.
    buffers.close()
    assert buffers.free == []
    del other
    assert buffers.free == []


@pytest.mark.parametrize("augment", [None, "gain(0.5, 2.0)"])
def test_batches_that_are_kept_stay_as_they_are(tmp_path, augment):
    values = samples(40)
    with data.open(write(tmp_path / "a.h5", values)) as file:
        batches = file["train"].batches(samples=3, prefetch=2, seed=1, augment=augment)
        wanted = [batch.x.values.tobytes() for batch in batches]
        kept = list(batches)
        assert [batch.x.values.tobytes() for batch in kept] == wanted
        places = [batch.x.values.ctypes.data for batch in kept]
        assert len(set(places)) == len(places)
        some, seen = [], set()
        for number, batch in enumerate(batches):
            seen.add(batch.x.values.ctypes.data)
            if number % 5 == 0:
                some.append((number, batch.x.values[1:]))
        assert len(seen) < len(wanted)  # Memory of the others was used again.
        for number, rows in some:
            assert rows.tobytes() == wanted[number][8:]


def test_the_benchmark_runs(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    import loader

    monkeypatch.setattr(loader, "CASES", loader.CASES[:2])
    run = CliRunner().invoke(loader.main, ["throughput", "--size", "1", "--rounds", "1", "--compress", "lzf"])
    assert run.exit_code == 0, run.output
    lines = run.output.splitlines()
    assert len(lines) == 3
    assert all(float(word) > 0 for line in lines[1:] for word in line.split()[-7:])
    run = CliRunner().invoke(loader.main, ["memory", "--size", "0.01", "--positions", "500000", "--limit", "600"])
    assert run.exit_code == 0, run.output
    assert re.match(r"0\.01 GB in 1\d batches of at most 500,000 positions: ", run.output)


@pytest.mark.parametrize("stored", ["<i2", ">i2", "<i4"])
def test_runs_are_read_in_the_bytes_of_this_machine(tmp_path, stored):
    """Many short runs, read with what is made once for all of them; also where a file's bytes are in another order."""
    values = samples(20)
    path = write(tmp_path / "a.h5", values)
    with h5py.File(path, "a") as root:
        rows, options = root["values"][()], {"chunks": root["values"].chunks, "fletcher32": True}
        del root["values"]
        root.create_dataset("values", data=rows.astype(stored), **options)
        root.attrs["dtype"] = np.bytes_(np.dtype(stored).name)
    with data.open(path) as file:
        for batch in file["train"].batches(samples=7, seed=2):
            for number, value in zip(batch.numbers, batch.x, strict=True):
                np.testing.assert_array_equal(value, (values[number] * 0.5).astype("float32"))


def test_what_reading_runs_makes_once(tmp_path, monkeypatch):
    """A batch of samples from all over the file asks HDF5 for its spaces once, a file in two parts twice."""
    values, made = samples(20), []
    paths = [write(tmp_path / name, values, compress="lzf") for name in ("a.h5", "b.h5")]
    cursor = reader.Cursor
    monkeypatch.setattr(reader, "Cursor", lambda *given: made.append(1) or cursor(*given))
    with data.open(paths[0]) as file:
        (batch,) = file["train"].subset(range(0, 20, 2)).batches(samples=20)
        assert len(made) == 1
    with data.open(paths) as both:
        (again,) = both["train"].subset(range(0, 40, 2)).batches(samples=40, shuffle=False)
        assert len(made) == 3
    for number, value in zip(batch.numbers, batch.x, strict=True):
        np.testing.assert_array_equal(value, (values[number] * 0.5).astype("float32"))
    for number, value in zip(again.numbers, again.x, strict=True):
        np.testing.assert_array_equal(value, (values[number % 20] * 0.5).astype("float32"))
