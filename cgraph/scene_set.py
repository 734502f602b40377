"""Drawn scenes as a set of images: a small file says how many, and which seed.

The file holds JSON such as ``{"scenes": 6000, "seed": 2}``. Nothing else is stored: every scene
is drawn when it is read, and its attributes are exact. It may add words that hold by a rule, such
as ``"words": {"approved": {"texture": "striped"}}``; each is an attribute that is true or false.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from cgraph.errors import DataError, ImageError
from cgraph.image_set import ImageRecord, ImageSet, checked_row, facts_of, with_facts
from cgraph.scene_drawing import draw
from cgraph.scene_word import read_words
from cgraph.scenes import ATTRIBUTE_VALUES, Scene, attributes, sample_scene

_DRAWING = 1  # raised whenever a scene gets other pixels or attributes


class SceneSet(ImageSet):
    """Scenes 0, 1, … of one seed.

    Parameters
    ----------
    path : Path
        The file that describes the set.

    Raises
    ------
    ImageError
        If it describes none.
    """

    kind = "drawn scenes"

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            values = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ImageError(f"{path} cannot be read as JSON ({error}).") from None
        wanted = values if isinstance(values, dict) else {}
        n_scenes, self.seed = (wanted.get(name, 0) for name in ("scenes", "seed"))
        whole = type(n_scenes) is int and type(self.seed) is int
        if not whole or "scenes" not in wanted or set(wanted) - {"scenes", "seed", "words"}:
            raise ImageError(
                f"{path} describes no drawn scenes. Write how many, and a seed: "
                '{"scenes": 6000, "seed": 2}.'
            )
        if n_scenes < 1 or self.seed < 0:
            raise ImageError(
                f"{path} asks for {n_scenes} scenes of seed {self.seed}: at least one scene and a "
                "seed of at least 0 are needed."
            )
        try:
            self.words = read_words(wanted.get("words", {}))
        except DataError as error:
            raise ImageError(f"{path} cannot be used. {error}") from None
        self._n_scenes = n_scenes
        self._take(range(n_scenes))

    def _take(self, indices: Sequence[int]) -> None:
        self._indices = indices
        self.image_ids = [f"scene-{index:06d}" for index in indices]
        self.attribute_names = [*ATTRIBUTE_VALUES, "caption", *(word.text for word in self.words)]

    def scene(self, row: int) -> Scene:
        """Return what the picture of one row shows."""
        return sample_scene(self._indices[checked_row(row, len(self))], self.seed)

    @property
    def name(self) -> str:
        """What to call the set."""
        return self.kind

    def read(self, row: int) -> ImageRecord:
        """Draw the scene of one row; see `ImageSet.read`."""
        scene = self.scene(row)
        holds = {word.text: word.holds(scene) for word in self.words}
        return ImageRecord(self.image_ids[row], draw(scene), {**attributes(scene), **holds})

    def picture(self, row: int, size: int) -> Image.Image:
        """Draw the scene of one row at the size that is wanted."""
        return draw(self.scene(row), size)

    def listing_fingerprint(self) -> str:
        """Fingerprint of the set; see `ImageSet.listing_fingerprint`."""
        described = f"drawing {_DRAWING}, {self._n_scenes} scenes of seed {self.seed}"
        if self.words:
            described += f", words {json.dumps(self._rules())}"
        return hashlib.sha256(described.encode()).hexdigest()

    def listing(self, rows: np.ndarray) -> pa.Table:
        """Return what is needed to draw some rows; see `ImageSet.listing`."""
        indices = pa.array([self._indices[row] for row in rows.tolist()], type=pa.int64())
        return with_facts(
            pa.table({"index": indices}),
            path=str(self.path),
            seed=self.seed,
            n_scenes=self._n_scenes,
            words=self._rules(),
        )

    def _rules(self) -> dict[str, dict[str, str]]:
        return {text: rule for word in self.words for text, rule in word.to_rule().items()}

    @classmethod
    def from_listing(cls, table: pa.Table) -> SceneSet:
        """Return the set of the listed scenes; see `ImageSet.from_listing`."""
        facts = facts_of(table)
        found = cls.__new__(cls)
        found.path, found.seed = Path(facts["path"]), facts["seed"]
        found._n_scenes, found.words = facts["n_scenes"], read_words(facts.get("words", {}))
        found._take(table.column("index").to_pylist())
        return found


def describes_scenes(path: Path) -> bool:
    """Return whether a JSON file asks for scenes, or at least lists nothing else."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    if isinstance(values, dict):
        return not any(isinstance(value, list) for value in values.values())
    return not isinstance(values, list) or not any(isinstance(row, dict) for row in values)
