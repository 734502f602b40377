import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from cgraph import given_names
from cgraph.concept import ConceptId
from cgraph.errors import ConfigError, StudyError
from cgraph.given_names import (
    GIVEN_NAMES,
    GivenName,
    NameScope,
    change_given_names,
    read_given_names,
)
from cgraph.store import LOCK_NAME, folder_lock
from cgraph.study import Study
from cgraph.study_names import marked

SCOPE = NameScope("demo", "a" * 64, (4, 16))
WHEELS = GivenName("wheels", "Ada", "2026-11-25T21:04:09Z")


@pytest.fixture
def copy(tiny_study, tmp_path):
    folder = tmp_path / "discs"
    shutil.copytree(tiny_study.path, folder)
    return folder


def give(folder, scope, texts):
    change_given_names(
        folder, scope, {ConceptId.parse(c): GivenName.of(t, "Ada") for c, t in texts.items()}
    )


class TestNames:
    def test_spaces_are_dropped_and_the_date_is_universal_time(self):
        name = GivenName.of("  red \n wheels ", " Ada  L. ", "2026-11-25T22:04:09+01:00")
        assert name == GivenName("red wheels", "Ada L.", "2026-11-25T21:04:09Z")
        assert GivenName.of("x", "y", "2026-11-25").date == "2026-11-25T00:00:00Z"

    def test_now_is_the_date_of_a_new_name(self):
        assert GivenName.of("x", "y").date.startswith("20")

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "The name is empty. Write 1 to 60 characters."),
            ("  \t ", "The name is empty"),
            ("w" * 61, "has 61 characters: 60 are allowed. Shorten it."),
            ("a\x07b", r"holds the character U\+0007, which cannot be seen"),
            ("a\u202eb", r"U\+202E"),
            (7, "The name is 7, which is no text"),
        ],
    )
    def test_wrong_names(self, text, sentence):
        with pytest.raises(ConfigError, match=sentence):
            GivenName.of(text, "Ada")

    def test_sixty_characters_of_any_script_are_a_name(self):
        assert GivenName.of("車" * 60, "Ада").text == "車" * 60
        family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # one sign of several, joined
        assert GivenName.of(family, "Ada").text == family

    @pytest.mark.parametrize(("author", "date"), [("", None), ("Ada", "yesterday"), ("Ada", 5)])
    def test_wrong_authors_and_dates(self, author, date):
        with pytest.raises(ConfigError, match=r"The author is empty|The date is"):
            GivenName.of("x", author, date)


class TestFile:
    def test_round_trip(self, tmp_path):
        change_given_names(tmp_path, SCOPE, {ConceptId(2, 11): WHEELS})
        assert read_given_names(tmp_path, SCOPE) == {ConceptId(2, 11): WHEELS}
        assert json.loads((tmp_path / GIVEN_NAMES).read_text()) == {
            "schema": 1,
            "study": "demo",
            "dictionary": "a" * 64,
            "names": [
                {
                    "concept": "L2/11",
                    "name": "wheels",
                    "author": "Ada",
                    "date": "2026-11-25T21:04:09Z",
                }
            ],
        }

    def test_names_are_taken_back(self, tmp_path):
        give(tmp_path, SCOPE, {"L1/0": "one", "L2/0": "two"})
        change_given_names(tmp_path, SCOPE, {ConceptId(1, 0): None, ConceptId(1, 1): None})
        assert [n.text for n in read_given_names(tmp_path, SCOPE).values()] == ["two"]

    @pytest.mark.parametrize("concept", ["L3/0", "L2/16", "P1/0"])
    def test_unknown_concepts_change_nothing(self, tmp_path, concept):
        with pytest.raises(ConfigError, match=f"has no concept {concept}: its concepts are L1/0 "):
            give(tmp_path, SCOPE, {"L1/0": "one", concept: "x"})
        assert not (tmp_path / GIVEN_NAMES).exists()

    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "[]",
            '{"schema": 1}',
            '{"schema": 1, "dictionary": "' + "a" * 64 + '", "names": [{"concept": "L9/1"}]}',
            '{"schema": 1, "dictionary": "' + "a" * 64 + '", "names": [{"concept": "L1/1"}]}',
            '{"schema": 1, "dictionary": "' + "a" * 64 + '", "names": 5}',
            '{"schema": 2, "dictionary": "", "names": []}',
        ],
    )
    def test_damaged_files_are_named_and_never_overwritten(self, tmp_path, content):
        (tmp_path / GIVEN_NAMES).write_text(content)
        with pytest.raises(StudyError, match=r"names\.json"):
            read_given_names(tmp_path, SCOPE)
        with pytest.raises(StudyError, match=r"names\.json"):
            give(tmp_path, SCOPE, {"L1/0": "one"})
        assert (tmp_path / GIVEN_NAMES).read_text() == content

    def test_names_of_other_dictionaries_are_kept_and_not_shown(self, tmp_path):
        give(tmp_path, SCOPE, {"L1/0": "one"})
        before = (tmp_path / GIVEN_NAMES).read_bytes()
        anew = NameScope("demo", "b" * 64, (4, 16))
        for call in (lambda: read_given_names(tmp_path, anew), lambda: give(tmp_path, anew, {})):
            with pytest.raises(StudyError, match="names for other dictionaries"):
                call()
        assert (tmp_path / GIVEN_NAMES).read_bytes() == before

    def test_somebody_who_was_overtaken_is_told(self, tmp_path):
        concept = ConceptId(1, 0)
        change_given_names(tmp_path, SCOPE, {concept: WHEELS}, expected={concept: None})
        mine = GivenName.of("tyres", "Bob")
        with pytest.raises(StudyError, match="L1/0 was named 'wheels' by Ada meanwhile"):
            change_given_names(tmp_path, SCOPE, {concept: mine}, expected={concept: None})
        change_given_names(tmp_path, SCOPE, {concept: None})
        with pytest.raises(StudyError, match="was taken back by somebody else meanwhile"):
            change_given_names(tmp_path, SCOPE, {concept: mine}, expected={concept: WHEELS})
        assert read_given_names(tmp_path, SCOPE) == {}


_NAME_MANY = """
import sys
from pathlib import Path
from cgraph.concept import ConceptId
from cgraph.given_names import GivenName, NameScope, change_given_names
scope = NameScope("demo", "a" * 64, (16, 16, 16))
for index in range(16):
    name = {ConceptId(int(sys.argv[2]), index): GivenName.of("x", "Ada")}
    change_given_names(Path(sys.argv[1]), scope, name)
"""


class TestWriters:
    def test_processes_that_name_at_once_keep_all_names(self, tmp_path):
        writers = [
            subprocess.Popen([sys.executable, "-c", _NAME_MANY, str(tmp_path), str(layer)])
            for layer in (1, 2, 3)
        ]
        assert [writer.wait(60) for writer in writers] == [0, 0, 0]
        names = read_given_names(tmp_path, NameScope("demo", "a" * 64, (16, 16, 16)))
        assert len(names) == 48

    def test_threads_that_name_at_once_keep_all_names(self, tmp_path):
        threads = [
            threading.Thread(target=give, args=(tmp_path, SCOPE, {f"L2/{n}": f"name {n}"}))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(read_given_names(tmp_path, SCOPE)) == 8

    def test_a_build_that_holds_the_folder_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(given_names, "WAIT_SECONDS", 0.05)
        with (
            folder_lock(tmp_path),
            pytest.raises(StudyError, match="Another build is working on"),
        ):
            give(tmp_path, SCOPE, {"L1/0": "one"})

    def test_a_write_that_fails_leaves_the_names_as_they_were(self, tmp_path, monkeypatch):
        give(tmp_path, SCOPE, {"L1/0": "one"})
        before = (tmp_path / GIVEN_NAMES).read_bytes()

        def refuse(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", refuse)
        with pytest.raises(StudyError, match=r"names\.json could not be written \(No space left"):
            give(tmp_path, SCOPE, {"L1/0": "two"})
        assert (tmp_path / GIVEN_NAMES).read_bytes() == before
        assert {p.name for p in tmp_path.iterdir()} == {GIVEN_NAMES, LOCK_NAME}

    def test_a_study_that_may_only_be_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        with pytest.raises(StudyError, match="cannot be written, so no name can be kept in it"):
            give(tmp_path, SCOPE, {"L1/0": "one"})
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_locked_is_named(self, tmp_path):
        (tmp_path / LOCK_NAME).mkdir()  # even an administrator cannot lock that
        with pytest.raises(StudyError, match=r"cannot be used .* Choose one you may write to"):
            give(tmp_path, SCOPE, {"L1/0": "one"})


class TestStudy:
    def test_naming_changes_no_measured_file(self, copy):
        before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file() and p.suffix}
        study = Study.open(copy)
        give(copy, study.naming.scope, {"L3/2": "wheels"})
        assert {p: p.read_bytes() for p in before} == before
        again = Study.open(copy)
        again.verify()
        assert again.name_of(ConceptId(3, 2)).text == "wheels"

    def test_an_open_study_sees_new_names_at_once(self, copy):
        study, concept = Study.open(copy), ConceptId(3, 2)
        measured, revision = study.name_of(concept), study.naming.revision
        assert revision == ""
        give(copy, study.naming.scope, {"L3/2": "wheels"})
        assert marked(study.name_of(concept)) == "wheels ✎"
        assert study.naming.revision != revision
        assert study.naming.measured(concept) == measured
        assert concept in study.naming.all()
        change_given_names(copy, study.naming.scope, {concept: None})
        assert study.name_of(concept) == measured

    def test_a_damaged_file_costs_the_names_and_a_sentence(self, copy):
        study = Study.open(copy)
        (copy / GIVEN_NAMES).write_text("{")
        assert study.naming.by_hand == {}
        assert "cannot be read as JSON" in study.naming.problem
        (copy / GIVEN_NAMES).unlink()
        assert study.naming.problem == ""

    def test_a_study_that_was_copied_keeps_its_names(self, copy, tmp_path):
        give(copy, Study.open(copy).naming.scope, {"L1/0": "one"})
        shutil.copytree(copy, tmp_path / "elsewhere")
        assert Study.open(tmp_path / "elsewhere").name_of(ConceptId(1, 0)).text == "one"

    def test_a_build_that_goes_on_keeps_them(self, copy):
        from cgraph.pipeline import resume_study

        give(copy, Study.open(copy).naming.scope, {"L3/2": "wheels"})
        before = (copy / GIVEN_NAMES).read_bytes()
        study = resume_study(copy, workers=1)
        study.verify()
        assert (copy / GIVEN_NAMES).read_bytes() == before
        assert study.name_of(ConceptId(3, 2)).text == "wheels"
