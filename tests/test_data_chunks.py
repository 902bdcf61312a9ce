"""Chunks read past the HDF5 library: the same rows, and nothing that their checksums don't vouch for."""

from __future__ import annotations

import os
import threading

import h5py
import numpy as np
import pytest

from convnd import data
from convnd.data import _chunks, chunks
from convnd.data.chunks import Chunks, Descriptor
from convnd.errors import DataError

pytestmark = pytest.mark.skipif(not hasattr(os, "pread"), reason="the system has no pread")

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """Chunks are looked for with the first row."""
    monkeypatch.setattr(chunks, "PART", 0)


def chunks_of(dataset):
    return Chunks(dataset, Descriptor(dataset.file))


def dataset_of(path, values, **given):
    """A dataset of a new file."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("values", data=values, **{"fletcher32": True, **given})
    return h5py.File(path)["values"]


@pytest.mark.parametrize("what", ["random", "zeros", "ones", "sparse", "all of one bit"])
def test_checksums_are_those_of_hdf5(tmp_path, what):
    rng = np.random.default_rng(7)
    for size in (1, 2, 3, 31, 32, 33, 8191, 8192, 8193, 16384, 40_001, *rng.integers(1, 100_000, 8).tolist()):
        content = rng.integers(0, 256, size, dtype="uint8")
        if what == "sparse":
            content[rng.random(size) < 0.99] = 0
        elif what != "random":
            content[:] = {"zeros": 0, "ones": 255, "all of one bit": 128}[what]
        _, stored = dataset_of(tmp_path / "a.h5", content, chunks=(size,)).id.read_direct_chunk((0,))
        assert stored[:-4] == content.tobytes()
        assert _chunks.checksum(content) == int.from_bytes(stored[-4:], "little"), size


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("seed", range(12))
def test_rows_are_those_that_hdf5_reads(tmp_path, seed, libver):
    rng = np.random.default_rng(seed)
    rows, columns, chunk = int(rng.integers(1, 5000)), int(rng.integers(1, 5)), int(rng.integers(1, 900))
    values = rng.integers(0, 100, (rows, columns)).astype(rng.choice(DTYPES))
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        file.create_dataset("values", data=values, chunks=(min(chunk, rows), columns), fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        found = chunks_of(file["values"])
        assert Chunks.accepts(file["values"])
        for _ in range(40):
            start, stop = np.sort(rng.integers(0, rows + 1, 2)).tolist()
            out = np.empty((stop - start, columns), values.dtype)
            assert found.read(start, out)
            np.testing.assert_array_equal(out, file["values"][start:stop])


@pytest.mark.parametrize(
    "given",
    [
        {"fletcher32": False, "chunks": (10, 2)},
        {"fletcher32": False},
        {"compression": "gzip"},
        {"shuffle": True},
        {"chunks": (10, 1)},
    ],
    ids=str,
)
def test_what_is_left_to_hdf5(tmp_path, given):
    assert not Chunks.accepts(dataset_of(tmp_path / "a.h5", np.zeros((40, 2), "int16"), **given))


def test_other_machines_numbers_are_left_to_hdf5(tmp_path):
    assert not Chunks.accepts(dataset_of(tmp_path / "a.h5", np.zeros((40, 2), ">i2")))
    assert Chunks.accepts(dataset_of(tmp_path / "a.h5", np.zeros((40, 2), "<i2")))
    found = chunks_of(dataset_of(tmp_path / "a.h5", np.arange(80, dtype="<i2").reshape(40, 2)))
    assert not found.read(0, np.empty((40, 2), "float32"))
    assert not found.read(0, np.empty((2, 40), "int16").T)
    for start, shape in ((30, (11, 2)), (-1, (2, 2)), (0, (40, 1)), (0, (20, 4)), (41, (0, 2))):
        assert not found.read(start, np.empty(shape, "int16"))


def test_a_file_behind_a_block_of_its_users_is_left_to_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file.create_dataset("values", data=np.zeros((40, 2), "int16"), fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        assert not Chunks.accepts(file["values"])
    in_memory = h5py.File(tmp_path / "b.h5", "w", driver="core", backing_store=False)
    assert not Chunks.accepts(in_memory.create_dataset("values", data=np.zeros((40, 2), "int16"), fletcher32=True))


def test_chunks_that_are_not_there_or_damaged(tmp_path):
    """Never written, written past the checksum, flipped, behind the end of a file that was cut: all are HDF5's."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        dataset = file.create_dataset("values", (60, 1), "int16", chunks=(10, 1), fletcher32=True, fillvalue=7)
        dataset[10:60] = np.arange(50)[:, None]
        dataset.id.write_direct_chunk((20, 0), np.full(10, 5, "int16").tobytes(), filter_mask=1)
        file.flush()
        flipped = dataset.id.get_chunk_info_by_coord((40, 0)).byte_offset
    with path.open("r+b") as raw:
        raw.seek(flipped + 3)
        raw.write(b"\xff")
    with h5py.File(path) as file:
        found, out = chunks_of(file["values"]), np.empty((10, 1), "int16")
        good = []
        for start in range(0, 60, 10):
            good.append(found.read(start, out))
            if good[-1]:
                np.testing.assert_array_equal(out[:, 0], np.arange(start - 10, start))
        assert good == [False, True, False, True, False, True]
        assert (file["values"][:10] == 7).all()
        assert (file["values"][20:30] == 5).all()
        places = [file["values"].id.get_chunk_info_by_coord((start, 0)).byte_offset for start in range(10, 60, 10)]
        os.truncate(path, max(places) + 11)
        assert not found.read(10 + 10 * int(np.argmax(places)), out)


def test_threads_read_side_by_side(tmp_path):
    values = np.random.default_rng(0).integers(-99, 99, (200_000, 2)).astype("int16")
    found = chunks_of(dataset_of(tmp_path / "a.h5", values, chunks=(512, 2)))
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(200):
            start, stop = np.sort(rng.integers(0, len(values) + 1, 2)).tolist()
            out = np.empty((stop - start, 2), "int16")
            if not found.read(start, out) or not np.array_equal(out, values[start:stop]):
                wrong.append((start, stop))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_file_is_not_mistaken_for_the_next(tmp_path):
    """Who still reads keeps the file: its number isn't given to another."""
    values = np.arange(6000, dtype="int16")[:, None]
    found = chunks_of(dataset_of(tmp_path / "a.h5", values))
    out = np.empty_like(values)
    assert found.read(0, out)
    found._dataset.file.close()
    others = [h5py.File(tmp_path / f"{number}.h5", "w") for number in range(8)]
    assert found.read(0, out)
    np.testing.assert_array_equal(out, values)
    for other in others:
        other.close()


def test_a_few_rows_don_t_make_all_chunks_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "PART", 1 / 16)
    with data.create(tmp_path / "a.h5", ndim=1, channels=1, dtype="int16", target=None) as writer:
        for number in range(100):
            writer.append(np.full((500, 1), number, "int16"))
    with data.open(tmp_path / "a.h5") as file:
        found = file._handle.chunks("values")
        for number in range(7):
            assert found._places is None
            assert (file.samples[number].values == number).all()
        assert found._places is not None
        assert (file.samples[50].values == 50).all()


def test_a_damaged_index_is_left_to_hdf5(tmp_path):
    """Indexes of the older format have no checksums: chunks where none can be, which HDF5 reads in its way."""
    values = np.arange(4000, dtype="int16")[:, None]
    with h5py.File(tmp_path / "a.h5", "w", libver="earliest") as file:
        file.create_dataset("values", data=values, chunks=(100, 1), fletcher32=True)
    with h5py.File(tmp_path / "a.h5") as file:
        where = file["values"].id.get_chunk_info_by_coord((700, 0)).byte_offset
    content = (tmp_path / "a.h5").read_bytes()
    address, offset = where.to_bytes(8, "little"), (700).to_bytes(8, "little")
    undefined = b"\xff" * 8
    for old, new in ((address, undefined), (address, b"\xff" * 7 + b"\x7f"), (offset, (90_000).to_bytes(8, "little"))):
        assert content.count(old) == 1
        (tmp_path / "b.h5").write_bytes(content.replace(old, new))
        with h5py.File(tmp_path / "b.h5") as file:
            found, out, read = chunks_of(file["values"]), np.empty((100, 1), "int16"), []
            for start in range(0, 4000, 100):
                if found.read(start, out):
                    read.append(start)
                    np.testing.assert_array_equal(out, values[start : start + 100])
        assert 700 not in read
        assert len(read) in (39, 0)  # none where HDF5 can't say where the chunks are


def test_many_open_files(tmp_path):
    """Where no more files may be open HDF5 reads, as it has its own."""
    import resource

    with data.create(tmp_path / "a.h5", ndim=1, channels=1, dtype="int16", target=None) as writer:
        writer.append(np.full((500, 1), 3, "int16"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    file, others = data.open(tmp_path / "a.h5"), []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        try:
            while True:
                others.append(os.dup(0))
        except OSError:
            pass
        assert (file.samples[0].values == 3).all()
        assert file._handle.chunks("values") is None
    finally:
        for other in others:
            os.close(other)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        file.close()


@pytest.mark.parametrize("change", [{"count": 50}, {"channels": 2}, {"length": 400}, {"dtype": "uint16"}], ids=str)
def test_a_file_that_was_replaced(tmp_path, change):
    """What is known of a file must be true when it is opened again."""

    def write(path, count=100, channels=1, length=500, dtype="int16"):
        with data.create(path, ndim=1, channels=channels, dtype=dtype, target=None) as writer:
            for number in range(count):
                writer.append(np.full((length, channels), number, dtype))

    write(tmp_path / "a.h5")
    write(tmp_path / "b.h5", **change)
    with data.open(tmp_path / "a.h5") as file:
        assert (file.samples[70].values == 70).all()
        file.close()
        assert (file.samples[71].values == 71).all()  # the same one
        file.close()
        os.replace(tmp_path / "b.h5", tmp_path / "a.h5")
        with pytest.raises(DataError, match="has changed since it was opened"):
            file.samples[40]
