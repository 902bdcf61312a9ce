"""Initial values of parameters, by name.

With n_in the terms of one output's sum and n_out the outputs that one input reaches:

=================  =========================================================================================
he_normal          N(0, 2 / n_in). He, Zhang, Ren & Sun, "Delving Deep into Rectifiers", ICCV 2015, eq. 10
he_uniform         U(-b, b), b = sqrt(6 / n_in): the same variance
glorot_normal      N(0, 2 / (n_in + n_out)). Glorot & Bengio, "Understanding the difficulty of training deep
                   feedforward neural networks", AISTATS 2010, eq. 12
glorot_uniform     U(-b, b), b = sqrt(6 / (n_in + n_out)): ibid., eq. 16
lecun_normal       N(0, 1 / n_in). LeCun, Bottou, Orr & Müller, "Efficient BackProp", 1998, section 4.6
lecun_uniform      U(-b, b), b = sqrt(3 / n_in): the same variance
orthogonal         orthonormal columns (rows where there are fewer), of (terms, outputs). Saxe, McClelland & Ganguli,
                   "Exact solutions to the nonlinear dynamics of learning in deep linear networks", ICLR 2014
zeros, ones        0, 1
a number           that constant
=================  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..random import Key

Initial = str | float
Values = NDArray[np.float64]
Rule = Callable[[np.random.Generator, tuple[int, ...], int, int], Values]


def _normal(variance: Callable[[int, int], float]) -> Rule:
    return lambda rng, shape, n_in, n_out: rng.standard_normal(shape) * np.sqrt(variance(n_in, n_out))


def _uniform(variance: Callable[[int, int], float]) -> Rule:
    def rule(rng: np.random.Generator, shape: tuple[int, ...], n_in: int, n_out: int) -> Values:
        bound = np.sqrt(3 * variance(n_in, n_out))
        return rng.uniform(-bound, bound, shape)

    return rule


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...], n_in: int, n_out: int) -> Values:
    outputs = shape[-1]
    terms = int(np.prod(shape[:-1]))
    tall = rng.standard_normal((max(terms, outputs), min(terms, outputs)))
    q, r = np.linalg.qr(tall)
    # The signs of R's diagonal make Q uniform over the orthogonal group (Mezzadri, 2007).
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.ascontiguousarray(q if terms >= outputs else q.T).reshape(shape)


def _he(n_in: int, n_out: int) -> float:
    return 2 / n_in


def _glorot(n_in: int, n_out: int) -> float:
    return 2 / (n_in + n_out)


def _lecun(n_in: int, n_out: int) -> float:
    return 1 / n_in


RULES: dict[str, Rule] = {
    "he_normal": _normal(_he),
    "he_uniform": _uniform(_he),
    "glorot_normal": _normal(_glorot),
    "glorot_uniform": _uniform(_glorot),
    "lecun_normal": _normal(_lecun),
    "lecun_uniform": _uniform(_lecun),
    "orthogonal": _orthogonal,
    "zeros": lambda rng, shape, n_in, n_out: np.zeros(shape),
    "ones": lambda rng, shape, n_in, n_out: np.ones(shape),
}


def initial(init: Any, name: str = "init") -> Initial:
    """``init`` if it names a rule or is a finite number."""
    if isinstance(init, str) and init in RULES:
        return init
    if isinstance(init, (int, float, np.number)) and not isinstance(init, bool) and np.isfinite(init):
        return float(init)
    raise ArgumentError(f"{name} must be a number or one of {', '.join(RULES)}. Received: {name}={init!r}")


def draw(init: Initial, shape: tuple[int, ...], fans: tuple[int, int], seed: int, path: str) -> Values:
    """Initial values in float64, a function of (seed, path) alone.

    Parameters
    ----------
    init : str or float
        A name of the table above, or a constant.
    shape : tuple of ints
        Of the result; its last axis counts outputs.
    fans : (int, int)
        n_in and n_out.
    seed : int
    path : str
        Of the parameter in its network.

    Examples
    --------
    >>> a = draw("he_normal", (3, 2, 4), (6, 12), seed=0, path="conv1.weight")
    >>> bool((a == draw("he_normal", (3, 2, 4), (6, 12), seed=0, path="conv1.weight")).all())
    True
    >>> draw(0.5, (2,), (1, 1), seed=0, path="conv1.bias")
    array([0.5, 0.5])
    """
    if not isinstance(init, str):
        return np.full(shape, init, dtype=np.float64)
    return RULES[init](Key(seed).fold(path).generator(), shape, *fans)
