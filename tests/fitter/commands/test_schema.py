"""The JSON schema of settings files takes what the fit takes, and refuses what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from forcemap.fitter.checked import load_yaml
from forcemap.fitter.config import Settings
from forcemap.fitter.terms.kinds import SETTINGS
from forcemap.fitter.validation.registry import CHECKS
from forcemap.fitter.validation.settings import ValidationSettings
from forcemap.potentials.errors import ForcemapError
from forcemap_runs import invoke
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[3]
DATA = {"train": "a.xyz"}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    result = invoke("schema")
    assert result.exit_code == 0, result.output
    schema = json.loads(result.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "path",
    [*(ROOT / "examples").glob("*/settings.yaml"), *(ROOT / "benchmarks/settings").glob("*.yaml")],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_settings_of_this_repository_are_valid(path: Path, validator: Draft202012Validator) -> None:
    given = {"data": DATA, **load_yaml(path)}
    assert validator.is_valid(given)
    validator.validate(Settings.from_dict(given).to_dict())


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_kind_with_its_defaults_is_valid(kind: str, validator: Draft202012Validator) -> None:
    given = {"data": DATA, "terms": [{"kind": kind}]}
    validator.validate(given)
    validator.validate(Settings.from_dict(given).to_dict())


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_key_of_every_kind_is_in_the_schema(kind: str) -> None:
    (schema,) = (
        term
        for term in Settings.schema()["properties"]["terms"]["items"]["oneOf"]
        if term["properties"]["kind"] == {"const": kind}
    )
    assert list(schema["properties"]) == ["kind", *(f.name for f in fields(SETTINGS[kind]))]  # type: ignore[arg-type]
    assert schema["description"]


PAIR = {"kind": "two_body"}
SOAP = {"kind": "soap"}


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"data": "a.xyz"}, False),
        ({"data": {}}, False),
        ({"data": {"train": []}}, False),
        ({"data": {"train": {"path": "a.xyz", "index": ":3"}, "test": ["b.xyz"]}}, True),
        ({"data": {"train": {"path": "a.xyz", "index": "all"}}}, False),
        ({"data": {"train": "a.xyz", "tset": "b.xyz"}}, False),
        ({"data": {"train": "a.xyz", "keys": {"energy": "dft", "forces": None}}}, True),
        ({"data": {"train": "a.xyz", "keys": {"energy": ""}}}, False),
        ({"terms": []}, False),
        ({"terms": [{"cutoff": 5.0}]}, False),
        ({"terms": [{"kind": "tow_body"}]}, False),
        ({"terms": [{**PAIR, "cutoff": 0}]}, False),
        ({"terms": [{**PAIR, "cutoff": 101}]}, False),
        ({"terms": [{**PAIR, "n_sparse": 2.5}]}, False),
        ({"terms": [{**PAIR, "sparse_method": "best"}]}, False),
        ({"terms": [{**PAIR, "zeta": 2}]}, False),
        ({"terms": [{**SOAP, "n_sparse": {"Si": 100, "O": 50}}]}, True),
        ({"terms": [{**SOAP, "n_sparse": {"Xx": 100}}]}, False),
        ({"terms": [{**SOAP, "kappa": {"Si-O": 0.3}}]}, True),
        ({"terms": [{**SOAP, "kappa": {"Si-O": 3}}]}, False),
        ({"terms": [{"kind": "embedding", "weights": {"Al": 0.6}}]}, True),
        ({"terms": [{"kind": "embedding", "weights": {"Al": -1}}]}, False),
        ({"e0": {"Si": -0.8}}, True),
        ({"e0": {}}, False),
        ({"e0": "mean"}, False),
        ({"sigma": {"energy": 0}}, False),
        ({"sigma": {"config_type": {"bulk": {"force": 0.1}}}}, True),
        ({"sigma": {"config_type": {"bulk": {"forces": 0.1}}}}, False),
        ({"core": "none"}, True),
        ({"core": "soft"}, False),
        ({"map": {"tolerance": 2}}, False),
        ({"seed": -1}, False),
    ],
)
def test_schema_and_fit_agree(
    changes: Mapping[str, Any], valid: bool, validator: Draft202012Validator
) -> None:
    given = {"data": DATA, "terms": [PAIR], **changes}
    assert validator.is_valid(given) == valid
    try:
        Settings.from_dict(given)
    except ForcemapError:
        assert not valid
    else:
        assert valid


def _described(schema: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All settings in a schema, with their paths."""
    if isinstance(schema, Mapping):
        for key, value in schema.get("properties", {}).items():
            yield f"{path}.{key}", value
        for key, value in schema.items():
            if key == "properties":
                for name, one in value.items():
                    yield from _described(one, f"{path}.{name}")
            elif key not in ("default", "enum", "required"):
                yield from _described(value, path)
    elif isinstance(schema, list):
        for part in schema:
            yield from _described(part, path)


LENGTHS = {"cutoff", "cutoff_width", "atom_sigma", "radius"}


def test_every_setting_says_what_it_means_and_quantities_begin_with_their_unit() -> None:
    settings = list(_described(Settings.schema()))
    for path, schema in settings:
        if "const" not in schema:
            assert schema.get("description"), path
        if path.rpartition(".")[2] in LENGTHS:
            assert schema["description"].startswith("Å: "), path
    units = {
        path: schema["description"].partition(":")[0]
        for path, schema in settings
        if "sigma." in path
    }
    assert units[".sigma.energy"] == "eV per atom"
    assert units[".sigma.force"] == "eV/Å"
    assert units[".sigma.stress"] == "eV/Å³"


def test_settings_of_checks_and_candidates_say_what_they_mean_too() -> None:
    of_checks = list(_described(json.loads(invoke("schema", "--validate").stdout)))
    of_candidates = list(_described(json.loads(invoke("schema", "--select").stdout)))
    for path, schema in [*of_checks, *of_candidates]:
        if "const" not in schema:
            assert schema.get("description"), path
    units = {"length": "Å: ", "fmax": "eV/Å: ", "temperature": "K: ", "timestep": "ps: "}
    found = [(path, schema["description"]) for path, schema in of_checks]
    for name, unit in units.items():
        own = [text for path, text in found if path.endswith(f".{name}")]
        assert own
        assert all(text.startswith(unit) for text in own), name
    target = next(schema for path, schema in of_candidates if path == ".target")
    assert target["description"].startswith("eV/Å: ")


@pytest.mark.parametrize(
    ("given", "valid"),
    [
        ({}, True),
        ({"elastic": {"strain": 0.01}, "phonons": False, "eos": None, "dimer": True}, True),
        ({"structures": [{"lattice": "fcc", "formula": "Cu"}], "seed": 3}, True),
        ({"free_atoms": {"Cu": -0.2}, "frames": ["a.xyz"]}, True),
        ({"elastic": {"strains": 0.01}}, False),
        ({"elastik": {}}, False),
        ({"elastic": {"strain": 1.0}}, False),
        ({"surfaces": {"planes": [[1, 0]]}}, False),
        ({"seed": -1}, False),
    ],
)
def test_schema_and_validate_agree(given: Mapping[str, Any], valid: bool) -> None:
    schema = json.loads(invoke("schema", "--validate").stdout)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(given) == valid
    try:
        ValidationSettings.from_dict(given, CHECKS)
    except ForcemapError:
        assert not valid
    else:
        assert valid


def test_one_schema_at_a_time() -> None:
    result = invoke("schema", "--select", "--validate")
    assert result.exit_code == 2
    assert "do not go together" in result.output
