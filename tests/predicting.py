"""Networks drawn at random, for tests of results made tile by tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from convnd import nn

CHANNELS = 4
POINTWISE = (
    lambda: nn.Activation("gelu"), lambda: nn.Activation("softmax"), lambda: nn.BatchNorm(activation="relu"),
    lambda: nn.LayerNorm(), lambda: nn.PReLU(), lambda: nn.Linear(CHANNELS), lambda: nn.ChannelShuffle(2),
    lambda: nn.LocalResponseNorm(3), lambda: nn.Dropout(0.5), lambda: nn.Bias(),
)  # fmt: skip


class Draw:
    """Layers of 4 channels and graphs of them, for one rank."""

    def __init__(self, rng: np.random.Generator, ndim: int) -> None:
        self.rng, self.ndim = rng, ndim

    def graph(self) -> nn.Graph:
        """One to five pieces: layers, skips that are cropped, padded or resized to meet, encoders with decoders."""
        nodes: dict[str, Any] = {}
        names = ["input"]
        for number in range(int(self.rng.integers(1, 6))):
            name = f"n{number}"
            source = names[-1] if self.chance(0.7) else self.one_of(names)
            kind = self.one_of(["layer"] * 5 + ["pointwise", "skip", "skip", "unpool", "mirror"])
            getattr(self, kind)(nodes, name, source, names)
            names.append(name)
        used = {names[-1]}
        for name in reversed(nodes):
            if name in used:
                used.update(nodes[name].feeds)
        return nn.Graph({name: node for name, node in nodes.items() if name in used}, names[-1])

    def layer(self, nodes: dict[str, Any], name: str, source: str, names: list[str]) -> None:
        nodes[name] = nn.Node(self.window_layer(), source)

    def pointwise(self, nodes: dict[str, Any], name: str, source: str, names: list[str]) -> None:
        nodes[name] = nn.Node(self.one_of(POINTWISE)(), source)

    def skip(self, nodes: dict[str, Any], name: str, source: str, names: list[str]) -> None:
        other = self.one_of(names)
        kind = self.one_of([nn.CropLike, nn.PadLike, None])
        fit = nn.Node(kind(), source, other) if kind else nn.Node(self.resize_like(), source, like=other)
        nodes[name + "fit"] = fit
        nodes[name] = nn.Node(self.one_of([nn.Add, nn.Multiply])(), name + "fit", other)

    def unpool(self, nodes: dict[str, Any], name: str, source: str, names: list[str]) -> None:
        pool = {"size": self.ints(1, 3), "ceil_mode": self.chance(0.5), **self.window()}
        nodes[name + "pool"] = nn.Node(nn.MaxPool(**pool), source)
        nodes[name + "code"] = nn.Node(nn.Activation("tanh"), name + "pool")
        nodes[name] = nn.Node(nn.MaxUnpool(**pool), name + "code", source)

    def mirror(self, nodes: dict[str, Any], name: str, source: str, names: list[str]) -> None:
        kernel, window = self.ints(1, 3), self.window()
        nodes[name + "down"] = nn.Node(nn.Conv(CHANNELS, kernel, **window), source)
        nodes[name] = nn.Node(nn.ConvTranspose(CHANNELS, kernel, **window), name + "down", like=source)

    def resize_like(self) -> nn.Layer:
        return nn.Resize(mode=self.one_of(["nearest", "nearest_exact", "linear"]))

    def window_layer(self) -> nn.Layer:
        """A layer that isn't pointwise."""
        kernel, window = self.ints(1, 3), self.window()
        pool = {"ceil_mode": self.chance(0.5), **window}
        bias = self.one_of(["tiled", "channel", "none"])
        makers = (
            lambda: nn.Conv(CHANNELS, kernel, activation=self.one_of([None, "relu", "tanh"]), **window),
            lambda: nn.Conv(CHANNELS, kernel, groups=2, **window),
            lambda: nn.DepthwiseConv(kernel, **window),
            lambda: nn.SeparableConv(CHANNELS, kernel, **window),
            lambda: nn.DepthwiseSeparableConv(CHANNELS, kernel, **window),
            lambda: nn.MaskedConv(CHANNELS, kernel, [[1, 0, 1, 1]] * CHANNELS, **window),
            lambda: nn.WeightNorm(nn.Conv(CHANNELS, kernel, **window)),
            lambda: nn.TiledConv(CHANNELS, kernel, tile=self.ints(1, 3), bias=bias, **window),
            lambda: nn.LocalConv(CHANNELS, kernel, bias=bias, **window),
            lambda: nn.ConvTranspose(CHANNELS, kernel, **window | {"padding": self.one_of(["valid", "same", 1])}),
            lambda: nn.ConvTranspose(CHANNELS, 1, stride=3, output_padding=self.ints(0, 2)),
            lambda: nn.MaxPool(kernel, **pool),
            lambda: nn.AvgPool(kernel, **pool),
            lambda: nn.LpPool(kernel, **pool),
            lambda: nn.WeightedPool(kernel, **pool),
            lambda: nn.PoolChannels([1, 3], kernel, mode=self.one_of(["max", "mean", "sum"]), **pool),
            lambda: nn.Pad(self.pairs(3), mode=self.one_of(["constant", "reflect", "replicate", "circular"])),
            lambda: nn.Crop(self.pairs(2)),
            lambda: nn.Bias(self.one_of([2, "shape"])),
            lambda: nn.Resize(scale=self.one_of([0.5, 1.7, 2.0]), mode="linear", align_corners=self.chance(0.5)),
            lambda: nn.Resize(size=self.ints(3, 12), mode=self.one_of(["nearest", "nearest_exact", "linear"])),
        )  # fmt: skip
        layer: nn.Layer = self.one_of(makers)()
        return layer

    def window(self) -> dict[str, Any]:
        """Stride, padding and dilation."""
        named = ["valid", "same", "same_lower", "causal", "full"]
        padding = self.one_of([*named, int(self.rng.integers(3)), self.pairs(3)])
        return {"stride": self.ints(1, 3), "padding": padding, "dilation": self.ints(1, 2)}

    def ints(self, low: int, high: int) -> Any:
        """An int, or one an axis."""
        values = tuple(int(v) for v in self.rng.integers(low, high + 1, self.ndim))
        return values if self.chance(0.7) else values[0]

    def pairs(self, below: int) -> Any:
        return tuple((int(a), int(b)) for a, b in self.rng.integers(0, below, (self.ndim, 2)))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def one_of(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]
