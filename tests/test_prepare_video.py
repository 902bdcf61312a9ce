"""Videos to data files, on clips the tests write with PyAV: coded without loss, so every pixel is known."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest

from convnd import cli, data
from convnd.data.prepare import clips, pipeline, video
from convnd.errors import ArgumentError, DataError

RECIPE = {"kind": "video", "rate": None, "size": None, "start": 0.0, "stop": None, "colour": "rgb", "spacing": None}


def draw(count, height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def write(path, frames, rate=10, codec="ffv1", pixels="bgr0", times=None, **options):
    """A clip of these frames (time, height, width, 3), at a rate or at times in milliseconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pixels
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixel in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixel), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def turn(path, matrix):
    """Write the matrix (a, b, c, d of the header) by which a .mov is to be shown."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (int(number * 65536) & 0xFFFFFFFF for number in matrix)
    for place, number in enumerate((a, b, 0, c, d, 0, 0, 0, 1 << 30)):
        content[start + 4 * place : start + 4 * place + 4] = number.to_bytes(4, "big")
    path.write_bytes(content)


def load(path, **given):
    (loaded,) = video.load(path, RECIPE | given)
    return loaded


def reasons(report):
    return {failure.path: failure.reason for failure in report.failed}


# What is stored.


def test_clips_become_samples(tmp_path):
    for number in range(6):
        write(tmp_path / "in" / ["run", "walk"][number % 2] / f"{number}.mkv", draw(3 + number, 5 + number, 7, number))
    report = data.prepare_video(tmp_path / "in", tmp_path / "a.h5", split={"test": 1 / 3}, origin="here")
    assert (report.samples, report.failed) == (6, [])
    with data.open(tmp_path / "a.h5") as file:
        info = file.info
        assert (info.ndim, info.channels, info.dtype, info.scale) == (3, 3, "uint8", 1 / 255)
        assert info.axes == (data.Axis("time", 0.1, "s"), data.Axis("height"), data.Axis("width"))
        assert (info.channel_names, info.classes) == (("red", "green", "blue"), ("run", "walk"))
        assert info.recipe["kind"] == "video"
        assert sorted(len(file[name]) for name in file.splits) == [2, 4]
        assert "spacing" not in file.meta
        for sample in file.samples:
            number = int(sample.meta["name"].split("/")[1][:-4])
            expected = draw(3 + number, 5 + number, 7, number)
            np.testing.assert_array_equal(sample.values, (expected / 255).astype("float32"))
            assert sample.target == number % 2
            ((name, again),) = data.load_inputs(tmp_path / "in" / sample.meta["name"], info.recipe)
            assert name == f"{number}.mkv"
            np.testing.assert_array_equal(again, sample.values)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [("a.mkv", "ffv1", "bgr0"), ("a.mov", "png", "rgb24"), ("a.mp4", "png", "rgb24"), ("a.avi", "ffv1", "bgr0")],
)
def test_containers(tmp_path, name, codec, pixels):
    frames = draw(12)
    loaded = load(write(tmp_path / name, frames, codec=codec, pixels=pixels))
    np.testing.assert_array_equal(loaded.values, frames)
    assert loaded.values.dtype == np.uint8
    assert loaded.spacing == [0.1, 1.0, 1.0]


def test_a_gif(tmp_path):
    frames = np.zeros((4, 6, 8, 3), np.uint8)
    frames[:, :, :4] = 255
    loaded = load(write(tmp_path / "a.GIF", frames, codec="gif", pixels="rgb8"))
    np.testing.assert_allclose(loaded.values, frames, atol=4)  # Of a palette.


def test_files_of_several_rates_keep_their_own(tmp_path):
    write(tmp_path / "in" / "a.mkv", draw(4))
    write(tmp_path / "in" / "b.mkv", draw(3), rate=25)
    write(tmp_path / "in" / "c.mkv", draw(1), rate=25)
    data.prepare_video(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.axes[0] == data.Axis("time", None, "s")
        assert file.meta["spacing"].tolist() == [[0.1, 1, 1], [0.04, 1, 1], [0.04, 1, 1]]
        assert [len(sample.values) for sample in file.samples] == [4, 3, 1]


def test_grey_is_luma(tmp_path):
    path = write(tmp_path / "a.mkv", draw(3))
    values = load(path, colour="grey").values
    assert values.shape == (3, 6, 8, 1)
    expected = draw(3) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(values[..., 0] - expected).max() <= 2
    white = write(tmp_path / "b.mp4", np.full((2, 16, 16, 3), 255, np.uint8), codec="mpeg4", pixels="yuv420p")
    assert load(white, colour="grey").values.min() >= 254  # The whole range, not 16 to 235.


# Time.


def nearest(stamps, rate, start, stop):
    """By the rule, one time after the other: the nearest frame, of two as near the earlier."""
    chosen, number = [], 0
    while (time := Fraction(start) + Fraction(number) / Fraction(str(rate))) < stop:
        chosen.append(min(range(len(stamps)), key=lambda k: (abs(Fraction(stamps[k], 1000) - time), k)))
        number += 1
    return chosen


STAMPS = [0, 100, 150, 400, 410, 900, 1000, 1500, 2500, 2600]


@pytest.mark.parametrize("rate", [2, 5, 10, 30, 7.3])
def test_a_varying_rate_is_resampled_by_the_nearest_time(tmp_path, rate):
    frames = draw(len(STAMPS))
    path = write(tmp_path / "a.mkv", frames, times=STAMPS)
    with av.open(str(path)) as file:
        last = [frame.duration for frame in file.decode(video=0)][-1]
    found = load(path, rate=rate).values
    expected = nearest(STAMPS, rate, 0, Fraction(2600 + last, 1000))
    np.testing.assert_array_equal(found, frames[expected])


def test_without_a_rate_every_frame_stays(tmp_path):
    frames = draw(len(STAMPS))
    loaded = load(write(tmp_path / "a.mkv", frames, times=STAMPS))
    np.testing.assert_array_equal(loaded.values, frames)
    assert loaded.spacing == [pytest.approx(2.6 / 9), 1, 1]


def test_of_two_as_near_the_earlier(tmp_path):
    frames = draw(3)
    path = write(tmp_path / "a.mkv", frames, times=[0, 400, 800])
    # 0, 0.2, 0.4 and so on: 0.2 lies between 0 and 0.4.
    np.testing.assert_array_equal(load(path, rate=5.0).values[:5], frames[[0, 0, 1, 1, 2]])


def test_a_rate_for_all(tmp_path):
    write(tmp_path / "in" / "a.mkv", draw(20))
    write(tmp_path / "in" / "b.mkv", draw(20), rate=20)
    data.prepare_video(tmp_path / "in", tmp_path / "a.h5", label_from=None, rate=5)
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.axes[0] == data.Axis("time", 0.2, "s")
        assert "spacing" not in file.meta
        np.testing.assert_array_equal(file.samples[0].values, (draw(20)[::2] / 255).astype("float32"))
        np.testing.assert_array_equal(file.samples[1].values, (draw(20)[::4] / 255).astype("float32"))


def test_frames_that_come_late_in_the_file(tmp_path):
    """B-frames: the decoder's order and the order of showing differ."""
    frames = np.kron(draw(1, 4, 4), np.ones((1, 8, 8, 1), np.uint8)) // 2
    frames = np.concatenate([np.roll(frames, 3 * k, axis=2) for k in range(30)])
    for name in ("a.mp4", "a.avi", "a.mkv"):
        path = write(tmp_path / name, frames, codec="libx264", pixels="yuv420p", bf="3")
        loaded = load(path)
        assert np.abs(loaded.values.astype(int) - frames).mean() < 8
        np.testing.assert_array_equal(load(path, rate=10.0).values, loaded.values)
        np.testing.assert_array_equal(load(path, rate=5.0).values, loaded.values[::2])


@pytest.mark.parametrize(("start", "stop"), [(0, 0.5), (0.25, None), (0.3, 0.9), (3.05, 3.6), (5.55, None)])
@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("a.mp4", "mpeg4", "yuv420p"), ("a.mkv", "ffv1", "bgr0"), ("a.gif", "gif", "rgb8")]
)
def test_a_range_of_time(tmp_path, name, codec, pixels, start, stop):
    path = write(tmp_path / name, draw(60, 16, 16), codec=codec, pixels=pixels)
    whole = load(path).values
    times = np.arange(60) / 10
    inside = (times >= start) & (times < (np.inf if stop is None else stop))
    np.testing.assert_array_equal(load(path, start=start, stop=stop).values, whole[inside])
    expected = nearest(list(range(0, 6000, 100)), 4, start, 6 if stop is None else Fraction(str(stop)))
    np.testing.assert_array_equal(load(path, start=start, stop=stop, rate=4.0).values, whole[expected])


def test_a_range_where_the_index_doesnt_lead_there(tmp_path, monkeypatch):
    path = write(tmp_path / "a.mkv", draw(60))
    seek = av.container.InputContainer.seek

    class Far:
        """Leads behind what is wanted, or refuses."""

        def __init__(self, container, fails):
            self._container, self._fails = container, fails

        def __getattr__(self, name):
            return getattr(self._container, name)

        def seek(self, place, **given):
            if self._fails:
                raise av.error.PermissionError(1, "no")
            seek(self._container, place + 2000, **given)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._container.close()

    opened = av.open
    for fails in (False, True):
        monkeypatch.setattr(av, "open", lambda *args, fails=fails, **given: Far(opened(*args, **given), fails))
        np.testing.assert_array_equal(load(path, start=3.0, stop=3.5).values, draw(60)[30:35])


def test_a_range_that_holds_nothing(tmp_path):
    path = write(tmp_path / "a.mkv", draw(10))
    with pytest.raises(DataError, match=r"it has no frames from 1 s to its end"):
        load(path, start=1.0)
    with pytest.raises(DataError, match=r"it has no frames from 0\.55 s to 0\.58 s"):
        load(path, start=0.55, stop=0.58)
    with pytest.raises(DataError, match=r"it has no frames from 7 s to 8 s"):
        load(path, start=7.0, stop=8.0, rate=10.0)


# Size and direction.


@pytest.mark.parametrize(
    ("size", "expected"),
    [(40, (20, 30)), (15, (10, 15)), (1, (1, 1)), ((10, 100), (10, 15)), ([100, 6], (4, 6)), ((10, 6), (4, 6))],
)
def test_a_limit_of_size(tmp_path, size, expected):
    block = np.zeros((20, 30, 3), np.uint8)
    block[:10] = 200
    path = write(tmp_path / "a.mkv", [block] * 2)
    values = load(path, size=size).values
    assert values.shape == (2, *expected, 3)
    if expected[0] in (10, 4):
        np.testing.assert_array_equal(values[:, : expected[0] // 2], 200)
        np.testing.assert_array_equal(values[:, expected[0] // 2 :], 0)
    if expected == (20, 30):
        np.testing.assert_array_equal(values, [block] * 2)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_frames_are_turned_upright(tmp_path, matrix, turns):
    """QuickTime's matrix takes (x, y) to (a x + c y, b x + d y): 0 1 -1 0 is a quarter clockwise."""
    path = write(tmp_path / "in" / "a.mov", draw(4), codec="png", pixels="rgb24")
    turn(path, matrix)
    expected = np.rot90(draw(4), turns, axes=(1, 2))
    np.testing.assert_array_equal(load(path).values, expected)
    data.prepare_video(tmp_path / "in", tmp_path / "a.h5", label_from=None, size=(6, 6))
    with data.open(tmp_path / "a.h5") as file:
        assert file.layout.shape(0) == ((4, 6, 4) if turns % 2 else (4, 4, 6))
    assert load(path, size=[4, 100]).values.shape[1:3] == ((4, 3) if turns % 2 else (4, 5))


# Arguments.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": 0}, r"rate must be a number above 0 \(frames a second\). Received: rate=0"),
        ({"rate": "10"}, "rate must be a number above 0"),
        ({"rate": True}, "rate must be a number above 0"),
        ({"rate": float("inf")}, "rate must be a number above 0"),
        ({"size": 0}, r"size must be an int of at least 1, the longest side, or two.* Received: size=0"),
        ({"size": (1, 2, 3)}, "size must be an int of at least 1"),
        ({"size": (4,)}, "size must be an int of at least 1"),
        ({"size": 2.5}, "size must be an int of at least 1"),
        ({"size": (4, True)}, "size must be an int of at least 1"),
        ({"start": -1}, r"start must be a number above 0 \(seconds\). Received: start=-1"),
        ({"stop": 0}, "stop must be a number above 0"),
        ({"start": 2, "stop": 2}, "stop must be later than start. Received: start=2, stop=2"),
        ({"colour": "gray"}, "colour must be rgb or grey. Received: colour='gray'"),
        ({"labels_from": "masks"}, "labels_from must be a folder, or the name of a file of labels with {stem}"),
    ],
)
def test_arguments(tmp_path, given, message):
    write(tmp_path / "in" / "a.mkv", draw(2))
    with pytest.raises(ArgumentError, match=message):
        data.prepare_video(tmp_path / "in", tmp_path / "a.h5", **({"label_from": None} | given))


# Faults of files.


def claim(path, hours):
    """A Matroska file whose header says that it lasts so many hours."""
    content = path.read_bytes()
    assert content.count(b"00:00:") == 1
    path.write_bytes(content.replace(b"00:00:", b"%02d:00:" % hours))


def sound(path):
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "float32"), format="fltp", layout="mono")
        frame.rate, frame.pts = 8000, 0
        file.mux(stream.encode(frame))
        if path.stem == "cover":
            picture = file.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 8, 6, "rgb24"
            picture.disposition = int(av.stream.Disposition.attached_pic)
            file.mux(picture.encode(av.VideoFrame.from_ndarray(draw(1)[0])))
            file.mux(picture.encode())
        file.mux(stream.encode())


def test_files_that_are_no_clips(tmp_path):
    folder = tmp_path / "in"
    whole = write(folder / "ü : ö.mkv", draw(20)).read_bytes()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video " * 100)
    (folder / "list.mkv").write_text(f"ffconcat version 1.0\nfile '{folder / 'ü : ö.mkv'}'\n")
    (folder / "picture.mov").write_bytes(write(tmp_path / "x.png", draw(1), codec="png", pixels="rgb24").read_bytes())
    sound(folder / "sound.mp4")
    sound(folder / "cover.mp4")
    (folder / "renamed.avi").write_bytes(whole)  # Read by what it holds.
    (folder / "clip.txt").write_bytes(whole)  # Another ending: not looked for.
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "head.mkv").write_bytes(whole[:300])
    moov = write(tmp_path / "x.mov", draw(20), codec="png", pixels="rgb24").read_bytes()
    (folder / "tail.mov").write_bytes(moov[: len(moov) // 2])
    with av.open(str(folder / "none.avi"), "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 8, 6, "bgr0"
        file.start_encoding()
    report = data.prepare_video(folder, tmp_path / "a.h5", label_from=None)
    found = reasons(report)
    assert report.samples == 2
    unread = "it isn't a video that FFmpeg reads, or is truncated or damaged: "
    assert found.pop("empty.mp4") == "it is empty"
    assert found.pop("sound.mp4") == found.pop("cover.mp4") == "it holds no video, only sound"
    assert found.pop("cut.mkv").startswith("it is truncated: it ends after")
    assert found.pop("none.avi") in ("it holds no frames", unread + "Invalid data found when processing input")
    assert found.pop("text.mp4") == unread + "Invalid data found when processing input"
    assert found.pop("list.mkv") == found.pop("picture.mov") == unread + "Invalid argument"
    assert found.pop("head.mkv")
    assert found.pop("tail.mov").startswith(unread)
    assert found == {}


def test_damaged_frames(tmp_path):
    frames = np.kron(draw(20, 4, 4), np.ones((1, 8, 8, 1), np.uint8))
    path = write(tmp_path / "a.mp4", frames, codec="mpeg4", pixels="yuv420p", movflags="faststart")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 60] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"it is damaged: the frame at 0|truncated or damaged"):
        load(path)


def test_a_file_that_ends_in_the_middle_of_a_frame(tmp_path):
    frames = draw(20, 32, 32)
    path = write(tmp_path / "a.mp4", frames, codec="mpeg4", pixels="yuv420p", movflags="faststart")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"it is truncated or damaged after (0\.[5-9]|1\.)"):
        load(path)


def test_absurd_claims_are_refused_before_anything_is_allocated(tmp_path):
    path = write(tmp_path / "in" / "long.mkv", draw(20, 60, 80))
    claim(path, 99)
    write(tmp_path / "in" / "a.mkv", draw(20, 60, 80))
    message = r"it claims the size \(3564020, 60, 80, 3\), 47.8 GiB in memory"
    tracemalloc.start()
    report = data.prepare_video(tmp_path / "in", tmp_path / "a.h5", label_from=None, workers=1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 64 << 20
    assert report.samples == 1
    assert reasons(report)["long.mkv"].startswith(message.replace("\\", ""))
    # Less is wanted of it, or smaller.
    assert video.look(path, RECIPE | {"rate": 1.0, "size": 8, "largest": 100 << 20})
    assert video.look(path, RECIPE | {"stop": 9.0, "largest": 2 << 20})
    with pytest.raises(DataError, match=r"or they are larger than the 3\.91 KiB that a sample may take"):
        video.look(path, RECIPE | {"size": 4, "largest": 4000})
    # It ends long before that.
    with pytest.raises(DataError, match=r"it is truncated: it ends after 2\.000 s, and its header says 356402\.000 s"):
        load(path)


def test_decoding_stops_at_the_limit(tmp_path):
    """A stream that was written as it came says nothing of its length."""
    path = write(tmp_path / "a.mkv", draw(30), live="1")
    assert clips.read_header(path, RECIPE).seconds is None
    assert len(load(path, largest=30 * 144).values) == 30
    with pytest.raises(DataError, match=r"it has more than 29 frames of 6 x 8, and the most a sample may take is 4.22"):
        load(path, largest=30 * 144 - 1)


def test_room_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "ROOM", 500)
    frames = draw(30)
    np.testing.assert_array_equal(load(write(tmp_path / "a.mkv", frames)).values, frames)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    write(tmp_path / "in" / "a.mkv", draw(2))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"needs the package av: pip install convnd\[video\]"):
        data.prepare_video(tmp_path / "in", tmp_path / "a.h5", label_from=None)


# The whole.


def test_the_same_bytes_for_any_number_of_workers(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "JOB_FILES", 1)
    for number in range(6):
        write(tmp_path / "in" / f"{number}.mp4", draw(5 + number, 16, 24, number), codec="mpeg4", pixels="yuv420p")
    (tmp_path / "in" / "bad.mp4").write_bytes(b"bad")
    for workers in (1, 3):
        report = data.prepare_video(
            tmp_path / "in", tmp_path / f"{workers}.h5", label_from=None, rate=20, size=12, workers=workers
        )
        assert (report.samples, set(reasons(report))) == (6, {"bad.mp4"})
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_ffmpeg_is_silent(tmp_path):
    """Damaged files make FFmpeg write many lines to standard error, where only convnd's belong."""
    whole = write(
        tmp_path / "in" / "a.mp4", draw(20, 32, 32), codec="mpeg4", pixels="yuv420p", movflags="faststart"
    ).read_bytes()
    (tmp_path / "in" / "bad.mp4").write_bytes(whole[: len(whole) // 2])
    words = ["prepare", "video", "in", "a.h5", "--label-from", "none", "--workers", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "convnd", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "a.h5: 1 samples, 1 left out\n")
    assert done.stderr.startswith("left out: bad.mp4: it ")
    assert done.stderr.count("\n") == 1


def test_from_clips_to_predictions(tmp_path, monkeypatch, capsys):
    """Clips that grow brighter or darker; the command line all the way."""
    monkeypatch.chdir(tmp_path)
    ramp = np.arange(8)[:, None, None, None] * np.ones((1, 6, 8, 3)) * 30
    for number in range(10):
        for name, frames in (("up", ramp), ("down", ramp[::-1])):
            noise = draw(8, seed=number) // 20
            write(tmp_path / "in" / name / f"{number}.mkv", (frames + noise).astype(np.uint8))

    def convnd(*words):
        assert cli.run([str(word) for word in words]) == 0
        return capsys.readouterr().out

    options = ["--rate", "5", "--size", "4x6", "--start", "0.1", "--stop", "0.8", "--colour", "grey", "--test", "0.2"]
    assert convnd("prepare", "video", "in", "a.h5", *options) == "a.h5: 20 samples\n"
    with data.open("a.h5") as file:
        recipe = file.info.recipe
        assert (recipe["rate"], recipe["size"], recipe["colour"]) == (5.0, [4, 6], "grey")
        assert file.layout.shape(0) == (4, 4, 5)
    convnd("train", "a.h5", "--model", "small", "--set", "width=4", "--set", "bins=2", "--epochs", "3", "--lr", "0.01",
           "--out", "run", "--validation", "none", "-q")  # fmt: skip
    assert "up" in convnd("predict", "run", "in/up/3.mkv")
    assert cli.run(["prepare", "video", "in", "b.h5", "--size", "4by6"]) == 2
    wanted = "give the longest side or height and width, such as 112 or 120x160. Received: 4by6"
    assert wanted in capsys.readouterr().err
