"""What a flip budget means for pictures: how many labels flip when a picture is changed a little.

Bounds and radii of the graph count flips of labels. Here pictures are stored as JPEG, made noisy,
blurred (`cgraph.perturbations`) and attacked along the gradient (`cgraph.flip_attack`), the whole
network is run on them, and the labels of every layer are compared with those of the untouched
picture. An attack is made for each layer by itself, and counted there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cgraph.config import HELD_OUT
from cgraph.perturbations import (
    SIZES,
    Perturbation,
    plain_perturbations,
    random_signs,
)
from cgraph.truth_tables import ATTACK, FLIP_SCHEMA
from cgraph.workbench import Arrays, Source, Workbench

MOST_IMAGES = 100
"""Held-out images that are changed, a seeded sample of them if there are more."""

MOST_ATTACKED = 32
"""Of these, the images that are attacked: each takes some twenty runs of the network a layer and
size."""

HIGH = 95
"""Percentile over images that is given beside the median."""

_CALL = 16  # images of one call, run at once


def measure(bench: Workbench) -> dict[str, pa.Table]:
    """Return the table ``flips``.

    Raises
    ------
    ImageError, ModelError
        If pictures or model cannot be had, or the model takes patches of pictures of any size.
    """
    bench.need_pictures()
    bench.source.shown([0])
    study, seed = bench.study, bench.seed
    rows = study.rows(HELD_OUT)
    rng = np.random.default_rng((seed, len(rows)))
    rows = rng.permutation(rows)[:MOST_IMAGES]  # not sorted: the first of them are attacked
    found = bench.run("flips", changed_pictures, [(call, seed) for call in _calls(rows)])
    changes = plain_perturbations()
    layers = range(1, study.n_layers + 1)
    tables = [
        _row(layer, change, _of(found, f"on-{layer}")[:, place],
             _of(found, f"off-{layer}")[:, place], _of(found, f"active-{layer}"),
             _of(found, "rms")[:, place])
        for layer in layers
        for place, change in enumerate(changes)
    ]  # fmt: skip
    attacked = _calls(rows[:MOST_ATTACKED])
    scales = [_scale(found, layer) for layer in layers]
    # The deepest take longest; begun first, no worker ends long after the others.
    calls = [
        (call, seed, layer, scales[layer - 1]) for layer in reversed(layers) for call in attacked
    ]
    attacks = bench.run("flip-attacks", attacked_pictures, calls)
    for layer in layers:
        own = [part for call, part in zip(calls, attacks, strict=True) if call[2] == layer]
        for place, size in enumerate(SIZES[ATTACK]):
            tables.append(
                _row(layer, Perturbation(ATTACK, size), _of(own, "on")[:, place],
                     _of(own, "off")[:, place], _of(own, "active"), _of(own, "rms")[:, place])
            )  # fmt: skip
    tables.sort(key=lambda row: row["layer"])
    return {"flips": pa.Table.from_pylist(tables, schema=FLIP_SCHEMA)}


def _calls(rows: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(map(int, rows[start : start + _CALL])) for start in range(0, len(rows), _CALL)]


def _of(parts: Sequence[Arrays], name: str) -> np.ndarray:
    return np.concatenate([part[name] for part in parts])


def _scale(parts: Sequence[Arrays], layer: int) -> np.ndarray:
    """Return the standard deviation of each pre-activation over the untouched pictures."""
    n = sum(len(part["rms"]) for part in parts)
    sums, squares = (
        np.sum([part[f"{name}-{layer}"] for part in parts], axis=0) for name in ("sum", "square")
    )
    return np.sqrt(np.maximum(squares / n - (sums / n) ** 2, 0))


def _row(
    layer: int,
    change: Perturbation,
    on: np.ndarray,
    off: np.ndarray,
    active: np.ndarray,
    rms: np.ndarray,
) -> dict[str, float | int | str]:
    flips = on + off
    return {
        "layer": layer,
        "perturbation": change.kind,
        "size": float(change.size),
        "n_images": len(flips),
        "median": float(np.median(flips)),
        "high": float(np.percentile(flips, HIGH)),
        "mean": float(flips.mean()),
        "most": int(flips.max()),
        "turned_on": float(on.mean()),
        "turned_off": float(off.mean()),
        "n_active": float(active.mean()),
        "rms": float(rms.mean()),
    }


@dataclass(frozen=True)
class LabelChanges:
    """Labels of one layer before and after, of some images.

    Attributes
    ----------
    on, off, active : ndarray of int64, shape (n_images,)
        Labels that appear, that vanish, and that were there before.
    """

    on: np.ndarray
    off: np.ndarray
    active: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray) -> LabelChanges:
        """Compare labels, bool ``(n_images, n_concepts)``."""
        return cls((~before & after).sum(axis=1), (before & ~after).sum(axis=1), before.sum(axis=1))


def changed_pictures(
    source: Source,
    rows: tuple[int, ...],
    seed: int,
    changes: Sequence[Perturbation] | None = None,
) -> Arrays:
    """Change some pictures in every way that needs no gradient, and count flips at every layer.

    Parameters
    ----------
    source : Source
    rows : tuple of int
        Images.
    seed : int
        A picture's random numbers depend on it, its row and the kind of change alone.
    changes : sequence of Perturbation, optional
        All of `plain_perturbations` if left out.

    Returns
    -------
    dict of str to ndarray
        For each layer ``on-…`` and ``off-…`` (n_images, n_changes), labels that appear and vanish;
        ``active-…`` (n_images,); ``sum-…`` and ``square-…`` (n_atoms,) of pre-activations, over the
        untouched pictures. ``rms`` (n_images, n_changes): root mean square change of a picture's
        numbers, in levels.
    """
    changes = plain_perturbations() if changes is None else changes
    study, model = source.study, source.model
    plain = source.shown(rows)
    before = model.class_tokens(model.levels.of_shown(plain))
    layers = range(1, study.n_layers + 1)
    dictionaries = [study.dictionary(layer) for layer in layers]
    labels = [
        d.encode(tokens).dense_labels() for d, tokens in zip(dictionaries, before, strict=True)
    ]
    found: dict[str, list[np.ndarray]] = {"rms": []}
    for place, change in enumerate(changes):
        changed = np.stack(
            [
                change(picture, np.random.default_rng((seed, row, place)))
                for row, picture in zip(rows, plain, strict=True)
            ]
        )
        found["rms"].append(rms(plain, changed))
        after = model.class_tokens(model.levels.of_shown(changed))
        for layer in layers:
            now = dictionaries[layer - 1].encode(after[layer - 1]).dense_labels()
            counts = LabelChanges.between(labels[layer - 1], now)
            for name in ("on", "off"):
                found.setdefault(f"{name}-{layer}", []).append(getattr(counts, name))
    arrays = {name: np.stack(columns, axis=1) for name, columns in found.items()}
    for layer in layers:
        values = dictionaries[layer - 1].pre_activations(before[layer - 1]).astype(np.float64)
        arrays[f"active-{layer}"] = labels[layer - 1].sum(axis=1)
        arrays[f"sum-{layer}"], arrays[f"square-{layer}"] = values.sum(0), (values**2).sum(0)
    return arrays


def rms(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return the root mean square change of each picture, in levels."""
    moved = after.astype(np.float64) - before
    return np.sqrt((moved**2).mean(axis=(1, 2, 3)))


def attacked_pictures(
    source: Source,
    rows: tuple[int, ...],
    seed: int,
    layer: int,
    scale: np.ndarray,
) -> Arrays:
    """Attack some pictures so that labels of one layer flip, with every size of `SIZES`.

    Parameters
    ----------
    source : Source
    rows : tuple of int
        Images.
    seed : int
        Where an attack starts depends on it and the row alone.
    layer : int
        1 … L.
    scale : ndarray of float, shape (n_atoms,)
        Standard deviation of each pre-activation.

    Returns
    -------
    dict of str to ndarray
        ``on``, ``off`` and ``rms`` (n_images, n_sizes), ``active`` (n_images,).
    """
    from cgraph.flip_attack import attack

    plain = source.shown(rows)
    signs = np.stack(
        [random_signs(plain.shape[1:], 1, np.random.default_rng((seed, row))) for row in rows]
    )
    found: dict[str, list[np.ndarray]] = {"on": [], "off": [], "rms": []}
    dictionary = source.study.dictionary(layer)
    for size in SIZES[ATTACK]:
        best, flipped, labels = attack(source.model, dictionary, layer, plain, signs, size, scale)
        counts = LabelChanges.between(labels, labels ^ flipped)
        for name in ("on", "off"):
            found[name].append(getattr(counts, name))
        found["rms"].append(rms(plain, best))
    arrays = {name: np.stack(columns, axis=1) for name, columns in found.items()}
    return arrays | {"active": labels.sum(axis=1)}
