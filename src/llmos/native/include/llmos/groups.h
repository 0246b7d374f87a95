// Codes, scales and minimums for groups of weights: `weights/quantize.py` is the definition, and says why; equal bytes.
//
// A lane is a row, so that sums run over the columns of a group one after another. Every product and sum rounds by itself
// (-ffp-contract=off), as in numpy.
#pragma once
#include "llmos/quantize.h"

namespace llmos {

constexpr float kInt4Levels[] = {8.0f, 7.75f, 8.25f, 8.5f};
constexpr float kUint4Levels[] = {15.0f, 14.5f, 14.0f, 13.5f, 13.0f, 15.5f, 16.0f};
constexpr float kTiny = 0x1p-24f, kHalfMax = 65504.0f;

// The smallest float16 that is at least x, 0 <= x <= 65504.
LLMOS_INLINE uint16_t HalfAbove(float x) {
  const uint16_t nearest = ToHalf(x);
  return (uint16_t)(nearest + (FromHalf(nearest) < x));
}

// Clipped, then the nearest integer, ties to even.
LLMOS_INLINE F16 RoundedIn(F16 x, float low, float high) {
  x = x < Set(low) ? Set(low) : (x > Set(high) ? Set(high) : x);
  return (x + Set(12582912.0f)) - Set(12582912.0f);
}
LLMOS_INLINE F16 Ratio(F16 a, F16 b) { return b > Set(0) ? a / b : Set(0); }
LLMOS_INLINE F16 Inverse(F16 step) { return step != Set(0) ? Set(1) / step : Set(0); }

// The nearest finite float16 of each lane, stored and given back.
LLMOS_INLINE F16 RoundHalf(F16 x, uint16_t* stored) {
  StoreHalf(stored, x < Set(-kHalfMax) ? Set(-kHalfMax) : (x > Set(kHalfMax) ? Set(kHalfMax) : x));
  return LoadHalf(stored);
}

// What was chosen for one group of 16 rows: codes as floats.
struct Choice {
  F16 codes[kGroup];
  uint16_t scales[kLanes], minimums[kLanes];
};

// Takes over the lanes of `offer` whose squared error is smaller.
LLMOS_INLINE void KeepBetter(const Choice& offer, F16 offered, int n, Choice& best, F16& error) {
  const I16 better = offered < error;
  error = better ? offered : error;
  for (int k = 0; k < n; ++k) best.codes[k] = better ? offer.codes[k] : best.codes[k];
  for (int lane = 0; lane < kLanes; ++lane)
    if (better[lane]) {
      best.scales[lane] = offer.scales[lane];
      best.minimums[lane] = offer.minimums[lane];
    }
}

// x: n columns of 16 rows, finite. An error counts by the square of its value.
static inline void ChooseInt4(const F16* x, int n, Choice& best) {
  F16 high = x[0], low = x[0];
  for (int k = 1; k < n; ++k) {
    high = x[k] > high ? x[k] : high;
    low = x[k] < low ? x[k] : low;
  }
  F16 extreme = high >= -low ? high : low, error = Set(__builtin_inff());
  extreme = Abs(extreme) < Set(kTiny) ? Set(1) : extreme;
  Choice offer = {};
  for (const float level : kInt4Levels) {
    const F16 inverse = Set(-level) / extreme;
    F16 sum_xc = Set(0), sum_cc = Set(0), squares = Set(0);
    for (int k = 0; k < n; ++k) {
      const F16 code = RoundedIn(x[k] * inverse, -8, 7);
      sum_xc = sum_xc + x[k] * code * (x[k] * x[k]);
      sum_cc = sum_cc + code * code * (x[k] * x[k]);
    }
    const F16 step = RoundHalf(Ratio(sum_xc, sum_cc), offer.scales), by = Inverse(step);
    for (int k = 0; k < n; ++k) {
      offer.codes[k] = RoundedIn(x[k] * by, -8, 7);
      const F16 off = x[k] - offer.codes[k] * step;
      squares = squares + off * off * (x[k] * x[k]);
    }
    KeepBetter(offer, squares, n, best, error);
  }
  for (int k = 0; k < n; ++k) best.codes[k] = best.codes[k] + Set(8);
}

// As ChooseInt4.
static inline void ChooseUint4(const F16* x, int n, Choice& best) {
  F16 high = x[0], low = x[0], sum_x = Set(0), error = Set(__builtin_inff());
  for (int k = 1; k < n; ++k) {
    high = x[k] > high ? x[k] : high;
    low = x[k] < low ? x[k] : low;
  }
  for (int k = 0; k < n; ++k) sum_x = sum_x + (x[k] - low);
  F16 span = high - low;
  span = span < Set(kTiny) ? Set(__builtin_inff()) : span;
  Choice offer;
  for (const float level : kUint4Levels) {
    const F16 inverse = Set(level) / span, count = Set((float)n);
    F16 sum_c = Set(0), sum_cc = Set(0), sum_xc = Set(0), squares = Set(0);
    for (int k = 0; k < n; ++k) {
      const F16 above = x[k] - low, code = RoundedIn(above * inverse, 0, 15);
      sum_c = sum_c + code;
      sum_cc = sum_cc + code * code;
      sum_xc = sum_xc + above * code;
    }
    const F16 spread = count * sum_cc - sum_c * sum_c;
    const F16 step = RoundHalf(Ratio(count * sum_xc - sum_x * sum_c, spread), offer.scales), by = Inverse(step);
    const F16 start = RoundHalf(low + Ratio(sum_cc * sum_x - sum_c * sum_xc, spread), offer.minimums);
    for (int k = 0; k < n; ++k) {
      offer.codes[k] = RoundedIn((x[k] - start) * by, 0, 15);
      const F16 off = x[k] - (offer.codes[k] * step + start);
      squares = squares + off * off;
    }
    KeepBetter(offer, squares, n, best, error);
  }
}

}  // namespace llmos
