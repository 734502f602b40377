import dataclasses
import shutil

import numpy as np
import pytest

from cgraph.demo import scene_pool
from cgraph.demo.training import (
    N_SHARDS,
    TrainingConfig,
    _Learner,
    steps_made,
    train,
    trained_model,
)
from cgraph.demo.workers import draw_pool, train_model
from cgraph.store import read_tensors

CONFIG = TrainingConfig(n_parts=1, steps=4, shard_size=6, n_kept=10, checkpoint_every=2)
EVERY = tuple(range(N_SHARDS))


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    draw_pool(folder, CONFIG, 1, lambda *_: None)
    return folder


@pytest.fixture(scope="module")
def trained(pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(folder, pool, CONFIG, EVERY, None, None)
    return folder


def checkpoint(folder):
    return (folder / "checkpoint.safetensors").read_bytes()


def test_the_same_weights_for_one_worker_and_for_two(pool, trained, tmp_path):
    reports = []
    train_model(tmp_path, pool, CONFIG, 2, lambda *report: reports.append(report))
    assert checkpoint(tmp_path) == checkpoint(trained)
    assert [report[:2] for report in reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert "captions" in reports[0][2]


def test_an_interrupted_training_ends_with_the_same_weights(pool, trained, tmp_path):
    class Enough(Exception):
        pass

    def stop(done, losses):
        if done == 3:
            raise Enough

    with pytest.raises(Enough):
        train(tmp_path, pool, CONFIG, EVERY, None, stop)
    assert steps_made(tmp_path) == 2
    train(tmp_path, pool, CONFIG, EVERY, None, None)
    assert checkpoint(tmp_path) == checkpoint(trained)


def test_another_seed_gives_other_weights(pool, trained, tmp_path):
    train(tmp_path, pool, dataclasses.replace(CONFIG, seed=1), EVERY, None, None)
    assert checkpoint(tmp_path) != checkpoint(trained)


def test_the_step_is_that_of_torch(pool):
    """AdamW on the same gradients, with torch's own optimiser as the reference."""
    import torch

    learner = _Learner(CONFIG, scene_pool.Pool(pool, 1))
    parameters = [
        torch.nn.Parameter(p.detach().clone())
        for p in (*learner.model.parameters(), *learner.heads.parameters())
    ]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": CONFIG.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.98), eps=1e-8)
    for done in range(3):
        shards = [learner.gradient(done, shard)[0] for shard in EVERY]
        total = torch.from_numpy(sum(shards)) / N_SHARDS
        place = 0
        for p in parameters:
            p.grad = total[place : place + p.numel()].view(p.shape).clone()
            place += p.numel()
        torch.nn.utils.clip_grad_norm_(parameters, CONFIG.largest_gradient)
        for group in optimiser.param_groups:
            group["lr"] = learner._rate(done)
        optimiser.step()
        learner.step(done, shards)
    reference = torch.cat([p.detach().reshape(-1) for p in parameters])
    np.testing.assert_allclose(learner.weights, reference, rtol=0, atol=2e-6)


def test_the_learning_rate_rises_and_falls(pool):
    config = TrainingConfig(n_parts=1, steps=100, warmup_share=0.1)
    learner = _Learner(config, None)
    rates = np.array([learner._rate(done) for done in range(100)]) / config.learning_rate
    assert rates[0] < 0.15 and 0.9 < rates.max() < 1 and rates.argmax() == 9
    assert (np.diff(rates[9:]) <= 0).all() and rates[-1] == pytest.approx(0.01)


def test_training_lowers_every_part_of_the_loss(pool, tmp_path):
    config = dataclasses.replace(CONFIG, steps=60, shard_size=24, learning_rate=2e-3)
    losses = []
    train(tmp_path, pool, config, EVERY, None, lambda done, parts: losses.append(parts))
    for name in ("captions", "labels", "patches"):
        values = [parts[name] for parts in losses]
        assert np.mean(values[-5:]) < 0.97 * np.mean(values[:5]), name


def test_the_trained_model_has_the_weights_of_the_checkpoint(trained, tmp_path):
    model = trained_model(trained, CONFIG)
    weights = read_tensors(trained / "checkpoint.safetensors")["weights"]
    first = next(model.parameters()).detach().reshape(-1)
    np.testing.assert_array_equal(first, weights[: len(first)])
    shutil.copytree(trained, tmp_path / "copy")
    assert steps_made(tmp_path / "copy") == CONFIG.steps and steps_made(tmp_path) == 0
