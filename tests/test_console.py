"""What ``cgraph info`` prints of a study whose truth was measured."""

from __future__ import annotations

from pathlib import Path

import truth_example

from cgraph.console import print_info
from cgraph.study import Study


def printed(study: Study, capsys) -> str:
    print_info(study.info())
    return capsys.readouterr().out


def test_the_truth_is_printed_as_far_as_it_was_measured(tiny_study: Study, tmp_path: Path, capsys):
    assert "tell the truth" not in printed(tiny_study, capsys)
    some = truth_example.measured_copy(tiny_study, tmp_path / "some", ["stability"])
    lines = printed(some, capsys).splitlines()
    lines = lines[lines.index(next(line for line in lines if "tell the truth" in line)) :]
    assert lines[-1].endswith(f"{some.truth['atoms_matched_share']:.1%}")
    assert not any("edges" in line for line in lines)
    out = printed(truth_example.measured_copy(tiny_study, tmp_path / "all"), capsys)
    assert f"{some.graph.n_edges:,}" in out
    truth = Study.open(tmp_path / "all").truth
    for name in ("edges_supported_share", "edges_contradicted_share", "joint_removal_lost_share"):
        assert f"{truth[name]:.1%}" in out
    assert f"{truth['rollout_gap_to_direct']:+.3f}" in out
