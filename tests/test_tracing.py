import shutil

import numpy as np
import pytest
import tiny

from cgraph.decoding import load_image
from cgraph.errors import ModelError
from cgraph.study import Study
from cgraph.tracing import MODEL_VARIABLE, load_model, trace_image, trace_row


def test_an_image_of_the_study_gives_its_stored_trace(tiny_study, tiny_inputs):
    model = load_model(tiny_study)
    for row in tiny_study.rows("held-out")[:5]:
        image_id = tiny_study.image_ids[row]
        image = load_image(tiny_inputs[1] / image_id, image_id)
        fresh = trace_image(tiny_study, model, image, image_id)
        stored = trace_row(tiny_study, int(row))
        for one, two in zip(fresh.layers, stored.layers, strict=True):
            assert {a.concept for a in one} == {a.concept for a in two}
        assert {(e.parent, e.child) for e in fresh.edges} == {
            (e.parent, e.child) for e in stored.edges
        }


def test_edges_of_a_trace_are_edges_of_the_graph_between_active_concepts(tiny_study):
    trace = trace_row(tiny_study, int(tiny_study.rows("held-out")[1]))
    active = {a.concept for layer in trace.layers for a in layer}
    assert trace.edges
    for edge in trace.edges:
        assert edge.parent in active
        assert edge.child in active
        parents = tiny_study.graph.parents(edge.child)
        place = int(np.flatnonzero(parents.indices == edge.parent.index)[0])
        assert parents.weights[place] == pytest.approx(edge.weight)


def test_the_share_that_a_code_explains(tiny_study, tiny_inputs):
    model = load_model(tiny_study)
    row = int(tiny_study.rows("held-out")[2])
    image = load_image(tiny_inputs[1] / tiny_study.image_ids[row], "image")
    token = model.class_tokens(model.preprocess([image]))[1]
    dictionary = tiny_study.dictionary(2)
    left_out = token - dictionary.decode(dictionary.encode(token))
    expected = 1 - (left_out**2).sum() / ((token - dictionary.mean) ** 2).sum()
    trace = trace_image(tiny_study, model, image, "image")
    assert trace.explained[1] == pytest.approx(expected, abs=1e-5)


def test_the_model_is_looked_for_in_three_places(tiny_study, tiny_inputs, tmp_path, monkeypatch):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.path, folder)
    record = folder / "build.json"
    record.write_text(record.read_text().replace("tiny-vit", "moved-away"))
    study = Study.open(folder)
    with pytest.raises(ModelError, match=r"was not found. Looked for: .*moved-away.*CGRAPH_MODEL"):
        load_model(study)
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny_inputs[0]))
    assert load_model(study).n_layers == tiny.N_LAYERS
    monkeypatch.setenv(MODEL_VARIABLE, str(tiny.write_model(tmp_path / "other", seed=3)))
    with pytest.raises(ModelError, match="are not those that study 'discs' was built with"):
        load_model(study)
    shutil.copytree(tiny_inputs[0], folder / "model")
    assert load_model(study).n_layers == tiny.N_LAYERS
