"""Images are made ready in order, ahead of the caller, and as few at a time as was asked for."""

import dataclasses
import threading
import time

import numpy as np
import pytest
import tiny
from PIL import Image

from cgraph import stages, token_feed
from cgraph.errors import ImageError
from cgraph.image_set import ImageRecord
from cgraph.pipeline import build_study
from cgraph.token_feed import batches, in_order


class _Set:
    """Pictures of one colour; some cannot be read, and some take long."""

    def __init__(self, n=20, broken=(), slow=()):
        self.image_ids = [f"image {row}" for row in range(n)]
        self._broken, self._slow = broken, slow

    def read(self, row):
        time.sleep(0.05 if row in self._slow else 0)
        if row in self._broken:
            raise ImageError(f"row {row} is broken")
        image = Image.new("RGB", (8, 8), (row, 0, 0))
        return ImageRecord(self.image_ids[row], image, {"row": row})


def red(images):
    return np.stack([np.float32(np.asarray(image)[0, 0, 0]) for image in images])[:, None]


@pytest.mark.parametrize("n_threads", [0, 1, 4])
def test_order_and_batches_do_not_depend_on_the_threads(n_threads):
    image_set = _Set(broken={3, 7}, slow={0, 5, 6})
    found = list(
        batches(image_set, range(2, 19), red, batch_size=4, thumbnail_px=4, n_threads=n_threads)
    )
    assert [len(batch) for batch in found] == [4, 4, 4, 4, 1]
    every = [ready for batch in found for ready in batch]
    assert [ready.image_id for ready in every] == image_set.image_ids[2:19]
    for row, ready in enumerate(every, start=2):
        if row in (3, 7):
            assert ready.pixels is None and ready.reason == f"row {row} is broken"
        else:
            assert ready.pixels.tolist() == [row] and ready.attributes == f'{{"row":{row}}}'


def test_what_is_ahead_is_bounded():
    made, lock = [], threading.Lock()

    def make(item):
        with lock:
            made.append(item)
        return item

    asked = 0
    for item in in_order(make, range(200), 3, 10):
        asked += 1
        time.sleep(0.001)
        with lock:
            assert len(made) <= asked + 10
        assert item == asked - 1
    assert asked == 200


def test_the_caller_finds_the_next_ones_made():
    """While the caller works on one, threads work on others: that is what it is for."""
    meeting = threading.Barrier(2, timeout=20)
    results = in_order(lambda n: meeting.wait() if n else 0, range(2), 1, 2)
    assert next(results) == 0
    meeting.wait()  # passes only if the second is being made meanwhile
    next(results)


def test_an_unexpected_failure_is_not_swallowed():
    def fail(item):
        if item == 5:
            raise RuntimeError("a mistake in a reader")
        return item

    seen = []
    with pytest.raises(RuntimeError, match="a mistake in a reader"):
        for item in in_order(fail, range(100), 2, 4):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_threads_end_with_a_caller_that_stops():
    before = threading.active_count()
    results = in_order(lambda item: item, range(1000), 3, 8)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_a_study_has_the_same_bytes_without_threads(tiny_inputs, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny.CONFIG, max_images=150, part_size=64, keep_tokens=True)
    model, images = tiny_inputs
    found = {}
    for n_threads in (0, 3):
        monkeypatch.setattr(
            stages, "batches", lambda *a, n=n_threads, **k: token_feed.batches(*a, n_threads=n, **k)
        )
        study = build_study(model, images, tmp_path / f"{n_threads}/study", config, workers=1)
        found[n_threads] = study.manifest.files
    assert found[0] == found[3]
    assert any(path.startswith("tokens/") for path in found[0])
