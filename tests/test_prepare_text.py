"""Texts to data files: words, vocabularies, tables, faults, and the way to a trained network."""

from __future__ import annotations

import csv
import re
import tracemalloc
import unicodedata
from collections import Counter

import h5py
import numpy as np
import pytest

import convnd as cn
from convnd import cli, data
from convnd.data.prepare import pipeline, text, words
from convnd.errors import ArgumentError, DataError


def table(path, rows, delimiter=",", **given):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=given.pop("encoding", "utf-8")) as file:
        csv.writer(file, delimiter=delimiter, **given).writerows(rows)
    return path


def reasons(report):
    return {failure.path: failure.reason for failure in report.failed}


def numbers(file, split="train"):
    return [sample.values[:, 0].astype(int).tolist() for sample in file[split]]


# Words.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("It's a dog's life!", ["it's", "a", "dog's", "life"]),
        ("it\u2019s", ["it's"]),
        ("'quoted' rock'n'roll' x''y", ["quoted", "rock'n'roll", "x", "y"]),
        ("well-known e-mail@example.com 3.14", ["well", "known", "e", "mail", "example", "com", "3", "14"]),
        ("snake_case", ["snake", "case"]),
        ("ÉCOLE cafe\u0301", ["école", "café"]),
        ("Straße Ω Ж", ["straße", "ω", "ж"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # Vowel signs aren't letters to Python's \w.
        ("שָׁלוֹם", [unicodedata.normalize("NFC", "שָׁלוֹם")]),
        ("\u0301alone", ["alone"]),  # A mark on nothing.
        ("no\u00a0break\tor\nline", ["no", "break", "or", "line"]),
        ("!?… —", []),
        ("", []),
    ],
)
def test_words(given, expected):
    assert list(words.tokens(given, "word")) == expected


def test_words_of_plain_text_are_those_of_a_plain_expression():
    rng = np.random.default_rng(0)
    plain = "".join(rng.choice(list("abCD09'_ .,!-\n"), 5000))
    found = re.findall(r"[a-z0-9]+(?:'[a-z0-9]+)*", plain.lower())
    assert list(words.tokens(plain, "word")) == found
    assert len(found) > 100


def test_characters_and_bytes():
    assert list(words.tokens("Ab\u0301 \n", "char")) == ["A", "b\u0301"[0], "\u0301", " ", "\n"]
    assert list(words.tokens("e\u0301", "char")) == ["é"]
    assert words.as_numbers("ab!a", "char", words.numbering(["a", "!"]), "uint16").tolist() == [1, 0, 2, 1]
    assert words.as_numbers("aé", "byte", {}, "uint8").tolist() == list("aé".encode())


def test_the_vocabulary_breaks_ties_by_the_alphabet():
    counts = Counter("banana cab".replace(" ", ""))
    assert words.choose_vocabulary(counts, 3) == ["a", "b", "n"]
    assert words.choose_vocabulary(counts, 9) == ["a", "b", "n", "c"]


# What is stored.


def test_a_folder_of_texts(put, tmp_path):
    put("good/a.txt", "A good film. A GOOD film!")
    put("good/b.txt", "good\n\nfun")
    put("bad/c.txt", "a bad film")
    report = data.prepare_text(tmp_path / "in", tmp_path / "a.h5")
    assert (report.samples, report.failed) == (3, [])
    with data.open(tmp_path / "a.h5") as file:
        info = file.info
        assert (info.ndim, info.channels, info.dtype, info.scale) == (1, 1, "uint16", None)
        assert info.classes == ("bad", "good")
        assert info.axes == (data.Axis("word"),)
        assert info.recipe["vocabulary"] == ["a", "film", "good", "bad", "fun"]
        assert info.symbols == 6
        assert file["train"].names == ["bad/c.txt", "good/a.txt", "good/b.txt"]
        assert numbers(file) == [[1, 4, 2], [1, 3, 2, 1, 3, 2], [3, 5]]
        assert file["train"].targets.tolist() == [0, 1, 1]
        (tmp_path / "new.txt").write_text("An awful film, no fun", encoding="utf-8")
        ((name, values),) = data.load_inputs(tmp_path / "new.txt", info.recipe)
        assert (name, values.dtype, values[:, 0].tolist()) == ("new.txt", np.float32, [0, 0, 2, 0, 5])


def test_the_vocabulary_is_the_training_splits(tmp_path):
    rows = [("text", "label", "split")]
    rows += [(f"shared only{number}", "ab"[number % 2], "train" if number < 4 else "test") for number in range(8)]
    path = table(tmp_path / "a.csv", rows)
    data.prepare_text(path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.recipe["vocabulary"] == ["shared", "only0", "only1", "only2", "only3"]
        assert numbers(file, "test") == [[1, 0]] * 4
        assert numbers(file) == [[1, 2], [1, 3], [1, 4], [1, 5]]
    data.prepare_text(path, tmp_path / "b.h5", vocabulary=2)
    with data.open(tmp_path / "b.h5") as file:
        assert (file.info.recipe["vocabulary"], file.info.symbols) == (["shared", "only0"], 3)
        assert numbers(file) == [[1, 2], [1, 0], [1, 0], [1, 0]]
    # Drawn splits count too.
    data.prepare_text(table(tmp_path / "c.csv", [row[:2] for row in rows]), tmp_path / "c.h5", split={"test": 0.5})
    with data.open(tmp_path / "c.h5") as file:
        inside = {int(name.split("/")[1]) for name in file["train"].names}
        assert file.info.recipe["vocabulary"] == ["shared", *sorted(f"only{number}" for number in inside)]


def test_a_table(tmp_path):
    rows = [("id", "review", "stars", "split", "group", "weight")]
    rows += [
        ("7", 'He said "go", twice', "good", "", "x", "2"),
        ("8", "two\nlines", "bad", "test", "y", ""),
        ("9", "one; two\tthree", "good", "train", "x", "0.5"),
    ]
    for suffix, delimiter in ((".csv", ","), (".csv", ";"), (".tsv", "\t")):
        path = table(tmp_path / f"reviews{suffix}", rows, delimiter)
        report = data.prepare_text(path, tmp_path / "a.h5", text_column="review", label_column="stars")
        assert (report.samples, report.failed) == (3, [])
        with data.open(tmp_path / "a.h5") as file:
            assert file.info.classes == ("bad", "good")
            assert (file["train"].names, file["test"].names) == (["reviews/0", "reviews/2"], ["reviews/1"])
            assert file["train"].groups.tolist() == ["x", "x"]
            assert file.meta["weight"].tolist() == [2, 1, 0.5]
            vocabulary = file.info.recipe["vocabulary"]
            stored = [" ".join(vocabulary[number - 1] for number in sample) for sample in numbers(file)]
            assert stored == ["he said go twice", "one two three"]
            assert numbers(file, "test") == [[vocabulary.index("two") + 1, 0]]
            inputs = list(data.load_inputs(path, file.info.recipe))
            assert [name for name, _ in inputs] == ["reviews/0", "reviews/1", "reviews/2"]
            np.testing.assert_array_equal(inputs[2][1], file["train"][1].values)


def test_numbers_to_predict(tmp_path):
    path = table(tmp_path / "a.csv", [("text", "label"), ("well done", "2.5"), ("poor", "-1"), ("odd", "x")])
    report = data.prepare_text(path, tmp_path / "a.h5", numbers=True)
    assert reasons(report) == {"a/2": "the target must be a number. Received: 'x'"}
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.target == "numbers"
        assert file["train"].targets.tolist() == [[2.5], [-1]]


def test_columns_by_number(tmp_path):
    path = table(tmp_path / "a.tsv", [("1", "0.5", "A first row"), ("2", "-1", "a second")], "\t")
    data.prepare_text(path, tmp_path / "a.h5", text_column="3", label_column="2", numbers=True)
    with data.open(tmp_path / "a.h5") as file:
        assert numbers(file) == [[1, 2, 3], [1, 4]]
        assert file["train"].targets[:, 0].tolist() == [0.5, -1]
    with pytest.raises(DataError, match=r"columns must all be given by name, or all by number from 1\. .* 'label'"):
        data.prepare_text(path, tmp_path / "b.h5", text_column="3", label_column="label")
    with pytest.raises(DataError, match="line 1 has 3 columns, and column 4 is asked for"):
        data.prepare_text(path, tmp_path / "b.h5", text_column="1", label_column="4")
    with pytest.raises(DataError, match="line 1 has 3 columns, and column 9 is asked for"):
        data.prepare_text(path, tmp_path / "b.h5", text_column="9")


def test_tables_without_labels(tmp_path):
    path = table(tmp_path / "a.csv", [("text",), ("one",), ("two",)])
    data.prepare_text(path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.target, len(file)) == (None, 2)


@pytest.mark.parametrize(("units", "symbols", "dtype"), [("char", 5, "uint16"), ("byte", 256, "uint8")])
def test_other_units(put, tmp_path, units, symbols, dtype):
    put("x/a.txt", "aé a")
    put("y/b.txt", "b\n")
    data.prepare_text(tmp_path / "in", tmp_path / "a.h5", units=units, **({"vocabulary": 4} if units == "char" else {}))
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.symbols, file.info.dtype, file.info.axes[0].name) == (symbols, dtype, units)
        if units == "byte":
            assert numbers(file) == [list("aé a".encode()), list(b"b\n")]
            assert file.info.recipe["vocabulary"] is None
        else:
            assert file.info.recipe["vocabulary"] == ["a", "\n", " ", "b"]
            assert numbers(file) == [[1, 0, 3, 1], [4, 2]]


def test_large_vocabularies(put, tmp_path):
    """More than an attribute of HDF5's old format holds, and more than uint16 counts."""
    put("a.txt", " ".join(f"word{number:06}" for number in range(70_000)))
    data.prepare_text(tmp_path / "in", tmp_path / "a.h5", label_from=None, vocabulary=100_000)
    with data.open(tmp_path / "a.h5") as file:
        assert (file.info.symbols, file.info.dtype) == (70_001, "int32")
        assert numbers(file) == [list(range(1, 70_001))]
        assert file.check() == []


def test_encodings(tmp_path, put):
    path = put("x/a.txt")
    path.write_bytes("café".encode("latin-1"))
    put("x/b.txt").write_bytes("\ufeffcafé".encode())  # A mark at the beginning is no text.
    report = data.prepare_text(tmp_path / "in", tmp_path / "a.h5")
    why = "it isn't text in utf-8: unexpected end of data at byte 3. If it is text, name its encoding (encoding=)"
    assert reasons(report) == {"x/a.txt": why}
    with data.open(tmp_path / "a.h5") as file:
        assert file.info.recipe["vocabulary"] == ["café"]
    data.prepare_text(path, tmp_path / "b.h5", encoding="latin-1", label_from=None)
    with data.open(tmp_path / "b.h5") as file:
        assert file.info.recipe["vocabulary"] == ["café"]
    path = table(tmp_path / "c.csv", [("text", "label"), ("café", "x")], encoding="utf-16")
    data.prepare_text(path, tmp_path / "c.h5", encoding="utf-16")
    with data.open(tmp_path / "c.h5") as file:
        assert file.info.recipe["vocabulary"] == ["café"]
    with pytest.raises(DataError, match="it isn't text in utf-8: invalid start byte at byte 0"):
        data.prepare_text(path, tmp_path / "d.h5")


# Faults.


def test_quotation_marks_swallow_no_rows(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"an open one\tx\nnext\ty\n"so" he said\tx\n')
    with pytest.raises(DataError, match=r"if quotation marks are text here, say so \(quotes=False\)"):
        data.prepare_text(path, tmp_path / "a.h5")
    data.prepare_text(path, tmp_path / "a.h5", quotes=False)
    with data.open(tmp_path / "a.h5") as file:
        assert [len(sample) for sample in numbers(file)] == [3, 1, 3]
        assert len(list(data.load_inputs(path, file.info.recipe))) == 3


def test_texts_that_hold_nothing(tmp_path, put):
    put("a.txt", "")
    put("b.txt", " \n")
    put("c.txt", "?!")
    put("d.txt", "word")
    path = table(tmp_path / "in" / "e.csv", [("text",), ("...",), ("  ",), ("words",)])
    report = data.prepare_text(tmp_path / "in", tmp_path / "a.h5", label_from=None)
    assert reasons(report) == {
        "a.txt": "it is empty", "b.txt": "its text is empty", "c.txt": "it holds no words",
        "e/0": "it holds no words", "e/1": "its text is empty",
    }  # fmt: skip
    assert report.samples == 2
    report = data.prepare_text(tmp_path / "in", tmp_path / "b.h5", label_from=None, units="char")
    assert set(reasons(report)) == {"a.txt"}
    with data.open(tmp_path / "a.h5") as file, pytest.raises(DataError, match=r"e\.csv: it holds no words"):
        list(data.load_inputs(path, file.info.recipe))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,review\n1,x\n", "there is no column 'text': its first line names id, review"),
        ("\n\n", "there is no column 'text': its first line names none"),
        ("text,label\n", "the table has no rows"),
        ("text,label\nx,y\n\nx\n", "line 4 has 1 columns, and the first has 2"),
        ("text,weight\nx,heavy\n", "line 2: weight must be a number. Received: 'heavy'"),
        ("text,split\nx,a/b\n", "line 2: split must be a name without \"/\". Received: 'a/b'"),
    ],
)
def test_tables_with_faults(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        data.prepare_text(tmp_path / "a.csv", tmp_path / "a.h5")


def test_long_texts_in_tables(tmp_path):
    """The csv module's own limit is 131,072 characters."""
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"' + "many words\n" * 20_000 + '",x\n')
    usual = csv.field_size_limit()
    data.prepare_text(path, tmp_path / "a.h5")
    with data.open(tmp_path / "a.h5") as file:
        assert [len(sample) for sample in numbers(file)] == [40_000]
    with pytest.raises(DataError, match=r"a\.csv: line \d+: field larger than field limit \(65536\)"):
        data.prepare_text(path, tmp_path / "b.h5", largest=1 << 20)
    assert csv.field_size_limit() == usual


def test_rows_without_a_label(tmp_path):
    path = table(tmp_path / "a.csv", [("text", "label"), ("one", "x"), ("two", " ")])
    assert reasons(data.prepare_text(path, tmp_path / "a.h5")) == {"a/1": "it has no label, and others have"}
    with pytest.raises(DataError, match="there is no column 'class': its first line names text, label"):
        data.prepare_text(path, tmp_path / "b.h5", label_column="class")


def test_no_training_text(tmp_path):
    path = table(tmp_path / "a.csv", [("text", "split"), ("one", "test"), ("?", "train")])
    with pytest.raises(DataError, match="there is no training text to make a vocabulary of"):
        data.prepare_text(path, tmp_path / "a.h5")
    data.prepare_text(path, tmp_path / "a.h5", units="byte")


def test_absurd_sizes_are_refused_before_anything_is_read(put, tmp_path):
    with put("big.txt").open("wb") as file:
        file.truncate(1 << 40)  # A hole: it takes no room.
    put("small.txt", "word")
    tracemalloc.start()
    report = data.prepare_text(tmp_path / "in", tmp_path / "a.h5", label_from=None, workers=1)
    recipe = {"kind": "text", "units": "word", "vocabulary": [], "dtype": "uint16", "encoding": "utf-8"}
    with pytest.raises(DataError, match=r"big\.txt: it claims the size \(1099511627776,\), 16 TiB in memory"):
        list(data.load_inputs(tmp_path / "in" / "big.txt", recipe))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20
    assert list(reasons(report)) == ["big.txt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"units": "words"}, "units must be one of word, char, byte. Received: units='words'"),
        ({"units": "byte", "vocabulary": 9}, "units='byte' takes no vocabulary. Received: vocabulary=9"),
        ({"vocabulary": 0}, "vocabulary must be an int of 1 to 16777215. Received: vocabulary=0"),
        ({"vocabulary": 2**24}, "vocabulary must be an int of 1 to 16777215"),
        ({"vocabulary": 2.5}, "vocabulary must be an int of 1 to 16777215"),
        ({"vocabulary": True}, "vocabulary must be an int of 1 to 16777215"),
        ({"encoding": "utf-9"}, "encoding must be one that Python knows, such as utf-8. Received: encoding='utf-9'"),
        ({"labels_from": "tags"}, "text take no labels per position"),
    ],
)
def test_arguments(put, tmp_path, given, message):
    put("a.txt", "word")
    with pytest.raises(ArgumentError, match=message):
        data.prepare_text(tmp_path / "in", tmp_path / "a.h5", **({"label_from": None} | given))


# The whole.


@pytest.fixture
def mails(put, tmp_path):
    """40 texts of two classes, each with words of its class and words of all."""
    rng = np.random.default_rng(0)
    for number in range(40):
        name = ("ham", "spam")[number % 2]
        shown = rng.choice([f"{name}{k}" for k in range(4)] + [f"word{k}" for k in range(8)], 3 + number % 9)
        put(f"{name}/{number:02}.txt", f"{name}0 " + " ".join(shown))
    put("ham/empty.txt", "")
    return tmp_path / "in"


def test_the_same_bytes_for_any_number_of_workers(mails, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "JOB_FILES", 4)
    table(mails / "more.csv", [("text", "label"), *((f"word{k} spam{k % 3}", "spam") for k in range(50))])
    for workers in (1, 3):
        given = {"split": {"test": 0.25}, "vocabulary": 9, "workers": workers}
        report = data.prepare_text(mails, tmp_path / f"{workers}.h5", **given)
        assert (report.samples, reasons(report)) == (90, {"ham/empty.txt": "it is empty"})
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_an_interrupted_preparation_goes_on(mails, tmp_path):
    def interrupt(done, total, name):
        if done == 20:
            raise KeyboardInterrupt

    data.prepare_text(mails, tmp_path / "whole.h5", split={"test": 0.25})
    with pytest.raises(KeyboardInterrupt):
        data.prepare_text(mails, tmp_path / "a.h5", split={"test": 0.25}, progress=interrupt)
    data.prepare_text(mails, tmp_path / "a.h5", split={"test": 0.25})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_a_file_that_goes_bad_is_left_out_of_the_vocabulary(mails, tmp_path, monkeypatch):
    """Read well as a header, and broken later: the work goes on without it."""
    (mails / "ham" / "00.txt").write_bytes(b"\xff")
    report = data.prepare_text(mails, tmp_path / "a.h5")
    assert report.samples == 39
    assert "it isn't text in utf-8" in reasons(report)["ham/00.txt"]


def test_numbers_train_as_they_are(mails, tmp_path):
    """Normalised, they would be no numbers of rows: so they aren't, whatever fit is asked for."""
    data.prepare_text(mails, tmp_path / "a.h5", split={"test": 0.25})
    with data.open(tmp_path / "a.h5") as file:
        net = cn.models.get("sentence", classes=2, rows=file.info.symbols, features=8, width=4)
        run = cn.fit(net, file["train"], epochs=15, lr=0.02, validation=None, progress=False, out=tmp_path / "run")
        assert run.model.normaliser is None
        assert cn.evaluate(run.model, file["test"], progress=False)["accuracy"] >= 0.9
        model = cn.load(tmp_path / "run")
        sample = file["test"][0]
        np.testing.assert_array_equal(model([sample.values]).values, run.model([sample.values]).values)
        # Stored integers are as good as what batches hold.
        np.testing.assert_array_equal(
            model([sample.values.astype(np.int64)]).values, run.model([sample.values]).values
        )


def test_other_data_have_no_symbols():
    with data.open(data.japanese_vowels()) as file:
        assert file.info.symbols is None


def test_from_texts_to_predictions(mails, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def convnd(*given, code=0):
        assert cli.run([str(word) for word in given]) == code
        return capsys.readouterr()

    out = convnd("prepare", "text", "in", "a.h5", "--test", "0.25", "--vocabulary", "50", "-q")
    assert (out.out, out.err) == ("a.h5: 40 samples, 1 left out\n", "left out: ham/empty.txt: it is empty\n")
    assert "word: 4 to 12" in convnd("info", "a.h5").out
    train = ["--epochs", "15", "--lr", "0.02", "--out", "run", "--validation", "none", "-q"]
    settings = ["--set", "features=8", "--set", "width=4"]
    convnd("train", "a.h5", "--model", "sentence", *settings, *train)
    assert "accuracy" in convnd("evaluate", "run", "a.h5").out
    (tmp_path / "new.txt").write_text("spam0 spam1, and what nobody has seen")
    assert convnd("predict", "run", "new.txt").out.split("\t")[:2] == ["new.txt", "spam"]
    table(tmp_path / "new.csv", [("text",), ("ham0 ham3",), ("spam2",)])
    lines = convnd("predict", "run", "new.csv").out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["new.csv: new/0", "ham"], ["new.csv: new/1", "spam"]]
    table(tmp_path / "other.csv", [("words",), ("ham0 ham3",)])
    assert "other.csv: there is no column 'text'" in convnd("predict", "run", "other.csv", code=1).err
    refused = convnd("train", "a.h5", "--model", "small", *train, "--force", code=2).err
    assert "this data's values are numbers that stand for words" in refused
    assert "sentence, or a file that ends in .toml. Received: small" in refused


def test_the_command_takes_every_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.tsv").write_bytes('stars\treview\n2\t"é\n-1\tb"\n'.encode("latin-1"))
    given = ["--text-column", "review", "--label-column", "stars", "--numbers", "--encoding", "latin-1", "--no-quotes"]
    assert cli.run(["prepare", "text", "a.tsv", "a.h5", "--units", "char", *given]) == 0
    with data.open("a.h5") as file:
        assert file.info.recipe["vocabulary"] == ['"', "b", "é"]
        assert (numbers(file), file["train"].targets[:, 0].tolist()) == ([[1, 3], [2, 1]], [2, -1])


def test_the_recipe_is_in_the_file(mails, tmp_path):
    data.prepare_text(mails, tmp_path / "a.h5", vocabulary=3)
    with h5py.File(tmp_path / "a.h5") as file:
        assert b'"symbols": 4' in file.attrs["recipe"]
    assert text.KIND.name == "text"
