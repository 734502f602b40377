"""Sizes of what is planted, and the contradictions between them that are refused."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

import numpy as np

from cgraph.errors import ConfigError
from cgraph.planted_topics import MAX_TOPICS

PAPER_MEAN_PARENTS = 1_500_000 / (11 * 3072)
"""Edges of the paper's graph for each of its predicted concepts."""

_LARGEST_SHARE = 0.5  # of the layer before, that concepts may have as parents on average
_TOPIC_SIZE = 1.2  # concepts of a topic, over `max_nnz`

# Least and most of every whole number.
_RANGES = {
    "n_layers": (2, 999),
    "n_atoms": (2, 2**16),
    "d_model": (2, 2**16),
    "max_nnz": (1, 2**15),
    "n_images": (20, 10**7),
    "seed": (0, 2**63 - 1),
    "thumbnail_px": (8, 1024),
    "n_examples": (0, 999),
}


class Stream(enum.IntEnum):
    """What random numbers are drawn for: one purpose does not change what another draws."""

    IMAGES = 0
    TOPICS = 1
    PARENTS = 2
    CODES = 3
    ATOMS = 4
    SKEWS = 5
    NOISE = 6
    PICTURES = 7
    SPLIT = 8


@dataclass(frozen=True)
class PlantedConfig:
    """Sizes of what is planted. The defaults are the paper's: 12 layers of 3072 concepts."""

    n_layers: int = 12
    """Layers: 2 to 999."""

    n_atoms: int = 3072
    """Concepts of each layer: 2 to 65,536. Time grows with its square."""

    d_model: int = 768
    """Numbers of a class token."""

    max_nnz: int = 10
    """Active concepts of every image at every layer, at most half of `n_atoms`."""

    n_images: int = 20_000
    """Images: at least 20."""

    n_edges: int | None = None
    """Edges of the graph, over all layers. ``None``: as many for each child as in the paper's graph
    (44.4 parents), or a quarter of `n_atoms` where that is less. At least one for each child, at
    most half of the layer before."""

    seed: int = 0
    """Seed of everything that is drawn."""

    noise: float = 0.3
    """Length of what a token has beside its code, as a share of the code's length."""

    thumbnail_px: int = 64
    """Side of the thumbnails, in pixels."""

    n_examples: int = 6
    """Images stored with picture and trace, at most a tenth of `n_images`."""

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            _check_range(name, getattr(self, name), least, most)
        if 2 * self.max_nnz > self.n_atoms:
            raise ConfigError(
                f"max_nnz is {self.max_nnz} and n_atoms {self.n_atoms}: little can be predicted of "
                "concepts that are active in more than half of the images. Lower max_nnz to at "
                f"most {self.n_atoms // 2} or raise n_atoms."
            )
        if self.n_examples * 10 > self.n_images:
            raise ConfigError(
                f"n_examples is {self.n_examples} and n_images {self.n_images}: examples are "
                "held-out images, and at most a tenth of all. Lower n_examples or raise n_images."
            )
        if isinstance(self.noise, bool | str) or not 0 <= self.noise <= 10:
            raise ConfigError(f"noise is {self.noise!r}: it must be a number from 0 to 10.")
        if self.n_edges is not None:
            most = int(self.n_children * self.n_atoms * _LARGEST_SHARE)
            # At least one for each child, at most half of the layer before.
            _check_range("n_edges", self.n_edges, self.n_children, most)

    @property
    def n_children(self) -> int:
        """Concepts that have parents: those of all layers but the first."""
        return (self.n_layers - 1) * self.n_atoms

    @property
    def total_edges(self) -> int:
        """Edges of the graph, whether given or derived."""
        if self.n_edges is not None:
            return self.n_edges
        return max(
            self.n_children, round(self.n_children * min(PAPER_MEAN_PARENTS, self.n_atoms / 4))
        )

    @property
    def n_topics(self) -> int:
        """Topics, so many that the two or three of an image have twice `max_nnz` concepts."""
        size = max(1, min(round(_TOPIC_SIZE * self.max_nnz), self.n_atoms // 2))
        return min(self.n_atoms // size, MAX_TOPICS)

    def to_dict(self) -> dict[str, Any]:
        """Return the sizes as plain JSON values; how the number of edges was given is forgotten."""
        return {**dataclasses.asdict(self), "n_edges": self.total_edges}

    def rng(self, stream: Stream, *places: int) -> np.random.Generator:
        """Return the random numbers of one purpose, such as the codes of some layer."""
        return np.random.default_rng((self.seed, int(stream), *places))


def _check_range(name: str, value: Any, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} is {value!r}: it must be a whole number from {least} to {most}.")
