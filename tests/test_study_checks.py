"""Study folders that were made to mislead: hashes agree, contents do not."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from cgraph import cli
from cgraph.codes import Codes
from cgraph.concept import ConceptId
from cgraph.errors import StudyError
from cgraph.store import (
    codes_to_table,
    file_record,
    read_table,
    read_tensors,
    write_table,
    write_tensors,
)
from cgraph.study import Study


@pytest.fixture
def copy(tiny_study, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(tiny_study.path, folder)
    return folder


def edit_manifest(folder, change):
    path = folder / "study.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def seal(folder, relative):
    """Put the hash of a changed file into the manifest, as its maker could."""
    record = vars(file_record(folder / relative, "evaluation"))
    edit_manifest(folder, lambda values: values["files"].update({relative: record}))


def use_everything(folder):
    study = Study.open(folder)
    study.verify()
    json.dumps(study.info(), allow_nan=False)
    study.exemplars(ConceptId(2, 1), 3)
    for layer in range(1, study.n_layers + 1):
        study.codes(layer)
        study.dictionary(layer)
    for row in range(len(study.image_ids)):
        study.attributes(row)


def set_in(part, **changes):
    return lambda values: values[part].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        set_in("model", n_layers="4"),
        set_in("model", n_layers=True),
        set_in("model", n_layers=10**9),
        set_in("model", n_layers=-1),
        set_in("model", d_model=25),
        set_in("model", id=None),
        set_in("model", family=["vit"]),
        set_in("images", n=479),
        set_in("images", n=float("nan")),
        set_in("images", n_parts=10**30),
        set_in("images", n_parts=0),
        set_in("images", n_parts=3),
        set_in("images", n_skipped="many"),
        set_in("graph", inputs="everything"),
        set_in("graph", input_scales=[1, 2]),
        set_in("graph", input_scales=[0, 1, 1]),
        set_in("graph", input_scales="abc"),
        set_in("versions", numpy=float("inf")),
        set_in("config", keep_tokens="yes"),
        set_in("config", thumbnail_px=1.5),
        lambda values: values["config"]["predictor"].update(penalty=10**400),
        lambda values: values["config"]["dictionary"].update(center="no"),
        lambda values: values.update(files=[]),
        lambda values: values.update(images=None),
        lambda values: values.update(stages=3),
        lambda values: values.update(schema=True),
        lambda values: values["files"]["images.arrow"].update(size="big"),
        lambda values: values["files"].pop("images.arrow"),
        lambda values: values["files"].pop("codes/layer-02/part-00001.arrow"),
    ],
)
def test_a_manifest_of_wrong_types_and_numbers(change, copy):
    edit_manifest(copy, change)
    with pytest.raises(StudyError):
        use_everything(copy)


def test_json_too_deep_to_read(copy):
    (copy / "study.json").write_text("[" * 200_000)
    with pytest.raises(StudyError, match="cannot be read as JSON"):
        Study.open(copy)


def codes_with(change):
    def apply(folder):
        path = folder / "codes/layer-02/part-00001.arrow"
        table = read_table(path)
        cell = table.column("code").combine_chunks()
        offsets = cell.offsets.to_numpy().astype(np.int64)
        indices = cell.values.field("index").to_numpy().astype(np.int32)
        coefficients = np.array(cell.values.field("coefficient").to_numpy())
        offsets, indices, coefficients, n_atoms = change(offsets, indices, coefficients)
        write_table(path, codes_to_table(Codes(offsets, indices, coefficients, n_atoms)))
        seal(folder, "codes/layer-02/part-00001.arrow")

    return apply


def replaced(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize(
    "change",
    [
        lambda o, i, c: (o, replaced(i, 5, 16), c, 16),
        lambda o, i, c: (o, i[::-1].copy(), c, 16),
        lambda o, i, c: (o, i, replaced(c, 3, np.nan), 16),
        lambda o, i, c: (o, i, replaced(c, 3, np.inf), 16),
        lambda o, i, c: (o, i, replaced(c, 3, 0), 16),
        lambda o, i, c: (o[:-1], i[: o[-2]], c[: o[-2]], 16),
        lambda o, i, c: (o, i, c, 17),
    ],
    ids=["range", "order", "nan", "inf", "zero", "rows", "atoms"],
)
def test_codes_that_are_no_codes(change, copy):
    codes_with(change)(copy)
    with pytest.raises(StudyError, match="codes/layer-02"):
        use_everything(copy)


def test_row_offsets_that_fall(copy):
    """Arrow reads them without a look, and a reader would walk out of the file."""
    path = copy / "codes/layer-02/part-00001.arrow"
    data = path.read_bytes()
    offsets = read_table(path).column("code").combine_chunks().offsets.to_numpy()
    stored = offsets.astype("<i8").tobytes()
    assert data.count(stored) == 1
    path.write_bytes(data.replace(stored, replaced(offsets, 7, 10**12).astype("<i8").tobytes()))
    seal(copy, "codes/layer-02/part-00001.arrow")
    with pytest.raises(StudyError, match="layer-02"):
        use_everything(copy)


def set_column(table, name, values):
    place = table.column_names.index(name)
    array = pa.array(values, type=table.schema.field(name).type)
    return table.set_column(place, table.schema.field(name), array)


def set_cell(name, row, value):
    def apply(table):
        values = table.column(name).to_pylist()
        values[row] = value
        return set_column(table, name, values)

    return apply


@pytest.mark.parametrize(
    ("relative", "change"),
    [
        ("images.arrow", lambda table: table.slice(0, 479)),
        ("images.arrow", lambda table: table.drop_columns(["thumbnail"])),
        ("images.arrow", set_cell("split", 3, "somewhere")),
        ("images.arrow", set_cell("attributes", 3, "{")),
        ("images.arrow", set_cell("attributes", 3, "[1]")),
        ("graph/concepts.arrow", set_cell("slope", 20, float("nan"))),
        ("graph/concepts.arrow", set_cell("intercept", 20, float("inf"))),
        ("graph/concepts.arrow", lambda table: table.slice(0, 48)),
        ("graph/concepts.arrow", lambda t: t.replace_schema_metadata({"n_train_images": "x"})),
        ("graph/edges.arrow", set_cell("weight", 0, float("nan"))),
        ("evaluation/pairs.arrow", lambda table: table.drop_columns(["auc_mean"])),
        ("evaluation/layers.arrow", lambda table: table.drop_columns(["n_dead"])),
    ],
)
def test_tables_that_do_not_fit(relative, change, copy):
    write_table(copy / relative, change(read_table(copy / relative)))
    seal(copy, relative)
    with pytest.raises(StudyError):
        use_everything(copy)


def test_figures_that_are_not_finite_are_null(copy):
    path = copy / "evaluation/pairs.arrow"
    write_table(path, set_cell("auc_mean", 0, float("inf"))(read_table(path)))
    seal(copy, "evaluation/pairs.arrow")
    assert Study.open(copy).info()["pairs"][0]["auc_mean"] is None


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("atoms", lambda a: a[:, :-1]),
        ("atoms", lambda a: replaced(a, (0, 0), np.nan)),
        ("mean", lambda a: a[:-1]),
        ("max_nnz", lambda a: a * 0),
        ("max_nnz", lambda a: a * 1000),
        ("max_nnz", lambda a: a[:0]),
        ("encoder.gain", lambda a: -a),
        ("encoder.bias", lambda a: a[:-1]),
        ("encoder.selection_bias", lambda a: a[None]),
    ],
)
def test_dictionaries_that_do_not_fit(name, change, copy):
    tensors = read_tensors(copy / "dictionary.safetensors")
    key = f"layer-02.{name}"
    tensors[key] = change(tensors[key])
    write_tensors(copy / "dictionary.safetensors", tensors)
    seal(copy, "dictionary.safetensors")
    with pytest.raises(StudyError):
        use_everything(copy)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stages": 3}', '{"sources": {"model": 1}}'])
def test_a_damaged_build_record_hides_no_study(content, copy, tiny_inputs, capsys):
    (copy / "build.json").write_text(content)
    use_everything(copy)
    assert cli.main(["info", str(copy)]) == 0
    assert cli.main(["build", "--out", str(copy), "--workers", "1"]) == 2
    assert "Give --model and --images with their places" in capsys.readouterr().err
    image = next(tiny_inputs[1].rglob("*.png"))
    assert cli.main(["trace", str(image), "--study", str(copy)]) == 2
    assert "was not found" in capsys.readouterr().err
