"""Time series to data files: tables, arrays and .ts archives."""

from __future__ import annotations

import numpy as np
import pytest

from convnd import data
from convnd.data.timeseries import read_cases, read_header
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
    with pytest.raises(ArgumentError, match=r"a \.ts file has no groups"):
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
        "narrow.csv": ("1\n", "then 2 channels"),
        "empty.csv": ("", "no rows"),
    }
    for name, (text, _) in bad.items():
        (folder / name).write_text(text)
    (folder / "broken.npy").write_bytes(b"nothing")
    np.save(folder / "cube.npy", np.zeros((2, 2, 2)))
    np.savez(folder / "two.npz", a=np.zeros(2), b=np.zeros(2))
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    report = data.prepare_series(folder, tmp_path / "a.h5", label_from=None)
    reasons = {failure.path: failure.reason for failure in report.failed}
    assert report.samples == 1
    assert set(reasons) == {*bad, "broken.npy", "broken.npz", "cube.npy", "two.npz"}
    for name, (_, reason) in bad.items():
        assert reason in reasons[name]
    assert "one time axis" in reasons["cube.npy"]
    assert "or one array only. Received: a, b" in reasons["two.npz"]
    (folder / "good.csv").unlink()
    with pytest.raises(DataError, match="none of the"):
        data.prepare_series(folder, tmp_path / "b.h5", label_from=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "in"]


def test_new_inputs_as_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.uint8([[[1], [2]]]))
    ((_, values),) = data.load_inputs(tmp_path / "a.npy", {"kind": "images"})
    assert (values.dtype, values.shape) == (np.float32, (1, 2, 1))
    np.save(tmp_path / "b.npy", np.array([1, np.nan]))
    with pytest.raises(DataError, match="values must be finite"):
        list(data.load_inputs(tmp_path / "b.npy", None))
    with pytest.raises(DataError, match="no such file"):
        list(data.load_inputs(tmp_path / "c.npy", None))
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"data of kind 'images' take new inputs as \.npy files"):
        list(data.load_inputs(tmp_path / "c.png", {"kind": "images"}))
