"""A network on one sample, a block of its result at a time.

The network's layers, with those of networks inside it, stand in one row of steps. From a block of the result ranges go
back to the input: of every tensor between, the least box around what the steps behind it read. Then the steps run on
these boxes, from the first to the last. The boxes are exact, so the halo is the receptive field's, whatever strides,
skips and sizes there are, and each step gives what it gives on the whole.

With an ``overlap`` boxes are held to so many positions around the block's centre: the positions under the middle of the
windows, step by step. What lies further counts as padding. That is quicker, and not exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import NamedTuple

from ..tensor import Array
from .boxes import Box, Piece, hull, meet
from .graph import INPUT, Graph
from .layer import Layer
from .local import Local, local
from .spec import Spec, located

Overlap = tuple[int, ...]  # positions of the input, on each axis


class _Step(NamedTuple):
    """A layer in the row: it makes the tensor of its number from others; number 0 is the network's input."""

    rule: Local
    inputs: tuple[int, ...]
    path: str


class Tiles:
    """A built network on a sample of one shape.

    Raises
    ------
    ArgumentError
        If a layer needs the whole sample: its name and the reason.
    """

    def __init__(self, net: Layer, given: Spec) -> None:
        self._steps: list[_Step] = []
        self._shapes = [given.shape or ()]
        self._last, self.output = self._add(net, ((0, given),), "")
        self._spent = self._last_uses()

    def _add(self, layer: Layer, inputs: tuple[tuple[int, Spec], ...], path: str) -> tuple[int, Spec]:
        """Put a layer, or all of a network, at the end of the row: the number of its result."""
        if isinstance(layer, Graph) and type(layer).forward is Graph.forward:
            known = {INPUT: inputs[0]}
            for name in layer.order:
                node = layer.nodes[name]
                with located(name):
                    fed = tuple(known[feed] for feed in node.feeds)
                    known[name] = self._add(node.layer, fed, f"{path}: {name}" if path else name)
            return known[layer.output_node]
        specs = tuple(spec for _, spec in inputs)
        output = layer.output(*specs)
        self._steps.append(_Step(local(layer, specs, output), tuple(number for number, _ in inputs), path))
        self._shapes.append(output.shape or ())
        return len(self._steps), output

    def _last_uses(self) -> list[list[int]]:
        last = {number: at for at, step in enumerate(self._steps) for number in step.inputs}
        return [[number for number, use in last.items() if use == at] for at in range(len(self._steps))]

    def blocks(self, tile: tuple[int, ...]) -> Iterator[Box]:
        """Boxes of at most ``tile`` positions that make up the result, the last axis fastest."""
        shape = self.output.shape or ()
        cuts = [
            [(start, min(start + step, size)) for start in range(0, size, step)]
            for size, step in zip(shape, tile, strict=True)
        ]
        return itertools.product(*cuts)

    def run(self, block: Box, read: Callable[[Box], Array], overlap: Overlap | None = None) -> Array:
        """A block of the result, (1, *block, F); ``read`` gives boxes of the input as (1, *box, C)."""
        boxes = self._boxes(block, overlap)
        pieces = {0: Piece(read(boxes[0]), boxes[0])}
        for at, step in enumerate(self._steps):
            box = boxes.get(at + 1)
            if box is not None:  # else only its size was asked for
                given = [
                    pieces[number].cut(meet(wanted, boxes[number]))
                    for number, wanted in zip(step.inputs, step.rule.reads(box), strict=True)
                    if wanted is not None
                ]
                with located(step.path) if step.path else nullcontext():
                    pieces[at + 1] = Piece(step.rule.run(box, given), box)
                del given
            for number in self._spent[at]:
                pieces.pop(number, None)
        return pieces[self._last].values

    def _boxes(self, block: Box, overlap: Overlap | None) -> dict[int, Box]:
        """The box of every tensor whose values are needed, by the tensor's number."""
        if overlap is None:
            return self._back(block, lambda step, box: step.rule.reads(box))
        centres = self._back(block, lambda step, box: step.rule.centre(box))
        kept = {number: self._around(number, box, overlap) for number, box in centres.items()}

        def held(step: _Step, box: Box) -> Iterator[Box | None]:
            for number, wanted, least in zip(step.inputs, step.rule.reads(box), step.rule.centre(box), strict=True):
                yield None if wanted is None or least is None else hull(least, meet(wanted, kept[number]))

        return self._back(block, held)

    def _back(self, block: Box, reads: Callable[[_Step, Box], Iterable[Box | None]]) -> dict[int, Box]:
        """From a block of the result back to the input, by what a step's box reads of its inputs."""
        boxes = {self._last: block}
        for number, step in reversed(list(enumerate(self._steps, 1))):
            if number in boxes:
                for source, wanted in zip(step.inputs, reads(step, boxes[number]), strict=True):
                    if wanted is not None:
                        boxes[source] = hull(boxes.get(source, wanted), wanted)
        return boxes

    def _around(self, number: int, box: Box, overlap: Overlap) -> Box:
        """A tensor's box and what of it corresponds to so many positions of the input around."""
        sizes = zip(box, overlap, self._shapes[number], self._shapes[0], strict=True)
        spans = []
        for (start, stop), positions, size, given in sizes:
            more = -(-positions * size // given)
            spans.append((max(0, start - more), min(size, stop + more)))
        return tuple(spans)
