"""A study without its model: every page opens, and says what is missing where it is missed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from app_pages import click, jpeg, payloads, run, run_page, text

from cgraph import cli
from cgraph.study import Study

ROOT = Path(__file__).parents[2]
WHAT_IS_MISSING = "The model 'model' of study 'demo' was not found. Looked for: "
WHAT_TO_DO = "Set CGRAPH_MODEL_DIR to its folder. New images, the answer of the network and names"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built-in study without its model."""
    folder = tmp_path_factory.mktemp("bare") / "demo"
    shutil.copytree(ROOT / "data/demo", folder, ignore=shutil.ignore_patterns("model"))
    return folder


@pytest.fixture
def studies(app_environment: pytest.MonkeyPatch, bare: Path) -> Path:
    app_environment.setenv("CGRAPH_STUDIES", str(bare.parent))
    return bare


def said(body: str) -> bool:
    return WHAT_IS_MISSING.replace("'", "&#x27;") in body and WHAT_TO_DO in body


def test_the_trace_page_says_it_before_an_upload_and_after(studies: Path) -> None:
    app = run()
    assert not app.error
    assert payloads(app, "cgraph_trace_graph")
    assert "Images that you bring cannot be traced here" in text(app)
    assert said(text(app))
    held_out = Study.open(studies).image_ids[int(Study.open(studies).rows("held-out")[5])]
    app = run(image=held_out)
    assert not app.error
    app.file_uploader[0].set_value(("red.jpg", jpeg(), "image/jpeg")).run()
    assert not app.exception
    assert "The image 'red.jpg' was not traced." in app.error[0].value
    assert WHAT_TO_DO in app.error[0].value


@pytest.mark.parametrize("page", ["1_Graph.py", "2_Evaluation.py", "4_Concepts.py"])
def test_pages_that_need_no_model(studies: Path, page: str) -> None:
    app = run_page(f"pages/{page}")
    assert not app.error
    assert len(text(app)) > 1000


def test_names_by_text_say_what_they_need(studies: Path) -> None:
    app = run_page("pages/4_Concepts.py", concept="L12/3")
    assert not app.error
    assert "By text: not known without the model." in text(app)
    assert said(text(app))
    assert "Find words for all concepts" not in [button.label for button in app.button]


def test_the_graph_answers_and_the_network_says_what_it_needs(studies: Path) -> None:
    app = run_page("pages/3_Counterfactual.py", edit="-L8/11")
    assert not app.error
    (table,) = payloads(app, "cgraph_concept_table")
    assert any(cell for row in table["rows"] for cell in row["cells"][0])  # the graph's column
    assert said(text(app))
    assert "being loaded" not in text(app)
    app = run_page("pages/3_Counterfactual.py", edit="-L8/11", view="output")
    assert not app.error
    assert said(text(app))
    app = run_page("pages/3_Counterfactual.py", edit="-L8/11", view="often")
    click(app, "Measure")
    assert WHAT_TO_DO in app.error[0].value


def test_the_command_line(bare: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(bare)]) == 0
    capsys.readouterr()
    (tmp_path / "red.jpg").write_bytes(jpeg())
    for command in (["trace", str(tmp_path / "red.jpg"), "--study"], ["names", "text"]):
        assert cli.main([*command, str(bare)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"cgraph: {WHAT_IS_MISSING}")
        assert WHAT_TO_DO in err
        assert err.count(str(bare / "model")) == 1


def test_a_zip_shows_as_its_folder_does_and_is_not_written(
    app_environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The built-in study with its model, packed: pages, the network's pictures, names."""
    from cgraph.study_archive import export_study

    app_environment.setenv("CGRAPH_CACHE", str(tmp_path / "cache"))
    app_environment.setenv("CGRAPH_STUDIES", str(tmp_path / "shelf"))
    archive = export_study(ROOT / "data/demo", tmp_path / "shelf" / "demo.zip")
    packed = archive.read_bytes()
    app = run()
    assert not app.error
    assert "cannot be traced here" not in text(app)
    assert payloads(app, "cgraph_trace_graph")
    from cgraph.picture_source import picture

    study = Study.open(archive)
    row = study.examples[0]
    assert picture(study, row).size == picture(Study.open(ROOT / "data/demo"), row).size
    app = run_page("pages/4_Concepts.py", concept="L12/3")
    assert "The study is read from a zip file, which is not changed" in text(app)
    app.text_input(key="naming.text.demo.L12/3").set_value("a name")
    app.text_input(key="naming.author.demo.L12/3").set_value("somebody")
    click(app, "Save")
    assert "no name can be kept in it" in app.error[0].value
    assert "cgraph import" in app.error[0].value
    assert archive.read_bytes() == packed
