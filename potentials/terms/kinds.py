"""The registry of the kinds of terms that a potential file can hold."""

from __future__ import annotations

from forcemap.potentials.terms.base import MappedTerm
from forcemap.potentials.terms.bispectrum import BispectrumFunctions
from forcemap.potentials.terms.embedding import EmbeddingFunctions
from forcemap.potentials.terms.soap import SoapFunctions
from forcemap.potentials.terms.soap_contracted import SoapContractedFunctions
from forcemap.potentials.terms.soap_quadratic import SoapQuadraticFunctions
from forcemap.potentials.terms.three_body import ThreeBodySplines
from forcemap.potentials.terms.three_body_kernel import ThreeBodyKernelSums
from forcemap.potentials.terms.two_body import TwoBodySplines
from forcemap.potentials.terms.zbl import ZblPairs

__all__ = ["KINDS"]

KINDS: dict[str, type[MappedTerm]] = {
    term.kind: term
    for term in (
        TwoBodySplines,
        ThreeBodySplines,
        ThreeBodyKernelSums,
        BispectrumFunctions,
        EmbeddingFunctions,
        SoapFunctions,
        SoapContractedFunctions,
        SoapQuadraticFunctions,
        ZblPairs,
    )
}
"""By the name that stands in files; in the order in which messages and documents list them."""
