// The registry: terms.def as declarations and as a table.
#include "forcemap/mapped_term.hpp"
#include "term_reader.hpp"

namespace forcemap {

#define FORCEMAP_TERM(name)                                    \
  std::unique_ptr<MappedTerm> read_##name(TermReader& reader); \
  std::unique_ptr<DrawnTerm> draw_##name(TermReader& reader);
#include "terms.def"
#undef FORCEMAP_TERM

namespace {

constexpr TermKind kinds[] = {
#define FORCEMAP_TERM(name) {#name, read_##name, draw_##name},
#include "terms.def"
#undef FORCEMAP_TERM
};

// "a, b or c"
std::string list_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t n = 0; n < names.size(); ++n)
    text += (n == 0 ? "" : n + 1 == names.size() ? " or " : ", ") + names[n];
  return text;
}

}  // namespace

std::vector<std::string> term_kinds() {
  std::vector<std::string> names;
  for (const TermKind& kind : kinds) names.emplace_back(kind.name);
  return names;
}

namespace {

const TermKind& kind_of(const JsonView& json) {
  const std::string& name = json.at("kind").string();
  for (const TermKind& kind : kinds)
    if (name == kind.name) return kind;
  json.at("kind").reject("found ", quoted(name), ", expected ", list_of(term_kinds()));
}

}  // namespace

std::unique_ptr<MappedTerm> read_term(FileContent& file, const JsonView& json, std::size_t index) {
  const TermKind& kind = kind_of(json);
  TermReader reader(file, json, index);
  return kind.read(reader);
}

std::unique_ptr<DrawnTerm> read_drawn_term(FileContent& file, const JsonView& json,
                                           std::size_t index, std::size_t draws) {
  const TermKind& kind = kind_of(json);
  TermReader reader(file, json, index, draws);
  return kind.draw(reader);
}

}  // namespace forcemap
