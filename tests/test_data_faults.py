"""Files that were cut, flipped or are somebody else's; writers that were killed or ran out of disk."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import traceback
import tracemalloc

import h5py
import numpy as np
import pytest

from convnd import data
from convnd.data import chunks, pieces
from convnd.errors import DataError

COUNT = 40
GIVEN = {"ndim": 2, "channels": 3, "dtype": "int16", "classes": ["a", "b", "c"], "source": "nowhere", "scale": 0.5}


def sample(number):
    rng = np.random.default_rng(number)
    values = rng.integers(-9000, 9000, (*rng.integers(1, 9, 2), 3), dtype="int16")
    return {
        "values": values,
        "label": number % 3,
        "split": "test" if number % 4 == 0 else "train",
        "name": f"sample-{number}",
        "group": f"g{number % 5}",
        "weight": 1 + number / 8,
    }


def write(path, resume=False, count=COUNT):
    with data.create(path, **GIVEN, resume=resume) as writer:
        for number in range(count):
            if f"sample-{number}" not in writer.done:
                writer.append(**sample(number))


def in_child(work):
    """Run in a forked child; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch):
    """Waiting for the disk protects against power cuts, which no test here causes."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2000)


@pytest.fixture
def whole(tmp_path):
    path = tmp_path / "whole.h5"
    write(path)
    return path


class Killer:
    """Kills its own process at a line, counted over all lines of the data layer."""

    def __init__(self, at):
        self.at, self.lines = at, 0

    def __call__(self, frame, event, argument):
        if "convnd" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self

    def run(self, work):
        sys.settrace(self)
        try:
            work()
        finally:
            sys.settrace(None)


def test_the_same_samples_give_the_same_bytes(tmp_path, whole, small_pieces):
    write(tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes() == whole.read_bytes()


def test_a_killed_writer_goes_on(tmp_path, whole, small_pieces):
    """Killed again and again at random lines, then finished: the same bytes as if nothing had happened."""
    counter = Killer(at=None)
    counter.run(lambda: write(tmp_path / "count.h5"))
    expected = whole.read_bytes()
    rng = np.random.default_rng(0)
    kills = 0
    for first in np.linspace(1, counter.lines, 18).astype(int):
        path = tmp_path / "out.h5"
        at = int(first)
        while in_child(lambda: Killer(at).run(lambda: write(path, resume=True))) == signal.SIGKILL:  # noqa: B023
            kills += 1
            if path.exists():  # Put in place already: whole, whatever was still to be cleaned up.
                assert path.read_bytes() == expected
            at = int(rng.integers(1, counter.lines))
        assert path.read_bytes() == expected
        assert not path.with_name("out.h5.parts").exists()
        path.unlink()
    assert kills >= 17


def test_a_kill_loses_at_most_a_piece(tmp_path, small_pieces):
    path = tmp_path / "out.h5"

    def work():
        with data.create(path, **GIVEN) as writer:
            for number in range(30):
                writer.append(**sample(number))
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == signal.SIGKILL
    with pytest.raises(DataError, match="unfinished write: continue it with resume=True"):
        data.create(path, **GIVEN)
    with pytest.raises(DataError, match=r"begun with scale=0.5: it can't be continued with\s+scale=2"):
        data.create(path, **GIVEN | {"scale": 2.0}, resume=True)
    writer = data.create(path, **GIVEN, resume=True)
    lost = sum(sample(number)["values"].nbytes + 8 for number in range(len(writer.done), 30))
    assert lost < 2000
    assert list(writer.done) == [f"sample-{number}" for number in range(len(writer))]
    writer.abandon()
    with pytest.raises(DataError, match="closed"):
        writer.append(**sample(0))


def test_a_kill_loses_at_most_some_seconds(tmp_path, whole, monkeypatch):
    """Samples that take long to make are sealed before they are many."""
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    writer = data.create(tmp_path / "out.h5", **GIVEN)
    for number in range(30):
        writer.append(**sample(number))
        clock[0] += pieces.PIECE_SECONDS / 4
    writer.abandon()
    writer = data.create(tmp_path / "out.h5", **GIVEN, resume=True)
    assert len(writer.done) == 30
    writer.abandon()
    seals = sorted((tmp_path / "out.h5.parts").glob("*.json"))[:-1]  # The last are the settings.
    assert [len(json.loads(seal.read_bytes().rpartition(b"\n")[0])["names"]) for seal in seals] == [5] * 6
    write(tmp_path / "out.h5", resume=True)
    assert (tmp_path / "out.h5").read_bytes() == whole.read_bytes()


def test_an_error_in_the_loop_keeps_what_was_appended(tmp_path, whole):
    path = tmp_path / "out.h5"

    def work():
        with data.create(path, **GIVEN) as writer:
            for number in range(7):
                writer.append(**sample(number))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not path.exists()
    with data.create(path, **GIVEN, resume=True) as writer:
        assert len(writer.done) == 7
        for number in range(7, COUNT):
            writer.append(**sample(number))
    assert path.read_bytes() == whole.read_bytes()


def test_two_writers_of_one_file(tmp_path):
    with data.create(tmp_path / "a.h5", **GIVEN) as writer:
        writer.append(**sample(0))
        with pytest.raises(DataError, match="in use: another process"):
            data.create(tmp_path / "a.h5", **GIVEN, resume=True)


def test_a_damaged_piece_is_dropped_with_those_behind_it(tmp_path, whole, small_pieces):
    path = tmp_path / "out.h5"
    writer = data.create(path, **GIVEN)
    for number in range(COUNT):
        writer.append(**sample(number))
    writer.abandon()
    folder = tmp_path / "out.h5.parts"
    damaged = folder / "000002.values"
    content = bytearray(damaged.read_bytes())
    content[100] ^= 4
    damaged.write_bytes(content)
    writer = data.create(path, **GIVEN, resume=True)
    kept = len(writer)
    assert 0 < kept < COUNT
    writer.abandon()
    write(path, resume=True)
    assert path.read_bytes() == whole.read_bytes()


def test_a_piece_damaged_while_writing_is_noticed(tmp_path, small_pieces):
    writer = data.create(tmp_path / "out.h5", **GIVEN)
    for number in range(COUNT):
        writer.append(**sample(number))
    damaged = tmp_path / "out.h5.parts" / "000001.values"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(DataError, match=r"000001.values is damaged"):
        writer.close()
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("limit", [100, 1500, 5000, 9000, 12000])
def test_a_full_disk_leaves_the_old_file(tmp_path, whole, small_pieces, limit):
    """A limit on the size of files stands for the full disk: writes fail part of the way."""
    path = tmp_path / "out.h5"
    path.write_bytes(b"old")
    assert whole.stat().st_size > limit

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            write(path)
        except OSError:
            os._exit(7)

    assert os.waitstatus_to_exitcode(in_child(work)) == 7
    assert path.read_bytes() == b"old"
    write(path, resume=True)
    assert path.read_bytes() == whole.read_bytes()


def test_a_writer_outlives_a_failed_append(tmp_path, whole, monkeypatch):
    """A write that fails in the middle of a sample leaves the writer where it was."""
    write_all = pieces.write_all
    failing = iter([False, False, True, False, True] + [False] * 1000)

    def fail(file, content):
        if next(failing):
            file.write(content[: len(content) // 2])
            raise OSError(28, "No space left on device")
        write_all(file, content)

    monkeypatch.setattr(pieces, "write_all", fail)
    with data.create(tmp_path / "out.h5", **GIVEN) as writer:
        for number in range(COUNT):
            while f"sample-{number}" not in writer.done:
                try:
                    writer.append(**sample(number))
                except OSError:
                    assert len(writer) == number
    assert (tmp_path / "out.h5").read_bytes() == whole.read_bytes()


def everything(path):
    """All that can be read from a file."""
    with data.open(path) as file:
        wrong = file.check()
        if wrong:
            raise DataError(wrong[0])
        samples = [(s.values.tobytes(), s.values.shape, s.target, s.meta) for s in file.samples]
        return file.info, samples, {name: file[name].numbers.tolist() for name in file.splits}


@pytest.fixture(scope="module")
def smallest(tmp_path_factory):
    """A file of three samples with what every file has, so small that all its bytes can have their turn."""
    path = tmp_path_factory.mktemp("smallest") / "smallest.h5"
    with data.create(path, ndim=1, channels=1, dtype="int16", classes=["a", "b"], scale=0.5) as writer:
        for number in range(3):
            values = np.arange(number + 2, dtype="int16")[:, None]
            writer.append(values, label=number % 2, split="test" if number == 1 else "train")
    return path


def test_a_file_cut_at_every_length(tmp_path, smallest):
    content = smallest.read_bytes()
    for length in range(len(content)):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.h5"):
            everything(tmp_path / "cut.h5")


def noticed(path, flips):
    """How many of these flips of a bit, of (byte, bit), are refused; all others must change nothing that is read."""
    content, sound = path.read_bytes(), everything(path)
    refused = 0
    for place, bit in flips:
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.with_name("flipped.h5").write_bytes(flipped)
        try:
            found = everything(path.with_name("flipped.h5"))
        except DataError:
            refused += 1
        else:
            assert found == sound, f"byte {place}"
    return refused


@pytest.fixture(params=[0, 1000], ids=["by chunks", "by HDF5"])
def _way(request, monkeypatch):
    """Who reads values: what HDF5 leaves to us from the first row on, or never."""
    monkeypatch.setattr(chunks, "PART", request.param)


@pytest.mark.usefixtures("_way")
def test_every_byte_flipped_in_turn(smallest):
    """Read right or refused: never wrong data, never a crash. Nine in ten are noticed, the others hold nothing."""
    size = smallest.stat().st_size
    assert noticed(smallest, [(place, place * 5 % 8) for place in range(size)]) > 0.85 * size


def test_what_files_protect_themselves_with(smallest):
    """HDF5's newer format, whose metadata carry checksums, and fletcher32 on all that has values."""
    assert smallest.read_bytes()[8] == 3  # The superblock's version; those below 2 have no checksum.
    with h5py.File(smallest) as root:
        found = {}
        root.visititems(lambda name, item: found.update({name: item.fletcher32} if hasattr(item, "dtype") else {}))
    assert set(found) == {"values", "shapes", "targets", "splits/test", "splits/train", "meta/name"}
    assert all(found.values())


@pytest.mark.usefixtures("_way")
def test_flipped_bits_of_a_larger_file(tmp_path):
    write(tmp_path / "sound.h5", count=12)
    rng = np.random.default_rng(1)
    places = rng.choice((tmp_path / "sound.h5").stat().st_size, 150, replace=False)
    assert noticed(tmp_path / "sound.h5", [(int(place), int(rng.integers(8))) for place in places]) > 25


def test_damage_names_the_sample(tmp_path):
    path = tmp_path / "a.h5"
    with data.create(path, ndim=1, channels=1, dtype="int16", target=None) as writer:
        for number in range(30):
            writer.append(np.full((4000, 1), number, "int16"), name=f"take {number}")
    with h5py.File(path) as root:
        chunk = root["values"].id.get_chunk_info(3)
        rows = root["values"].chunks[0]
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 10] ^= 1
    path.write_bytes(content)
    first, last = 3 * rows // 4000, (4 * rows - 1) // 4000
    with data.open(path) as file:
        for number in (first - 1, last + 1):
            assert file["train"][number].values[0, 0] == number
        message = rf"a.h5: sample {first} \('take {first}'\) is damaged: its values can't be read"
        with pytest.raises(DataError, match=message):
            list(file["train"].batches(samples=10, shuffle=False))
        assert [line.split("'")[1] for line in file.check()] == [f"take {n}" for n in range(first, last + 1)]


def test_foreign_files(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(DataError, match="no such file"):
        data.open(path)
    path.write_bytes(b"RIFF....WAVE")
    with pytest.raises(DataError, match="isn't an HDF5 file"):
        data.open(path)
    with h5py.File(path, "w") as root:
        root["x"] = [1, 2]
    with pytest.raises(DataError, match=r'not one of convnd\'s \(its attribute "schema" is None'):
        data.open(path)
    with h5py.File(path, "a") as root:
        root.attrs["schema"] = "convnd 2"
    with pytest.raises(DataError, match=r'schema "convnd 2", newer than this convnd reads \("convnd 1"\): update'):
        data.open(path)
    with h5py.File(path, "a") as root:
        root.attrs["schema"] = "convnd 1"
    with pytest.raises(DataError, match="its description can't be read"):
        data.open(path)
    with pytest.raises(DataError, match="can't be read"):
        data.File(tmp_path)


def edited(whole, tmp_path, edit):
    path = tmp_path / "edited.h5"
    shutil.copy(whole, path)
    with h5py.File(path, "a") as root:
        edit(root)
    return path


def test_parts_that_contradict_each_other(tmp_path, whole):
    def shorten(root):
        values = root["values"][:-1]
        del root["values"]
        root["values"] = values

    with pytest.raises(DataError, match="/values must be int16 of shape"):
        data.open(edited(whole, tmp_path, shorten))
    with pytest.raises(DataError, match="targets"):
        data.open(edited(whole, tmp_path, lambda root: root.__delitem__("targets")))


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("name", ["values", "shapes"])
def test_absurd_claims_are_refused_before_anything_is_allocated(tmp_path, name, compression):
    """Datasets of terabytes, of which next to nothing is stored."""
    path = tmp_path / "a.h5"
    with data.create(path, ndim=1, channels=1, dtype="int16", target=None) as writer:
        writer.append(np.zeros((5, 1), "int16"))
    with h5py.File(path, "a") as root:
        dtype = root[name].dtype
        del root[name]
        claim = root.create_dataset(
            name, (10**12, 1), dtype, chunks=(1000, 1), fletcher32=True, compression=compression
        )
        claim[:1000] = 1
        if name == "values":
            root["shapes"][...] = [[10**12]]
    tracemalloc.start()
    with pytest.raises(DataError, match=rf"a\.h5: /{name} claims {10**12 * dtype.itemsize} bytes .* are stored"):
        data.open(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_check_finds_bad_values(tmp_path, whole):
    def spoil(root):
        root["targets"][4] = 9
        root["splits/test"][1] = 0

    wrong = data.open(edited(whole, tmp_path, spoil)).check()
    assert len(wrong) == 2
    assert "sample 0 ('sample-0') is in more than one split" in wrong[0]
    assert "sample 4 ('sample-4'): labels must be 0 up to 2. Received: 9" in wrong[1]


def test_memory_stays_bounded(tmp_path, monkeypatch):
    """A file of 24 MB is written and read in a few."""
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4 << 20)
    path, length, count = tmp_path / "large.h5", 100_000, 60
    wave = np.arange(length, dtype="float32")[:, None]
    tracemalloc.start()
    try:
        with data.create(path, ndim=1, channels=1, target=None) as writer:
            for _ in range(count):
                writer.append(wave)
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        budget, prefetch = 250_000, 2
        with data.open(path) as file:
            for _ in file["train"].batches(positions=budget, seed=0, prefetch=prefetch):
                pass
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 4 * length * count
    assert written < 6 << 20
    assert read < (prefetch + 2) * budget * 4 + (2 << 20)
