"""Interval and CROWN bounds of a graph seen as a sigmoid network, in torch; for comparison only.

CROWN (Zhang, Weng, Chen, Hsieh and Daniel 2018, "Efficient neural network robustness certification
with general activation functions") bounds each sigmoid between two lines over the interval that its
input can take, and carries linear bounds of every layer back to the network's input. There a linear
bound is at its worst at most k flips away from the given labels: the k largest terms that help.

In single precision, without margins for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cgraph.graph import ConceptGraph
from cgraph.rollout import layer_model

_BISECTIONS = 30


@dataclass(frozen=True)
class Network:
    """Layers of p = σ(weight · p before + bias), and what labels may do at the input."""

    weights: list[Tensor]
    biases: list[Tensor]
    labels: Tensor
    flippable: Tensor
    budget: int

    def double(self) -> Network:
        """Return the same in double precision."""
        weights, biases = ([part.double() for part in side] for side in (self.weights, self.biases))
        return Network(weights, biases, self.labels.double(), self.flippable, self.budget)

    def first(self, matrix: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the most of linear functions of the labels."""
        at = matrix @ self.labels + bias
        gains = matrix[:, self.flippable] * (1 - 2 * self.labels[self.flippable])
        k = min(self.budget, gains.shape[1])
        up = gains.clamp(min=0).topk(k, dim=1).values.sum(dim=1)
        down = (-gains).clamp(min=0).topk(k, dim=1).values.sum(dim=1)
        return at - down, at + up


def network(
    graph: ConceptGraph, start: int, until: int, labels: Tensor, flippable: Tensor, budget: int
) -> Network:
    """Return the layers of a graph as dense matrices."""
    weights, biases = [], []
    for layer in range(start + 1, until + 1):
        model = layer_model(graph, layer)
        slope, offset = torch.tensor(model.slope), torch.tensor(model.offset)
        dense = torch.tensor(graph.weight_matrix(layer).toarray())
        weights.append(dense * slope[:, None])
        biases.append(torch.tensor(model.intercept) * slope + offset)
    return Network(weights, biases, labels, flippable, budget)


def intervals(net: Network) -> tuple[Tensor, Tensor]:
    """Return bounds of p of the last layer by intervals; the first layer counts the flips."""
    low, high = net.first(net.weights[0], net.biases[0])
    for weight, bias in zip(net.weights[1:], net.biases[1:], strict=True):
        low, high = _through(weight, bias, low.sigmoid(), high.sigmoid())
    return low.sigmoid(), high.sigmoid()


def crown(net: Network, *, met: bool = False) -> tuple[Tensor, Tensor]:
    """Return bounds of p of the last layer by CROWN, whose intervals are CROWN bounds as well.

    With `met` the intervals of each layer are taken too, and the better of both kept.
    """
    low, high = net.first(net.weights[0], net.biases[0])
    lines: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for layer in range(1, len(net.weights)):
        lines.append(_lines(low, high))
        found = [_backward(net, layer, lines, upper) for upper in (False, True)]
        if met:
            loose = _through(net.weights[layer], net.biases[layer], low.sigmoid(), high.sigmoid())
            found = [torch.maximum(found[0], loose[0]), torch.minimum(found[1], loose[1])]
        low, high = found
    return low.sigmoid(), high.sigmoid()


def _through(weight: Tensor, bias: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    plus, minus = weight.clamp(min=0), weight.clamp(max=0)
    return plus @ low + minus @ high + bias, plus @ high + minus @ low + bias


def _backward(
    net: Network, layer: int, lines: list[tuple[Tensor, Tensor, Tensor, Tensor]], upper: bool
) -> Tensor:
    """Carry a layer's weights back to the labels, on the lines above or those below."""
    matrix, constant = net.weights[layer], net.biases[layer]
    for before in range(layer - 1, -1, -1):
        low_slope, low_shift, high_slope, high_shift = lines[before]
        plus, minus = matrix.clamp(min=0), matrix.clamp(max=0)
        if not upper:
            plus, minus = minus, plus
        constant = constant + plus @ high_shift + minus @ low_shift
        matrix = plus * high_slope + minus * low_slope
        constant = constant + matrix @ net.biases[before]
        matrix = matrix @ net.weights[before]
    return net.first(matrix, constant)[int(upper)]


def _lines(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return slope and shift of a line below the sigmoid and of one above it, from low to high."""
    low_slope, low_at, low_value = _below(low, high)
    # The sigmoid turned about (0, ½) is itself: what lies above here lies below there.
    high_slope, turned_at, turned_value = _below(-high, -low)
    high_at, high_value = -turned_at, 1 - turned_value
    return low_slope, low_value - low_slope * low_at, high_slope, high_value - high_slope * high_at


def _below(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return slope, place and value of a line that lies below the sigmoid from low to high."""
    at_low, at_high = low.sigmoid(), high.sigmoid()
    width = (high - low).clamp(min=1e-6)
    chord = (at_high - at_low) / width
    # Left of 0 the sigmoid is convex, and a tangent lies below it: at the middle where all of the
    # interval is there, else at the point whose tangent goes through the upper end.
    left, right = low.clone(), torch.zeros_like(low)
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        p = middle.sigmoid()
        reaches = p + p * (1 - p) * (high - middle) <= at_high
        left, right = torch.where(reaches, middle, left), torch.where(reaches, right, middle)
    touch = torch.where(high <= 0, (low + high) / 2, left)
    p = touch.sigmoid()
    tangent = p * (1 - p)
    fits = p + tangent * (high - touch) <= at_high + 1e-7
    use = (high <= 0) | ((low < 0) & fits)
    slope = torch.where(use, tangent, chord)
    return slope, torch.where(use, touch, low), torch.where(use, p, at_low)
