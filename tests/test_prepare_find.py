"""Preparing data files: what is found, what manifests say, labels and splits. With a kind made for tests."""

from __future__ import annotations

import errno
import json
import os
import sys
import tempfile
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import prepare_kind
import pytest

from convnd import data
from convnd.data.prepare import pipeline
from convnd.data.prepare.kind import by_value, check_claim, majority
from convnd.data.prepare.kinds import find_kind
from convnd.errors import ArgumentError, DataError


def names(path, split="train"):
    with data.open(path) as file:
        return list(file[split].names)


# Finding files.


def test_files_are_found_sorted_by_name(put, prepare, tmp_path):
    for name in ("b.fake", "a/z.fake", "a/é.FAKE", "Ä/x.fake", ".hidden.fake", ".git/y.fake", "notes.txt", "fake"):
        put(name)
    os.mkfifo(tmp_path / "in" / "pipe.fake")
    assert prepare() == (4, {})
    assert names(tmp_path / "a.h5") == ["a/z.fake", "a/é.FAKE", "b.fake", "Ä/x.fake"]


def test_names_that_are_no_text(put, prepare, tmp_path):
    put("a.fake")
    name = os.fsdecode(b"\xff\xfe.fake")
    try:
        put(name)
    except OSError:  # A file system that wants text (macOS).
        assert sys.platform != "linux"
        return
    put("list.csv", "path,label\n", tmp_path)
    with open(tmp_path / "list.csv", "ab") as file:
        file.write(b"\xff\xfe.fake,x\n")
    for given in ({}, {"workers": 2}, {"label_from": tmp_path / "list.csv"}):
        prepare(**given)
        assert names(tmp_path / "a.h5")[-1] == name


def test_one_file_is_a_source_too(put, prepare, tmp_path):
    put("other.fake")
    assert prepare(source=put("a.fake")) == (1, {})
    assert names(tmp_path / "a.h5") == ["a.fake"]


def test_links(put, prepare, tmp_path):
    """Links within the folder are files; what leaves it or leads nowhere is reported, and no loop hangs."""
    put("a/x.fake")
    put("secret.fake", folder=tmp_path / "outside")
    inside = tmp_path / "in"
    (inside / "inner.fake").symlink_to(inside / "a" / "x.fake")
    (inside / "leaves.fake").symlink_to(tmp_path / "outside" / "secret.fake")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "again").symlink_to(inside / "a")
    (inside / "a" / "up").symlink_to(inside)
    (inside / "up").symlink_to("..")
    (inside / "nothing.fake").symlink_to("not there")
    (inside / "nothing").symlink_to("not there")
    (inside / "round.fake").symlink_to("round.fake")
    (inside / "notes").symlink_to(put("notes.txt", folder=tmp_path / "outside"))
    samples, failed = prepare()
    assert samples == 2
    assert names(tmp_path / "a.h5") == ["a/x.fake", "inner.fake"]
    assert set(failed) == {"leaves.fake", "folder", "up", "nothing.fake", "round.fake"}
    for name in ("leaves.fake", "folder", "up"):
        assert "it leads out of the source folder, to " in failed[name]
    assert failed["nothing.fake"] == "it is a link to nothing"
    assert "its links can't be followed" in failed["round.fake"]
    with pytest.raises(DataError, match="folder: it leads out of the source folder"):
        prepare("b.h5", strict=True)
    (tmp_path / "linked").symlink_to(inside)
    assert prepare("c.h5", source=tmp_path / "linked")[0] == 2


def test_a_folder_that_cannot_be_listed(put, prepare, tmp_path, monkeypatch):
    put("a.fake")
    put("locked/b.fake")
    scan = os.scandir

    def refuse(path):
        if str(path).rstrip("/").endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert prepare() == (1, {"locked": "this folder can't be listed: Permission denied"})


def test_unreadable_files(put, prepare, tmp_path, monkeypatch):
    put("a.fake")
    locked = put("b.fake")
    locked.chmod(0)
    read = type(locked).read_text

    def refuse(self, *rest, **given):  # The administrator may read everything.
        if self.name == "b.fake":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return read(self, *rest, **given)

    monkeypatch.setattr(type(locked), "read_text", refuse)
    assert prepare() == (1, {"b.fake": "Permission denied"})


def as_nobody(work):
    """What ``work`` returns (JSON) in a child that isn't the administrator, to whom no file is locked."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Of forking with threads about; the child needs none.
        child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            os.write(theirs, json.dumps(work()).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


def test_files_and_folders_without_permission(put):
    """By the system's own refusal. The folder lies where everyone may look, which pytest's isn't."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for file in ("a.fake", "locked.fake", "shut/b.fake", "dark/c.fake"):
            put(file, folder=top / "in")
        (top / "out").mkdir()
        for path, mode in {"": 0o755, "out": 0o777, "in/locked.fake": 0, "in/shut": 0, "in/dark": 0o444}.items():
            (top / path).chmod(mode)

        def work():
            report = pipeline.prepare_files(prepare_kind.KIND, top / "in", top / "out/a.h5", {}, label_from=None)
            return [report.samples, {failure.path: failure.reason for failure in report.failed}]

        try:
            samples, failed = as_nobody(work)
        finally:
            for folder in ("shut", "dark"):
                (top / "in" / folder).chmod(0o755)
    assert samples == 1
    assert failed == {
        "locked.fake": "Permission denied",
        "dark/c.fake": "Permission denied",
        "shut": "this folder can't be listed: Permission denied",
    }


def test_no_usable_files(put, prepare, tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        prepare()
    put("a.txt")
    with pytest.raises(DataError, match=r"in holds no usable files ending in \.fake$"):
        prepare()
    put("a.fake", "raise")
    put("b.fake", "odd")
    with pytest.raises(DataError, match=r"none of the 2 samples could be read. The first, a.fake: KeyE"):
        prepare()
    put("a.fake", "look b.fake")
    put("b.fake", "odd")
    (tmp_path / "in" / "b.fake").rename(tmp_path / "in" / "b")
    put("a.fake", "look b")
    with pytest.raises(DataError, match=r"none of the 1 files could be read. The first, a.fake: Odd: an odd error"):
        prepare()
    assert not (tmp_path / "a.h5").exists()


# Manifests.


def manifest(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text)
    return path


def test_a_manifest_says_everything(put, prepare, tmp_path):
    for name in ("x/a.fake", "x/b.fake", "c.fake", "left.fake"):
        put(name)
    text = (
        "label;path;weight;group;split;note\n10;x/b.fake;2.5;g;test;\n9; x/./a.fake ;;h;;hello\n"
        f"9;{tmp_path}/in/c.fake;0;;;\n"
    )
    assert prepare(label_from=manifest(tmp_path, "\ufeff" + text)) == (3, {})
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("9", "10")
        assert (file["test"].names, file["train"].names) == (["x/b.fake"], ["x/a.fake", "c.fake"])
        assert file.meta["weight"].tolist() == [2.5, 1, 0]
        assert file.meta["group"].tolist() == ["g", "h", ""]


def test_files_of_a_manifest_that_cannot_be_used(put, prepare, tmp_path):
    put("a.fake")
    put("out.fake", folder=tmp_path)
    (tmp_path / "in" / "folder.fake").mkdir()
    (tmp_path / "in" / "link.fake").symlink_to(tmp_path / "out.fake")
    (tmp_path / "in" / "linked").symlink_to(tmp_path)
    rows = ["a.fake", "none.fake", "../out.fake", "link.fake", "linked/out.fake", f"{tmp_path}/x.fake", "folder.fake"]
    rows.append("nul\0.fake")
    samples, failed = prepare(label_from=manifest(tmp_path, "path\n" + "\n".join(rows)))
    assert samples == 1
    assert failed == {
        "none.fake": "there is no such file",
        "../out.fake": "its path leads out of the source folder",
        "../x.fake": "its path leads out of the source folder",
        "link.fake": failed["link.fake"],
        "linked/out.fake": failed["linked/out.fake"],
        "folder.fake": "it isn't a file",
        "nul\0.fake": "embedded null byte",
    }
    assert "it leads out of the source folder" in failed["link.fake"]
    assert "it leads out of the source folder" in failed["linked/out.fake"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a manifest needs a line of column names, path among them"),
        ("path\n", "a manifest needs a line of column names, path among them, and a line a file"),
        ("file,label\na.fake,x\n", "a manifest needs a line of column names, path among them"),
        ("path,label,label\na.fake,x,y\n", "the column label is there twice"),
        ("path,label\na.fake\n", "line 2: 1 cells under 2 column names"),
        ("path,label\na.fake,x\nb.fake,y,z\n", "line 3: 3 cells under 2 column names"),
        ("path,label\n,x\n", "line 2: no path"),
        ("path,label\na.fake,x\n./a.fake,x\n", "line 3: a.fake is in line 2 already"),
        ("path,label\na.fake,x\nb.fake,\n", "b.fake has no label, and others have"),
        ("path,weight\na.fake,heavy\n", "line 2: weight must be a finite number of at least 0. Received: 'heavy'"),
        ("path,weight\na.fake,-1\n", "weight must be .* Received: '-1'"),
        ("path,weight\na.fake,inf\n", "weight must be .* Received: 'inf'"),
        ("path,weight\na.fake,nan\n", "weight must be .* Received: 'nan'"),
        ("path,split\na.fake,x/y\n", 'split must be a name without "/". Received: \'x/y\''),
        ("path,labels\na.fake,a.labels\nb.fake,\n", "b.fake has no labels, and others have"),
    ],
)
def test_faults_of_a_manifest(put, prepare, tmp_path, text, message):
    for name in ("a.fake", "b.fake", "a.labels"):
        put(name, "1 2 3 4 5")
    with pytest.raises(DataError, match=message):
        prepare(label_from=manifest(tmp_path, text))
    assert not (tmp_path / "a.h5").exists()


def test_a_manifest_needs_a_folder(put, prepare, tmp_path):
    put("a.fake")
    with pytest.raises(DataError, match="isn't a folder, and a manifest's paths count from one"):
        prepare(source=tmp_path / "in" / "a.fake", label_from=manifest(tmp_path, "path\na.fake\n"))


# Labels and splits.


def test_splits_are_stratified_and_follow_from_the_seed(put, prepare, tmp_path):
    for number in range(40):
        put(f"{'xy'[number % 4 == 0]}/{number:02}.fake")
    split = {"test": 0.2, "val": 0.1}
    prepare(label_from="folder", split=split, seed=3)
    counts = {name: part["classes"] for name, part in data.info(tmp_path / "a.h5")["splits"].items()}
    assert counts == {"test": {"x": 6, "y": 2}, "val": {"x": 3, "y": 1}, "train": {"x": 21, "y": 7}}
    prepare("b.h5", label_from="folder", split=split, seed=3)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    prepare("c.h5", label_from="folder", split=split, seed=4)
    assert names(tmp_path / "a.h5", "test") != names(tmp_path / "c.h5", "test")


def test_no_group_is_in_two_splits(put, prepare, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(60):
        put(f"{'xyz'[number % 3]}/g{rng.integers(12)}_{number}.fake")
    pattern = r"(?P<label>\w)/(?P<group>g\d+)_"
    prepare(label_from="name", pattern=pattern, split={"test": 0.2, "val": 0.2}, by_group=True)
    with data.open(tmp_path / "a.h5") as file:
        groups = {split: set(file[split].groups) for split in file.splits}
        assert set(groups) == {"test", "train", "val"}
        assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 12
        assert all(0.1 < len(file[split]) / 60 < 0.3 for split in ("test", "val"))


def test_groups_follow_a_split_that_is_given(put, prepare, tmp_path):
    for number in range(6):
        put(f"{number}.fake")
    rows = "path,group,split\n0.fake,g,test\n1.fake,g,\n2.fake,h,\n3.fake,h,\n4.fake,i,\n5.fake,g,\n"
    prepare(label_from=manifest(tmp_path, rows), by_group=True)
    assert names(tmp_path / "a.h5", "test") == ["0.fake", "1.fake", "5.fake"]
    with pytest.raises(DataError, match=r"the group g is in two splits, 0.fake in test and 1.fake in val"):
        prepare("b.h5", label_from=manifest(tmp_path, rows.replace("1.fake,g,", "1.fake,g,val")), by_group=True)
    with pytest.raises(ArgumentError, match="by_group=True needs a group for every file"):
        prepare("b.h5", label_from=manifest(tmp_path, rows.replace("2.fake,h,", "2.fake,,")), by_group=True)


def test_class_names_may_be_given(put, prepare, tmp_path):
    for name in ("a/1.fake", "b/2.fake", "c/3.fake"):
        put(name)
    samples, failed = prepare(label_from="folder", classes=["c", "none", "a"])
    assert (samples, set(failed)) == (2, {"b/2.fake"})
    assert "label must be one of the classes" in failed["b/2.fake"]
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.classes, file.targets.tolist()) == (("c", "none", "a"), [2, 0])


def test_files_of_many_samples(put, prepare, tmp_path):
    put("x.many.fake", "many up down bad up")
    put("y.many.fake", "many up up break up")
    put("z/alone.fake")
    samples, failed = prepare(label_from="folder")
    assert samples == 6
    assert failed == {"x.many/2": "a bad one", "y.many/2": "it broke", "y.many/3": "it broke"}
    with data.open(tmp_path / "a.h5") as file:
        assert list(file["train"].names) == ["x.many/0", "x.many/1", "x.many/3", "y.many/0", "y.many/1", "z/alone.fake"]
        assert file.info.classes == ("bad", "break", "down", "up", "z")
        assert file["train"][2].values[:, 0].tolist() == [3] * 4
    assert prepare("b.h5")[1]["z/alone.fake"] == "it has no label, and others have"


def test_folders_that_are_one_sample_each(put, tmp_path):
    """As a series of DICOM files is: the sample is the folder, by the folder's name."""
    given = {"look": prepare_kind.look_folder, "load": prepare_kind.load_folder}
    kind = replace(prepare_kind.KIND, folders=(".part", ""), **given)
    for name in ("x/one/1.part", "x/one/2.part", "y/two/PART", "y/two/notes.txt", "z/alone.fake"):
        put(name)
    report = pipeline.prepare_files(kind, tmp_path / "in", tmp_path / "a.h5", {}, workers=1)
    assert report.failed == []
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("x", "y", "z")
        assert {s.meta["name"]: len(s.values) for s in file["train"]} == {"x/one": 2, "y/two": 2, "z/alone.fake": 1}
    for name in ("3.part", "4.part"):
        put(name)
    report = pipeline.prepare_files(kind, tmp_path / "in", tmp_path / "b.h5", {}, workers=1, label_from=None)
    assert "in" in names(tmp_path / "b.h5")


def test_files_that_the_plan_refuses(put, prepare, tmp_path):
    put("a.fake")
    put("refused.fake")
    assert prepare() == (1, {"refused.fake": "not this one"})
    assert "refused.fake" not in prepare_kind.READ
    (tmp_path / "in" / "a.fake").unlink()
    with pytest.raises(DataError, match=r"none of the 1 files can be used. The last, refused.fake: not this one"):
        prepare("b.h5")


# Labels per position.


@pytest.mark.parametrize("where", ["folder", "inside", "pattern", "above", "manifest"])
def test_labels_beside_the_samples(put, prepare, tmp_path, where):
    folder = {"folder": "../labels", "inside": "labels", "above": "../labels"}.get(where, ".")
    suffix = "_l.labels" if where == "pattern" else ".labels"
    for name in ("x/a", "b"):
        put(f"{name}.fake")
        flat = name[-1] if where == "above" else name
        put(f"{folder}/{flat}{suffix}", "0 1 2 1 0")
    put("x/lonely.fake")
    given = {
        "folder": tmp_path / "labels",
        "inside": "labels",
        "pattern": "{stem}_l.labels",
        "above": tmp_path / "labels" / "{stem}.labels",
    }.get(where)
    rows = manifest(tmp_path, "path,labels\nb.fake,b.labels\nx/a.fake,x/a.labels\n")
    given = {"label_from": rows} if where == "manifest" else {"labels_from": given}
    samples, failed = prepare(classes=["no", "yes", "perhaps"], ignore=2, **given)
    assert samples == 2
    if where != "manifest":
        assert "it has no file of labels" in failed["x/lonely.fake"]
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.target, file.info.target_dtype, file.info.ignore) == ("ragged", "uint8", 2)
        assert file.info.classes == ("no", "yes", "perhaps")
        assert file["train"][0].target[:, 0].tolist() == [0, 1, 2, 1, 0]


def test_labels_have_values_and_counts(put, prepare, tmp_path):
    put("a.fake")
    put("a.labels", "0 255 255 128 0")
    assert prepare(labels_from="{stem}.labels", label_values=[0, 128, 255]) == (1, {})
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.classes, file["train"][0].target[:, 0].tolist()) == (("0", "128", "255"), [0, 2, 2, 1, 0])
    assert prepare("b.h5", labels_from="{stem}.labels") == (1, {})
    with data.open(tmp_path / "b.h5") as file:
        assert (file.info.classes, file.info.target_dtype) == (None, "int32")
        assert file["train"][0].target.max() == 255
    with pytest.raises(DataError, match=r"labels must be 0 up to 127. Received: 255"):
        prepare("c.h5", labels_from="{stem}.labels", classes=128)
    with pytest.raises(DataError, match=r"a.labels: the label 128 isn't among the label values \[0, 255\]"):
        prepare("c.h5", labels_from="{stem}.labels", label_values=[0, 255])
    put("a.labels", "0 x")
    with pytest.raises(DataError, match=r"its file of labels, a.labels: invalid literal"):
        prepare("c.h5", labels_from="{stem}.labels")


def test_labels_that_cannot_be(put, prepare, tmp_path):
    put("a.many.fake", "many x y")
    put("b.fake")
    put("a.many.labels", "1")
    put("b.labels", "1 1 1 1 1")
    assert prepare(labels_from="{stem}.labels")[1] == {
        "a.many.fake": "it holds many samples, and a file of labels beside it is for one"
    }
    with pytest.raises(ArgumentError, match="labels_from must be a folder, or the name"):
        prepare(labels_from="missing")
    with pytest.raises(ArgumentError, match="label_values goes with labels per position"):
        prepare(label_values=[1])
    rows = manifest(tmp_path, f"path,labels\nb.fake,b.labels\na.many.fake,{tmp_path}/list.csv\n")
    samples, failed = prepare("b.h5", label_from=rows)
    assert samples == 1
    assert "its path leads out of the source folder" in failed["a.many.fake"]


def test_a_manifest_of_labels_for_a_kind_without(put, prepare, tmp_path):
    put("a.txt", "a word")
    rows = manifest(tmp_path, "path,labels\na.txt,a.txt\n")
    with pytest.raises(DataError, match=r"list\.csv: the column labels: text take no labels per position"):
        data.prepare_text(tmp_path / "in", tmp_path / "a.h5", label_from=rows)


def test_label_values():
    assert by_value(np.array([[True, False]]), None).tolist() == [[1, 0]]
    assert by_value(np.array([7, -1, 7]), [7, -1]).tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"must be whole numbers. Received: float64"):
        by_value(np.array([1.0]), None)
    with pytest.raises(DataError, match="the label 9 isn't among"):
        by_value(np.array([7, 9]), [7, 8])


# What kinds build on.


def test_claims():
    assert check_claim((), 4, {}) == 4
    assert check_claim((0, 10**15), 4, {"largest": 1}) == 0
    with pytest.raises(DataError, match=r"it claims the size \(1000000000000000, 3\), 5.46e\+03 TiB in memory"):
        check_claim((10**15, 3), 2, {})
    with pytest.raises(DataError, match=r"it claims the size \(-1, 3\), which no file can have"):
        check_claim((-1, 3), 2, {})
    with pytest.raises(DataError, match=r"the most a sample may take is 4 GiB.*raise the limit \(largest=\)"):
        check_claim(np.array([2**31, 2**31]), 8, {})


def test_majority():
    assert majority([2, 1, 1, 2, 1]) == 1
    assert majority("ba") == "b"


def test_kinds_by_name():
    assert find_kind("series").name == "series"
    assert find_kind("audio").label_suffixes[0] == ".npy"
    for name in ("kind", None, "os", 3):
        with pytest.raises(DataError, match="there is no way to prepare data of kind"):
            find_kind(name)
