"""Sigmas and masks of frames: gap_fit's weigh the rows as gap_fit does, and what is unread is named."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forcemap.fitter.data.frame import Frame, data_hash
from forcemap.fitter.data.label_checks import label_counts
from forcemap.fitter.data.prediction import Prediction
from forcemap.fitter.process.targets import Targets
from forcemap.fitter.report.metrics import compare
from forcemap.potentials.errors import ForcemapError
from labelled_copper import copper, read, text

E0 = {29: 0.0}


def sigmas_of(frame: Frame) -> tuple[float, np.ndarray, np.ndarray]:
    """Sigmas of the rows: energy (eV), forces (eV/Å), virial (eV)."""
    sigmas = Targets.of(frame, E0, Prediction.nothing(frame)).sigmas
    return float(sigmas[0]), sigmas[1:-6], sigmas[-6:]


def test_sigmas_of_gap_fit_are_those_of_the_rows(tmp_path: Path) -> None:
    """Its energy_sigma and virial_sigma are of the whole frame, as the rows are."""
    content = text(copper(1), more=lambda n: "energy_sigma=0.016 force_sigma=0.3 virial_sigma=0.7")
    (frame,) = read(tmp_path, content)
    energy, forces, virial = sigmas_of(frame)
    assert energy == pytest.approx(0.016, rel=1e-12)
    np.testing.assert_allclose(forces, np.full(12, 0.3), rtol=1e-12)
    np.testing.assert_allclose(virial, np.full(6, 0.7), rtol=1e-12)
    assert label_counts([frame]) == [
        f"{tmp_path / 'data.xyz'}: 1 frames: 1 energies, 1 forces (4 atoms), 1 stresses; sigmas from "
        "energy_sigma, force_sigma, virial_sigma (of energies and virials of whole frames, in eV, as "
        "in gap_fit)"
    ]


def test_components_come_before_atoms_before_frames(tmp_path: Path) -> None:
    of_atoms: dict[str, Any] = {
        "columns": ":force_atom_sigma:R:1",
        "values": lambda n, a: f"{0.1 * (a + 1)}",
    }
    (frame,) = read(tmp_path, text(copper(1), more=lambda n: "force_sigma=9", **of_atoms))
    np.testing.assert_allclose(sigmas_of(frame)[1], np.repeat([0.1, 0.2, 0.3, 0.4], 3), rtol=1e-12)
    both: dict[str, Any] = {
        "columns": ":force_atom_sigma:R:1:force_component_sigma:R:3",
        "values": lambda n, a: f"7 {a + 1} {a + 2} {a + 3}",
    }
    component = "virial_component_sigma=" + '"1 2 3 2 4 5 3 5 6"'
    (frame,) = read(tmp_path, text(copper(1), more=lambda n: component, **both))
    np.testing.assert_allclose(
        sigmas_of(frame)[1], np.ravel([[a + 1, a + 2, a + 3] for a in range(4)]), rtol=1e-12
    )
    np.testing.assert_allclose(sigmas_of(frame)[2], [1, 4, 6, 5, 3, 2], rtol=1e-12)  # Voigt
    # This program's own names come first.
    (frame,) = read(tmp_path, text(copper(1), more=lambda n: "sigma_force=0.5 force_sigma=9"))
    np.testing.assert_allclose(sigmas_of(frame)[1], np.full(12, 0.5), rtol=1e-12)


def test_masked_atoms_have_no_rows_and_no_errors(tmp_path: Path) -> None:
    mask: dict[str, Any] = {
        "columns": ":force_mask:L:1",
        "values": lambda n, a: "T" if a in (1, 3) else "F",
    }
    (frame,) = read(tmp_path, text(copper(1), **mask))
    targets = Targets.of(frame, E0, Prediction.nothing(frame))
    assert targets.rows.tolist() == [0, 1, 2, 3, 7, 8, 9, *range(13, 19)]
    np.testing.assert_allclose(targets.values[1:7], copper(1)[0].forces[[0, 2]].ravel(), atol=1e-8)
    wrong = np.array(frame.forces)
    wrong[[1, 3]] += 100.0
    assert frame.energy is not None
    comparison = compare([(frame, Prediction.of(frame, frame.energy, wrong, np.zeros(6)))])
    assert np.ptp(comparison.forces, axis=1).max() == 0.0
    (line,) = label_counts([frame])
    assert "1 forces (2 of 4 atoms; the others are left out by force_mask, T as in gap_fit)" in line
    assert data_hash([frame]) != data_hash([replace(frame, force_mask=None)])


def test_forces_of_masked_atoms_may_be_nan(tmp_path: Path) -> None:
    (first,) = copper(1)
    forces = first.forces.copy()
    forces[2] = np.nan
    mask: dict[str, Any] = {
        "columns": ":force_mask:L:1",
        "values": lambda n, a: "T" if a == 2 else "F",
    }
    (frame,) = read(tmp_path, text([first._replace(forces=forces)], **mask))
    assert np.isfinite(Targets.of(frame, E0, Prediction.nothing(frame)).values).all()
    with pytest.raises(ForcemapError, match="of atom 2 is nan"):
        read(tmp_path, text([first._replace(forces=forces)]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("energy_sigma=0", r'frame 0 .*"energy_sigma" is 0, expected more than 0'),
        ('virial_sigma="1 2"', r'"virial_sigma" has the shape \(2,\), expected one number'),
        ("force_sigma=nan", '"force_sigma" is nan'),
    ],
)
def test_unusable_sigmas_are_told(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(ForcemapError, match=message):
        read(tmp_path, text(copper(1), more=lambda n: more))
    # A file that is only evaluated may mean anything by these names.
    read(tmp_path, text(copper(1), more=lambda n: more), require_labels=False)


def test_a_mask_is_of_truth_values(tmp_path: Path) -> None:
    mask: dict[str, Any] = {"columns": ":force_mask:R:1", "values": lambda n, a: "0.5"}
    with pytest.raises(ForcemapError, match=r'"force_mask" holds 0\.5, expected T or F'):
        read(tmp_path, text(copper(1), **mask))


def test_unread_sigmas_and_weights_are_named(tmp_path: Path) -> None:
    words = "sigma_forces=1 stress_sigma=1 config_weight=2 energy_weight=1 _orig_energy_sigma=1"
    expected = (
        "data.xyz: sigma_forces, stress_sigma, config_weight are not read; the sigmas of a frame are "
        "sigma_energy (eV per atom), sigma_force (eV/Å) and sigma_stress (eV/Å³): a weight w is a "
        "sigma divided by the square root of w"
    )
    with pytest.warns(UserWarning, match=re.escape(expected)) as caught:
        read(tmp_path, text(copper(1), more=lambda n: words))
    assert len(caught) == 1


@pytest.mark.parametrize("key", ["REF_energy_sigma", "dft_energy_sigma", "energy_REF_sigma"])
def test_one_usual_prefix_of_a_sigma_is_read_and_said(tmp_path: Path, key: str) -> None:
    """The last is the form that gap_fit reads with parameter_name_prefix=REF_."""
    expected = (
        f'data.xyz: no "energy_sigma"; this file has {key}, which is read as that (rename it if it is '
        "none)"
    )
    with pytest.warns(UserWarning, match=re.escape(expected)) as caught:
        (frame,) = read(tmp_path, text(copper(1), more=lambda n: f"{key}=0.016"))
    assert len(caught) == 1
    assert sigmas_of(frame)[0] == pytest.approx(0.016, rel=1e-12)
    assert f"sigmas from {key} (of energies" in label_counts([frame])[0]
    # Predictions weigh nothing.
    read(tmp_path, text(copper(1), more=lambda n: f"{key}=0.016"), require_labels=False)


def test_a_mask_with_a_usual_prefix_is_read_and_said(tmp_path: Path) -> None:
    """As by gap_fit with parameter_name_prefix=REF_."""
    mask: dict[str, Any] = {
        "columns": ":REF_force_mask:L:1",
        "values": lambda n, a: "T" if a == 1 else "F",
    }
    for strict in (True, False):
        with pytest.warns(
            UserWarning, match='no "force_mask"; this file has REF_force_mask, which is'
        ):
            (frame,) = read(tmp_path, text(copper(1), **mask), require_labels=strict)
        assert frame.labelled.tolist() == [True, False, True, True]


def test_several_prefixes_of_a_sigma_are_an_error_that_lists_them(tmp_path: Path) -> None:
    content = text(copper(1), more=lambda n: "REF_energy_sigma=1 DFT_energy_sigma=2")
    message = (
        'data.xyz: no "energy_sigma", but under several other names: REF_energy_sigma, '
        "DFT_energy_sigma; rename the right one to energy_sigma"
    )
    with pytest.raises(ForcemapError, match=re.escape(message)):
        read(tmp_path, content)
    read(tmp_path, content, require_labels=False)
    # Beside gap_fit's own name, others are named as unread.
    with pytest.warns(UserWarning, match="data.xyz: REF_energy_sigma is not read; the sigmas of"):
        (frame,) = read(
            tmp_path, text(copper(1), more=lambda n: "energy_sigma=4 REF_energy_sigma=1")
        )
    assert frame.sigma.energy == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("words", "columns", "expected"),
    [
        (
            "hessian_sigma=0.1",
            "",
            "hessian_sigma is not read; the sigmas of a frame are sigma_energy",
        ),
        (
            "",
            ":local_property_sigma:R:1",
            "local_property_sigma is not read; the sigmas of a frame",
        ),
        ("dft_stress_sigma=1", "", "dft_stress_sigma is not read; the sigmas of a frame"),
        (
            "",
            ":forces_mask:R:1",
            "forces_mask is not read; the mask of a frame is force_mask, T for ",
        ),
        (
            "REF_energy_weight=2",
            "",
            "REF_energy_weight is not read; .*a weight w is a sigma divided",
        ),
        ("", ":Forces_Weight:R:1", "Forces_Weight is not read; .*a weight w is a sigma divided"),
        (
            "config_stress_weight=0.0",
            "",
            "where config_stress_weight is 0, remove the label that should not count$",
        ),
        ("config_weight=much", "", "config_weight is not read"),
    ],
)
def test_everything_like_a_sigma_mask_or_weight_is_named(
    tmp_path: Path, words: str, columns: str, expected: str
) -> None:
    content = text(
        copper(1),
        more=lambda n: words,
        columns=columns,
        values=lambda n, a: "0.5" if columns else "",
    )
    with pytest.warns(UserWarning, match=f"data.xyz: .*{expected}") as caught:
        read(tmp_path, content)
    assert len(caught) == 1


def test_sigmas_of_other_things_and_weights_of_one_are_not_named(tmp_path: Path) -> None:
    words = "sigma=3 smearing_sigma=0.1 atomic_weight=3 energy_weight=1 config_weight=1.0 mask=T"
    read(tmp_path, text(copper(1), more=lambda n: words))
