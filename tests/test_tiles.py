"""The tiles by themselves, in C: every tile of an instruction set against plain loops (tests/tiles/).

One source serves all instruction sets, so a machine tests its own, and NEON too where it has a cross compiler and qemu.
The tiles are compiled as their CMakeLists.txt says, only with less optimisation. CONVND_ISA, CC and CFLAGS are heeded
(say -fsanitize=address,undefined).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from convnd._core import isa

ROOT = Path(__file__).parent.parent
CMAKE = (ROOT / "src/_core/tile/CMakeLists.txt").read_text()
FAMILIES = re.search(r"set\(TILE_FAMILIES (.*)\)", CMAKE)[1].split()
OPTIONS = shlex.split(re.search(r"PRIVATE (-ffp-contract.*) \$\{ARGN\}\)", CMAKE)[1])
LEVELS = {level: (size, flags.split()) for level, size, flags in re.findall(r"add_tiles\((\w+) (\d+) ?(.*)\)", CMAKE)}


def build(folder: Path, compiler: list[str], level: str, link: list[str]) -> Path:
    """The program that checks the tiles of a level, its parts compiled side by side."""
    size, flags = LEVELS[level]
    checked = [family for family in FAMILIES if family != "table"]
    common = [*compiler, "-std=c11", "-Wall", "-Wextra", "-I", str(ROOT / "src/_core/tile"), "-c"]
    define = [f"-DCONVND_LEVEL={level}", f"-DCONVND_VECTOR={size}"]
    jobs = [
        [*common, "-O1", *define, f'-DFAMILY="{family}.h"', *OPTIONS, *flags, str(ROOT / "src/_core/tile/tile.c")]
        for family in FAMILIES
    ]
    names = "".join(f"F({family})" for family in checked)
    jobs += [
        [*common, "-O1", f"-DLEVEL={level}", f"-DFAMILIES={names}", str(ROOT / f"tests/tiles/{name}.c")]
        for name in ["main", *checked]
    ]
    objects = [folder / f"{number}.o" for number in range(len(jobs))]

    def run(command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, ([*job, "-o", str(path)] for job, path in zip(jobs, objects, strict=True))))
    program = folder / f"tiles-{level}"
    run([*compiler, *link, *map(str, objects), "-lm", "-o", str(program)])
    return program


def check(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    tested = {line.split()[0] for line in done.stdout.splitlines()}
    assert tested == set(FAMILIES) - {"table"}


def test_tiles_of_this_machine(tmp_path):
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no C compiler {compiler[0]}")
    level = {"x86-64": "baseline", "x86-64-v3": "v3", "x86-64-v4": "v4"}.get(isa.current(), isa.current())
    flags = shlex.split(os.environ.get("CFLAGS", ""))
    check([str(build(tmp_path, [*compiler, *flags], level, []))])


def test_tiles_for_neon(tmp_path):
    compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} (CONTRIBUTING.md names the packages)")
    check([emulator, str(build(tmp_path, [compiler], "neon", ["-static"]))])
