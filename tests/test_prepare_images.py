"""Images to data files, on files the tests write with Pillow."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from convnd import cli, data
from convnd.data.prepare import images
from convnd.errors import ArgumentError, DataError

PLAIN = {"label_from": None, "workers": 1}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def draw(*shape, seed=0, dtype="uint8"):
    limit = 1 << 8 * np.dtype(dtype).itemsize
    return np.random.default_rng(seed).integers(0, limit, shape, dtype=dtype)


def save(path, pixels, mode=None, **given):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **given)
    return path


def made(folder, **given):
    """The samples of a file made of the folder, without failures, and what the file says of itself."""
    out = folder.parent / "a.h5"
    report = data.prepare_images(folder, out, resume=False, **(PLAIN | given))
    assert report.failed == []
    with data.open(out) as file:
        return [sample.values for sample in file.samples], file.info


def physical(pixels, white=255):
    return (np.asarray(pixels) / white).astype("float32")


def reasons(report):
    return {failure.path: failure.reason for failure in report.failed}


def test_images_of_any_size_in_folders(folder, tmp_path):
    pixels = {}
    for number, name in enumerate(["cat/a.bmp", "cat/ä ö.png", "dog/c.tif", "dog/d.ppm", "dog/e.webp"]):
        pixels[name] = draw(3 + number, 9 - number, 3, seed=number)
        save(folder / name, pixels[name], **({"lossless": True} if name.endswith("webp") else {}))
    report = data.prepare_images(folder, tmp_path / "a.h5")
    assert (report.samples, report.failed) == (5, [])
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("cat", "dog")
        assert (file.info.dtype, file.info.scale, file.info.channels) == ("uint8", 1 / 255, 3)
        assert file.info.axes == (data.Axis("row"), data.Axis("column"))
        assert file.info.channel_names == ("red", "green", "blue")
        assert file["train"].names == list(pixels)
        assert file["train"].targets.tolist() == [0, 0, 1, 1, 1]
        for sample, (name, expected) in zip(file["train"], pixels.items(), strict=True):
            np.testing.assert_array_equal(sample.values, physical(expected))
            ((again, values),) = data.load_inputs(folder / name, file.info.recipe)
            assert again == name.split("/")[1]
            np.testing.assert_array_equal(values, sample.values)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "avif", "gif"])
def test_what_pillow_decodes(folder, suffix):
    save(folder / f"a.{suffix}", draw(16, 24, 3))
    (values,), _ = made(folder)
    with Image.open(folder / f"a.{suffix}") as image:
        np.testing.assert_array_equal(values, physical(image.convert("RGB")))


def test_the_first_of_several_frames(folder):
    frames = [Image.fromarray(draw(5, 6, seed=seed)) for seed in range(3)]
    for name in ("a.gif", "b.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    samples, _ = made(folder, colour="grey")
    assert len(samples) == 2
    for values in samples:
        np.testing.assert_array_equal(values[..., 0], physical(frames[0]))


def test_grey_stays_grey_where_all_are(folder):
    grey = draw(4, 5)
    save(folder / "a.png", grey)
    save(folder / "b.png", grey > 99)
    (one, two), info = made(folder)
    assert (info.channels, info.channel_names, info.recipe["colour"]) == (1, ("grey",), "grey")
    np.testing.assert_array_equal(one[..., 0], physical(grey))
    np.testing.assert_array_equal(two[..., 0], grey > 99)
    colours = draw(3, 3, 3)
    save(folder / "c.png", colours)
    samples, info = made(folder)
    assert (info.channels, info.recipe["colour"]) == (3, "rgb")
    for channel in range(3):
        np.testing.assert_array_equal(samples[0][..., channel], physical(grey))
    np.testing.assert_array_equal(samples[2], physical(colours))
    samples, info = made(folder, colour="grey")
    assert info.channels == 1
    np.testing.assert_allclose(samples[2][..., 0], colours @ [0.299, 0.587, 0.114] / 255, atol=0.6 / 255)
    assert made(folder, colour="rgb")[1].channels == 3


def test_alpha_is_laid_on_the_background(folder):
    pixels = draw(8, 9, 4)
    save(folder / "a.png", pixels)
    share = pixels[..., 3:] / 255
    for background, colour in (("white", (255, 255, 255)), ("#ff8000", (255, 128, 0)), ("black", (0, 0, 0))):
        (values,), info = made(folder, background=background)
        assert info.recipe["background"] == list(colour)
        expected = (pixels[..., :3] * share + (1 - share) * colour) / 255
        np.testing.assert_allclose(values, expected, atol=1 / 255)
    grey = draw(8, 9, 2)
    save(folder / "a.png", grey)
    (values,), info = made(folder)
    assert info.channels == 1
    share = grey[..., 1] / 255
    np.testing.assert_allclose(values[..., 0], (grey[..., 0] * share + 255 * (1 - share)) / 255, atol=1 / 255)


def test_alpha_as_a_channel(folder):
    pixels, grey = draw(8, 9, 4), draw(4, 4)
    save(folder / "a.png", pixels)
    save(folder / "b.png", grey)
    (one, two), info = made(folder, alpha=True)
    assert info.channel_names == ("red", "green", "blue", "alpha")
    np.testing.assert_array_equal(one, physical(pixels))
    np.testing.assert_array_equal(two[..., 2], physical(grey))
    np.testing.assert_array_equal(two[..., 3], 1)
    (one, two), info = made(folder, alpha=True, colour="grey")
    assert info.channel_names == ("grey", "alpha")
    np.testing.assert_array_equal(one[..., 1], physical(pixels[..., 3]))
    np.testing.assert_array_equal(two, physical(np.stack([grey, np.full_like(grey, 255)], -1)))


def test_palettes_and_transparent_colours(folder):
    index = draw(6, 7) % 4
    image = Image.fromarray(index, "P")
    palette = draw(4, 3, seed=1)
    image.putpalette(palette.tobytes())
    image.save(folder / "a.png")
    image.save(folder / "b.png", transparency=2)
    image.save(folder / "c.gif", transparency=2)
    Image.fromarray(index).save(folder / "d.png", transparency=2)
    Image.fromarray(palette[index]).save(folder / "e.png", transparency=tuple(palette[2].tolist()))
    samples, info = made(folder, background="black")
    assert info.channels == 3
    hidden = (index == 2)[..., None]
    np.testing.assert_array_equal(samples[0], physical(palette[index]))
    for number in (1, 2, 4):
        np.testing.assert_array_equal(samples[number], physical(np.where(hidden, 0, palette[index])))
    np.testing.assert_array_equal(samples[3], physical(np.where(hidden, 0, index[..., None].repeat(3, -1))))
    samples, _ = made(folder, alpha=True)
    for number in (1, 2, 3, 4):
        np.testing.assert_array_equal(samples[number][..., 3:], ~hidden)


def test_cmyk_and_lab(folder):
    inks = draw(5, 6, 4)
    Image.fromarray(inks, "CMYK").save(folder / "a.tif")
    Image.fromarray(draw(5, 6, 3), "LAB").save(folder / "b.tif")
    (one, two), _ = made(folder)
    np.testing.assert_allclose(one, (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255), atol=1.1 / 255)
    assert two.shape == (5, 6, 3)
    assert made(folder, colour="grey")[0][1].shape == (5, 6, 1)


def test_16_bits_of_grey(folder):
    fine, grey = draw(5, 6, dtype="uint16"), draw(4, 4)
    for name in ("a.png", "a.tif", "a.pgm"):
        save(folder / name, fine)
    big = Image.fromarray(fine.astype(">u2"))
    assert big.mode == "I;16B"
    big.save(folder / "a_big.tif")
    samples, info = made(folder)
    assert (info.dtype, info.scale, info.channels) == ("uint16", 1 / 65535, 1)
    for values in samples:
        np.testing.assert_array_equal(values[..., 0], physical(fine, 65535))
    # Beside images of 8 bits all have 16: no value is lost, and white is white.
    save(folder / "b.png", draw(4, 4, 3))
    save(folder / "c.png", grey)
    samples, info = made(folder, alpha=True)
    assert (info.dtype, info.channels) == ("uint16", 4)
    np.testing.assert_array_equal(samples[0], physical(np.stack([fine, fine, fine, 0 * fine + 65535], -1), 65535))
    np.testing.assert_allclose(samples[4][..., :3], physical(draw(4, 4, 3)), rtol=1e-6)
    np.testing.assert_allclose(samples[5][..., 1], physical(grey), rtol=1e-6)
    recipe = {"kind": "images", "colour": "grey", "dtype": "uint8", "scale": 1 / 255}
    ((_, values),) = data.load_inputs(folder / "a.png", recipe)
    np.testing.assert_array_equal(values[..., 0], physical(np.rint(fine / 257)))


def test_floats(folder):
    floats = np.float32(np.random.default_rng(0).normal(size=(4, 5)))
    save(folder / "a.tif", floats)
    save(folder / "b.tif", floats[:3])
    save(folder / "c.tif", draw(3, 3))
    report = data.prepare_images(folder, folder.parent / "a.h5", **PLAIN)
    assert reasons(report) == {
        "c.tif": "its pixels are whole numbers from black to white, those of the others floats of a range of their own"
    }
    with data.open(folder.parent / "a.h5") as file:
        assert (file.info.dtype, file.info.scale) == ("float32", None)
        np.testing.assert_array_equal(file["train"][0].values[..., 0], floats)
        recipe = file.info.recipe
    with pytest.raises(DataError, match=r"c\.tif: its pixels are whole numbers"):
        list(data.load_inputs(folder / "c.tif", recipe))
    floats[1, 2] = np.nan
    save(folder / "b.tif", floats)
    report = data.prepare_images(folder, folder.parent / "a.h5", **PLAIN)
    assert "values must be finite. Received: nan at (1, 2, 0)" in reasons(report)["b.tif"]
    (folder / "c.tif").unlink()
    save(folder / "b.tif", floats[:1])
    samples, _ = made(folder, side=2, alpha=True)
    np.testing.assert_array_equal(samples[1][..., 1], 1)


def upright(pixels, turn):
    """As TIFF 6.0 says where row 0 and column 0 of what is stored belong."""
    turned = pixels.swapaxes(0, 1) if turn > 4 else pixels
    if turn in (3, 4, 7, 8):
        turned = turned[::-1]
    return turned[:, ::-1] if turn in (2, 3, 6, 7) else turned


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation(folder, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    fine = draw(2, 3, dtype="uint16")
    pixels = np.kron(draw(2, 3, 3), np.ones((8, 8, 1), "uint8"))
    for name in ("a.png", "c.tif"):
        save(folder / name, pixels, exif=exif)
    save(folder / "b.jpg", pixels, exif=exif, quality=100, subsampling=0)
    save(folder / "d.tif", fine, exif=exif)
    samples, _ = made(folder)
    expected = upright(pixels, turn)
    np.testing.assert_allclose(samples[0], physical(expected), atol=1e-3)
    np.testing.assert_allclose(samples[2], physical(expected), atol=1e-3)
    np.testing.assert_allclose(samples[1], physical(expected), atol=0.05)
    np.testing.assert_allclose(samples[3][..., 0], physical(upright(fine, turn), 65535), rtol=1e-6)


@pytest.mark.parametrize("given", [{}, {"alpha": True}, {"colour": "grey", "background": "blue"}, {"side": 7}], ids=str)
def test_images_are_the_same_in_strips(folder, monkeypatch, given):
    """Of every mode, a row at a time."""
    colours, index = draw(9, 10, 3), draw(9, 10) % 4
    Image.fromarray(draw(9, 10, 4)).save(folder / "rgba.png")
    Image.fromarray(draw(9, 10, 2)).save(folder / "la.png")
    Image.fromarray(draw(9, 10, 4), "CMYK").save(folder / "cmyk.tif")
    Image.fromarray(colours, "LAB").save(folder / "lab.tif")
    Image.fromarray(index > 1).save(folder / "bits.png")
    palette_image(index, draw(4, 3)).save(folder / "palette.png", transparency=2)
    Image.fromarray(index).save(folder / "clear.png", transparency=2)
    Image.fromarray(colours).save(folder / "clear_colour.png", transparency=tuple(colours[3, 4].tolist()))
    turned = Image.Exif()
    turned[0x0112] = 6
    save(folder / "turned.tif", colours, exif=turned)
    whole, info = made(folder, **given)
    monkeypatch.setattr(images, "STRIP", 1)
    stripped, _ = made(folder, **given)
    for one, other in zip(whole, stripped, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (len(whole), info.dtype) == (9, "uint8")
    monkeypatch.undo()
    for name, dtype in {"fine.png": "uint16", "fine.tif": ">u2", "fine.pgm": "uint16"}.items():
        Image.fromarray(draw(9, 10, dtype="uint16").astype(dtype)).save(folder / name)
    whole, info = made(folder, **given)
    monkeypatch.setattr(images, "STRIP", 1)
    stripped, _ = made(folder, **given)
    for one, other in zip(whole, stripped, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (len(whole), info.dtype) == (12, "uint16")


CHILD = """
import re, sys
from convnd import data
from convnd.data.prepare import images
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
list(data.load_inputs(sys.argv[2], {"kind": "images", "dtype": "uint8"}))
before = most()
data.prepare_images(sys.argv[1], sys.argv[1] + ".h5", label_from=None, workers=1)
print(most() - before)
"""


@pytest.mark.parametrize(("mode", "times"), [("RGB", 2.8), ("RGBA", 2.8), ("L", 2.6), ("P", 2.0), ("I;16", 2.6)])
def test_memory_for_a_large_image(folder, mode, times):
    """Pillow's own copy (four bytes a pixel for colour) and what is stored; nothing else is as large."""
    shape = (2500, 2600, *[len(mode)] * (mode in ("RGB", "RGBA")))
    pixels = np.zeros(shape, "uint16" if mode == "I;16" else "uint8")
    Image.fromarray(pixels, None if mode == "I;16" else mode).save(folder / "a.png", compress_level=1)
    save(folder.parent / "small.png", draw(3, 3))
    command = [sys.executable, "-c", CHILD, str(folder), str(folder.parent / "small.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    stored = data.info(folder.parent / "in.h5")
    held = 2500 * 2600 * stored["channels"] * np.dtype(stored["dtype"]).itemsize
    assert int(done.stdout) < times * held + (16 << 20)


def test_an_exif_block_of_nonsense(folder):
    save(folder / "a.jpg", draw(8, 8, 3), exif=b"Exif\0\0nonsense")
    assert made(folder)[0][0].shape == (8, 8, 3)


def test_larger_images_are_reduced(folder):
    pixels = draw(12, 18, 3)
    save(folder / "a.png", pixels)
    save(folder / "b.png", draw(6, 3, 3, seed=1))
    (one, two), info = made(folder, side=6)
    assert info.recipe["side"] == 6
    assert one.shape == (4, 6, 3)
    np.testing.assert_allclose(one, pixels.reshape(4, 3, 6, 3, 3).mean((1, 3)) / 255, atol=1.01 / 255)
    np.testing.assert_array_equal(two, physical(draw(6, 3, 3, seed=1)))
    fine = draw(12, 18, dtype="uint16")
    save(folder / "a.png", fine)
    (one, _), _ = made(folder, side=6, colour="grey")
    np.testing.assert_allclose(one[..., 0], fine.reshape(4, 3, 6, 3).mean((1, 3)) / 65535, atol=0.51 / 65535)
    save(folder / "a.png", draw(2, 999))
    assert made(folder, side=10, colour="grey")[0][0].shape == (1, 10, 1)
    # What is transparent doesn't colour what it is averaged with.
    clear = np.uint8([[[200, 0, 0, 255], [0, 255, 0, 0]]])
    save(folder / "a.png", clear)
    np.testing.assert_allclose(made(folder, side=1, alpha=True)[0][0][0, 0] * 255, [200, 0, 0, 128], atol=1.01)


# Masks.


def masks(folder, mask, name="a_mask.png", image=(6, 7, 3), **given):
    """The targets of an image, of its mask."""
    save(folder / "a.png", draw(*image))
    if isinstance(mask, Image.Image):
        mask.save(folder / name)
    elif mask is not None:
        save(folder / name, mask)
    given = {"labels_from": "{stem}_mask" + name[name.index(".") :]} | given
    report = data.prepare_images(folder / "a.png", folder.parent / "a.h5", workers=1, resume=False, **given)
    assert report.failed == []
    with data.open(folder.parent / "a.h5") as file:
        return file["train"][0].target[..., 0]


def palette_image(index, colours):
    image = Image.fromarray(index, "P")
    image.putpalette(colours.tobytes())
    return image


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp", "gif"])
def test_masks_of_class_numbers(folder, suffix):
    index = draw(6, 7) % 4
    target = masks(folder, palette_image(index, draw(4, 3, seed=2)), f"a_mask.{suffix}", classes=4)
    np.testing.assert_array_equal(target, index)


def test_masks_of_other_forms(folder):
    index = draw(6, 7) % 4
    np.testing.assert_array_equal(masks(folder, index, classes=["a", "b", "c", "d"]), index)
    np.testing.assert_array_equal(masks(folder, index.astype("uint16") * 300), index.astype(int) * 300)
    np.testing.assert_array_equal(masks(folder, index > 1, classes=2), index > 1)
    target = masks(folder, np.where(index > 1, 255, 0).astype("uint8"), label_values=[0, 255])
    np.testing.assert_array_equal(target, index > 1)
    np.save(folder / "a_mask.npy", index.astype("int64"))
    np.testing.assert_array_equal(masks(folder, None, "a_mask.npy", classes=4), index)
    with Image.open(folder / "a.png") as image:
        assert image.size == (7, 6)


def test_masks_in_a_folder_of_their_own_with_a_label_to_ignore(folder, tmp_path):
    for number in range(3):
        save(folder / "images" / "x" / f"{number}.jpg", draw(4 + number, 5, 3))
        index = draw(4 + number, 5, seed=number) % 3
        index[0, 0] = 255
        save(tmp_path / "masks" / "x" / f"{number}.png", index)
    given = {"labels_from": tmp_path / "masks", "classes": 3, "ignore": 255}
    for workers in (1, 3):
        report = data.prepare_images(folder / "images", tmp_path / f"{workers}.h5", workers=workers, **given)
        assert (report.samples, report.failed) == (3, [])
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()
    with data.open(tmp_path / "1.h5") as file:
        expected = draw(6, 5, seed=2) % 3
        expected[0, 0] = 255
        np.testing.assert_array_equal(file["train"][2].target[..., 0], expected)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, depth, form, rows):
    """A PNG file, by its specification."""
    header = struct.pack(">IIBBBBB", width, height, depth, form, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_class_numbers_in_few_bits(folder, depth):
    """Grey of 2 bits: 0, 1, 2, 3 in the file, which Pillow shows as 0, 85, 170, 255."""
    numbers = draw(6, 8) % (1 << min(depth, 3))
    bits = ((numbers[..., None] >> np.arange(depth)[::-1]) & 1).reshape(6, -1)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    save(folder / "a.png", draw(6, 8))
    (folder / "a_mask.png").write_bytes(png(8, 6, depth, 0, rows))
    np.testing.assert_array_equal(masks(folder, None, image=(6, 8)), numbers)


def test_masks_are_turned_and_reduced_with_their_images(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    index = draw(9, 12) % 5
    save(folder / "a.png", draw(9, 12, 3), exif=exif)
    save(folder / "a_mask.png", index, exif=exif)
    given = {"labels_from": "{stem}_mask.png", "workers": 1, "resume": False}
    data.prepare_images(folder, folder.parent / "a.h5", **given)
    with data.open(folder.parent / "a.h5") as file:
        turned = index[::-1].T
        np.testing.assert_array_equal(file["train"][0].target[..., 0], turned)
    data.prepare_images(folder, folder.parent / "a.h5", side=4, **given)
    with data.open(folder.parent / "a.h5") as file:
        assert file["train"][0].values.shape == (4, 3, 3)
        np.testing.assert_array_equal(file["train"][0].target[..., 0], turned[1::3, 1::3])


@pytest.mark.parametrize(
    ("mask", "name", "message"),
    [
        (draw(6, 8), "a_mask.png", r"its size \(rows, columns\) is \(6, 8\), the image's \(6, 7\)"),
        (draw(7, 6), "a_mask.png", r"its size \(rows, columns\) is \(7, 6\), the image's \(6, 7\)"),
        (draw(6, 7), "a_mask.jpg", "of a format that keeps numbers: PNG, TIFF, BMP, GIF. Received: JPEG"),
        (draw(6, 7, 3), "a_mask.png", "one class number or palette index a pixel. Received: pixels of mode RGB"),
        (np.full((6, 7), 3, "uint8"), "a_mask.png", r"labels must be 0 up to 2. Received: 3"),
    ],
)
def test_masks_that_dont_fit(folder, mask, name, message):
    with pytest.raises(DataError, match=message):
        masks(folder, mask, name, classes=3, strict=True)


def test_more_masks_that_dont_fit(folder):
    index = np.full((6, 7), 7, "uint8")
    with pytest.raises(DataError, match=r"a_mask.png: the label 7 isn't among the label values \[0, 255\]"):
        masks(folder, index, label_values=[0, 255], strict=True)
    np.save(folder / "a_mask.npy", np.zeros((6, 7), "float32"))
    with pytest.raises(DataError, match=r"labels per position must be whole numbers. Received: float32"):
        masks(folder, None, "a_mask.npy", strict=True)
    (folder / "a_mask.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"its file of labels, a_mask.png: it is empty"):
        masks(folder, None, strict=True)
    (folder / "a_mask.png").unlink()
    with pytest.raises(DataError, match=r"it has no file of labels: .*a_mask.png isn't there"):
        masks(folder, None)


# Faults.


def test_files_that_are_no_images(folder, tmp_path):
    sound = save(folder / "a.png", draw(9, 9)).read_bytes()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not an image")
    (folder / "cut.png").write_bytes(sound[:-30])
    (folder / "wrong.jpg").write_bytes(sound)  # Read by what it holds.
    (folder / "notes.txt").write_text("left alone")
    (folder / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    save(folder / "wide.tif", np.arange(9, dtype="int32").reshape(3, 3))
    save(folder / "clear.png", draw(3, 3, dtype="uint16"), transparency=5)
    damaged = bytearray(sound)
    damaged[45] ^= 1
    (folder / "damaged.png").write_bytes(damaged)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = data.prepare_images(folder, tmp_path / "a.h5", **PLAIN)
    assert caught == []
    assert report.samples == 2
    found = reasons(report)
    assert found.pop("empty.png") == "it is empty"
    for name in ("text.jpg", "program.png"):
        assert found.pop(name).startswith("it isn't a sound image of the formats that are read: PNG, JPEG")
    assert "truncated" in found.pop("cut.png")
    assert "broken data stream" in found.pop("damaged.png")
    assert "32-bit integers, of which nothing says what white is" in found.pop("wide.tif")
    assert "16-bit grey with a transparent value" in found.pop("clear.png")
    assert found == {}


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.gif", "a.webp", "a.pgm", "a.avif"])
def test_a_file_cut_anywhere_is_read_right_or_refused(folder, name):
    content = save(folder / name, draw(8, 8)).read_bytes()
    ((_, whole),) = data.load_inputs(folder / name, {"kind": "images", "dtype": "uint8"})
    refused = 0
    # Every length of the header and at the end, and more between.
    lengths = sorted({*range(60), *range(60, len(content), 1 + len(content) // 150), *range(len(content))[-60:]})
    for length in lengths:
        (folder / name).write_bytes(content[:length])
        try:
            ((_, values),) = data.load_inputs(folder / name, {"kind": "images", "dtype": "uint8"})
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(values, whole)
    assert refused > 0.8 * len(lengths)


def test_absurd_claims_are_refused_before_anything_is_allocated(folder, tmp_path):
    save(folder / "a.png", draw(20, 30))
    (folder / "bomb.png").write_bytes(png(100_000, 100_000, 8, 0, b""))
    (folder / "wide.bmp").write_bytes(
        b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2**31 - 1, 2**30, 1, 24, *[0] * 6)
    )
    limit = Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    report = data.prepare_images(folder, tmp_path / "a.h5", **PLAIN)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert limit == Image.MAX_IMAGE_PIXELS
    assert most < 16 << 20
    assert report.samples == 1
    assert "it claims the size (100000, 100000, 1), 9.31 GiB" in reasons(report)["bomb.png"]
    assert "it claims the size (1073741824, 2147483647, 3)" in reasons(report)["wide.bmp"]
    with pytest.raises(DataError, match=r"bomb.png: it claims the size"):
        list(data.load_inputs(folder / "bomb.png", {"kind": "images", "dtype": "uint8"}))
    assert data.prepare_images(folder, tmp_path / "b.h5", largest=600, **PLAIN).samples == 1
    with pytest.raises(DataError, match=r"a.png: it claims the size \(20, 30, 1\), 600 bytes"):
        data.prepare_images(folder, tmp_path / "c.h5", largest=599, **PLAIN)
    with pytest.raises(DataError, match=r"a.png: it claims the size \(20, 30, 3\), 1.76 KiB"):
        data.prepare_images(folder, tmp_path / "c.h5", largest=600, colour="rgb", **PLAIN)


def test_pillows_own_limit_doesnt_count(folder, monkeypatch):
    """Nor does it warn: ``largest`` says what may be read."""
    save(folder / "a.png", draw(20, 30))
    for limit in (400, 100):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert made(folder)[0][0].shape == (20, 30, 1)
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"colour": "cmyk"}, "colour must be one of keep, grey, rgb. Received: colour='cmyk'"),
        ({"background": "nocolour"}, r"background must be a colour.*Received: background='nocolour'"),
        ({"background": 3}, "background must be a colour.*Received: background=3"),
        ({"side": 0}, "side must be an int of at least 1"),
        ({"side": True}, "side must be an int of at least 1"),
        ({"side": 2.5}, "side must be an int of at least 1"),
    ],
)
def test_arguments(folder, given, message):
    save(folder / "a.png", draw(3, 3))
    with pytest.raises(ArgumentError, match=message):
        data.prepare_images(folder, folder.parent / "a.h5", **given)


def test_the_same_bytes_for_any_number_of_workers(folder, tmp_path):
    for number in range(7):
        save(folder / "xy"[number % 2] / f"{number}.png", draw(3 + number, 5, *[3, 4][: number % 2], seed=number))
    for workers in (1, 3):
        report = data.prepare_images(folder, tmp_path / f"{workers}.h5", workers=workers, split={"test": 0.3}, side=8)
        assert report.samples == 7
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_the_command(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder.parent)
    save(folder / "x" / "a.png", draw(30, 20, 4))
    words = ["--colour", "grey", "--background", "#000", "--side", "15"]
    assert cli.run(["prepare", "images", "in", "a.h5", *words]) == 0
    assert capsys.readouterr().out == "a.h5: 1 samples\n"
    facts = data.info("a.h5")
    assert (facts["channels"], facts["shapes"]["max"]) == (1, [15, 10])
    assert cli.run(["prepare", "images", "in", "b.h5", "--alpha"]) == 0
    assert data.info("b.h5")["channels"] == 4
    assert cli.run(["prepare", "images", "in", "c.h5", "--background", "nocolour"]) == 2
    assert "background must be a colour" in capsys.readouterr().err
