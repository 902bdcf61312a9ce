"""What the tests share: seeded draws of samples."""

from __future__ import annotations

import importlib
import signal

import numpy as np
import pytest

from convnd._core import isa, threads
from convnd.kernels import rowwise

conv_module = importlib.import_module("convnd.kernels.conv")  # convnd.kernels.conv is the function

# A shell that starts the tests in the background may have them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_limit_on_threads():
    """A limit that a test sets (or a command that it runs) is gone with it."""
    yield
    threads.set_num_threads(0)


@pytest.fixture(params=isa.available())
def level(request):
    """Each instruction set that this machine has, in use."""
    before = isa.current()
    isa.use(request.param)
    yield request.param
    isa.use(before)


@pytest.fixture
def not_row_by_row(monkeypatch):
    """Convolutions go otherwise: that way has tests of its own. Operations keep what they chose before."""
    monkeypatch.setattr(rowwise, "takes", lambda _: False)
    conv_module._operation.cache_clear()
    yield
    conv_module._operation.cache_clear()


@pytest.fixture
def rng():
    return np.random.default_rng(20240607)


@pytest.fixture
def draw(rng):
    """draw(ndim, channels, dtype=, count=, low=, high=): samples of random shapes, the last as large as the first."""

    def samples(ndim, channels, dtype=np.float64, count=5, low=3, high=8):
        shapes = [tuple(rng.integers(low, high, size=ndim)) for _ in range(count - 1)]
        shapes.append(shapes[0])
        return [rng.standard_normal((*shape, channels)).astype(dtype) for shape in shapes]

    return samples


@pytest.fixture
def put(tmp_path):
    """put("a/b.txt", "text") writes a file below the folder ``in``."""

    def write(name, text="ok", folder=tmp_path / "in"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def prepare(tmp_path):
    """prepare("a.h5", split=...) makes a file of the folder ``in``, of files as prepare_kind reads them.

    The result is (samples, {path that failed: reason}).
    """
    from prepare_kind import KIND

    from convnd.data.prepare.pipeline import prepare_files

    def make(out="a.h5", source=tmp_path / "in", **given):
        report = prepare_files(KIND, source, tmp_path / out, {}, **({"workers": 1, "label_from": None} | given))
        return report.samples, {failure.path: failure.reason for failure in report.failed}

    return make
