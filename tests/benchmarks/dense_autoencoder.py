"""A TopK autoencoder trained by dense PyTorch autograd, as the peer of cgraph's training.

The same objective, start, schedule, selection bias and settings as `cgraph.sae.TopKSAE`, in the
plainest way: codes are a dense matrix and PyTorch makes the gradients.
"""

from __future__ import annotations

import numpy as np
import torch

MEMORY, SELECTION_STEP, WARMUP_STEPS = 0.02, 1e-3, 50


def factor(step: int, n_steps: int) -> float:
    """Warm up, hold over the first half, then fall linearly to a fiftieth."""
    return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, max(0.02, 2 * (1 - step / n_steps)))


def train(
    X: np.ndarray,
    n_atoms: int,
    max_nnz: int,
    n_steps: int,
    *,
    batch_size: int = 512,
    learning_rate: float = 3e-3,
    encoder_penalty: float = 0.3,
    input_noise: float = 1.0,
    usage_target: float = 0.5,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return atoms, the encoder's weight and bias, and the selection bias, for X as it is."""
    generator = torch.Generator().manual_seed(seed)
    scale = float(np.sqrt(np.mean(np.square(X, dtype=np.float64)) * X.shape[1]))
    data = torch.from_numpy(X / np.float32(scale))
    first = data[torch.randperm(len(data), generator=generator)[:n_atoms]]
    atoms = torch.nn.functional.normalize(first)
    encoder, bias = atoms.clone(), torch.zeros(n_atoms)
    parameters = [encoder, atoms, bias]
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.99))
    selection = torch.zeros(n_atoms)
    mean_usage = max_nnz / n_atoms
    usage = torch.full((n_atoms,), mean_usage)
    running_error = 1.0
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = learning_rate * factor(step, n_steps)
        batch = data[torch.randint(len(data), (batch_size,), generator=generator)]
        noise_scale = input_noise * (running_error / batch.shape[1]) ** 0.5
        noisy = batch + noise_scale * torch.randn(batch.shape, generator=generator)
        pre = noisy @ encoder.T + bias
        scores = pre.detach() + selection * (pre.detach() > 0)
        chosen = scores.topk(max_nnz, dim=1, sorted=False).indices
        coefficients = pre.gather(1, chosen).relu()
        codes = torch.zeros(batch_size, n_atoms).scatter(1, chosen, coefficients)
        error = (batch - codes @ atoms).square().sum(1).mean()
        exposure = (usage / mean_usage).clamp(max=1)
        penalty = (exposure * encoder.square().sum(1)).mean()
        loss = error + encoder_penalty * running_error * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            atoms.copy_(torch.nn.functional.normalize(atoms))
            running_error += MEMORY * (float(error) - running_error)
            counts = torch.bincount(chosen[coefficients > 0], minlength=n_atoms)
            usage.lerp_(counts / batch_size, MEMORY)
            if usage_target and step < 0.9 * n_steps:
                rare = usage < usage_target * mean_usage
                selection += SELECTION_STEP * torch.where(rare, 1.0, -1.0)
                selection.clamp_(min=0)
    arrays = [array.detach().numpy() for array in (atoms, encoder, bias, selection)]
    return arrays[0], arrays[1], arrays[2] * np.float32(scale), arrays[3] * np.float32(scale)
