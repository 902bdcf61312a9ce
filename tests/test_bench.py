"""The bench: results of every case on small sizes, what the checks notice, the times' arithmetic, the command."""

import importlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import convnd as cn
from convnd import nn
from convnd.bench.cases import CASES, PASSES, Case, Operands, choose
from convnd.bench.check import largest_error
from convnd.bench.command import command
from convnd.bench.measure import Times, in_turn, peak
from convnd.bench.peers import FIRST, LAST, ours, torch_contenders
from convnd.bench.run import TOLERANCE, Row, run
from convnd.errors import ArgumentError

SMALL = [case.small() for case in CASES]
NAMES = [case.name for case in CASES]
TINY = Case("tiny", 2, 3, 5, (9, 7), (3, 3), stride=2, padding=1)


def whole(case, which, operands):
    """A pass in float64, all of it: the taps' matrix products, on a padded copy."""
    batch, taps, groups = case.batch, list(np.ndindex(case.kernel)), case.groups
    edges = ((0, 0), *[(case.padding, case.padding)] * case.rank, (0, 0))
    x = np.pad(operands.x.astype(float).reshape(batch, *case.size, -1), edges)
    grad = operands.grad.astype(float).reshape(batch, *case.output, groups, -1)
    weight = operands.weight.astype(float).reshape(len(taps), -1, groups, case.filters // groups)
    out, dx, dw = np.zeros_like(grad), np.zeros_like(x), np.zeros_like(weight)
    for number, tap in enumerate(taps):
        reads = (
            slice(None),
            *(
                slice(j * case.dilation, j * case.dilation + (count - 1) * case.stride + 1, case.stride)
                for j, count in zip(tap, case.output, strict=True)
            ),
        )
        rows = x[reads].reshape(*grad.shape[:-2], groups, -1)
        out += np.einsum("...gc,cgf->...gf", rows, weight[number])
        dx[reads] += np.einsum("...gf,cgf->...gc", grad, weight[number]).reshape(x[reads].shape)
        dw[number] = np.einsum("pgc,pgf->cgf", rows.reshape(-1, *rows.shape[-2:]), grad.reshape(-1, *grad.shape[-2:]))
    inside = tuple(slice(case.padding, case.padding + size) for size in case.size)
    return {"forward": out, "input": dx[(slice(None), *inside)], "weight": dw}[which]


def results(case, which, operands, contender):
    """A contender's result and the float64 one, in one shape."""
    got = contender.array(contender.call())
    return got, whole(case, which, operands).reshape(got.shape)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", SMALL, ids=NAMES)
def test_ours_is_right_on_every_case(case, which):
    operands = Operands.draw(case)
    got, wanted = results(case, which, operands, ours(case, which, operands))
    assert np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert largest_error(case, which, operands, got) <= 1e-5


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", SMALL, ids=NAMES)
def test_the_peer_computes_the_same(case, which):
    pytest.importorskip("torch")
    operands = Operands.draw(case)
    for contender in torch_contenders(case, which, operands):
        got, wanted = results(case, which, operands, contender)
        assert np.abs(got - wanted).max() <= 2e-5 * np.abs(wanted).max(), contender.name


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("case", [*SMALL, TINY], ids=[*NAMES, "tiny"])
def test_the_check_agrees_with_the_whole_result(case, which):
    operands = Operands.draw(case)
    wanted = whole(case, which, operands).reshape(-1, operands.grad.shape[1] if which != "input" else case.channels)
    wanted = wanted.reshape(operands.weight.shape) if which == "weight" else wanted
    assert largest_error(case, which, operands, wanted) < 1e-13


@pytest.mark.parametrize("which", PASSES)
def test_the_check_notices_what_is_wrong(which):
    operands = Operands.draw(TINY)
    right = ours(TINY, which, operands).call()
    other = replace(TINY, padding=0, size=(11, 9))  # the same outputs, the window elsewhere
    wrong = {
        "scaled": right * np.float32(1.001),
        "shifted": np.roll(right, 1, axis=0),
        "not a number": np.full_like(right, np.nan),
    }
    assert largest_error(TINY, which, operands, right) <= 2e-6
    for name, result in wrong.items():
        assert not largest_error(TINY, which, operands, result) <= TOLERANCE, name
    assert other.output == TINY.output


def test_a_wrong_result_is_named_and_is_exit_code_1(monkeypatch):
    monkeypatch.setattr("convnd.bench.run.largest_error", lambda *_: 0.5)
    done = CliRunner().invoke(
        command, ["--case", "2d-1x1", "--pass", "forward", "--repeats", "1", "--no-peers"], standalone_mode=False
    )
    assert done.return_value == 1
    assert "2d-1x1 forward: convnd is off by 5.0e-01" in done.stderr


def test_cases_are_those_of_the_table():
    assert len({case.name for case in CASES}) == len(CASES) == 14
    assert [case.layer for case in choose(["3d-dilated", "1d-depthwise", "2d-first"])] == [
        "16 x 256 x 1000, k31",
        "8 x 3->64 x 224x224, k7 s2",
        "1 x 21->21 x 64x64x64, k3 d2",
    ]
    assert {case.rank for case in CASES} == {1, 2, 3}
    for case, small in zip(CASES, SMALL, strict=True):
        same = ("name", "kernel", "stride", "padding", "dilation")
        assert [getattr(case, name) for name in same] == [getattr(small, name) for name in same]
        assert small.flops < 1e8


def test_flops_are_counted_by_hand():
    # 2 x 5 x 4 outputs, 9 taps, 3 channels, 5 filters, a multiplication and an addition each
    assert TINY.output == (5, 4)
    assert TINY.flops == 2 * (2 * 5 * 4) * 9 * 3 * 5
    assert replace(TINY, channels=6, filters=6, groups=6).flops == 2 * (2 * 5 * 4) * 9 * 6


def test_choose_refuses_what_matches_nothing():
    assert choose([]) == list(CASES)
    assert [case.name for case in choose(["?d-first"])] == ["1d-first", "2d-first", "3d-first"]
    with pytest.raises(ArgumentError, match=r"no case matches '4d'. There are: 1d-first, "):
        choose(["4d"])


def test_draws_are_random_and_repeat():
    first, again = Operands.draw(TINY), Operands.draw(TINY)
    assert all((getattr(first, name) == getattr(again, name)).all() for name in ("x", "weight", "grad"))
    assert abs(float(first.x.std()) - 1) < 0.2
    assert first.x.dtype == np.float32


def test_contenders_run_in_turn():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    times = in_turn(calls, repeats=3)
    assert "".join(order) == "abcbcacab"
    assert all(len(one.seconds) == 3 for one in times.values())
    in_turn(calls, seconds=0.0)
    assert len(order) == 9 + 9  # at least three rounds, however short the time


def test_a_row_does_its_sums():
    times = {"convnd": Times((3.0, 1.0, 2.0)), "slow": Times((9.0,)), "quick": Times((1.0,))}
    row = Row(TINY, "forward", times, {"convnd": 1e-7, "slow": 1e-3, "quick": float("nan")}, peak=TINY.flops / 1.0)
    assert row.gflops() == TINY.flops / 2.0 / 1e9
    assert (row.best_peer, row.ratio, row.of_peak) == ("quick", 0.5, 0.5)
    assert row.wrong() == ["slow", "quick"]
    alone = Row(TINY, "forward", {"convnd": Times((2.0,))}, {"convnd": 0.0}, peak=1.0)
    assert (alone.best_peer, alone.ratio) == (None, None)


def test_peak_is_above_what_a_case_reaches():
    row = run(SMALL[NAMES.index("2d-deep")], "forward", peak(repeats=5), peers=False, repeats=3)
    assert 0 < row.of_peak < 1.1
    assert peak(np.float64, repeats=3) < peak(np.float32, repeats=3)


ARGUMENTS = ["--case", "3d-depthwise", "--repeats", "1", "--threads", "1"]


@pytest.fixture
def _threads_back():
    before = cn.get_num_threads()
    yield
    cn.set_num_threads(before)


@pytest.mark.usefixtures("_threads_back")
def test_command_prints_json():
    done = CliRunner().invoke(command, [*ARGUMENTS, "--json"], standalone_mode=False)
    assert done.exception is None
    assert done.return_value == 0
    found = json.loads(done.stdout)
    assert [row["pass"] for row in found["rows"]] == list(PASSES)
    assert found["machine"]["threads"] == 1
    assert found["machine"]["peak_gflops"] > 0
    assert all(row["gflops"]["convnd"] > 0 and row["error"]["convnd"] <= TOLERANCE for row in found["rows"])


@pytest.mark.usefixtures("_threads_back")
def test_command_prints_tables():
    plain = CliRunner().invoke(command, [*ARGUMENTS, "--pass", "forward", "--no-peers"], standalone_mode=False)
    head, row = plain.stdout.splitlines()[-2:]
    assert head.startswith("case")
    assert row.split()[:7] == ["3d-depthwise", "2", "x", "32", "x", "32x32x32,", "k3"]
    assert row.index("k3") < head.index("pass") == row.index("forward")
    table = CliRunner().invoke(
        command, [*ARGUMENTS, "--pass", "forward", "--no-peers", "--markdown"], standalone_mode=False
    )
    lines = table.stdout.splitlines()[-3:]
    assert [line.count("|") for line in lines] == [10, 10, 10]


def test_command_refuses_both_forms():
    done = CliRunner().invoke(command, ["--json", "--markdown"])
    assert done.exit_code == 2
    assert "exclude one another" in done.output


# Training steps


def small_net(ndim):
    return nn.Sequential(
        nn.Conv(4, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm(activation="relu"),
        nn.MaxPool(2),
        nn.Conv(6, 3, padding="same", groups=2, activation="tanh"),
        nn.AvgPool(2),
        nn.GlobalPool(),
        nn.Linear(3),
    ).build(ndim=ndim, channels=2, seed=1)


@pytest.mark.parametrize("layout", [FIRST, LAST])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_the_twin_trains_as_we_do(ndim, layout, rng):
    torch = pytest.importorskip("torch")
    from convnd.bench.training import our_step, torch_input, torch_step
    from convnd.bench.twin import torch_twin

    samples = [rng.standard_normal((*(13, 12, 11)[:ndim], 2)).astype(np.float32) for _ in range(4)]
    labels = np.array([0, 2, 1, 2])
    net = small_net(ndim)
    theirs = torch_step(torch_twin(net, layout), 0.01)
    mine = our_step(net, 0.01)
    for _ in range(4):
        loss = mine(cn.Ragged.pack(samples), labels)
        assert loss == pytest.approx(theirs(torch_input(samples, layout), torch.from_numpy(labels)), rel=1e-3)


def test_the_twin_flattens_in_our_order(rng):
    torch = pytest.importorskip("torch")
    from convnd.bench.training import torch_input
    from convnd.bench.twin import torch_twin

    net = nn.Sequential(nn.Conv(3, 2), nn.Flatten(), nn.Linear(4)).build(ndim=2, channels=1, shape=(4, 5))
    x = rng.standard_normal((2, 4, 5, 1)).astype(np.float32)
    with torch.no_grad():
        theirs = torch_twin(net)(torch_input(list(x), FIRST)).numpy()
    np.testing.assert_allclose(net(x), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (nn.Conv(2, 4, padding="same"), "differs from side to side"),
        (nn.Conv(2, 3, stride=2, padding="same"), "differs from side to side"),
        (nn.Conv(2, 3, padding="causal"), "differs from side to side"),
        (nn.ProportionalPool(2), "no such layer"),
    ],
)
def test_the_twin_names_what_pytorch_lacks(layer, rule):
    pytest.importorskip("torch")
    from convnd.bench.twin import torch_twin

    net = nn.Sequential(nn.Conv(2, 1), layer).build(ndim=2, channels=2)
    with pytest.raises(ArgumentError, match=rule):
        torch_twin(net)


def test_padding_goes_after_the_end(rng):
    pytest.importorskip("torch")
    from convnd.bench.training import torch_input

    samples = [rng.standard_normal((length, 2)).astype(np.float32) for length in (3, 5)]
    for layout, axes in ((FIRST, ()), (LAST, (1,))):
        tensor = torch_input(samples, layout, (7,))
        assert tuple(tensor.shape) == (2, 2, *axes, 7)
        dense = np.moveaxis(tensor.numpy().reshape(2, 2, 7), 1, 2)
        assert (dense[0, :3] == samples[0]).all()
        assert not dense[0, 3:].any()
        assert (dense[1, :5] == samples[1]).all()


def test_ways_are_timed_in_turn():
    from convnd.bench.training import Stopwatch

    order = []

    def way(name):
        return (lambda x, y: order.append((name, x)) or float(x)), [(number, None) for number in range(3)]

    watch = Stopwatch({"a": way("a"), "b": way("b")})
    watch.epoch(stretch=2)
    assert order == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("a", 2), ("b", 2)]
    assert watch.losses["b"] == [0.0, 1.0, 2.0]
    assert watch.seconds["a"] > 0


# The scripts, on a file of noise: that they run, not what they measure.


def noise(path, rng, ndim, shapes, classes=10):
    names = tuple(str(label) for label in range(classes))
    with cn.data.create(path, ndim=ndim, channels=1, target="class", classes=names) as writer:
        for split in ("train", "test"):
            for number, shape in enumerate(shapes):
                values = rng.standard_normal((*shape, 1)).astype(np.float32)
                writer.append(values, label=number % classes, split=split)
    return path


@pytest.mark.usefixtures("_threads_back")
@pytest.mark.parametrize(
    ("script", "ndim", "shapes", "ways"),
    [
        ("fashion_mnist", 2, [(12, 12)] * 12, ["convnd", "PyTorch"]),
        ("training_steps", 1, [(1150 + 40 * number,) for number in range(12)], ["convnd", "PyTorch, one by one"]),
        ("training_steps", 3, [(5, 6, 4 + number % 4) for number in range(12)], ["convnd", "PyTorch, one by one"]),
    ],
)
def test_training_scripts_run(script, ndim, shapes, ways, rng, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    data = noise(tmp_path / "noise.h5", rng, ndim, shapes)
    main = importlib.import_module(script).main
    arguments = [str(data), "--samples", "4", "--batches", "2", "--threads", "1", "--json"]
    done = CliRunner().invoke(main, arguments, standalone_mode=False)
    torch.set_num_threads(threads)
    assert done.exception is None
    found = json.loads(done.stdout)
    assert all(name in found for name in ways)
    assert found["batches"] == 2
