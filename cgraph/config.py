"""What a build may be asked to do: frozen settings, their units, and the contradictions refused.

A `BuildConfig` is written into the manifest of every study, so that the same settings, inputs and
seed can be run again. Presets are plain instances of it.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from cgraph.errors import ConfigError

Method = Literal["topk-sae", "ksvd", "batch-topk-sae", "relu-sae", "imported"]
Encoder = Literal["own", "omp"]
Inputs = Literal["labels", "codes", "pre-activations"]
PenaltyUnit = Literal["absolute", "per-positive"]
FinalRows = Literal["all", "bag"]
ThresholdRule = Literal["matched", "half"]
Token = Literal["auto", "class", "mean", "pooled"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]

IMPORTED: Method = "imported"
METHODS: tuple[Method, ...] = tuple(name for name in get_args(Method) if name != IMPORTED)
ENCODERS: tuple[Encoder, ...] = get_args(Encoder)
"""What a dictionary may be learned by, and what its codes may be made by."""

TOKEN_KINDS: tuple[Token, ...] = get_args(Token)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""What may be read of a model, and the numbers it may run in."""

TRAIN, TUNE, HELD_OUT = "train", "tune", "held-out"
"""Names of the three parts of a split, in the order in which images are dealt to them."""

SPLIT_SHARES = {TRAIN: 0.70, TUNE: 0.15, HELD_OUT: 0.15}
"""Share of the images in each part."""

MIN_TRAIN_POSITIVES = 40
MIN_HELD_OUT_POSITIVES = 10
MAX_SCORED_PREVALENCE = 0.6
"""A concept is *scored* with at least so many positives in train and held-out images and a lower
prevalence than this; every average over concepts is taken over the scored ones."""


@dataclass(frozen=True)
class DictionaryConfig:
    """How the dictionary of each layer is learned."""

    method: Method = "topk-sae"
    """``topk-sae``: sparse autoencoder with a TopK activation (Gao et al. 2024); its labels are
    thresholds on a linear map. ``batch-topk-sae`` (Bussmann et al. 2024) and ``relu-sae`` (Bricken
    et al. 2023): autoencoders with a varying number of active concepts. ``ksvd``: K-SVD with
    orthogonal matching pursuit (Aharon et al. 2006), as in section 3.2 of the paper. ``imported``:
    made elsewhere, and taken over as it is; no other setting of a dictionary has an effect."""

    n_atoms: int | None = 192
    """Atoms (concepts) per layer. ``None``: four times the width of the model, as in the paper."""

    max_nnz: int = 10
    """Most active concepts of one token, and so the most nonzeros of a code."""

    mean_nnz: float | None = None
    """Wanted mean number of active concepts of a token, for methods with a varying number;
    ``None``: half of `max_nnz`."""

    encoder: Encoder = "own"
    """``own``: codes are made by what the method learned for it. ``omp``: by non-negative
    orthogonal matching pursuit on its atoms, for an autoencoder; K-SVD's own is a pursuit."""

    nonnegative: bool = True
    """Whether coefficients must be positive. An autoencoder's always are."""

    center: bool = True
    """Whether the mean training token is subtracted before coding. Without it a few atoms are
    active in nearly every image."""

    whiten: int = 0
    """Principal components kept and scaled to unit variance before a dictionary is learned; 0
    learns on the tokens as they are. For nearly degenerate tokens of small models."""

    whiten_strength: float = 1.0
    """How far the kept components are evened out: each is divided by this power of its standard
    deviation. 1 is whitening in full; less keeps labels easier to predict, 0 only projects."""

    starts: int = 1
    """Dictionaries learned from so many seeds. With more than one, the one is kept whose concepts
    stand best for what is known of the tune images: the Matthews correlation of each attribute
    value with its best concept, averaged over values and then over attributes. The image set must
    have attributes."""

    imported: str | None = None
    """sha256 of the dictionaries of all layers, in cgraph's own form, with method ``imported``."""

    steps: int | None = None
    """Most optimiser steps (autoencoder) or iterations (K-SVD); ``None`` takes the method's
    default."""

    max_tokens: int = 100_000
    """Most training tokens that a dictionary is learned on, and four times the most tune tokens
    that say when to stop. Of more images a seeded sample is taken, so that memory is bounded:
    16 · d_model bytes a token, with K-SVD 24."""


@dataclass(frozen=True)
class PredictorConfig:
    """How each concept is predicted from the layer before (paper, section 3.3 and Figure 1)."""

    inputs: Inputs = "labels"
    """``labels``: active or not (section 3.3.1). ``codes``: the coefficients. ``pre-activations``:
    the encoder's linear output of every concept, dense and slow. Real-valued inputs are divided
    by one scale per layer, so that the penalty means the same."""

    penalty: float = 0.004
    """The l1 penalty μ of ``Σ bce + μ‖θ‖₁``, in the unit named by `penalty_unit`."""

    penalty_unit: PenaltyUnit = "per-positive"
    """``absolute``: μ itself, as in the paper. ``per-positive``: times the positives drawn into
    the bag, half its rows, so that rare and common concepts keep comparable parents."""

    n_bags: int = 20
    """T, the number of balanced bags on which features are selected."""

    keep_share: float = 0.8
    """A feature is kept when its weight is nonzero in more than this share of the bags."""

    bag_cap: int | None = 1000
    """Most positives (and as many negatives) drawn into a bag; ``None``: as many as there are."""

    final_rows: FinalRows = "all"
    """What the final fit is made on, with the kept features only. ``bag``: one more balanced bag,
    as in the paper. ``all``: every training image once, weighted so that both classes count as
    much as in a bag, which is the mean of infinitely many bags and so without their noise."""

    min_positives: int = MIN_TRAIN_POSITIVES
    """Concepts with fewer training positives get no predictor."""

    threshold: ThresholdRule = "matched"
    """``matched``: each concept's τ makes it predicted as often on the tune images as it occurs.
    ``half``: a balanced probability of 0.5, as in the paper."""

    max_train: int = 500_000
    """Most training images that predictors are fitted on; of more a seeded sample is taken. How
    often a concept occurs is counted on all of them."""

    max_measured: int = 50_000
    """Most tune images that calibrate and name, and most held-out images that figures of
    predictors are measured on; of more a seeded sample is taken."""


@dataclass(frozen=True)
class BuildConfig:
    """All settings of one study."""

    preset: str = "default"
    """Name of the preset that the settings started from."""

    seed: int = 0
    """Seed of every random step."""

    max_images: int | None = None
    """Size of the seeded sample over the whole image set; ``None`` takes every image."""

    part_size: int = 1024
    """Images in one part of the tokens and codes. A part is written by one worker."""

    batch_size: int = 32
    """Images in one forward pass."""

    token: Token = "auto"
    """What is read of the model after every layer. ``class``: its class token. ``mean``: the mean
    of its patch tokens. ``pooled``: what its pooling head makes of them, as SigLIP has one.
    ``auto``: the class token where there is one, and the mean otherwise."""

    device: str = "auto"
    """Where the model runs: ``cpu``, ``cuda`` or another name that torch knows; ``auto`` takes an
    accelerator where there is one."""

    precision: Precision = "auto"
    """Numbers that the model runs in: ``float32``, ``float16`` or ``bfloat16``; ``auto`` is float32
    on the processor and float16 on an accelerator. Tokens are stored as float32 in any case."""

    thumbnail_px: int = 96
    """Longest side of the stored thumbnails, in pixels."""

    keep_tokens: bool = False
    """Whether the class tokens stay in the study once it is built (4 · L · d_model bytes each)."""

    dictionary: DictionaryConfig = field(default_factory=DictionaryConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)

    def __post_init__(self) -> None:
        _check_dictionary(self.dictionary)
        _check_predictor(self.predictor)
        _yes_or_no("keep_tokens", self.keep_tokens)
        _one_of("token", self.token, TOKEN_KINDS)
        _one_of("precision", self.precision, PRECISIONS)
        if not isinstance(self.device, str) or not self.device:
            raise ConfigError(f"device is {self.device!r}: give 'auto', 'cpu' or 'cuda'.")
        _at_least("seed", self.seed, 0)
        for name in ("part_size", "batch_size", "thumbnail_px"):
            _at_least(name, getattr(self, name), 1)
        if self.max_images is not None:
            _at_least("max_images", self.max_images, 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return dataclasses.asdict(self)

    def to_manifest(self) -> dict[str, Any]:
        """Return what a manifest says: without `_LATER_FIELDS` that have their defaults.

        A study that such a field does not touch has the same bytes as before there was one.
        """
        values = self.to_dict()
        for part, kind in (("dictionary", DictionaryConfig), ("predictor", PredictorConfig)):
            for name in _LATER_FIELDS[part]:
                if values[part][name] == getattr(kind, name):
                    del values[part][name]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BuildConfig:
        """Read settings written by `to_dict`.

        Raises
        ------
        ConfigError
            If a name is unknown or a value is out of range.
        """
        values = dict(values)
        try:
            dictionary = DictionaryConfig(**values.pop("dictionary", {}))
            predictor = PredictorConfig(**values.pop("predictor", {}))
            return cls(**values, dictionary=dictionary, predictor=predictor)
        except ConfigError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"The settings hold a name or value that this version does not know ({error}). "
                "Build the study again, or use the version of cgraph that wrote it."
            ) from None

    def with_options(
        self,
        *,
        seed: int | None = None,
        max_images: int | None = None,
        n_atoms: int | None = None,
        max_nnz: int | None = None,
        method: Method | None = None,
        encoder: Encoder | None = None,
        token: Token | None = None,
        device: str | None = None,
        precision: Precision | None = None,
    ) -> BuildConfig:
        """Return these settings with the given ones replaced; ``None`` leaves a setting alone."""
        top = {
            "seed": seed,
            "max_images": max_images,
            "token": token,
            "device": device,
            "precision": precision,
        }
        inner = {"n_atoms": n_atoms, "max_nnz": max_nnz, "method": method, "encoder": encoder}
        dictionary = dataclasses.replace(self.dictionary, **_given(inner))
        return dataclasses.replace(self, dictionary=dictionary, **_given(top))


_LATER_FIELDS: dict[str, tuple[str, ...]] = {
    "dictionary": ("max_tokens", "imported"),
    "predictor": ("max_train", "max_measured"),
}
"""Settings that came after schema 1 of the study folder, by their part."""


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _check_dictionary(config: DictionaryConfig) -> None:
    _one_of("dictionary method", config.method, get_args(Method))
    if (config.method == IMPORTED) != (config.imported is not None):
        raise ConfigError(
            f"method {config.method!r} and imported={config.imported!r} contradict each other. "
            "Dictionaries made elsewhere are given with --dictionary."
        )
    _one_of("encoder", config.encoder, ENCODERS)
    _yes_or_no("nonnegative", config.nonnegative)
    _yes_or_no("center", config.center)
    _at_least("max_nnz", config.max_nnz, 1)
    _at_least("whiten", config.whiten, 0)
    _at_least("starts", config.starts, 1)
    if not 0 <= config.whiten_strength <= 1:
        raise ConfigError(
            f"whiten_strength is {config.whiten_strength}: it must lie between 0 and 1."
        )
    if config.whiten_strength != 1 and not config.whiten:
        raise ConfigError(
            f"whiten_strength={config.whiten_strength} and whiten=0 contradict each other: nothing "
            "is whitened. Set whiten to the number of components to keep."
        )
    if config.n_atoms is not None:
        _at_least("n_atoms", config.n_atoms, 2)
        if config.max_nnz > config.n_atoms:
            raise ConfigError(
                f"max_nnz is {config.max_nnz} and n_atoms {config.n_atoms}: a token cannot have "
                "more active concepts than there are. Lower max_nnz or raise n_atoms."
            )
    if config.steps is not None:
        _at_least("steps", config.steps, 1)
    _at_least("max_tokens", config.max_tokens, 8)
    if config.n_atoms is not None and config.n_atoms > config.max_tokens:
        raise ConfigError(
            f"n_atoms is {config.n_atoms} and max_tokens {config.max_tokens}: a dictionary needs "
            "at least one training token for each atom. Lower n_atoms or raise max_tokens."
        )
    if config.method not in ("ksvd", IMPORTED) and not config.nonnegative:
        raise ConfigError(
            f"method {config.method!r} and nonnegative=False contradict each other: an "
            "autoencoder's coefficients are never negative. Choose method 'ksvd' for signed codes."
        )
    if config.mean_nnz is not None:
        _check_mean(config, config.mean_nnz)
    if config.whiten and not config.center:
        raise ConfigError(
            f"whiten={config.whiten} and center=False contradict each other: principal "
            "components are taken about the mean. Leave center on."
        )


def _check_mean(config: DictionaryConfig, mean_nnz: float) -> None:
    if config.method not in ("batch-topk-sae", "relu-sae"):
        raise ConfigError(
            f"mean_nnz={mean_nnz} and method {config.method!r} contradict each other: a token has "
            "max_nnz active concepts there. Leave mean_nnz out, or choose method "
            "'batch-topk-sae' or 'relu-sae'."
        )
    if config.encoder == "omp":
        raise ConfigError(
            f"mean_nnz={mean_nnz} and encoder 'omp' contradict each other: a pursuit takes max_nnz "
            "atoms. Leave mean_nnz out, or choose encoder 'own'."
        )
    if isinstance(mean_nnz, bool) or not 0 < mean_nnz <= config.max_nnz:
        raise ConfigError(
            f"mean_nnz is {mean_nnz!r}: it must be a number above 0 and at most max_nnz, which is "
            f"{config.max_nnz}. Lower mean_nnz or raise max_nnz."
        )


def _check_predictor(config: PredictorConfig) -> None:
    _one_of("predictor inputs", config.inputs, ("labels", "codes", "pre-activations"))
    _one_of("penalty_unit", config.penalty_unit, ("absolute", "per-positive"))
    _one_of("final_rows", config.final_rows, ("all", "bag"))
    _one_of("threshold rule", config.threshold, ("matched", "half"))
    _at_least("n_bags", config.n_bags, 1)
    _at_least("min_positives", config.min_positives, 1)
    _at_least("max_train", config.max_train, 1)
    _at_least("max_measured", config.max_measured, 1)
    if config.bag_cap is not None:
        _at_least("bag_cap", config.bag_cap, 1)
    if not (math.isfinite(config.penalty) and config.penalty > 0):
        raise ConfigError(f"The penalty is {config.penalty}: it must be a number above 0.")
    if not 0 <= config.keep_share < 1:
        raise ConfigError(f"keep_share is {config.keep_share}: it must be at least 0, below 1.")
    if config.penalty_unit == "per-positive" and config.penalty >= 1:
        raise ConfigError(
            f"A penalty of {config.penalty} per positive removes every parent: values from .002 "
            "to .01 are usual. For the paper's form set penalty_unit to 'absolute'."
        )


def _at_least(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ConfigError(f"{name} is {value!r}: it must be a whole number of at least {lowest}.")


def _yes_or_no(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}: it must be True or False.")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"The {name} is {value!r}. Allowed: {', '.join(allowed)}.")


PRESETS: dict[str, BuildConfig] = {
    "default": BuildConfig(),
    "paper": BuildConfig(
        preset="paper",
        dictionary=DictionaryConfig(method="ksvd", n_atoms=None, max_nnz=10, nonnegative=False),
        predictor=PredictorConfig(
            penalty=5.0,
            penalty_unit="absolute",
            bag_cap=None,
            final_rows="bag",
            threshold="half",
        ),
    ),
}
"""``default``: the autoencoder, whose labels can be predicted. ``paper``: K-SVD, 4 · d_model atoms,
ten signed nonzeros, μ = 5, threshold 0.5 (paper, section 4.1)."""


def preset(name: str) -> BuildConfig:
    """Return the preset of that name.

    Raises
    ------
    ConfigError
        If there is none; the message lists those that exist.
    """
    if name not in PRESETS:
        raise ConfigError(f"No preset is called {name!r}. Presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
