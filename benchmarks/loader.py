"""How fast a data file is streamed, and in how much memory.

    python benchmarks/loader.py throughput
    python benchmarks/loader.py throughput --compress lzf
    python benchmarks/loader.py memory --size 4

``throughput`` writes files of about 200 MB, of audio (int16) and of volumes (float32) in several sizes of samples, and
reads each in turn: by bare h5py from start to end, in slices as large as a batch; by the loader in batches, which end
as float32, shuffled by blocks (as files of 1 GiB and more are, if their samples are small), by samples, and in the
file's order. Rates are of stored values; all files are in the system's cache. The best of some rounds counts for each,
and the ratio is to bare h5py.

``memory`` (Linux) writes a file of ``--size`` GB, reads an epoch of shuffled batches in a process whose memory is
limited (RLIMIT_DATA: all that a process may write to and that is its own), and prints the most it used.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
from numpy.typing import NDArray

from convnd import data
from convnd.cli.options import table
from convnd.data.filters import NAMES

MB, GB = 10**6, 10**9
NOISE = 4_000_000  # random numbers that samples are cut from
BATCH = 32  # samples of mean size in a batch


@dataclass(frozen=True)
class Case:
    """Samples of one kind; every axis varies by ``spread`` around ``size``."""

    name: str
    size: tuple[int, ...]
    dtype: str
    spread: float
    scale: float | None = None


CASES = (
    Case("audio, 1 s at 16 kHz", (16_000,), "int16", 0.7, 1 / 32768),
    Case("audio, 5 s at 16 kHz", (80_000,), "int16", 0.7, 1 / 32768),
    Case("audio, 30 s at 16 kHz", (480_000,), "int16", 0.7, 1 / 32768),
    Case("volumes of 40 voxels a side", (40, 40, 40), "float32", 0.4),
    Case("volumes of 100 voxels a side", (100, 100, 100), "float32", 0.4),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure the loader."""


@main.command()
@click.option("--size", default=200, show_default=True, metavar="MB", help="Of each file, uncompressed.")
@click.option("--compress", type=click.Choice(NAMES), help="As of convnd.data.create.")
@click.option("--rounds", default=7, show_default=True, metavar="N")
@click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads that read ahead.")
def throughput(size: int, compress: str | None, rounds: int, workers: int | None) -> None:
    """The loader beside a bare contiguous read."""
    rows = [["samples", "mean KB", "chunk KB", "bare MB/s", "by blocks", "ratio", "by samples", "ratio", "in order",
                 "ratio"]]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            path = Path(folder) / "data.h5"
            write(path, case, size * MB, compress)
            rows.append(measure(path, case, rounds, workers))
    click.echo(table(rows))


@main.command()
@click.option("--size", default=4.0, show_default=True, metavar="GB", help="Of the file. Writing takes twice that.")
@click.option("--limit", default=256, show_default=True, metavar="MB", help="Of the reading process.")
@click.option("--positions", default=2_000_000, show_default=True, metavar="N", help="In a batch.")
@click.option("--folder", type=click.Path(exists=True, file_okay=False), help="Where there is room for it.")
def memory(size: float, limit: int, positions: int, folder: str | None) -> None:
    """An epoch of a large file in little memory."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "large.h5"
        write(path, CASES[1], int(size * GB), None)
        command = [sys.executable, __file__, "epoch", str(path), str(limit), str(positions)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr)
    found = json.loads(done.stdout)
    stored, seconds = found["bytes"], found["seconds"]
    click.echo(
        f"{stored / GB:.2f} GB in {found['batches']} batches of at most {positions:,} positions: {seconds:.1f} s, "
        f"{stored / seconds / MB:.0f} MB/s, at most {found['peak'] / MB:.0f} MB resident "
        f"({found['before'] / MB:.0f} MB before), with a limit of {limit} MB"
    )


@main.command(hidden=True)
@click.argument("path")
@click.argument("limit", type=int)
@click.argument("positions", type=int)
def epoch(path: str, limit: int, positions: int) -> None:
    """What ``memory`` runs in a process of its own."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit * MB, limit * MB))
    before, began, total, count = peak(), time.perf_counter(), 0, 0
    with data.open(path) as file:
        split = file["train"]
        for batch in split.batches(positions=positions, seed=0):
            total, count = total + batch.x.layout.positions, count + 1
        assert total == split.layout.positions
        stored = total * np.dtype(file.info.dtype).itemsize
    seconds = time.perf_counter() - began
    click.echo(json.dumps(
        {"bytes": stored, "batches": count, "seconds": seconds, "before": before, "peak": peak()}
    ))  # fmt: skip


def peak() -> int:
    """The most bytes that this process has had resident."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:", 1)[1].split(None, 1)[0]) * 1024


def write(path: Path, case: Case, size: int, compress: str | None) -> None:
    """A file of about ``size`` bytes of samples."""
    ndim = len(case.size)
    with data.create(
        path, ndim=ndim, channels=1, dtype=case.dtype, target=None, scale=case.scale, compress=compress
    ) as writer:
        for values in samples(case, size):
            writer.append(values)


def samples(case: Case, size: int) -> Iterator[NDArray[Any]]:
    """Random walks, rounded: they compress about as recordings do."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.integers(-40, 41, NOISE))
    noise = (walk - walk.mean()).clip(-30_000, 30_000).astype(case.dtype)
    while size > 0:
        factors = rng.uniform(1 - case.spread, 1 + case.spread, len(case.size))
        shape = tuple((np.array(case.size) * factors).astype(int).tolist())
        count = int(np.prod(shape))
        start = int(rng.integers(0, NOISE - count))
        yield noise[start : start + count].reshape(*shape, 1)
        size -= count * noise.itemsize


def measure(path: Path, case: Case, rounds: int, workers: int | None) -> list[str]:
    """One row of the table."""
    with data.open(path) as file, h5py.File(path) as root:
        split, dataset = file["train"], root["values"]
        positions = max(int(split.layout.sizes.max()), BATCH * split.layout.positions // len(split))

        def bare(_: int) -> None:
            for start in range(0, len(dataset), positions):
                dataset[start : start + positions]

        def loader(number: int, shuffle: bool | str) -> None:
            batches = split.batches(positions=positions, epoch=number, shuffle=shuffle, workers=workers)
            for _ in batches:
                pass

        ways: list[bool | str] = ["blocks", "samples", False]
        runs: list[Callable[[int], None]] = [bare, *(partial(loader, shuffle=way) for way in ways)]
        best = [min(times) for times in zip(*([clock(run, n) for run in runs] for n in range(rounds)), strict=True)]
        size = dataset.size * dataset.dtype.itemsize
        chunk = dataset.chunks[0] * dataset.dtype.itemsize
        rates = [size / seconds / MB for seconds in best]
    return [
        case.name, f"{size / len(split) / 1e3:.0f}", f"{chunk / 1024:.0f}", f"{rates[0]:.0f}",
        *(text for rate in rates[1:] for text in (f"{rate:.0f}", f"{rate / rates[0]:.2f}")),
    ]  # fmt: skip


def clock(run: Callable[[int], None], number: int) -> float:
    """Seconds of one run."""
    began = time.perf_counter()
    run(number)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
