"""How quick this machine is, measured for a few seconds on the very model, images and settings.

One batch of images is read and sent through the model, some steps of a dictionary are made, and a
small graph is fitted; the rest of a build is taken to be as much quicker or slower than on the
machine of `cost_model.REFERENCE` as that fit.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from cgraph.config import PredictorConfig
from cgraph.cost_model import Speed, Work, reference_speed, with_speed
from cgraph.errors import ImageError
from cgraph.images import pixel_hash, thumbnail
from cgraph.processes import own_and_shared_mb
from cgraph.stages import Job, images_of, model_of

if TYPE_CHECKING:
    from cgraph.sae_base import SparseAutoencoder

REFERENCE_FIT_SECONDS = 0.033
"""Seconds that `_time_graph` takes on the machine of `cost_model.REFERENCE`."""

_SECONDS_EACH = 2.0  # that one measurement may take, about
_FITS = 8


def measure_speed(job: Job, work: Work) -> tuple[Speed, str]:
    """Time this machine: one batch of images, some steps of the dictionary, a small fit.

    Returns
    -------
    speed : Speed
    remark : str
        A sentence about images that could not be read, or nothing.
    """
    known = reference_speed(work)
    read, forward, remark = _time_images(job, known)
    fit_unit, code = _time_dictionary(work, known)
    factor = _time_graph() / REFERENCE_FIT_SECONDS
    base, shared = own_and_shared_mb() or (known.base_mb, known.shared_mb)
    speed = with_speed(
        known,
        read=read,
        forward=forward,
        fit_unit=fit_unit,
        code=code,
        factor=factor,
        base_mb=base,
        shared_mb=shared,
    )
    return speed, remark


def _time_images(job: Job, known: Speed) -> tuple[float, float, str]:
    """Return the seconds of reading one image and of its way through the model, and a remark."""
    image_set, model = images_of(job), model_of(job)
    # From all over the set, so that one odd beginning does not count for all.
    n_tried = min(len(image_set), job.config.batch_size)
    some = np.linspace(0, len(image_set) - 1, n_tried).astype(int)
    pictures, read, reasons = [], 0.0, []
    for row in some.tolist():
        began = time.perf_counter()
        try:
            record = image_set.read(row)
        except ImageError as error:
            reasons.append(str(error))
            continue
        pixel_hash(record.image)
        thumbnail(record.image, job.config.thumbnail_px)
        read += time.perf_counter() - began
        pictures.append(record.image)
        if read > _SECONDS_EACH:
            break
    n_tried = len(pictures) + len(reasons)
    remark = (
        f"{len(reasons)} of {n_tried} images that were tried could not be read, and would be left "
        f"out. The first: {reasons[0]}"
        if reasons
        else ""
    )
    if not pictures:
        return known.read, known.forward, remark
    began = time.perf_counter()
    pixels = model.preprocess(pictures)
    prepared = time.perf_counter() - began
    began = time.perf_counter()
    model.class_tokens(pixels[:1])  # the first pass also sets things up
    first = time.perf_counter() - began
    taken = pixels[: max(1, min(len(pixels), int(2 * _SECONDS_EACH / max(first, 1e-6))))]
    began = time.perf_counter()
    model.class_tokens(taken)
    forward = (time.perf_counter() - began) / len(taken)
    return (read + prepared) / len(pictures), forward, remark


def _time_dictionary(work: Work, known: Speed) -> tuple[float, float]:
    """Return the seconds of one step, or of one row and iteration, and of coding one token."""
    config, atoms = work.config.dictionary, work.n_atoms
    width = config.whiten or work.d_model
    rng = np.random.default_rng(0)
    n_rows = int(min(max(work.n_train, atoms + 1), max(2048, atoms + 1)))
    rows = rng.standard_normal((n_rows, width)).astype(np.float32)
    nnz = config.max_nnz
    if config.method == "ksvd":
        from cgraph.ksvd import KSVD

        few = rows[: max(atoms, 64)]
        options: dict[str, Any] = {"max_nnz": nnz, "nonnegative": config.nonnegative}
        KSVD(min(16, width), max_iter=1, max_nnz=min(nnz, 4), random_state=0).fit(rows[:64])
        times = []
        for n_iterations in (1, 2):
            began = time.perf_counter()
            KSVD(atoms, max_iter=n_iterations, random_state=0, **options).fit(few)
            times.append(time.perf_counter() - began)
            if times[0] > 2 * _SECONDS_EACH:
                return times[0] / len(few), times[0] / len(few) / 2
        one = max(times[1] - times[0], times[1] / 4)
        return one / len(few), one / len(few) / 2
    from cgraph.sae import BatchTopKSAE, ReluSAE, TopKSAE

    kinds: dict[str, type[SparseAutoencoder]] = {
        "topk-sae": TopKSAE,
        "batch-topk-sae": BatchTopKSAE,
        "relu-sae": ReluSAE,
    }
    kind = kinds.get(config.method, TopKSAE)  # one made elsewhere is coded as its atoms are

    def seconds(n_steps: int) -> float:
        began = time.perf_counter()
        kind(atoms, max_nnz=nnz, max_steps=n_steps, random_state=0).fit(rows)
        return time.perf_counter() - began

    seconds(2)  # compiles the kernels, on a machine that has not yet
    few_steps = seconds(4)
    more = max(8, min(60, int(4 * _SECONDS_EACH / max(few_steps, 1e-3))))
    step = max((seconds(4 + more) - few_steps) / more, few_steps / 100)
    return step, known.code * step / known.fit_unit


def _time_graph() -> float:
    """Return the seconds of a small fit of a graph, the same everywhere."""
    from cgraph.bagging import fit_predictors
    from cgraph.codes import Codes
    from cgraph.predictor import SparseInputs

    rng = np.random.default_rng(0)
    n_rows, atoms, nnz, children = 2000, 64, 8, np.arange(8)
    parents = np.argsort(rng.random((n_rows, atoms)), axis=1)[:, :nnz].astype(np.int32)
    own = np.where(rng.random((n_rows, nnz)) < 0.8, parents, (parents + 7) % atoms)
    left, right = (_codes(indices, atoms, Codes) for indices in (parents, own))
    config = PredictorConfig()
    times = []
    for attempt in range(1 + _FITS):
        began = time.perf_counter()
        fit_predictors(
            SparseInputs(left, binary=True), right, children[: 1 if not attempt else None],
            config, entropy=(0, 1),
        )  # fmt: skip
        if attempt:  # the first one compiles the kernels
            times.append(time.perf_counter() - began)
    # The mean and not the best: other work on the machine will slow the build down as well.
    return float(np.mean(times))


def _codes(indices: np.ndarray, n_atoms: int, kind: Any) -> Any:
    rows = [np.unique(row) for row in indices]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    flat = np.concatenate(rows).astype(np.int32)
    return kind(offsets, flat, np.ones(len(flat), dtype=np.float32), n_atoms)
