"""The link of docs/tutorial-audit.md, and which of the bundled studies the app opens on."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from app_pages import run, run_page, text

from cgraph.study import Study
from cgraph.ui.models import shelf
from cgraph.ui.resources import find_studies

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bundled(app_environment: pytest.MonkeyPatch) -> None:
    app_environment.setenv("CGRAPH_STUDIES", str(ROOT / "data"))


@pytest.mark.usefixtures("bundled")
def test_the_app_opens_on_the_demo_and_offers_the_others() -> None:
    app = run()
    assert "study demo" in text(app)
    assert {"demo", "fair", "biased"} <= {option for box in app.selectbox for option in box.options}


@pytest.mark.usefixtures("bundled")
def test_the_link_of_the_tutorial_shows_the_word_taken_back() -> None:
    page = (ROOT / "docs/tutorial-audit.md").read_text(encoding="utf-8")
    (link,) = re.findall(r"`(/Counterfactual\?[^`]+)`", page)
    query = dict(parse_qsl(urlsplit(link).query))
    entry = find_studies((ROOT / "data",)).find("biased")
    assert entry is not None
    study = Study.open(entry.folder)
    shelf.get(entry, study)
    known = study.attributes(study.image_ids.index(query["image"]))
    assert known["background"] == "grass" and not known["approved"]
    app = run_page("pages/3_Counterfactual.py", **query)
    assert not app.warning and not app.error
    before, after = map(float, re.search(  # type: ignore[union-attr]
        r"<b>approved</b> moves most, from (\d\.\d+) to (\d\.\d+)", text(app)
    ).groups())  # fmt: skip
    assert study.outputs is not None
    assert before > study.outputs.nodes[0].threshold > after
