"""From effects in single images to one number, an interval and a verdict for every edge.

How sure a number is comes from resampling the images (a seeded percentile bootstrap). Whether it
is beyond what any other concept does comes from pairs that are no edges: an edge's p-value is the
share of *references* that beat their own controls at least as well (a conformal p-value, Bates et
al. 2023). The larger of both counts, and Benjamini and Hochberg's procedure controls the share of
false discoveries over the edges of a pair of layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cgraph.evidence_design import CONTROL, EDGE, LEAST_IMAGES, REFERENCE, Tests
from cgraph.truth_tables import (
    BOTH_ORIGINS,
    CARRIED,
    COMPUTED,
    CONTRADICTED,
    NO_EFFECT,
    NO_ORIGIN,
    NOT_MEASURED,
    SPECIFIC,
    SUPPORTED,
)

FALSE_DISCOVERIES = 0.1
"""Share of false discoveries that is accepted over the edges of a pair."""

LEAST_EFFECT = 0.05
"""Least effect that counts, in standard deviations of the child's pre-activation."""

LEAST_MATCHED = 16
"""Fewest comparisons with matched atoms for an edge to be called specific."""

N_RESAMPLES = 1000


def false_discovery_rates(p_values: np.ndarray) -> np.ndarray:
    """Return Benjamini and Hochberg's adjusted p-values (1995); NaN stays NaN and does not count.

    Parameters
    ----------
    p_values : ndarray of float, any length
    """
    found = np.full(len(p_values), np.nan)
    known = np.flatnonzero(np.isfinite(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    scaled = p_values[order] * len(order) / np.arange(1, len(order) + 1)
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def conformal_p(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the share of references that score at least as high, each counted as one of them.

    Parameters
    ----------
    scores, references : ndarray of float
        NaN scores give NaN, NaN references do not count.
    """
    known = np.sort(references[np.isfinite(references)])
    higher = len(known) - np.searchsorted(known, scores, side="left")
    return np.where(np.isfinite(scores), (1 + higher) / (1 + len(known)), np.nan)


def draw_resamples(n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each image is drawn in each resample, ``(N_RESAMPLES, n_images)``."""
    return rng.multinomial(n_images, np.full(n_images, 1 / n_images), N_RESAMPLES).astype(float)


def resampled_means(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the mean over the images of each resample; NaN values are left out of it.

    Parameters
    ----------
    draws : ndarray, shape (n_resamples, n_images)
    values : ndarray, shape (n_images, n_tests)
    """
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (draws @ np.where(known, values, 0)) / (draws @ known)


def share_not_above(draws: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the bootstrap's p-value of a mean above 0; see `resampled_means`.

    Resamples in which nothing is known count as not above. NaN where nothing is known at all.
    """
    again = resampled_means(draws, values)
    p = (1 + (~(again > 0)).sum(axis=0)) / (1 + len(again))
    return np.where(np.isfinite(means(values)), p, np.nan)


def means(values: np.ndarray) -> np.ndarray:
    """Return the mean over images of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


@dataclass(frozen=True)
class Judged:
    """Figures of all tests of a pair of layers, each of shape ``(n_tests,)``.

    Attributes
    ----------
    figures : dict of str to ndarray
        By the columns of `cgraph.truth_tables.EVIDENCE_SCHEMA`, but for its keys.
    supported : ndarray of bool
        Whether the verdict is *supported* or *specific*; of controls, too.
    """

    figures: dict[str, np.ndarray]
    supported: np.ndarray


def judge(tests: Tests, images: list[dict[str, np.ndarray]], seed: tuple[int, ...]) -> Judged:
    """Judge all tests of a pair of layers.

    Parameters
    ----------
    tests : Tests
    images : list of dict
        For each parent the columns of `cgraph.evidence_runs.COLUMNS`, each of shape
        ``(n_switches, n_tests of the parent)``; no switches where it was not measured.
    seed : tuple of int
        Of the resamples.
    """
    n_tests = len(tests.parent)
    table = {name: np.full(n_tests, np.nan) for name in _NUMBERS}
    table["n_images"] = np.zeros(n_tests)
    for parent, columns in enumerate(images):
        own = tests.of(parent)
        n_images = len(columns["effect"])
        if own.start == own.stop or n_images < LEAST_IMAGES:
            continue
        draws = draw_resamples(n_images, np.random.default_rng([*seed, parent]))
        for name, values in _summary(columns, tests.sign[own], draws).items():
            table[name][own] = values
    return _verdicts(tests, table)


_NUMBERS = (
    "effect", "effect_low", "effect_high", "control", "beyond", "beyond_low", "beyond_high",
    "carried", "computed", "computed_low", "computed_high", "flips", "flips_control",
    "excess", "p_images", "p_images_against", "p_beyond",
)  # fmt: skip


def _summary(
    columns: dict[str, np.ndarray], sign: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Return means, intervals and scores of the tests of one parent."""
    effect, carried = columns["effect"] * sign, columns["carried"] * sign
    compared = np.isfinite(columns["other"]).sum(axis=0) >= LEAST_IMAGES
    over_other = np.where(compared, effect - columns["other"] * sign, np.nan)
    over_random = effect - columns["random"] * sign
    beyond, computed = columns["beyond"] * sign, effect - carried
    enough = columns["n_matched"].sum(axis=0) >= LEAST_MATCHED
    enough &= np.isfinite(beyond).sum(axis=0) >= LEAST_IMAGES
    beyond = np.where(enough, beyond, np.nan)

    def interval(values: np.ndarray, name: str) -> dict[str, np.ndarray]:
        again = resampled_means(draws, values)
        again = np.where(np.isfinite(again), again, means(values))
        low, high = np.quantile(again, [0.025, 0.975], axis=0)
        return {name: means(values), f"{name}_low": low, f"{name}_high": high}

    def p_value(values: np.ndarray) -> np.ndarray:
        return share_not_above(draws, values)

    with np.errstate(invalid="ignore", divide="ignore"):
        excess = means(over_other) / np.sqrt(means(columns["other_variance"]))
    can = columns["could_flip"] > 0
    return {
        "n_images": np.full(len(sign), len(effect), dtype=float),
        **interval(effect, "effect"),
        **interval(beyond, "beyond"),
        **interval(computed, "computed"),
        "carried": means(carried),
        "control": np.fmax(means(columns["other"] * sign), means(columns["random"] * sign)),
        "flips": means(np.where(can, columns["flipped"], np.nan)),
        "flips_control": means(np.where(can, columns["other_flipped"], np.nan)),
        "excess": excess,
        "p_images": np.maximum(p_value(over_other), p_value(over_random)),
        "p_images_against": np.maximum(p_value(-over_other), p_value(-over_random)),
        "p_beyond": p_value(beyond),
    }


def _verdicts(tests: Tests, table: dict[str, np.ndarray]) -> Judged:
    """Add what depends on all tests of the pair: rates of false discovery, origins, verdicts."""
    edges, reference, up = tests.kind == EDGE, tests.kind == REFERENCE, tests.sign > 0

    def p_of(name: str, p_images: str, way: int = 1) -> np.ndarray:
        # References foretell a rise; for a fall theirs count upside down.
        score, known = way * table[name], way * table[name][reference]
        beyond = np.where(up, conformal_p(score, known), conformal_p(score, -known))
        return np.maximum(beyond, table[p_images])  # NaN where either is

    p, p_against = p_of("excess", "p_images"), p_of("excess", "p_images_against", -1)
    p_specific = p_of("beyond", "p_beyond")
    q = _rates(p, edges)
    q_against, q_specific = _rates(p_against, edges), _rates(p_specific, edges)
    effect, beyond = table["effect"], table["beyond"]
    measured = np.isfinite(p)  # without other atoms to compare with nothing can be said
    supported = (q <= FALSE_DISCOVERIES) & (effect >= LEAST_EFFECT)
    contradicted = (q_against <= FALSE_DISCOVERIES) & (effect <= -LEAST_EFFECT) & ~supported
    specific = supported & (q_specific <= FALSE_DISCOVERIES) & (beyond >= LEAST_EFFECT)
    verdict = np.select(
        [~measured, specific, supported, contradicted],
        [NOT_MEASURED, SPECIFIC, SUPPORTED, CONTRADICTED],
        NO_EFFECT,
    )
    names = [name for name in table if not name.startswith(("excess", "p_"))]
    origin = np.where(supported | contradicted, _origins(table, supported), NO_ORIGIN)
    return Judged(
        {
            **{name: table[name] for name in names},
            "q_supported": q,
            "q_specific": q_specific,
            "origin": origin,
            "verdict": verdict,
        },
        supported,
    )


def _rates(p_values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return adjusted p-values of edges; others get what an edge with their p-value would have."""
    rates = np.full(len(p_values), np.nan)
    rates[edges] = false_discovery_rates(p_values[edges])
    known = edges & np.isfinite(rates)
    order = np.flatnonzero(known)[np.argsort(p_values[known], kind="stable")]
    places = np.searchsorted(p_values[order], p_values[~edges])
    ladder = np.append(rates[order], 1.0)
    rates[~edges] = np.where(np.isfinite(p_values[~edges]), ladder[places], np.nan)
    return rates


def _origins(table: dict[str, np.ndarray], supported: np.ndarray) -> np.ndarray:
    """Return which parts of each effect go its way and are large enough, or half of it."""
    way = np.where(supported, 1.0, -1.0)
    least = np.minimum(LEAST_EFFECT, np.abs(table["effect"]) / 2)
    carried = table["carried"] * way >= least
    sure = np.where(supported, table["computed_low"] > 0, table["computed_high"] < 0)
    computed = (table["computed"] * way >= least) & sure
    return np.select(
        [carried & computed, computed, carried], [BOTH_ORIGINS, COMPUTED, CARRIED], NO_ORIGIN
    )


def control_share(tests: Tests, judged: Judged) -> tuple[int, int]:
    """Return how many controls were measured, and how many of them are supported."""
    measured = (tests.kind == CONTROL) & (judged.figures["verdict"] != NOT_MEASURED)
    return int(measured.sum()), int((measured & judged.supported).sum())
