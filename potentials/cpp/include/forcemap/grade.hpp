// The extrapolation grade of an atom: how far its neighbourhood is from those of the training
// frames. 1 is the 99 % quantile of the training atoms.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace forcemap {

struct SiteView;
class Workspace;

constexpr std::size_t max_moment_radial = 16;

/// Invariant moments of the neighbours' density, as features of a site. Radial functions
/// f_n(x) = (1 - x)^2 T_n(2 x - 1), T_n of Chebyshev, of x = r / cutoff and a channel a = (species
/// of the neighbour, n): s_a = sum_j f_a(r_j / cutoff). Then of angles, if there are any, with
/// channels and functions of their own and y = r / angular_cutoff, for l = 1, 2 and a <= b:
/// p_l,ab = sum_jk f_a(y_j^2) f_b(y_k^2) (y_j y_k)^l P_l(cos theta_jk), j = k included. First all
/// s_a, then p_1,ab, then p_2,ab.
struct Moments {
  double cutoff;       // Å
  std::size_t radial;  // functions
  double angular_cutoff = 0.0;
  std::size_t angular_radial = 0;  // 0: no angles

  std::size_t count(std::size_t species) const {
    const std::size_t channels = species * angular_radial;
    return species * radial + channels * (channels + 1);
  }
  /// Those of prepared sites, each `features[n]` (count(species)).
  void evaluate(const SiteView* const* sites, std::size_t count, std::size_t species,
                double* const* features, Workspace& space) const;
};

/// What atoms are graded by.
struct Grade {
  /// Of one species; without features nothing but distances grades its atoms.
  struct Center {
    std::size_t features = 0;
    std::vector<double> mean;    // (features up to a multiple of 8) of the training atoms
    std::vector<double> blocks;  // of the whitening, as the loop takes them
    Center() = default;
    /// `whitening` (features, features), lower triangular.
    Center(std::vector<double> mean, const std::vector<double>& whitening);
  };
  std::vector<Center> centers;     // (species)
  std::vector<double> shortest;    // (species, species) the data's shortest distances, Å; 0: none
  std::optional<Moments> moments;  // the features, if they are not those of the terms

  /// The largest of `shortest`.
  double longest_shortest = 0.0;

  /// Of a prepared site: |whitening (features - mean)|; for a neighbour at r, nearer than the
  /// data's shortest distance s, at least s / r. `features` are zero up to a multiple of 8 and are
  /// spent.
  double of(const SiteView& site, double* features) const;
  /// The largest s / r of a prepared site alone, for one that has a neighbour nearer than the
  /// longest of them; 0 if none is too near.
  double of_near(const SiteView& site) const;

  static constexpr std::size_t most_features = 4096;
};

}  // namespace forcemap
