import csv
import io
import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph import cli
from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, DataError
from cgraph.given_names import GIVEN_NAMES, GivenName, change_given_names
from cgraph.name_files import COLUMNS, ImportedNames, import_names, names_csv, names_json
from cgraph.study import Study

GIVEN = {
    ConceptId(2, 3): GivenName('=red, "wheels"', "Ada", "2026-11-25T21:04:09Z"),
    ConceptId(4, 15): GivenName("'quoted", "Bob; C.", "2025-01-02T03:04:05Z"),
}


@pytest.fixture
def study(tiny_study, tmp_path):
    folder = tmp_path / "discs"
    shutil.copytree(tiny_study.path, folder)
    return Study.open(folder)


def run(capsys, *arguments):
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_names_by_hand_round_trip_with_author_and_date(study, tmp_path, suffix):
    change_given_names(study.path, study.naming.scope, GIVEN)
    path = tmp_path / f"names.{suffix}"
    path.write_text(names_csv(study) if suffix == "csv" else names_json(study))
    change_given_names(study.path, study.naming.scope, dict.fromkeys(GIVEN))
    assert study.naming.by_hand == {}
    assert import_names(study, path) == ImportedNames(2, 0, 0)
    assert study.naming.by_hand == GIVEN
    assert import_names(study, path) == ImportedNames(0, 0, 2)


@settings(max_examples=40, deadline=None)
@given(text=st.text(min_size=1, max_size=60), author=st.text(min_size=1, max_size=20))
def test_any_name_survives_both_kinds_of_file(tiny_study, tmp_path_factory, text, author):
    try:
        name = GivenName.of(text, author, "2026-01-01")
    except ConfigError:
        return
    folder = tmp_path_factory.mktemp("any") / "discs"
    shutil.copytree(tiny_study.path, folder, ignore=shutil.ignore_patterns("codes"))
    study = Study(folder, tiny_study.manifest)
    concept = ConceptId(1, 1)
    for suffix, made in (("csv", names_csv), ("json", names_json)):
        change_given_names(folder, study.naming.scope, {concept: name})
        path = folder.parent / f"names.{suffix}"
        path.write_text(made(study), encoding="utf-8", newline="")
        change_given_names(folder, study.naming.scope, {concept: None})
        import_names(study, path)
        assert study.naming.by_hand == {concept: name}


def test_the_csv_names_what_every_name_is(study):
    assert study.names
    change_given_names(study.path, study.naming.scope, GIVEN)
    rows = list(csv.DictReader(io.StringIO(names_csv(study))))
    assert tuple(rows[0]) == COLUMNS
    assert {row["concept"] for row in rows} == {str(c) for c in study.naming.all()}
    by_source = {row["source"] for row in rows}
    assert by_source == {"hand", "attribute"}
    formulas = [row["name"] for row in rows if row["concept"] == "L2/3"]
    assert formulas == ['\'=red, "wheels"']  # no spreadsheet program computes it


def test_a_measured_name_that_was_edited_becomes_one_by_hand(study, tmp_path):
    measured = {c: n for c, n in study.names.items() if c not in GIVEN}
    concept = next(iter(measured))
    values = json.loads(names_json(study))
    for entry in values["names"]:
        if entry["concept"] == str(concept):
            entry["name"] = "mine"
    path = tmp_path / "names.json"
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"It has no author\. Fill in the column author, or give"):
        import_names(study, path)
    assert import_names(study, path, author="Ada") == ImportedNames(1, 0, 0)
    assert list(study.naming.by_hand) == [concept]
    assert study.naming.by_hand[concept].author == "Ada"


def test_the_file_of_another_folder_of_the_study_can_be_imported(study, tmp_path):
    change_given_names(study.path, study.naming.scope, GIVEN)
    other = tmp_path / "kept.json"
    shutil.move(study.path / GIVEN_NAMES, other)
    assert import_names(study, other).n_new == 2
    assert study.naming.by_hand == GIVEN


def test_a_list_of_two_columns_is_enough(study, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\ufeffconcept;name\nL1/2;wheels\n L3/4 ;hub  caps\n")
    assert import_names(study, path, author="Ada").n_new == 2
    assert [n.text for n in study.naming.by_hand.values()] == ["wheels", "hub caps"]


def test_a_name_that_is_changed_is_counted_so(study, tmp_path):
    change_given_names(study.path, study.naming.scope, GIVEN)
    path = tmp_path / "mine.csv"
    path.write_text("concept,name,author\nL2/3,tyres,Eve\nL1/1,new,Eve\n")
    assert import_names(study, path) == ImportedNames(1, 1, 0)
    assert study.naming.by_hand[ConceptId(2, 3)].author == "Eve"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("n.csv", "concept,name,author\nL1/1,a,A\nL9/0,b,A\n", "line 3: The study 'discs' has no "),
        ("n.csv", "concept,name,author\nL1/16,a,A\n", "has no concept L1/16"),
        ("n.csv", "concept,name,author\nseven,a,A\n", "'seven' is not a concept"),
        ("n.csv", f"concept,name,author\nL1/1,{'x' * 61},A\n", "has 61 characters: 60 are allowed"),
        ("n.csv", "concept,name,author\nL1/1,,A\n", "line 2: The name is empty"),
        ("n.csv", "concept,name,author\nL1/1\n", "It has no name"),
        ("n.csv", "concept,name,author,date\nL1/1,a,A,soon\n", "The date is 'soon'"),
        ("n.csv", "concept,name\nL1/1,a\n", "It has no author"),
        ("n.csv", "concept,name,author\nL1/1,a,A\nL1/1,b,A\n", "L1/1 has two names in this file"),
        ("n.csv", "concept,text\nL1/1,a\n", "has no column 'name'"),
        ("n.csv", "", "has no column 'concept'"),
        ("n.csv", 'concept,name\n"L1/1,a\n', "is not a CSV file"),
        ("n.json", "[1]", "is not a file of names"),
        ("n.json", "{", "is not a file of names"),
        ("n.json", '{"schema": 9, "names": []}', "has schema 9"),
        ("n.json", '{"schema": 1, "names": [{"concept": 5}]}', "name 1: It has no concept"),
        ("n.txt", "concept,name\n", "must end in .csv or .json"),
        (
            "n.json",
            '{"schema": 1, "study": "other", "dictionary": "ff", "names": '
            '[{"concept": "L1/1", "name": "a", "author": "A"}]}',
            "it names concepts of 'other', whose dictionaries are not those of 'discs'",
        ),
        (
            "n.csv",
            "concept,name,author,study,dictionary\nL1/1,a,A,other,ff\n",
            "line 2: it names concepts of 'other'",
        ),
    ],
)
def test_wrong_files_change_nothing(study, tmp_path, name, content, sentence):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=sentence):
        import_names(study, path)
    assert not (study.path / GIVEN_NAMES).exists()


def test_files_that_cannot_be_read(study, tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        import_names(study, tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes("concept,name\nL1/1,Räder\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"cannot be read \(it is not UTF-8\)"):
        import_names(study, tmp_path / "latin.csv")


class TestCommand:
    def test_out_of_a_study_and_back(self, study, tmp_path, capsys):
        change_given_names(study.path, study.naming.scope, GIVEN)
        path = tmp_path / "names.csv"
        code, out, err = run(capsys, "names", "export", study.path, "--out", path)
        assert (code, err) == (0, "") and "2 of them given by hand" in out
        change_given_names(study.path, study.naming.scope, dict.fromkeys(GIVEN))
        code, out, _ = run(capsys, "names", "import", study.path, path)
        assert code == 0 and out.startswith("2 names given, 0 changed, 0 as they were before")
        assert Study.open(study.path).naming.by_hand == GIVEN
        assert run(capsys, "info", study.path)[0] == 0  # every hash still holds

    def test_names_that_cannot_be_read_are_not_left_out_in_silence(self, study, tmp_path, capsys):
        (study.path / GIVEN_NAMES).write_text("{")
        code, _, err = run(capsys, "names", "export", study.path, "--out", tmp_path / "n.json")
        assert code == 0 and err.startswith("cgraph: names by hand are left out.")

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["export", "{study}", "--out", "names.txt"], "must end in .csv or .json"),
            (["export", "nowhere", "--out", "names.csv"], "There is no folder nowhere"),
            (["import", "{study}", "nowhere.csv"], "nowhere.csv cannot be read"),
            (["text", "{study}"], "knows no texts"),
            (["text", "{study}", "--vocabulary", "nowhere"], "The vocabulary nowhere cannot be"),
        ],
    )
    def test_errors_are_sentences(self, study, capsys, arguments, sentence):
        code, out, err = run(capsys, "names", *[a.format(study=study.path) for a in arguments])
        assert (code, out) == (2, "")
        assert err.startswith("cgraph: ") and sentence in err and "Traceback" not in err

    def test_a_trace_marks_names_by_hand(self, study, tiny_inputs, capsys):
        row = int(study.rows("held-out")[0])
        concept = ConceptId(3, int(study.codes(3).row(row)[0][0]))
        name = GivenName.of("wheels", "Ada")
        change_given_names(study.path, study.naming.scope, {concept: name})
        image = tiny_inputs[1] / study.image_ids[row]
        code, out, _ = run(capsys, "trace", image, "--study", study.path)
        assert code == 0 and f"{concept} wheels ✎" in out
