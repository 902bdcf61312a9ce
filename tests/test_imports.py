"""Who may import whom, read from the sources; and what `import convnd` costs and offers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import convnd

SOURCE = Path(convnd.__file__).parent

# docs/architecture.md: what each part may import of convnd, at any level of its code.
BASE = {"errors", "layout"}
CORE = BASE | {"window", "axes", "reference", "kernels", "tensor", "random"}
DATA = {"errors", "layout", "data"}
NETWORKS = CORE | {"ops", "nn", "loss"}
TRAIN = NETWORKS | DATA | {"optim", "models", "checkpoint", "metrics", "plots", "train", "features"}
ALLOWED = {
    "errors": set(),
    "layout": {"errors"},
    "window": BASE,
    "axes": BASE | {"window"},
    "reference": BASE | {"window", "reference"},
    "random": {"errors"},
    "kernels": BASE | {"window", "axes", "reference", "kernels", "_core"},
    "tensor": CORE - {"random"},
    "ops": CORE | {"ops"},
    "nn": CORE | {"ops", "nn"},
    "analysis": CORE | {"ops", "nn", "analysis"},
    "loss": CORE | {"ops"},
    "optim": {"errors", "kernels", "optim"},
    "models": NETWORKS | {"models"},
    "data": DATA,
    "features": BASE | {"features"},
    "metrics": BASE,
    "plots": {"errors"},
    "checkpoint": TRAIN,
    "train": TRAIN,
    "testing": CORE | {"ops"},
    "cli": TRAIN | {"cli", "testing", "convnd"},  # the last in line may take the package as its users do
    "bench": NETWORKS | {"bench", "models", "optim", "plots", "cli"},  # a command; cli loads it by name
    "__main__": {"cli"},
}


def part_of(path):
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of_convnd(path):
    """The parts of convnd that a file imports, wherever in it, by absolute or relative name."""
    package = ["convnd", *path.relative_to(SOURCE).parent.parts]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        own = [name.split(".") for name in names if name.split(".")[0] == "convnd"]
        found |= {(".".join(parts[1:]) or "convnd", node.lineno) for parts in own}
    return found


FILES = sorted(path for path in SOURCE.rglob("*.py") if part_of(path) not in ("__init__", "_core"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    part = part_of(path)
    assert part in ALLOWED, f"{part} has no place in the picture: give it one in docs/architecture.md and here"
    for name, line in imports_of_convnd(path):
        target = convnd._NAMES.get(name, name.split(".")[0])  # a name of the package is where it comes from
        if target == "__version__":
            continue
        assert target in ALLOWED[part], f"{path.relative_to(SOURCE)}:{line}: {part} must not import {target}"


def test_the_picture_has_no_cycle():
    done = set()
    left = {part: allowed - {part} for part, allowed in ALLOWED.items() if part not in ("checkpoint", "train")}
    for _ in range(len(ALLOWED)):
        ready = {part for part, allowed in left.items() if not allowed & (left.keys() - done)}
        done |= ready
    assert done == left.keys()


def test_only_kernels_imports_the_core():
    importers = {
        part_of(path) for path in FILES for name, _ in imports_of_convnd(path) if name.split(".")[0] == "_core"
    }
    assert importers <= {"kernels"}


def test_the_test_reads_every_form_of_import(tmp_path, monkeypatch):
    source = tmp_path / "nn" / "layer.py"
    source.parent.mkdir()
    source.write_text(
        "import convnd.loss\nfrom .. import ops\nfrom ..tensor import Tensor\nfrom . import conv\n"
        "from .conv import Conv\ndef late():\n    from convnd import train\n    import convnd\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "SOURCE", tmp_path)
    found = {name.split(".")[0] for name, _ in imports_of_convnd(source)}
    assert found == {"loss", "ops", "tensor", "nn", "train", "convnd"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_loads_nothing_heavy():
    loaded = "print([m for m in ('numpy', 'h5py', 'click', 'matplotlib', 'scipy', 'torch') if m in sys.modules])"
    assert run(f"import sys, convnd; {loaded}") == "[]"
    assert run(f"import sys, convnd.nn, convnd.loss, convnd.optim; {loaded}") == "['numpy']"


@pytest.mark.parametrize("name", convnd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(convnd, name) is not None
    assert name in dir(convnd)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'conv3d'"):
        convnd.conv3d  # noqa: B018


def test_typed():
    assert (SOURCE / "py.typed").exists()
