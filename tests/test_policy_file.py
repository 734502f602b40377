"""Reading policies: values, defaults, and every mistake at its line with what was meant."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgraph.errors import CgraphError, ConfigError, PolicyError
from cgraph.policy_file import read_policy
from cgraph.policy_rules import ConceptSet
from cgraph.toml_lines import key_lines

GOOD = """\
[policy]
name = "No say of the background"
study = "biased"
seed = 3
draws = 50

[sets.background]
attribute = "background"
value = ["sky", "sand"]
strength = 0.5
layers = [1, 11]

[sets.verdict]
outputs = ["approved"]

[sets.group]
ids = ["L7/1", "L7/2"]

[[rules]]
id = "no-background"
kind = "no-path"
from = "background"
to = "verdict"
max_length = 3
evidence = ["supported", "direction"]

[[rules]]
kind = "influence"
note = "The size of a hunch."
from = "background"
to = "verdict"
at_most = 0.05
worst_at_most = 0.2
where = "both"

[[rules]]
id = "past"
kind = "through"
from = "background"
via = "group"
to = "verdict"
"""


def problems(text):
    with pytest.raises(PolicyError) as caught:
        read_policy(text)
    return [(problem.line, problem.message) for problem in caught.value.problems]


def test_a_policy_is_read():
    policy = read_policy(GOOD)
    assert (policy.name, policy.study, policy.seed, policy.draws) == (
        "No say of the background", "biased", 3, 50,
    )  # fmt: skip
    assert policy.sets[0] == ConceptSet(
        "background", attribute="background", values=("sky", "sand"), strength=0.5, layers=(1, 11)
    )
    assert policy.sets[1].outputs == ("approved",)
    first, second, third = policy.rules
    assert (first.id, first.source, first.target, first.max_length) == (
        "no-background", "background", "verdict", 3,
    )  # fmt: skip
    assert first.evidence == ("supported", "direction")
    assert (second.id, second.at_most, second.worst_at_most, second.where) == (
        "rule-2", 0.05, 0.2, "both",
    )  # fmt: skip
    assert second.images == "held-out" and second.flip == "out"
    assert third.set_names == ("background", "verdict", "group")
    assert [rule.line for rule in policy.rules] == [19, 27, 36]


def test_all_mistakes_are_told_at_once_each_at_its_line():
    text = GOOD.replace("seed = 3", "sed = 3").replace('"verdict"\nmax', '"verdikt"\nmax')
    text = text.replace("at_most = 0.05", "at_most = 5").replace('"both"', '"grap"')
    text = text.replace('via = "group"\n', "").replace("max_length", "max_lenght")
    found = problems(text)
    assert [line for line, _ in found] == [4, 23, 24, 32, 34, 36]
    messages = " ".join(message for _, message in found)
    for suggestion in ("'seed'", "'verdict'", "'max_length'", "'graph'", "at most 1", "lacks via"):
        assert suggestion in messages
    with pytest.raises(PolicyError, match="has 6 mistakes:\n  line 4: There is no key 'sed'"):
        read_policy(text)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('"influence"', '"influense"', 28, "Did you mean 'influence'?"),
        ('to = "verdict"\nat', 'to = "background"\nat', 31, "cannot be in both"),
        ("worst_at_most = 0.2", "worst_at_most = 0.01", 33, "at_most says nothing"),
        ('where = "both"', "budget = 3", 34, "budget means nothing in a rule of kind influence"),
        ('["L7/1", "L7/2"]', "[]", 17, "the list is empty"),
        ('ids = ["L7/1", "L7/2"]', "", 16, "The set 'group' is empty"),
        ('ids = ["L7/1", "L7/2"]', 'idz = ["L7/1"]', 17, "Did you mean 'ids'?"),
        ("layers = [1, 11]", "layers = [11, 1]", 11, "first must not come after the last"),
        ("layers = [1, 11]", "layers = 0", 11, "layers count from 1"),
        ("strength = 0.5", 'strength = "much"', 10, "a number is needed"),
        ("strength = 0.5", "strength = nan", 10, "a number is needed"),
        ('attribute = "background"\n', "", 8, "means nothing without attribute"),
        ('id = "past"', 'id = "no-background"', 37, "two rules 'no-background'"),
        ('"direction"]', '"directions"]', 25, "Did you mean 'direction'?"),
        ("max_length = 3", "max_length = true", 24, "a whole number"),
        ("at_most = 0.05\nworst_at_most = 0.2", "", 27, "lacks at_most"),
    ],
)
def test_a_mistake_is_told_with_its_line(old, new, line, said):
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert any(at == line and said in message for at, message in found), found


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[policy]\nname = hello", 2, 'Texts stand in quotes: name = "hello"'),
        ("[policy]\n\nname: 3", 3, "Write name = … in place of the colon"),
        ("a = 1\na = 2", 2, "Cannot overwrite a value"),
        ('x = """', 1, "Unterminated string"),
        ("[sets\n", 1, "This is no TOML"),
        ("x = " + "[" * 4000, 0, "too deep"),
        ("x = 1" + "0" * 5000, 0, "This is no TOML"),
        ("", 0, "no rules"),
        ("rules = 3", 1, "write [[rules]]"),
        ("sets = 3\n[[rules]]", 1, "write a table [sets.NAME]"),
        ("[ruless]", 1, "Did you mean 'rules'?"),
    ],
)
def test_what_is_no_policy_is_told(text, line, said):
    found = problems(text)
    assert any(at == line and said in message for at, message in found), found


def test_files(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_policy(path).rules[2].line == 36
    path.write_bytes(b'[policy]\nname = "\xff"')
    with pytest.raises(PolicyError, match="line 2: This is no UTF-8"):
        read_policy(path)
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(PolicyError, match="more than 1,000,000"):
        read_policy(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")
    path.write_text(
        "[[rules]]\nkind='no-path'\nfrom='a'\nto='b'\n[sets]\na={ids='L1/1'}\nb={ids='L2/1'}"
    )
    assert read_policy(path).name == "policy"


def test_lines_of_keys():
    text = (
        "top = 1 # [no] = header\n"
        '[sets."a b"]\n'
        "ids = [ # one a line\n"
        '  "L1/1",\n'
        '  "L2/2", # "L3/3"\n'
        "]\n"
        'note = """\n[[rules]]\n"quoted""""\n'
        "value = 'it = [' # x\n"
        "inline = { a = 1, b = [1, 2] }\n"
        "[[rules]]\n"
        'kind = "a\\"b = c"\n'
        "[[rules]]\n"
        "a.b = 2\n"
        "[[rules.parts]]\nx = 1\n[[rules.parts]]\nx = 2\n"
    )
    assert tomllib.loads(text)["rules"][1]["parts"][1] == {"x": 2}
    lines = key_lines(text)
    assert lines.of("top") == 1
    assert lines.of("sets", "a b") == 2
    assert lines.of("sets", "a b", "ids") == 3
    assert lines.of("sets", "a b", "ids", value="L2/2") == 5
    assert lines.of("sets", "a b", "value") == 10
    assert lines.of("sets", "a b", "inline", "b") == 11
    assert lines.of("rules", 0, "kind") == 13
    assert lines.of("rules", 1, "a", "b") == 15
    assert lines.of("rules", 1, "parts", 1, "x") == 19
    assert lines.of("nothing") == 0


WORDS = (
    *("[policy]", "[sets.a]", "[sets.b]", "[[rules]]", "kind", "from", "to", "via", "=", "\n"),
    *('"a"', '"b"', '"no-path"', '"flips"', '"influence"', "at_most", "0.5", "ids", "[", "]", "{"),
    *("}", '"L1/0"', "layers", "1", "-3", "nan", "inf", "true", '"""', "'", "#", ",", ".", "1979"),
    *("1979-05-27", "budget", "evidence", '"direction"', "max_length", "\\", "é", "\x00", "sets"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join) | st.text(max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_policy_or_an_error_for_people(text):
    try:
        read_policy(text)
    except CgraphError as error:
        assert str(error)


@st.composite
def broken_policies(draw):
    """Return the good policy with some of its lines dropped, doubled, or changed."""
    lines = GOOD.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["drop", "double", "value", "key", "cut"]))
        key, equals, value = lines[place].partition("=")
        other = draw(st.sampled_from(WORDS))
        lines[place : place + 1] = {
            "drop": [],
            "double": [lines[place], lines[place]],
            "value": [f"{key}= {other}"],
            "key": [f"{other} {equals}{value}"],
            "cut": [lines[place][: len(lines[place]) // 2]],
        }[change]
        lines = lines or [""]
    return "\n".join(lines)


@given(broken_policies())
@settings(max_examples=400, deadline=None)
def test_a_broken_policy_is_read_or_told_at_lines_that_exist(text):
    try:
        read_policy(text)
    except PolicyError as error:
        assert error.problems
        assert all(0 <= p.line <= text.count("\n") + 1 and p.message for p in error.problems)
