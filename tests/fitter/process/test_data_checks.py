"""Frames and settings that make no sense together are warned of, others are not."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from forcemap.fitter.config import Settings
from forcemap.fitter.data.frame import Frame
from forcemap.fitter.fitting import fit_frames
from forcemap.fitter.job import fit_to_folder
from forcemap.fitter.process.data_checks import warn_of_shared_frames, warn_of_short_cutoffs
from structures import as_frame


def crystal(seed: int, source: str = "train.xyz", **labels: float) -> Frame:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return replace(as_frame(atoms, **labels), source=source)


def test_test_frames_of_the_training_data_are_counted_by_file() -> None:
    """By their structures: labels, groups and the file's name may differ."""
    train = [crystal(seed, energy=1.0) for seed in range(5)]
    test = [
        *(crystal(seed, "a.xyz", energy=2.0) for seed in (3, 4, 7)),
        *(replace(crystal(seed, "b.xyz"), config_type="other") for seed in (0, 8)),
        *(crystal(seed, "c.xyz") for seed in (9, 10)),
    ]
    with pytest.warns(UserWarning, match="frames are frames of") as caught:
        warn_of_shared_frames(train, test)
    end = "frames are frames of the training data, so its errors say little"
    assert [str(w.message) for w in caught] == [f"a.xyz: 2 of 3 {end}", f"b.xyz: 1 of 2 {end}"]


def test_isolated_atoms_in_both_are_no_reason_to_warn() -> None:
    atom = as_frame(Atoms("Si"))
    warn_of_shared_frames([crystal(0), atom], [crystal(1), atom])
    warn_of_shared_frames([crystal(0)], [])


def settings_of(*cutoffs: float, soap: bool = True) -> Settings:
    terms: list[dict[str, object]] = [{"kind": "two_body", "cutoff": cutoff} for cutoff in cutoffs]
    if soap:
        terms.append({"kind": "soap"})  # whose cutoff the fit chooses
    return Settings.from_dict({"data": {"train": "a.xyz"}, "terms": terms})


def test_cutoff_below_the_first_shell_is_told_with_the_distances() -> None:
    frames = [as_frame(bulk("Si", cubic=True) * (2, 1, 1))]  # nearest neighbours at 2.352 Å
    with pytest.warns(UserWarning, match="neighbours on average") as caught:
        warn_of_short_cutoffs(settings_of(5.0, 2.2), frames)
    assert [str(w.message) for w in caught] == [
        "terms[1].cutoff: within 2.2 Å the atoms have 0 neighbours on average; in the training frames "
        "nearest neighbours are 2.35 to 2.35 Å apart (median 2.35 Å)"
    ]
    warn_of_short_cutoffs(settings_of(5.0, 2.4), frames)


def test_cutoff_that_few_atoms_reach_is_told() -> None:
    frames = [crystal(seed) for seed in range(3)]
    with pytest.warns(UserWarning, match=r"within 2\.1 Å the atoms have 0\.\d+ neighbours"):
        warn_of_short_cutoffs(settings_of(2.1), frames)


def test_pairs_and_atoms_alone_are_no_reason_to_warn() -> None:
    """Half of the dimers are wider than the cutoff, which is their median distance."""
    frames = [as_frame(Atoms("Si2", [[0, 0, 0], [d, 0, 0]])) for d in (1.5, 2.0, 2.5, 4.0, 6.0)]
    warn_of_short_cutoffs(settings_of(3.0), [*frames, as_frame(Atoms("Si")), as_frame(Atoms("Si"))])


def test_fit_warns_of_its_test_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from forcemap.fitter import job

    (tmp_path / "a.xyz").write_text("1\n\nHe 0 0 0\n")
    settings = Settings.from_dict(
        {
            "data": {"train": "a.xyz", "test": "a.xyz"},
            "terms": [{"kind": "two_body"}],
        },
        tmp_path,
    )
    frames = [crystal(seed, energy=1.0) for seed in range(3)]
    monkeypatch.setattr(job, "read_frames", lambda *args, **options: frames)
    monkeypatch.setattr(job, "fitted", lambda *args: 1 / 0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ZeroDivisionError):
            fit_to_folder(settings, tmp_path / "out")
    messages = [str(w.message) for w in caught]
    assert messages[0].startswith("train.xyz: 3 of 3 frames are frames of the training data")


def test_fit_warns_of_short_cutoffs() -> None:
    frames = [crystal(seed, energy=float(seed)) for seed in range(3)]
    with pytest.warns(UserWarning, match=r"terms\[0\]\.cutoff: within 2\.1 Å the atoms have"):
        fit_frames(settings_of(2.1, 4.0, soap=False), frames)
