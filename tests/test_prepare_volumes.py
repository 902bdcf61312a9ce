"""Volumes to data files, on files the tests write with nibabel and pydicom."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import nibabel
import numpy as np
import pydicom
import pytest
import scipy.ndimage
from nibabel.orientations import axcodes2ornt, inv_ornt_aff
from nibabel.processing import resample_from_to

from convnd import cli, data
from convnd.errors import ArgumentError, DataError

PLAIN = {"label_from": None, "workers": 1, "resume": False}
RECIPE = {"kind": "volumes", "orientation": "ras", "spacing": None, "dtype": "float32", "scale": None}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def draw(*shape, seed=0, dtype="int16", limit=100):
    return np.random.default_rng(seed).integers(0, limit, shape).astype(dtype)


def save(path, values, affine=None, slope=None, inter=0, dtype=None, form=nibabel.Nifti1Image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = form(values, np.diag([1, 2, 0.5, 1]) if affine is None else affine)
    if dtype is not None:
        image.set_data_dtype(dtype)
    if slope is not None:
        image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)
    return path


def made(source, out=None, **given):
    """The samples of a file made of the source, without failures, and what the file says of itself."""
    out = out or source.parent / "a.h5"
    report = data.prepare_volumes(source, out, **(PLAIN | given))
    assert report.failed == []
    with data.open(out) as file:
        return list(file.samples), file.info


def only(source, **given):
    (sample,), _ = made(source, **given)
    return sample


def reasons(source, **given):
    report = data.prepare_volumes(source, source.parent / "failed.h5", **(PLAIN | given))
    return {failure.path: failure.reason for failure in report.failed}


def affine_of(codes, spacing=(1.0, 2.0, 3.0), shape=(4, 5, 6), tilt=0.1):
    """An affine whose axes go nearly as the codes say, a little oblique."""
    c, s = np.cos(tilt), np.sin(tilt)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    affine[:3, 3] = [-7, 11, 13]
    return affine @ inv_ornt_aff(axcodes2ornt(codes), shape)


# NIfTI, MGH and arrays.


def test_volumes_of_any_size_in_folders(folder, tmp_path):
    names = ["ill/ä ö.nii.gz", "well/a.nii", "well/b.nii.gz"]
    volumes = [draw(3 + number, 4, 5, seed=number) for number in range(3)]
    for name, volume in zip(names, volumes, strict=True):
        save(folder / name, volume)
    report = data.prepare_volumes(folder, tmp_path / "a.h5")
    assert (report.samples, report.failed) == (3, [])
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("ill", "well")
        assert (file.info.dtype, file.info.scale, file.info.channels) == ("int16", None, 1)
        assert file.info.axes == tuple(data.Axis(name, None, "mm") for name in "xyz")
        assert file.info.recipe["orientation"] == "ras"
        assert file["train"].names == names
        for sample, volume, name in zip(file["train"], volumes, names, strict=True):
            np.testing.assert_array_equal(sample.values[..., 0], volume)
            assert sample.meta["spacing"].tolist() == [1, 2, 0.5]
            ((again, values),) = data.load_inputs(folder / name, file.info.recipe)
            assert again == name.split("/")[1]
            np.testing.assert_array_equal(values, sample.values)


@pytest.mark.parametrize(
    ("disk", "slope", "inter", "stored"),
    [
        ("uint8", None, 0, "uint8"),
        ("int16", 1, 0, "int16"),
        ("uint16", None, 0, "uint16"),
        ("int32", None, 0, "int32"),
        ("uint8", 1, -1000, "int16"),
        ("uint16", 1, -1024, "int32"),
        ("int16", 0.5, 0, "float32"),
        ("int16", 1, 0.5, "float32"),
        ("float32", None, 0, "float32"),
        ("float64", None, 0, "float32"),
        ("float32", 2, 1, "float32"),
    ],
)
def test_integers_stay_integers_where_nothing_is_lost(folder, disk, slope, inter, stored):
    raw = draw(3, 4, 5)
    values = raw * (slope or 1) + inter
    path = save(folder / "a.nii", raw.astype(disk), slope=slope, inter=inter)
    (sample,), info = made(folder)
    assert info.dtype == stored
    image = nibabel.load(path)
    assert image.get_data_dtype() == disk
    np.testing.assert_array_equal(sample.values[..., 0], image.get_fdata().astype("float32"))
    np.testing.assert_array_equal(sample.values[..., 0], values.astype("float32"))


def test_a_dtype_that_holds_all_files(folder):
    for number, (first, second, stored) in enumerate(
        [
            ("uint8", "int16", "int16"),
            ("uint16", "int16", "int32"),
            ("uint8", "float32", "float32"),
            ("int32", "float64", "float32"),
        ]
    ):
        here = folder / str(number)
        save(here / "a.nii", draw(2, 3, 4).astype(first))
        save(here / "b.nii", draw(2, 3, 4, seed=1).astype(second))
        samples, info = made(here)
        assert info.dtype == stored
        for seed, sample in enumerate(samples):
            np.testing.assert_array_equal(sample.values[..., 0], draw(2, 3, 4, seed=seed))
    # A new file of other numbers, for a network whose data were integers.
    recipe = RECIPE | {"dtype": "uint8"}
    ((_, values),) = data.load_inputs(save(folder / "c.nii", np.full((2, 2, 2), 0.5, "float32")), recipe)
    np.testing.assert_array_equal(values, 0.5)


def test_big_endian_files(folder):
    volume = draw(3, 4, 5).astype(">i2")
    image = nibabel.Nifti1Image(volume, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    image.set_data_dtype(">i2")
    nibabel.save(image, folder / "a.nii.gz")
    assert nibabel.load(folder / "a.nii.gz").get_data_dtype().byteorder == ">"
    np.testing.assert_array_equal(only(folder).values[..., 0], volume)


CODES = ["RAS", "LPS", "LAS", "PIR", "SRA", "ILP", "ASL"]


@pytest.mark.parametrize("codes", CODES)
def test_axes_go_right_anterior_superior(folder, codes):
    path = save(folder / "a.nii", draw(4, 5, 6), affine_of(codes))
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    sample = only(folder)
    np.testing.assert_array_equal(sample.values[..., 0], canonical.get_fdata())
    np.testing.assert_allclose(sample.meta["spacing"], canonical.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(sample.meta["spacing"], [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(sample.meta["affine"], canonical.affine, rtol=1e-12)
    (sample,), info = made(folder, orientation="stored")
    np.testing.assert_array_equal(sample.meta["affine"], nibabel.load(path).affine)
    np.testing.assert_array_equal(sample.values[..., 0], draw(4, 5, 6))
    np.testing.assert_allclose(sample.meta["spacing"], nibabel.load(path).header.get_zooms(), rtol=1e-6)
    assert [axis.name for axis in info.axes] == ["i", "j", "k"]
    ((_, values),) = data.load_inputs(path, info.recipe)
    np.testing.assert_array_equal(values, sample.values)


def test_a_fourth_axis_is_channels(folder):
    save(folder / "a.nii", draw(3, 4, 5, 2), affine_of("LPS", shape=(3, 4, 5)))
    sample = only(folder)
    canonical = nibabel.as_closest_canonical(nibabel.load(folder / "a.nii"))
    np.testing.assert_array_equal(sample.values, canonical.get_fdata())
    save(folder / "b.nii", draw(3, 4, 5, 1, 2))  # A vector a voxel.
    samples, info = made(folder)
    assert info.channels == 2
    np.testing.assert_array_equal(samples[1].values, draw(3, 4, 5, 1, 2)[:, :, :, 0])
    save(folder / "c.nii", draw(3, 4, 5))
    assert reasons(folder) == {"c.nii": "it has 1 channels, and most volumes have 2"}


@pytest.mark.parametrize("name", ["a.mgz", "a.mgh"])
def test_freesurfers_files(folder, name):
    volume = draw(3, 4, 5, dtype="uint8")
    affine = affine_of("LIA", shape=(3, 4, 5))
    save(folder / name, volume, affine, form=nibabel.MGHImage)
    canonical = nibabel.as_closest_canonical(nibabel.MGHImage(volume, affine))
    sample = only(folder)
    np.testing.assert_array_equal(sample.values[..., 0], canonical.get_fdata())
    np.testing.assert_allclose(sample.meta["spacing"], [1, 2, 3], rtol=1e-5)


def test_nifti_2(folder):
    save(folder / "a.nii.gz", draw(3, 4, 5), form=nibabel.Nifti2Image)
    np.testing.assert_array_equal(only(folder).values[..., 0], draw(3, 4, 5))


def test_arrays(folder):
    np.save(folder / "a.npy", draw(3, 4, 5))
    np.save(folder / "b.npy", draw(4, 4, 4, 1, dtype="uint8"))
    samples, info = made(folder)
    assert (info.dtype, info.axes[0].unit) == ("int16", None)
    assert "spacing" not in samples[0].meta or samples[0].meta["spacing"] is None
    np.testing.assert_array_equal(samples[0].values[..., 0], draw(3, 4, 5))
    np.testing.assert_array_equal(samples[1].values, draw(4, 4, 4, 1))
    ((_, values),) = data.load_inputs(folder / "a.npy", info.recipe)
    np.testing.assert_array_equal(values[..., 0], draw(3, 4, 5))
    np.save(folder / "c.npy", draw(4, 4) > 50)
    np.save(folder / "d.npy", draw(2, 2, 2) > 50)
    np.save(folder / "e.npy", np.full((2, 2, 2), 1e300))
    found = reasons(folder)
    assert found.pop("c.npy") == "a volume has three axes, and perhaps a fourth of channels. Received: the shape (4, 4)"
    assert "values must be finite. Received: inf at (0, 0, 0, 0)" in found.pop("e.npy")
    assert found == {}
    with pytest.raises(DataError, match=r"a.npy: it says nothing of the spacing of its voxels, so"):
        data.prepare_volumes(folder, folder.parent / "b.h5", spacing=1, **PLAIN)


def test_other_units(folder):
    image = nibabel.Nifti1Image(draw(3, 4, 5), np.diag([1500, 2000, 500, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, folder / "a.nii")
    np.testing.assert_allclose(only(folder).meta["spacing"], [1.5, 2, 0.5])


# Resampling.


def middle(image):
    return image.affine @ [*(np.array(image.shape[:3]) - 1) / 2, 1]


def resampled(image, spacing, order):
    """By nibabel: onto the grid of that spacing whose middle is the image's, beyond it the border's values."""
    zooms = np.array(image.header.get_zooms()[:3], "float64")
    shape = tuple(max(round(float(n * old / new)), 1) for n, old, new in zip(image.shape, zooms, spacing, strict=False))
    affine = image.affine @ np.diag([*np.array(spacing) / zooms, 1])
    affine[:, 3] += middle(image) - affine @ [*(np.array(shape) - 1) / 2, 1]
    return resample_from_to(image, (shape, affine), order=order, mode="nearest").get_fdata()


@pytest.mark.parametrize("codes", ["RAS", "PIR", "LPS"])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (0.7, 2.0, 4.1), (30.0, 1.0, 1.0)])
def test_resampling_is_nibabels(folder, codes, spacing):
    path = save(folder / "a.nii", draw(9, 8, 7, dtype="float64"), affine_of(codes, shape=(9, 8, 7)))
    (sample,), info = made(folder, spacing=spacing)
    image = nibabel.as_closest_canonical(nibabel.load(path))
    expected = resampled(image, spacing, 1)
    assert sample.values.shape == (*expected.shape, 1)
    np.testing.assert_allclose(sample.values[..., 0], expected, atol=1e-3)
    assert [axis.spacing for axis in info.axes] == list(spacing)
    # It lies about the same middle, along the same directions.
    affine = sample.meta["affine"]
    np.testing.assert_allclose(affine @ [*(np.array(expected.shape) - 1) / 2, 1], middle(image), rtol=1e-6)
    directions = image.affine[:3, :3] / np.array(image.header.get_zooms()) * spacing
    np.testing.assert_allclose(affine[:3, :3], directions, rtol=1e-5, atol=1e-6)
    assert info.recipe["spacing"] == list(spacing)
    ((_, values),) = data.load_inputs(path, info.recipe)
    np.testing.assert_array_equal(values, sample.values)


def test_resampling_is_scipys_zoom_where_sizes_divide(folder):
    volume = draw(4, 6, 8, 2, dtype="int16")
    save(folder / "a.nii", volume, np.eye(4))
    (sample,), info = made(folder, spacing=[0.5, 2, 1])
    assert info.dtype == "float32"
    for channel in range(2):
        expected = scipy.ndimage.zoom(
            volume[..., channel].astype("float64"), (2, 0.5, 1), order=1, mode="nearest", grid_mode=True
        )
        np.testing.assert_allclose(sample.values[..., channel], expected, atol=1e-4)


def test_resampling_to_the_spacing_that_is_there_changes_nothing(folder):
    save(folder / "a.nii", draw(4, 6, 8), np.diag([-2, 2, 2, 1]))
    (sample,), info = made(folder, spacing=2)
    assert info.dtype == "float32"
    np.testing.assert_array_equal(sample.values[..., 0], draw(4, 6, 8)[::-1])


@pytest.mark.parametrize("orientation", ["ras", "stored"])
def test_labels_are_resampled_with_their_volume(folder, tmp_path, orientation):
    affine = affine_of("PIR", shape=(9, 8, 7))
    save(folder / "a.nii", draw(9, 8, 7), affine)
    path = save(tmp_path / "labels" / "a.nii.gz", draw(9, 8, 7, seed=1, limit=3, dtype="uint8"), affine)
    given = {"labels_from": tmp_path / "labels", "classes": 3, "spacing": (1.1, 1.3, 2.3), "orientation": orientation}
    sample = only(folder, **given)
    image = nibabel.load(path)
    image = nibabel.as_closest_canonical(image) if orientation == "ras" else image
    expected = resampled(image, (1.1, 1.3, 2.3), 0)
    assert sample.values.shape == sample.target.shape
    np.testing.assert_array_equal(sample.target[..., 0], expected)


# Labels.


def labelled(folder, labels, affine=None, name="a.nii.gz", **given):
    """The target of a volume (4, 5, 6) stored as LPS, of its labels."""
    save(folder / "a.nii", draw(4, 5, 6), affine_of("LPS"))
    place = folder.parent / "labels" / name
    place.parent.mkdir(exist_ok=True)
    if name.endswith(".npy"):
        np.save(place, labels)
    else:
        save(place, labels, affine_of("LPS") if affine is None else affine)
    return only(folder, labels_from=place.parent, **given).target[..., 0]


def upright(labels):
    """As the volume is turned."""
    return labels[::-1, ::-1]


def test_labels_beside(folder):
    labels = draw(4, 5, 6, seed=1, limit=3, dtype="uint8")
    np.testing.assert_array_equal(labelled(folder, labels, classes=["a", "b", "c"]), upright(labels))
    np.testing.assert_array_equal(labelled(folder, labels.astype("float32"), classes=3), upright(labels))
    np.testing.assert_array_equal(labelled(folder, labels[..., None]), upright(labels))
    np.testing.assert_array_equal(labelled(folder, labels * np.uint8(7), label_values=[0, 7, 14]), upright(labels))
    np.testing.assert_array_equal(labelled(folder, labels, orientation="stored"), labels)
    # Stored in another order, in the same place.
    other = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, affine_of("LPS")))
    stored = labelled(folder, np.asarray(other.dataobj), other.affine)
    np.testing.assert_array_equal(stored, upright(labels))
    (folder.parent / "labels" / "a.nii.gz").unlink()
    # An array has no orientation: it is stored as its volume is.
    np.testing.assert_array_equal(labelled(folder, labels, name="a.npy"), upright(labels))


def test_labels_of_arrays(folder):
    labels = draw(4, 5, 6, seed=1, limit=3, dtype="uint8")
    np.save(folder / "a.npy", draw(4, 5, 6))
    save(folder / "a_seg.nii.gz", labels, affine_of("LPS"))
    sample = only(folder / "a.npy", labels_from="{stem}_seg.nii.gz")
    np.testing.assert_array_equal(sample.target[..., 0], labels)


@pytest.mark.parametrize(
    ("labels", "affine", "message"),
    [
        (draw(4, 5, 7, limit=3), None, r"a.nii.gz: its size is \(4, 5, 7\), the volume's \(4, 5, 6\)"),
        (draw(4, 5, 6, 2, limit=3), None, "a voxel must have one label. Received: 2 channels"),
        (draw(4, 5, 6, limit=3) + 0.5, None, "labels must be whole numbers"),
        (np.full((4, 5, 6), np.nan), None, "labels must be whole numbers"),
        (draw(4, 5, 6, limit=9), None, "labels must be 0 up to 2. Received: 8"),
        (draw(4, 5, 6, limit=3), np.diag([1, 2, 3, 1]), "it lies elsewhere than the volume: their corners are"),
        (
            draw(4, 5, 6, limit=3),
            affine_of("LPS") + np.eye(4)[:, [3, 3, 3, 0]] * 0.6,
            "their corners are 0.6 mm apart.*keep both as stored",
        ),
    ],
)
def test_labels_that_dont_fit(folder, labels, affine, message):
    with pytest.raises(DataError, match=message):
        labelled(folder, labels, affine, classes=3, strict=True)


def test_labels_a_little_off_and_labels_as_stored(folder):
    labels = draw(4, 5, 6, limit=3, dtype="uint8")
    near = affine_of("LPS") + np.eye(4)[:, [3, 3, 3, 0]] * 0.4
    np.testing.assert_array_equal(labelled(folder, labels, near), upright(labels))
    np.testing.assert_array_equal(labelled(folder, labels, np.eye(4), orientation="stored"), labels)


# Faults.


def test_files_that_are_no_volumes(folder, tmp_path):
    sound = save(folder / "a.nii", draw(5, 5, 5)).read_bytes()
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "text.nii").write_text("no volume at all, but some text " * 20)
    (folder / "plain.nii.gz").write_bytes(sound)
    (folder / "cut.nii").write_bytes(sound[:-1])
    (folder / "cut.nii.gz").write_bytes(gzip.compress(sound)[:-40])
    (folder / "notes.txt").write_text("left alone")
    save(folder / "flat.nii", draw(5, 5))
    nan = np.ones((5, 5, 5), "float32")
    nan[1, 2, 3] = np.nan
    save(folder / "nan.nii", nan)
    save(folder / "huge.nii", np.full((2, 2, 2), 1e300))
    save(folder / "complex.nii", np.ones((2, 2, 2), "complex64"))
    save(folder / "colour.nii", np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    content = bytearray(sound)
    content[312:328] = bytes(16)  # The third row of the affine.
    (folder / "nowhere.nii").write_bytes(content)
    found = reasons(folder)
    assert found.pop("empty.nii.gz") == "it is empty"
    assert found.pop("text.nii") == "it isn't a NIfTI file"
    assert found.pop("plain.nii.gz").startswith("it is truncated or damaged: Not a gzipped file")
    assert found.pop("cut.nii") == (
        "it claims the size (5, 5, 5, 1), 250 bytes, and a file of 601 can't hold them: it is truncated or damaged"
    )
    assert found.pop("cut.nii.gz").startswith("it is truncated or damaged")
    assert "a volume has three axes" in found.pop("flat.nii")
    assert "values must be finite. Received: nan at (1, 2, 3, 0)" in found.pop("nan.nii")
    assert "values must be finite. Received: inf at (0, 0, 0, 0)" in found.pop("huge.nii")
    assert found.pop("complex.nii") == "its voxels must be numbers. Received: complex64"
    assert "its voxels must be numbers" in found.pop("colour.nii")
    assert "singular or not finite" in found.pop("nowhere.nii")
    assert found == {}
    assert not any(str(folder) in reason for reason in reasons(folder).values())


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mgz", "a.npy"])
def test_a_file_cut_anywhere_is_read_right_or_refused(folder, name):
    volume = draw(3, 3, 3, dtype="uint8")
    if name == "a.npy":
        np.save(folder / name, volume)
    else:
        save(folder / name, volume, np.eye(4), form=nibabel.MGHImage if name == "a.mgz" else nibabel.Nifti1Image)
    content = (folder / name).read_bytes()
    refused = 0
    for length in range(0, len(content), 1 if len(content) < 400 else 4):
        (folder / name).write_bytes(content[:length])
        try:
            ((_, values),) = data.load_inputs(folder / name, RECIPE)
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(values[..., 0], volume)
    assert refused > 80


def test_a_packed_file_with_a_flipped_bit_is_read_right_or_refused(folder):
    volume = draw(3, 3, 3, dtype="uint8")
    path = save(folder / "a.nii.gz", volume, np.eye(4))
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            ((_, values),) = data.load_inputs(path, RECIPE)
        except DataError:
            continue
        np.testing.assert_array_equal(values[..., 0], volume)


def test_absurd_claims_are_refused_before_anything_is_allocated(folder):
    save(folder / "a.nii", draw(5, 5, 5))
    header = nibabel.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype("int16")
    header["magic"], header["vox_offset"] = b"n+1", 352
    (folder / "huge.nii").write_bytes(header.binaryblock + bytes(400))
    (folder / "huge.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(400)))
    header.set_data_shape((1000, 1000, 100))
    (folder / "wide.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(400)))
    tracemalloc.start()
    found = reasons(folder)
    with pytest.raises(DataError, match=r"wide.nii.gz: it claims the size \(1000, 1000, 100, 1\)"):
        list(data.load_inputs(folder / "wide.nii.gz", RECIPE))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20
    for name in ("huge.nii", "huge.nii.gz"):
        assert found[name].startswith("it claims the size (30000, 30000, 30000, 1), 49.1 TiB in memory, and the most")
    assert "200000000 bytes, and a file of" in found["wide.nii.gz"]
    with pytest.raises(DataError, match=r"it claims the size \(5, 5, 5, 1\), 250 bytes in memory"):
        data.prepare_volumes(folder / "a.nii", folder.parent / "b.h5", largest=249, **PLAIN)
    # Resampling makes more of it.
    with pytest.raises(DataError, match=r"it claims the size \(50000, 100000, 25000, 1\)"):
        data.prepare_volumes(folder / "a.nii", folder.parent / "b.h5", spacing=0.0001, **PLAIN)
    assert reasons(folder / "a.nii", largest=250) == {}


# DICOM.

ALONG, DOWN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def slice_file(path, pixels, position, along=ALONG, down=DOWN, **tags):
    """A CT slice (row, column) that a reader has to take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = tags.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    slice_ = pydicom.Dataset()
    slice_.file_meta = meta
    slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    slice_.SeriesInstanceUID, slice_.StudyInstanceUID = "1.2.3", "1.2"
    slice_.Rows, slice_.Columns = pixels.shape[:2]
    slice_.PixelSpacing = [0.5, 0.75]
    slice_.ImageOrientationPatient, slice_.ImagePositionPatient = [*along, *down], list(position)
    slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
    slice_.BitsAllocated = 8 * pixels.itemsize
    slice_.BitsStored = slice_.BitsAllocated
    slice_.HighBit = slice_.BitsStored - 1
    slice_.PixelRepresentation = int(pixels.dtype.kind == "i")
    slice_.PixelData = pixels.tobytes()
    for name, value in tags.items():
        if value is None:
            del slice_[name]
        else:
            setattr(slice_, name, value)
    slice_.save_as(path, enforce_file_format=True)
    return path


def series(folder, volume=None, order=None, gap=3.0, name="{}.dcm", **tags):
    """A volume (slice, row, column) as the slices in a folder, named in another order than they lie."""
    volume = draw(6, 5, 4, limit=1000) if volume is None else volume
    along, down = (np.array(tags.get(key, axis)) for key, axis in (("along", ALONG), ("down", DOWN)))
    for number, pixels in enumerate(volume):
        position = np.array([-10.0, -20.0, 30.0]) + number * gap * np.cross(along, down)
        place = number if order is None else order[number]
        slice_file(folder / name.format(place), pixels, position, **tags)
    return volume


def as_nifti(volume, along=ALONG, down=DOWN, gap=3.0):
    """The same volume as nibabel's documentation has it: LPS to RAS, (column, row, slice)."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(along) * 0.75
    affine[:3, 1] = np.array(down) * 0.5
    affine[:3, 2] = np.cross(along, down) * gap
    affine[:3, 3] = [-10, -20, 30]
    return nibabel.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)


ORDER = [3, 0, 5, 1, 4, 2]
TILTED = {"along": (0.0, 0.8, -0.6), "down": (0.0, -0.6, -0.8)}


@pytest.mark.parametrize("planes", [{}, {"along": (0.0, 1.0, 0.0), "down": (0.0, 0.0, -1.0)}, TILTED])
def test_a_series_is_the_volume_that_it_shows(folder, planes):
    volume = series(folder / "ill" / "ä 1", order=ORDER, **planes)
    series(folder / "well" / "2", volume[:3])
    samples, info = made(folder, label_from="folder")
    assert (info.classes, info.dtype) == (("ill", "well"), "int16")
    assert [sample.meta["name"] for sample in samples] == ["ill/ä 1", "well/2"]
    canonical = nibabel.as_closest_canonical(as_nifti(volume, **planes))
    np.testing.assert_array_equal(samples[0].values[..., 0], canonical.get_fdata())
    np.testing.assert_allclose(samples[0].meta["spacing"], canonical.header.get_zooms(), rtol=1e-6)
    np.testing.assert_allclose(samples[0].meta["affine"], canonical.affine, rtol=1e-6, atol=1e-9)
    ((name, values),) = data.load_inputs(folder / "ill" / "ä 1", info.recipe)
    assert name == "ä 1"
    np.testing.assert_array_equal(values, samples[0].values)
    stored = only(folder / "ill", orientation="stored")
    np.testing.assert_array_equal(stored.values[..., 0], volume.transpose(2, 1, 0))
    np.testing.assert_allclose(stored.meta["spacing"], [0.75, 0.5, 3])


def test_a_series_of_names_without_an_ending(folder):
    volume = series(folder / "patient", name="IM{}")
    (folder / "README").write_text("no DICOM")
    (folder / "patient" / "LICENSE").write_text("no DICOM")
    (folder / "patient" / ".hidden.dcm").write_text("passed over")
    (folder / "patient" / "list.txt").write_text("passed over")
    directory = folder / "patient" / "DICOMDIR"
    directory.write_bytes((folder / "patient" / "IM0").read_bytes())
    samples, _ = made(folder)
    assert len(samples) == 1
    np.testing.assert_array_equal(samples[0].values.shape[:3], volume.shape[::-1])


def test_what_is_no_image_in_a_series(folder):
    volume = series(folder)
    slice_file(folder / "report.dcm", volume[0], (0, 0, 0), Rows=None, SeriesInstanceUID="1.9")
    meta = pydicom.dcmread(folder / "0.dcm")
    meta.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    meta.save_as(folder / "directory.dcm")
    assert only(folder).values.shape == (4, 5, 6, 1)


@pytest.mark.parametrize(
    ("disk", "tags", "stored"),
    [
        ("int16", {}, "int16"),
        ("int16", {"RescaleSlope": 1, "RescaleIntercept": -1024}, "int32"),
        ("uint16", {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 1, "RescaleIntercept": -1024}, "int16"),
        ("uint8", {}, "uint8"),
        ("uint16", {"RescaleSlope": 0.25, "RescaleIntercept": -3.5}, "float32"),
        ("uint16", {"RescaleSlope": 1, "RescaleIntercept": 0.5}, "float32"),
    ],
)
def test_rescaling(folder, disk, tags, stored):
    volume = series(folder, draw(3, 5, 4, limit=200, dtype=disk), **tags)
    (sample,), info = made(folder, orientation="stored")
    assert info.dtype == stored
    expected = volume.astype("float64") * tags.get("RescaleSlope", 1) + tags.get("RescaleIntercept", 0)
    np.testing.assert_array_equal(sample.values[..., 0], expected.transpose(2, 1, 0).astype("float32"))


def test_slices_with_a_slope_each(folder):
    """As PET has them."""
    volume = draw(3, 5, 4, limit=200)
    for number, pixels in enumerate(volume):
        slice_file(folder / f"{number}.dcm", pixels, (0, 0, number), RescaleSlope=1 + number, RescaleIntercept=number)
    sample = only(folder, orientation="stored")
    expected = [pixels * (1 + number) + number for number, pixels in enumerate(volume)]
    np.testing.assert_array_equal(sample.values[..., 0], np.transpose(expected, (2, 1, 0)))
    for number, pixels in enumerate(volume):
        slice_file(folder / f"{number}.dcm", pixels, (0, 0, number), RescaleSlope=1, RescaleIntercept=number)
    (sample,), info = made(folder, orientation="stored")
    assert info.dtype == "int32"
    np.testing.assert_array_equal(sample.values[..., 0], np.transpose(volume + np.arange(3)[:, None, None], (2, 1, 0)))


def test_packed_slices(folder):
    volume = series(folder)
    for path in folder.iterdir():
        header = pydicom.dcmread(path)
        header.compress(pydicom.uid.RLELossless)
        header.save_as(path)
    np.testing.assert_array_equal(only(folder, orientation="stored").values[..., 0], volume.transpose(2, 1, 0))


@pytest.mark.parametrize("tags", [{"SpacingBetweenSlices": 2.5, "SliceThickness": 9}, {"SliceThickness": 2.5}, {}])
def test_a_single_slice(folder, tags):
    slice_file(folder / "a.dcm", draw(5, 4), (1, 2, 3), **tags)
    np.testing.assert_allclose(only(folder).meta["spacing"], [0.75, 0.5, 2.5 if tags else 1])
    sample = only(folder / "a.dcm", orientation="stored")
    np.testing.assert_array_equal(sample.values[:, :, 0, 0], draw(5, 4).T)


def test_labels_of_a_series(folder, tmp_path):
    """As tools that convert DICOM write them: a NIfTI file in the same place."""
    volume = series(folder / "p1", order=ORDER, **TILTED)
    labels = nibabel.as_closest_canonical(as_nifti((volume > 500).astype("uint8"), **TILTED))
    (tmp_path / "labels").mkdir()
    nibabel.save(labels, tmp_path / "labels" / "p1.nii.gz")
    sample = only(folder, labels_from=tmp_path / "labels", classes=2)
    np.testing.assert_array_equal(sample.target, sample.values > 500)


def change(folder, number, **tags):
    """One slice changed."""
    slice_ = pydicom.dcmread(folder / f"{number}.dcm")
    for name, value in tags.items():
        if value is None:
            del slice_[name]
        else:
            setattr(slice_, name, value)
    slice_.save_as(folder / f"{number}.dcm")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"SeriesInstanceUID": "1.9"}, r"it holds 2 series \(0.dcm and 2.dcm are of different ones\): a folder must"),
        ({"ImagePositionPatient": [-10, -20, 33]}, "two of its slices lie at the same place, 33 mm: 1.dcm and 2.dcm"),
        ({"ImagePositionPatient": [-10, -20, 37]}, r"its slices aren't evenly spaced: 1.dcm and 2.dcm are 4 mm apart"),
        ({"PixelSpacing": [0.5, 0.8]}, "its slices differ in PixelSpacing: 0.dcm and 2.dcm"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "its slices differ in ImageOrientationPatient"),
        ({"Rows": 3}, "its slices differ in Rows: 0.dcm and 2.dcm"),
        ({"SamplesPerPixel": 3}, "its slice 2.dcm is in colour"),
        ({"NumberOfFrames": 7}, "its file 2.dcm holds many frames, which isn't read: convert it to NIfTI"),
        ({"ImagePositionPatient": None}, "its slice 2.dcm says no ImagePositionPatient, so it has no place"),
        ({"PixelSpacing": None}, "its slice 2.dcm says no PixelSpacing"),
        ({"PixelData": b"\0\0"}, "its slice 2.dcm can't be read: .*pixel data"),
        ({"BitsStored": 4, "HighBit": 3}, "its slices differ in BitsStored: 0.dcm and 2.dcm"),
    ],
)
def test_slices_that_make_no_volume(folder, tags, message):
    series(folder / "p")
    change(folder / "p", 2, **tags)
    with pytest.raises(DataError, match=f"^none of the 1 .* The first, p: {message}"):
        data.prepare_volumes(folder, folder.parent / "a.h5", **PLAIN)


def test_a_missing_slice(folder):
    series(folder / "p")
    (folder / "p" / "3.dcm").unlink()
    with pytest.raises(DataError, match=r"slices are missing: 2.dcm and 4.dcm are 6 mm apart, most 3 mm"):
        data.prepare_volumes(folder, folder.parent / "a.h5", **PLAIN)
    (folder / "p" / "5.dcm").unlink()  # At the end nothing tells of it.
    (folder / "p" / "4.dcm").unlink()
    assert only(folder).values.shape == (4, 5, 3, 1)


def test_slices_that_are_no_dicom(folder, tmp_path):
    series(folder / "good")
    for name in ("empty", "text", "cut", "deflated", "odd", "link", "none", "plane"):
        series(folder / name)
    (folder / "empty" / "2.dcm").write_bytes(b"")
    (folder / "text" / "2.dcm").write_text("no DICOM " * 30)
    content = (folder / "cut" / "2.dcm").read_bytes()
    (folder / "cut" / "2.dcm").write_bytes(content[:-10])
    slice_file(folder / "deflated" / "2.dcm", draw(5, 4), (0, 0, 0), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    change(folder / "odd", 0, PixelRepresentation=None)
    os.replace(folder / "link" / "2.dcm", tmp_path / "outside.dcm")
    (folder / "link" / "2.dcm").symlink_to(tmp_path / "outside.dcm")
    for path in (folder / "none").iterdir():
        change(path.parent, path.stem, Rows=None)
    for path in (folder / "plane").iterdir():
        change(path.parent, path.stem, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    found = reasons(folder)
    assert found.pop("empty") == "its slice 2.dcm is empty"
    assert found.pop("text") == "its slice 2.dcm isn't a DICOM file, or is cut off"
    assert found.pop("cut").startswith("its slice 2.dcm can't be read: ")
    assert found.pop("deflated") == "its slice 2.dcm is deflated, which isn't read"
    assert found.pop("odd") == "its slice 0.dcm doesn't say what its pixels are"
    assert found.pop("link") == "its slice 2.dcm is a link that leads out of the folder, or to nothing"
    assert "leads out of the source folder" in found.pop("link/2.dcm")
    assert found.pop("none") == "none of its files is a DICOM image"
    assert found.pop("plane") == "its slices' ImageOrientationPatient isn't that of a plane"
    assert found == {}


def test_a_slice_cut_anywhere_is_read_right_or_refused(folder):
    path = slice_file(folder / "a.dcm", draw(5, 4), (1, 2, 3))
    content = path.read_bytes()
    ((_, whole),) = data.load_inputs(folder, RECIPE)
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            list(data.load_inputs(folder, RECIPE))
    assert whole.shape == (4, 5, 1, 1)


def test_absurd_slices(folder):
    series(folder / "p")
    for path in (folder / "p").iterdir():
        change(path.parent, path.stem, Rows=65535, Columns=65535)
    with pytest.raises(DataError, match=r"it claims the size \(65535, 65535, 6\), 48 GiB in memory"):
        data.prepare_volumes(folder, folder.parent / "a.h5", **PLAIN)


def test_the_same_bytes_for_any_number_of_workers(folder, tmp_path):
    for number in range(3):
        save(folder / "xy"[number % 2] / f"{number}.nii.gz", draw(4 + number, 5, 6, seed=number), affine_of("LPS"))
    series(folder / "x" / "s")
    for count in (1, 3):
        given = {"workers": count, "split": {"test": 0.3}, "spacing": 1.7, "resume": False}
        assert data.prepare_volumes(folder, tmp_path / f"{count}.h5", **given).samples == 4
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"orientation": "lps"}, "orientation must be one of ras, stored. Received: orientation='lps'"),
        ({"spacing": 0}, "spacing must be one or three numbers above 0"),
        ({"spacing": (1, 2)}, r"spacing must be one or three numbers above 0 \(mm\). Received: spacing=\(1, 2\)"),
        ({"spacing": (1, 2, True)}, "spacing must be one or three"),
        ({"spacing": float("inf")}, "spacing must be one or three"),
        ({"spacing": "1"}, "spacing must be one or three"),
        ({"spacing": {}}, "spacing must be one or three"),
    ],
)
def test_arguments(folder, given, message):
    with pytest.raises(ArgumentError, match=message):
        data.prepare_volumes(folder, folder.parent / "a.h5", **given)


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    save(folder / "x" / "a.nii", draw(4, 5, 6), affine_of("LPS"))
    assert cli.run(["prepare", "volumes", "in", "a.h5", "--spacing", "1,1,3"]) == 0
    assert capsys.readouterr().out == "a.h5: 1 samples\n"
    assert data.info("a.h5")["shapes"]["max"] == [4, 10, 6]
    assert cli.run(["prepare", "volumes", "in", "b.h5", "--spacing", "2"]) == 0
    assert data.info("b.h5")["shapes"]["max"] == [2, 5, 9]
    assert cli.run(["prepare", "volumes", "in", "c.h5", "--orientation", "stored"]) == 0
    assert data.info("c.h5")["axes"][0]["name"] == "i"
    capsys.readouterr()
    assert cli.run(["prepare", "volumes", "in", "d.h5", "--spacing", "x"]) == 2
    assert "give one number or three, such as 1,1,2.5. Received: x" in capsys.readouterr().err
    assert cli.run(["prepare", "volumes", "in", "d.h5", "--spacing", "1,2"]) == 2
    assert "spacing must be one or three numbers" in capsys.readouterr().err
