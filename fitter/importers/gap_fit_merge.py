"""Terms for several descriptors: those of one kind for different species become one term."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement, product
from typing import Any

from forcemap.fitter.importers.commented_yaml import Entry
from forcemap.fitter.importers.gap_fit_draft import Draft
from forcemap.potentials.elements import SYMBOLS

__all__ = ["entries_of", "grouped"]

Combination = tuple[int, ...]


def grouped(drafts: Iterable[Draft]) -> list[list[Draft]]:
    """Drafts that one term stands for together, in their order.

    They are of one kind for different species; what has no kind, or any species, stays alone.
    """
    groups: list[list[Draft]] = []
    for draft in drafts:
        for group in groups:
            if _joins(draft, group):
                group.append(draft)
                break
        else:
            groups.append([draft])
    return groups


def _joins(draft: Draft, group: Sequence[Draft]) -> bool:
    first = group[0]
    if not draft.kind or draft.species is None or first.species is None:
        return False
    alike = (draft.kind, draft.descriptor, draft.values.get("symmetry"))
    if alike != (first.kind, first.descriptor, first.values.get("symmetry")):
        return False
    return not any(_combinations(draft) & _combinations(other) for other in group)


def _combinations(draft: Draft) -> set[Combination]:
    """The combinations of species that a draft is for; environments have their centres."""
    species = draft.species or ()
    return {(z,) for z in species} if draft.values.get("zeta") else {species}


def entries_of(group: Sequence[Draft], species: Sequence[int]) -> tuple[Entry, ...]:
    """The lines of one term; remarks alone if the descriptor has none.

    `species` are the atomic numbers in the data, as far as they are known.
    """
    first = group[0]
    heads = [_title(group), *_shared_remarks([d.remarks.get("", []) for d in group], group)]
    heads += _missing(group, species)
    entries = [Entry(remarks=tuple(head for head in heads if head))]
    if not first.kind:
        return tuple(entries)
    entries.append(Entry("kind", first.kind))
    names = list(dict.fromkeys(name for draft in group for name in draft.values))
    for name in names:
        value, remark = _one_value(name, group)
        remarks = _shared_remarks([d.remarks.get(name, []) for d in group], group)
        entries.append(Entry(name, value, tuple([*([remark] if remark else []), *remarks])))
    lone = {name for d in group for name in d.remarks if name and name not in names}
    for name in sorted(lone):
        texts = _shared_remarks([d.remarks.get(name, []) for d in group], group)
        entries.append(Entry(remarks=tuple(texts)))
    return tuple(entries)


def _title(group: Sequence[Draft]) -> str:
    labels = ", ".join(draft.label for draft in group if draft.species)
    of = f" for {labels}" if labels else ""
    together = " together: a term has a function for each combination" if len(group) > 1 else ""
    return f"{group[0].descriptor}{of}{together}"


def _shared_remarks(remarks: Sequence[Sequence[str]], group: Sequence[Draft]) -> list[str]:
    """Remarks of several drafts; those that not all have begin with their species."""
    texts = list(dict.fromkeys(text for some in remarks for text in some))
    found = []
    for text in texts:
        owners = [d.label for d, some in zip(group, remarks, strict=True) if text in some]
        found.append(text if len(owners) == len(group) else f"{', '.join(owners)}: {text}")
    return found


def _one_value(name: str, group: Sequence[Draft]) -> tuple[Any, str]:
    """The value of a setting for all drafts, and a remark if theirs differ."""
    values = [draft.values.get(name) for draft in group]
    if all(value == values[0] for value in values):
        return values[0], ""
    if name == "n_sparse" and group[0].values.get("zeta") and None not in values:
        return {SYMBOLS[z]: d.values[name] for d in group for z in d.species or ()}, ""
    both = zip(group, values, strict=True)
    shown = ", ".join(f"{draft.label} {'none' if v is None else v}" for draft, v in both)
    given = [value for value in values if value is not None]
    if name == "config_type_n_sparse":
        shown = f"no counterpart: numbers that differ between species: {shown}"
        united: dict[str, int] = {}
        for quotas in given:
            for key, count in quotas.items():
                united[key] = max(count, united.get(key, 0))
        return united, f"{shown}; the larger ones for all"
    numbers = all(isinstance(value, int | float) for value in given)
    one = max(given) if numbers else given[0]
    which = "largest" if numbers else "first"
    return one, f"no counterpart: one for each combination of species: {shown}; the {which} for all"


def _missing(group: Sequence[Draft], species: Sequence[int]) -> list[str]:
    """A remark on combinations of species that the term has and the descriptors have not."""
    if any(draft.species is None for draft in group) or not group[0].kind:
        return []
    own = set().union(*(_combinations(draft) for draft in group))
    known = sorted({*species, *(z for combination in own for z in combination)})
    every = set(_every(known, group[0]))
    missing = sorted(every - own)
    if not missing:
        return []
    names = ["-".join(SYMBOLS[z] for z in combination) for combination in missing[:8]]
    more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
    return [
        f"no counterpart: gap_fit has nothing for {', '.join(names)}{more}; the term has functions"
    ]


def _every(species: Sequence[int], draft: Draft) -> Iterable[Combination]:
    if draft.values.get("zeta"):
        return [(z,) for z in species]
    if draft.values.get("symmetry") == "central":
        pairs = combinations_with_replacement(species, 2)
        return [(center, *pair) for center, pair in product(species, list(pairs))]
    return combinations_with_replacement(species, 3 if draft.values.get("symmetry") else 2)
