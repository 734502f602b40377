"""The tutorial docs/tutorial-audit.md: its commands and Python, taken out of the page and run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from cgraph import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/tutorial-audit.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S)
    for line in block.splitlines()
    if line.strip()
]
APP, MAKE = "streamlit run app.py", "cgraph demo --audit --out studies"
CODES = {"cgraph check data/biased data/policy.toml": 1}
"""What commands end with, where it is not 0; by how they begin."""


def code_of(command: str) -> int:
    return next((code for start, code in CODES.items() if command.startswith(start)), 0)


def test_the_page_holds_nothing_else():
    others = [line for line in COMMANDS if not line.startswith("cgraph ")]
    assert others == [APP] and MAKE in COMMANDS
    assert sum(line.startswith("cgraph check ") for line in COMMANDS) >= 2


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with copies of what the page works on."""
    for name in ("fair", "biased"):
        shutil.copytree(ROOT / "data" / name, tmp_path / "data" / name)
    shutil.copy(ROOT / "data/policy.toml", tmp_path / "data/policy.toml")
    # Most of the time of a check goes into random sets; a few are as good for a run.
    monkeypatch.setattr("cgraph.policy.influence_draws", 4)
    monkeypatch.setattr("cgraph.policy.network_draws", 1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [line for line in COMMANDS if line not in (APP, MAKE)])
def test_a_command_runs(command, here, capsys):
    words = shlex.split(command)
    code = cli.main(words[1:])
    said = capsys.readouterr()
    assert code == code_of(command), said.err
    assert said.out or "--json" not in words
    if "--html" in words:
        page = (here / words[words.index("--html") + 1]).read_text(encoding="utf-8")
        assert "O/approved" in page and "data:image/" in page
    if "--json" in words:
        json.loads(said.out)


def test_the_python_of_the_page_runs(here, capsys):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "tutorial-audit.md", "exec"), {"__name__": "tutorial"})
    assert capsys.readouterr().out


def test_the_figures_of_the_page_are_those_of_the_studies():
    for name in ("fair", "biased"):
        path = ROOT / "data" / name / "evaluation/quality.json"
        for row in json.loads(path.read_text())["word"]["grounds"]:
            cells = next(
                line for line in TEXT.splitlines() if line.startswith(f"| {row['background']} |")
            ).split("|")
            column = 3 if name == "fair" else 5
            shown = [cell.strip(" *%") for cell in cells[column : column + 2]]
            assert shown == [f"{100 * row[key]:.1f}" for key in ("accuracy", "false_alarms")]
