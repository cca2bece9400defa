"""YAML with remarks holds the same values, whatever the remarks say."""

from pathlib import Path

import pytest
from forcemap.fitter.checked import load_yaml
from forcemap.fitter.importers.commented_yaml import WIDTH, Entry, comment, rendered, values_of

ENTRIES = (
    Entry("data", (Entry("train", "a b: #c.xyz", ("first of all",)), Entry(remarks=("alone",)))),
    Entry("e0", {"C": -0.16, "O": 0.0}, ("a long remark " * 12, "another")),
    Entry("sigma", (Entry("300", (Entry("energy", 1e-8),)), Entry("no", {}), Entry("1:2", 3))),
    Entry(
        "terms",
        [
            (
                Entry(remarks=("the first", "of two")),
                Entry("kind", "soap"),
                Entry("quotas", {"b": 1, "a": 2}),
            ),
            (Entry("kind", "two_body", ("first\nterms: []\x1b[2J\u2028x: 1",)), Entry("on", True)),
        ],
    ),
    Entry(remarks=("the last",)),
)


def test_the_text_has_the_values_of_its_entries(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(rendered(ENTRIES), encoding="utf-8")
    found = load_yaml(path)
    assert found == values_of(ENTRIES)
    assert list(found["terms"][0]["quotas"]) == ["b", "a"]  # in their order


def test_every_remark_is_there_once() -> None:
    words = " ".join(line.partition("# ")[2].strip() for line in rendered(ENTRIES).splitlines())
    for remark in ("first of all", "alone", "another", "the first", "of two", "the last"):
        assert words.count(remark) == 1
    assert "a long remark " * 12 in " ".join(words.split()) + " "


def test_a_short_remark_stands_beside_its_line_and_a_long_one_above() -> None:
    assert rendered([Entry("a", 1, ("short",))]) == "a: 1  # short\n"
    lines = rendered([Entry("a", 1, ("long " * 30,))]).splitlines()
    assert lines[-1] == "a: 1"
    assert all(line.startswith("# ") and len(line) <= WIDTH for line in lines[:-1])


@pytest.mark.parametrize("text", ["a\nb: 1", "a\rb: 1", "a\x85b: 1", "a\u2028b: 1", "a\x0bb: 1"])
def test_nothing_in_a_remark_ends_its_comment(text: str) -> None:
    for line in "\n".join(comment(text, "  ")).splitlines():
        assert line.startswith("  # ")
