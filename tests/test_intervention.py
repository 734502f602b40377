"""Edits in the real network, against the model's own blocks run by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from vision_models import D_MODEL, FAMILIES, IMAGE_SIZE, N_LAYERS, build, save

from cgraph import intervention
from cgraph.concept import ConceptId
from cgraph.dictionary import Dictionary, Preparation
from cgraph.edits import Edit
from cgraph.errors import ConfigError, DataError
from cgraph.intervention import CLASS_TOKEN, EVERY_PATCH_TOKEN
from cgraph.vit import VisionModel

USUAL = {0: 1.5, 1: 0.7, 2: 2.0}


class FewConcepts:
    """The part of a study that an intervention needs: orthonormal atoms, three active each."""

    n_layers = N_LAYERS
    image_ids = ("one",) * 5

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.dictionaries = []
        for _ in range(N_LAYERS):
            atoms = np.linalg.qr(rng.standard_normal((D_MODEL, D_MODEL)))[0][:12]
            weight = atoms.astype(np.float32)
            preparation = Preparation(np.zeros(D_MODEL, np.float32))
            zeros = np.zeros(12, np.float32)
            self.dictionaries.append(
                Dictionary.from_autoencoder(preparation, weight, weight, zeros, zeros, 3)
            )
        self.graph = SimpleNamespace(concept_row=self.concept_row)

    def concept_row(self, concept: ConceptId) -> int:
        if concept.index >= 12:
            raise ConfigError(f"There is no concept {concept}")
        return concept.index

    def dictionary(self, layer: int) -> Dictionary:
        return self.dictionaries[layer - 1]

    def exemplars(self, concept: ConceptId, n: int) -> list[tuple[int, float]]:
        usual = USUAL.get(concept.index)
        return [] if usual is None else [(0, usual - 0.2), (1, usual), (2, usual + 3)]


def pixels_of(n: int = 3) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32)


def blocks_by_hand(original, pixels):
    """Return the network's blocks, and the tokens that go into the first one."""
    part = original
    for name in ("vision_model", "vit"):
        part = getattr(part, name, part)
    with torch.no_grad():
        hidden = part.embeddings(torch.tensor(pixels))
        if hasattr(part, "pre_layrnorm"):
            hidden = part.pre_layrnorm(hidden)
    encoder = getattr(part, "encoder", part)
    return (encoder.layer if hasattr(encoder, "layer") else encoder.layers), hidden


@pytest.mark.parametrize("kind", [*FAMILIES, "siglip"])
def test_the_network_runs_on_from_the_changed_token(tmp_path: Path, kind: str) -> None:
    """Two layers edited; by hand: run a block, change one row (or all patches), run the next."""
    original = build(kind).eval()
    model = VisionModel.load(save(original, tmp_path, kind))
    study, pixels = FewConcepts(), pixels_of()
    edit = Edit((ConceptId(1, 0), ConceptId(2, 1)), (ConceptId(1, 5), ConceptId(2, 7)))
    found = intervention.run(study, model, pixels, edit)
    assert found.target == (EVERY_PATCH_TOKEN if kind == "siglip" else CLASS_TOKEN)

    blocks, hidden = blocks_by_hand(original, pixels)
    expected = []
    with torch.no_grad():
        for layer, block in enumerate(blocks, start=1):
            hidden = block(hidden, attention_mask=None).clone()
            rows = slice(None) if kind == "siglip" else slice(0, 1)
            read = hidden[:, rows].mean(dim=1).numpy()
            atoms = study.dictionary(layer).atoms
            for image in range(len(pixels) if layer < 3 else 0):
                coefficients = atoms @ read[image]
                active = np.argsort(-coefficients)[:3]
                active = set(active[coefficients[active] > 0].tolist())
                on, off = (0, 5) if layer == 1 else (1, 7)
                move = np.zeros(D_MODEL, np.float32)
                if on not in active:
                    move += USUAL[on] * atoms[on]
                if off in active:
                    move -= coefficients[off] * atoms[off]
                hidden[image, rows] += torch.tensor(move)
            expected.append(hidden[:, rows].mean(dim=1).numpy())
    np.testing.assert_allclose(found.tokens, np.stack(expected), rtol=1e-5, atol=1e-5)
    plain = intervention.run(study, model, pixels)
    assert abs(found.tokens[2] - plain.tokens[2]).max() > 1e-3
    np.testing.assert_array_equal(plain.tokens, model.class_tokens(pixels))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> VisionModel:
    folder = tmp_path_factory.mktemp("models") / "vit"
    return VisionModel.load(save(build("vit"), folder, "vit"))


def test_removing_a_concept_takes_its_own_coefficient_away(vit: VisionModel) -> None:
    study, pixels = FewConcepts(), pixels_of(1)
    plain = intervention.run(study, vit, pixels)
    indices, coefficients = plain.codes[0].row(0)
    gone = ConceptId(1, int(indices[0]))
    found = intervention.run(study, vit, pixels, Edit((), (gone,)))
    atom = study.dictionary(1).atoms[gone.index]
    np.testing.assert_allclose(found.added[1][0], -coefficients[0] * atom, rtol=1e-6)
    assert gone.index not in found.codes[0].row(0)[0]
    assert found.not_taken == ((),)


def test_what_is_as_wished_already_changes_nothing(vit: VisionModel) -> None:
    study, pixels = FewConcepts(), pixels_of(1)
    plain = intervention.run(study, vit, pixels)
    silent = next(i for i in range(12) if i not in plain.codes[0].row(0)[0])
    found = intervention.run(study, vit, pixels, Edit((), (ConceptId(1, silent),)))
    np.testing.assert_array_equal(found.tokens, plain.tokens)


def test_what_does_not_take_is_reported(vit: VisionModel, monkeypatch) -> None:
    study, pixels = FewConcepts(), pixels_of(1)
    monkeypatch.setitem(USUAL, 0, 1e-6)
    plain = intervention.run(study, vit, pixels)
    layer = next(n for n in (1, 2, 3) if 0 not in plain.codes[n - 1].row(0)[0])
    wished = ConceptId(layer, 0)
    found = intervention.run(study, vit, pixels, Edit((wished,)))
    assert found.not_taken == ((wished,),)


def test_every_image_may_have_an_edit_of_its_own(vit: VisionModel) -> None:
    study, pixels = FewConcepts(), pixels_of(2)
    edits = [Edit((ConceptId(1, 0),)), Edit((ConceptId(2, 1),))]
    together = intervention.run(study, vit, pixels, edits)
    for row, edit in enumerate(edits):
        alone = intervention.run(study, vit, pixels[row : row + 1], edit)
        np.testing.assert_allclose(
            together.tokens[:, row], alone.tokens[:, 0], rtol=1e-4, atol=1e-5
        )


def test_what_cannot_be_done_is_refused(vit: VisionModel) -> None:
    study, pixels = FewConcepts(), pixels_of(1)
    with pytest.raises(ConfigError, match="L1/4 is active in no training image"):
        plain = intervention.run(study, vit, pixels)
        layer = next(n for n in (1, 2, 3) if 4 not in plain.codes[n - 1].row(0)[0])
        assert layer == 1
        intervention.run(study, vit, pixels, Edit((ConceptId(1, 4),)))
    with pytest.raises(ConfigError, match="no concept L1/40"):
        intervention.run(study, vit, pixels, Edit((ConceptId(1, 40),)))
    with pytest.raises(DataError, match="2 edits for 1 images"):
        intervention.run(study, vit, pixels, [Edit()] * 2)


def test_the_usual_coefficient_is_the_median_of_training_images() -> None:
    assert intervention.usual_coefficient(FewConcepts(), ConceptId(1, 2)) == 2.0
