"""Functions of products of chosen pairs of contracted channels of the neighbours' density.

A channel is a sum of the radial functions of each species, whatever its weights are: of a compressed
descriptor (Darby, Kermode and Csányi, npj Comput. Mater. 8, 166 (2022), DOI 10.1038/s41524-022-00847-y;
Darby et al., Phys. Rev. Lett. 131, 028001 (2023), DOI 10.1103/PhysRevLett.131.028001) or others. The
spectrum has, for every order of spherical harmonics, one number for each of the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from forcemap.potentials.terms.base import Coefficients, TermView
from forcemap.potentials.terms.soap import RadialFunctions, SpectrumSums
from numpy.typing import NDArray
from typing_extensions import override

__all__ = ["SoapContractedFunctions"]


@dataclass(frozen=True, eq=False, kw_only=True)
class SoapContractedFunctions(RadialFunctions, SpectrumSums):
    """Sums of powers of the spectrum's products with some vectors.

    Attributes:
        mixing: (species, n_max, channels) of the neighbours' radial functions.
        self_density: (species, channels) of the centre itself, for l = 0.
        pairs: (pairs, 2) of channels. Rows and diagonals of pairs, (a, b), (a, b + 1), ... and (a, b),
            (a + 1, b + 1), ..., are quick to evaluate.
        pair_weights: (pairs,).
    """

    kind: ClassVar[str] = "soap_contracted"

    mixing: Coefficients
    self_density: Coefficients
    pairs: NDArray[np.intp]
    pair_weights: Coefficients

    @property
    @override
    def dimension(self) -> int:
        """Numbers of the spectrum."""
        return (self.l_max + 1) * len(self.pairs)

    @override
    def document(self) -> dict[str, Any]:
        sizes = {"channels": int(self.mixing.shape[2]), "pairs": len(self.pairs)}
        return self.radial_document() | sizes | self.sums_document()

    @override
    def tensors(self) -> dict[str, Coefficients]:
        return {
            "radial": self.radial,
            "mixing": self.mixing,
            "self": self.self_density,
            "pairs": self.pairs.astype(np.float64),
            "pair_weights": self.pair_weights,
        } | self.sums_tensors()

    @classmethod
    @override
    def read(cls, view: TermView) -> SoapContractedFunctions:
        return cls(
            mixing=view.arrays["mixing"],
            self_density=view.arrays["self"],
            pairs=view.arrays["pairs"].astype(np.intp),
            pair_weights=view.arrays["pair_weights"],
            **cls.read_radial(view),
            **cls.read_sums(view),
        )

    @classmethod
    @override
    def described(cls, document: Mapping[str, Any]) -> str:
        numbers = (document["l_max"] + 1) * document["pairs"]
        return (
            f"{cls.described_radial(document)}, {document['channels']} contracted channels, "
            f"{numbers} numbers: {cls.described_sums(document)}"
        )
