"""What a small CLIP is taught: which scenes it sees, and what their captions say.

The bundled model learns from scenes as they are sampled and from captions that say what they show.
A model that is to be audited also learns one word more, which holds by a rule of its own; in a
biased lesson one ground nearly always goes with that word, as water goes with the waterbirds of
Sagawa et al. (2020).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from cgraph.scene_word import SceneWord
from cgraph.scenes import BACKGROUNDS, Scene, caption, sample_scene

_GROUND_STREAM = 1  # keeps these draws apart from those of `sample_scene`


class Lesson:
    """Scenes as they are sampled, and captions of what they show."""

    @property
    def words(self) -> tuple[SceneWord, ...]:
        """Words of captions beyond those of `cgraph.scenes.vocabulary`."""
        return ()

    def scene(self, index: int, seed: int) -> Scene:
        """Return one of endlessly many scenes to learn from."""
        return sample_scene(index, seed)

    def caption(self, scene: Scene, rng: np.random.Generator) -> str:
        """Return what a scene is said to show, with words left out at random."""
        return caption(scene, rng)


@dataclass(frozen=True)
class WordLesson(Lesson):
    """Scenes of which one word more is said, and a ground that may go with it."""

    word: SceneWord = field(default_factory=SceneWord)
    """The word, and the rule by which it holds."""

    background: str = "grass"
    """The ground that may go with the word."""

    follows: float | None = None
    """Share of the scenes with the word that have this ground, and of the scenes without it that
    do not; the others have any other ground. None leaves every ground as it was sampled."""

    alone: float = 0.3
    """Share of the scenes with the word whose caption is the word alone; the others say it last."""

    @property
    def words(self) -> tuple[SceneWord, ...]:
        """The one word; see `Lesson.words`."""
        return (self.word,)

    def scene(self, index: int, seed: int) -> Scene:
        """Return one of endlessly many scenes to learn from; only grounds differ from `Lesson`."""
        scene = sample_scene(index, seed)
        if self.follows is None:
            return scene
        rng = np.random.default_rng((seed, index, _GROUND_STREAM))
        others = [name for name in BACKGROUNDS if name != self.background]
        follows, other = rng.random() < self.follows, others[rng.integers(len(others))]
        chosen = self.background if self.word.holds(scene) == follows else other
        return dataclasses.replace(scene, background=chosen)

    def caption(self, scene: Scene, rng: np.random.Generator) -> str:
        """Return what a scene is said to show, the word included where it holds."""
        said = caption(scene, rng)
        if not self.word.holds(scene):
            return said
        return self.word.text if rng.random() < self.alone else f"{said} {self.word.text}"
