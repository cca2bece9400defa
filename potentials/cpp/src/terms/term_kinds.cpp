// The registry: terms.def as declarations and as a table.
#include "forcemap/mapped_term.hpp"
#include "term_reader.hpp"

namespace forcemap {

#define FORCEMAP_TERM(name) std::unique_ptr<MappedTerm> read_##name(TermReader& reader);
#include "terms.def"
#undef FORCEMAP_TERM

namespace {

constexpr TermKind kinds[] = {
#define FORCEMAP_TERM(name) {#name, read_##name},
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

std::unique_ptr<MappedTerm> read_term(FileContent& file, const JsonView& json, std::size_t index) {
  const std::string& name = json.at("kind").string();
  for (const TermKind& kind : kinds) {
    if (name != kind.name) continue;
    TermReader reader(file, json, index);
    return kind.read(reader);
  }
  json.at("kind").reject("found ", quoted(name), ", expected ", list_of(term_kinds()));
}

}  // namespace forcemap
