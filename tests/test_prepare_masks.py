"""Labels per position of videos: masks beside the clips, through rate, range, size and turning."""

from __future__ import annotations

import json

import av
import numpy as np
import pytest
from PIL import Image
from test_prepare_video import STAMPS, draw, nearest, turn, write

from convnd import cli, data
from convnd.errors import DataError

COUNT, HEIGHT, WIDTH = 40, 8, 12
NET = """
type = "Sequential"
[[layers]]
type = "Conv"
filters = 8
kernel = 1
activation = "relu"
[[layers]]
type = "Conv"
filters = 2
kernel = 1
"""


def classes(count=COUNT, height=HEIGHT, width=WIDTH, most=5):
    return np.random.default_rng(7).integers(0, most, (count, height, width), dtype=np.uint8)


def grey_video(path, masks, codec="ffv1", pixels="gray"):
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = *masks[0].shape, pixels
        for mask in masks:
            form = "gray" if pixels == "gray" else "gray16le" if mask.dtype == np.uint16 else "rgb24"
            array = mask if form != "rgb24" else np.repeat(mask[..., None], 3, 2)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=form)))
        file.mux(stream.encode())


def pictures(folder, masks, name="{}.png", palette=False):
    folder.mkdir()
    for number, mask in enumerate(masks):
        image = Image.fromarray(mask, "P" if palette else "L")
        if palette:
            image.putpalette(draw(1, 1, 256).tobytes())
        image.save(folder / name.format(number))


FORMS = {
    "array": lambda path, masks: np.save(path.with_suffix(".npy"), masks),
    "wide array": lambda path, masks: np.save(path.with_suffix(".npy"), masks[..., None].astype("int64")),
    "archive": lambda path, masks: np.savez_compressed(path.with_suffix(".npz"), masks=masks),
    "folder": pictures,
    "folder of palettes": lambda path, masks: pictures(path, masks, "mask_{}.gif", palette=True),
    "grey video": lambda path, masks: grey_video(path.with_suffix(".mkv"), masks),
    "video of 16 bits": lambda path, masks: grey_video(path.with_suffix(".mkv"), masks.astype("uint16"), "ffv1",
                                                       "gray16le"),
    "colour video": lambda path, masks: grey_video(path.with_suffix(".mov"), masks, "png", "rgb24"),
    "raw video": lambda path, masks: grey_video(path.with_suffix(".avi"), masks, "rawvideo", "gray"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "masks").mkdir()
    write(tmp_path / "in" / "a.mkv", draw(COUNT, HEIGHT, WIDTH))
    return tmp_path


def made(folder, **given):
    """The frames and the masks of the one clip."""
    given = {"labels_from": folder / "masks", "workers": 1, "resume": False, "strict": True} | given
    report = data.prepare_video(folder / "in", folder / "a.h5", **given)
    assert report.failed == []
    with data.open(folder / "a.h5") as file:
        (sample,) = file["train"]
        assert sample.target.shape == (*sample.values.shape[:3], 1)
        return sample.values, sample.target[..., 0]


@pytest.mark.parametrize("form", FORMS)
def test_masks_of_every_form(folder, form):
    FORMS[form](folder / "masks" / "a", classes())
    values, target = made(folder, classes=["none", "a", "b", "c", "d"])
    assert values.shape == (COUNT, HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(target, classes())
    # The frames that are taken: every second one from 0.7 s to 2.3 s; looked for by the index; more than there are.
    np.testing.assert_array_equal(made(folder, rate=5, start=0.7, stop=2.3)[1], classes()[7:23:2])
    np.testing.assert_array_equal(made(folder, start=3.0)[1], classes()[30:])
    twice = nearest(range(0, 500, 100), 20, 0, 0.5)
    np.testing.assert_array_equal(made(folder, rate=20, stop=0.5)[1], classes()[twice])
    # The middle of what a pixel covers, of two the second.
    values, target = made(folder, size=6)
    assert values.shape == (COUNT, 4, 6, 3)
    np.testing.assert_array_equal(target, classes()[:, 1::2, 1::2])


def test_masks_have_the_times_of_their_frames(tmp_path):
    frames, masks = draw(len(STAMPS)), classes(len(STAMPS), 6, 8)
    path = write(tmp_path / "in" / "a.mkv", frames, times=STAMPS)
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks" / "a.npy", masks)
    with av.open(str(path)) as file:
        last = [frame.duration for frame in file.decode(video=0)][-1]
    values, target = made(tmp_path, rate=7.3)
    expected = nearest(STAMPS, 7.3, 0, (2600 + last) / 1000)
    np.testing.assert_array_equal(values, (frames[expected] / 255).astype("float32"))
    np.testing.assert_array_equal(target, masks[expected])


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2)])
def test_masks_lie_on_frames_as_they_are_shown(tmp_path, matrix, turns):
    path = write(tmp_path / "in" / "a.mov", draw(4), codec="png", pixels="rgb24")
    turn(path, matrix)
    (tmp_path / "masks").mkdir()
    stored = classes(4, 6, 8)
    upright = np.rot90(stored, turns, axes=(1, 2))
    np.save(tmp_path / "masks" / "a.npy", upright)
    values, target = made(tmp_path)
    np.testing.assert_array_equal(values, (np.rot90(draw(4), turns, axes=(1, 2)) / 255).astype("float32"))
    np.testing.assert_array_equal(target, upright)
    # A video that is turned as the clip is.
    (tmp_path / "masks" / "a.npy").unlink()
    grey_video(tmp_path / "masks" / "a.mov", stored, "png", "rgb24")
    turn(tmp_path / "masks" / "a.mov", matrix)
    np.testing.assert_array_equal(made(tmp_path, size=4)[1], upright[:, 1::2, 1::2])


def test_folders_beside_the_clips_are_no_clips(folder):
    """Their files end as clips may; the masks are in the order in which people count."""
    masks = classes()
    pictures(folder / "in" / "a_masks", masks, "frame{}.gif")
    (folder / "in" / "a_masks" / "notes.txt").write_text("not a mask")
    (folder / "in" / "a_masks" / ".hidden.png").write_text("neither")
    _, target = made(folder, labels_from="{stem}_masks")
    np.testing.assert_array_equal(target, masks)
    rows = folder / "list.csv"
    rows.write_text("path,labels\na.mkv,a_masks\n")
    _, target = made(folder, label_from=rows, labels_from=None)
    np.testing.assert_array_equal(target, masks)


def test_values_of_labels_and_one_to_ignore(folder):
    np.save(folder / "masks" / "a.npy", classes(most=3) * np.uint8(100))
    _, target = made(folder, label_values=[0, 100, 200], ignore=2)
    np.testing.assert_array_equal(target, classes(most=3))
    assert data.info(folder / "a.h5")["classes"] == ["0", "100", "200"]


def coloured(path):
    write(path.with_suffix(".mkv"), draw(COUNT, HEIGHT, WIDTH))


def broken(path):
    pictures(path, classes())
    (path / "7.png").write_bytes(b"")


def led_out(path):
    pictures(path, classes())
    (path / "7.png").rename(path.parent / "elsewhere.png")
    (path / "7.png").symlink_to(path.parent / "elsewhere.png")


def mixed(path):
    pictures(path, classes())
    np.save(path / "39.npy", classes()[39].astype("int32"))
    (path / "39.png").unlink()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: FORMS["array"](path, classes(39)), "a mask for each of the clip's 40 frames. Received: 39"),
        (lambda path: pictures(path, classes(41)), "a mask for each of the clip's 40 frames. Received: 41"),
        (lambda path: FORMS["grey video"](path, classes(38)), "a mask for each of the clip's 40 frames. Received: 38"),
        (lambda path: FORMS["grey video"](path, classes(42)), "a mask for each of the clip's 40 frames. Received: 42"),
        (lambda path: FORMS["array"](path, classes(height=9)),
         r"the size \(height, width\) of mask 0 is \(9, 12\), the frames' \(8, 12\)"),
        (lambda path: np.save(path.with_suffix(".npy"), classes()[0]), r"masks have three axes.* the shape \(8, 12\)"),
        (lambda path: np.save(path.with_suffix(".npy"), classes() * 0.5), "must be whole numbers. Received: float64"),
        (lambda path: FORMS["array"](path, classes(most=9)), "labels must be 0 up to 4. Received: [5-8]"),
        (coloured, "a mask must be grey, its value the class number. Received: colours"),
        (lambda path: write(path.with_suffix(".mkv"), draw(COUNT, HEIGHT, WIDTH), pixels="yuv444p"),
         "a mask must be grey of one value a pixel. Received: frames of yuv444p"),
        (lambda path: write(path.with_suffix(".mp4"), draw(COUNT, 16, 16), codec="mpeg4", pixels="yuv420p"),
         "of a coding that keeps numbers: ffv1, png, .* Received: mpeg4"),
        (lambda path: path.with_suffix(".mkv").write_bytes(b""), "its file of labels, a.mkv: it is empty"),
        (broken, "its file of labels, a: 7.png: it is empty"),
        (led_out, "7.png: it leads out of the source folder"),
        (mixed, "its masks are of uint8 and int32: all must have one dtype"),
        (lambda path: None, "it has no file of labels: .*a.npy or .*a.mp4 or .*a isn't there"),
    ],
)  # fmt: skip
def test_masks_that_dont_fit(folder, make, message):
    make(folder / "masks" / "a")
    with pytest.raises(DataError, match=message):
        made(folder, classes=5)


def test_from_clips_and_masks_to_a_network(folder, monkeypatch, capsys):
    """By the command line; the same bytes for any number of workers."""
    monkeypatch.chdir(folder)
    for number in range(8):
        frames = draw(5, 8, 8, seed=number)
        write(folder / "in" / "x" / f"{number}.mkv", frames)
        np.save(folder / "masks" / f"{number}.npy", (frames[..., 0] > 127).astype("uint8"))
    (folder / "in" / "a.mkv").unlink()
    words = ["--labels-from", "masks", "--classes", "dark,bright", "--test", "0.25"]
    for number in (1, 3):
        assert cli.run(["prepare", "video", "in/x", f"{number}.h5", "--workers", str(number), *words]) == 0
    assert (folder / "1.h5").read_bytes() == (folder / "3.h5").read_bytes()
    assert capsys.readouterr().out == "1.h5: 8 samples\n3.h5: 8 samples\n"
    # A network that sees a pixel at a time is enough for a threshold.
    (folder / "net.toml").write_text(NET)
    words = ["--model", "net.toml", "--validation", "none", "--samples", "2", "--epochs", "12", "--lr", "0.1"]
    assert cli.run(["train", "1.h5", *words, "--out", "run", "-q"]) == 0
    capsys.readouterr()
    assert cli.run(["evaluate", "run", "1.h5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.9
