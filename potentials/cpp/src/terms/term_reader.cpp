#include "term_reader.hpp"

#include <algorithm>

#include "forcemap/elements.hpp"

namespace forcemap {

std::vector<double> FileContent::take(const std::string& tensor,
                                      const std::vector<std::size_t>& shape) {
  used.insert(tensor);
  return tensors.doubles(tensor, shape);
}

std::vector<float> FileContent::take_single(const std::string& tensor,
                                            const std::vector<std::size_t>& shape) {
  used.insert(tensor);
  return tensors.floats(tensor, shape);
}

TermReader::TermReader(FileContent& file, JsonView json, std::size_t index, std::size_t draws)
    : file_(file),
      json_(std::move(json)),
      prefix_((draws ? "draws." : "terms.") + std::to_string(index) + "."),
      draws_(draws) {}

TermReader TermReader::of_draw(std::size_t draw) const {
  TermReader reader = *this;
  reader.draw_ = draw;
  return reader;
}

double TermReader::cutoff() const {
  const double cutoff = json_.at("cutoff").number();
  if (!(cutoff > 0.0 && cutoff <= max_distance)) {
    json_.at("cutoff").reject("found ", cutoff, ", expected 0 < cutoff <= ", max_distance);
  }
  return cutoff;
}

std::size_t TermReader::intervals(const JsonView& object, const char* name) {
  return static_cast<std::size_t>(object.at(name).integer(1, max_intervals));
}

std::vector<Species> TermReader::tables(std::size_t count, Order order) const {
  const JsonView json = json_.at("tables");
  if (json.size() == 0) json.reject("found an empty array, expected at least one table");
  std::vector<Species> tables;
  std::set<Species> seen;
  for (std::size_t i = 0; i < json.size(); ++i) {
    tables.push_back(table(json.at(i), count, order));
    if (!seen.insert(tables.back()).second) json.at(i).reject("found a table that stands before");
  }
  return tables;
}

Species TermReader::table(const JsonView& json, std::size_t count, Order order) const {
  if (json.size() != count) {
    json.reject("found ", json.description(), ", expected ", count, " species");
  }
  Species species;
  for (std::size_t i = 0; i < count; ++i) species.push_back(element(json.at(i)));
  if (order == Order::exchangeable && species[count - 2] > species[count - 1]) {
    json.reject("found ", label(species), ", expected the lower atomic number first");
  }
  return species;
}

std::vector<TermReader::Center> TermReader::centers(
    std::initializer_list<std::string_view> names) const {
  const JsonView json = json_.at("centers");
  if (json.size() == 0) json.reject("found an empty array, expected at least one center");
  std::vector<Center> centers;
  std::set<std::size_t> seen;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const JsonView center = json.at(i);
    center.allow_only(names);
    const std::size_t species = element(center.at("species"));
    if (!seen.insert(species).second)
      center.at("species").reject("found a species that stands before");
    centers.push_back({center, species});
  }
  return centers;
}

std::size_t TermReader::element(const JsonView& json) const {
  const std::string& symbol = json.string();
  const auto place = std::find(numbers().begin(), numbers().end(), atomic_number(symbol));
  if (place == numbers().end()) {
    json.reject("found ", quoted(symbol), ", expected one of the file's species");
  }
  return static_cast<std::size_t>(place - numbers().begin());
}

std::string TermReader::label(const Species& species) const {
  std::string text;
  for (const std::size_t s : species) {
    text += text.empty() ? "" : "-";
    text += element_symbol(numbers()[s]);
  }
  return text;
}

std::vector<double> TermReader::take(const std::string& part,
                                     const std::vector<std::size_t>& shape) {
  return file_.take(prefix_ + part, shape);
}

std::vector<double> FileContent::take_weighted(const std::string& tensor,
                                               const std::vector<std::size_t>& shape) {
  const std::string draws = tensor + ".draws";
  if (columns > 1 && tensors.has(draws)) {
    std::vector<std::size_t> shape_of_draws = {columns - 1};
    shape_of_draws.insert(shape_of_draws.end(), shape.begin(), shape.end());
    used.insert(draws);
    tensors.check_doubles(draws, shape_of_draws);
  }
  return take(tensor, shape);
}

std::vector<double> TermReader::take_weighted(const std::string& part,
                                              const std::vector<std::size_t>& shape) {
  if (draws_ == 0) return file_.take_weighted(prefix_ + part, shape);
  const std::vector<double> all = take_draws(part, shape);
  const auto size = static_cast<std::ptrdiff_t>(all.size() / draws_);
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(draw_) * size;
  return {begin, begin + size};
}

std::vector<std::size_t> TermReader::of_all_draws(const std::vector<std::size_t>& shape) const {
  std::vector<std::size_t> of_all = {draws_};
  of_all.insert(of_all.end(), shape.begin(), shape.end());
  return of_all;
}

std::vector<double> TermReader::take_draws(const std::string& part,
                                           const std::vector<std::size_t>& shape) {
  return take(part, of_all_draws(shape));
}

std::vector<float> TermReader::take_single_draws(const std::string& part,
                                                 const std::vector<std::size_t>& shape) {
  return file_.take_single(prefix_ + part, of_all_draws(shape));
}

}  // namespace forcemap
