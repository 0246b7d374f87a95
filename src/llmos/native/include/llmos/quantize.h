// Activations in the format that a weight format is multiplied with. A tile is one row.
#pragma once
#include "llmos/call.h"

namespace llmos {

constexpr int kGroup = 32;

// One group of activations: x[i] = scale * q[i]; sum of q for the weights' offset of 128. Unused places are 0.
struct I8Group {
  float scale;
  int32_t sum;
  int8_t q[kGroup];
};
static_assert(sizeof(I8Group) == 40, "compiler/passes/plan_memory.py counts on it");

// Rows of K floats, `ldx` floats apart -> rows of bfloat16 pairs, `row_bytes` apart, an odd K padded with zero.
template <int K>
void QuantBf16(Team& team, const float* x, int ldx, uint16_t* y, size_t row_bytes, int rows) {
  team.RunTiles(rows, [&](int row) {
    const float* in = x + (size_t)row * ldx;
    uint16_t* out = (uint16_t*)((uint8_t*)y + row * row_bytes);
    for (int k = 0; k < K; ++k) out[k] = ToBf16(in[k]);
    if (K % 2) out[K] = 0;
  });
}

// |q| <= 127: scale is the largest magnitude of the group over 127; nearest, ties to even. A group with an infinity or NaN
// has a scale that is none of the finite numbers, so that it shows in every sum.
template <int K>
void QuantI8(Team& team, const float* x, int ldx, I8Group* y, size_t row_bytes, int rows) {
  team.RunTiles(rows, [&](int row) {
    const float* in = x + (size_t)row * ldx;
    I8Group* out = (I8Group*)((uint8_t*)y + row * row_bytes);
    for (int g = 0; g < (K + kGroup - 1) / kGroup; ++g) {
      const int n = K - g * kGroup < kGroup ? K - g * kGroup : kGroup;
      const F16 a = LoadPart(in + g * kGroup, n), b = n > kLanes ? LoadPart(in + g * kGroup + kLanes, n - kLanes) : Set(0);
      const float largest = LargestMagnitude(LargerMagnitude(a, b));
      const F16 inverse = Set(largest > 0 ? 127.0f / largest : 0.0f), magic = Set(12582912.0f);
      const I16 qa = (I16)(a * inverse + magic) << 24 >> 24, qb = (I16)(b * inverse + magic) << 24 >> 24;
      int32_t sum = 0;
      for (int i = 0; i < kLanes; ++i) {
        out[g].q[i] = (int8_t)qa[i];
        out[g].q[i + kLanes] = (int8_t)qb[i];
        sum += qa[i] + qb[i];
      }
      out[g].scale = largest / 127.0f;
      out[g].sum = sum;
    }
  });
}

}  // namespace llmos
