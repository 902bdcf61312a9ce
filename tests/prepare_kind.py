"""A kind of data for tests of the pipeline: a file's text says what reading it does. Workers import it by name."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

from convnd.data.prepare.kind import Entry, Fault, Kind, Loaded, Look, Plan, by_value
from convnd.data.sources import need

READ = []  # Paths that were loaded in this process.


class Odd(Exception):
    """An error that doesn't survive a pickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def act(path):
    word, _, rest = path.read_text().partition(" ")
    if word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "exit":
        os._exit(3)
    if word == "raise":
        raise KeyError("a key")
    if word == "odd":
        raise Odd("an odd", "error")
    if word == "memory":
        raise MemoryError
    if word == "missing":
        need("a_package_that_is_not_there", "extra")
    if word == "print":
        print("printed", flush=True)
        print("printed too", file=sys.stderr, flush=True)
    if word == "slow":
        time.sleep(0.2)
    return word, rest


def look(path, options):
    text = path.read_text()
    if text.startswith("look "):
        act(path.with_name(text.split()[1]))
    if text.startswith("many"):
        return Look({}, tuple(Entry(str(number), label=label) for number, label in enumerate(text.split()[1:])))
    return Look({"size": len(text)})


def plan(looks, options):
    refused = {look.name: "not this one" for look in looks if "refused" in look.name}
    return Plan(recipe={"times": options.get("times", 1)}, ndim=1, channels=1, dtype="int16", refused=refused)


def load(path, recipe):
    READ.append(path.name)
    word, rest = act(path)
    if word == "many":
        for number, label in enumerate(rest.split()):
            if label == "break":
                raise ValueError("it broke")
            made = Loaded(np.full((number + 1, 1), number, "int16"), key=str(number))
            yield Fault("a bad one") if label == "bad" else made
        return
    count = int(rest) if rest.isdigit() else 5
    yield Loaded((np.arange(count, dtype="int16") % 100)[:, None] * recipe["times"])


def look_folder(path, options):
    return Look({})


def load_folder(path, recipe):
    yield Loaded(np.zeros((len(list(path.iterdir())) if path.is_dir() else 1, 1), "int16"))


def load_labels(path, recipe, loaded):
    return by_value([int(number) for number in path.read_text().split()], None)


KIND = Kind(
    "fake", (".fake",), look, plan, load, load_labels, label_suffixes=(".labels",), labelled=(".many.fake",)
)
