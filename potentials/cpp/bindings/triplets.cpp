// Sums over the triplets about atoms, for Python: what many-body terms are made of.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "descriptors.hpp"
#include "forcemap/triplet_descriptors.hpp"

using forcemap::Environments;
using forcemap::KernelSettings;
using forcemap::TripletBlock;
using forcemap::TripletDescriptors;

namespace {

// The triplets that those of an environment are compared with; owns them.
struct TripletExpansion {
  KernelSettings settings;
  std::vector<std::vector<double>> images;
  std::vector<TripletBlock> blocks;
};

}  // namespace

void add_triplets(nb::module_& m) {
  nb::class_<TripletExpansion>(m, "TripletExpansion",
                               "Sums of the 3-body kernel over the triplets about an atom.")
      .def(
          "__init__",
          [](TripletExpansion* self, const KernelSettings& settings,
             const std::vector<std::tuple<int, int, int, Images>>& blocks) {
            new (self) TripletExpansion{settings, {}, {}};
            for (const auto& [center, a, b, given] : blocks) {
              check_triplets(given);
              self->images.emplace_back(given.data(), given.data() + given.size());
              self->blocks.push_back(
                  {{center, a, b},
                   {self->images.back().data(), given.shape(0), given.shape(1), 3}});
            }
          },
          nb::arg("settings"), nb::arg("blocks"),
          "blocks: (centre, a, b, images (count, images_per_point, 3)) of triplets in Å.")
      .def(
          "values",
          [](const TripletExpansion& e, const Environments& environments, int center) {
            const TripletDescriptors descriptors(e.settings, e.blocks, environments, center);
            auto out = new_array(descriptors.centers().size(), descriptors.dimension());
            double* data = out.data();
            {
              nb::gil_scoped_release release;
              descriptors.values(data);
            }
            return nb::make_tuple(index_array(descriptors.centers()), out);
          },
          nb::arg("environments"), nb::arg("center"),
          "(atoms (n), sums (n, triplets)) of the atoms of one species, block after block.")
      .def(
          "derivatives",
          [](const TripletExpansion& e, const Environments& environments, int center,
             std::size_t first, std::size_t last) {
            const TripletDescriptors descriptors(e.settings, e.blocks, environments, center);
            return derivative_rows(descriptors, first, last);
          },
          nb::arg("environments"), nb::arg("center"), nb::arg("first"), nb::arg("last"),
          "As SoapExpansion.derivatives.");
}
