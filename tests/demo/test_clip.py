import json
import stat

import numpy as np
import pytest
from PIL import Image

from cgraph.demo.clip import IMAGE_SIZE, encode_captions, new_model, normalised, save_model
from cgraph.scene_drawing import draw
from cgraph.scenes import caption, sample_scene
from cgraph.vit import VisionModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "model"
    save_model(new_model(0).eval(), path)
    return path


def test_the_folder_is_small_and_can_be_read_by_all(folder):
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    assert all(file.stat().st_mode & stat.S_IROTH for file in folder.iterdir())
    assert json.loads((folder / "config.json").read_text())["model_type"] == "clip"


def test_words_become_the_numbers_that_transformers_gives_them(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    captions = [caption(sample_scene(index)) for index in range(20)] + ["A unicorn on grass"]
    ours = encode_captions([text.lower() for text in captions])
    theirs = tokenizer(captions, padding=True, return_tensors="pt")
    np.testing.assert_array_equal(ours, theirs["input_ids"])
    assert ours[-1, 2] == tokenizer.unk_token_id


def test_pixels_are_those_of_the_preprocessing(folder):
    import torch

    model = VisionModel.load(folder)
    pictures = [draw(sample_scene(index)) for index in range(8)]
    small = [p.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC) for p in pictures]
    stacked = torch.from_numpy(np.stack([np.asarray(p) for p in small]))
    np.testing.assert_allclose(normalised(stacked), model.preprocess(pictures), atol=0.02)


def test_tokens_are_the_hidden_states_of_transformers(folder):
    import torch
    from transformers import CLIPModel

    model = VisionModel.load(folder)
    assert (model.n_layers, model.d_model) == (12, 96)
    pixels = model.preprocess([draw(sample_scene(index)) for index in range(3)])
    reference = CLIPModel.from_pretrained(folder, local_files_only=True).eval().vision_model
    with torch.inference_mode():
        states = reference(torch.from_numpy(pixels), output_hidden_states=True).hidden_states
    for layer, tokens in enumerate(model.class_tokens(pixels), start=1):
        np.testing.assert_allclose(tokens, states[layer][:, 0], atol=1e-5)


def test_the_caption_is_read_at_its_end(folder):
    import torch
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    short, long = "a red star", "a red star above a blue ring on sand"
    with torch.inference_mode():
        alone = model.text_model(input_ids=encode_captions([short])).pooler_output[0]
        beside = model.text_model(input_ids=encode_captions([short, long])).pooler_output[0]
    np.testing.assert_allclose(alone, beside, atol=1e-5)


def test_first_weights_depend_on_the_seed_alone():
    import torch

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (new_model(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    name = "visual_projection.weight"
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])
