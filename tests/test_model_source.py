"""Models by folder and by hub id, against a stand-in of the hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import tiny
import torch
from model_hub import COMMIT, OLDER, Hub, serving
from safetensors.torch import load_file
from vision_models import build, save

from cgraph.cli import main
from cgraph.errors import ConfigError, ModelError
from cgraph.model_source import cached_model, is_hub_id, resolve_model
from cgraph.vit import VisionModel


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    vit = save(build("vit"), root / "some" / "vit", "vit")
    for name in ("README.md", "modeling_vit.py", "training.bin"):
        (vit / name).write_text("not needed")
    torch.save(load_file(vit / "model.safetensors"), vit / "pytorch_model.bin")
    save(build("deit"), root / "some" / "vit@older", "deit")
    save(build("vit"), root / "some" / "split", "vit", max_shard_size="20KB")
    clip = save(build("clip"), root / "some" / "clip", "clip")
    for name in ("tokenizer.json", "vocab.json", "tokenizer_config.json"):
        (clip / name).write_text(json.dumps({"name": name}))  # equal files are fetched once
    pickled = save(build("vit"), root / "some" / "pickled", "vit")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    code = save(build("vit"), root / "some" / "code", "vit")
    config = json.loads((code / "config.json").read_text())
    (code / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "a.B"}}))
    silent = save(build("vit"), root / "some" / "silent", "vit")
    (silent / "preprocessor_config.json").unlink()
    save(build("bert"), root / "some" / "bert", "vit")
    (root / "some" / "data").mkdir()
    (root / "some" / "data" / "README.md").write_text("no model")
    save(build("vit"), root / "plain-name", "vit")
    return root


@pytest.fixture
def hub(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(repositories) as found:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.chdir(tmp_path)
        yield found


def test_a_folder_that_exists_wins_and_makes_no_request(hub: Hub, tmp_path: Path) -> None:
    folder = save(build("vit"), tmp_path / "some" / "vit", "vit")
    for reference in ("some/vit", folder, str(folder), "./some/vit"):
        source = resolve_model(reference)
        assert (source.folder, source.id, source.commit) == (folder, "vit", None)
        assert source.to_dict() == {"id": "vit"}
    with pytest.raises(ConfigError, match=r"revision is 'main', and some/vit is a folder on this"):
        resolve_model("some/vit", "main")
    assert hub.requests == []


def test_only_what_is_needed_is_fetched_and_once(hub: Hub, repositories: Path) -> None:
    source = resolve_model("some/vit")
    assert source.to_dict() == {"id": "some/vit", "revision": "main", "commit": COMMIT}
    needed = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert hub.fetched == needed
    assert sorted(path.name for path in source.folder.iterdir()) == needed
    for name in needed:
        content = (repositories / "some" / "vit" / name).read_bytes()
        assert (source.folder / name).read_bytes() == content
    assert VisionModel.load(source.folder).family == "vit"

    hub.requests.clear()
    assert resolve_model("some/vit") == source
    assert hub.fetched == []


def test_a_revision_is_kept_with_its_commit(hub: Hub) -> None:
    source = resolve_model("some/vit", "older")
    assert (source.revision, source.commit) == ("older", OLDER)
    assert VisionModel.load(source.folder).family == "deit"
    assert resolve_model("some/vit", OLDER).folder == source.folder
    with pytest.raises(ModelError, match=r"some/vit has no revision 'newest' on the hub\. Give a"):
        resolve_model("some/vit", "newest")


def test_split_weights_texts_and_names_without_owner(hub: Hub, repositories: Path) -> None:
    shards = {p.name for p in (repositories / "some" / "split").glob("*.safetensors")}
    source = resolve_model("some/split")
    assert len(shards) > 2 and shards <= set(hub.fetched)
    VisionModel.load(source.folder)
    hub.requests.clear()
    resolve_model("some/clip")
    assert {"tokenizer.json", "vocab.json", "tokenizer_config.json"} <= set(hub.fetched)
    assert resolve_model("plain-name").id == "plain-name"


@pytest.mark.parametrize(
    ("reference", "words", "fetched"),
    [
        ("some/pickled", r"no model\.safetensors on the hub \(found pytorch_model\.bin\)", 1),
        ("some/code", r"some/code asks for code of its own \(auto_map", 1),
        ("some/silent", r"some/silent has no preprocessor_config\.json on the hub", 1),
        ("some/bert", "not a vision transformer: BertModel takes input_ids", 1),
        ("some/data", r"some/data is not a model of transformers: .*It must have config", 0),
        ("some/vti", r"There is no folder .*some/vti, and the hub has no model 'some/vti'", 0),
    ],
)
def test_what_cannot_be_used_costs_no_weights(
    hub: Hub, reference: str, words: str, fetched: int
) -> None:
    with pytest.raises(ModelError, match=words):
        resolve_model(reference)
    assert hub.fetched == ["config.json"][:fetched]


def test_gated_models(hub: Hub) -> None:
    hub.gated.add("some/vit")
    with pytest.raises(ModelError, match=r"some/vit is gated: its authors want to be asked\. Ac"):
        resolve_model("some/vit")


@pytest.mark.parametrize("reference", ["models/of/mine", "./vit", "/no/such/vit", "a--b", "vit/"])
def test_a_path_with_a_slip_is_no_hub_id(hub: Hub, reference: str) -> None:
    with pytest.raises(ModelError, match=r"There is no model folder .*, and it is no hub id"):
        resolve_model(reference)
    assert not is_hub_id(reference)
    assert hub.requests == []


def test_a_path_is_always_a_folder(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "deit-tiny").mkdir()
    with pytest.raises(ModelError, match=r"no model folder .*deit-tini\. Did you mean deit-tiny\?"):
        resolve_model(Path("deit-tini"))
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"file is a file\. Give the folder of a model"):
        resolve_model("file")
    assert hub.requests == []
    with pytest.raises(ModelError, match=r"the hub has no model 'deit-tini'.*Did you mean deit-t"):
        resolve_model("deit-tini")


def test_without_a_connection_what_was_fetched_is_used(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve_model("some/vit")
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert resolve_model("some/vit") == source
    assert resolve_model("some/vit", COMMIT).folder == source.folder
    with pytest.raises(ModelError, match=r"cannot be fetched: the hub cannot be reached \(no con"):
        resolve_model("some/clip")
    assert cached_model("some/vit", COMMIT) == source.folder
    assert cached_model("some/vit", OLDER) is None
    assert cached_model("no id at all", COMMIT) is None
    (source.folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="and only a part of some/vit was fetched before"):
        resolve_model("some/vit")
    assert hub.requests == []


def test_a_hub_in_trouble(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve_model("some/vit")
    hub.broken = True
    monkeypatch.setattr("time.sleep", lambda _: None)  # the client waits before it tries again
    assert resolve_model("some/vit", COMMIT) == type(source)(
        source.folder, source.id, COMMIT, COMMIT
    )
    with pytest.raises(ModelError, match="'some/clip' cannot be fetched: the hub cannot be reach"):
        resolve_model("some/clip")
    hub.broken = False
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    assert resolve_model("some/vit") == source
    with pytest.raises(ModelError, match="'some/clip' cannot be fetched: the hub cannot be reach"):
        resolve_model("some/clip")


def test_the_command_line_says_it_in_a_sentence(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.write_images(tmp_path / "discs", 3)
    arguments = ["build", "--images", "discs", "--out", "study", "--model"]
    for extra, words in [
        (["./some/vti"], "There is no model folder"),
        (["some/vti"], "the hub has no model 'some/vti'"),
        (["some/vit", "--revision", "newest"], "has no revision 'newest' on the hub"),
        (["some/vit", "--device", "abacus"], "The device 'abacus' cannot be used"),
        (["some/vit", "--token", "pooled"], "has no pooling head"),
    ]:
        assert main([*arguments, *extra]) != 0
        said = capsys.readouterr().err
        assert words in said and "Traceback" not in said


def test_importing_asks_for_nothing() -> None:
    code = (
        "import sys, cgraph.model_source\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
