"""The errors convnd raises. Each is also the built-in error that a caller would expect.

A message names the argument or the sample, what was received, and the rule.
"""


class ConvndError(Exception):
    """Base of every error convnd raises on purpose."""


class ArgumentError(ConvndError, ValueError):
    """An argument has a value outside its rule."""


class ShapeError(ConvndError, ValueError):
    """Shapes, sizes or channels that don't fit together."""


class DtypeError(ConvndError, TypeError):
    """A dtype that isn't float32 or float64, or operands of mixed dtype."""


class DataError(ConvndError, ValueError):
    """A data file, or a sample in it, that is foreign, truncated, damaged or out of range."""


class TrainingError(ConvndError, RuntimeError):
    """A training run that can't go on: a loss that isn't finite, a run folder of another model."""
