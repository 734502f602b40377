"""Fixtures shared by all tests, and the rule that a full run may forbid skipped tests."""

import os
from pathlib import Path

import pytest
import tiny

from cgraph.study import Study

FORBID_SKIPS = os.environ.get("CGRAPH_FORBID_SKIPS") == "1"


@pytest.fixture(scope="session")
def real_dir() -> Path:
    """Folder with a real model (`deit-tiny`) and real photographs."""
    folder = os.environ.get("CGRAPH_REAL_DIR")
    if not folder:
        pytest.skip("CGRAPH_REAL_DIR is not set: no real model and photographs")
    if not Path(folder).is_dir():
        pytest.fail(f"CGRAPH_REAL_DIR is {folder!r}, which is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny model and of 480 small pictures."""
    root = tmp_path_factory.mktemp("inputs")
    return tiny.write_model(root / "tiny-vit"), tiny.write_images(root / "discs")


@pytest.fixture(scope="session")
def tiny_study(tiny_inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study of the tiny model; tests must not change its folder."""
    from cgraph.pipeline import build_study

    folder = tmp_path_factory.mktemp("studies") / "discs"
    return build_study(*tiny_inputs, folder, tiny.CONFIG, workers=1)


@pytest.fixture(scope="session")
def real_study(real_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A reduced study of a real model: 1,500 photographs, 48 concepts a layer."""
    from cgraph.cli import main

    folder = tmp_path_factory.mktemp("real") / "photographs"
    arguments = ["--max-images", "1500", "--n-atoms", "48", "--out", str(folder)]
    model, images = real_dir / "deit-tiny", real_dir / "photos-64px.parquet"
    assert main(["build", "--model", str(model), "--images", str(images), *arguments]) == 0
    return Study.open(folder)


def _skipped(config: pytest.Config) -> list[pytest.TestReport]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return reporter.stats.get("skipped", []) if FORBID_SKIPS and reporter else []


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    skipped = _skipped(config)
    if skipped:
        terminalreporter.section("CGRAPH_FORBID_SKIPS=1, but these were skipped", red=True)
        for report in skipped:
            terminalreporter.line(report.nodeid)
