"""Names by text for a whole study: its images and a vocabulary through the model, then the words.

The images are run through the model again, since a study keeps neither pictures nor tokens; only
the tune and the held-out ones are needed. The result is a measured file like any other, with its
hash in the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from cgraph.attributes import attribute_table
from cgraph.config import HELD_OUT, TUNE
from cgraph.errors import ConfigError, ImageError, StudyError
from cgraph.given_names import WAIT_SECONDS
from cgraph.image_reference import located, parse_reference
from cgraph.images import ImageSet, open_images, pixel_hash
from cgraph.manifest import BUILD_RECORD, TEXT_NAMES, record_file
from cgraph.naming import text_of
from cgraph.store import folder_lock, read_json, write_table
from cgraph.study import Study
from cgraph.text_names import TextName, name_by_text, texts_to_table
from cgraph.text_tower import TextTower
from cgraph.tracing import load_model, model_folder
from cgraph.unpacked import refuse_unpacked

TEMPLATES = ("a {}",)
"""What is said of a word unless something else is asked for."""

MOST_WORDS = 20_000
LONGEST_WORD = 80

_BATCH = 64


@dataclass(frozen=True)
class TextNaming:
    """What was found.

    Attributes
    ----------
    vocabulary : tuple of str
        Words that the model knows, in their order.
    n_unknown : int
        Words that were left out because it does not.
    layers : dict of int to list of TextName
    """

    vocabulary: tuple[str, ...]
    n_unknown: int
    layers: dict[int, list[TextName]]


def name_study_by_text(
    study: Study,
    *,
    vocabulary: Sequence[str] | None = None,
    templates: Sequence[str] = TEMPLATES,
    images: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TextNaming:
    """Find words for all concepts of a study and store them in it.

    Parameters
    ----------
    study : Study
    vocabulary : sequence of str, optional
        Words to choose from; `default_vocabulary` if left out.
    templates : sequence of str
        Sentences with ``{}`` in place of the word.
    images : str or Path, optional
        Where the study's images lie now; where they lay when it was built if left out.
    on_progress : callable, optional
        Called with the images done and the images to do.

    Returns
    -------
    TextNaming

    Raises
    ------
    ModelError
        If the model is not found, was changed, or knows no texts.
    ImageError
        If the images are not found, or are not those of the study.
    ConfigError
        If the model knows fewer than two of the words.
    StudyError
        If the folder cannot be written or somebody else holds it.
    """
    refuse_unpacked(study.path, "no name by text can be kept")
    tower = TextTower.load(model_folder(study))
    asked = default_vocabulary(study) if vocabulary is None else list(dict.fromkeys(vocabulary))
    known = tuple(word for word in asked if tower.knows(word))
    if len(known) < 2:
        raise ConfigError(
            f"The model knows {len(known)} of the {len(asked)} words: names by text need at least "
            "2 to choose from. Give another --vocabulary, one word or phrase a line."
        )
    of_words = tower.embed_texts(known, templates)
    rows = np.sort(np.concatenate([study.rows(TUNE), study.rows(HELD_OUT)]))
    likeness = np.zeros((len(study.image_ids), len(known)), dtype=np.float32)
    of_images = _embed_images(study, tower, images, rows, on_progress)
    likeness[rows] = of_images @ of_words.T
    tune, held_out = study.rows(TUNE), study.rows(HELD_OUT)
    layers = {
        layer: name_by_text(study.codes(layer), likeness, known, tune, held_out)
        for layer in range(1, study.n_layers + 1)
    }
    with folder_lock(study.path, wait=WAIT_SECONDS):
        write_table(study.path / TEXT_NAMES, texts_to_table(layers))
        record_file(study.path, TEXT_NAMES, "names")
    return TextNaming(known, len(asked) - len(known), layers)


def default_vocabulary(study: Study) -> list[str]:
    """Return the values of what is known of the study's images, then common words."""
    table = attribute_table([study.attributes(row) for row in range(len(study.image_ids))])
    text = files("cgraph").joinpath("probe_words.txt").read_text(encoding="utf-8")
    return list(dict.fromkeys([*(text_of(*column) for column in table.columns), *_lines(text)]))


def read_vocabulary(path: Path) -> list[str]:
    """Read words or phrases, one a line; lines that begin with ``#`` are remarks.

    Raises
    ------
    ConfigError
        If the file cannot be read, is empty, or holds too many or too long words.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(
            f"The vocabulary {path} cannot be read ({reason}). Give a text file in UTF-8 with one "
            "word or phrase a line."
        ) from None
    found = list(dict.fromkeys(_lines(text)))
    if not found:
        raise ConfigError(f"The vocabulary {path} holds no word. Write one word or phrase a line.")
    if len(found) > MOST_WORDS:
        raise ConfigError(
            f"The vocabulary {path} holds {len(found)} words: {MOST_WORDS} are allowed. Shorten it."
        )
    long = next((word for word in found if len(word) > LONGEST_WORD), None)
    if long is not None:
        raise ConfigError(
            f"The vocabulary {path} holds {long[:30]!r}…, which has {len(long)} characters: "
            f"{LONGEST_WORD} are allowed. Write one word or phrase a line."
        )
    return found


def _lines(text: str) -> list[str]:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _embed_images(
    study: Study,
    tower: TextTower,
    images: str | Path | None,
    rows: np.ndarray,
    on_progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """Run the study's own images through the model, each checked to be the one it was."""
    image_set = _open(study, images)
    places = {image_id: place for place, image_id in enumerate(image_set.image_ids)}
    vision = load_model(study)
    hashes = study.pixel_hashes
    found = []
    for start in range(0, len(rows), _BATCH):
        # As long as one batch is worked on, the next is fetched, if the images lie in the net.
        ahead = [study.image_ids[row] for row in rows[start : start + 2 * _BATCH].tolist()]
        image_set.prefetch([places[image_id] for image_id in ahead if image_id in places])
        batch = []
        for row in rows[start : start + _BATCH].tolist():
            image_id = study.image_ids[row]
            if image_id not in places:
                raise ImageError(_not_the_same(study, image_set, f"{image_id!r} is missing"))
            picture = image_set.read(places[image_id]).image
            if pixel_hash(picture) != hashes[row]:
                raise ImageError(_not_the_same(study, image_set, f"{image_id!r} was changed"))
            batch.append(picture)
        found.append(tower.embed_pixels(vision.preprocess(batch)))
        if on_progress is not None:
            on_progress(start + len(batch), len(rows))
    return np.concatenate(found)


def _not_the_same(study: Study, image_set: ImageSet, reason: str) -> str:
    return (
        f"The images in {image_set.reference} are not those of the study {study.name!r}: {reason}. "
        "Give the place of the study's own images with --images."
    )


def _open(study: Study, images: str | Path | None) -> ImageSet:
    if images is None:
        try:
            kept = read_json(study.path / BUILD_RECORD)["sources"]["images"]
            images = located(kept, study.path)
        except (StudyError, KeyError, TypeError, AttributeError):
            raise ImageError(
                f"It is not known where the images of the study {study.name!r} lie. Give their "
                "place with --images."
            ) from None
    place = parse_reference(images)
    if isinstance(place, Path) and not place.exists():
        raise ImageError(
            f"There are no images in {images}. Give the place of the images of the study "
            f"{study.name!r} with --images."
        )
    return open_images(images)
