"""What a build costs: seconds of every stage, memory and disk, from the sizes of model and data.

All coefficients stand in `REFERENCE`, measured on one machine; `cgraph.build_estimate` measures the
most important ones anew on the machine at hand. Each is the processor time of one thread. docs/
building.md says how far off the sums were on real builds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cgraph.config import IMPORTED, SPLIT_SHARES, TRAIN, BuildConfig

MB = 2**20


@dataclass(frozen=True)
class Work:
    """The sizes that a build's cost depends on.

    Attributes
    ----------
    n_images : int
        Images to be read.
    n_layers, d_model : int
    n_tokens : int
        Tokens of one image, patches and class token.
    mlp_width : int
        Numbers in the hidden layer of a block's MLP.
    n_parameters : int
        Of the whole model, as its files hold it.
    n_attribute_values : int
        Different values that are known of the images, such as folders; each may become a name.
    config : BuildConfig
    workers : int
    """

    n_images: int
    n_layers: int
    d_model: int
    n_tokens: int
    mlp_width: int
    n_parameters: int
    config: BuildConfig
    workers: int = 1
    n_attribute_values: int = 20

    @property
    def n_atoms(self) -> int:
        """Concepts of a layer."""
        return self.config.dictionary.n_atoms or 4 * self.d_model

    @property
    def n_parts(self) -> int:
        """Parts into which the images are cut."""
        return max(1, math.ceil(self.n_images / self.config.part_size))

    @property
    def n_train(self) -> float:
        """Images that dictionaries and predictors are fitted on, about."""
        return SPLIT_SHARES[TRAIN] * self.n_images

    @property
    def n_learned(self) -> float:
        """Training tokens that a dictionary is learned from, about."""
        return min(self.n_train, self.config.dictionary.max_tokens)

    @property
    def mean_nnz(self) -> float:
        """Active concepts of a token, about."""
        dictionary = self.config.dictionary
        if dictionary.encoder == "own" and dictionary.method in ("batch-topk-sae", "relu-sae"):
            return dictionary.mean_nnz or dictionary.max_nnz / 2
        return float(dictionary.max_nnz)

    @property
    def flops(self) -> float:
        """Multiplications and additions of one image's way through the model."""
        per_token = 8 * self.d_model**2 + 4 * self.d_model * self.mlp_width
        attention = 4 * self.n_tokens * self.d_model
        return float(self.n_layers * self.n_tokens * (per_token + attention))


@dataclass(frozen=True)
class Speed:
    """How quick a machine is: processor seconds of one thread.

    Attributes
    ----------
    read : float
        For one image: reading, decoding, resizing, thumbnail.
    forward : float
        For one image's way through the model.
    fit_unit : float
        For one step of an autoencoder, or one row in one iteration of K-SVD.
    code : float
        For coding one token.
    factor : float
        Of all other work: 1 on the machine of `REFERENCE`, 2 where it takes twice as long.
    base_mb, shared_mb : float
        Memory of a process that has loaded the libraries and the model: its own, and what all
        processes share.
    is_measured : bool
        Whether these were measured on this machine, or only follow from sizes.
    """

    read: float
    forward: float
    fit_unit: float
    code: float
    factor: float = 1.0
    base_mb: float = 0.0
    shared_mb: float = 0.0
    is_measured: bool = False


@dataclass(frozen=True)
class Reference:
    """Coefficients, measured with one thread on an AMD EPYC with 2 cores; see docs/building.md.

    Seconds of processor time unless the name says otherwise.
    """

    read: float = 0.0022
    flops_per_second: float = 6.8e10
    forward_overhead: float = 0.001
    sae_step: float = 0.0007
    sae_step_per_entry: float = 2.4e-8  # of d_model · n_atoms, batches of 512
    sae_steps: float = 3500.0  # the mean of layers whose explained variance stands still
    sae_steps_most: float = 6000.0
    ksvd_row: float = 1.2e-5
    ksvd_row_per_entry: float = 3.0e-10  # of d_model · n_atoms
    ksvd_row_per_step: float = 3e-8  # of max_nnz²
    ksvd_iterations: float = 10.0
    code_row: float = 1.0e-6
    code_row_per_entry: float = 1.0e-10
    bag_row_entry: float = 1.7e-8  # one row of one bag, each active concept
    bag_atom: float = 4e-6  # one bag, each concept of the layer before
    concept: float = 0.0005
    final_row_entry: float = 5e-9
    score_row: float = 1.5e-7  # one held-out image of one concept, all figures
    layer: float = 0.03
    name_entry: float = 1.1e-8
    examples: float = 0.3
    per_stage: float = 0.05
    process_start: float = 3.0  # a worker loads its libraries, in every stage
    libraries_mb: float = 340.0
    shared_mb: float = 220.0


REFERENCE = Reference()

_OF_EXPECTED = {
    "tokens": (0.85, 1.2),
    "dictionary": (0.55, 1.7),  # when an autoencoder stands still is seen only while it learns
    "graph": (0.6, 1.6),
}
_OTHERS = (0.5, 2.0)
_UNMEASURED = (0.4, 2.5)


def reference_speed(work: Work) -> Speed:
    """Return the speed that follows from sizes alone, on a machine like that of `REFERENCE`."""
    r, entries = REFERENCE, work.d_model * work.n_atoms
    nnz = work.config.dictionary.max_nnz
    by_ksvd = work.config.dictionary.method == "ksvd"
    pursuit = r.ksvd_row + r.ksvd_row_per_entry * entries + r.ksvd_row_per_step * nnz**2
    linear = r.code_row + r.code_row_per_entry * entries
    by_pursuit = by_ksvd or work.config.dictionary.encoder == "omp"
    return Speed(
        read=r.read,
        forward=r.forward_overhead + work.flops / r.flops_per_second,
        fit_unit=pursuit if by_ksvd else r.sae_step + r.sae_step_per_entry * entries,
        code=pursuit if by_pursuit else linear,
        base_mb=r.libraries_mb + 4 * work.n_parameters / MB,
        shared_mb=r.shared_mb,
    )


def stage_seconds(work: Work, speed: Speed) -> dict[str, float]:
    """Return the seconds that each stage should take by the clock."""
    r, layers, atoms = REFERENCE, work.n_layers, work.n_atoms
    blocks = max(1, math.ceil(atoms / max(64, math.ceil(atoms / 16))))
    loading = work.workers > 1
    start = r.process_start * speed.factor if loading else 0.0

    def wall(seconds: float, n_calls: int) -> float:
        # The calls of a stage are of one size, and a worker does a whole one.
        rounds = math.ceil(n_calls / work.workers)
        return start + r.per_stage * speed.factor + seconds * rounds / n_calls

    tokens = work.n_images * (speed.read + speed.forward)
    return {
        "tokens": wall(tokens, work.n_parts),
        "split": (r.per_stage + 1e-5 * work.n_images) * speed.factor,
        "dictionary": wall(layers * work.config.dictionary.starts * _fit(work, speed), layers),
        "codes": wall(layers * work.n_images * speed.code, layers * work.n_parts),
        "graph": wall((layers - 1) * _graph(work) * speed.factor, (layers - 1) * blocks),
        "evaluation": wall(
            layers * (r.layer + r.score_row * 0.15 * work.n_images * atoms) * speed.factor, layers
        ),
        "names": wall(
            layers
            * (r.layer + r.name_entry * work.n_images * (atoms + 30) * work.n_attribute_values)
            * speed.factor,
            layers,
        ),
        "examples": (r.examples + r.layer * layers) * speed.factor,
    }


def _fit(work: Work, speed: Speed) -> float:
    """Return the seconds of one dictionary of one layer."""
    dictionary, r = work.config.dictionary, REFERENCE
    if dictionary.method == IMPORTED:
        return 0.0
    if dictionary.method == "ksvd":
        return speed.fit_unit * work.n_learned * (dictionary.steps or r.ksvd_iterations)
    most = dictionary.steps or r.sae_steps_most
    return speed.fit_unit * min(most, r.sae_steps)


def _graph(work: Work) -> float:
    """Return the seconds of the predictors of one layer, on the machine of `REFERENCE`."""
    config, r = work.config.predictor, REFERENCE
    positives = work.n_train * work.mean_nnz / work.n_atoms
    bag = 2 * min(positives, config.bag_cap or positives)
    inputs = work.n_atoms if config.inputs == "pre-activations" else work.mean_nnz
    one = r.concept + config.n_bags * (bag * inputs * r.bag_row_entry + work.n_atoms * r.bag_atom)
    one += work.n_train * inputs * r.final_row_entry
    if config.penalty_unit == "absolute":
        # A penalty above the usual one for bags of this size leaves few features, and ends soon.
        one *= min(1.0, max(0.002 * bag / config.penalty, 0.01) ** 0.62)
    # Below the least number of positives nothing is fitted; the rarer the mean, the more are.
    share = 1 / (1 + (config.min_positives / max(positives, 1e-9)) ** 2)
    return work.n_atoms * (share * one + 0.1 * r.concept)


def seconds_span(work: Work, speed: Speed) -> tuple[float, float]:
    """Return the least and the most seconds that the whole build should take."""
    expected = stage_seconds(work, speed)
    expected["start"] = REFERENCE.process_start * speed.factor
    if not speed.is_measured:
        total = sum(expected.values())
        return total * _UNMEASURED[0], total * _UNMEASURED[1]
    low = sum(_OF_EXPECTED.get(stage, _OTHERS)[0] * s for stage, s in expected.items())
    high = sum(_OF_EXPECTED.get(stage, _OTHERS)[1] * s for stage, s in expected.items())
    return low, high


def memory_mb(work: Work, speed: Speed) -> float:
    """Return the most memory that all processes of the build hold together, in MB."""
    width, atoms = work.d_model, work.n_atoms
    part = 4 * work.config.part_size * work.n_layers * width * 2
    part += 12 * work.config.batch_size * work.n_tokens * work.mlp_width  # on its way
    learning = 4 * work.n_learned * width * 3 + 16 * width * atoms
    coded = 12 * work.n_images * work.mean_nnz * 3
    scores = 8 * 0.15 * work.n_images * min(atoms, 256)
    table = 6000.0 * work.n_images if work.workers == 1 else 0.0
    own = max(part, learning, coded + scores) / MB
    parent = 0.0 if work.workers == 1 else speed.base_mb + 6000.0 * work.n_images / MB
    return speed.shared_mb + work.workers * (speed.base_mb + own) + parent + table / MB


def disk_mb(work: Work) -> tuple[float, float]:
    """Return the size of the finished study and the most while it is built, in MB."""
    n, layers = work.n_images, work.n_layers
    codes = n * layers * (work.mean_nnz * (2 if work.n_atoms <= 2**16 else 4) + 4 * work.mean_nnz)
    codes += 8 * n * layers
    side = work.config.thumbnail_px
    images = n * (120 + 0.45 * side**2)
    weights = 4 * layers * work.n_atoms * work.d_model
    weights *= 1 if work.config.dictionary.method == "ksvd" else 2
    figures = 400 * layers * work.n_atoms + 30 * layers * work.n_atoms * 20 + 8 * n * layers
    tokens = 4 * n * layers * work.d_model
    finished = codes + images + weights + figures
    kept = tokens if work.config.keep_tokens else 0.0
    most = finished + tokens + images + weights + figures
    return (finished + kept) / MB, most / MB


def with_speed(speed: Speed, **measured: float) -> Speed:
    """Return a speed with some of its figures replaced by measured ones."""
    return replace(speed, **measured, is_measured=True)
