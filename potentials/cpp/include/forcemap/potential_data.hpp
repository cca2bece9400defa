// The content of a potential file: what the reader returns and a potential is made from.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "forcemap/draws.hpp"
#include "forcemap/grade.hpp"
#include "forcemap/mapped_term.hpp"
#include "forcemap/uncertainty.hpp"

namespace forcemap {

struct PotentialData {
  std::vector<int> numbers;  // atomic numbers, increasing
  std::vector<double> e0;    // (numbers.size()), energy of the isolated atom, eV
  std::vector<std::shared_ptr<const MappedTerm>> terms;
  std::optional<Uncertainty> uncertainty;
  std::optional<Draws> draws;
  std::optional<Grade> grade;
  std::string metadata;  // the file's JSON document, for people and Python
};

}  // namespace forcemap
