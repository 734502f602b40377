"""The recipes of docs/recipes.md, taken out of the page and run as they stand.

What needs the net is replaced: a model's id by a folder with a small model of the same
architecture, a data set's by a folder of small pictures.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import tiny

from cgraph import cli
from cgraph.config import preset
from cgraph.study import Study

PAGE = Path(__file__).parents[1] / "docs/recipes.md"
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    for line in block.splitlines()
    if line.strip()
]
BUILDS = [line for line in COMMANDS if line.startswith("cgraph build ")]

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 32, "image_size": 32, "patch_size": 8}  # fmt: skip


def clip(folder: Path) -> None:
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

    torch.manual_seed(0)
    vision = CLIPVisionConfig(**SMALL, projection_dim=8, initializer_range=0.5).to_dict()
    text = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
            "intermediate_size": 8, "vocab_size": 16}  # fmt: skip
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    describe(folder, "CLIPImageProcessor", {"shortest_edge": 32})


def deit(folder: Path) -> None:
    import torch
    from transformers import DeiTConfig, DeiTForImageClassification

    torch.manual_seed(0)
    config = DeiTConfig(**SMALL, num_labels=3, initializer_range=0.5)
    DeiTForImageClassification(config).save_pretrained(folder)
    describe(folder, "DeiTImageProcessor", {"height": 36, "width": 36})


def dinov2(folder: Path) -> None:
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    small = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    config = Dinov2Config(**small, mlp_ratio=2, initializer_range=0.5, layerscale_value=1.0)
    Dinov2Model(config).save_pretrained(folder)
    describe(folder, "BitImageProcessor", {"shortest_edge": 32})


def describe(folder: Path, kind: str, size: dict[str, int]) -> None:
    said = {
        "image_processor_type": kind,
        "do_resize": True,
        "size": size,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(said))


STAND_INS = {
    "openai/clip-vit-base-patch32": clip,
    "facebook/deit-tiny-patch16-224": deit,
    "facebook/dinov2-small": dinov2,
}
ARCHITECTURES = {clip: "CLIPModel", deit: "DeiTForImageClassification", dinov2: "Dinov2Model"}


def test_the_page_holds_nothing_else():
    assert len(BUILDS) == 3
    assert set(COMMANDS) == {*BUILDS, "streamlit run app.py"}
    models = [words[words.index("--model") + 1] for words in map(shlex.split, BUILDS)]
    assert models == list(STAND_INS)


@pytest.mark.parametrize("command", BUILDS, ids=["paper", "laptop", "dinov2"])
def test_a_recipe_runs(command, tmp_path, monkeypatch, capsys):
    words = shlex.split(command)
    model = words.index("--model") + 1
    images = words.index("--images") + 1
    make = STAND_INS[words[model]]
    make(tmp_path / "model")
    tiny.write_images(tmp_path / "photos", 480)
    if words[images] != "photos":
        assert words[images] == "hub:vicenteor/sbu_captions"
        words[images] = "photos"
    words[model] = "model"
    monkeypatch.chdir(tmp_path)
    code = cli.main([*words[1:], "--workers", "1"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    study = Study.open(words[words.index("--out") + 1])
    study.verify()
    assert study.manifest.model["architecture"] == ARCHITECTURES[make]
    assert (study.n_layers, study.manifest.images["n"]) == (3, 480)
    assert study.graph.n_edges > 0
    wanted = {"preset": "paper"} if "--preset" in words else {"preset": "default"}
    assert study.config == preset(wanted["preset"]).with_options(
        max_images=100_000 if "--max-images" in words else None
    )


def test_the_preset_is_the_papers():
    """Section 4.1: K-SVD, |D| = 4n, ten nonzeros, μ = 5; section 2.2 and Figure 1: T = 20 bags."""
    config = preset("paper")
    dictionary, predictor = config.dictionary, config.predictor
    assert (dictionary.method, dictionary.n_atoms, dictionary.max_nnz) == ("ksvd", None, 10)
    assert not dictionary.nonnegative
    assert (dictionary.whiten, dictionary.starts) == (0, 1)
    assert (predictor.inputs, predictor.penalty, predictor.penalty_unit) == (
        "labels",
        5.0,
        "absolute",
    )
    assert (predictor.n_bags, predictor.keep_share, predictor.bag_cap) == (20, 0.8, None)
    assert (predictor.final_rows, predictor.threshold) == ("bag", "half")
    paper = next(line for line in BUILDS if "--preset paper" in line)
    assert "--max-images 100000" in paper and "openai/clip-vit-base-patch32" in paper
