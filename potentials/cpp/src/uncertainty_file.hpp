// Reads what a potential file says about its own errors; the file is untrusted input.
#pragma once

#include <memory>
#include <vector>

#include "forcemap/draws.hpp"
#include "forcemap/grade.hpp"
#include "forcemap/json.hpp"
#include "forcemap/uncertainty.hpp"
#include "terms/term_reader.hpp"

namespace forcemap {

using MappedTerms = std::vector<std::shared_ptr<const MappedTerm>>;

/// {"energy": {"factor": 3.1, "floor": 0.001, "noise": 0.002}, "force": {...}, "stress": {...}}
Uncertainty read_uncertainty(const JsonView& json);

/// {"count": 16, "terms": [...]}, terms as those of the mean, whose largest cutoff none may pass.
/// The tensors are "draws.e0" (count, species) and those of the terms, "draws.INDEX.PART", where
/// what is linear in the weights has a leading axis of length count.
Draws read_draws(FileContent& file, const JsonView& json, const MappedTerms& terms);

/// {"shortest": [{"species": ["H", "O"], "distance": 0.9}, ...],
///  "centers": [{"species": "O", "features": 32}, ...],
///  "moments": {"cutoff": 5.5, "radial": 4, "angular": {"cutoff": 4.0, "radial": 2}}}
/// The features are those of the terms unless there is the member "moments". For each centre there
/// are the tensors "grade.A.mean" (features) and "grade.A.whitening" (features, features), lower
/// triangular.
Grade read_grade(FileContent& file, const JsonView& json, const MappedTerms& terms);

}  // namespace forcemap
