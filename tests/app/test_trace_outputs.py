"""The Trace page of a study with outputs: what the model says, and what the graph expects."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from app_pages import html, run

from cgraph.output_making import add_outputs
from cgraph.output_readings import outputs_of_row
from cgraph.output_values import Asked
from cgraph.study import Study


@pytest.mark.usefixtures("app_environment")
class TestOutputs:
    def test_outputs_stand_beside_the_picture(
        self, tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "studies" / "discs"
        shutil.copytree(tiny_study.path, folder)
        study = add_outputs(folder, [Asked("class", "LABEL_0", "<b>sky</b>")], workers=1)
        monkeypatch.setenv("CGRAPH_STUDIES", str(folder.parent))
        row = int(study.rows("held-out")[3])
        app = run(study="discs", image=study.image_ids[row])
        body = html(app)
        (state,) = outputs_of_row(study, row)
        assert "O/&lt;b&gt;sky&lt;/b&gt;" in body and "<b>sky</b>" not in body
        said, expected = (("off", "on")[one] for one in (state.label, state.predicted))
        assert f"<td>{said}: the likeliest class is LABEL_0, here {state.value:.3f}</td>" in body
        assert f"<td>{expected}, at " in body

    def test_a_study_without_outputs_shows_none(self) -> None:
        assert "the model says" not in html(run())
