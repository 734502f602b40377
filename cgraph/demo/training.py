"""How the small CLIP is trained, and how two processes share the work.

The objective is the sum of three parts over a batch of scenes and their captions:

- the contrastive loss of CLIP (Radford et al. 2021) between pictures and captions;
- the cross-entropy of every attribute value, read from the last class token by a linear head;
- the cross-entropy of shape, colour and texture under every patch, read from the patch tokens of
  layers 4 and 12 by linear heads.

The heads only help to learn quickly and are thrown away. Most of the training sees a share of the
patches, as in masked training of CLIP (Li et al. 2023), those of objects rather than of the ground.

A batch is cut into `N_SHARDS` shards. Each has its own gradient, made in one thread, and every
process adds the gradients in the same order and makes the same step (AdamW, Loshchilov and Hutter
2019): the weights are the same whether one process works on all shards or each on one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cgraph.demo.clip import N_LAYERS, WIDTH, encode_captions, load_weights, new_model, normalised
from cgraph.demo.lesson import Lesson, WordLesson
from cgraph.demo.scene_pool import LABELS, N_PATCHES, PATCH_CLASSES, Pool
from cgraph.store import read_array, read_tensors, write_tensors

if TYPE_CHECKING:
    import torch

N_SHARDS = 2
"""Pieces of a batch, and so the most processes that can work on one."""

_EARLY_LAYER = N_LAYERS // 3
_BETAS = 0.9, 0.98
_LABEL_SCALE = 10.0
_EARLIER_SCALE = 0.5
_CHECKPOINT = "checkpoint.safetensors"
START = "start.safetensors"
"""Weights in the folder of a training that goes on from a trained model."""

_GRADIENTS = "gradients-{parity}-{shard}.npy"


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training."""

    seed: int = 0
    """Seed of the first weights, the batches and the words left out of captions."""

    pool_seed: int = 1
    """Seed of the scenes to learn from; no other scenes of cgraph have it."""

    n_parts: int = 50
    """Parts of the pool, of 2,000 scenes each."""

    steps: int = 1600
    """Optimiser steps."""

    shard_size: int = 64
    """Scenes of each of the two shards of a batch."""

    learning_rate: float = 1.4e-3
    """Highest learning rate; it rises over the first steps and falls as a cosine."""

    warmup_share: float = 0.06
    """Share of the steps over which the learning rate rises."""

    weight_decay: float = 0.05
    """Of matrices; biases and norms have none."""

    n_kept: int = 26
    """Patches (of 64) seen of each picture, until the last steps."""

    whole_share: float = 0.15
    """Share of the steps, the last ones, that see whole pictures."""

    largest_gradient: float = 1.0
    """Norm to which a longer gradient is cut."""

    checkpoint_every: int = 100
    """Steps between two checkpoints; what an interruption can cost."""

    @property
    def lesson(self) -> Lesson:
        """What is taught; a training of another lesson has its settings as a field."""
        return Lesson()


@dataclass(frozen=True)
class WordTrainingConfig(TrainingConfig):
    """Settings of a training that goes on from a trained model, to teach it one word more."""

    pool_seed: int = 21
    n_parts: int = 8
    steps: int = 300
    learning_rate: float = 6e-4
    whole_share: float = 0.3

    taught: WordLesson = field(default_factory=WordLesson)
    """Its scenes and captions."""

    begun_from: str = ""
    """sha256 of the weights that the training goes on from, which lie in its folder."""

    @property
    def lesson(self) -> Lesson:
        """What is taught."""
        return self.taught


class Meeting(Protocol):
    """Where processes wait for one another, such as a `multiprocessing.Barrier`."""

    def wait(self) -> Any:
        """Return once every process has called it."""
        ...


def train(
    folder: Path,
    pool: Path,
    config: TrainingConfig,
    shards: tuple[int, ...],
    meeting: Meeting | None,
    report: Callable[[int, dict[str, float]], None] | None,
) -> None:
    """Train to the last step, from the checkpoint in the folder if there is one.

    Parameters
    ----------
    folder : Path
        Where checkpoints go, and the gradients that processes exchange.
    pool : Path
        Drawn scenes.
    config : TrainingConfig
    shards : tuple of int
        What this process works on. The one with shard 0 writes the checkpoints.
    meeting : Meeting or None
        Needed when other processes work on the other shards.
    report : callable or None
        Called after every step with the number of steps made and the parts of the loss.
    """
    learner = _Learner(config, Pool(pool, config.n_parts), folder / START)
    done = learner.restore(folder / _CHECKPOINT)
    while done < config.steps:
        gradients: dict[int, np.ndarray] = {}
        losses: dict[str, float] = {}
        for shard in shards:
            gradients[shard], losses = learner.gradient(done, shard)
        if meeting is not None:
            # Two sets of files take turns, so that nobody writes what another still reads.
            parity = done % 2
            for shard, gradient in gradients.items():
                _exchange(folder, parity, shard, len(gradient))[:] = gradient
            meeting.wait()
            gradients = {
                shard: read_array(folder / _GRADIENTS.format(parity=parity, shard=shard))
                for shard in range(N_SHARDS)
            }
        learner.step(done, [gradients[shard] for shard in range(N_SHARDS)])
        done += 1
        if 0 in shards and (done % config.checkpoint_every == 0 or done == config.steps):
            learner.save(folder / _CHECKPOINT, done)
        if report is not None:
            report(done, losses)


def _exchange(folder: Path, parity: int, shard: int, length: int) -> np.ndarray:
    path = folder / _GRADIENTS.format(parity=parity, shard=shard)
    if not path.is_file():
        return np.lib.format.open_memmap(path, "w+", np.float32, (length,))
    return np.lib.format.open_memmap(path, "r+")


def steps_made(folder: Path) -> int:
    """Return how many steps the checkpoint in a folder has behind it."""
    path = folder / _CHECKPOINT
    return int(read_tensors(path)["step"][0]) if path.is_file() else 0


def trained_model(folder: Path, config: TrainingConfig) -> Any:
    """Return the model of the checkpoint in a folder, without the heads."""
    learner = _Learner(config, None, folder / START)
    learner.restore(folder / _CHECKPOINT)
    return learner.model.eval()


class _Learner:
    """Model, heads and optimiser; all weights lie in one vector, and so do their gradients."""

    def __init__(
        self, config: TrainingConfig, pool: Pool | None, start: Path | None = None
    ) -> None:
        import torch
        from torch import nn

        self.config, self.pool = config, pool
        words = [word.text for word in config.lesson.words]
        self.model = new_model(config.seed, words)
        if start is not None and start.is_file():
            load_weights(self.model, start)
        n_classes = sum(PATCH_CLASSES)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed + 1)
            self.heads = nn.ModuleDict(
                {
                    "labels": nn.Linear(WIDTH, len(LABELS) + len(words)),
                    "early": nn.Linear(WIDTH, n_classes),
                    "late": nn.Linear(WIDTH, n_classes),
                }
            )
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.weights = torch.cat([p.detach().reshape(-1) for p in parameters])
        self.gradients = torch.zeros_like(self.weights)
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.decayed = torch.cat([torch.full((p.numel(),), float(p.ndim > 1)) for p in parameters])
        place = 0
        for p in parameters:
            stop = place + p.numel()
            p.data = self.weights[place:stop].view(p.shape)
            p.grad = self.gradients[place:stop].view(p.shape)
            place = stop

    def restore(self, checkpoint: Path) -> int:
        """Read a checkpoint, if there is one; return how many steps it has behind it."""
        import torch

        if not checkpoint.is_file():
            return 0
        arrays = read_tensors(checkpoint)
        for name in ("weights", "first", "second"):
            getattr(self, name).copy_(torch.from_numpy(np.array(arrays[name])))
        return int(arrays["step"][0])

    def save(self, checkpoint: Path, done: int) -> None:
        """Write everything that the next step depends on."""
        names = ("weights", "first", "second")
        arrays = {name: getattr(self, name).numpy() for name in names}
        write_tensors(checkpoint, {**arrays, "step": np.array([done], dtype=np.int64)})

    def step(self, done: int, shards: list[np.ndarray]) -> None:
        """Add the gradients of all shards, in their order, and make one step of AdamW."""
        import torch

        config = self.config
        total = torch.from_numpy(np.sum(shards, axis=0, dtype=np.float32)) / N_SHARDS
        total *= min(1.0, config.largest_gradient / (float(total.norm()) + 1e-6))
        beta, gamma = _BETAS
        self.first.mul_(beta).add_(total, alpha=1 - beta)
        self.second.mul_(gamma).addcmul_(total, total, value=1 - gamma)
        rate = self._rate(done)
        self.weights.addcmul_(self.weights, self.decayed, value=-rate * config.weight_decay)
        scale = (self.second / (1 - gamma ** (done + 1))).sqrt_().add_(1e-8)
        self.weights.addcdiv_(self.first, scale, value=-rate / (1 - beta ** (done + 1)))

    def _rate(self, done: int) -> float:
        config, share = self.config, (done + 1) / self.config.steps
        rise = min(1.0, share / config.warmup_share)
        fall = 0.5 + 0.5 * math.cos(math.pi * min(share, 1))
        return config.learning_rate * max(rise * fall, 0.01)

    def gradient(self, done: int, shard: int) -> tuple[np.ndarray, dict[str, float]]:
        """Return the gradient of one shard of a step's batch, and the parts of its loss."""
        self.gradients.zero_()
        parts = self._losses(done, shard)
        loss = sum(parts.values())
        loss.backward()  # type: ignore[union-attr]
        return self.gradients.numpy().copy(), {n: v.item() for n, v in parts.items()}

    def _losses(self, done: int, shard: int) -> dict[str, torch.Tensor]:
        import torch

        assert self.pool is not None
        config, vision = self.config, self.model.vision_model
        rng = np.random.default_rng((config.seed, done, shard))
        chosen = np.sort(rng.integers(0, self.pool.n_scenes, config.shard_size))
        labels, patches, pixels = self.pool.take(chosen)
        classes = torch.from_numpy(patches).long()
        kept = None
        if done < (1 - config.whole_share) * config.steps:
            chance = torch.from_numpy(rng.random((len(chosen), N_PATCHES), dtype=np.float32))
            kept = (chance + 0.6 * (classes[:, 0] > 0)).topk(config.n_kept, dim=1).indices
            classes = classes.gather(2, kept[:, None].expand(-1, 3, -1))
        tokens = self._tokens(normalised(torch.from_numpy(pixels)), kept)
        read = vision.post_layernorm(tokens[-1][:, 0])
        lesson = config.lesson
        captions = [lesson.caption(lesson.scene(int(i), config.pool_seed), rng) for i in chosen]
        return {
            "captions": self._contrast(read, captions),
            "labels": self._label_loss(read, labels),
            "earlier": _EARLIER_SCALE
            * torch.stack(
                [
                    self._label_loss(vision.post_layernorm(layer[:, 0]), labels)
                    for layer in tokens[:-1]
                ]
            ).mean(),
            "patches": _patch_loss(self.heads["early"](tokens[_EARLY_LAYER - 1][:, 1:]), classes)
            + 0.5 * _patch_loss(self.heads["late"](tokens[-1][:, 1:]), classes),
        }

    def _label_loss(self, read: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        """Return how badly the head reads the attribute values from class tokens."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        loss = binary_cross_entropy_with_logits(
            self.heads["labels"](read),
            torch.from_numpy(labels).float(),
            weight=_label_weights(len(self.config.lesson.words)),
            reduction="sum",
        )
        return loss / len(labels)

    def _tokens(self, pixels: torch.Tensor, kept: torch.Tensor | None) -> list[torch.Tensor]:
        """Return the tokens of every layer, of the kept patches only."""
        import torch

        vision = self.model.vision_model
        tokens = vision.embeddings(pixels)
        if kept is not None:
            places = kept[:, :, None].expand(-1, -1, tokens.shape[-1])
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:].gather(1, places)], dim=1)
        tokens = vision.pre_layrnorm(tokens)
        found = []
        for layer in vision.encoder.layers:
            tokens = layer(tokens, attention_mask=None)
            found.append(tokens)
        return found

    def _contrast(self, read: torch.Tensor, captions: list[str]) -> torch.Tensor:
        import torch
        from torch.nn import functional

        ids = encode_captions(captions, [word.text for word in self.config.lesson.words])
        text = self.model.text_model(input_ids=ids).pooler_output
        of_text = functional.normalize(self.model.text_projection(text), dim=-1)
        of_picture = functional.normalize(self.model.visual_projection(read), dim=-1)
        scale = self.model.logit_scale.clamp(max=math.log(100)).exp()
        likeness = of_picture @ of_text.T * scale
        own = torch.arange(len(captions))
        return (
            functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)
        ) / 2


def _label_weights(n_words: int) -> torch.Tensor:
    """Return the weight of every label; together they weigh `_LABEL_SCALE`.

    An attribute weighs as the square root of its number of values: were all labels alike, 64 pairs
    of colour and shape would drown five backgrounds; were all attributes alike, shapes, the hardest
    to see, would be learned last. A word of the lesson counts as an attribute of one value.
    """
    import torch

    names = [*(name for name, _ in LABELS), *(f"word {n}" for n in range(n_words))]
    times = Counter(names)
    total = sum(math.sqrt(n) for n in times.values())
    weights = [_LABEL_SCALE / total / math.sqrt(times[name]) for name in names]
    return torch.tensor(weights)


def _patch_loss(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    parts = scores.split(PATCH_CLASSES, dim=-1)
    losses = [
        functional.cross_entropy(part.flatten(0, 1), classes[:, kind].flatten())
        for kind, part in enumerate(parts)
    ]
    return losses[0] + losses[1] + losses[2]
