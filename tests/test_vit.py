import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from vision_models import D_MODEL, FAMILIES, IMAGE_SIZE, N_LAYERS, build, save

from cgraph.errors import ConfigError, DataError, ModelError
from cgraph.images import open_images
from cgraph.vit import VisionModel


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return save(build("vit"), tmp_path / "vit", "vit")


def random_pixels(n: int = 4) -> np.ndarray:
    shape = (n, 3, IMAGE_SIZE, IMAGE_SIZE)
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def vision_part(model: Any) -> Any:
    for name in ("vision_model", "vit"):
        model = getattr(model, name, model)
    return model


def tokens_by_hand(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Class tokens by calling the parts of the network one after another."""
    part = vision_part(model.eval())
    tokens = []
    with torch.no_grad():
        hidden = part.embeddings(torch.tensor(pixels))
        if hasattr(part, "pre_layrnorm"):
            hidden = part.pre_layrnorm(hidden)
        encoder = getattr(part, "encoder", part)
        for block in encoder.layer if hasattr(encoder, "layer") else encoder.layers:
            hidden = block(hidden, attention_mask=None)
            tokens.append(hidden[:, 0].numpy())
    return np.stack(tokens)


def edit_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def drop_weights(folder: Path, part: str) -> None:
    file = folder / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if part not in name}
    assert len(weights) < len(load_file(file))
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", FAMILIES)
def test_class_tokens_are_the_outputs_of_the_blocks(tmp_path: Path, kind: str) -> None:
    original = build(kind)
    model = VisionModel.load(save(original, tmp_path, kind))
    assert (model.n_layers, model.d_model) == (N_LAYERS, D_MODEL)
    assert model.architecture == type(original).__name__
    assert model.family == original.config.model_type
    pixels = random_pixels()
    tokens = model.class_tokens(pixels)
    assert tokens.shape == (N_LAYERS, 4, D_MODEL)
    assert tokens.dtype == np.float32

    expected = tokens_by_hand(original, pixels)
    np.testing.assert_allclose(tokens, expected, rtol=1e-5, atol=1e-5)
    # Layers are told apart: no two of them are alike.
    assert min(abs(expected[i] - expected[j]).max() for i in range(3) for j in range(i)) > 0.01

    part = vision_part(original)
    with torch.no_grad():
        states = part(pixel_values=torch.tensor(pixels), output_hidden_states=True).hidden_states
    assert len(states) == N_LAYERS + 1
    expected = np.stack([state[:, 0].numpy() for state in states[1:]])
    np.testing.assert_allclose(tokens, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_the_last_layer_is_not_the_layer_normed_output(tmp_path: Path, kind: str) -> None:
    original = build(kind).eval()
    model = VisionModel.load(save(original, tmp_path, kind))
    pixels = random_pixels()
    with torch.no_grad():
        normed = original(pixel_values=torch.tensor(pixels)).last_hidden_state[:, 0].numpy()
    assert abs(model.class_tokens(pixels)[-1] - normed).max() > 0.1


def test_dropout_is_off_and_weights_are_frozen(vit: Path) -> None:
    model = VisionModel.load(vit)
    assert not any(module.training for module in model.network.modules())
    assert not any(weight.requires_grad for weight in model.network.parameters())
    pixels = random_pixels()
    np.testing.assert_array_equal(model.class_tokens(pixels), model.class_tokens(pixels))


def test_images_of_a_batch_do_not_touch_each_other(vit: Path) -> None:
    model = VisionModel.load(vit)
    pixels = random_pixels()
    tokens = model.class_tokens(pixels)
    np.testing.assert_array_equal(model.class_tokens(pixels[::-1])[:, ::-1], tokens)
    for row in range(4):
        alone = model.class_tokens(pixels[row : row + 1])[:, 0]
        np.testing.assert_allclose(alone, tokens[:, row], rtol=1e-4, atol=1e-5)


def test_the_vision_part_of_clip_is_the_same_in_every_form(tmp_path: Path) -> None:
    whole = build("clip")
    alone = build("clip-vision")
    alone.load_state_dict(whole.vision_model.state_dict())
    folders = [save(whole, tmp_path / "a", "clip"), save(alone, tmp_path / "b", "clip")]
    first, second = (VisionModel.load(folder).class_tokens(random_pixels()) for folder in folders)
    np.testing.assert_array_equal(first, second)


def test_preprocessing_comes_from_the_folder(vit: Path) -> None:
    model = VisionModel.load(str(vit))
    assert model.path == vit
    assert model.image_size == (IMAGE_SIZE, IMAGE_SIZE)
    pixels = model.preprocess([Image.new("RGB", (50, 40), (255, 0, 255))] * 2)
    assert pixels.shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
    np.testing.assert_array_equal(pixels[:, :, 5, 5], [[1, -1, 1]] * 2)
    assert model.class_tokens(pixels).shape == (N_LAYERS, 2, D_MODEL)


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 3, 16, 32), (1, 1, 32, 32), (1, 32, 32, 3), (0,)]
)
def test_pixels_of_another_shape_are_refused(vit: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"the model takes \(n, 3, 32, 32\)"):
        VisionModel.load(vit).class_tokens(np.zeros(shape, dtype=np.float32))


def test_an_empty_batch_gives_no_tokens(vit: Path) -> None:
    tokens = VisionModel.load(vit).class_tokens(random_pixels(0))
    assert tokens.shape == (N_LAYERS, 0, D_MODEL)


def test_hooks_do_not_outlive_a_call(vit: Path) -> None:
    model = VisionModel.load(vit)
    model.class_tokens(random_pixels())
    assert not any(block._forward_hooks for block in model.blocks)


def test_threads_may_share_a_model(vit: Path) -> None:
    model = VisionModel.load(vit)
    batches = [random_pixels(6)[row : row + 2] for row in (0, 2, 4)]
    expected = [model.class_tokens(batch) for batch in batches]
    found: list[np.ndarray | None] = [None] * len(batches)

    def work(index: int) -> None:
        for _ in range(10):
            found[index] = model.class_tokens(batches[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, tokens in zip(found, expected, strict=True):
        np.testing.assert_array_equal(result, tokens)


def test_half_precision_weights_are_run_in_single_precision(tmp_path: Path) -> None:
    model = VisionModel.load(save(build("vit").half(), tmp_path, "vit"))
    assert {weight.dtype for weight in model.network.parameters()} == {torch.float32}
    expected = tokens_by_hand(build("vit").half().float(), random_pixels())
    np.testing.assert_allclose(model.class_tokens(random_pixels()), expected, rtol=1e-5, atol=1e-5)


def test_weights_that_are_not_finite_are_noticed(tmp_path: Path) -> None:
    original = build("vit")
    with torch.no_grad():
        vision_part(original).embeddings.cls_token += torch.inf
    folder = save(original, tmp_path, "vit")
    with pytest.raises(ModelError, match="not finite; its weights are damaged"):
        VisionModel.load(folder)


def test_split_weights(tmp_path: Path) -> None:
    one = VisionModel.load(save(build("vit"), tmp_path / "one", "vit"))
    split = tmp_path / "split"
    save(build("vit"), split, "vit", max_shard_size="20KB")
    shards = sorted(split.glob("*.safetensors"))
    assert len(shards) > 2
    several = VisionModel.load(split)
    pixels = random_pixels()
    np.testing.assert_array_equal(several.class_tokens(pixels), one.class_tokens(pixels))
    assert len(several.weights_hash) == 64
    assert several.weights_hash != one.weights_hash
    shards[1].unlink()
    with pytest.raises(ModelError, match=rf"has no {shards[1].name}, which model\.safetensors\.in"):
        VisionModel.load(split)
    index = split / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../one/model.safetensors"}}))
    with pytest.raises(ModelError, match="lists files outside of its folder"):
        VisionModel.load(split)
    index.write_text("{}")
    with pytest.raises(ModelError, match="lists no weights"):
        VisionModel.load(split)


def test_the_weights_hash_is_that_of_the_file(vit: Path) -> None:
    digest = hashlib.sha256((vit / "model.safetensors").read_bytes()).hexdigest()
    assert VisionModel.load(vit).weights_hash == digest


def test_loading_is_quiet_and_leaves_the_seed_alone(
    vit: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    drop_weights(vit, "pooler")
    capfd.readouterr()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    VisionModel.load(vit)
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_importing_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, cgraph.vit, cgraph.images\n"
        "heavy = {'torch', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_nothing_reads_may_be_missing(vit: Path) -> None:
    before = VisionModel.load(vit).class_tokens(random_pixels())
    drop_weights(vit, "pooler")
    np.testing.assert_array_equal(VisionModel.load(vit).class_tokens(random_pixels()), before)


@pytest.mark.parametrize("part", ["layer.1.", "cls_token", "position_embeddings", "projection"])
def test_missing_weights_are_never_made_up(vit: Path, part: str) -> None:
    drop_weights(vit, part)
    with pytest.raises(ModelError, match=r"has no weights for \d+ parts of the network, such as"):
        VisionModel.load(vit)


def test_a_configuration_with_more_blocks_than_weights(vit: Path) -> None:
    edit_config(vit, num_hidden_layers=5)
    with pytest.raises(ModelError, match=r"has no weights for \d+ parts.*such as layers\.3"):
        VisionModel.load(vit)


def test_a_configuration_of_another_width(vit: Path) -> None:
    edit_config(vit, hidden_size=64)
    with pytest.raises(ModelError, match="cannot be loaded: "):
        VisionModel.load(vit)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "resnet"])
def test_other_models_are_refused(tmp_path: Path, kind: str) -> None:
    words = rf"is of type '{kind}', which is not a vision transformer.* cgraph looks for a vision"
    with pytest.raises(ModelError, match=words):
        VisionModel.load(save(build(kind), tmp_path, kind))


def test_models_that_leave_something_to_chance_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cgraph.model_inputs.takes", lambda network, name: False)
    with pytest.raises(ModelError, match="gives other tokens when it sees the same image again"):
        VisionModel.load(save(build("mae"), tmp_path, "vit"))


def test_pixels_that_the_model_does_not_take(vit: Path) -> None:
    (vit / "preprocessor_config.json").write_text('{"size": 64}')
    with pytest.raises(ModelError, match=r"does not take the 64 × 64 pixels that its"):
        VisionModel.load(vit)


def test_missing_and_damaged_folders(vit: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no model folder .*gone"):
        VisionModel.load(vit / "gone")
    (vit / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"has no preprocessor_config\.json"):
        VisionModel.load(vit)
    for content, words in [
        ("{", "is not readable JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "model type None, is not understood by transformers"),
        ('{"model_type": "vitt"}', "model type 'vitt', is not understood by transformers"),
        ('{"model_type": "vit", "auto_map": {"AutoModel": "x.Y"}}', "asks for code of its own"),
    ]:
        (vit / "config.json").write_text(content)
        with pytest.raises(ModelError, match=words):
            VisionModel.load(vit)
    (vit / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json; give the folder"):
        VisionModel.load(vit)


def test_only_safetensors_are_loaded(vit: Path) -> None:
    weights = vit / "model.safetensors"
    torch.save(load_file(weights), vit / "pytorch_model.bin")
    weights.unlink()
    words = r"has no model\.safetensors \(found pytorch_model\.bin\)\. Only safetensors .* convert"
    with pytest.raises(ModelError, match=words):
        VisionModel.load(vit)
    (vit / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"\(found no weights at all\)"):
        VisionModel.load(vit)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(vit: Path, share: float) -> None:
    weights = vit / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"model\.safetensors is truncated or damaged"):
        VisionModel.load(vit)


@pytest.mark.parametrize("device", ["abacus", "cuda:97"])
def test_devices_that_are_not_there(vit: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=rf"The device '{device}' cannot be used: "):
        VisionModel.load(vit, device=device)


def test_a_real_model_on_real_photographs(real_dir: Path) -> None:
    from transformers import AutoImageProcessor, ViTModel

    folder = real_dir / "deit-tiny"
    photos, scenes = (open_images(real_dir / name) for name in ("photos-64px.parquet", "scenes"))
    images = [photos.read(row).image for row in (17, 4000)]
    images += [scenes.read(row).image for row in (3, 1500)]
    model = VisionModel.load(folder)
    assert (model.family, model.n_layers, model.d_model) == ("vit", 12, 192)
    pixels = model.preprocess(images)
    processor = AutoImageProcessor.from_pretrained(folder)
    expected = np.stack(processor(images)["pixel_values"])
    np.testing.assert_allclose(pixels, expected, rtol=1e-6, atol=1e-6)

    original = ViTModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = original(torch.tensor(expected), output_hidden_states=True).hidden_states
    expected = np.stack([state[:, 0].numpy() for state in states[1:]])
    np.testing.assert_allclose(model.class_tokens(pixels), expected, rtol=1e-4, atol=1e-4)
