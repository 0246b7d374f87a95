// Operations on rows of floats: lookup, norms, activations, sums. A tile is one row, or a piece of it; sums run over fixed lanes.
// Norms and activations leave their rows in the format of `quantize.h` that the product after them reads.
#pragma once
#include "llmos/quantize.h"

namespace llmos {

// value(i, n): lanes i .. i + n - 1 of a row of D, stored at y.
template <int D, class F>
LLMOS_INLINE void EachLanes(float* y, F value) {
  for (int i = 0; i < D; i += kLanes) {
    const int n = D - i < kLanes ? D - i : kLanes;
    StorePart(y + i, value(i, n), n);
  }
}

// x / rms(x) * scale for one row, given to put(value).
template <int D, class F>
LLMOS_INLINE void RmsValues(const float* x, const float* scale, float eps, F put) {
  F16 squares = Set(0);
  for (int i = 0; i < D; i += kLanes) {
    const F16 v = LoadPart(x + i, D - i);
    squares = Fma(v, v, squares);
  }
  const F16 inverse = Set(1.0f / __builtin_sqrtf(Sum(squares) / D + eps));
  put([&](int i, int n) { return LoadPart(x + i, n) * inverse * LoadPart(scale + i, n); });
}

// (x - mean) / deviation * scale, plus bias where there is one, for one row, given to put(value).
template <int D, bool kBias, class F>
LLMOS_INLINE void LayerValues(const float* x, const float* scale, const float* bias, float eps, F put) {
  F16 sum = Set(0), squares = Set(0);
  for (int i = 0; i < D; i += kLanes) sum = sum + LoadPart(x + i, D - i);
  const float mean = Sum(sum) / D;
  for (int i = 0; i < D; i += kLanes) {
    F16 v = LoadPart(x + i, D - i) - Set(mean);
    for (int lane = D - i; lane < kLanes; ++lane) v[lane] = 0;
    squares = Fma(v, v, squares);
  }
  const F16 inverse = Set(1.0f / __builtin_sqrtf(Sum(squares) / D + eps));
  put([&](int i, int n) {
    const F16 v = (LoadPart(x + i, n) - Set(mean)) * inverse;
    return kBias ? Fma(v, LoadPart(scale + i, n), LoadPart(bias + i, n)) : v * LoadPart(scale + i, n);
  });
}

// y may be x.
template <int D>
LLMOS_INLINE void RmsRow(const float* x, const float* scale, float eps, float* y) {
  RmsValues<D>(x, scale, eps, [&](auto value) { EachLanes<D>(y, value); });
}
template <int D, bool kBias>
LLMOS_INLINE void LayerRow(const float* x, const float* scale, const float* bias, float eps, float* y) {
  LayerValues<D, kBias>(x, scale, bias, eps, [&](auto value) { EachLanes<D>(y, value); });
}

template <int D, class Rows>
void RmsNorm(Team& team, const float* x, int ldx, const float* scale, float eps, const Rows y, int rows) {
  team.RunTiles(rows, [&](int row) {
    RmsValues<D>(x + (size_t)row * ldx, scale, eps, [&](auto value) { y.template Put<D>(row, 0, D, value); });
  });
}

template <int D, bool kBias, class Rows>
void LayerNorm(Team& team, const float* x, int ldx, const float* scale, const float* bias, float eps, const Rows y, int rows) {
  team.RunTiles(rows, [&](int row) {
    LayerValues<D, kBias>(x + (size_t)row * ldx, scale, bias, eps, [&](auto value) { y.template Put<D>(row, 0, D, value); });
  });
}

// Norms in place of H pieces of d floats, side by side in each row; the scale of piece h starts at h * kScaleStep.
template <bool kRms, int H, int d, int kScaleStep>
void HeadNorms(Team& team, float* x, int ldx, const float* scale, float eps, int rows) {
  team.RunTiles(rows, [&](int row) {
    for (int h = 0; h < H; ++h) {
      float* piece = x + (size_t)row * ldx + h * d;
      kRms ? RmsRow<d>(piece, scale + h * kScaleStep, eps, piece) : LayerRow<d, false>(piece, scale + h * kScaleStep, nullptr, eps, piece);
    }
  });
}

template <int D>
void GatherRows(Team& team, const float* x, int ldx, const int32_t* which, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) { memcpy(y + (size_t)row * ldy, x + (size_t)which[row] * ldx, D * sizeof(float)); });
}

// Rows of a plain float table (learned positions).
template <int D>
void PlainRows(Team& team, const float* table, const int32_t* ids, float* y, int ldy, int rows) {
  GatherRows<D>(team, table, D, ids, y, ldy, rows);
}

// Row `id` of a packed (V, D) table: the layouts of linear.h read along one lane.
template <int D, Format kFormat>
LLMOS_INLINE float PackedValue(const uint8_t* table, int id, int k) {
  const size_t block = (size_t)id / kLanes, lane = (size_t)id % kLanes;
  if (kFormat == Format::kF32) return ((const float*)table)[(block * D + k) * kLanes + lane];
  if (kFormat == Format::kF16) return FromHalf(((const uint16_t*)table)[(block * D + k) * kLanes + lane]);
  if (kFormat == Format::kBf16) return FromBf16(((const uint16_t*)table)[((block * ((D + 1) / 2) + k / 2) * kLanes + lane) * 2 + k % 2]);
  constexpr size_t kCodes = kFormat == Format::kI8 ? 512 : 256, kGroup = kCodes + (kFormat == Format::kU4 ? 64 : 32);
  const uint8_t* group = table + (block * ((D + 31) / 32) + k / 32) * kGroup;
  const int at = (k % 32) / 4, code = group[(kFormat == Format::kI8 ? at : at % 4) * 64 + lane * 4 + k % 4];
  const uint16_t* halves = (const uint16_t*)(group + kCodes) + lane;
  if (kFormat == Format::kI8) return (float)(code - 128) * FromHalf(*halves);
  const int nibble = at < 4 ? code & 15 : code >> 4;
  if (kFormat == Format::kI4) return (float)(nibble - 8) * FromHalf(*halves);
  return (float)nibble * FromHalf(*halves) + FromHalf(halves[kLanes]);
}

template <int V, int D, Format kFormat>
void Embed(Team& team, const uint8_t* table, const int32_t* ids, float* y, int ldy, int rows, float scale) {
  team.RunTiles(rows, [&](int row) {
    float* out = y + (size_t)row * ldy;
    for (int k = 0; k < D; ++k) out[k] = PackedValue<D, kFormat>(table, ids[row], k) * scale;
  });
}

enum class Act { kSilu, kGelu, kGeluTanh, kRelu };

template <Act kAct>
LLMOS_INLINE F16 Apply(F16 x) {
  if (kAct == Act::kSilu) return x / (Set(1) + Exp(-x));
  if (kAct == Act::kGelu) return Set(0.5f) * x * (Set(1) + Erf(x * Set(0.70710678118654752f)));
  if (kAct == Act::kGeluTanh) return Set(0.5f) * x * (Set(1) + Tanh(Set(0.79788456080286536f) * Fma(Set(0.044715f) * x * x, x, x)));
  return x > Set(0) ? x : (x == x ? Set(0) : x);
}

template <Act kAct, int F, class Rows>
void Activate(Team& team, const float* x, int ldx, const Rows y, int rows) {
  EachPiece<F>(team, y, rows, [&](int row, int i, int n) { return Apply<kAct>(LoadPart(x + (size_t)row * ldx + i, n)); });
}

// act(gate) * up, a row of x being [gate | up], F floats each.
template <Act kAct, int F, class Rows>
void GatedActivate(Team& team, const float* x, int ldx, const Rows y, int rows) {
  EachPiece<F>(team, y, rows, [&](int row, int i, int n) {
    const float* in = x + (size_t)row * ldx + i;
    return Apply<kAct>(LoadPart(in, n)) * LoadPart(in + F, n);
  });
}

template <int D>
void Add(Team& team, const float* a, int lda, const float* b, int ldb, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) {
    EachLanes<D>(y + (size_t)row * ldy, [&](int i, int n) {
      return LoadPart(a + (size_t)row * lda + i, n) + LoadPart(b + (size_t)row * ldb + i, n);
    });
  });
}

// y = x plus one and the same row.
template <int D>
void AddRow(Team& team, const float* x, int ldx, const float* added, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) {
    EachLanes<D>(y + (size_t)row * ldy, [&](int i, int n) { return LoadPart(x + (size_t)row * ldx + i, n) + LoadPart(added + i, n); });
  });
}

// The rows that the output head reads, for a caller who wants them.
template <int D>
void GiveHidden(Team& team, const Call& c, const float* x, int ldx) {
  if (!c.step.hidden) return;
  team.RunTiles(c.n_outputs, [&](int row) { memcpy(c.step.hidden + (size_t)row * D, x + (size_t)row * ldx, D * sizeof(float)); });
}

template <int D>
void Mul(Team& team, const float* a, int lda, const float* b, int ldb, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) {
    EachLanes<D>(y + (size_t)row * ldy, [&](int i, int n) {
      return LoadPart(a + (size_t)row * lda + i, n) * LoadPart(b + (size_t)row * ldb + i, n);
    });
  });
}

template <int D>
void Softcap(Team& team, const float* x, int ldx, float cap, float* y, int ldy, int rows) {
  const float inverse = 1.0f / cap;
  team.RunTiles(rows, [&](int row) {
    EachLanes<D>(y + (size_t)row * ldy, [&](int i, int n) { return Set(cap) * Tanh(LoadPart(x + (size_t)row * ldx + i, n) * Set(inverse)); });
  });
}

template <int D>
void Scale(Team& team, const float* x, int ldx, float by, float* y, int ldy, int rows) {
  team.RunTiles(rows, [&](int row) {
    EachLanes<D>(y + (size_t)row * ldy, [&](int i, int n) { return LoadPart(x + (size_t)row * ldx + i, n) * Set(by); });
  });
}

}  // namespace llmos
