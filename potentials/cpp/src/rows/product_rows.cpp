#include <algorithm>
#include <cmath>
#include <utility>

#include "clones.hpp"
#include "forcemap/fail.hpp"
#include "forcemap/sphere_products.hpp"
#include "spectrum_rows.hpp"

namespace forcemap {

namespace {

FORCEMAP_CLONES double dot(const double* __restrict a, const double* __restrict b,
                           std::size_t count) {
  double sum = 0.0;
  for (std::size_t n = 0; n < count; ++n) sum += a[n] * b[n];
  return sum;
}

FORCEMAP_CLONES void add_to(double factor, const double* __restrict x, double* __restrict y,
                            std::size_t count) {
  for (std::size_t n = 0; n < count; ++n) y[n] += factor * x[n];
}

FORCEMAP_CLONES void multiply(const double* __restrict x, double* __restrict y, std::size_t count) {
  for (std::size_t n = 0; n < count; ++n) y[n] *= x[n];
}

// Rows of products from those of their coefficients: the slopes at the site times them.
class ProductRows final : public SpectrumRows {
 public:
  ProductRows(const SphereProducts& products, const SoapView& view)
      : SpectrumRows(view, products.dimension(), false),
        products_(products),
        harmonics_((view.l_max + 1) * (view.l_max + 1)),
        n_max_(view.n_max),
        slopes_(products.dimension() * harmonics_ * n_max_),
        moved_(harmonics_ * n_max_) {}

 protected:
  void begin(const SoapWork& work) override { products_.slopes(work, slopes_.data()); }

  void finish(const SoapWork&, const double* channels, std::size_t stride, std::size_t count,
              double* rows) override {
    for (std::size_t n = 0; n < count; ++n, rows += products_.dimension()) {
      for (std::size_t lm = 0; lm < harmonics_; ++lm)
        std::copy_n(channels + (n * harmonics_ + lm) * stride, n_max_, &moved_[lm * n_max_]);
      for (std::size_t t = 0; t < products_.dimension(); ++t)
        rows[t] = dot(&slopes_[t * moved_.size()], moved_.data(), moved_.size());
    }
  }

 private:
  const SphereProducts& products_;
  std::size_t harmonics_, n_max_;
  std::vector<double> slopes_, moved_;
};

}  // namespace

// Of one site: coefficients divided by `root`, (harmonics, n_max), and fields at the points.
struct SphereProducts::Site {
  double root = 1.0;
  std::vector<double> c, field;
};

SphereProducts::SphereProducts(const SoapExpansion& expansion, double offset,
                               std::vector<FieldProduct> products, std::vector<double> scales)
    : view_(expansion.view()),
      offset_(offset),
      products_(std::move(products)),
      scales_(std::move(scales)),
      points_(view_, degree_of(products_, view_.n_max)) {
  check_products(products_, view_.n_max, view_.l_max);
  if (!(offset > 0.0)) fail("offset ", offset, " is not above 0");
  if (scales_.size() != products_.size())
    fail("expected ", products_.size(), " scales, found ", scales_.size());
  if (view_.channels != 1 || view_.radial_stride == 0)
    fail("products of fields need an expansion with radial functions for each species");
}

void SphereProducts::scaled(const SoapWork& work, Site& site) const {
  const std::size_t harmonics = (view_.l_max + 1) * (view_.l_max + 1);
  site.c.resize(harmonics * view_.n_max);
  for (std::size_t lm = 0; lm < harmonics; ++lm)
    std::copy_n(work.c + lm * view_.width, view_.n_max, &site.c[lm * view_.n_max]);
  site.root = std::sqrt(offset_ + dot(site.c.data(), site.c.data(), site.c.size()));
  for (double& c : site.c) c /= site.root;
}

void SphereProducts::fields(Site& site) const {
  site.field.assign(view_.n_max * (view_.l_max + 1) * points_.padded, 0.0);
  for (std::size_t l = 0; l <= view_.l_max; ++l)
    for (std::size_t k = 0; k < view_.n_max; ++k)
      for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm)
        add_to(site.c[lm * view_.n_max + k], &points_.harmonics[lm * points_.padded],
               &site.field[(l * view_.n_max + k) * points_.padded], points_.padded);
}

void SphereProducts::values(const SoapWork& work, double* out) const {
  Site site;
  scaled(work, site);
  fields(site);
  std::vector<double> product(points_.padded);
  for (std::size_t t = 0; t < products_.size(); ++t) {
    product = points_.weights;
    for (std::size_t n = 0; n < factors_of(products_[t]); ++n)
      multiply(&site.field[static_cast<std::size_t>(products_[t][n]) * points_.padded],
               product.data(), points_.padded);
    double sum = 0.0;
    for (const double at : product) sum += at;
    out[t] = scales_[t] * sum;
  }
}

void SphereProducts::slopes(const SoapWork& work, double* out) const {
  Site site;
  scaled(work, site);
  fields(site);
  const std::size_t size = site.c.size();
  std::vector<double> others(points_.padded);
  std::fill_n(out, products_.size() * size, 0.0);
  for (std::size_t t = 0; t < products_.size(); ++t, out += size) {
    const FieldProduct& product = products_[t];
    const std::size_t count = factors_of(product);
    for (std::size_t n = 0; n < count; ++n) {
      others = points_.weights;
      for (std::size_t m = 0; m < count; ++m)
        if (m != n)
          multiply(&site.field[static_cast<std::size_t>(product[m]) * points_.padded],
                   others.data(), points_.padded);
      const std::size_t l = static_cast<std::size_t>(product[n]) / view_.n_max;
      const std::size_t k = static_cast<std::size_t>(product[n]) % view_.n_max;
      for (std::size_t lm = l * l; lm < (l + 1) * (l + 1); ++lm)
        out[lm * view_.n_max + k] +=
            dot(others.data(), &points_.harmonics[lm * points_.padded], points_.padded);
    }
    const double along = dot(out, site.c.data(), size);
    for (std::size_t n = 0; n < size; ++n)
      out[n] = scales_[t] * (out[n] - along * site.c[n]) / site.root;
  }
}

std::unique_ptr<SpectrumRows> SphereProducts::rows() const {
  return std::make_unique<ProductRows>(*this, view_);
}

}  // namespace forcemap
