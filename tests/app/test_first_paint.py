"""What is loaded to show a stored image, and that the rest comes later and never twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

APP = Path(__file__).parents[2] / "app.py"
HEAVY = (
    *("torch", "transformers", "numba", "sklearn", "scipy", "pandas", "networkx"),
    "pyarrow.compute",
)

_FIRST_PAINT = f"""
import sys
from streamlit.testing.v1 import AppTest

app = AppTest.from_file({str(APP)!r}, default_timeout=60)
if len(sys.argv) > 1:
    app.switch_page(sys.argv[1])
app.run()
assert not app.exception and not app.error
assert app.get("bidi_component"), "the graph was not drawn"
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def _loaded(studies_folder: Path, tmp_path: Path, *page: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_PAINT, *page],
        cwd=tmp_path,
        env={**os.environ, "CGRAPH_STUDIES": str(studies_folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_stored_image_is_shown_without_what_takes_long_to_load(
    studies_folder: Path, tmp_path: Path
) -> None:
    assert _loaded(studies_folder, tmp_path) == "[]"


def test_a_pair_of_layers_is_shown_with_sparse_matrices_alone(
    studies_folder: Path, tmp_path: Path
) -> None:
    assert _loaded(studies_folder, tmp_path, "pages/1_Graph.py") == "['scipy']"
