"""Time series to data files: tables, arrays and .ts archives."""

from __future__ import annotations

import re
import tracemalloc
import zipfile

import numpy as np
import pytest

from convnd import data
from convnd.data.prepare.timeseries import read_cases, read_header
from convnd.errors import ArgumentError, DataError

TS = """# a comment
@problemName Toy
@timeStamps false
@univariate false
@dimensions 2
@equalLength false
@classLabel true low high
@data
1,2,3:4,5,6:low

% another
7.5,8e1:-9,10:high
"""


def write_ts(folder, name, text=TS):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_reading_ts(tmp_path):
    path = write_ts(tmp_path, "a.ts")
    assert read_header(path).classes == ("low", "high")
    (first, low), (second, high) = read_cases(path)
    assert (low, high) == ("low", "high")
    assert first.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert second.tolist() == [[7.5, -9], [80, 10]]
    ((case, label),) = read_cases(write_ts(tmp_path, "b.ts", "@classLabel false\n@data\n1,?,3\n"))
    assert label is None
    np.testing.assert_array_equal(case, [[1], [np.nan], [3]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3\n", "line 1: a .ts file has lines that begin with @"),
        ("@problemName x\n", "no @data line"),
        ("@timeStamps True\n@data\n", "time stamps .* aren't supported"),
        ("@classLabel true a\n@data\n1,2:3:a\n", r"line 3: channels must be equally long. Received: lengths \[2, 1\]"),
        ("@classLabel true a\n@data\n1,2:a\n1,x:a\n", "line 4: could not convert string to float: 'x'"),
    ],
)
def test_malformed_ts(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        list(read_cases(write_ts(tmp_path, "a.ts", text)))


def test_archives_with_their_splits(tmp_path):
    write_ts(tmp_path / "in", "Toy_TRAIN.ts")
    write_ts(tmp_path / "in", "Toy_TEST.ts", TS.replace("7.5", "?"))
    report = data.prepare_series(tmp_path / "in", tmp_path / "a.h5", origin="here", licence="CC0")
    assert [failure.path for failure in report.failed] == ["Toy_TEST/1"]
    assert "finite" in report.failed[0].reason
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.classes, file.info.channels, file.info.source) == (("low", "high"), 2, "here")
        assert file["train"].names == ["Toy_TRAIN/0", "Toy_TRAIN/1"]
        assert (file["train"][1].target, file["train"][1].meta["file"]) == (1, "Toy_TRAIN.ts")
        assert file["test"][0].values.tolist() == [[1, 4], [2, 5], [3, 6]]
        inputs = dict(data.load_inputs(tmp_path / "in" / "Toy_TRAIN.ts", file.info.recipe))
        assert inputs["Toy_TRAIN/1"].tolist() == file["train"][1].values.tolist()
    with pytest.raises(DataError, match="Toy_TEST/1"):
        data.prepare_series(tmp_path / "in", tmp_path / "b.h5", strict=True)
    with pytest.raises(ArgumentError, match=r"by_group=True needs a group for every file"):
        data.prepare_series(tmp_path / "in", tmp_path / "b.h5", by_group=True)


def test_numbers_to_predict(tmp_path):
    path = write_ts(tmp_path, "a.ts", "@targetLabel true\n@data\n1,2:0.25\n3,4,5:-7\n1:x\n")
    report = data.prepare_series(path, tmp_path / "a.h5", split={"test": 0.34})
    assert "must be a number. Received: 'x'" in report.failed[0].reason
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.target == "numbers"
        assert sorted(file.targets[:, 0]) == [-7, 0.25]


def test_tables_and_arrays(tmp_path):
    folder = tmp_path / "in"
    for label in ("off", "on"):
        (folder / label).mkdir(parents=True)
    rows = np.arange(12).reshape(6, 2)
    (folder / "on" / "a.csv").write_text("x,y\n" + "".join(f"{a},{b}\n" for a, b in rows))
    (folder / "on" / "b.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in rows[:3]))
    (folder / "off" / "c.txt").write_text("".join(f"{a};{b}\r\n" for a, b in rows[:2]))
    np.save(folder / "off" / "d.npy", rows.astype("float32"))
    np.savez(folder / "off" / "e.npz", values=rows.astype("int16"), other=np.zeros(3))
    report = data.prepare_series(folder, tmp_path / "a.h5")
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        found = {sample.meta["name"]: (sample.values.tolist(), sample.target) for sample in file["train"]}
        assert found == {
            "off/c.txt": (rows[:2].tolist(), 0),
            "off/d.npy": (rows.tolist(), 0),
            "off/e.npz": (rows.tolist(), 0),
            "on/a.csv": (rows.tolist(), 1),
            "on/b.tsv": (rows[:3].tolist(), 1),
        }
        for name, (values, _) in found.items():
            ((_, again),) = data.load_inputs(folder / name, file.info.recipe)
            assert again.tolist() == values


def test_arrays_keep_their_dtype_and_tables_their_names(tmp_path):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", np.int16([1, -2, 3]))
    data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.dtype, file["train"][0].values.tolist()) == ("int16", [[1], [-2], [3]])
    (tmp_path / "in" / "a.npy").unlink()
    (tmp_path / "in" / "a.csv").write_text("left,right\n1,2\n")
    data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    assert data.info(tmp_path / "a.h5")["channel_names"] == ["left", "right"]


def test_bad_files_are_reported(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.csv").write_text("1,2\n3,4\n")
    bad = {
        "cell.csv": ("1,2\n3,x\n", "line 2: could not convert"),
        "gap.csv": ("1,2\n3,\n", "finite"),
        "header.csv": ("a,b\n", "no rows"),
        "wide.csv": ("1,2\n1,2,3\n", "line 2 has 3 columns, the lines above have 2"),
        "narrow.csv": ("1\n", "it has 1 channels, and most files have 2"),
        "empty.csv": ("", "no rows"),
    }
    for name, (text, _) in bad.items():
        (folder / name).write_text(text)
    (folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    np.save(folder / "zero.npy", np.zeros((0, 2)))
    np.savez(folder / "zero.npz", np.zeros((0, 2)))
    np.save(folder / "nan.npy", np.array([[1, np.nan]]))
    (folder / "broken.npy").write_bytes(b"nothing")
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    np.savez(folder / "two.npz", a=np.zeros(2), b=np.zeros(2))
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None)
    reasons = {failure.path: failure.reason for failure in report.failed}
    assert report.samples == 1
    others = {"broken.npy", "broken.npz", "cube.npy", "two.npz", "picture.csv", "zero.npy", "zero.npz", "nan.npy"}
    assert set(reasons) == {*bad, *others}
    assert reasons["picture.csv"] == "it isn't text in UTF-8: invalid start byte at byte 0"
    for name in ("zero.npy", "zero.npz"):
        assert "a sample must have at least one position. Received: shape (0, 2)" in reasons[name]
    assert "values must be finite. Received: nan at (0, 1)" in reasons["nan.npy"]
    for name, (_, reason) in bad.items():
        assert reason in reasons[name]
    assert "one time axis" in reasons["cube.npy"]
    assert "or one array only. Received: a, b" in reasons["two.npz"]
    assert "isn't a sound .npy file" in reasons["broken.npy"]
    assert "isn't a sound .npz file" in reasons["broken.npz"]
    (folder / "good.csv").unlink()
    with pytest.raises(DataError, match="none of the"):
        data.prepare_series(folder, tmp_path / "b.h5", label_from=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "in"]


def test_new_inputs_as_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.uint8([[[1], [2]]]))
    ((_, values),) = data.load_inputs(tmp_path / "a.npy", {"kind": "tables"})
    assert (values.dtype, values.shape) == (np.float32, (1, 2, 1))
    np.save(tmp_path / "b.npy", np.array([1, np.nan]))
    with pytest.raises(DataError, match="values must be finite"):
        list(data.load_inputs(tmp_path / "b.npy", None))
    with pytest.raises(DataError, match="no such file"):
        list(data.load_inputs(tmp_path / "c.npy", None))
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"data of kind 'tables' take new inputs as \.npy files"):
        list(data.load_inputs(tmp_path / "c.png", {"kind": "tables"}))


# Faults of files.


def reasons(report):
    return {failure.path: failure.reason for failure in report.failed}


def npy_header(shape, descr="<f8"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_arrays_that_claim_what_they_have_not(tmp_path):
    """Refused by their headers: nothing of the claimed size is allocated."""
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "good.npy", np.zeros((3, 1)))
    (folder / "absurd.npy").write_bytes(npy_header((10**15, 1)) + bytes(80))
    (folder / "huge.npy").write_bytes(npy_header((10**30, 10**30)) + bytes(80))
    (folder / "negative.npy").write_bytes(npy_header((-3, 1)) + bytes(80))
    (folder / "short.npy").write_bytes(npy_header((4, 1)) + bytes(31))
    (folder / "empty.npy").write_bytes(b"")
    (folder / "header.npy").write_bytes(npy_header((3, 1)).replace(b"}", b" ") + bytes(80))
    np.savez_compressed(folder / "flipped.npz", np.arange(99.0))
    content = bytearray((folder / "flipped.npz").read_bytes())
    content[60:90] = b"\xff" * 30
    (folder / "flipped.npz").write_bytes(content)
    (folder / "version.npy").write_bytes(b"\x93NUMPY\x03\x00" + bytes(80))
    np.save(folder / "text.npy", np.array(["a"]))
    np.save(folder / "object.npy", np.array([None]), allow_pickle=True)
    np.savez_compressed(folder / "bomb.npz", np.zeros((1 << 21, 1)))
    with zipfile.ZipFile(folder / "absurd.npz", "w") as archive:
        archive.writestr("values.npy", npy_header((10**15, 1)) + bytes(80))
    with zipfile.ZipFile(folder / "short.npz", "w") as archive:
        archive.writestr("values.npy", npy_header((4, 1)) + bytes(31))
    tracemalloc.start()
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None, largest=1 << 20, workers=1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 << 20
    assert report.samples == 1
    assert reasons(report) == {
        "absurd.npy": "it claims the size (1000000000000000, 1), 7.28e+03 TiB in memory, and the most a sample may "
        "take is 1 MiB. If that is what it holds, raise the limit (largest=)",
        "absurd.npz": reasons(report)["absurd.npy"],
        "huge.npy": reasons(report)["huge.npy"],
        "header.npy": reasons(report)["header.npy"],
        "flipped.npz": reasons(report)["flipped.npz"],
        "bomb.npz": "it claims the size (2097152, 1), 16 MiB in memory, and the most a sample may take is 1 MiB. If "
        "that is what it holds, raise the limit (largest=)",
        "negative.npy": "it claims the size (-3, 1), which no file can have",
        "short.npy": "it claims an array of shape (4, 1), 32 bytes, and holds 31: it is truncated or damaged",
        "short.npz": "it claims an array of shape (4, 1), 32 bytes, and holds 31: it is truncated or damaged",
        "empty.npy": "it is empty",
        "version.npy": "it is of the .npy format 3.0, which plain numbers don't need",
        "text.npy": "it must hold numbers. Received: an array of <U1",
        "object.npy": "it must hold numbers. Received: an array of object",
    }
    assert "it isn't a sound .npy file: " in reasons(report)["header.npy"]
    assert "it isn't a sound .npz file: " in reasons(report)["flipped.npz"]
    assert reasons(report)["huge.npy"].startswith("it claims the size (1000000")
    with pytest.raises(DataError, match=r"absurd.npy: it claims the size"):
        list(data.load_inputs(folder / "absurd.npy", None))
    with pytest.raises(DataError, match=r"short.npz: it claims an array of shape"):
        list(data.load_inputs(folder / "short.npz", {"kind": "series"}))


def test_tables_are_limited_too(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("1\n2\n")
    (folder / "b.csv").write_text("1\n" * 600)
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None, largest=10_000)
    assert set(reasons(report)) == {"b.csv"}
    assert "it claims the size (1200,), 11.7 KiB in memory" in reasons(report)["b.csv"]
    with pytest.raises(DataError, match=r"b.csv: it claims the size"):
        list(data.load_inputs(folder / "b.csv", {"kind": "series"}, largest=10_000))


def test_columns_must_have_the_same_names(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, text in {"a": "y,x\n1,2\n", "b": "x,y\n1,2\n", "c": "x,y\n3,4\n", "d": "5,6\n", "e": "x\n1\n"}.items():
        (folder / f"{name}.csv").write_text(text)
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None)
    assert reasons(report) == {
        "a.csv": "its column 1 is named 'y', in most files 'x'",
        "e.csv": "it has 1 channels, and most files have 2",
    }
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.channel_names == ("x", "y")
        with pytest.raises(DataError, match=r"a.csv: its column 1 is named 'y', in most files 'x'"):
            list(data.load_inputs(folder / "a.csv", file.info.recipe))


@pytest.mark.parametrize(
    ("dtypes", "stored"),
    [
        (["int16", "int16"], "int16"),
        (["int8", "uint8"], "int16"),
        (["int16", "float32"], "float32"),
        (["int32", "float32"], "float64"),
        (["float16", "float16"], "float32"),
        (["bool", "bool"], "uint8"),
        ([">i4", "<i4"], "int32"),
    ],
)
def test_one_dtype_holds_all_arrays(tmp_path, dtypes, stored):
    folder = tmp_path / "in"
    folder.mkdir()
    for number, dtype in enumerate(dtypes):
        np.save(folder / f"{number}.npy", np.array([0, 1, 1], dtype))
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None)
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.dtype == stored
        assert [sample.values[:, 0].tolist() for sample in file["train"]] == [[0, 1, 1]] * 2


def test_a_bad_case_leaves_the_others(tmp_path):
    text = TS + "1,2:3:low\n1,2:3,4:medium\n5:6:high\n"
    path = write_ts(tmp_path / "in", "A.ts", text)
    write_ts(tmp_path / "in", "B.ts", "@targetLabel true\n@data\n1:2:3\n")
    (tmp_path / "in" / "A.txt").write_text("a description, no data")
    report = data.prepare_series(tmp_path / "in", tmp_path / "a.h5")
    found = reasons(report)
    assert set(found) == {"A/2", "A/3", "B.ts"}
    assert "line 13: channels must be equally long" in found["A/2"]
    assert "label must be one of the classes ('low', 'high'). Received: 'medium'" in found["A/3"]
    assert found["B.ts"] == "its cases have numbers to predict, and those of the first file classes or nothing"
    with data.open(tmp_path / "a.h5") as file:
        assert list(file["train"].names) == ["A/0", "A/1", "A/4"]
        inputs = data.load_inputs(path, file.info.recipe)
        assert [next(inputs)[0], next(inputs)[0]] == ["A/0", "A/1"]
        with pytest.raises(DataError, match="line 13"):
            next(inputs)


# Motion capture.

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0.0 0.0 0.0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Leg
  {
    OFFSET 1 2 3
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 0 1
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
1 2 3 4 5 6 7 8 9
-1 -2 -3 -4.5 -5 -6 -7 -8 9e1
"""


def write_bvh(folder, name="a.bvh", *changes):
    text = BVH
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_motion_capture(tmp_path):
    path = write_bvh(tmp_path / "in")
    write_bvh(tmp_path / "in", "b.bvh", ("Frames: 2", "Frames:\t1"))
    report = data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.axes == (data.Axis("time", 0.025, "s"),)
        assert file.info.channel_names[:2] == ("Hips.Xposition", "Hips.Yposition")
        assert file.info.channel_names[6:] == ("Left Leg.Zrotation", "Left Leg.Xrotation", "Left Leg.Yrotation")
        rows = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [-1, -2, -3, -4.5, -5, -6, -7, -8, 90]]
        assert [sample.values.tolist() for sample in file["train"]] == [rows, rows[:1]]
        ((_, again),) = data.load_inputs(path, file.info.recipe)
        assert again.tolist() == rows
        assert "spacing" not in file.meta


def test_motions_of_other_frame_times_and_skeletons(tmp_path):
    for name in ("a", "b"):
        write_bvh(tmp_path / "in", f"{name}.bvh")
    write_bvh(tmp_path / "in", "c.bvh", ("0.025", "0.05"))
    write_bvh(tmp_path / "in", "d.bvh", ("Left Leg", "Right Leg"))
    write_bvh(tmp_path / "in", "e.bvh", ("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS 2 Zrotation Yrotation"))
    report = data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    assert reasons(report) == {
        "d.bvh": "its column 7 is named 'Right Leg.Zrotation', in most files 'Left Leg.Zrotation'",
        "e.bvh": "it has 8 channels, and most files have 9",
    }
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.axes == (data.Axis("time", None, "s"),)
        assert file.meta["spacing"][:, 0].tolist() == [0.025, 0.025, 0.05]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([("HIERARCHY\n", "")], "it isn't a BVH file: those begin with HIERARCHY"),
        ([("MOTION\n", "")], "line 16: 'Frames:' is no word of a skeleton"),
        ([(BVH[20:], "")], "it isn't a BVH file: those begin with HIERARCHY and have a line MOTION"),
        ([("  }\n}\n", "  }\n")], "line 15: the joint Hips has no closing brace"),
        ([("  }\n}\n", "  }\n}\n}\n")], "line 16: a closing brace too many"),
        ([("CHANNELS 3", "CHANNELS 4")], "line 9: CHANNELS must give their number, and as many names, within a joint"),
        ([("CHANNELS 3", "CHANNELS x")], "line 9: CHANNELS must give their number"),
        ([("HIERARCHY\n", "HIERARCHY\nCHANNELS 1 X\n")], "line 2: CHANNELS must give their number, .* within a joint"),
        ([("JOINT Left Leg", "JOINT Hips")], "line 9: the channel Hips.Zrotation is there twice"),
        ([("    CHANNELS 3 Zrotation Xrotation Yrotation\n", ""),
          ("  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n", "")],
         "its skeleton has no channels"),
        ([("OFFSET 1 2 3", "OFSET 1 2 3")], "line 8: 'OFSET' is no word of a skeleton"),
        ([("Frames: 2\n", "")], "a line Frames: must follow MOTION. Received: 'Frame Time: 0.025'"),
        ([("Frame Time: 0.025\n", "")], "a line Frame Time: must follow MOTION. Received: '1 2 3 4"),
        ([("Frames: 2", "Frames: many")], "line 17: 'many' is not a number"),
        ([("Frames: 2", "Frames: 0")], "a motion needs at least one frame. Received: Frames: 0"),
        ([("Frames: 2", "Frames: 1.5")], "a motion needs at least one frame. Received: Frames: 1.5"),
        ([("Frames: 2", "Frames: inf")], "a motion needs at least one frame. Received: Frames: inf"),
        ([("0.025", "0")], "Frame Time must be seconds above 0. Received: 0"),
        ([("0.025", "nan")], "Frame Time must be seconds above 0. Received: nan"),
        ([("Frames: 2", "Frames: 1000000000000000")], "it claims the size .1000000000000000, 9.*the most a sample"),
        ([("Frames: 2", "Frames: 900")], "it claims 900 frames, which a file of its size can't hold"),
        ([("Frames: 2", "Frames: 3")], "it claims 3 frames and holds 2: it is truncated"),
        ([("7 8 9\n", "7 8\n")], "line 19 has 8 numbers, the joints 9 channels"),
        ([("7 8 9\n", "7 8 x\n")], "line 19: 'x' is not a number"),
        ([("7 8 9\n", "7 8 nan\n")], "values must be finite"),
    ],
)  # fmt: skip
def test_faults_of_motion_capture(tmp_path, changes, reason):
    write_bvh(tmp_path / "in", "good.bvh")
    write_bvh(tmp_path / "in", "bad.bvh", *changes)
    report = data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    assert set(reasons(report)) == {"bad.bvh"}
    assert re.search(reason, reasons(report)["bad.bvh"])


def test_no_motion_is_read_for_ever(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.bvh").write_text("HIERARCHY\n" + "OFFSET 0 0 0\n" * 100_001)
    with pytest.raises(DataError, match=r"a.bvh: it isn't a BVH file"):
        data.prepare_series(tmp_path / "in", tmp_path / "a.h5", label_from=None)


# Label tracks.


def track(tmp_path, name, content, **given):
    """The labels of a series of 5 rows from a track of that name."""
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text("1\n2\n3\n4\n5\n")
    if isinstance(content, str):
        (folder / name).write_text(content)
    else:
        np.save(folder / name, content)
    given = {"labels_from": "{stem}" + name[1:], "classes": ["no", "yes"]} | given
    report = data.prepare_series(folder, tmp_path / "a.h5", **given)
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        return file["train"][0].target[:, 0].tolist()


def test_label_tracks(tmp_path):
    assert track(tmp_path, "a.npy", np.array([0, 1, 1, 0, 0])) == [0, 1, 1, 0, 0]
    assert track(tmp_path, "a.npy", np.array([[0], [1], [1], [0], [0]])) == [0, 1, 1, 0, 0]
    assert track(tmp_path, "a.npy", np.array([False, True, True, False, False])) == [0, 1, 1, 0, 0]
    assert track(tmp_path, "a_l.csv", "0\n1\n1\n0\n1\n") == [0, 1, 1, 0, 1]
    assert track(tmp_path, "a_l.csv", "label\n0\n1\n1\n0\n1\n") == [0, 1, 1, 0, 1]
    assert track(tmp_path, "a_l.csv", "7\n9\n9\n7\n9\n", label_values=[7, 9]) == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", np.zeros(4, int), "it must hold 5 class numbers, as the sample has positions. Received: 4"),
        ("a.npy", np.zeros((5, 2), int), r"a label track has one axis. Received: shape \(5, 2\)"),
        ("a.npy", np.zeros(5), "class numbers must be whole. Received: float64"),
        ("a.npy", np.array([0, 1, 2, 0, 0]), "labels must be 0 up to 1. Received: 2"),
        ("a_l.csv", "0\n1\n", "it must hold 5 class numbers"),
        ("a_l.csv", "label\n", "it has no rows"),
        ("a_l.csv", "", "it has no rows"),
        ("a_l.csv", "0\n1\n1.5\n0\n0\n", "line 3: a class number must be whole; names need classes=. Received: '1.5'"),
        ("a_l.csv", "0,1\n1,1\n", "a label track has one column, or the columns start, end, label"),
        ("a_l.csv", "0\n1,2\n", "line 2 has 2 columns, the first has 1"),
        ("a_l.csv", "start,end,label\n0,1,yes\n", "start and end are seconds, and .* this sample have no times"),
    ],
)
def test_faults_of_label_tracks(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        track(tmp_path, name, content)


def test_intervals_of_motions(tmp_path):
    write_bvh(tmp_path / "in")
    given = {"labels_from": "{stem}.csv", "classes": ["no", "yes"]}
    labels = tmp_path / "in" / "a.csv"
    labels.write_text("label,note,end,start\nyes,first,0.05,0.02\n")
    data.prepare_series(tmp_path / "in", tmp_path / "a.h5", **given)
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"][0].target[:, 0].tolist() == [0, 1]
    for text, message in {
        "0.03,0.02,yes": "line 1: start and end must be seconds, the end not before the start",
        "0.01,0.02,perhaps": "line 1: 'perhaps' is none of the classes no, yes",
        "0.01,inf,yes": "line 1: start and end must be seconds",
    }.items():
        labels.write_text(text + "\n")
        with pytest.raises(DataError, match=message):
            data.prepare_series(tmp_path / "in", tmp_path / "b.h5", **given)
    labels.write_text("0,1,yes\n")
    with pytest.raises(DataError, match=r"line 1: a class number must be whole; names need classes=. Received: 'yes'"):
        data.prepare_series(tmp_path / "in", tmp_path / "b.h5", labels_from="{stem}.csv")
