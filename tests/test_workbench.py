"""What measurements work with: calls that are kept, tokens, pictures that are checked."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tiny

from cgraph.config import HELD_OUT
from cgraph.errors import ImageError
from cgraph.executors import ProcessExecutor, SerialExecutor
from cgraph.pipeline import build_study
from cgraph.store import read_json, to_json, write_bytes
from cgraph.study import Study
from cgraph.workbench import Workbench


@pytest.fixture
def study(tiny_study, tmp_path):
    return Study.open(shutil.copytree(tiny_study.path, tmp_path / "discs"))


class _Counting(SerialExecutor):
    def __init__(self):
        self.n_calls = 0

    def run(self, function, calls):
        self.n_calls += len(calls)
        return super().run(function, calls)


def _squares(source, number, array):
    return {"square": np.array([number**2]), "sum": array + source.study.n_layers}


def test_calls_come_back_in_order_and_are_not_repeated(study):
    executor, seen = _Counting(), []
    bench = Workbench(
        study, executor, on_start=lambda *n: seen.append(n), on_advance=lambda: seen.append("+")
    )
    calls = [(n, np.arange(3)) for n in (3, 1, 2)]
    found = bench.run("squares", _squares, calls)
    assert [int(arrays["square"][0]) for arrays in found] == [9, 1, 4]
    assert found[0]["sum"].tolist() == [study.n_layers + n for n in range(3)]
    assert seen == [(3, 0), "+", "+", "+"]
    again = Workbench(study, executor).run("squares", _squares, [*calls, (4, np.arange(3))])
    assert [int(arrays["square"][0]) for arrays in again] == [9, 1, 4, 16]
    assert executor.n_calls == 4
    bench.run("squares", _squares, [(3, np.arange(4))])  # another array is another call
    assert executor.n_calls == 5


def test_another_seed_or_build_forgets_what_was_kept(study):
    executor = _Counting()
    calls = [(3, np.arange(3))]
    Workbench(study, executor).run("squares", _squares, calls)
    Workbench(study, executor, seed=study.config.seed + 1).run("squares", _squares, calls)
    assert executor.n_calls == 2


def _n_atoms(source):
    return {"n": np.array([source.study.dictionary(1).n_atoms])}


def test_a_study_that_was_built_anew_is_opened_anew(study, tiny_inputs, tmp_path):
    bench = Workbench(study, SerialExecutor())
    assert bench.run("atoms", _n_atoms, [()])[0]["n"] == 16
    shutil.rmtree(study.path)
    config = replace(tiny.CONFIG, dictionary=replace(tiny.CONFIG.dictionary, n_atoms=12))
    other = build_study(*tiny_inputs, study.path, config, workers=1)
    assert Workbench(other, SerialExecutor()).run("atoms", _n_atoms, [()])[0]["n"] == 12


def test_tokens_are_those_that_the_study_was_built_from(study):
    bench = Workbench(study, SerialExecutor())
    rows = study.rows(HELD_OUT)
    for layer in (1, study.n_layers):
        tokens = bench.tokens(HELD_OUT, layer)
        assert tokens.shape == (len(rows), study.d_model)
        labels = study.dictionary(layer).encode(tokens).to_csr(binary=True).toarray()
        stored = study.codes(layer).take(rows).to_csr(binary=True).toarray()
        assert (labels != stored).mean() < 1e-3


def test_tokens_do_not_depend_on_the_number_of_workers(study):
    one = Workbench(study, SerialExecutor()).tokens(HELD_OUT, 2)
    shutil.rmtree(study.path / ".measuring")
    many = Workbench(study, ProcessExecutor(2)).tokens(HELD_OUT, 2)
    np.testing.assert_array_equal(one, many)


def test_other_pictures_are_refused(study, tiny_inputs, tmp_path):
    images = shutil.copytree(tiny_inputs[1], tmp_path / "elsewhere")
    kept = str(images)
    bench = Workbench(study, SerialExecutor(), images=kept)
    bench.need_pictures()
    victim = study.image_ids[0]
    found = next(path for path in images.rglob("*") if path.name.startswith(victim.split("/")[-1]))
    size = found.stat().st_size
    smaller = (p for p in sorted(images.rglob("*")) if p.is_file() and p.stat().st_size < size)
    found.write_bytes(next(smaller).read_bytes().ljust(size, b"\0"))  # names and sizes as before
    with pytest.raises(ImageError, match="is not the picture that the study"):
        Workbench(study, SerialExecutor(), images=kept).need_pictures()


def test_pictures_that_have_moved_are_named(study):
    record = read_json(study.path / "build.json")
    record["sources"]["images"] = "/nowhere/at/all"
    write_bytes(study.path / "build.json", to_json(record))
    with pytest.raises(ImageError, match=r"/nowhere/at/all.*--images"):
        Workbench(study, SerialExecutor()).need_pictures()
    with pytest.raises(ImageError, match=r"^/not/here.*does not hold.*--images"):
        Workbench(study, SerialExecutor(), images="/not/here").need_pictures()
