"""Optimisers against PyTorch's, schedules against PyTorch's and their formulas, state to the bit."""

import json
import math

import numpy as np
import pytest

from convnd import optim
from convnd.errors import ArgumentError, ShapeError
from convnd.tensor import Tensor

OPTIMISERS = {
    "sgd": (optim.SGD, "SGD", {"lr": 0.1}),
    "momentum": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    "nesterov": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True}),
    "adam": (optim.Adam, "Adam", {"lr": 0.02}),
    "adam with decay": (optim.Adam, "Adam", {"lr": 0.02, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-5}),
    "adamw": (optim.AdamW, "AdamW", {"lr": 0.02, "weight_decay": 0.1}),
}
every = pytest.mark.parametrize("name", OPTIMISERS)


def parameters(rng, dtype=np.float64):
    return [Tensor.parameter(rng.standard_normal(shape).astype(dtype)) for shape in ((3, 2), (4,))]


@every
def test_steps_are_pytorchs(rng, name):
    torch = pytest.importorskip("torch")
    kind, theirs, options = OPTIMISERS[name]
    own = parameters(rng)
    other = [torch.nn.Parameter(torch.from_numpy(p.values.copy())) for p in own]
    a, b = kind(own, **options), getattr(torch.optim, theirs)(other, **options)
    for step in range(7):
        for p, q in zip(own, other, strict=True):
            p.grad = rng.standard_normal(p.values.shape) * 10.0 ** (step - 3)
            q.grad = torch.from_numpy(p.grad.copy())
        a.lr = b.param_groups[0]["lr"] = options["lr"] / (step + 1)
        a.step()
        b.step()
        for p, q in zip(own, other, strict=True):
            np.testing.assert_allclose(p.values, q.detach().numpy(), rtol=1e-12, atol=1e-14)


@every
def test_a_loaded_state_continues_to_the_same_bits(rng, name):
    kind, _, options = OPTIMISERS[name]
    grads = [[rng.standard_normal(s).astype(np.float32) for s in ((3, 2), (4,))] for _ in range(6)]
    start = parameters(rng, np.float32)

    def run(own, optimiser, steps):
        for step in steps:
            optimiser.lr = 0.1 / (step + 1)
            for p, grad in zip(own, grads[step], strict=True):
                p.grad = grad.copy()
            optimiser.step()

    whole = [Tensor.parameter(p.values) for p in start]
    run(whole, kind(whole, **options), range(6))
    first = [Tensor.parameter(p.values) for p in start]
    before = kind(first, **options)
    run(first, before, range(3))
    state = before.state()
    second = [Tensor.parameter(p.values) for p in first]
    after = kind(second, **options)
    after.load_state(state)
    run(first, before, range(3, 6))  # neither the old optimiser nor the new one may touch the state
    assert after.lr == 0.1 / 3
    run(second, after, range(3, 6))
    for p, q in zip(whole, second, strict=True):
        assert p.values.dtype == np.float32
        assert p.values.tobytes() == q.values.tobytes()


def test_a_step_is_in_place_and_is_said(rng):
    p = Tensor.parameter(np.ones(2))
    values, p.packs["kept"], p.grad = p.values, 1, np.ones(2)
    optim.SGD([p], 0.5).step()
    assert p.values is values
    assert (values.tolist(), p.version, p.packs) == ([0.5, 0.5], 1, {})
    assert p.grad.tolist() == [1.0, 1.0]


@every
def test_a_step_leaves_gradients_and_frozen_parameters_alone(rng, name):
    kind, _, options = OPTIMISERS[name]
    own = [*parameters(rng), Tensor.parameter(np.ones(2), requires_grad=False), Tensor.parameter(np.ones(2))]
    for p in own[:3]:
        p.grad = np.full(p.values.shape, 2.0)
    kept = [p.values.copy() for p in own]
    optimiser = kind(own, **options)
    optimiser.step()
    assert all((p.grad == 2.0).all() for p in own[:3])
    changed = [not np.array_equal(p.values, before) for p, before in zip(own, kept, strict=True)]
    assert changed == [True, True, False, False]
    optimiser.zero_grad()
    assert all(p.grad is None for p in own)


def test_a_parameter_that_thaws_late_starts_as_a_fresh_one():
    early, late = Tensor.parameter(np.ones(1)), Tensor.parameter(np.ones(1))
    optimiser = optim.Adam([early, late], lr=0.1)
    for _ in range(50):
        early.grad = np.ones(1)
        optimiser.step()
    late.grad = np.array([3.0])
    optimiser.step()
    np.testing.assert_allclose(late.values, 0.9, rtol=1e-6)


def test_a_numpy_rate_does_not_change_the_bits():
    results = []
    for lr in (0.1, np.float64(0.1)):
        p = Tensor.parameter(np.ones(3, np.float32) / 3)
        p.grad = np.ones(3, np.float32) / 7
        optimiser = optim.AdamW([p])
        optimiser.lr = lr
        optimiser.step()
        results.append(p.values.tobytes())
    assert results[0] == results[1]


def test_gradients_accumulate_over_batches():
    p = Tensor.parameter(np.zeros(2))
    optimiser = optim.SGD([p], lr=1.0)
    for scale in (1.0, 2.0, 3.0):
        (p * scale).backward(np.ones(2))
    optimiser.step()
    assert p.values.tolist() == [-6.0, -6.0]


def test_clipping_is_by_the_global_norm(rng):
    own = [*parameters(rng), Tensor.parameter(np.ones(2), requires_grad=False)]
    for p in own:
        p.grad = rng.standard_normal(p.values.shape)
    kept = [p.grad.copy() for p in own]
    norm = math.sqrt(sum(float((g**2).sum()) for g in kept[:2]))
    assert optim.clip_grad_norm(own, 2 * norm) == pytest.approx(norm, rel=1e-14)
    assert all(np.array_equal(p.grad, g) for p, g in zip(own, kept, strict=True))
    assert optim.clip_grad_norm(own, norm / 4) == pytest.approx(norm, rel=1e-14)
    for p, g in zip(own[:2], kept, strict=False):
        np.testing.assert_allclose(p.grad, g / 4, rtol=1e-12)
    assert np.array_equal(own[2].grad, kept[2])


def test_clipping_leaves_an_endless_gradient_to_the_caller():
    p = Tensor.parameter(np.zeros(2))
    p.grad = np.array([1.0, np.inf])
    assert optim.clip_grad_norm([p], 1.0) == math.inf
    assert p.grad[0] == 1.0


# Schedules

CONFIGS = [
    {"name": "constant", "lr": 0.1},
    {"name": "step_decay", "lr": 0.1, "every": 3, "factor": 0.5},
    {"name": "cosine", "lr": 0.1, "steps": 20, "warmup": 5, "final": 0.001},
    {"name": "one_cycle", "lr": 0.1, "steps": 20, "rise": 0.25, "start": 0.1, "final": 0.01},
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c["name"])
def test_a_schedule_is_data_and_a_pure_function(config):
    rate = optim.schedule(json.loads(json.dumps(config)))
    forward = [rate(step) for step in range(40)]
    assert forward == [rate(step) for step in reversed(range(40))][::-1]
    assert all(0 <= value <= 0.1 * (1 + 1e-12) for value in forward)
    assert max(forward) == pytest.approx(0.1)
    assert config["name"] in optim.SCHEDULES


@pytest.mark.parametrize(
    ("config", "theirs"), [(CONFIGS[1], "StepLR"), (CONFIGS[2], "Cosine"), (CONFIGS[3], "OneCycleLR")]
)
def test_schedules_are_pytorchs(config, theirs):
    torch = pytest.importorskip("torch")
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedulers = torch.optim.lr_scheduler
    offset = 0
    if theirs == "StepLR":
        scheduler = schedulers.StepLR(optimiser, step_size=3, gamma=0.5)
    elif theirs == "Cosine":
        scheduler, offset = schedulers.CosineAnnealingLR(optimiser, T_max=15, eta_min=0.001), 5
    else:
        # PyTorch's last step is its number total_steps - 1, and it counts the rise in steps less one.
        scheduler = schedulers.OneCycleLR(
            optimiser,
            max_lr=0.1,
            total_steps=21,
            pct_start=6 / 21,
            div_factor=10,
            final_div_factor=10,
            cycle_momentum=False,
        )
    rate = optim.schedule(config)
    for step in range(15):
        assert rate(step + offset) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        optimiser.step()
        scheduler.step()


def test_warm_up_rises_linearly_and_the_end_stays():
    rate = optim.schedule(CONFIGS[2])
    np.testing.assert_allclose([rate(step) for step in range(5)], [0.02, 0.04, 0.06, 0.08, 0.1])
    assert rate(20) == rate(1000) == pytest.approx(0.001)


P = Tensor.parameter(np.ones(2))
ERRORS = [
    (lambda: optim.SGD([]), ArgumentError, "at least one parameter.*is the network built"),
    (lambda: optim.SGD([np.ones(2)]), ArgumentError, r"parameters\[0\]"),
    (lambda: optim.SGD([P, P]), ArgumentError, "each parameter once"),
    (lambda: optim.SGD([P], lr=-1), ArgumentError, "lr must be a finite number of at least 0. Received: lr=-1"),
    (lambda: optim.SGD([P], lr=math.nan), ArgumentError, "lr must be"),
    (lambda: setattr(optim.SGD([P]), "lr", math.inf), ArgumentError, "lr must be"),
    (lambda: optim.SGD([P], momentum=1.0), ArgumentError, "momentum must be at least 0 and below 1"),
    (lambda: optim.SGD([P], nesterov=True), ArgumentError, "nesterov needs a momentum"),
    (lambda: optim.Adam([P], betas=(0.9,)), ArgumentError, "betas must be two numbers"),
    (lambda: optim.Adam([P], betas=(0.9, 1.0)), ArgumentError, r"betas\[1\]"),
    (lambda: optim.clip_grad_norm([P], 0), ArgumentError, "limit must be positive"),
    (
        lambda: optim.schedule({"name": "linear", "lr": 1}),
        ArgumentError,
        "one of constant, step_decay, cosine, one_cycle",
    ),
    (lambda: optim.schedule({"name": "cosine", "lr": 1}), ArgumentError, "missing: steps"),
    (lambda: optim.schedule({"name": "constant", "lr": 1, "steps": 3}), ArgumentError, "'constant' takes lr. Received"),
    (lambda: optim.schedule({"name": "constant", "lr": "1"}), ArgumentError, "lr must be a finite number"),
    (lambda: optim.schedule({"name": "step_decay", "lr": 1, "every": 0}), ArgumentError, "every must .* at least 1"),
    (
        lambda: optim.schedule({"name": "one_cycle", "lr": 1, "steps": 9, "rise": 2}),
        ArgumentError,
        "rise must be at most 1",
    ),
]


@pytest.mark.parametrize("case", range(len(ERRORS)), ids=lambda case: ERRORS[case][2][:40])
def test_errors_say_what_is_wrong(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("lr"), ArgumentError, "state must hold 'lr'"),
        (lambda s: s.update(steps=np.zeros(5, int)), ArgumentError, r"'steps' of shape \(2,\)"),
        (lambda s: s.update({"0.square": s["0.momentum"]}), ArgumentError, "SGD with 2 parameters.*'0.square'"),
        (lambda s: s.update({"7.momentum": s["0.momentum"]}), ArgumentError, "'7.momentum'"),
        (lambda s: s.update({"1.momentum": s["0.momentum"]}), ShapeError, r"float64 of shape \(4,\)"),
    ],
)
def test_a_foreign_state_is_refused_and_changes_nothing(rng, change, error, message):
    own = parameters(rng)
    optimiser = optim.SGD(own, lr=0.3, momentum=0.9)
    for p in own:
        p.grad = np.ones(p.values.shape)
    optimiser.step()
    before, state = optimiser.state(), optimiser.state()
    state["lr"] = np.asarray(0.7)
    change(state)
    with pytest.raises(error, match=message):
        optimiser.load_state(state)
    after = optimiser.state()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
