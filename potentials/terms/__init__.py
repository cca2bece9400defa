"""The kinds of terms of a potential file: one module each, entered in `kinds`."""

from __future__ import annotations

from forcemap.potentials.terms.base import MappedTerm, TermView
from forcemap.potentials.terms.bispectrum import BispectrumFunctions
from forcemap.potentials.terms.embedding import EmbeddingCenter, EmbeddingFunctions
from forcemap.potentials.terms.kinds import KINDS
from forcemap.potentials.terms.soap import SoapCenter, SoapFunctions
from forcemap.potentials.terms.soap_contracted import SoapContractedFunctions
from forcemap.potentials.terms.soap_quadratic import SoapQuadraticCenter, SoapQuadraticFunctions
from forcemap.potentials.terms.three_body import ThreeBodySplines
from forcemap.potentials.terms.three_body_kernel import ThreeBodyKernelSums, ThreeBodyPoints
from forcemap.potentials.terms.two_body import TwoBodySplines
from forcemap.potentials.terms.zbl import ZblPairs

__all__ = [
    "KINDS",
    "BispectrumFunctions",
    "EmbeddingCenter",
    "EmbeddingFunctions",
    "MappedTerm",
    "SoapCenter",
    "SoapContractedFunctions",
    "SoapFunctions",
    "SoapQuadraticCenter",
    "SoapQuadraticFunctions",
    "TermView",
    "ThreeBodyKernelSums",
    "ThreeBodyPoints",
    "ThreeBodySplines",
    "TwoBodySplines",
    "ZblPairs",
]
