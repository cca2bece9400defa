// The boundary between grades and their loops (grade_loops.ipp), as in site_kernels.hpp.
#pragma once

#include <cstddef>

namespace forcemap {

struct SiteView;

/// Sums over a channel's neighbours of g x, g y, g z; g xy, g yz, g xz, g (xx - yy),
/// g (zz - (xx + yy) / 2).
constexpr std::size_t kMomentParts = 8;

/// Radial functions that the loops have for so many.
constexpr std::size_t moment_radial_room(std::size_t radial) {
  return radial <= 4 ? 4 : radial <= 8 ? 8 : 16;
}

/// How many numbers the sums without angles are.
constexpr std::size_t moment_radial_numbers(std::size_t species, std::size_t radial) {
  const std::size_t room = moment_radial_room(radial);
  return species == 1 && room == 4 ? 8 * room : (species * room + 7) / 8 * 8;
}

/// See Moments (grade.hpp).
struct MomentsView {
  double inverse_cutoff;
  std::size_t radial;
  double angular_cutoff, inverse_square;  // 1 over its square
  std::size_t angular_radial, species;    // angular_radial is 0 where there is no angular_cutoff
  /// Where a site's sums have those of angles.
  std::size_t angles_at;
  /// Room for the vectors to the neighbours within the angular cutoff, up to a multiple of 8 and
  /// eight more.
  double *x, *y, *z;
  int* kind;
  double* parts;  // room for the sums of angles of eight sites
  /// Of a site, at a multiple of 8: (species, moment_radial_room(radial)), for a room of 4 of
  /// powers of what fades instead of the functions, and of one species eight parts of each sum;
  /// then, at angles_at, (species, angular_radial, kMomentParts).
  double *sums, *angles;
};

/// Writes a site's sums over its neighbours.
using MomentSumsFunction = void (*)(const MomentsView& moments, const SiteView& site);

/// Features of eight sites, (features, 8), as Moments numbers them, from the sums of each.
using MomentFeaturesFunction = void (*)(const MomentsView& moments, const double* const sums[8],
                                        double* features);

/// A grade by no more than four moments of one species without angles: |sum_k columns[k] p_k -
/// shift| of the sums p of the powers (cutoff - r)^2 to (cutoff - r)^5, of which a row of it needs
/// those up to its own.
struct FewMomentsView {
  double cutoff;
  double columns[4][4];
  double shift[4];
};
/// Prepares a site as PrepareFunction does, bit by bit but for where the padding is, and writes its
/// four sums. No neighbour is beyond `cutoff`.
using PrepareFewFunction = bool (*)(SiteView& site, double cutoff, double* sums);
/// The grades of `count` sites from the sums of each, which has room for a multiple of 8, to where
/// `to` points.
using FewGradesFunction = void (*)(const FewMomentsView& moments, const double (*sums)[4],
                                   std::size_t count, double* const* to);

/// |W (x - mean)|^2 of a lower triangular W, (count, count) with a multiple of 8 as count, by
/// blocks of 8 rows: of each the columns up to its last row, 8 numbers of each. Leaves x - mean in
/// x.
using WhitenFunction = double (*)(const double* blocks, const double* mean, std::size_t count,
                                  double* x);

/// |W (x - mean)| of eight sites, with x (count, 8). Any count; x is zero up to a multiple of 4.
using WhitenEightFunction = void (*)(const double* blocks, const double* mean, std::size_t count,
                                     double* x, double* lengths);

}  // namespace forcemap
