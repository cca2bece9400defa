"""QUIP's argument strings; its answers to the same strings were compared with quippy 0.10.3."""

import pytest
from forcemap.fitter.importers.quip_arguments import bare_text, parse_arguments, parts_of
from forcemap.potentials.errors import ForcemapError


@pytest.mark.parametrize(
    "text",
    [
        "soap cutoff=4.5",
        "soap cutoff = 4.5",
        "soap cutoff =4.5",
        "soap cutoff= 4.5",
        "cutoff=4.5 soap",
        "soap cutoff={4.5}",
        'soap cutoff="4.5"',
        "soap cutoff=' 4.5 '",
        "soap CUTOFF=4.5d0",
        'soap "cutoff=4.5"',
        "'soap' {cutoff=4.5}",
        "soap\tcutoff=4.5\n",
        "soap cutoff=2.0 cutoff=4.5",
        "soap cutoff=4.5 }}",
        "soap cutoff=4.5}",
        "soap cutoff=.45E1",
    ],
)
def test_a_value_is_read_however_it_is_written(text):
    arguments = parse_arguments(text)
    assert arguments.words == ("soap",)
    assert arguments.number("cutoff") == 4.5


def test_names_do_not_depend_on_case_and_keep_their_spelling():
    arguments = parse_arguments("species_Z={8 6} Z1=3")
    assert dict(arguments) == {"species_z": "8 6", "z1": "3"}
    assert "Species_z" in arguments
    assert arguments["SPECIES_Z"] == "8 6"
    assert arguments.argument("species_z").name == "species_Z"


@pytest.mark.parametrize(
    "spelling", ["T", "t", "TRUE", "true", ".true.", ".T.", "yes", "Y", "on", "1", "{T}"]
)
def test_true_is_read_in_all_its_spellings(spelling):
    assert parse_arguments(f"soap normalise={spelling}").truth("normalise") is True


@pytest.mark.parametrize(
    "spelling", ["F", "f", "FALSE", "false", ".false.", ".F.", "no", "N", "off", "0", '"F"']
)
def test_false_is_read_in_all_its_spellings(spelling):
    assert parse_arguments(f"soap normalise={spelling}").truth("normalise") is False


def test_a_name_alone_and_an_empty_value_are_true():
    arguments = parse_arguments("soap normalise average= cutoff=4")
    assert arguments.truth("normalise")
    assert arguments.truth("average")
    assert arguments.number("cutoff") == 4.0
    assert arguments["soap"] == "T"
    assert arguments["average"] == ""


@pytest.mark.parametrize("text", ["{8 6}", "{{8 6}}", "{8, 6}", "{8,6}", '"8 6"', "{ {8} {6} }"])
def test_lists_are_read_with_any_braces(text):
    assert parse_arguments(f"species_Z={text}").integers("species_Z") == (8, 6)


def test_a_list_may_have_one_value_or_none():
    arguments = parse_arguments("a=14 b={}")
    assert arguments.integers("a") == (14,)
    assert arguments.numbers("b") == ()
    assert arguments.numbers("c", (1.0,)) == (1.0,)


def test_rows_of_a_table_are_separated_by_colons_or_spaces():
    arguments = parse_arguments(
        "e0={C:-0.16:O:0.} sigma={ a:1:2 b:3:4 } spaced={liquid water:1:ice:2} braces={{x:1: y:2}}"
    )
    assert arguments.rows("e0", 2) == [("C", "-0.16"), ("O", "0.")]
    assert arguments.rows("sigma", 3) == [("a", "1", "2"), ("b", "3", "4")]
    assert arguments.rows("spaced", 2) == [("liquid water", "1"), ("ice", "2")]
    assert arguments.rows("braces", 2) == [("x", "1"), ("y", "2")]
    assert arguments.rows("absent", 2) == []


def test_closing_braces_that_close_nothing_are_left_out_and_counted():
    arguments = parse_arguments("soap sparse_method=cur_points }} zeta=4")
    assert arguments["sparse_method"] == "cur_points"
    assert arguments.integer("zeta") == 4
    assert arguments.stray == (31, 32)


def test_the_last_of_several_names_for_one_thing_counts():
    aliases = {"atom_gaussian_width": "atom_sigma"}
    for text, value in (
        ("atom_sigma=0.3 atom_gaussian_width=0.5", 0.5),
        ("atom_gaussian_width=0.5 atom_sigma=0.3", 0.3),
        ("Atom_Gaussian_Width=0.5", 0.5),
    ):
        arguments = parse_arguments(text)
        assert arguments.with_aliases(aliases).number("atom_sigma") == value
        counts = arguments.last_of("atom_sigma", "atom_gaussian_width")
        assert counts is not None
        assert arguments.number(counts) == value
    assert parse_arguments("soap").last_of("atom_sigma", "atom_gaussian_width") is None


def test_parts_are_separated_by_colons_outside_of_braces():
    text = "distance_2b cutoff=4 add_species=F: soap n={{a:1:b:2}} : }"
    parts = parts_of(text)
    assert [part for part, _ in parts] == [
        "distance_2b cutoff=4 add_species=F",
        "soap n={{a:1:b:2}}",
    ]
    for part, at in parts:
        assert text[at - 1 :].startswith(part)


def test_bare_text_has_no_braces_around_it():
    assert bare_text("{{8 8}}") == "8 8"
    assert bare_text('"{8 8}"') == "8 8"
    assert bare_text("{8} {8}") == "{8} {8}"
    assert bare_text("") == ""


def test_the_kind_is_the_known_word_that_is_true():
    known = ("distance_2b", "soap")
    assert parse_arguments("cutoff=4 soap").kind(known) == "soap"
    assert parse_arguments("SOAP=T distance_2b=F").kind(known) == "soap"
    with pytest.raises(ForcemapError, match="'sopa' is unknown; did you mean \"soap\""):
        parse_arguments("sopa cutoff=4").kind(known)
    with pytest.raises(ForcemapError, match="names no kind; known are distance_2b, soap"):
        parse_arguments("cutoff=4").kind(known)
    with pytest.raises(ForcemapError, match="names distance_2b and soap together"):
        parse_arguments("soap distance_2b").kind(known)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "soap cutoff={4.5",
            r"gap.xml: no } closes the { at character 13, near 'soap cutoff={4.5'",
        ),
        ("soap x='4", r"no ' closes the ' at character 8"),
        ("soap {cutoff=4", r"no } closes the { at character 6"),
        ("=4", "the = at character 1 has no name before it"),
        ("{" * 30 + "}" * 30, "braces are nested too deep"),
        ("a " * 600_000, "has 1200000 characters, too many for arguments"),
    ],
)
def test_malformed_strings_are_refused_with_the_place(text, message):
    with pytest.raises(ForcemapError, match=message):
        parse_arguments(text, "gap.xml")


@pytest.mark.parametrize(
    ("text", "reader", "message"),
    [
        ("x=4,5", "number", r"gap.xml: x=4,5 \(character 6\) is not a number"),
        ("x=1e999", "number", "is not a number"),
        ("x=nan", "number", "is not a number"),
        ("x", "number", r"x \(character 6\) is not a number"),
        ("x=2.5", "integer", "x=2.5 .* is not a whole number"),
        ("x=perhaps", "truth", r"is not true or false \(T, F\)"),
        ("x={8 O}", "integers", "is not a list of whole numbers"),
        ("x={8 O}", "numbers", "is not a list of numbers"),
        ("y=1", "number", "x is missing; give x= and its value"),
    ],
)
def test_values_of_another_kind_are_refused_with_the_place(text, reader, message):
    with pytest.raises(ForcemapError, match=message):
        getattr(parse_arguments(f"soap {text}", "gap.xml"), reader)("x")


def test_an_incomplete_row_is_refused_with_what_remains():
    with pytest.raises(ForcemapError, match=r"has 3 values, not a multiple of 2; 'O' remains"):
        parse_arguments("e0={C:-0.16:O}").rows("e0", 2)


def test_a_large_string_of_braces_is_read():
    braces = "{}" * 100_000
    assert parse_arguments(f"x=a{braces}")["x"] == f"a{braces}"
    assert parse_arguments(f"x={braces}")["x"] == ""
