"""The choice among implementations: of each sample by itself, kept for the batches to come."""

import importlib
import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from convnd.kernels import task as task_module
from convnd.kernels.task import Operation, Problem, Side, Task, choose, of_samples
from convnd.layout import Layout
from convnd.window import Window

module = importlib.import_module("convnd.kernels.conv")  # convnd.kernels.conv is the function


def problem_of(operation, sizes):
    shapes = np.array(sizes)[:, None]
    side = Side(shapes, np.concatenate([[0], np.cumsum(shapes)]))
    return Problem(operation, side, side, np.ones_like(shapes))


@pytest.fixture
def operation():
    return Operation("forward", np.array([[3], [1], [1]]), 4, 8, 1, np.dtype(np.float32))


def test_each_sample_is_asked_about_once(operation):
    asked = []

    def ask(problem):
        sizes = problem.target.shapes[:, 0].tolist()
        asked.extend(sizes)
        return [size % 3 for size in sizes]

    for sizes in ([5, 7, 5], [7, 9], [9, 5, 7, 7], [4]):
        assert of_samples(problem_of(operation, sizes), "name", ask) == [size % 3 for size in sizes]
    assert sorted(asked) == [4, 5, 7, 9]
    assert of_samples(problem_of(operation, [5]), "another name", lambda problem: ["own"]) == ["own"]


def test_a_sample_is_its_shapes_and_its_padding(operation):
    plain = problem_of(operation, [5])
    other = Problem(operation, plain.source, plain.target, np.zeros((1, 1), np.int64))
    assert of_samples(plain, "name", lambda problem: [1]) == [1]
    assert of_samples(other, "name", lambda problem: [2]) == [2]


def test_what_is_kept_is_bounded(operation, monkeypatch):
    monkeypatch.setattr(task_module, "MOST_KEPT", 10)
    for start in range(0, 300, 3):
        sizes = [start + 1, start + 2, start + 3]
        found = of_samples(problem_of(operation, sizes), "name", lambda problem: problem.target.shapes[:, 0].tolist())
        assert found == sizes
        assert len(operation.memo["name"]) <= 10 + 3


def ways_of(place, kind, channels, filters, kernel):
    """The way that each sample of a batch goes."""
    source, target = (place.input, place.output) if kind != "transposed" else (place.output, place.input)
    x = np.zeros((source.positions, channels), np.float32)
    sides = [Side(layout.shapes, layout.offsets) for layout in (source, target)]
    operation = module._operation(
        kind, place.window, False, channels, filters, 1, x.dtype, False, 0, module.isa.current()
    )
    problem = Problem(operation, *sides, place.low)
    ways = {}
    for way, part in choose(Task(problem, x, x), module.IMPLEMENTATIONS, "auto"):
        for start in part.target.offsets[:-1].tolist():
            ways[start] = module.IMPLEMENTATIONS.index(way)
    return [ways[start] for start in target.offsets[:-1].tolist()]


@pytest.mark.parametrize("kind", ["forward", "transposed", "weight"])
@pytest.mark.parametrize(("channels", "filters", "kernel", "longest"), [(32, 32, (25,), 600), (64, 128, (3, 3), 12)])
def test_the_choice_is_each_samples_own(kind, channels, filters, kernel, longest, rng, monkeypatch):
    """Whatever batches came before: the ways of a batch are those of its samples, asked one by one."""
    monkeypatch.setattr(task_module, "MOST_KEPT", 20)
    window = Window.of(len(kernel), kernel, padding="same")

    def ways(shapes):
        if len(shapes) == 1:
            module._operation.cache_clear()
        return ways_of(window.on(Layout(shapes)), kind, channels, filters, kernel)

    shapes = rng.integers(1, longest, (40, len(kernel))).tolist()
    alone = {tuple(shape): ways([shape])[0] for shape in shapes}
    assert len(set(alone.values())) > 1
    module._operation.cache_clear()
    for _ in range(30):
        batch = [shapes[n] for n in rng.integers(0, 40, 6)]
        assert ways(batch) == [alone[tuple(shape)] for shape in batch]


@pytest.mark.parametrize("units", ["2x256", "1x512", "2x512", "2x512 Zen"])
@pytest.mark.parametrize("kind", ["forward", "transposed", "weight"])
@pytest.mark.parametrize(("channels", "filters"), [(64, 64), (64, 128), (128, 256)])
def test_sequences_of_like_length_go_the_same_way(kind, channels, filters, units, monkeypatch):
    """A batch of many lengths pays for each way: as they grow, none is taken again that was left before."""
    monkeypatch.setattr(module.isa, "units", lambda: units)
    module._operation.cache_clear()
    layout = Layout(np.arange(3, 600)[:, None])
    ways = ways_of(Window.of(1, 3, padding="same").on(layout), kind, channels, filters, (3,))
    module._operation.cache_clear()
    changes = [ways[0], *(after for before, after in itertools.pairwise(ways) if after != before)]
    one = units.startswith("2x512") and kind == "weight"  # these go one way from the start
    least = 1 if one else 2
    assert least <= len(changes) == len(set(changes)) <= 3


def test_threads_of_python_ask_at_once(operation, rng, monkeypatch):
    monkeypatch.setattr(task_module, "MOST_KEPT", 50)

    def work(seed):
        own = np.random.default_rng(seed)
        for _ in range(200):
            sizes = own.integers(1, 200, 8).tolist()
            assert of_samples(problem_of(operation, sizes), "name", lambda p: p.target.shapes[:, 0].tolist()) == sizes
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("kind", ["forward", "transposed"])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "padding"), [(3, 1, 1, 1), (5, 2, 1, 2), (4, 3, 2, 4), (2, 1, 3, 0)]
)
def test_taps_that_meet_inputs(kind, kernel, stride, dilation, padding):
    place = Window.of(1, kernel, stride, padding, dilation).on(Layout([[7], [9], [12]]))
    sides = [Side(layout.shapes, layout.offsets) for layout in (place.input, place.output)]
    made = Operation(kind, place.window.rows[:3], 4, 8, 1, np.dtype(np.float32))
    problem = Problem(made, *(sides if kind == "forward" else sides[::-1]), place.low)
    for sample, (big, small) in enumerate(zip(place.input.sizes, place.output.sizes, strict=True)):
        meet = sum(0 <= q * stride + j * dilation - padding < big for q in range(small) for j in range(kernel))
        targets = small if kind == "forward" else big
        assert problem.met[sample, 0] == pytest.approx(meet / (targets * kernel))
