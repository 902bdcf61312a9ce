"""Checkpoint files: what goes in comes out, what was damaged is refused, and a failed write costs nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from convnd.checkpoint import Checkpoint, write_whole
from convnd.errors import TrainingError

ARRAYS = {
    "net/conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "net/scalar": np.array(1.5),
    "net/nothing": np.zeros((0, 3), np.float64),
    "optimizer/steps": np.array(2**62 + 1, np.int64),
    "mask": np.array([True, False]),
    "names": np.array([[1, 2], [3, 4]], np.uint8).T,
}
META = {"epoch": 3, "exact": 0.1 + 0.2, "name": "Grüße", "zeros": "0" * 64}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "x.ckpt"
    Checkpoint(ARRAYS, META).save(path)
    return path


def test_what_goes_in_comes_out(saved):
    read = Checkpoint.read(saved)
    assert read.meta == META
    assert list(read.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read.arrays[name].dtype == array.dtype
        assert read.arrays[name].shape == array.shape
        np.testing.assert_array_equal(read.arrays[name], array)
        assert read.arrays[name].flags.writeable
    assert list(read.part("net")) == ["conv.weight", "scalar", "nothing"]


def test_numbers_that_are_none_survive_too(tmp_path):
    odd = np.array([np.nan, np.inf, -0.0, np.nextafter(0, 1)])
    Checkpoint({"x": odd}).save(tmp_path / "x")
    assert Checkpoint.read(tmp_path / "x").arrays["x"].tobytes() == odd.tobytes()


def test_big_endian_arrays_are_stored_little(tmp_path):
    Checkpoint({"x": np.array([1, 2], ">i4")}).save(tmp_path / "x")
    np.testing.assert_array_equal(Checkpoint.read(tmp_path / "x").arrays["x"], [1, 2])


def test_the_bytes_are_safetensors(saved):
    """Read by the published layout alone: length, JSON header, arrays without gaps."""
    content = saved.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert all(isinstance(value, str) for value in header.pop("__metadata__").values())
    body, end = content[8 + length :], 0
    for name, entry in header.items():
        begin, stop = entry["data_offsets"]
        assert begin == end
        end = stop
        assert body[begin:stop] == ARRAYS[name].tobytes()
        assert tuple(entry["shape"]) == ARRAYS[name].shape
    assert end == len(body)
    assert header["net/conv.weight"]["dtype"] == "F32"


def test_every_changed_byte_is_noticed(saved):
    content = saved.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"x\.ckpt"):
            Checkpoint.read(saved)


def test_every_truncation_is_noticed(saved):
    content = saved.read_bytes()
    for length in range(len(content)):
        saved.write_bytes(content[:length])
        with pytest.raises(TrainingError, match=r"x\.ckpt"):
            Checkpoint.read(saved)
    saved.write_bytes(content + b"\0")
    with pytest.raises(TrainingError, match="damaged"):
        Checkpoint.read(saved)


def test_foreign_files_and_none_at_all(tmp_path):
    with pytest.raises(TrainingError, match="there is no checkpoint"):
        Checkpoint.read(tmp_path / "none")
    for content in (b"", b"{}", b"\x89HDF\r\n\x1a\n" * 10, os.urandom(300), (2).to_bytes(8, "little") + b"{}"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(TrainingError, match=r"not a convnd checkpoint|cut short"):
            Checkpoint.read(tmp_path / "x")
    with pytest.raises(TrainingError, match="can't be read"):
        Checkpoint.read(tmp_path)


def test_objects_are_not_stored(tmp_path):
    with pytest.raises(TrainingError, match="dtype object"):
        Checkpoint({"x": np.array([object()])}).save(tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_earlier_file(saved, monkeypatch, call):
    before = saved.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(TrainingError, match=r"x\.ckpt could not be written: No space left on device"):
        Checkpoint({"x": np.zeros(100)}).save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["x.ckpt"]


def test_a_write_that_the_system_refuses_midway(saved):
    """The real thing: the system lets the process write 4 KiB and no more."""
    before = saved.read_bytes()
    program = (
        "import resource, sys, numpy as np\n"
        "from convnd.checkpoint import Checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "Checkpoint({'x': np.zeros(10**5)}).save(sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False)
    assert "TrainingError" in done.stderr
    assert "File too large" in done.stderr
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["x.ckpt"]


def test_no_folder_to_write_into(tmp_path):
    with pytest.raises(TrainingError, match="No such file or directory"):
        write_whole(tmp_path / "gone" / "x", [b"1"])
