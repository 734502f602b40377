import dataclasses

import pytest

from cgraph.config import PRESETS, BuildConfig, DictionaryConfig, PredictorConfig, preset
from cgraph.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = preset(name)
    assert config.preset == name
    assert BuildConfig.from_dict(config.to_dict()) == config


def test_the_paper_preset_is_the_papers():
    config = preset("paper")
    assert config.dictionary.method == "ksvd"
    assert config.dictionary.n_atoms is None
    assert config.dictionary.max_nnz == 10
    assert not config.dictionary.nonnegative
    assert (config.predictor.penalty, config.predictor.penalty_unit) == (5.0, "absolute")
    assert (config.predictor.n_bags, config.predictor.keep_share) == (20, 0.8)
    assert config.predictor.bag_cap is None
    assert config.predictor.threshold == "half"


def test_options_replace_only_what_is_given():
    config = preset("default").with_options(seed=3, n_atoms=64, method="relu-sae", encoder="omp")
    assert (config.dictionary.method, config.dictionary.encoder) == ("relu-sae", "omp")
    assert (config.seed, config.dictionary.n_atoms) == (3, 64)
    assert config.max_images is None
    assert config.dictionary.max_nnz == preset("default").dictionary.max_nnz


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"No preset is called 'big'. Presets: default, paper"):
        preset("big")
    with pytest.raises(ConfigError, match="does not know"):
        BuildConfig.from_dict({"colour": "red"})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"max_images": 0}, "max_images is 0"),
        ({"part_size": 0}, "part_size is 0"),
        ({"batch_size": True}, "batch_size is True"),
        ({"token": "patch"}, "token is 'patch'. Allowed: auto, class, mean, pooled"),
        ({"precision": "int8"}, "precision is 'int8'. Allowed: auto, float32, float16, bfloat16"),
        ({"device": ""}, "device is ''"),
    ],
)
def test_values_out_of_range(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BuildConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"method": "pca"}, "dictionary method is 'pca'. Allowed: topk-sae, ksvd"),
        ({"n_atoms": 1}, "n_atoms is 1"),
        ({"n_atoms": 8, "max_nnz": 9}, "max_nnz is 9 and n_atoms 8"),
        ({"nonnegative": False}, "'topk-sae' and nonnegative=False contradict"),
        ({"center": False, "whiten": 4}, "whiten=4 and center=False contradict"),
        ({"steps": 0}, "steps is 0"),
        ({"encoder": "lasso"}, "encoder is 'lasso'. Allowed: own, omp"),
        ({"method": "relu-sae", "nonnegative": False}, "'relu-sae' and nonnegative=False"),
        ({"mean_nnz": 3}, r"mean_nnz=3 and method 'topk-sae' contradict.*or choose method"),
        ({"method": "relu-sae", "mean_nnz": 3, "encoder": "omp"}, "mean_nnz=3 and encoder 'omp'"),
        ({"method": "relu-sae", "mean_nnz": 11}, "mean_nnz is 11.*at most max_nnz, which is 10"),
        ({"method": "relu-sae", "mean_nnz": 0}, "mean_nnz is 0"),
    ],
)
def test_dictionary_settings_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BuildConfig(dictionary=DictionaryConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"inputs": "pixels"}, "predictor inputs is 'pixels'"),
        ({"penalty": 0.0}, "penalty is 0.0"),
        ({"penalty": float("nan")}, "penalty is nan"),
        ({"penalty": 5.0}, "removes every parent.*penalty_unit to 'absolute'"),
        ({"keep_share": 1.0}, "keep_share is 1.0"),
        ({"n_bags": 0}, "n_bags is 0"),
        ({"bag_cap": 0}, "bag_cap is 0"),
        ({"threshold": "best"}, "threshold rule is 'best'"),
    ],
)
def test_predictor_settings_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        BuildConfig(predictor=PredictorConfig(**settings))


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("default").seed = 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"whiten": 5, "whiten_strength": 1.5}, "whiten_strength is 1.5: it must lie between"),
        ({"whiten_strength": 0.5}, "whiten_strength=0.5 and whiten=0 contradict each other"),
        ({"starts": 0}, "starts is 0: it must be a whole number of at least 1"),
    ],
)
def test_settings_of_the_preparation(settings, message):
    with pytest.raises(ConfigError, match=message):
        BuildConfig(dictionary=DictionaryConfig(**settings))


def test_a_manifest_names_limits_only_where_they_were_changed():
    """Studies that no limit touches keep the bytes that they had before there were limits."""
    stored = BuildConfig().to_manifest()
    assert BuildConfig.from_dict(stored) == BuildConfig()
    for part, names in (("dictionary", ["max_tokens"]), ("predictor", ["max_train"])):
        assert not {*names} & {*stored[part]}
    changed = BuildConfig(
        dictionary=DictionaryConfig(max_tokens=5000), predictor=PredictorConfig(max_measured=70)
    )
    stored = changed.to_manifest()
    assert stored["dictionary"]["max_tokens"] == 5000
    assert stored["predictor"]["max_measured"] == 70
    assert "max_train" not in stored["predictor"]
    assert BuildConfig.from_dict(stored) == changed


@pytest.mark.parametrize(
    ("kind", "settings", "sentence"),
    [
        (DictionaryConfig, {"max_tokens": 0}, "max_tokens is 0"),
        (
            DictionaryConfig,
            {"n_atoms": 300, "max_tokens": 200},
            "n_atoms is 300 and max_tokens 200.*Lower n_atoms or raise max_tokens",
        ),
        (PredictorConfig, {"max_train": 0}, "max_train is 0"),
        (PredictorConfig, {"max_measured": -1}, "max_measured is -1"),
    ],
)
def test_limits_out_of_range(kind, settings, sentence):
    name = "dictionary" if kind is DictionaryConfig else "predictor"
    with pytest.raises(ConfigError, match=sentence):
        BuildConfig(**{name: kind(**settings)})
