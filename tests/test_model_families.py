"""Every family of models against transformers' own outputs, and edits against blocks run by hand.

Nothing here uses cgraph's hooks: tokens come from ``output_hidden_states``, and edited runs from
the model's blocks called one after another, or from a copy of the model with another block.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vision_models import (
    ALL_FAMILIES,
    D_MODEL,
    N_LAYERS,
    OTHER_FAMILIES,
    Family,
    build,
    pixels_for,
    save,
)

from cgraph.errors import ConfigError, ModelError
from cgraph.outputs import CLASSES, load_output
from cgraph.vit import VisionModel

FAMILIES = [*ALL_FAMILIES, *OTHER_FAMILIES]
CLASSIFIERS = [family for family in FAMILIES if family.classifier]
POOLED = [family for family in FAMILIES if family.pooled]


def name(family: Family) -> str:
    return family.kind


def original_of(kind: str) -> Any:
    """Build the model of transformers that is compared with, its masking off."""
    model = build(kind).eval()
    if hasattr(model.config, "mask_ratio"):
        model.config.mask_ratio = 0.0
    return model


def vision_part(model: Any) -> Any:
    """Return the part of a model that holds its blocks."""
    if hasattr(model, "vision_model"):
        return model.vision_model
    prefix = model.base_model_prefix
    return getattr(model, prefix, model) if "Classification" in type(model).__name__ else model


def states_of(part: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
    """Return the outputs of all blocks, as transformers gives them."""
    with torch.no_grad():
        states = part(**inputs, output_hidden_states=True).hidden_states
    assert len(states) == N_LAYERS + 1
    return list(states[1:])


def blocks_of(part: Any) -> torch.nn.ModuleList:
    lists = [
        module
        for module in part.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == N_LAYERS
    ]
    assert len(lists) == 1
    return lists[0]


def read(family: Family, states: list[torch.Tensor], inputs: dict[str, Any]) -> np.ndarray:
    """Read the class token, or the mean of the patches without padding."""
    if family.class_token:
        return np.stack([state[:, 0].numpy() for state in states])
    mask = inputs.get("pixel_attention_mask", torch.ones(states[0].shape[:2]))
    means = [
        [row[kept.bool()].mean(dim=0).numpy() for row, kept in zip(state, mask, strict=True)]
        for state in states
    ]
    return np.array(means)


def resumed(part: Any, inputs: dict[str, Any], first: int, hidden: torch.Tensor) -> list:
    """Run the blocks after layer `first` by hand, on its given output."""
    blocks, given = blocks_of(part), []
    handles = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: given.append((args, kwargs)), with_kwargs=True
        )
        for block in blocks
    ]
    with torch.no_grad():
        part(**inputs)
    for handle in handles:
        handle.remove()
    states = []
    for block, (args, kwargs) in list(zip(blocks, given, strict=True))[first:]:
        with torch.no_grad():
            hidden = block(hidden, *args[1:], **kwargs)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        states.append(hidden)
    return states


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES, ids=name)
def test_tokens_and_edits_equal_those_of_the_model_itself(tmp_path: Path, family: Family) -> None:
    original = original_of(family.kind)
    model = VisionModel.load(save(original, tmp_path, family.kind))
    assert (model.n_layers, model.d_model) == (N_LAYERS, D_MODEL)
    assert model.token == ("class" if family.class_token else "mean of patches")
    part = vision_part(original)
    pixels, inputs = pixels_for(family.kind)
    states = states_of(part, inputs)
    expected = read(family, states, inputs)
    tokens = model.class_tokens(pixels)
    assert tokens.dtype == np.float32
    close(tokens, expected)
    # Layers are told apart: no two of them are alike.
    assert min(abs(expected[i] - expected[j]).max() for i in range(3) for j in range(i)) > 0.01

    # Going on from every layer with nothing added is the run as it was.
    nothing = np.zeros((len(pixels), D_MODEL), dtype=np.float32)
    np.testing.assert_array_equal(model.class_tokens(pixels, lambda *_: nothing), tokens)

    # The blocks after a layer, on its output as it was and with something added to what is read.
    for layer in range(1, N_LAYERS + 1):
        as_it_was = read(
            family, [states[layer - 1], *resumed(part, inputs, layer, states[layer - 1])], inputs
        )
        close(tokens[layer - 1 :], as_it_was)
        added = np.random.default_rng(layer).standard_normal((len(pixels), D_MODEL))
        rows = slice(0, 1) if family.class_token else slice(family.n_before, None)
        hidden = states[layer - 1].clone()
        hidden[:, rows] += torch.tensor(added, dtype=torch.float32)[:, None]
        by_hand = read(family, [hidden, *resumed(part, inputs, layer, hidden)], inputs)

        def change(at: int, _: np.ndarray, layer: int = layer, added: Any = added) -> Any:
            return added if at == layer else None

        edited = model.class_tokens(pixels, change)
        close(edited[layer - 1 :], by_hand)
        np.testing.assert_array_equal(edited[: layer - 1], tokens[: layer - 1])
        assert abs(edited[-1] - tokens[-1]).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES, ids=name)
def test_the_mean_of_patches_leaves_class_token_and_registers_out(
    tmp_path: Path, family: Family
) -> None:
    original = original_of(family.kind)
    model = VisionModel.load(save(original, tmp_path, family.kind), token="mean")
    pixels, inputs = pixels_for(family.kind)
    states = states_of(vision_part(original), inputs)
    if "pixel_attention_mask" in inputs:
        close(model.class_tokens(pixels), read(family, states, inputs))
    else:
        means = [state[:, family.n_before :].mean(dim=1).numpy() for state in states]
        close(model.class_tokens(pixels), np.stack(means))


@pytest.mark.parametrize("family", POOLED, ids=name)
def test_pooled_tokens_are_those_of_the_model_cut_after_a_layer(
    tmp_path: Path, family: Family
) -> None:
    original = original_of(family.kind)
    model = VisionModel.load(save(original, tmp_path, family.kind), token="pooled")
    assert model.token == "pooled"
    pixels, inputs = pixels_for(family.kind)
    tokens = model.class_tokens(pixels)
    part = vision_part(original)
    for layer in range(1, N_LAYERS + 1):
        cut = copy.deepcopy(part)
        del blocks_of(cut)[layer:]
        with torch.no_grad():
            close(tokens[layer - 1], cut(**inputs).pooler_output.numpy())

    # Added to every patch token, and then read again.
    added = np.random.default_rng(2).standard_normal((len(pixels), D_MODEL)).astype(np.float32)
    changed = copy.deepcopy(part)
    blocks_of(changed)[1] = Edited(blocks_of(changed)[1], slice(None), added)
    with torch.no_grad():
        expected = changed(**inputs).pooler_output.numpy()
    found = model.class_tokens(pixels, lambda layer, _: added if layer == 2 else None)
    close(found[-1], expected)
    assert abs(found[1] - tokens[1] - added).max() > 0.1, "a head does not add an atom up"


class Edited(torch.nn.Module):
    """A block, and something added to some rows of what it gives."""

    def __init__(self, block: torch.nn.Module, rows: slice, added: np.ndarray) -> None:
        super().__init__()
        self.block, self.rows, self.added = block, rows, torch.tensor(added)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.block(*args, **kwargs)
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, self.rows] += self.added[:, None]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@pytest.mark.parametrize("family", CLASSIFIERS, ids=name)
def test_folders_with_a_head_for_classes(tmp_path: Path, family: Family) -> None:
    original = original_of(family.classifier or "")
    model = VisionModel.load(save(original, tmp_path, family.kind))
    assert model.architecture == type(original).__name__
    pixels, inputs = pixels_for(family.kind)
    states = states_of(vision_part(original), inputs)
    close(model.class_tokens(pixels), read(family, states, inputs))

    output = load_output(model)
    assert output is not None and output.kind == CLASSES
    with torch.no_grad():
        expected = original(**inputs).logits.softmax(-1).numpy()
    close(output.scores(pixels), expected)

    added = np.random.default_rng(4).standard_normal((len(pixels), D_MODEL)).astype(np.float32)
    rows = slice(0, 1) if family.class_token else slice(family.n_before, None)
    blocks = blocks_of(vision_part(original))
    blocks[1] = Edited(blocks[1], rows, added)
    with torch.no_grad():
        edited = original(**inputs).logits.softmax(-1).numpy()
    close(output.scores(pixels, {2: added}), edited)
    assert abs(edited - expected).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES, ids=name)
def test_what_a_family_does_not_have_is_refused(tmp_path: Path, family: Family) -> None:
    folder = save(build(family.kind), tmp_path, family.kind)
    if not family.class_token:
        with pytest.raises(ConfigError, match=r"has no class token: none of its tokens starts as"):
            VisionModel.load(folder, token="class")
    if not family.pooled:
        with pytest.raises(ConfigError, match="has no pooling head: no module with a learned que"):
            VisionModel.load(folder, token="pooled")


def test_several_class_tokens_are_not_taken_for_one(tmp_path: Path) -> None:
    folder = save(build("pixio"), tmp_path, "vit")
    with pytest.raises(ConfigError, match=r"has 8 class tokens, and cgraph reads one\. Set token"):
        VisionModel.load(folder)
    assert VisionModel.load(folder, token="mean").token == "mean of patches"


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("swin", r"2 blocks .* of width 16; found: 2 × SwinStage with tokens of shape"),
        ("sam", r"3 blocks .*; found: 3 × SamVisionLayer with tokens of shape \(1, 4, 4, 32\)"),
        ("convnext", r"ConvNextModel has no hidden_size \(found: depths = .*hidden_sizes = "),
        ("resnet", r"ResNetModel has no num_hidden_layers \(found: depths = \[1, 1\], hidden"),
        ("bert", "BertModel takes input_ids, not pixels"),
    ],
)
def test_other_models_are_told_what_was_looked_for(tmp_path: Path, kind: str, found: str) -> None:
    with pytest.raises(ModelError, match=found) as error:
        VisionModel.load(save(build(kind), tmp_path, "vit"))
    assert "cgraph looks for a vision transformer, such as ViT, DeiT, CLIP, SigL" in str(
        error.value
    )


def test_a_network_that_wants_more_than_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(build("siglip2"), tmp_path, "vit")
    monkeypatch.setattr("cgraph.model_inputs.takes", lambda network, name: False)
    with pytest.raises(ModelError, match=r"does not take the 32 × 32 pixels .* missing 2 required"):
        VisionModel.load(folder)


@pytest.mark.parametrize("kind", ["vit", "siglip", "siglip2", "dinov3", "mae"])
def test_half_precision_stays_near_full_precision(tmp_path: Path, kind: str) -> None:
    folder = save(build(kind), tmp_path, kind)
    pixels, _ = pixels_for(kind)
    full = VisionModel.load(folder, precision="float32").class_tokens(pixels)
    spread = full.std()
    for precision, allowed in (("bfloat16", 0.15), ("float16", 0.02)):
        model = VisionModel.load(folder, precision=precision)  # type: ignore[arg-type]
        assert next(model.network.parameters()).dtype == getattr(torch, precision)
        tokens = model.class_tokens(pixels)
        assert tokens.dtype == np.float32
        difference = abs(tokens - full).max() / spread
        assert 1e-5 < difference < allowed, (precision, difference)


def test_numbers_too_large_for_half_precision(tmp_path: Path) -> None:
    original = build("vit")
    with torch.no_grad():
        original.embeddings.position_embeddings *= 1e7
    folder = save(original, tmp_path, "vit")
    assert np.isfinite(VisionModel.load(folder).class_tokens(pixels_for("vit")[0])).all()
    with pytest.raises(ModelError, match=r"too large for half precision; set precision to 'float"):
        VisionModel.load(folder, precision="float16")


def test_what_is_left_to_choose(tmp_path: Path) -> None:
    model = VisionModel.load(save(build("vit"), tmp_path, "vit"), device="auto")
    expected = ("cuda", "float16") if torch.cuda.is_available() else ("cpu", "float32")
    assert (model.device.type, model.precision) == expected


def test_a_processor_for_patches_and_a_network_for_pixels(tmp_path: Path) -> None:
    save(build("siglip2"), tmp_path / "a", "vit")
    with pytest.raises(ModelError, match="takes patches of any grid, and its preprocessor_config"):
        VisionModel.load(tmp_path / "a")
    save(build("vit"), tmp_path / "b", "siglip2")
    with pytest.raises(ModelError, match="takes pixels, and its preprocessor_config"):
        VisionModel.load(tmp_path / "b")


@pytest.mark.gpu
@pytest.mark.parametrize("family", ALL_FAMILIES, ids=name)
def test_tokens_on_an_accelerator(tmp_path: Path, family: Family) -> None:
    folder = save(build(family.kind), tmp_path, family.kind)
    pixels, _ = pixels_for(family.kind)
    expected = VisionModel.load(folder).class_tokens(pixels)
    full = VisionModel.load(folder, device="cuda", precision="float32")
    np.testing.assert_allclose(full.class_tokens(pixels), expected, rtol=1e-3, atol=1e-4)
    half = VisionModel.load(folder, device="auto")
    assert (half.device.type, half.precision) == ("cuda", "float16")
    tokens = half.class_tokens(pixels)
    assert tokens.dtype == np.float32
    assert abs(tokens - expected).max() < 0.05 * expected.std()
