"""The data sets' scripts on small files of the real forms."""

from __future__ import annotations

import gzip
import io
import runpy
import subprocess
import sys
import tarfile
import warnings
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from convnd import data

SCRIPTS = Path(__file__).parents[1] / "datasets"


def run(script, *arguments):
    command = runpy.run_path(str(SCRIPTS / script))["main"]
    return CliRunner().invoke(command, [*map(str, arguments)])


def make(script, *arguments):
    done = run(script, *arguments)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("wrote ")


def refuse(script, message, *arguments):
    """One line that says what is wrong, exit code 1."""
    done = run(script, *arguments)
    assert done.exit_code == 1
    assert done.output.count("\n") == 1
    assert message in done.output


def test_the_embedded_file():
    facts = data.info(data.japanese_vowels())
    assert facts["licence"] == "CC BY 4.0"
    assert "M. Kudo, J. Toyama, M. Shimbo" in facts["source"]
    assert (facts["samples"], facts["channels"], facts["shapes"]["min"], facts["shapes"]["max"]) == (640, 12, [7], [29])
    assert set(facts["splits"]["train"]["classes"].values()) == {30}
    # The test set's counts by speaker, as the source publishes them.
    assert list(facts["splits"]["test"]["classes"].values()) == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    with data.open(data.japanese_vowels()) as file:
        assert file.check() == []
        first = file["train"][0].values
        assert first.shape == (20, 12)
        # The source's first line: frames 0 and 1 of coefficient 1.
        assert first[:2, 0].tolist() == [np.float32(1.860936), np.float32(1.891651)]


def test_japanese_vowels(tmp_path):
    case = ":".join(["1.5,2,3"] * 12)
    header = "@classLabel true 1 2\n@data\n"
    for part, labels in (("TRAIN", "121"), ("TEST", "2")):
        text = header + "".join(f"{case}:{label}\n" for label in labels)
        (tmp_path / f"JapaneseVowels_{part}.ts").write_text(text)
    make("japanese_vowels.py", tmp_path, tmp_path / "a.h5")
    with zipfile.ZipFile(tmp_path / "aeon.whl", "w") as wheel:
        for part in ("TRAIN", "TEST"):
            wheel.write(tmp_path / f"JapaneseVowels_{part}.ts", f"aeon/datasets/data/x/JapaneseVowels_{part}.ts")
    make("japanese_vowels.py", tmp_path / "aeon.whl", tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with data.open(tmp_path / "a.h5") as file:
        assert file["train"].targets.tolist() == [0, 1, 0]
        assert file["test"][0].values[:, 11].tolist() == [1.5, 2, 3]
    (tmp_path / "JapaneseVowels_TEST.ts").unlink()
    refuse("japanese_vowels.py", "doesn't hold JapaneseVowels_TEST.ts", tmp_path, tmp_path / "c.h5")
    refuse(
        "japanese_vowels.py", "neither a folder nor a wheel", tmp_path / "JapaneseVowels_TRAIN.ts", tmp_path / "c.h5"
    )


def idx(array):
    head = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


def test_fashion_mnist(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 28, 28), dtype="uint8")
    labels = np.uint8([0, 9, 3, 3, 2, 1, 8])
    for part, rows in (("train", slice(5)), ("t10k", slice(5, 7))):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[rows])))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels[rows]))
    make("fashion_mnist.py", tmp_path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes[9] == "Ankle boot"
        assert [file["train"].targets.tolist(), file["test"].targets.tolist()] == [[0, 9, 3, 3, 2], [1, 8]]
        np.testing.assert_array_equal(file["test"][1].values[..., 0], (images[6] / 255).astype("float32"))
        assert set(file.layout.shapes.reshape(-1).tolist()) == {28}
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:1]))
    refuse("fashion_mnist.py", "2 images and 1 labels", tmp_path, tmp_path / "b.h5")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(labels[:2])[:-1])
    refuse("fashion_mnist.py", "truncated", tmp_path, tmp_path / "b.h5")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    refuse("fashion_mnist.py", "doesn't hold train-labels-idx1-ubyte", tmp_path, tmp_path / "b.h5")


def test_fashion_mnist_cropped(tmp_path):
    rng = np.random.default_rng(0)
    images = np.zeros((5, 28, 28), "uint8")
    for image, (top, bottom, left, right) in zip(images, [(3, 20, 0, 28), (0, 1, 9, 10), (27, 28, 5, 28), (4, 9, 6, 8)],
                                                 strict=False):  # fmt: skip
        # Holes inside an object stay; its first and last rows and columns aren't empty.
        image[top:bottom, left:right] = rng.integers(0, 2, (bottom - top, right - left)) * 200
        image[top, left] = image[bottom - 1, right - 1] = 1
    for part in ("train", "t10k"):  # The last image is zero all over.
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.uint8([0, 9, 3, 3, 2])))
    make("fashion_mnist.py", tmp_path, tmp_path / "a.h5", "--crop")
    with data.open(tmp_path / "a.h5") as file:
        for split in ("train", "test"):
            assert file[split].layout.shapes.tolist() == [[17, 28], [1, 1], [1, 23], [5, 2], [1, 1]]
            assert file[split].targets.tolist() == [0, 9, 3, 3, 2]
            wanted = [images[0, 3:20], images[1, :1, 9:10], images[2, 27:, 5:], images[3, 4:9, 6:8], np.zeros((1, 1))]
            for sample, crop in zip(file[split], wanted, strict=True):
                np.testing.assert_array_equal(sample.values[..., 0], (crop / 255).astype("float32"))
        assert file.info.recipe["crop"] == "object"


def write_clip(path, length, rate=8000):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.arange(length, dtype="<i2").tobytes())


def test_spoken_digits(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for digit in (0, 7):
        for speaker in ("ann", "bob"):
            for index in (3, 5, 9, 10, 48):
                write_clip(folder / f"{digit}_{speaker}_{index}.wav", 20 + index)
    (folder / "readme.txt").write_text("left alone")
    make("spoken_digits.py", folder, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        lengths = {name: sorted(set(file[name].layout.shapes[:, 0].tolist())) for name in file.splits}
        assert lengths == {"test": [25, 29], "train": [30, 68], "official_test": [23]}
        sample = file["train"][-1]
        assert (sample.target, sample.meta["group"]) == (7, "bob")
        np.testing.assert_array_equal(sample.values[:, 0], np.arange(68, dtype="float32") / 32768)
        assert file.info.recipe == {"kind": "audio", "rate": 8000, "mono": True, "dtype": "int16", "scale": 2**-15}
    make("spoken_digits.py", folder, tmp_path / "b.h5", "--test", "0-4")
    assert {name: len(data.open(tmp_path / "b.h5")[name]) for name in ("train", "test")} == {"train": 16, "test": 4}
    write_clip(folder / "1_ann_5.wav", 5, rate=16000)
    refuse("spoken_digits.py", "must have 8000 Hz, 2 bytes a sample and 1 channel", folder, tmp_path / "c.h5")
    (folder / "1_ann_5.wav").write_bytes(b"RIFF")
    refuse("spoken_digits.py", "isn't a WAV file", folder, tmp_path / "d.h5")
    refuse("spoken_digits.py", "holds no files named", tmp_path, tmp_path / "d.h5")


def test_spoken_digits_as_log_mel(tmp_path):
    librosa = pytest.importorskip("librosa")
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    waves = {}
    for index, length in ((3, 900), (5, 256), (9, 1100), (10, 63), (11, 4000)):
        name = f"4_ann_{index}.wav"
        waves[name] = rng.integers(-9000, 9000, length).astype("<i2")
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(waves[name].tobytes())
    make("spoken_digits.py", folder, tmp_path / "wave.h5")
    make("spoken_digits.py", folder, tmp_path / "mel.h5", "--features", "mel")
    with data.open(tmp_path / "wave.h5") as plain, data.open(tmp_path / "mel.h5") as file:
        assert (file.info.ndim, [axis.name for axis in file.info.axes]) == (2, ["time", "mel band"])
        assert file.info.axes[0].spacing == 64 / 8000
        for split in plain.splits:
            assert file[split].names == plain[split].names
        for sample in file.samples:
            values = waves[sample.meta["name"]].astype("float32") / 32768
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of recordings shorter than a window
                power = librosa.feature.melspectrogram(y=values, sr=8000, n_fft=256, hop_length=64, n_mels=64)
            wanted = librosa.power_to_db(power, ref=1, top_db=None).T
            np.testing.assert_allclose(sample.values[..., 0], wanted, rtol=1e-6, atol=1e-4)
            # New recordings are prepared alike.
            (name, new), = data.load_inputs(folder / sample.meta["name"], file.info.recipe)
            assert (name, new.tobytes()) == (sample.meta["name"], sample.values.tobytes())


def test_hippocampus(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    affine = np.diag([1, 2, 0.5, 1])
    volumes, masks = [], []
    for number in range(6):
        shape = tuple(rng.integers(3, 7, 3))
        # As in the source: some volumes are bytes, some floats.
        volumes.append(rng.integers(0, 255, shape, dtype="uint8") if number % 2 else rng.random(shape, dtype="float32"))
        masks.append(rng.integers(0, 3, shape, dtype="uint8"))
        for folder, array in (("imagesTr", volumes[-1]), ("labelsTr", masks[-1])):
            (tmp_path / folder).mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / folder / f"hippocampus_{number:03d}.nii.gz")
    make("hippocampus.py", tmp_path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert file["test"].names == ["hippocampus_004"]
        assert file["train"].numbers.tolist() == [0, 1, 2, 3, 5]
        for sample in file.samples:
            np.testing.assert_array_equal(sample.values[..., 0], volumes[sample.number].astype("float32"))
            np.testing.assert_array_equal(sample.target[..., 0], masks[sample.number])
            assert sample.meta["spacing"].tolist() == [1, 2, 0.5]
    nibabel.save(nibabel.Nifti1Image(masks[0][:2], affine), tmp_path / "labelsTr" / "hippocampus_002.nii.gz")
    refuse("hippocampus.py", "hippocampus_002.nii.gz can't be read: its size is (2, ", tmp_path, tmp_path / "b.h5")
    (tmp_path / "labelsTr" / "hippocampus_001.nii.gz").unlink()
    refuse("hippocampus.py", "there are no labels", tmp_path, tmp_path / "c.h5")
    refuse("hippocampus.py", "holds no imagesTr", tmp_path / "imagesTr", tmp_path / "d.h5")


def test_appliances(tmp_path):
    header = f"@classLabel true {' '.join(str(number) for number in range(11))}\n@data\n"
    for part, cases in (("TRAIN", "1,2,3:10\n4,5:0\n"), ("TEST", "0.5:7\n")):
        (tmp_path / f"PLAID_{part}.ts").write_text(header + cases)
    make("appliances.py", tmp_path, tmp_path / "a.h5")
    with zipfile.ZipFile(tmp_path / "sktime.whl", "w") as wheel:
        for part in ("TRAIN", "TEST"):
            wheel.write(tmp_path / f"PLAID_{part}.ts", f"sktime/datasets/data/PLAID/PLAID_{part}.ts")
    make("appliances.py", tmp_path / "sktime.whl", tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with data.open(tmp_path / "a.h5") as file:
        assert [file.info.classes[number] for number in file["train"].targets] == ["washing machine", "air conditioner"]
        assert file["test"].targets.tolist() == [7]
        assert file["train"][0].values[:, 0].tolist() == [1, 2, 3]
        (_, values), *_ = data.load_inputs(tmp_path / "PLAID_TEST.ts", file.info.recipe)
        assert values.tolist() == [[0.5]]
    (tmp_path / "PLAID_TEST.ts").write_text(header + "0.5:fan\n")
    refuse("appliances.py", "sample 2 ('test/0'): labels must be 0 up to 10. Received: -1", tmp_path, tmp_path / "c.h5")
    (tmp_path / "PLAID_TEST.ts").unlink()
    refuse("appliances.py", "doesn't hold PLAID_TEST.ts", tmp_path, tmp_path / "d.h5")
    refuse("appliances.py", "neither a folder nor a wheel", tmp_path / "PLAID_TRAIN.ts", tmp_path / "d.h5")


def test_prompts(tmp_path):
    sounds = tmp_path / "deb" / "usr" / "share" / "asterisk" / "sounds"
    for voice in ("en_US_f_Allison", "ru_RU_f_IvrvoiceRU"):
        for number in range(10):
            path = sounds / voice / ("digits" if number < 5 else ".") / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_clip(path, 0 if voice == "ru_RU_f_IvrvoiceRU" and number == 9 else 20 + number)
        (sounds / voice / "silence").mkdir()
        write_clip(sounds / voice / "silence" / "1.wav", 100)
    (sounds / "en").symlink_to("en_US_f_Allison")
    done = run("prompts.py", tmp_path / "deb", tmp_path / "a.h5", "--test", "0.3")
    assert done.exit_code == 0, done.output
    why = "it holds no samples: a sample must have at least one position"
    assert f"left out: usr/share/asterisk/sounds/ru_RU_f_IvrvoiceRU/9.wav: {why}\n" in done.output
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("en", "es", "fr", "it", "ru")
        assert len(file) == 19
        assert len(set(file["test"].groups)) == 3
        assert not set(file["test"].groups) & set(file["train"].groups)
        assert {"digits/0", "7"} <= set(file["test"].groups) | set(file["train"].groups)
        for sample in file.samples:
            assert sample.target == (0 if "/en_US" in sample.meta["name"] else 4)
    refuse("prompts.py", "holds no sounds/<language>", tmp_path / "deb" / "usr" / "share" / "asterisk" / "sounds" / "en"
           / "silence", tmp_path / "b.h5")  # fmt: skip


def archive(files):
    """A .tar.gz in memory."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def test_film_reviews(tmp_path):
    folder = tmp_path / "vaderSentiment-3.3.2"
    rated = [f"{number}\t{(-1) ** number * 1.5}\tfilm word{number}" for number in range(1, 19)]
    rated += ["19\t0.0\tneither", "20\t2.0\tFilm word2", "21\t3.0\tA clich\u00c3\u00a9, \"but\" good"]
    inner = archive({f"x/{'movieReviewSnippets_GroundTruth.txt'}": "\r\n".join(rated).encode()})
    outer = archive({f"{folder.name}/additional_resources/hutto_ICWSM_2014.tar.gz": inner})
    (tmp_path / "source.tar.gz").write_bytes(outer)
    make("film_reviews.py", tmp_path / "source.tar.gz", tmp_path / "a.h5")
    folder.mkdir()
    (folder / "hutto_ICWSM_2014.tar.gz").write_bytes(inner)
    make("film_reviews.py", folder, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("negative", "positive")
        assert (len(file), len(file["test"])) == (20, 4)
        groups = dict(zip(file.meta["name"], file.meta["group"], strict=True))
        assert groups["reviews/1"] == groups["reviews/18"] == "2"
        assert [sample.target for sample in file.samples][:4] == [0, 1, 0, 1]
        (last,) = (sample for sample in file.samples if sample.meta["group"] == "21")
        assert len(last.values) == 4
    make("film_reviews.py", folder, tmp_path / "c.h5", "--numbers", "--test", "0.1", "--vocabulary", "3")
    with data.open(tmp_path / "c.h5") as file:
        assert (file.info.target, len(file), file.info.symbols) == ("numbers", 21, 4)
        assert sorted({float(sample.target[0]) for sample in file.samples}) == [-1.5, 0, 1.5, 2, 3]
    make("film_reviews.py", folder, tmp_path / "p.h5", "--pairs", "--test", "0.1")
    with data.open(tmp_path / "p.h5") as file:
        assert len(file) == 20
        (last,) = (sample for sample in file.samples if sample.meta["group"] == "21")
        assert len(last.values) == 4 + 3
        vocabulary = file.info.recipe["vocabulary"]
        assert "film'word1" in vocabulary
        assert "film" in vocabulary
    with_pairs = runpy.run_path(str(SCRIPTS / "film_reviews.py"))["with_pairs"]
    assert with_pairs("Not very funny.") == "not very funny not'very very'funny"
    assert with_pairs("Wow!") == "wow"
    (folder / "hutto_ICWSM_2014.tar.gz").write_bytes(archive({"other.txt": b""}))
    refuse("film_reviews.py", "doesn't hold movieReviewSnippets_GroundTruth.txt", folder, tmp_path / "d.h5")
    broken = archive({"movieReviewSnippets_GroundTruth.txt": b"1\t2.0\tfine\nno tabs"})
    (folder / "hutto_ICWSM_2014.tar.gz").write_bytes(broken)
    refuse("film_reviews.py", "line 2: not a number, a rating and a sentence", folder, tmp_path / "d.h5")
    (tmp_path / "wheel.whl").write_bytes(b"PK")
    refuse("film_reviews.py", "neither a folder nor a source distribution", tmp_path / "wheel.whl", tmp_path / "d.h5")
    (tmp_path / "other.tar.gz").write_bytes(archive({"setup.py": b""}))
    refuse("film_reviews.py", "doesn't hold hutto_ICWSM_2014.tar.gz", tmp_path / "other.tar.gz", tmp_path / "d.h5")


DIRECTIONS = ("ne", "e", "se", "sw", "w", "nw")


def sprites(folder, animation, frames, rows, columns, seed, same=False):
    """Sheets (row by row, the last cells empty) for the six directions, and the frames that are in them."""
    image = pytest.importorskip("PIL.Image")
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for number, direction in enumerate(DIRECTIONS):
        rng = np.random.default_rng(seed if same else 10 * seed + number)
        clip = rng.integers(0, 256, (frames, 3 + seed, 4, 4), dtype=np.uint8)
        sheet = np.zeros((rows * (3 + seed), columns * 4, 4), np.uint8)
        for frame, pixels in enumerate(clip):
            row, column = divmod(frame, columns)
            sheet[row * (3 + seed) : (row + 1) * (3 + seed), column * 4 : (column + 1) * 4] = pixels
        image.fromarray(sheet).save(folder / f"{animation}_{direction}_1.png")
        opacity = clip[..., 3:] / 255
        made[direction] = clip[..., :3] * opacity + 128 * (1 - opacity)
    return made


def lua(**sheets):
    """A unit's description as the game has it."""
    start = 'dirname = path.dirname(__file__)\nunit {\n name = "x", -- walk = { directional = true }\n'
    entries = [f"      {name} = {{\n{body}\n      hotspot = {{ 3, 4 }}\n      }},\n" for name, body in sheets.items()]
    return start + "   spritesheets = {\n" + "".join(entries) + "   }\n}\n"


def grid(frames, rows, columns, more="directional = true,", rate=10):
    return f"         fps = {rate},\n frames = {frames},\n rows = {rows}, columns = {columns}, {more}"


def test_sprite_clips(tmp_path):
    root = tmp_path / "usr" / "share" / "games" / "widelands" / "data"
    ox, sheep = root / "tribes" / "ox", root / "world" / "sheep"
    clips = {"tribes/ox/walk": sprites(ox, "walk", 5, 2, 3, 1), "tribes/ox/run": sprites(ox / "fast", "go", 3, 1, 3, 2)}
    below = 'directional = true, directory = dirname .. "fast", basename = "go",'
    again = 'basename = "walk", directional = true,'
    sheets = {"walk": grid(5, 2, 3), "run": grid(3, 1, 3, below, 20), "load": grid(5, 2, 3, again)}
    (ox / "init.lua").write_text(lua(**sheets, idle=grid(5, 2, 3, "")))
    clips["world/sheep/walk"] = sprites(sheep, "walk", 4, 2, 2, 3)
    (sheep / "init.lua").write_text(lua(walk=grid(4, 2, 2)))
    sprites(root / "world" / "bunny", "walk", 2, 1, 2, 4, same=True)
    (root / "world" / "bunny" / "init.lua").write_text(lua(walk=grid(2, 1, 2)))
    (root / "world" / "duck").mkdir()
    (root / "world" / "duck" / "init.lua").write_text(lua(walk=grid(2, 1, 2)))
    done = run("sprite_clips.py", tmp_path, tmp_path / "a.h5", "--test", "0.5")
    assert done.exit_code == 0, done.output
    assert "left out: world/duck/walk_ne and 5 more: there is no such sheet\n" in done.output
    assert "left out: world/bunny/walk_ne and 5 more: its pictures stand for several directions\n" in done.output
    assert "left out: tribes/ox/load_ne and 5 more: its pictures are those of another\n" in done.output
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == DIRECTIONS
        assert (len(file), {len(file["train"]), len(file["test"])}) == (18, {6, 12})
        for sample in file.samples:
            animation, _, direction = sample.meta["name"].rpartition("_")
            assert file.info.classes[sample.target] == direction
            assert sample.meta["group"] == animation.rpartition("/")[0]
            assert np.abs(sample.values * 255 - clips[animation][direction]).max() <= 0.5 + 1e-3
            assert sample.meta["spacing"].tolist() == [0.05 if "run" in animation else 0.1, 1, 1]
    make("sprite_clips.py", root / "world" / "sheep", tmp_path / "b.h5", "--test", "0.9")
    for sizes in ((4, 5, 2), (5, 2, 2)):  # Rows that don't fit the picture, more frames than cells.
        (sheep / "init.lua").write_text(lua(walk=grid(*sizes)))
        refuse("sprite_clips.py", "holds no directional sprite sheets", root / "world" / "sheep", tmp_path / "c.h5")
    (sheep / "init.lua").write_text(lua(walk=grid("many", 2, 2)))
    refuse("sprite_clips.py", "walk: frames, rows, columns and fps must be numbers", root, tmp_path / "c.h5")


def write_drawing(path, size, shade):
    image = pytest.importorskip("PIL.Image")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.new("RGBA", size, (shade, 0, 0, 255)).save(path)


def test_clipart(tmp_path):
    folder = tmp_path / "png"
    for number in range(10):
        write_drawing(folder / "animals" / "birds" / f"{number}.png", (10 + number, 8), number)
        write_drawing(folder / "tools" / f"{number}, old.png", (300, 100 + number), number)
        write_drawing(folder / "unsorted" / f"{number}.png", (9, 9), number)
    write_drawing(folder / "logos" / "a.png", (9, 9), 99)  # Too few.
    write_drawing(folder / "outside.png", (9, 9), 98)
    (folder / "tools" / "again.png").write_bytes((folder / "animals" / "birds" / "3.png").read_bytes())
    (folder / "tools" / "link.png").symlink_to(folder / "animals" / "birds" / "4.png")
    make("clipart.py", folder, tmp_path / "a.h5", "--least", 10)
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.classes == ("animals", "tools")
        assert [len(file[name]) for name in ("train", "test")] == [16, 4]
        assert sorted(file["test"].targets.tolist()) == [0, 0, 1, 1]
        for sample in file.samples:
            number = int(sample.meta["name"].split("/")[-1].split(".")[0].split(",")[0])
            small = (8, 10 + number) if sample.target == 0 else (round((100 + number) * 128 / 300), 128)
            assert sample.values.shape == (*small, 3)
            assert sample.values[0, 0].tolist() == [np.float32(number / 255), 0, 0]
        chosen = file["test"].names
    make("clipart.py", folder, tmp_path / "b.h5", "--least", 10, "--seed", 1, "--side", 30)
    with data.open(tmp_path / "b.h5") as file:
        assert file["test"].names != chosen
        assert file.layout.shapes.max() == 30
    refuse("clipart.py", "holds no folder of at least 100 PNG files", folder, tmp_path / "c.h5")
    (folder / "tools" / "5, old.png").write_bytes(b"no image")
    refuse("clipart.py", "tools/5, old.png: it isn't a sound image", folder, tmp_path / "c.h5", "--least", 5)


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_usage(script, tmp_path):
    helped = run(script, "--help")
    assert helped.exit_code == 0
    assert "SOURCE" in helped.output
    assert run(script, tmp_path / "missing", tmp_path / "a.h5").exit_code == 2


def test_as_a_script(tmp_path):
    command = [sys.executable, SCRIPTS / "fashion_mnist.py", tmp_path, tmp_path / "a.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path} doesn't hold train-images-idx3-ubyte or train-images-idx3-ubyte.gz\n"
