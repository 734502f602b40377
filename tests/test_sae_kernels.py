"""The compiled steps of the training against brute force and against torch's gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cgraph.dictionary import topk_codes
from cgraph.sae_activations import BatchTopK, Relu, TopK
from cgraph.sae_kernels import Active, decode, drop_below, group_by_atom, select
from cgraph.sae_training import Schedule, Settings, Training

torch = pytest.importorskip("torch")

N_SAMPLES, N_ATOMS, N_FEATURES, MAX_NNZ, MEAN_NNZ = 32, 20, 12, 6, 3


@pytest.mark.parametrize("n_atoms", [7, 33, 64])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_selection_is_that_of_sorting(n_atoms, data):
    numbers = st.floats(-4, 4, width=32)
    pre = data.draw(arrays(np.float32, (3, n_atoms), elements=numbers))
    bias = data.draw(arrays(np.float32, n_atoms, elements=numbers))
    selection = data.draw(arrays(np.float32, n_atoms, elements=st.sampled_from([0.0, 0.0, 16.0])))
    max_nnz = data.draw(st.integers(1, n_atoms))
    active = Active.empty(3, max_nnz)
    select(pre, bias, selection, active)
    for i in range(3):
        values = pre[i] + bias
        scores = values + selection
        # Sorted by score, equal ones by their place.
        order = [j for j in np.lexsort((np.arange(n_atoms), -scores)) if values[j] > 0][:max_nnz]
        n = len(order)
        assert active.indices[i, :n].tolist() == order
        np.testing.assert_array_equal(active.values[i, :n], values[order])
        np.testing.assert_array_equal(active.scores[i, :n], scores[order])
        assert (active.indices[i, n:] == -1).all()
        assert not active.values[i, n:].any()


def test_selection_in_training_and_in_use_agree():
    rng = np.random.default_rng(0)
    pre = rng.standard_normal((50, 200), dtype=np.float32)
    selection = rng.uniform(0, 1, 200).astype(np.float32)
    active = Active.empty(50, 9)
    select(pre, np.zeros(200, np.float32), selection, active)
    drop_below(active, 2.5)
    indices, coefficients = topk_codes(pre, selection, 9, 2.5)
    assert 0 < (indices >= 0).sum() < indices.size
    for i in range(50):
        order = np.argsort(np.where(active.indices[i] >= 0, active.indices[i], 999))
        np.testing.assert_array_equal(active.indices[i][order], indices[i])
        np.testing.assert_array_equal(active.values[i][order], coefficients[i])


def test_places_of_each_atom():
    indices = np.array([[2, 0, -1], [0, -1, -1], [3, 2, 0]], np.int32)
    starts, places = np.empty(6, np.int64), np.empty(9, np.int64)
    group_by_atom(indices, starts, places)
    found = [places[starts[j] : starts[j + 1]].tolist() for j in range(5)]
    assert found == [[1, 3, 8], [], [0, 7], [6], []]


def test_what_is_left_of_a_batch():
    batch = np.array([[3.0, 4.0], [1.0, 0.0]], np.float32)
    active = Active.empty(2, 1)
    active.indices[:] = [[1], [-1]]
    active.values[:] = [[2.0], [0.0]]
    residual = np.empty_like(batch)
    total = decode(batch, active, np.array([[1, 0], [0, 1]], np.float32), residual)
    np.testing.assert_array_equal(residual, [[3, 2], [1, 0]])
    assert total == 14


def _training(activation, **changes):
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, N_FEATURES), dtype=np.float32)
    given_ = Settings(
        n_atoms=N_ATOMS,
        max_steps=50,
        batch_size=N_SAMPLES,
        learning_rate=1e-3,
        encoder_penalty=0.3,
        input_noise=0.5,
        usage_target=0.5,
        max_bias=0.1,
        tol=1e-3,
        patience=None,
        record_every=10,
        seed=0,
    )
    scale = float(np.sqrt(np.square(X).sum(axis=1).mean()))
    training = Training(replace(given_, **changes), activation, X, np.arange(200), scale, None)
    training.parameters.encoder[:] += 0.2 * rng.standard_normal((N_ATOMS, N_FEATURES))
    training.parameters.bias[:] = 0.1 * rng.standard_normal(N_ATOMS)
    training.selection[:] = 0 if isinstance(activation, Relu) else rng.uniform(0, 0.2, N_ATOMS)
    training._usage[:] = rng.uniform(0, 2, N_ATOMS) * training._mean_usage
    training._running_error = 0.7
    return training


def _dense_mask(pre, selection, activation):
    """Say densely who is active."""
    scores = torch.where(pre > 0, pre + selection, -torch.inf)
    best = torch.zeros_like(pre, dtype=torch.bool)
    best.scatter_(1, scores.topk(activation.max_nnz, dim=1).indices, True)
    mask = best & (pre > 0)
    if isinstance(activation, BatchTopK):
        competing = torch.where(mask, scores, -torch.inf)
        bar = competing.flatten().topk(MEAN_NNZ * len(pre)).values[-1]
        mask &= competing >= bar
    return mask


@pytest.mark.parametrize("kind", [TopK, BatchTopK, Relu])
def test_gradients_are_those_of_the_dense_loss(kind):
    activation = kind(MAX_NNZ, MEAN_NNZ)
    activation.l1 = 0.15 if kind is Relu else 0.0
    training = _training(activation)
    names = ("encoder", "atoms", "bias")
    before = [
        torch.tensor(getattr(training.parameters, name).copy(), requires_grad=True)
        for name in names
    ]
    selection = torch.tensor(training.selection.copy())
    exposure = torch.tensor((training._usage / training._mean_usage).clip(max=1).astype("f4"))
    l1 = activation.l1
    training._step(0, Schedule(training._settings))

    encoder, atoms, bias = before
    batch, noisy = torch.tensor(training._batch), torch.tensor(training._noisy)
    pre = noisy @ encoder.T + bias
    codes = torch.where(_dense_mask(pre.detach(), selection, activation), pre, 0.0)
    loss = (batch - codes @ atoms).square().sum(dim=1).mean()
    loss = loss + l1 * (codes * exposure).sum(dim=1).mean()
    loss = loss + 0.3 * 0.7 * (exposure * encoder.square().sum(dim=1)).mean()
    loss.backward()
    for name, parameter in zip(names, before, strict=True):
        # After the first step of Adam its first moment is a tenth of the gradient.
        found = 10 * getattr(training._first, name)
        np.testing.assert_allclose(found, parameter.grad, atol=1e-6, rtol=2e-4)


def test_steps_are_those_of_adam():
    training = _training(TopK(MAX_NNZ, MAX_NNZ))
    schedule = Schedule(training._settings)
    encoder = torch.tensor(training.parameters.encoder.copy(), requires_grad=True)
    optimizer = torch.optim.Adam([encoder], betas=(0.9, 0.99))
    moments = np.zeros_like(training.parameters.encoder)
    for step in range(6):
        training._step(step, schedule)
        gradient = (training._first.encoder - 0.9 * moments) / 0.1
        moments = training._first.encoder.copy()
        encoder.grad = torch.tensor(gradient)
        optimizer.param_groups[0]["lr"] = 1e-3 * schedule.factor(step)
        optimizer.step()
        np.testing.assert_allclose(training.parameters.encoder, encoder.detach(), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(training.parameters.atoms, axis=1), 1, atol=1e-6)
