"""A real photograph uploaded in a real browser, traced through a real vision transformer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from browsing import visit

from cgraph.study import Study


def test_a_scene_photograph_is_traced(
    chromium: object,
    serve_app: Callable[[Path], str],
    real_study: Study,
    real_dir: Path,
    tmp_path: Path,
) -> None:
    scene = sorted((real_dir / "scenes" / "mountain").iterdir())[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(scene.read_bytes()[:2000])
    address = serve_app(real_study.path.parent)
    with visit(chromium, address) as seen:
        opened_on = seen.page.locator(".cg-title").inner_text()

        _upload(seen, broken)
        seen.page.get_by_text("broken.jpg").filter(has_text="is truncated").first.wait_for(
            timeout=30_000
        )
        assert seen.page.locator(".cg-title").inner_text() == opened_on
        assert seen.page.get_by_text("Traceback").count() == 0

        _upload(seen, scene)
        seen.page.locator(".cg-title", has_text=scene.name).wait_for(timeout=60_000)
        seen.wait()
        ids = seen.in_graph("[...root.querySelectorAll('.node')].map((n) => n.dataset.id)")
        for layer in range(1, 13):
            assert sum(i.startswith(f"L{layer}/") for i in ids) == 10
        assert seen.in_graph("root.querySelectorAll('.edge').length") > 50

        other = next(i for i in ids if i.startswith("L7/"))
        seen.node(other).click()
        seen.expect_panel(other)
        assert "of images" in seen.page.locator(".cg-figures").inner_text()
        assert seen.complaints == []
        assert seen.outside == []


def _upload(seen, path: Path) -> None:
    seen.page.get_by_role("tab", name="Upload your own").click()
    seen.page.locator('input[type="file"]').set_input_files(path)
    seen.wait()
