"""Symbols of the chemical elements, without importing ASE."""

from forcemap.potentials.errors import ForcemapError
from forcemap.potentials.quoting import quoted

__all__ = ["SYMBOLS", "atomic_number"]

_TEXT = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As
    Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu
    Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np
    Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""

#: Symbol of each atomic number; SYMBOLS[0] is no element.
SYMBOLS: tuple[str, ...] = ("X", *_TEXT.split())
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}


def atomic_number(symbol: str) -> int:
    """Atomic number of an element's symbol (``"Si"`` -> 14). Raises ForcemapError if unknown."""
    try:
        return _NUMBERS[symbol]
    except KeyError:
        raise ForcemapError(f"{quoted(symbol)} is not the symbol of an element") from None
