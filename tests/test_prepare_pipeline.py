"""The pipeline that prepares all kinds: workers and interruptions. With a kind made for tests."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial

import numpy as np
import prepare_kind
import pytest

from convnd.data import pieces
from convnd.data.prepare import crew, pipeline
from convnd.data.prepare.frames import receive, send
from convnd.errors import ArgumentError, DataError

# Workers.


def many_files(put, count=70):
    """Files of many sizes, some bad, one of many samples, one larger than what may wait."""
    for number in range(count):
        put(f"{number:03}.fake", f"ok {1 + 997 * number % 20011}")
    put("020.fake", "raise")
    put("033.fake", "print 12")
    put("040.fake", "odd")
    put("041.many.fake", "many " + "x " * 50 + "bad")
    put("050.fake", "memory")
    put("055.fake", "ok 3000000")
    return {
        "020.fake": "KeyError: 'a key'",
        "040.fake": "Odd: an odd error",
        "041.many/50": "a bad one",
        "050.fake": "there isn't enough memory for it.",
    }


def test_the_same_bytes_for_any_number_of_workers(put, prepare, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(crew, "WAITING_BYTES", 1 << 20)
    failed = many_files(put)
    for workers in (1, 3, 8):
        out = f"{workers}.h5"
        steps = []
        given = {"label_from": "name", "pattern": "(?P<label>[0-9])", "workers": workers}
        samples, found = prepare(out, progress=lambda *step, to=steps: to.append(step), **given)
        assert found == failed
        assert samples == 70 - 3 + 50
        assert [step[0] for step in steps] == list(range(1, 70 + 51 + 1))
        assert (tmp_path / out).read_bytes() == (tmp_path / "1.h5").read_bytes()
    # What files make a reader print comes from this process alone.
    assert capfd.readouterr().err.count("printed too") == 1


def test_few_results_wait_for_their_turn(put, prepare, monkeypatch):
    """While the first file takes its time, the others' results stop at the limit."""
    monkeypatch.setattr(pipeline, "JOB_FILES", 1)
    monkeypatch.setattr(crew, "WAITING_BYTES", 400_000)
    waiting = []
    put_result = crew._Line.put

    def put_and_look(line, job, results, size, **given):
        put_result(line, job, results, size, **given)
        waiting.append(line._waiting)

    monkeypatch.setattr(crew._Line, "put", put_and_look)
    put("00.fake", "slow 5")
    for number in range(1, 30):
        put(f"{number:02}.fake", "ok 50000")  # 100 KB each.
    assert prepare(workers=3) == (30, {})
    assert 300_000 < max(waiting) < 400_000 + 110_000


def test_the_default_number_of_workers(put, prepare, tmp_path, monkeypatch):
    started = []
    begin = crew._start
    monkeypatch.setattr(crew, "_start", lambda: started.append(1) or begin())
    monkeypatch.setattr(pipeline, "usable_cpus", lambda: 3)
    for number in range(2 * pipeline.FILES_A_WORKER):
        put(f"{number}.fake")
    prepare("a.h5", workers=None)
    assert len(started) == 2  # Both jobs of headers are taken; a third worker would have nothing to do.
    for number in range(5):
        (tmp_path / "in" / f"{number}.fake").rename(tmp_path / f"{number}.fake")
    started.clear()
    prepare("b.h5", source=put("alone.fake"), workers=None)
    assert started == []
    assert 1 <= crew.usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_bad_numbers_of_workers(put, prepare, workers):
    put("a.fake")
    with pytest.raises(ArgumentError, match="workers must be an int of at least 1"):
        prepare(workers=workers)


def test_other_bad_arguments(put, prepare):
    put("a.fake")
    with pytest.raises(ArgumentError, match="largest must be an int of at least 1"):
        prepare(largest=0)
    with pytest.raises(ArgumentError, match="classes must be an int of at least 1"):
        prepare(classes=0)
    with pytest.raises(ArgumentError, match="classes must be an int of at least 1"):
        prepare(classes=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("die", r"the worker process that read it was killed by signal 9, as it is when memory runs out"),
        ("exit", r"the worker process that read it ended with exit code 3\. What is prepared so far is kept"),
    ],
)
def test_a_worker_that_dies(put, prepare, tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(pipeline, "JOB_FILES", 1)
    for number in range(12):
        put(f"{number:02}.fake")
    bad = put("07.fake", text)
    with pytest.raises(DataError, match=r"^07.fake: " + message):
        prepare(workers=2)
    bad.write_text("ok")
    prepare_kind.READ.clear()
    assert prepare() == (12, {})
    assert [f"{number:02}.fake" for number in range(7, 12)] == prepare_kind.READ
    prepare("b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_worker_that_dies_among_many_files(put, prepare):
    for number in range(70):
        put(f"{number:02}.fake")
    put("40.fake", "die")
    with pytest.raises(DataError, match=r"^32.fake, or one of the 31 files after it: the worker process"):
        prepare(workers=2)
    put("40.fake", "look 41.fake")
    put("41.fake", "die")
    with pytest.raises(DataError, match=r"^32.fake, or one of the 31 files after it: the worker process"):
        prepare("b.h5", workers=2)


def test_a_missing_package_stops_the_work(put, prepare):
    for number in range(40):
        put(f"{number:02}.fake")
    put("05.fake", "missing")
    put("38.fake", "look 39.fake")
    put("39.fake", "missing")
    with pytest.raises(DataError, match=r"^this needs the package a_package_that_is_not_there: pip install conv"):
        prepare(workers=2)
    put("38.fake")
    with pytest.raises(DataError, match=r"^this needs the package"):
        prepare()


def test_strict_stops_at_the_first(put, prepare):
    for name, text in {"a": "ok", "b": "raise", "c": "odd"}.items():
        put(f"{name}.fake", text)
    for workers in (1, 2):
        with pytest.raises(DataError, match=r"^b.fake: KeyError: 'a key'$"):
            prepare(f"{workers}.h5", workers=workers, strict=True)


def test_a_script_needs_no_main_guard(put, tmp_path):
    for number in range(70):
        put(f"{number:02}.npy")
        np.save(tmp_path / "in" / f"{number:02}.npy", np.arange(9))
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nfrom convnd import data\n"
        f"report = data.prepare_series({str(tmp_path / 'in')!r}, 'a.h5', label_from=None, workers=2)\n"
        "print(report.samples)\n"
    )
    # A module of a library's name beside it is nothing that workers take for it.
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')\n")
    run = subprocess.run([sys.executable, "-P", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr, run.returncode) == ("once\n70\n", "", 0)


def test_objects_go_through_a_pipe(tmp_path):
    sent = [{"a": np.arange(6).reshape(2, 3)}, np.asfortranarray(np.ones((3, 2))), np.zeros((0, 4)), "x\udcff", [None]]
    seen = []
    with open(tmp_path / "pipe", "wb+") as pipe:
        for one in sent:
            send(pipe, one)
        pipe.seek(0)
        for one in sent:
            got = receive(pipe, seen.append)
            np.testing.assert_equal(got, one)
        with pytest.raises(EOFError):
            receive(pipe)
    assert len(seen) == len(sent)
    assert seen[0] > 48


# Interruptions.


def test_continuing_loads_only_what_is_missing(put, prepare, tmp_path):
    for number in range(9):
        put(f"{number}.fake")
    put("a.many.fake", "many x y z x")
    prepare("whole.h5", label_from="folder", pattern=r"(?P<label>.)")

    def stop(done, total, name):
        if done == 11:
            raise KeyboardInterrupt

    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            prepare(f"{workers}.h5", label_from="folder", pattern=r"(?P<label>.)", progress=stop, workers=workers)
        assert not (tmp_path / f"{workers}.h5").exists()
        prepare_kind.READ.clear()
        prepare(f"{workers}.h5", label_from="folder", pattern=r"(?P<label>.)")
        assert prepare_kind.READ == ["a.many.fake"]
        assert (tmp_path / f"{workers}.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_what_cannot_be_continued(put, prepare, tmp_path):
    for number in range(4):
        put(f"{number}.fake")

    def stop(done, total, name):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(progress=stop, split={"test": 0.5})
    with pytest.raises(DataError, match="was begun with recipe="):
        prepare(split={"test": 0.25})
    with pytest.raises(DataError, match="was begun with recipe="):
        prepare(split={"test": 0.5}, seed=1)
    with pytest.raises(DataError, match="holds an unfinished write: continue it with resume=True"):
        prepare(split={"test": 0.5}, resume=False)
    (tmp_path / "in" / "0.fake").unlink()
    with pytest.raises(DataError, match=r"holds '0.fake' from before, which isn't in the source any more"):
        prepare(split={"test": 0.5})


def test_ctrl_c_leaves_what_can_be_continued(put, prepare, tmp_path):
    """The signal comes while the main thread waits for workers."""
    for number in range(40):
        put(f"{number:02}.fake", "slow 5" if number >= 5 else "ok 5")
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.path[:0] = sys.argv[3:4]; from prepare_kind import KIND\n"
         "from convnd.data.prepare.pipeline import prepare_files\n"
         "print('ready', flush=True)\n"
         "tell = lambda *step: print(step, flush=True)\n"
         "prepare_files(KIND, sys.argv[1], sys.argv[2], {}, label_from=None, workers=2, progress=tell)",
         str(tmp_path / "in"), str(tmp_path / "a.h5"), os.path.dirname(__file__)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while "(1, 40" not in child.stdout.readline():
        pass
    os.killpg(child.pid, signal.SIGINT)  # As a terminal does: to the workers too.
    error = child.communicate(timeout=10)[1]
    assert child.returncode != 0
    assert error.rstrip().endswith("KeyboardInterrupt")
    assert error.count("Traceback") == 1
    assert not (tmp_path / "a.h5").exists()
    for number in range(40):
        put(f"{number:02}.fake", "ok 5")
    prepare_kind.READ.clear()
    assert prepare() == (40, {})
    assert len(prepare_kind.READ) < 40
    prepare("b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def killed_after(seconds, work):
    """Run ``work`` in a child and kill it after a while: whether it was done before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Of forking with threads about; the child needs none.
        child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return not os.WIFSIGNALED(status)


def test_killed_at_twenty_moments_and_continued(put, prepare, tmp_path, monkeypatch, rng):
    monkeypatch.setattr(pieces, "PIECE_SAMPLES", 3)
    for number in range(30):
        put(f"{number:02}.fake", f"ok {number + 1}")
    put("17.fake", "raise")
    def slowly(out, workers):
        prepare(out, workers=workers, progress=lambda *step: time.sleep(0.003))

    longest = {}
    for workers in (1, 2):
        begun = time.monotonic()
        slowly("whole.h5", workers)
        longest[workers] = time.monotonic() - begun
        (tmp_path / "whole.h5").unlink()
    prepare("whole.h5")
    kills = rounds = 0
    sealed = set()
    while kills < 20:
        workers = 2 if kills % 5 == 4 else 1
        done = killed_after(rng.uniform(0, longest[workers]), partial(slowly, "a.h5", workers))
        if done:
            assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
            (tmp_path / "a.h5").unlink()
            rounds += 1
        kills += not done
        sealed.add(len(list((tmp_path / "a.h5.parts").glob("*.values"))))
    if not (tmp_path / "a.h5").exists():
        assert prepare()[0] == 29
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert rounds < 200
    assert len(sealed) > 3  # They came at different places of the work.


def test_a_full_disk_loses_nothing(put, prepare, tmp_path, monkeypatch):
    for number in range(30):
        put(f"{number:02}.fake", "ok 1000")
    prepare("whole.h5")
    write = pieces.write_all
    room = [23_000]

    def fill(file, content):
        room[0] -= len(content)
        if room[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(file, content)

    for workers in (1, 2):
        out = f"{workers}.h5"
        room[0] = 23_000
        monkeypatch.setattr(pieces, "write_all", fill)
        with pytest.raises(OSError, match="No space left on device"):
            prepare(out, workers=workers)
        monkeypatch.setattr(pieces, "write_all", write)
        prepare_kind.READ.clear()
        assert prepare(out) == (30, {})
        assert [f"{number:02}.fake" for number in range(11, 30)] == prepare_kind.READ
        assert (tmp_path / out).read_bytes() == (tmp_path / "whole.h5").read_bytes()
