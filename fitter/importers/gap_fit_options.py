"""The options of gap_fit and of its descriptors: their other names, and what becomes of them.

As `gap_fit --help` and the descriptors of QUIP 0.10.3 list them, with those that older and newer
versions have. An option without a remark is translated to a setting (see `gap_fit`, `gap_fit_terms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from forcemap.fitter.checked import nearest
from forcemap.fitter.importers.quip_arguments import Arguments, same_value

__all__ = ["COMMAND", "DESCRIPTORS", "OTHER_DESCRIPTORS", "Options"]

HESSIAN = "no counterpart: Hessians are not fitted"
PROPERTY = "no counterpart: properties of single atoms are not fitted, only energies"
MEMORY = "not needed: how the work is divided does not change the result (--jobs, mpirun)"


class Option(NamedTuple):
    """What becomes of an option.

    Attributes:
        names: its name, and others for the same.
        remark: for one that no setting takes over.
        same: the value (QUIP's spelling) with which it describes what holds here anyway.
    """

    names: tuple[str, ...]
    remark: str = ""
    same: str | None = None


class Options:
    """The options of one kind of string."""

    def __init__(self, what: str, *options: Option, ignores: bool = False) -> None:
        """`what` they are options of, for messages; `ignores`: gap_fit says nothing of others."""
        self.what = what
        self._ignores = ignores
        self._by_name = {option.names[0].lower(): option for option in options}
        self._aliases = {
            name.lower(): option.names[0].lower() for option in options for name in option.names
        }
        self._spelled = [name for option in options for name in option.names]

    @property
    def names(self) -> tuple[str, ...]:
        """All names as QUIP spells them."""
        return tuple(self._spelled)

    def knows(self, name: str) -> bool:
        """Whether there is an option of this name, in any case."""
        return name.lower() in self._aliases

    def checked(self, arguments: Arguments) -> Arguments:
        """The arguments under the first of each option's names.

        Raises ForcemapError for a name that is no option; its text has the nearest one.
        """
        for argument in arguments.given:
            if argument.name.lower() not in self._aliases:
                ignored = " (gap_fit itself ignores such names)" if self._ignores else ""
                near = nearest(argument.name, self._spelled)
                arguments.fail_at(argument.name, f"is no option of {self.what}{ignored}{near}")
        return arguments.with_aliases(self._aliases)

    def remarks(self, arguments: Arguments) -> list[str]:
        """What is to be said of the options among `arguments` (checked ones) without a setting."""
        same, remarks = [], []
        for name in arguments:
            option = self._by_name[name]
            shown = arguments.shown(name)
            if option.same is not None and same_value(arguments[name], option.same):
                same.append(shown)
            elif option.remark:
                remarks.append(f"{shown}: {option.remark}")
        return [*([f"as here: {', '.join(same)}"] if same else []), *remarks]


COMMAND = Options(
    "gap_fit",
    Option(("config_file",)),
    Option(("at_file", "atoms_filename")),
    Option(("gap",)),
    Option(("e0",)),
    Option(("e0_offset",)),
    Option(("e0_method",)),
    Option(("default_sigma", "default_kernel_regularisation")),
    Option(("config_type_sigma", "config_type_kernel_regularisation")),
    Option(("sigma_per_atom", "kernel_regularisation_is_per_atom")),
    Option(("energy_parameter_name",)),
    Option(("force_parameter_name",)),
    Option(("virial_parameter_name",)),
    Option(("stress_parameter_name",)),
    Option(("config_type_parameter_name",)),
    Option(("sigma_parameter_name", "kernel_regularisation_parameter_name")),
    Option(("force_mask_parameter_name",)),
    Option(("parameter_name_prefix",)),
    Option(("core_param_file", "baseline_param_filename")),
    Option(("core_ip_args", "baseline_ip_args")),
    Option(("gp_file", "gap_file")),
    Option(("rnd_seed",)),
    Option(("local_property0",), PROPERTY),
    Option(("local_property_parameter_name",), PROPERTY),
    Option(("local_property_mask_parameter_name",), PROPERTY),
    Option(
        (
            "default_local_property_sigma",
            "default_kernel_regularisation_local_property",
        ),
        PROPERTY,
    ),
    Option(
        ("sparse_jitter",),
        "not needed: sparse points that repeat others are left out instead, and the equations are "
        "solved by orthogonal factors",
    ),
    Option(("hessian_parameter_name",), HESSIAN),
    Option(("hessian_displacement", "hessian_delta"), HESSIAN),
    Option(
        ("do_copy_at_file", "do_copy_atoms_file"),
        "not needed: potentials hold no copy of the data, model.forcemap holds their hash",
    ),
    Option(
        ("sparse_separate_file",),
        "not needed: the sparse points are in model.forcemap, one file",
    ),
    Option(
        ("sparse_use_actual_gpcov",),
        "no counterpart: pivoted_cholesky and cur of distances use the covariance anyway",
        same="F",
    ),
    Option(
        ("export_covariance",), "better here: uncertainty: draws: 16, the default, for error bars"
    ),
    Option(("verbosity",), "no counterpart: --quiet shows no progress"),
    Option(("do_ip_timing",), "not needed: the report has the time of a step"),
    Option(("template_file",), "no counterpart: the data name the species"),
    Option(
        ("sparsify_only_no_fit",),
        "no counterpart: forcemap fit --dry-run prints numbers and sizes without a fit",
    ),
    Option(("dryrun",), "in its place: forcemap fit --dry-run"),
    Option(("condition_number_norm",), "no counterpart: no condition number is printed"),
    Option(("linear_system_dump_file",), "no counterpart: the equations are not written"),
    Option(("openmp_chunk_size",), MEMORY),
    Option(("mpi_blocksize_rows",), MEMORY),
    Option(("mpi_blocksize_cols",), MEMORY),
    Option(("mpi_print_all",), MEMORY),
)

_SHARED = (
    Option(("delta", "energy_scale")),
    Option(("n_sparse",)),
    Option(("config_type_n_sparse",)),
    Option(("sparse_method",)),
    Option(("theta_fac", "lengthscale_factor")),
    Option(("theta_uniform", "lengthscale_uniform")),
    Option(("theta_file", "lengthscale_file")),
    Option(("covariance_type",)),
    Option(("zeta", "soap_exponent")),
    Option(("cutoff",)),
    Option(("cutoff_transition_width",)),
    Option(("add_species",)),
    Option(
        ("f0",),
        "no counterpart: the prior's mean is 0; e0 takes up a constant of each atom",
        same="0",
    ),
    Option(("sparse_file",), "no counterpart: sparse points are chosen from the data"),
    Option(("mark_sparse_atoms",), "no counterpart: no file marks the sparse points", same="F"),
    Option(("print_sparse_index",), "no counterpart: no file lists the sparse points"),
    Option(
        ("unique_hash_tolerance",),
        "not needed: points that repeat others are left out by covariance",
    ),
    Option(
        ("unique_descriptor_tolerance",),
        "not needed: points that repeat others are left out by covariance",
    ),
    Option(("xml_version",), "not needed: a version of QUIP's files"),
)

_MOLECULES = "no counterpart: pairs within and between molecules have the same function"
_TAIL = "no counterpart: the function itself is fitted, without factors of the distance"

_SHAPE = (
    Option(("average",), "no counterpart: energies are sums over atoms", same="F"),
    Option(("normalise", "normalize"), "no counterpart: spectra are normalised", same="T"),
    Option(("covariance_sigma0",), "no counterpart: the kernel has no constant", same="0"),
    Option(
        ("central_weight",),
        "no counterpart: the central atom weighs as much as a neighbour at its place",
        same="1",
    ),
    Option(
        ("central_reference_all_species",),
        "no counterpart: the central atom stands in its own species' density",
        same="F",
    ),
)

DESCRIPTORS: Mapping[str, Options] = {
    "distance_2b": Options(
        "distance_2b",
        Option(("distance_2b",)),
        *_SHARED,
        Option(("Z1",)),
        Option(("Z2",)),
        Option(("resid_name",), _MOLECULES),
        Option(("only_intra",), _MOLECULES, same="F"),
        Option(("only_inter",), _MOLECULES, same="F"),
        Option(("n_exponents",), _TAIL, same="1"),
        Option(("exponents",), _TAIL, same="1"),
        Option(("tail_range",), _TAIL, same="1"),
        Option(("tail_exponent",), _TAIL, same="0"),
        ignores=True,
    ),
    "distance_Nb": Options(
        "distance_Nb",
        Option(("distance_Nb",)),
        *_SHARED,
        Option(("order",)),
        Option(("Z",)),
        Option(("compact_clusters",)),
        ignores=True,
    ),
    "angle_3b": Options(
        "angle_3b",
        Option(("angle_3b",)),
        *_SHARED,
        Option(("Z_center", "Z")),
        Option(("Z1",)),
        Option(("Z2",)),
        ignores=True,
    ),
    "soap": Options(
        "soap",
        Option(("soap",)),
        *_SHARED,
        *_SHAPE,
        Option(("l_max",)),
        Option(("n_max",)),
        Option(("atom_sigma", "atom_gaussian_width")),
        Option(("Z",)),
        Option(("n_Z",), "not needed: the terms have a function for each species of centre"),
        Option(("n_species",), "not needed: the data name the species"),
        Option(("species_Z",), "not needed: the densities are those of all species in the data"),
        Option(("cutoff_dexp",)),
        Option(("cutoff_scale",)),
        Option(("cutoff_rate",)),
        Option(("R_mix",)),
        Option(("Z_mix",)),
        Option(("K",)),
        Option(
            ("sym_mix",), "no counterpart: channels of species are learned, not drawn", same="F"
        ),
        Option(("mix_shift",), "no counterpart: channels of species are learned", same="0"),
        Option(("coupling",), "no counterpart: all pairs of densities are kept", same="T"),
        Option(("nu_R",), "no counterpart: the spectrum keeps both radial indices", same="2"),
        Option(("nu_S",), "no counterpart: the spectrum keeps both species", same="2"),
        Option(("Z_map",), "no counterpart: no species share a density; kappa makes them alike"),
        Option(("diagonal_radial",), "no counterpart: all pairs of functions are kept", same="F"),
        Option(
            ("radial_basis",), "no counterpart: radial functions adapted to the cutoff are used"
        ),
        Option(("basis_error_exponent",), "not needed: it controls QUIP's own radial functions"),
        Option(
            ("radial_scaling", "radial_decay"),
            "no counterpart: gap_fit does not read it, and a soap without it is meant; radial_scaling: "
            "{radius: 2, exponent: 4} gives near neighbours more weight",
            same="0",
        ),
        ignores=True,
    ),
    "soap_turbo": Options(
        "soap_turbo",
        Option(("soap_turbo",)),
        *_SHARED,
        *_SHAPE,
        Option(("l_max",)),
        Option(("alpha_max",)),
        Option(("atom_sigma_r", "atom_sigma")),
        Option(("rcut_hard",)),
        Option(("rcut_soft",)),
        Option(("species_Z",)),
        Option(("central_index",)),
        Option(("n_species",), "not needed: the data name the species"),
        Option(
            ("atom_sigma_t",),
            "no counterpart: Gaussians are as wide along the bond as across, atom_sigma",
        ),
        Option(
            ("atom_sigma_r_scaling", "atom_sigma_scaling"),
            "no counterpart: the width does not grow with the distance",
            same="0",
        ),
        Option(
            ("atom_sigma_t_scaling",),
            "no counterpart: the width does not grow with the distance",
            same="0",
        ),
        Option(
            ("amplitude_scaling",),
            "no counterpart in this form: radial_scaling: {radius: 2, exponent: 4} gives near "
            "neighbours more weight",
            same="0",
        ),
        Option(("radial_enhancement",), "no counterpart: radial_scaling is the nearest", same="0"),
        Option(("scaling_mode",), "no counterpart: the form of its scalings with the distance"),
        Option(("basis",), "no counterpart: radial functions adapted to the cutoff are used"),
        Option(("nf",), "no counterpart: the decay of its Gaussians' cutoff"),
        Option(
            ("compress_file",),
            "no counterpart: the spectrum is kept whole, and the map makes it small",
            same="None",
        ),
        Option(
            ("compress_mode",),
            "no counterpart: the spectrum is kept whole, and the map makes it small",
            same="None",
        ),
        ignores=True,
    ),
}
"""The descriptors that a term corresponds to."""

OTHER_DESCRIPTORS = (
    *(
        "bispectrum_so4",
        "bispectrum_so3",
        "behler",
        "coordination",
        "co_angle_3b",
        "co_distance_2b",
    ),
    *("cosnx", "trihis", "water_monomer", "water_dimer", "A2_dimer", "AB_dimer", "bond_real_space"),
    *("atom_real_space", "power_so3", "power_so4", "AN_monomer", "general_monomer"),
    *("general_dimer", "general_trimer", "water_trimer", "rdf", "as_distance_2b", "molecule_lo_d"),
    *("alex", "com_dimer", "soap_express"),
)
"""Other descriptors of QUIP, which no term corresponds to."""
