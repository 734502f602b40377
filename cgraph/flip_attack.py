"""Pictures changed by a few levels so that as many labels of a layer flip as can be found.

Projected gradient steps (Madry et al. 2018) within ±size of every number of the picture. A step
goes along the sign of the gradient of a smooth count of flips: the encoder's pre-activations are
put in standard deviations, each label's distance from its image's cut between active and silent
concepts goes through a logistic function, and the sum says how many labels are nearly flipped.

What counts are real labels of a real picture. After every step the picture is rounded to whole
levels and its token is encoded; of all pictures on the way, the random start among them, the one
with the most flips is kept. So an attack is never worse than random signs of its size. It is a
lower bound all the same: a better attack may exist.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from cgraph.model_inputs import network_inputs
from cgraph.model_structure import hooked
from cgraph.perturbations import as_levels

if TYPE_CHECKING:
    import torch

    from cgraph.dictionary import Dictionary
    from cgraph.vit import VisionModel

STEPS = 10

STEP_SHARE = 0.25
"""Length of a step, as a share of the size."""

WIDTH = 0.5
"""How near to the cut, in standard deviations of a pre-activation, a label is nearly flipped."""


class _Reached(Exception):
    """The layer that is wanted was reached; the blocks after it need not run."""


def pixel_gradient(
    model: VisionModel,
    pixels: np.ndarray,
    layer: int,
    wanted: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return how pixels change a wanted direction of each image's token.

    Parameters
    ----------
    model : VisionModel
    pixels : ndarray of float32, shape (n, *model.pixel_shape)
    layer : int
        1 … L.
    wanted : callable
        Given the tokens of that layer, ``(n, d_model)``, it returns a direction for each.

    Returns
    -------
    ndarray of float32, shape (n, *model.pixel_shape)
        Gradient of the inner product of token and direction, which is held fixed.
    """
    import torch

    kept: list[torch.Tensor] = []

    def note(index: int, output: torch.Tensor) -> None:
        if index + 1 == layer:
            kept.append(output)
            raise _Reached

    with model.running(), torch.inference_mode(False), torch.enable_grad():
        values = torch.tensor(pixels, device=model.device, requires_grad=True)
        inputs = network_inputs(model.network, values)
        with hooked(model.blocks, note), suppress(_Reached):
            model.network(**inputs)
        token = model.read_tensor(kept[0], inputs.get("pixel_attention_mask"))
        direction = wanted(token.detach().cpu().numpy())
        moved = (token * torch.tensor(direction, dtype=token.dtype, device=token.device)).sum()
        (gradient,) = torch.autograd.grad(moved, values)
    return gradient.float().cpu().numpy()


class FlipCount:
    """A smooth count of flipped labels, of some images at one layer.

    Parameters
    ----------
    dictionary : Dictionary
    tokens : ndarray of float32, shape (n, d_model)
        Of the untouched pictures.
    scale : ndarray of float, shape (n_atoms,)
        Standard deviation of each pre-activation over many images.
    """

    def __init__(self, dictionary: Dictionary, tokens: np.ndarray, scale: np.ndarray) -> None:
        self._dictionary = dictionary
        self._scale = np.where(scale > 0, scale, 1.0)
        self.labels = dictionary.encode(tokens).dense_labels()
        values = dictionary.pre_activations(tokens) / self._scale
        lowest = np.where(self.labels, values, np.inf).min(axis=1)
        highest = np.where(self.labels, -np.inf, values).max(axis=1)
        cut = (lowest + highest) / 2
        # Where no concept is active, or all are, the nearest one is where the cut would be.
        self._cut = np.where(np.isfinite(cut), cut, np.where(np.isinf(lowest), highest, lowest))
        self._directions = pre_activation_directions(dictionary, tokens)

    def flips(self, tokens: np.ndarray) -> np.ndarray:
        """Return which labels differ from those of the untouched pictures."""
        return self._dictionary.encode(tokens).dense_labels() != self.labels

    def direction(self, tokens: np.ndarray) -> np.ndarray:
        """Return the gradient of the smooth count by the tokens, ``(n, d_model)``."""
        values = self._dictionary.pre_activations(tokens) / self._scale
        away = (values - self._cut[:, None]) / WIDTH
        # The slope of the logistic function, without overflow.
        slope = 0.25 / np.cosh(np.clip(away / 2, -300, 300)) ** 2
        towards = np.where(self.labels, -slope, slope) / self._scale
        return (towards @ self._directions).astype(np.float32)


def pre_activation_directions(dictionary: Dictionary, tokens: np.ndarray) -> np.ndarray:
    """Return along which direction of the token each pre-activation rises.

    Pre-activations are linear in the token, for all encoders but those that bring each token to
    deviation 1 first; of these it is the direction at the mean of the tokens.

    Parameters
    ----------
    dictionary : Dictionary
    tokens : ndarray of float32, shape (n, d_model)

    Returns
    -------
    ndarray of float64, shape (n_atoms, d_model)
    """
    centre = tokens.mean(axis=0, dtype=np.float64)
    step = max(float(tokens.std()), 1e-3)
    moves = step * np.eye(len(centre))
    up, down = (
        dictionary.pre_activations((centre + sign * moves).astype(np.float32)).astype(np.float64)
        for sign in (1, -1)
    )
    return (up - down).T / (2 * step)


def attack(
    model: VisionModel,
    dictionary: Dictionary,
    layer: int,
    pictures: np.ndarray,
    signs: np.ndarray,
    size: float,
    scale: np.ndarray,
    *,
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Look for pictures within ±size in which many labels of a layer flip.

    Parameters
    ----------
    model : VisionModel
    dictionary : Dictionary
        Of the layer.
    layer : int
        1 … L.
    pictures : ndarray of uint8, shape (n, height, width, 3)
        As the network is shown them.
    signs : ndarray, same shape
        +1 or -1: where to start from.
    size : float
        In levels.
    scale : ndarray of float, shape (n_atoms,)
        As for `FlipCount`.
    steps : int
        Gradient steps.

    Returns
    -------
    best : ndarray of uint8, shape (n, height, width, 3)
        The pictures with the most flips.
    flipped : ndarray of bool, shape (n, n_atoms)
        Labels that flip in them.
    labels : ndarray of bool, shape (n, n_atoms)
        Of the untouched pictures.
    """
    plain = pictures.astype(np.float64)
    count = FlipCount(dictionary, _tokens(model, pictures, layer), scale)
    added = size * signs.astype(np.float64)
    best, most = pictures.copy(), np.zeros(len(pictures), dtype=np.int64)
    flipped = np.zeros(count.labels.shape, dtype=bool)

    def keep(changed: np.ndarray, tokens: np.ndarray) -> None:
        found = count.flips(tokens)
        better = found.sum(axis=1) > most
        best[better], flipped[better] = changed[better], found[better]
        most[better] = found.sum(axis=1)[better]

    for _ in range(steps):
        changed = as_levels(plain + added)

        def looked_at(tokens: np.ndarray, changed: np.ndarray = changed) -> np.ndarray:
            keep(changed, tokens)
            return count.direction(tokens)

        gradient = pixel_gradient(model, model.levels.of_shown(changed), layer, looked_at)
        # Values rise with levels, so the sign is the same for both.
        added += STEP_SHARE * size * np.sign(gradient.transpose(0, 2, 3, 1))
        np.clip(added, -size, size, out=added)
    changed = as_levels(plain + added)
    keep(changed, _tokens(model, changed, layer))
    return best, flipped, count.labels


def _tokens(model: VisionModel, pictures: np.ndarray, layer: int) -> np.ndarray:
    return model.class_tokens(model.levels.of_shown(pictures))[layer - 1]
