"""The pictures behind a study's rows, where they can still be had.

A study keeps thumbnails and codes, not pictures. The network needs the picture itself: of drawn
scenes it is drawn again; otherwise the image set that the study was built from is opened, if it is
still where it was and lists the same images.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from PIL.Image import Image

from cgraph.errors import FetchError, ImageError, StudyError
from cgraph.image_reference import is_remote, located
from cgraph.image_set import ImageSet
from cgraph.manifest import BUILD_RECORD
from cgraph.store import read_json
from cgraph.study import Study


def refuse_planted(study: Study) -> None:
    """Refuse a study whose images never were pictures.

    Raises
    ------
    ImageError
    """
    if study.manifest.images.get("kind") == "planted images":
        raise ImageError(
            f"The codes of study {study.name!r} were planted, not read from pictures: there is "
            "nothing to run through the network. Upload a picture to measure one."
        )


@lru_cache(maxsize=8)
def image_set(study: Study, images: str | None = None) -> ImageSet:
    """Return the image set that a study was built from.

    Parameters
    ----------
    study : Study
    images : str, optional
        Where it lies now; where it lay when the study was built if left out.

    Raises
    ------
    ImageError
        If it has moved or changed, or the study's images never were pictures.
    """
    refuse_planted(study)
    from cgraph.images import open_images  # brings what reads Parquet, which takes long to load

    places = [str(study.path / "scenes.json")] if images is None else [images]
    # The record is no part of the study.
    with suppress(StudyError, KeyError, TypeError, AttributeError):
        kept = read_json(study.path / BUILD_RECORD)["sources"]["images"]
        if images is None:
            places.append(located(kept, study.path))
    for place in places:
        if is_remote(place) or Path(place).exists():
            try:
                found = open_images(place)
            except FetchError as error:
                raise ImageError(str(error)) from None
            if found.listing_fingerprint() == study.manifest.images["listing"]:
                return found
    if images is not None:
        raise ImageError(
            f"{images} does not hold the images that the study {study.name!r} was built from. Give "
            "the place of the study's own images with --images."
        )
    raise ImageError(
        f"The images of study {study.name!r} are not where they were when it was built "
        f"({', '.join(places)}), or are not the same. Upload a picture to measure one. "
        "`cgraph evaluate` takes the place where they lie now with --images."
    )


def picture(study: Study, row: int, images: str | None = None) -> Image:
    """Return the picture of one row, as the network saw it when the study was built.

    Raises
    ------
    ImageError
        If it cannot be had.
    """
    found = image_set(study, images)
    try:
        place = _places(study, images)[study.image_ids[row]]
    except KeyError:
        raise ImageError(
            f"{study.image_ids[row]} is not among the images at {found.reference}."
        ) from None
    try:
        return found.read(place).image
    except FetchError as error:
        raise ImageError(str(error)) from None


@lru_cache(maxsize=8)
def _places(study: Study, images: str | None) -> dict[str, int]:
    return {image_id: place for place, image_id in enumerate(image_set(study, images).image_ids)}
