"""What a whole model says before and after an edit, against the model run by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from vision_models import D_MODEL, IMAGE_SIZE, build, pixels_for, save

from cgraph.errors import ConfigError, ModelError
from cgraph.outputs import CLASSES, TEXTS, load_output
from cgraph.text_tower import TextTower, has_text_tower
from cgraph.vit import VisionModel

DEMO = Path(__file__).parents[1] / "data" / "demo"


def pixels_of(n: int = 2, side: int = IMAGE_SIZE) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n, 3, side, side), dtype=np.float32)


def test_classes_of_a_head(tmp_path: Path) -> None:
    original = build("vit-classifier", num_labels=5).eval()
    original.config.id2label = {n: f"n0144076{n} name {n}, other" for n in range(5)}
    vision = VisionModel.load(save(original, tmp_path, "vit"))
    output = load_output(vision)
    assert output is not None and output.kind == CLASSES
    assert output.class_names == tuple(f"name {n}" for n in range(5))
    pixels = pixels_of()
    plain = output.scores(pixels)
    with torch.no_grad():
        expected = original(torch.tensor(pixels)).logits.softmax(-1).numpy()
    np.testing.assert_allclose(plain, expected, atol=1e-6)

    # By hand: add to the class token after block 2, then block 3, layer norm, head.
    added = np.random.default_rng(4).standard_normal((2, D_MODEL)).astype(np.float32)
    with torch.no_grad():
        hidden = original.vit.embeddings(torch.tensor(pixels))
        for place, block in enumerate(original.vit.layers):
            hidden = block(hidden, attention_mask=None).clone()
            if place == 1:
                hidden[:, 0] += torch.tensor(added)
        logits = original.classifier(original.vit.layernorm(hidden)[:, 0])
    expected = logits.softmax(-1).numpy()
    np.testing.assert_allclose(output.scores(pixels, {2: added}), expected, atol=1e-5)
    assert abs(expected - plain).max() > 1e-3


def test_likeness_to_texts() -> None:
    from transformers import AutoTokenizer, CLIPModel

    vision = VisionModel.load(DEMO / "model")
    output = load_output(vision)
    assert output is not None and output.kind == TEXTS and output.class_names == ()
    texts = ["a red star on grass", "a blue square"]
    pixels = pixels_of(side=vision.image_size[0])
    original = CLIPModel.from_pretrained(DEMO / "model", local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "model", local_files_only=True)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        whole = original(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"],
            pixel_values=torch.tensor(pixels),
        )  # fmt: skip
        expected = (whole.logits_per_image / original.logit_scale.exp()).numpy()
    found = output.scores(pixels, texts=texts)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # By hand: what is added after the last block goes through layer norm and projection.
    added = np.random.default_rng(4).standard_normal((2, vision.d_model)).astype(np.float32)
    with torch.no_grad():
        last = torch.tensor(vision.class_tokens(pixels)[-1] + added)
        image = original.visual_projection(original.vision_model.post_layernorm(last))
        expected = (image / image.norm(dim=-1, keepdim=True) @ whole.text_embeds.T).numpy()
    np.testing.assert_allclose(output.scores(pixels, {12: added}, texts), expected, atol=1e-5)
    assert abs(expected - found).max() > 1e-3
    with pytest.raises(ConfigError, match="0 texts were given"):
        output.scores(pixels)
    with pytest.raises(ConfigError, match="1 to 300 are allowed"):
        output.scores(pixels, texts=["x" * 301])


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_likeness_to_texts_of_a_siglip(tmp_path: Path, kind: str) -> None:
    """Texts are padded to the longest length: SigLIP reads the last place, padded or not."""
    from transformers import AutoTokenizer

    original = build(kind).eval()
    folder = write_tokenizer(save(original, tmp_path, kind))
    vision = VisionModel.load(folder)
    output = load_output(vision)
    assert output is not None and output.kind == TEXTS
    pixels, inputs = pixels_for(kind)
    texts = ["a b", "c a"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt")["input_ids"]
    if kind == "siglip":
        assert ids.tolist() == [[2, 3, 0, 0, 0, 0, 0, 0], [4, 2, 0, 0, 0, 0, 0, 0]]
    assert ids.shape == (2, 8) and not torch.equal(ids[0], ids[1])
    with torch.no_grad():
        whole = original(input_ids=ids, **inputs)
        scale, bias = original.logit_scale.exp(), original.logit_bias
        expected = ((whole.logits_per_image - bias) / scale).numpy()
    np.testing.assert_allclose(output.scores(pixels, texts=texts), expected, atol=1e-5)

    tower = TextTower.load(folder)
    likeness = tower.embed_pixels(pixels) @ tower.embed_texts(texts, ["{}"]).T
    np.testing.assert_allclose(likeness, expected, atol=1e-5)

    added = np.random.default_rng(4).standard_normal((len(pixels), D_MODEL)).astype(np.float32)
    changed = output.scores(pixels, {2: added}, texts)
    assert abs(changed - expected).max() > 1e-3
    # By hand: the model itself, whose second block adds to every patch.
    second = original.vision_model.encoder.layers[1]
    second.register_forward_hook(lambda *found: found[-1] + torch.tensor(added)[:, None])
    with torch.no_grad():
        pooled = original.vision_model(**inputs).pooler_output
    unit = torch.nn.functional.normalize(pooled, dim=-1)
    np.testing.assert_allclose(changed, (unit @ whole.text_embeds.T).numpy(), atol=1e-5)


def write_tokenizer(folder: Path) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "a", "b", "c", "▁"]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=8
    )
    fast.save_pretrained(folder)
    return folder


def test_a_model_without_a_head_has_no_output(tmp_path: Path) -> None:
    assert load_output(VisionModel.load(save(build("vit"), tmp_path, "vit"))) is None


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save(build("vit-classifier"), tmp_path, "vit")
    file = folder / "model.safetensors"
    weights = {name: w for name, w in load_file(file).items() if "classifier" not in name}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="output would be random"):
        load_output(VisionModel.load(folder))


def test_a_classifier_of_a_clip_has_no_text_side(tmp_path: Path) -> None:
    assert not has_text_tower(save(build("clip-classifier"), tmp_path / "a", "clip"))
    assert has_text_tower(save(build("clip"), tmp_path / "b", "clip"))


def last_tokens(vision: VisionModel, pixels: np.ndarray) -> np.ndarray:
    return vision.class_tokens(pixels)[-1]


def test_the_last_tokens_alone_say_what_the_whole_model_says(tmp_path: Path) -> None:
    original = build("vit-classifier", num_labels=5).eval()
    vision = VisionModel.load(save(original, tmp_path, "vit"))
    output = load_output(vision)
    assert output is not None
    pixels = pixels_of(9)
    found = output.of_last_tokens(last_tokens(vision, pixels), pixels[:1])
    assert found is not None
    with torch.no_grad():
        expected = original(torch.tensor(pixels)).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # Nothing stays changed.
    probabilities = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(output.scores(pixels), probabilities, atol=1e-5)


def test_the_last_tokens_alone_are_as_like_texts() -> None:
    vision = VisionModel.load(DEMO / "model")
    output = load_output(vision)
    assert output is not None
    pixels = pixels_of(3, side=vision.image_size[0])
    found = output.of_last_tokens(last_tokens(vision, pixels), pixels[:1])
    tower = TextTower.load(DEMO / "model")
    np.testing.assert_allclose(found, tower.embed_pixels(pixels), atol=1e-4)


def test_a_head_that_reads_patches_cannot_be_asked_about_the_class_token(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2ForImageClassification

    config = Dinov2Config(
        hidden_size=D_MODEL, num_hidden_layers=2, num_attention_heads=2, image_size=IMAGE_SIZE,
        patch_size=8, num_labels=3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Dinov2ForImageClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)
    vision = VisionModel.load(save(model, tmp_path, "dinov2"))
    output = load_output(vision)
    assert output is not None and output.kind == CLASSES
    pixels = pixels_of(3)
    assert output.of_last_tokens(last_tokens(vision, pixels), pixels[:1]) is None
