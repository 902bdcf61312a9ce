"""The named networks: what their sources fix, every rank and size, and networks from files."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convnd import Ragged, models, nn
from convnd.errors import ArgumentError

SMALL: dict[str, dict[str, Any]] = {
    "allconv": {"width": 2},
    "lenet": {"bins": 2},
    "resnet": {"width": 2, "blocks": 2},
    "sentence": {"rows": 9, "features": 3, "width": 2, "kernels": [1, 3], "bins": 2},
    "small": {"width": 2, "bins": 2},
    "unet": {"width": 2, "depth": 2},
    "wave": {"width": 2, "first_kernel": 5, "first_stride": 2},
}


def test_names() -> None:
    assert models.names() == sorted(SMALL)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("name", SMALL)
def test_every_model_takes_every_rank_and_size(name: str, ndim: int) -> None:
    words = name == "sentence"
    net = models.get(name, classes=3, **SMALL[name]).build(ndim, 1 if words else 2)
    rng = np.random.default_rng(0)
    shapes = [(1,) * ndim, (5, 4, 3)[:ndim], (2, 7, 6)[:ndim]]
    draw = (lambda shape: rng.integers(0, 9, (*shape, 1))) if words else lambda shape: rng.standard_normal((*shape, 2))
    x = Ragged.pack([draw(shape).astype(np.float32) for shape in shapes])
    result = net(x)
    assert result.layout.shapes.tolist() == [list(shape) if name == "unet" else [] for shape in shapes]
    assert result.values.shape[1] == 3
    assert np.isfinite(result.values).all()


@pytest.mark.parametrize("name", SMALL)
def test_models_are_data(name: str) -> None:
    net = models.get(name, classes=3, **SMALL[name])
    assert repr(nn.from_config(json.loads(json.dumps(net.config())))) == repr(net)


@pytest.mark.parametrize("name", SMALL)
def test_models_cite_their_source_and_describe_their_options(name: str) -> None:
    model = getattr(models, name)
    text = inspect.getdoc(model) or ""
    assert any(year in text for year in ("1998", "2014", "2015", "2016", "2017"))
    assert all(option in text for option in inspect.signature(model).parameters)


def _count(name: str, shape: tuple[int, ...], **options: Any) -> int:
    return nn.summary(models.get(name, **options), shape).parameters


def test_sizes_that_the_papers_state() -> None:
    # He et al. 2016, table 6: 0.27 M for ResNet-20, 0.85 M for ResNet-56.
    assert int(_count("resnet", (32, 32, 3), classes=10) / 1e4) == 27
    assert int(_count("resnet", (32, 32, 3), classes=10, blocks=9) / 1e4) == 85
    # Springenberg et al. 2015, table 4: about 1.4 M for All-CNN-C.
    assert round(_count("allconv", (32, 32, 3), classes=10) / 1e5) == 14
    # Dai et al. 2017, table 1: 0.5 M for M5.
    assert int(_count("wave", (32000, 1), classes=10, width=128) / 1e5) == 5
    # Ronneberger et al. 2015, the network of figure 1: 31 M.
    assert round(_count("unet", (64, 64, 1), classes=2, width=64, depth=4) / 1e6) == 31


def test_sentences_are_pooled_in_proportion() -> None:
    """Twice the text, each word twice: the means of words alone stay, whatever the length."""
    net = models.sentence(3, rows=9, features=4, width=2, kernels=(), bins=2).build(1, 1)
    once = np.array([[4, 1, 7, 2]], np.float32)[..., None]
    assert not net(once).any()  # Words mean nothing before they are learned.
    table = net.named_parameters()["words.table"]
    table.assign(np.random.default_rng(0).standard_normal(table.values.shape).astype(np.float32))
    assert net(once).all()
    np.testing.assert_allclose(net(np.repeat(once, 2, axis=1)), net(once), rtol=1e-5)
    # Max over time, as in the source: words that don't stand out don't count.
    net = models.sentence(3, rows=9, features=4, width=2, kernels=(1,), mode="max").build(1, 1)
    np.testing.assert_allclose(net(np.repeat(once, 3, axis=1)), net(once), rtol=1e-5)


def test_registry_errors() -> None:
    with pytest.raises(ArgumentError, match=r"kernels must differ. Received: kernels=\(2, 2\)"):
        models.sentence(2, kernels=(2, 2))
    with pytest.raises(ArgumentError, match=r"kernels must be an int of at least 1. Received: kernels=0"):
        models.get("sentence", classes=2, kernels=[0])
    with pytest.raises(ArgumentError, match=r"model must be one of allconv, lenet, .* Received: 'vgg'"):
        models.get("vgg", classes=2)
    with pytest.raises(ArgumentError, match=r"model 'unet' has the options classes, width, depth. Received: 'bins'"):
        models.get("unet", classes=2, bins=3)
    with pytest.raises(ArgumentError, match=r"blocks must be an int of at least 1. Received: blocks=0"):
        models.get("resnet", classes=2, blocks=0)
    with pytest.raises(ArgumentError, match=r"depth must be an int of at least 1. Received: depth=0"):
        models.get("unet", classes=2, depth=0)
    with pytest.raises(ArgumentError, match="blocks must be an int of at least 1"):
        models.get("resnet", classes=2, blocks="two")


NET = """
type = "Sequential"

[[layers]]
type = "Conv"
filters = 8
kernel = [3, 5]
padding = "same"

[[layers]]
type = "Graph"
output = "sum"
nodes = [
    { name = "a", type = "Conv", filters = 8, kernel = 1 },
    { name = "sum", type = "Add", inputs = ["a", "input"] },
]

[[layers]]
type = "GlobalPool"
"""


def test_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_text(NET)
    net = models.from_toml(path)
    assert repr(net) == (
        "Sequential(Conv(8, (3, 5), padding='same'), "
        "Graph({'a': Conv(8, 1), 'sum': Node(Add(), 'a', 'input')}), GlobalPool())"
    )
    assert net.build(2, 1)(np.zeros((1, 4, 4, 1), np.float32)).shape == (1, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type = "Sequential', "isn't TOML"),
        (NET.replace("filters = 8\n", "filter = 8\n"), r"layers\[0\]: Conv has the arguments .* Received: 'filter'"),
        (NET.replace('"a", "input"', '"b", "input"'), r"layers\[1\]: node 'sum': its inputs are among input, a, sum. "),
        ("filters = 8", 'must be a table with a "type"'),
        ("\xff", "isn't TOML"),
    ],
)
def test_from_toml_errors_name_the_file_and_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "net.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ArgumentError, match=rf"net.toml: .*{message}"):
        models.from_toml(path)


def test_from_toml_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"none.toml: can't be read: No such file"):
        models.from_toml(tmp_path / "none.toml")
