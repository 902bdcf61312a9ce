"""Keys: what is drawn depends on names, never on order."""

import itertools
import pickle

import numpy as np
import pytest

from convnd.errors import ArgumentError, ShapeError
from convnd.random import Key, mix


def test_the_bits_of_a_key_are_fixed():
    """A stored run must draw the same with every later version: these figures may never change."""
    key = Key(7, step=3, samples=[5, 6]).fold("layer").fold(2)
    assert f"{key.state:016x}" == "bfd78ec3b1c96319"
    assert [f"{k:016x}" for k in key.per_sample(2).tolist()] == ["c9562f08169202d4", "c2878f6a87fa3624"]


def test_mixing_is_splitmix64():
    """The first numbers of the published generator from seed 0, whose state grows by the golden ratio."""
    golden = 0x9E3779B97F4A7C15
    found = [mix((number * golden) & (2**64 - 1), 0) for number in range(3)]
    assert found == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_places_that_differ_have_keys_that_differ():
    keys = [Key(seed, step).fold(a).fold(b) for seed, step in itertools.product(range(4), range(4)) for a, b in
            itertools.product((0, 1, "0", "1", "a", ""), repeat=2)]  # fmt: skip
    assert len({key.state for key in keys}) == len(keys)
    assert Key(2**64).state != Key(0).state
    assert Key(-1).state != Key(1).state


def test_a_sample_is_known_by_its_number_in_any_batch():
    whole = Key(1, samples=[4, 8, 2]).per_sample(3)
    part = Key(1, samples=[2, 4]).per_sample(2)
    assert (part[0], part[1]) == (whole[2], whole[0])
    assert Key(1).per_sample(3).tolist() == Key(1, samples=[0, 1, 2]).per_sample(3).tolist()
    assert Key(1, samples=[4, 8, 2]).per_sample(3).dtype == np.uint64


def test_bits_of_neighbours_look_independent():
    keys = Key(0).per_sample(4096)
    bits = np.unpackbits(keys.view(np.uint8)).reshape(4096, 64)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(4096)
    flips = (bits[1:] != bits[:-1]).mean(axis=0)
    assert np.abs(flips - 0.5).max() < 5 * 0.5 / np.sqrt(4095)


def test_generators_repeat_and_differ():
    assert Key(3).generator().random(4).tolist() == Key(3).generator().random(4).tolist()
    assert Key(3).generator().random() != Key(3).fold(0).generator().random()


def test_keys_are_values():
    key = Key(1, samples=[3, 4])
    assert pickle.loads(pickle.dumps(key)) == key
    assert len({key, Key(1, samples=[3, 4]), Key(1)}) == 2
    with pytest.raises(AttributeError, match="can't be changed"):
        key.state = 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Key("a"), ArgumentError, "seed must be an int"),
        (lambda: Key(0, 1.5), ArgumentError, "step must be an int"),
        (lambda: Key(0, samples=[0.5]), ArgumentError, "vector of ints"),
        (lambda: Key(0).fold(1.5), ArgumentError, "an int or a str"),
        (lambda: Key(0, samples=[1]).per_sample(2), ShapeError, "knows 1 samples, but the batch has 2"),
    ],
)
def test_errors_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
