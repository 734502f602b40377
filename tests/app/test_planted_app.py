"""The app on a planted study: names, examples, and an upload through its random model."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from app_pages import payloads, run, selected, text
from PIL import Image

from cgraph.planted_config import PlantedConfig
from cgraph.planted_study import write_planted_study
from cgraph.study import Study
from cgraph.tracing import trace_row

CONFIG = PlantedConfig(
    n_layers=4, n_atoms=96, d_model=24, max_nnz=5, n_images=600, n_examples=3, thumbnail_px=48
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_study(tmp_path_factory.mktemp("studies") / "sizes", CONFIG, model=True)


@pytest.fixture
def study(folder: Path, app_environment: pytest.MonkeyPatch) -> Study:
    app_environment.setenv("CGRAPH_STUDIES", str(folder))
    return Study.open(folder)


def test_it_opens_on_the_first_example(study: Study) -> None:
    app = run()
    assert study.attributes(study.examples[0])["caption"] in text(app)
    assert "4 layers" in text(app)


def test_a_named_concept_shows_its_planted_parents(study: Study) -> None:
    concept = next(concept for concept in study.names if concept.layer == 3)
    app = run(concept=str(concept))
    assert study.names[concept].text in text(app)
    shown = {item["id"] for item in payloads(app, "cgraph_concept_list")[0]["items"]}
    parents = {f"L2/{index}" for index in study.graph.parents(concept).indices}
    children = {f"L4/{index}" for index in study.graph.children(concept).indices}
    assert shown and (shown <= parents or shown <= children)


def test_a_stored_image_is_traced(study: Study) -> None:
    row = int(study.rows("train")[0])
    app = run(image=study.image_ids[row])
    active = {str(a.concept) for layer in trace_row(study, row).layers for a in layer}
    assert selected(app) in active


def test_an_upload_is_traced(study: Study) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (60, 40), (200, 60, 40)).save(buffer, "JPEG")
    app = run()
    app.file_uploader[0].set_value(("mine.jpg", buffer.getvalue(), "image/jpeg")).run()
    assert not app.exception and not app.error
    assert "mine.jpg" in text(app) and "uploaded image" in text(app)
