"""Studies that read no class token, from the hub's stand-in to the pages of the app.

One whole study of a SigLIP read by its pooling head, one read by the mean of its patches.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import tiny
from app_pages import APP, jpeg, run, text
from model_hub import COMMIT, Hub, serving
from PIL import Image
from streamlit.testing.v1 import AppTest
from vision_models import MOST_PATCHES, N_LAYERS, build, save

from cgraph import intervention, pipeline, tracing
from cgraph.cli import main
from cgraph.concept import ConceptId
from cgraph.edits import Edit
from cgraph.errors import ModelError, StudyError
from cgraph.images import open_images
from cgraph.manifest import MANIFEST
from cgraph.outputs import load_output
from cgraph.picture_source import image_set
from cgraph.study import Study
from cgraph.ui.models import shelf
from cgraph.ui.resources import find_studies
from cgraph.vit import VisionModel

PAGE = APP.parent / "pages" / "3_Counterfactual.py"
SETTINGS = ["--n-atoms", "16", "--max-nnz", "4", "--workers", "1"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    root = tmp_path_factory.mktemp("hub")
    save(build("siglip"), root / "some" / "siglip", "siglip")
    with pytest.MonkeyPatch.context() as patch, serving(root) as found:
        constants = huggingface_hub.constants
        patch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        patch.setattr(constants, "HF_HUB_CACHE", str(root / "cache"))
        yield found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_images(tmp_path_factory.mktemp("inputs") / "discs", 240)


@pytest.fixture(scope="module")
def pooled(hub: Hub, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("studies") / "pooled"
    inputs = ["--model", "some/siglip", "--images", str(pictures), "--token", "pooled"]
    assert main(["build", *inputs, *SETTINGS, "--out", str(folder)]) == 0
    return Study.open(folder)


@pytest.fixture(scope="module")
def mean(hub: Hub, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("studies") / "mean"
    config = dataclasses.replace(tiny.CONFIG, precision="bfloat16", keep_tokens=True)
    model = hub.root / "some" / "siglip"
    return pipeline.build_study(model, pictures, folder, config, workers=1)


def pixels_of(study: Study, model: VisionModel, n: int = 4) -> np.ndarray:
    images = image_set(study)
    return model.preprocess([images.read(row).image for row in range(n)])


def test_a_model_by_its_hub_id(pooled: Study, capsys: pytest.CaptureFixture[str]) -> None:
    known = pooled.manifest.model
    assert (known["id"], known["revision"], known["commit"]) == ("some/siglip", "main", COMMIT)
    assert known["token"] == "pooled" and pooled.manifest.token == "pooled"
    assert {"precision", "device"}.isdisjoint(known), "float32 on the processor goes unsaid"
    assert main(["info", str(pooled.path)]) == 0
    printed = capsys.readouterr().out
    assert "pooling head makes of the patch tokens, revision c0ffee" in printed
    assert main(["info", "--json", str(pooled.path)]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["token"] == "pooled"


def test_resuming_needs_neither_the_id_nor_the_cache(
    pooled: Study, hub: Hub, tmp_path: Path
) -> None:
    """The recorded folder is enough; where it has gone, the same commit is fetched again."""
    copy = tmp_path / "pooled"
    shutil.copytree(pooled.path, copy)
    (copy / "graph" / "edges.arrow").unlink()
    hub.requests.clear()
    assert main(["build", "--out", str(copy), "--workers", "1"]) == 0
    assert hub.requests == []
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    shutil.move(cache, tmp_path / "elsewhere")
    try:
        (copy / "graph" / "edges.arrow").unlink()
        assert main(["build", "--out", str(copy), "--workers", "1"]) == 0
        assert any(COMMIT in path for _, path in hub.requests)
    finally:
        shutil.rmtree(cache)
        shutil.move(tmp_path / "elsewhere", cache)
    same = (MANIFEST, "graph/edges.arrow", "dictionary.safetensors")
    assert all((copy / n).read_bytes() == (pooled.path / n).read_bytes() for n in same)


def test_a_fetched_model_is_found_by_its_commit(pooled: Study, hub: Hub, tmp_path: Path) -> None:
    copy = tmp_path / "pooled"
    shutil.copytree(pooled.path, copy)
    (copy / "build.json").unlink()
    hub.requests.clear()
    model = tracing.load_model(Study.open(copy))
    assert model.token == "pooled"
    manifest = (copy / MANIFEST).read_text().replace(COMMIT, "0" * 40)
    (copy / MANIFEST).write_text(manifest)
    with pytest.raises(ModelError, match=r"`hf download some/siglip --revision 0{40}` fetches it"):
        tracing.load_model(Study.open(copy))
    assert hub.requests == []


def test_half_precision_is_recorded_and_kept(
    mean: Study, hub: Hub, pictures: Path, tmp_path: Path
) -> None:
    known = mean.manifest.model
    assert (known["id"], known["token"], known["precision"]) == (
        "siglip",
        "mean of patches",
        "bfloat16",
    )
    model = tracing.load_model(mean)
    assert (model.precision, model.token) == ("bfloat16", "mean of patches")
    stored = np.load(mean.path / "tokens" / "layer-02" / "part-00000.npy")
    assert stored.dtype == np.float32
    images = open_images(pictures)
    batch = model.preprocess([images.read(row).image for row in range(32)])
    np.testing.assert_array_equal(model.class_tokens(batch)[1], stored[:32])
    full = dataclasses.replace(mean.config, precision="float32")
    with pytest.raises(StudyError, match=r"precision 'bfloat16' there, 'float32' asked for"):
        pipeline.build_study(hub.root / "some" / "siglip", pictures, mean.path, full, workers=1)
    # A study that was left to choose goes on in what it has chosen, on whatever machine.
    copy = tmp_path / "left-to-choose"
    shutil.copytree(mean.path, copy)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["config"]["precision"] = "auto"
    (copy / MANIFEST).write_text(json.dumps(manifest))
    (copy / "dictionary.safetensors").unlink()
    again = pipeline.resume_study(copy, workers=1)
    assert again.manifest.model == known
    files = {p: r for p, r in mean.manifest.files.items() if p.startswith(("dict", "codes"))}
    assert files and all(again.manifest.files[path] == record for path, record in files.items())


@pytest.mark.parametrize("which", ["pooled", "mean"])
def test_an_edit_is_added_to_every_patch_token(which: str, request: pytest.FixtureRequest) -> None:
    study = request.getfixturevalue(which)
    model = tracing.load_model(study)
    pixels = pixels_of(study, model)
    active = set(intervention.run(study, model, pixels).codes[1].indices.tolist())
    concepts = [ConceptId(2, index) for index in range(16) if index not in active]
    concept = next(c for c in concepts if study.exemplars(c, 1))
    found = intervention.run(study, model, pixels, Edit((concept,)))
    assert found.target == intervention.EVERY_PATCH_TOKEN
    plain = intervention.run(study, model, pixels)
    added, moved = found.added[2], found.tokens[1] - plain.tokens[1]
    assert abs(added).max() > 0
    if which == "mean":  # bfloat16 keeps 8 bits
        np.testing.assert_allclose(moved, added, atol=0.02 * abs(plain.tokens[1]).max())
    else:
        assert abs(moved).max() > 0 and abs(moved - added).max() > 0.01


def test_a_study_of_pictures_of_any_aspect_ratio(pictures: Path, tmp_path: Path) -> None:
    """Patches in place of pixels, from the command line to a trace, an edit and the output."""
    folder = save(build("siglip2-classifier"), tmp_path / "siglip2", "siglip2")
    inputs = ["--model", str(folder), "--images", str(pictures), "--max-images", "120"]
    study = tmp_path / "any-shape"
    assert main(["build", *inputs, *SETTINGS, "--out", str(study)]) == 0
    Image.new("RGB", (90, 20), (200, 40, 40)).save(tmp_path / "wide.png")
    written = tmp_path / "trace.json"
    arguments = ["--study", str(study), "--json", str(written)]
    assert main(["trace", str(tmp_path / "wide.png"), *arguments]) == 0
    opened = Study.open(study)
    assert opened.manifest.token == "mean of patches"
    model = tracing.load_model(opened)
    pixels = pixels_of(opened, model)
    assert pixels.shape == (4, *model.pixel_shape) and model.pixel_shape[0] == MOST_PATCHES
    active = int(opened.codes(1).row(0)[0][0])
    found = intervention.run(opened, model, pixels, Edit((), (ConceptId(1, active),)))
    output = load_output(model)
    assert output is not None
    before, after = output.scores(pixels), output.scores(pixels, found.added)
    assert abs(after - before).max() > 0


@pytest.fixture
def opened(request: pytest.FixtureRequest, app_environment: pytest.MonkeyPatch) -> Iterator[Study]:
    study: Study = request.getfixturevalue(request.param)
    app_environment.setenv("CGRAPH_STUDIES", str(study.path.parent))
    yield study
    shelf.clear()


WORDS = {
    "pooled": "what the model's pooling head makes of the patch tokens",
    "mean": "the mean of the patch tokens",
}


def plain(app: AppTest) -> str:
    return text(app).replace("&#x27;", "'")


@pytest.mark.parametrize("opened", WORDS, indirect=True)
def test_the_trace_page_says_what_is_read_and_traces_an_upload(opened: Study) -> None:
    app = run()
    assert f"read from {WORDS[opened.name]}" in plain(app)
    app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run(timeout=120)
    assert not app.exception
    assert "red.jpg" in plain(app) and "uploaded image" in plain(app)
    assert f"study {opened.name}" in plain(app)


@pytest.mark.parametrize("opened", WORDS, indirect=True)
def test_the_counterfactual_page_says_what_an_edit_means(opened: Study) -> None:
    (entry,) = find_studies((opened.path.parent,)).entries
    shelf.get(entry, opened)
    row = opened.examples[0]
    concept = int(opened.codes(2).row(row)[0][0])
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    query = {"study": opened.name, "image": opened.image_ids[row], "about": opened.name}
    query["edit"] = Edit((), (ConceptId(2, concept),)).to_text()
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    assert not app.exception
    said = plain(app)
    assert f"This study reads {WORDS[opened.name]}: in the network the atom" in said
    assert "every patch token of the layer" in said
    assert ("so that the token moves otherwise than by the atom" in said) == (
        opened.manifest.token == "pooled"
    )
    assert opened.n_layers == N_LAYERS
