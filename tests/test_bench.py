"""The bench: the times' arithmetic, rows, the command; whole training steps."""

import importlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import convnd as cn
from convnd import nn, ops
from convnd.bench import measure, memory
from convnd.bench.cases import PASSES, Conv, choose
from convnd.bench.check import Errors
from convnd.bench.command import command, hold
from convnd.bench.measure import TURN, Ratio, Times, in_turn, peak
from convnd.bench.peers import FIRST, LAST
from convnd.bench.report import cells, pass_lines, summary, summary_lines
from convnd.bench.run import PEERS, TOLERANCE, Row, algorithm, geometric_mean, installed, run
from convnd.errors import ArgumentError

TINY = Conv("tiny", 2, 3, (9, 7), 3, 2, 1, out=5)
RIGHT = Errors(1e-7, 1e-8)


def test_contenders_run_in_turn():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    times = in_turn(calls, rounds=3)
    turns = "".join(name for name, before in zip(order, [None, *order], strict=False) if name != before)
    assert turns == "abc" + "abc" + "bca" + "cab"  # the first to see how many calls make a turn
    assert len(order) > 1000  # that many: these take no time
    assert all(len(one.seconds) == 3 for one in times.values())
    assert all(len(one.seconds) >= 3 for one in in_turn(calls, seconds=0.0).values())


def test_a_turn_is_as_many_calls_as_it_takes(monkeypatch):
    now = [0.0]  # a clock that the calls move, since a real one's ticks may be longer than a turn
    monkeypatch.setattr(measure, "clock", lambda: lambda: now[0])

    def count(seconds, cold=0.0):
        calls = []

        def call():
            now[0] += seconds if calls else seconds + cold
            calls.append(1)

        times = in_turn({"one": call}, rounds=4)["one"]
        assert times.seconds == pytest.approx((seconds,) * 4)
        return len(calls)

    assert count(2 * TURN) == 1 + 4  # the first sees how long it takes
    assert count(0.4 * TURN) == 3 + 4 * 3
    assert count(0.4 * TURN, cold=0.5 * TURN) == 3 + 4 * 3


def test_ratio_is_round_by_round():
    # the machine slows down threefold; the ratio doesn't
    machine = np.repeat([1.0, 3.0], 10)
    ratio = Ratio.of(Times(tuple(machine)), Times(tuple(2 * machine)))
    assert ratio == Ratio(2.0, 2.0, 2.0)
    few = Ratio.of(Times((1.0, 1.0, 1.0)), Times((2.0, 1.0, 4.0)))
    assert few == Ratio(2.0, 1.0, 4.0)


@pytest.mark.parametrize("count", [6, 9, 15, 40])
def test_interval_holds_the_median_that_often(count, rng):
    theirs = np.exp(rng.standard_exponential((2000, count)))  # skewed; the median is 2
    ours = Times((1.0,) * count)
    found = [Ratio.of(ours, Times(tuple(row))) for row in theirs]
    assert 0.94 <= np.mean([ratio.low <= 2 <= ratio.high for ratio in found]) <= 0.99


def a_row(ours, theirs, which="forward", case=TINY, **more):
    times = {"convnd": Times(ours), **{name: Times(runs) for name, runs in theirs.items()}}
    return Row(case, which, times, dict.fromkeys(times, RIGHT), peak=case.work(which) / 1.0, **more)


def test_a_row_does_its_sums():
    row = a_row((3.0, 1.0, 2.0), {"slow": (9.0, 9.0, 9.0), "quick": (1.0, 1.0, 1.0)})
    assert row.rate() == TINY.work("forward") / 2.0 / 1e9
    assert (row.best_peer, row.of_peak) == ("quick", 0.5)
    assert row.ratio == Ratio(0.5, 1 / 3, 1.0)
    assert not row.measures_call
    alone = a_row((1e-5,), {})
    assert (alone.best_peer, alone.ratio) == (None, None)
    assert alone.measures_call


@pytest.mark.parametrize("wrong", [Errors(1e-3, 0.0), Errors(float("nan"), float("nan"))])
def test_wrong_results_are_named(wrong):
    row = Row(TINY, "forward", {"convnd": Times((1.0,))}, {"convnd": RIGHT, "other": wrong}, peak=1.0)
    assert row.wrong() == ["other"]


def test_the_summary_counts_what_is_behind():
    rows = [
        a_row((1.0,) * 6, {"peer": (4.0,) * 6}),
        a_row((2.0,) * 6, {"peer": (1.0,) * 6}, case=Conv("behind", 1, 1, (4,), 3)),
        a_row((1.0,) * 6, {"peer": (1.0, 1.0, 1.0, 1.0, 1.0, 0.98)}, case=Conv("level", 1, 1, (4,), 3)),
        a_row((1.0,), {}, case=Conv("alone", 1, 1, (4,), 3)),
        a_row((1e-5,) * 6, {"peer": (2e-6,) * 6}, case=Conv("call", 1, 1, (4,), 3)),
    ]
    found = summary(rows)
    assert found["forward"]["rows"] == 3
    assert found["forward"]["geometric_mean"] == pytest.approx(2 ** (1 / 3))
    assert found["forward"]["behind"] == {"behind": 0.5}
    assert found["microseconds_of_a_call"] == {"call forward": pytest.approx(10)}
    lines = list(summary_lines(rows))
    assert lines[0].startswith("forward: 1.26 times as fast")
    assert lines[0].endswith("behind: behind 0.50")
    assert "call forward measures a call: 10.0 microseconds" in lines[1]
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2)


def test_reasons_are_said_once():
    row = a_row((1.0,), {}, absent={"Other": "no layers in 9D"})
    said = set()
    assert [*pass_lines(row, said)][1].strip() == "(Other: no layers in 9D)"
    assert len([*pass_lines(row, said)]) == 1
    assert cells(row)[5:8] == ["-", "-", "-"]


def test_peak_is_above_what_a_direct_case_reaches():
    cn.set_num_threads(1)  # timed by the processor's time, whatever else runs
    case = choose(["1d-k9"])[0].small()
    row = run(case, "forward", peak(seconds=0.05), rounds=3)
    assert 0 < row.of_peak < 1.1
    assert peak(np.float64, seconds=0.05) < peak(np.float32, seconds=0.05)


def test_a_hopeless_peer_is_timed_no_further(monkeypatch):
    first = {"convnd": 0.01, "good": 0.2, "bad": 3.0, "fair": 1.5}
    from convnd.bench.run import _hopeless

    assert _hopeless(first) == {"bad": "a run took 3 s"}
    assert _hopeless({"convnd": 0.01, "only": 60.0}) == {}


def test_algorithms_have_names():
    assert algorithm(TINY, "forward")
    assert algorithm(choose(["2d-transposed"])[0].small(), "input")
    assert algorithm(choose(["2d-max"])[0], "forward") == ""


@pytest.mark.skipif(not memory.RESET.exists(), reason="Linux tells the peak")
def test_extra_memory_is_seen(monkeypatch):
    found = memory.extra_memory(choose(["2d-middle"])[0], "forward")
    assert found.operands == 4 * (8 * 28 * 28 * 256 + 9 * 128 * 128)
    wasted = 50_000_000
    original = memory.ours

    def wasteful(case, which, operands):
        contender = original(case, which, operands)

        def call():
            np.ones(wasted, np.uint8)
            return contender.call()

        return type(contender)(contender.name, call, contender.array)

    case = choose(["2d-mean"])[0]
    plain = memory.measure(case, "forward").extra
    monkeypatch.setattr(memory, "ours", wasteful)
    assert memory.measure(case, "forward").extra - plain == pytest.approx(wasted, rel=0.2)


# The command

ARGUMENTS = ["--case", "2d-edges", "--repeats", "1", "--threads", "1"]


@pytest.fixture
def _threads_back():
    before = cn.get_num_threads()
    yield
    cn.set_num_threads(before)


def bench(*arguments):
    return CliRunner().invoke(command, [*ARGUMENTS, *arguments], standalone_mode=False)


@pytest.mark.usefixtures("_threads_back")
def test_command_prints_json():
    done = bench("--json")
    assert done.exception is None
    assert done.return_value == 0
    found = json.loads(done.stdout)
    assert [row["pass"] for row in found["rows"]] == list(PASSES)
    assert found["machine"]["threads"] == 1
    assert found["machine"]["peak_gflops"] > 0
    assert all(row["rate"]["convnd"] > 0 and row["error"]["convnd"] <= TOLERANCE for row in found["rows"])
    here = [peer.name for peer in PEERS if peer.installed()]
    assert all(name in found["absent"] for name in {peer.name for peer in PEERS} - {*here})
    short = found["rows"][0]["measures_call"]  # on a fast machine: left out of the means
    assert ("forward" in found["summary"]) == (bool(here) and not short)


@pytest.mark.usefixtures("_threads_back")
def test_command_prints_tables():
    plain = bench("--pass", "forward", "--no-peers")
    head, case, row = plain.stdout.splitlines()[2:5]
    assert head.split()[0] == "pass"
    assert case == "2d-edges: 1 x 1->1 x 280x320, k(1,2)"
    assert row.split()[0] == "forward"
    assert row.index("GFLOP/s") == head.index("unit")
    lines = bench("--pass", "forward", "--no-peers", "--markdown").stdout.splitlines()[2:5]
    assert [line.count("|") for line in lines] == [15, 15, 15]


@pytest.mark.usefixtures("_threads_back")
def test_command_works_where_no_peer_is(monkeypatch):
    for peer in PEERS:
        monkeypatch.setattr(type(peer), "installed", lambda self: False)
    done = bench("--pass", "forward")
    assert done.return_value == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("without")] == [
        f"without {peer.name}: not installed" for peer in PEERS
    ]


@pytest.mark.usefixtures("_threads_back")
def test_a_wrong_result_is_named_and_is_exit_code_1(monkeypatch):
    monkeypatch.setattr("convnd.bench.run.errors", lambda *_: Errors(0.5, 0.1))
    done = bench("--pass", "forward", "--no-peers")
    assert done.return_value == 1
    assert "2d-edges forward: convnd is off by 5.0e-01" in done.stderr


@pytest.mark.usefixtures("_threads_back")
def test_command_draws(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    done = bench("--plot", str(tmp_path / "ratios.png"))
    assert done.return_value == 0
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")


def test_command_refuses_both_forms():
    done = CliRunner().invoke(command, ["--json", "--markdown"])
    assert done.exit_code == 2
    assert "exclude one another" in done.output


def test_held_peers_start_afresh(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["convnd", "bench", "--isa", "x86-64-v3"])
    for name in ("CONVND_ISA", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.setenv(name, "")
    hold(None)
    assert not started
    hold("x86-64-v3")
    (_, arguments, environment), = started
    assert arguments == [sys.executable, "-m", "convnd", "bench", "--isa", "x86-64-v3"]
    wanted = {
        "CONVND_ISA": "x86-64-v3",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
    assert wanted.items() <= environment.items()
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    hold("x86-64-v3")
    assert len(started) == 1


@pytest.mark.parametrize(("best", "held"), [("x86-64-v4", True), ("x86-64-v3", False)])
def test_peers_that_nothing_holds_are_left_out(best, held, monkeypatch):
    monkeypatch.setattr("convnd.kernels.config", lambda: {"isa_available": ["x86-64", best]})
    for peer in PEERS:
        monkeypatch.setattr(type(peer), "installed", lambda self: True)
    here, absent = installed("x86-64-v3")
    assert [peer.name for peer in here] == (["PyTorch"] if held else [peer.name for peer in PEERS])
    assert (absent.keys() == {"ONNX Runtime", "OpenVINO"}) == held


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


def test_the_large_one_runs_small(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    large = importlib.import_module("large")
    done = CliRunner().invoke(large.main, ["--positions", "20000"], standalone_mode=False)
    assert done.return_value == 0
    assert done.stdout.count("right") == 5
    monkeypatch.setattr(large, "repeated", lambda positions, channels, seed: np.ones((positions, channels), np.float32))
    monkeypatch.setattr(large.ops, "avg_pool", lambda x, size: ops.max_pool(cn.Ragged(2 * x.values, x.layout), size))
    done = CliRunner().invoke(large.main, ["--positions", "20000"], standalone_mode=False)
    assert done.return_value == 1
    assert done.stdout.count("WRONG") == 1


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
