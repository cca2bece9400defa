"""Commands of gap_fit become settings of the same meaning; what has none is said at its line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write
from forcemap.fitter import fit
from forcemap.fitter.checked import load_yaml
from forcemap.fitter.config import Settings
from forcemap.fitter.importers.gap_fit import settings_from_gap_fit
from forcemap.fitter.importers.gap_fit_options import COMMAND, DESCRIPTORS, OTHER_DESCRIPTORS
from forcemap.potentials.errors import ForcemapError
from labelled_copper import Labelled, copper, text

PAIRS = "distance_2b cutoff=4.5 n_sparse=15 covariance_type=ard_se delta=1.0 theta_uniform=1.0"
TRIPLETS = "angle_3b cutoff=3.0 n_sparse=50 covariance_type=ard_se delta=0.1 theta_uniform=2.0"
SOAP = (
    "soap cutoff=4.5 n_max=8 l_max=6 atom_sigma=0.5 zeta=2 n_sparse=30 delta=0.5 "
    "covariance_type=dot_product sparse_method=cur_points"
)
SIGMA = "default_sigma={0.001 0.05 0.1 0.0}"


def command(gap: str = SOAP, rest: str = "") -> str:
    return f"gap_fit at_file=train.xyz {SIGMA} gap={{{gap}}} {rest}"


def translated(folder: Path, source: str) -> tuple[dict[str, Any], str]:
    """The settings as read back from their text, and the text's comments on one line."""
    written = settings_from_gap_fit(source, folder)
    path = folder / "settings.yaml"
    path.write_text(written, encoding="utf-8")
    Settings.read(path)
    lines = [line.partition("# ")[2].strip() for line in written.splitlines()]
    return load_yaml(path), " ".join(" ".join(lines).split())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Translates a command without its data, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda source: translated(tmp_path, source)


def term(settings: Any, gap: str) -> tuple[dict[str, Any], str]:
    found, remarks = settings(command(gap))
    assert len(found["terms"]) == 1
    return found["terms"][0], remarks


def without_command(source: str) -> str:
    """The settings' text without its head, which shows the command."""
    written = settings_from_gap_fit(source, Path())
    return written[written.index("\ndata:") :]


# ----- published commands -----


def published() -> list[str]:
    """Option sets of published GAPs, where the folder with published data is beside the repository."""
    for parent in Path(__file__).resolve().parents:
        path = parent / "shared" / "data" / "gap_fit_commands.txt"
        if path.exists():
            sets = path.read_text(encoding="utf-8").split("\n\n")
            lines = ["\n".join(x for x in s.splitlines() if x[:1] != "#") for s in sets]
            return [line for line in lines if line.strip()]
    return []


@pytest.mark.skipif(not published(), reason="the published option sets are not there")
@pytest.mark.parametrize("number", range(len(published())))
def test_published_commands_become_settings(number: int, settings: Any) -> None:
    source = published()[number]
    found, remarks = settings(source)
    assert {"two_body", "soap"} >= {t["kind"] for t in found["terms"]} - {"three_body"}
    for word in source.split():  # every option is a line or is named
        assert word.partition("=")[0].strip("{}") in remarks


# ----- every option -----


@pytest.mark.parametrize("name", sorted(COMMAND.names))
def test_every_option_of_gap_fit_has_a_line_or_a_remark(name: str, settings: Any) -> None:
    values = {
        "gap": f"{{{PAIRS}}}",
        "e0": "-0.5",
        "default_sigma": "{0.002 0.1 0.2 0.3}",
        "default_kernel_regularisation": "{0.002 0.1 0.2 0.3}",
        "config_type_sigma": "{a:0.1:0.2:0.3:0.0}",
        "config_type_kernel_regularisation": "{a:0.1:0.2:0.3:0.0}",
        "at_file": "other.xyz",
        "atoms_filename": "other.xyz",
        "e0_method": "average",
        "sparse_use_actual_gpcov": "T",
        "sigma_per_atom": "F",
        "kernel_regularisation_is_per_atom": "F",
    }
    if name == "config_file":
        return  # see the test of files
    before = without_command(command(PAIRS if name != "gap" else SOAP))
    rest = f"{name}={values.get(name, '7')}"
    source = command(PAIRS, rest) if name != "gap" else f"at_file=train.xyz {SIGMA} {rest}"
    settings(source)
    assert without_command(source) != before


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, n) for k, options in DESCRIPTORS.items() for n in sorted(options.names) if n != k],
)
def test_every_option_of_a_descriptor_has_a_line_or_a_remark(
    kind: str, name: str, settings: Any
) -> None:
    given = {
        "distance_2b": PAIRS,
        "distance_Nb": PAIRS.replace("distance_2b", "distance_Nb order=2"),
        "angle_3b": TRIPLETS,
        "soap": SOAP,
        "soap_turbo": "soap_turbo rcut_hard=4.0 l_max=4 alpha_max={{6}} atom_sigma_r={{0.4}} zeta=2 "
        "delta=1 n_sparse=20 covariance_type=dot_product species_Z={{14 6}}",
    }[kind]
    values = {
        "covariance_type": "pp",
        "sparse_method": "covariance",
        "config_type_n_sparse": "{{a:2}}",
        "species_z": "{{6}}",
        "central_index": "2",
        "alpha_max": "{{7}}",
        "z": "29" if kind != "distance_Nb" else "{{6 8}}",
        "atom_sigma_r": "{{0.7}}",
        "atom_sigma": "{{0.7}}",
        "order": "3",
        "r_mix": "T",
        "z_mix": "T",
        "z1": "29",
        "z2": "29",
        "average": "T",
        "normalise": "F",
        "normalize": "F",
        "coupling": "F",
        "mark_sparse_atoms": "T",
        "rcut_soft": "3.0",
        "cutoff": "3.5",
        "add_species": "F",
        "compact_clusters": "F",
        "theta_uniform": "2.5",
        "lengthscale_uniform": "2.5",
    }
    before = without_command(command(given))
    added = f"{given} {name}={values.get(name.lower(), '3')}"
    if name == "config_type_n_sparse":  # gap_fit takes one of the two
        added = re.sub(r" n_sparse=\d+", "", added)
    settings(command(added))
    assert without_command(command(added)) != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (command(rest="energy_paramter_name=E"), 'energy_paramter_name=E .* is no option of gap_fit; '
         'did you mean "energy_parameter_name"'),
        (command(f"{SOAP} cutof=3"), r"descriptor 1 \(soap\): cutof=3 .* is no option of soap "
         r'\(gap_fit itself ignores such names\); did you mean "cutoff"'),
        (command(f"{PAIRS} : sopa cutoff=3"), "descriptor 2: 'sopa' is unknown; did you mean \"soap\""),
        (command(f"{PAIRS} sparse_method=cur_point"), 'no method of gap_fit; did you mean "cur_p'),
        (f"gap_fit {SIGMA} gap={{{SOAP}}}", "gap_fit command: at_file is missing"),
        (f"gap_fit at_file=a.xyz gap={{{SOAP}}}", "default_sigma is missing"),
        (f"gap_fit at_file=a.xyz {SIGMA}", "gap is missing"),
        (f"gap_fit at_file=a.xyz default_sigma={{1 1 1}} gap={{{SOAP}}}", "has 3 numbers, expected 4"),
        (command(SOAP.replace("delta=0.5", "")), r"\(soap\): delta is missing"),
        (command(SOAP.replace("zeta=2", "zeta=two")), r"zeta=two \(character \d+\) is not a number"),
        (command(SOAP.replace("n_max=8", "n_max=99")), "makes settings that no fit takes: terms"),
        (command(SOAP + " species_Z={8"), "no } closes the {"),
        (command(PAIRS, "e0={Xx:-1}"), "e0=Xx:-1 .* has 'Xx', which is not the symbol of an element"),
        (command(PAIRS, "e0={Cu:x}"), "has 'x', which is not a number"),
        (command(PAIRS, "config_type_sigma={a:1:2:3}"), "has 4 values, not a multiple of 5"),
        (command(PAIRS, "config_type_sigma={a:1:2:3:x}"), "has 'x' for 'a', which is not a number"),
        (command("water_monomer cutoff=3"), "holds water_monomer, for which there is no kind of term"),
        (command("distance_Nb order=4 cutoff=3"), "holds distance_Nb, for which there is no kind"),
        ("trian.xyz", "'trian.xyz' is neither a file nor a command of gap_fit"),
        (command() + " " + command(), "holds 2 commands of gap_fit"),
        (command().removeprefix("gap_fit") + " gap={soap}", "holds 2 commands .gap= at the characters"),
        ("gap_fit > a=b", "holds no options of gap_fit"),
    ],
)  # fmt: skip
def test_faults_are_named_with_their_cure(source: str, message: str, settings: Any) -> None:
    with pytest.raises(ForcemapError, match=message):
        settings(source)


# ----- where a command stands -----


def test_commands_are_found_in_texts_scripts_and_config_files(
    settings: Any, tmp_path: Path
) -> None:
    expected = settings(command(f"{PAIRS} : {SOAP}"))[0]
    folder = tmp_path / "runs"
    folder.mkdir()
    options = f"at_file=../train.xyz {SIGMA} gap={{{PAIRS} : {SOAP}}}"
    quoted = f"at_file=../train.xyz '{SIGMA}' \"gap={{{PAIRS} : {SOAP}}}\""
    files = {
        "run.sh": "#!/bin/bash\nexport N=4\nmpirun -n 4 /opt/bin/gap_fit \\\n  "
        + quoted.replace(" gap", " \\\n gap")
        + ' > fit.log 2>&1\necho "it\'s done=yes"\n',
        "lines.txt": options.replace(" default", "\ndefault").replace(" gap", "\ngap"),
        "paste.txt": "gap_fit " + options.replace(" default", "\n  default"),
        "gap.xml": f"<GAP><command_line><![CDATA[{options}]]></command_line><x>1</x></GAP>",
        "use.txt": "gap_fit config_file=lines.txt",
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
        assert settings(str(folder / name))[0] == expected, name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<GAP><x/></GAP>", "has no command_line; name the command itself"),
        ("<GAP><x></GAP>", "is not valid XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a/>', "defines the entity 'b'"),
        (
            "<G><command_line>a=1</command_line><command_line>a=2</command_line></G>",
            "has 2 different command lines",
        ),
        (b"gap_fit \xff=1", "is not a text file"),
        (b"x" * 1_100_000, "is larger than 1000000 bytes"),
        ("gap_fit config_file=none.txt", "none.txt: no such file"),
        ("gap_fit config_file=a.txt e0=1", "stands beside e0, which gap_fit ignores then"),
        ("gap_fit config_file=file", "names a config_file in its turn"),
    ],
)
def test_faults_of_files_name_the_file(
    content: str | bytes, message: str, settings: Any, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ForcemapError, match=f"{path}|file") as caught:
        settings(str(path))
    assert message in str(caught.value)


def test_paths_are_relative_to_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    source = command().replace("train.xyz", "../data/train.xyz")
    for folder, expected in (
        (Path(), "../data/train.xyz"),
        (Path("deep/er"), "../../../data/train.xyz"),
    ):
        assert yaml.safe_load(settings_from_gap_fit(source, folder))["data"]["train"] == expected
    absolute = command().replace("train.xyz", "/data/train.xyz")
    assert (
        yaml.safe_load(settings_from_gap_fit(absolute, Path()))["data"]["train"]
        == "/data/train.xyz"
    )


def test_a_comment_never_ends_early(settings: Any) -> None:
    found, _ = settings(command(rest="gp_file={a\nterms: [oops]\n}"))
    assert found["terms"][0]["kind"] == "soap"


# ----- single settings -----


def test_keys_have_their_prefix(settings: Any) -> None:
    names = "energy_parameter_name=E force_parameter_name=F virial_parameter_name=V"
    assert settings(command(rest=names))[0]["data"]["keys"] == {
        "energy": "E", "forces": "F", "virial": "V"
    }  # fmt: skip
    found, remarks = settings(
        command(rest="parameter_name_prefix=dft_ force_parameter_name=forces")
    )
    assert found["data"]["keys"] == {
        "energy": "dft_energy", "forces": "dft_forces", "stress": "dft_stress", "virial": "dft_virial"
    }  # fmt: skip
    assert "config_type under dft_config_type: rename it to config_type" in remarks
    assert "force_mask under dft_force_mask" in remarks
    assert "energy_dft_sigma" in remarks


def test_a_virial_under_the_name_of_a_stress_is_kept_and_said(settings: Any) -> None:
    found, remarks = settings(command(rest="virial_parameter_name=stress"))
    assert found["data"]["keys"] == {"virial": "stress"}
    assert "a virial in eV, as gap_fit takes it" in remarks


def test_e0_keeps_its_meaning(settings: Any) -> None:
    assert settings(command())[0]["e0"] == "isolated"
    assert settings(command(rest="e0_method=average"))[0]["e0"] == "average"
    assert settings(command(rest="e0=-0.97 e0_offset=0.0"))[0]["e0"] == -0.97
    found, remarks = settings(command(rest="e0={C:-0.16:8:0.} e0_offset=0.5"))
    assert found["e0"] == pytest.approx({"C": 0.34, "O": 0.5})
    assert "e0_offset=0.5 is added" in remarks


def test_sigmas_per_atom_are_kept_and_others_are_left_to_the_fit(settings: Any) -> None:
    groups = "config_type_sigma={ liquid water:0.01:0.2:0.4:0:ice:0.0:0.1:0.2:0.0 }"
    found, remarks = settings(command(rest=groups))
    assert found["sigma"] == {
        "energy": 0.001,
        "force": 0.05,
        "config_type": {"liquid water": {"energy": 0.01, "force": 0.2}, "ice": {"force": 0.1}},
    }
    assert "virial 0.1 eV is 0.1 √N / V eV/Å³ of the stress" in remarks
    assert "energy 0: a sigma is above 0" in remarks
    found, remarks = settings(command(rest="sigma_per_atom=F"))
    assert found["sigma"] == {"force": 0.05}
    assert "energy 0.001 eV of a frame is 0.001 / √N per atom" in remarks


def test_groups_of_sigmas_may_be_separated_by_spaces(settings: Any) -> None:
    found, _ = settings(command(rest="config_type_sigma={ a:1:2:3:0.0 b:4:5:6:0.0 }"))
    assert found["sigma"]["config_type"] == {
        "a": {"energy": 1, "force": 2}, "b": {"energy": 4, "force": 5}
    }  # fmt: skip


def test_the_core_is_none_unless_gap_fit_has_one(settings: Any) -> None:
    found, remarks = settings(command(rest="core_param_file=glue.xml"))
    assert found["core"] == "none"
    assert "does nothing in gap_fit without core_ip_args" in remarks
    found, remarks = settings(command(rest="core_param_file=glue.xml core_ip_args={IP Glue}"))
    assert found["core"] == "zbl"
    assert "no counterpart: core_param_file=glue.xml core_ip_args=IP Glue: a potential" in remarks


def test_the_seed_is_kept(settings: Any) -> None:
    assert settings(command(rest="rnd_seed=17"))[0]["seed"] == 17
    assert "seed" not in settings(command(rest="rnd_seed=-1"))[0]


# ----- terms -----


def test_pairs_keep_their_numbers(settings: Any) -> None:
    assert term(settings, f"{PAIRS} sparse_method=uniform cutoff_transition_width=0.8")[0] == {
        "kind": "two_body",
        "cutoff": 4.5,
        "cutoff_width": 0.8,
        "kernel": "squared_exponential",
        "lengthscale": 1.0,
        "delta": 1.0,
        "n_sparse": 15,
        "sparse_method": "uniform",
    }


def test_triplets_are_symmetric_as_their_descriptor_is(settings: Any) -> None:
    assert term(settings, TRIPLETS)[0]["symmetry"] == "central"
    clusters = PAIRS.replace("distance_2b", "distance_Nb order=3")
    found, _ = term(settings, clusters)
    assert (found["kind"], found["symmetry"], found["lengthscale"]) == ("three_body", "full", 1.0)


def test_pairs_that_count_once_have_half_the_delta(settings: Any) -> None:
    pairs = PAIRS.replace("distance_2b", "distance_Nb order=2")
    assert term(settings, pairs)[0]["delta"] == 1.0
    assert term(settings, f"{pairs} compact_clusters=F")[0]["delta"] == 0.5


def test_a_piecewise_polynomial_becomes_a_gaussian_of_its_half_width(settings: Any) -> None:
    found, remarks = term(settings, PAIRS.replace("ard_se", "pp").replace("=1.0", "=2.0"))
    half = found["lengthscale"] * np.sqrt(2.0 * np.log(2.0)) / 2.0
    assert (1.0 - half) ** 3 * (3.0 * half + 1.0) == pytest.approx(0.5, abs=1e-4)
    assert "as wide at half of its height" in remarks


def test_soap_keeps_its_numbers(settings: Any) -> None:
    assert term(settings, SOAP)[0] == {
        "kind": "soap",
        "cutoff": 4.5,
        "cutoff_width": 0.5,
        "n_max": 8,
        "l_max": 6,
        "atom_sigma": 0.5,
        "zeta": 2,
        "delta": 0.5,
        "n_sparse": 30,
        "sparse_method": "cur",
    }


@pytest.mark.parametrize(("zeta", "nearest"), [("6", 4), ("2.5", 2), ("0.5", 1), ("4.0", 4)])
def test_an_exponent_that_no_term_has_becomes_the_nearest(
    zeta: str, nearest: int, settings: Any
) -> None:
    found, remarks = term(settings, SOAP.replace("zeta=2", f"zeta={zeta}"))
    assert found["zeta"] == nearest
    assert (f"no counterpart: zeta={float(zeta):g}" in remarks) == (float(zeta) != nearest)


def test_decaying_weights_are_the_same_function(settings: Any) -> None:
    found, _ = term(settings, f"{SOAP} cutoff_dexp=2 cutoff_scale=2.0 cutoff_rate=3.0")
    radius, exponent = found["radial_scaling"]["radius"], found["radial_scaling"]["exponent"]
    r = np.linspace(0.0, 5.0, 11)
    expected = 3.0 / (3.0 + (r / 2.0) ** 2)
    np.testing.assert_allclose(1.0 / (1.0 + (r / radius) ** exponent), expected, rtol=1e-12)
    assert "weights of neighbours that do not level off" in term(
        settings, f"{SOAP} cutoff_dexp=2 cutoff_rate=0"
    )[1]  # fmt: skip


def test_mixed_species_become_learned_channels(settings: Any) -> None:
    assert term(settings, f"{SOAP} z_mix=T k=5")[0]["n_species_channels"] == 5
    found, remarks = term(settings, f"{SOAP} r_mix=T z_mix=T k=5")
    assert "n_species_channels" not in found
    assert "r_mix=T z_mix=T k=5: the spectrum is kept whole" in remarks


def test_soap_turbo_becomes_the_nearest_soap(settings: Any) -> None:
    found, remarks = term(
        settings,
        "soap_turbo l_max=8 alpha_max={{8 6}} atom_sigma_r={{0.4 0.6}} zeta=4 rcut_hard=4.5 "
        "rcut_soft=4.0 species_Z={{6 8}} central_index=2 n_sparse=100 delta=0.1 "
        "covariance_type=dot_product sparse_method=cur_points",
    )
    assert found["cutoff"] == 4.5
    assert found["cutoff_width"] == 0.5
    assert found["n_max"] == 8
    assert found["atom_sigma"] == pytest.approx(0.5)
    assert "nearest: soap for soap_turbo" in remarks
    assert "soap_turbo for O" in remarks
    assert "gap_fit has nothing for C" not in remarks  # the neighbours' species are no centres


def test_descriptors_of_different_species_become_one_term(settings: Any) -> None:
    one = PAIRS.replace("cutoff", "Z1={} Z2={} cutoff")
    found, remarks = settings(command(" : ".join(one.format(*z) for z in ((8, 8), (8, 6), (6, 6)))))
    assert [t["kind"] for t in found["terms"]] == ["two_body"]
    assert "distance_2b for O-O, C-O, C-C together" in remarks
    longer = one.format(8, 6).replace("=4.5", "=5.5").replace("n_sparse=15", "n_sparse=20")
    found, remarks = settings(command(f"{one.format(8, 8)} : {longer}"))
    assert (found["terms"][0]["cutoff"], found["terms"][0]["n_sparse"]) == (5.5, 20)
    assert "O-O 4.5, C-O 5.5; the largest for all" in remarks
    assert "gap_fit has nothing for C-C; the term has functions" in remarks


def test_descriptors_of_the_same_species_stay_two_terms(settings: Any) -> None:
    found, _ = settings(command(f"{PAIRS} Z1=8 Z2=8 : {PAIRS} Z1=8 Z2=8"))
    assert len(found["terms"]) == 2
    assert len(settings(command(f"{PAIRS} : {PAIRS}"))[0]["terms"]) == 2


def test_environments_of_different_centres_keep_their_numbers_of_points(settings: Any) -> None:
    other = SOAP.replace("n_sparse=30", "n_sparse=50")
    found, _ = settings(command(f"{SOAP} Z=8 species_Z={{8 6}} : {other} Z=6 species_Z={{8 6}}"))
    assert [t["n_sparse"] for t in found["terms"]] == [{"O": 30, "C": 50}]


def test_points_by_config_type_are_kept(settings: Any) -> None:
    found, _ = term(settings, SOAP.replace("n_sparse=30", "config_type_n_sparse={{a:5: b:7}}"))
    assert (found["n_sparse"], found["config_type_n_sparse"]) == (12, {"a": 5, "b": 7})


def test_descriptors_without_a_term_are_left_out_and_named(settings: Any) -> None:
    found, remarks = settings(command(f"{PAIRS} : general_dimer cutoff=3 signature={{8 1}}"))
    assert len(found["terms"]) == 1
    assert "no counterpart: general_dimer" in remarks
    assert set(OTHER_DESCRIPTORS).isdisjoint(DESCRIPTORS)


# ----- with the data -----


def write_train(folder: Path, frames: tuple[Labelled, ...], name: str = "train.xyz") -> None:
    """Labels under the names of `NAMES`; half of the frames are of one config_type."""
    content = text(
        frames,
        energy="E",
        forces="F",
        stress=None,
        virial="W",
        more=lambda n: f"config_type={'even' if n % 2 == 0 else 'odd'}",
    )
    (folder / name).write_text(content, encoding="utf-8")


NAMES = "energy_parameter_name=E force_parameter_name=F virial_parameter_name=W"


def test_sigmas_of_virials_become_those_of_stresses(settings: Any, tmp_path: Path) -> None:
    frames = copper(7)
    write_train(tmp_path, frames)
    volumes = np.array([frame.atoms.get_volume() for frame in frames])
    found, _ = settings(command(PAIRS, f"{NAMES} config_type_sigma={{odd:0.01:0.1:0.4:0.0}}"))
    # 0.1 eV sqrt(4) / V, from the quantities' definitions.
    assert found["sigma"]["stress"] == pytest.approx(0.2 / np.median(volumes), rel=1e-4)
    odd = found["sigma"]["config_type"]["odd"]["stress"]
    assert odd == pytest.approx(0.8 / np.median(volumes[1::2]), rel=1e-4)
    found, _ = settings(command(PAIRS, f"{NAMES} sigma_per_atom=F"))
    assert found["sigma"]["energy"] == pytest.approx(0.001 / 2.0)
    assert found["sigma"]["stress"] == pytest.approx(0.1 / np.median(volumes), rel=1e-4)


def test_lengthscales_by_the_range_of_distances_are_found(settings: Any, tmp_path: Path) -> None:
    write_train(tmp_path, copper(5))
    found, _ = term(settings, PAIRS.replace("theta_uniform=1.0", "theta_fac=0.5"))
    # The shortest distance is near 2.3 Å, the longest just below the cutoff of 4.5 Å.
    assert found["lengthscale"] == pytest.approx(0.5 * 2.2, abs=0.15)


def test_elements_without_an_energy_have_gap_fits_zero(settings: Any, tmp_path: Path) -> None:
    write_train(tmp_path, copper(2))
    assert settings(command(PAIRS, "e0={C:-1}"))[0]["e0"] == {"C": -1, "Cu": 0}


@pytest.mark.parametrize("gap", [f"{PAIRS} : {SOAP}", f"{PAIRS} : {TRIPLETS}"])
def test_settings_fit(gap: str, settings: Any, tmp_path: Path) -> None:
    frames = copper(8)
    write_train(tmp_path, frames)
    energy = float(np.mean([frame.energy / len(frame.atoms) for frame in frames]))
    settings(command(gap.replace("n_max=8 l_max=6", "n_max=4 l_max=3"), f"{NAMES} e0={energy}"))
    model = fit(tmp_path / "settings.yaml")
    assert model.terms[0].delta == 1.0
    assert model.e0 == {29: energy}


@pytest.mark.slow
@pytest.mark.parametrize(
    "gap",
    [
        PAIRS,
        # All environments are sparse points, and QUIP's radial functions are as complete as ours.
        SOAP.replace("n_sparse=30", "n_sparse=60").replace("n_max=8", "n_max=14"),
        TRIPLETS.replace("cutoff=3.0", "cutoff=3.5"),
    ],
)
def test_fits_of_both_programs_are_about_as_accurate(
    gap: str, settings: Any, tmp_path: Path
) -> None:
    """Within a factor of 1.6: the cutoffs' shapes and, of triplets, the kernel differ."""
    pytest.importorskip("quippy", reason="quippy, QUIP's Python package, is not installed")
    program = shutil.which("gap_fit")
    if program is None:
        pytest.skip("gap_fit is not on the path")
    from forcemap.potentials import ForcemapCalculator
    from quippy.potential import Potential

    frames = copper(12)
    write_train(tmp_path, frames)
    energy = float(np.mean([frame.energy / len(frame.atoms) for frame in frames]))
    rest = f"{NAMES} e0={energy} sparse_jitter=1e-8 do_copy_at_file=F gp_file=gap.xml"
    given = [
        "at_file=train.xyz", SIGMA, f"gap={{{gap} sparse_method={_method(gap)}}}", *rest.split()
    ]  # fmt: skip
    environment = {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [program, *given], cwd=tmp_path, env=environment, check=True, capture_output=True
    )
    settings(" ".join(["gap_fit", *given]))
    from forcemap.fitter.commands.fit import fit_settings
    from forcemap.potentials.runs.progress import Progress

    fit_settings(tmp_path / "settings.yaml", tmp_path / "out", 1, Progress.silent())
    errors = []
    for calculator in (
        Potential(param_filename=str(tmp_path / "gap.xml")),
        ForcemapCalculator(tmp_path / "out" / "potential.forcemap"),
    ):
        differences = []
        for frame in frames:
            atoms = frame.atoms.copy()
            atoms.calc = calculator
            differences.append(atoms.get_forces() - frame.forces)
        errors.append(float(np.sqrt(np.mean(np.square(differences)))))
    assert 0.6 < errors[1] / errors[0] < 1.6


def _method(gap: str) -> str:
    return "cur_points" if gap.startswith("soap") else "uniform"


def test_isolated_atoms_and_clusters_do_not_count_for_volumes(
    settings: Any, tmp_path: Path
) -> None:
    cluster = Atoms("Cu2", [[0, 0, 0], [2.3, 0, 0]])
    write(tmp_path / "train.xyz", [cluster, cluster], format="extxyz")
    _, remarks = settings(command(PAIRS))
    assert "no frame is periodic: left to the fit" in remarks
