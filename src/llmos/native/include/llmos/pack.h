// Weights into the layouts that linear.h reads (docs/step_abi.md, Numbers). `weights/pack.py` is the definition: equal bytes.
//
// It runs once, when a model is loaded, over memory that was just read: a block of 16 rows is written in order while 16 rows
// are read side by side.
#pragma once
#include "llmos/groups.h"

namespace llmos {

// A matrix as it lies in memory: float32 (4 bytes), bfloat16 or float16 (2 bytes), rows one after another, not aligned.
template <LlmosFormat kStored>
struct Stored {
  static constexpr int64_t kBytes = kStored == LLMOS_FLOAT32 ? 4 : 2;
  const uint8_t* w;
  int64_t rows, columns;

  LLMOS_MEMBER uint16_t Bits(int64_t row, int64_t k) const {
    uint16_t h;
    memcpy(&h, w + (row * columns + k) * kBytes, 2);
    return h;
  }
  // Zero beyond the last row.
  LLMOS_MEMBER float operator()(int64_t row, int64_t k) const {
    if (row >= rows) return 0;
    if (kStored == LLMOS_BF16) return FromBf16(Bits(row, k));
    if (kStored == LLMOS_FLOAT16) return FromHalf(Bits(row, k));
    float x;
    memcpy(&x, w + (row * columns + k) * kBytes, 4);
    return x;
  }
  LLMOS_MEMBER uint16_t Bf16(int64_t row, int64_t k) const {
    if (kStored == LLMOS_BF16) return row < rows ? Bits(row, k) : (uint16_t)0;
    return ToBf16((*this)(row, k));
  }
  LLMOS_MEMBER uint16_t Half(int64_t row, int64_t k) const {
    if (kStored == LLMOS_FLOAT16) return row < rows ? Bits(row, k) : (uint16_t)0;
    return ToHalf((*this)(row, k));
  }
};

template <class Matrix>
static inline int32_t PackF32(const Matrix& w, uint8_t* out) {
  for (int64_t block = 0; block < w.rows; block += kLanes)
    for (int64_t k = 0; k < w.columns; ++k, out += 64)
      for (int lane = 0; lane < kLanes; ++lane) {
        const float x = w(block + lane, k);
        memcpy(out + 4 * lane, &x, 4);
      }
  return LLMOS_OK;
}

// Finite numbers that float16 does not reach are refused; NaN and infinities stay.
template <class Matrix>
static inline int32_t PackF16(const Matrix& w, uint8_t* out) {
  bool kept = true;
  for (int64_t block = 0; block < w.rows; block += kLanes)
    for (int64_t k = 0; k < w.columns; ++k, out += 32)
      for (int lane = 0; lane < kLanes; ++lane) {
        const uint16_t half = w.Half(block + lane, k);
        if ((half & 0x7fff) == 0x7c00) kept &= __builtin_isinf(w(block + lane, k));
        memcpy(out + 2 * lane, &half, 2);
      }
  return kept ? LLMOS_OK : LLMOS_BAD_NUMBER;
}

template <class Matrix>
static inline int32_t PackBf16(const Matrix& w, uint8_t* out) {
  for (int64_t block = 0; block < w.rows; block += kLanes)
    for (int64_t k = 0; k < w.columns; k += 2, out += 64)
      for (int lane = 0; lane < kLanes; ++lane) {
        const uint16_t pair[2] = {w.Bf16(block + lane, k), k + 1 < w.columns ? w.Bf16(block + lane, k + 1) : (uint16_t)0};
        memcpy(out + 4 * lane, pair, 4);
      }
  return LLMOS_OK;
}

// One row's group at `out` (its lane within the block's group). False where a number is not finite or beyond every scale.
LLMOS_INLINE bool PackInt8Row(const float* x, uint8_t* out, uint8_t* scale_out) {
  const F16 a = Load(x), b = Load(x + kLanes);
  const float largest = LargestMagnitude(LargerMagnitude(a, b));
  if (!(largest <= 127 * kHalfMax)) return false;
  const uint16_t scale = HalfAbove(largest / 127.0f);
  memcpy(scale_out, &scale, 2);
  const float step = FromHalf(scale);
  uint8_t codes[kGroup];
  for (int half = 0; half < 2; ++half) {
    const F16 q = RoundedIn(step > 0 ? (half ? b : a) / Set(step) : Set(0), -127, 127);
    const I16 code = __builtin_convertvector(q, I16) + 128;
    for (int i = 0; i < kLanes; ++i) codes[half * kLanes + i] = (uint8_t)code[i];
  }
  for (int quad = 0; quad < kGroup / 4; ++quad) memcpy(out + 64 * quad, codes + 4 * quad, 4);
  return true;
}

template <class Matrix>
static inline int32_t PackI8(const Matrix& w, uint8_t* out) {
  bool stored = true;
  for (int64_t block = 0; block < w.rows; block += kLanes)
    for (int64_t start = 0; start < w.columns; start += kGroup, out += 16 * kGroup + 32)
      for (int lane = 0; lane < kLanes; ++lane) {
        float x[kGroup];
        for (int k = 0; k < kGroup; ++k) x[k] = start + k < w.columns ? w(block + lane, start + k) : 0.0f;
        stored &= PackInt8Row(x, out + 4 * lane, out + 16 * kGroup + 2 * lane);
      }
  return stored ? LLMOS_OK : LLMOS_BAD_NUMBER;
}

// Four-bit codes of one group: column k of lane r is code(r, k).
template <class F>
LLMOS_INLINE void PutNibbles(uint8_t* out, F code) {
  for (int k = 0; k < kGroup / 2; ++k)
    for (int lane = 0; lane < kLanes; ++lane)
      out[k / 4 * 64 + 4 * lane + k % 4] = (uint8_t)(code(lane, k) | code(lane, k + kGroup / 2) << 4);
}

template <bool kMinimum, class Matrix>
static inline int32_t PackNibbles(const Matrix& w, uint8_t* out) {
  constexpr int kCodes = 16 * kGroup / 2, kZero = kMinimum ? 0 : 8;
  const F16 most = Set(kMinimum ? kHalfMax : 8 * kHalfMax);
  for (int64_t block = 0; block < w.rows; block += kLanes)
    for (int64_t start = 0; start < w.columns; start += kGroup, out += kCodes + (kMinimum ? 64 : 32)) {
      const int n = w.columns - start < kGroup ? (int)(w.columns - start) : kGroup;
      F16 x[kGroup], largest = Set(0);
      for (int lane = 0; lane < kLanes; ++lane)
        for (int k = 0; k < n; ++k) x[k][lane] = w(block + lane, start + k);
      for (int k = 0; k < n; ++k) largest = LargerMagnitude(x[k], largest);
      for (int lane = 0; lane < kLanes; ++lane)
        if (!(largest[lane] <= most[lane])) return LLMOS_BAD_NUMBER;
      Choice choice = {};
      kMinimum ? ChooseUint4(x, n, choice) : ChooseInt4(x, n, choice);
      PutNibbles(out, [&](int lane, int k) { return k < n ? (int)choice.codes[k][lane] : kZero; });
      memcpy(out + kCodes, choice.scales, 32);
      if (kMinimum) memcpy(out + kCodes + 32, choice.minimums, 32);
    }
  return LLMOS_OK;
}

template <class Matrix>
static inline int32_t PackRows(int32_t format, const Matrix& w, uint8_t* out) {
  if (format == LLMOS_FLOAT32) return PackF32(w, out);
  if (format == LLMOS_FLOAT16) return PackF16(w, out);
  if (format == LLMOS_BF16) return PackBf16(w, out);
  if (format == LLMOS_INT8) return PackI8(w, out);
  if (format == LLMOS_INT4) return PackNibbles<false>(w, out);
  if (format == LLMOS_UINT4) return PackNibbles<true>(w, out);
  return LLMOS_UNSUPPORTED;
}

// The 16 numbers of a block's group, of [rows][groups] halves.
LLMOS_INLINE void PutHalves(const uint8_t* halves, int64_t rows, int64_t groups, int64_t block, int64_t group, uint8_t* out) {
  memset(out, 0, 32);
  for (int lane = 0; lane < kLanes && block + lane < rows; ++lane) memcpy(out + 2 * lane, halves + 2 * ((block + lane) * groups + group), 2);
}

static inline void PackGiven(int32_t format, int64_t rows, int64_t columns, const uint8_t* codes, const uint8_t* scales,
                             const uint8_t* minimums, uint8_t* out) {
  const int64_t groups = (columns + kGroup - 1) / kGroup;
  const int zero = format == LLMOS_INT4 ? 8 : 0;
  for (int64_t block = 0; block < rows; block += kLanes)
    for (int64_t group = 0; group < groups; ++group) {
      const auto code = [&](int lane, int k) {
        const int64_t row = block + lane, column = group * kGroup + k;
        return row < rows && column < columns ? (int)codes[row * columns + column] : zero;
      };
      if (format == LLMOS_INT8) {
        for (int k = 0; k < kGroup; ++k)
          for (int lane = 0; lane < kLanes; ++lane) out[k / 4 * 64 + 4 * lane + k % 4] = (uint8_t)(code(lane, k) ^ 0x80);
        out += 16 * kGroup;
      } else {
        PutNibbles(out, code);
        out += 16 * kGroup / 2;
      }
      PutHalves(scales, rows, groups, block, group, out);
      out += 32;
      if (format != LLMOS_UINT4) continue;
      PutHalves(minimums, rows, groups, block, group, out);
      out += 32;
    }
}

}  // namespace llmos

LLMOS_EXPORT int32_t llmos_pack(int32_t format, int32_t stored, int64_t rows, int64_t columns, const void* w, void* out) {
  using namespace llmos;
  if (rows < 0 || columns <= 0 || !w || !out) return LLMOS_BAD_SHAPE;
  if (stored == LLMOS_FLOAT32) return PackRows(format, Stored<LLMOS_FLOAT32>{(const uint8_t*)w, rows, columns}, (uint8_t*)out);
  if (stored == LLMOS_FLOAT16) return PackRows(format, Stored<LLMOS_FLOAT16>{(const uint8_t*)w, rows, columns}, (uint8_t*)out);
  if (stored == LLMOS_BF16) return PackRows(format, Stored<LLMOS_BF16>{(const uint8_t*)w, rows, columns}, (uint8_t*)out);
  return LLMOS_UNSUPPORTED;
}

LLMOS_EXPORT int32_t llmos_pack_groups(int32_t format, int64_t rows, int64_t columns, const void* codes, const void* scales,
                                       const void* minimums, void* out) {
  if (rows < 0 || columns <= 0 || !codes || !scales || !out || !minimums != (format != LLMOS_UINT4)) return LLMOS_BAD_SHAPE;
  if (format != LLMOS_INT8 && format != LLMOS_INT4 && format != LLMOS_UINT4) return LLMOS_UNSUPPORTED;
  llmos::PackGiven(format, rows, columns, (const uint8_t*)codes, (const uint8_t*)scales, (const uint8_t*)minimums, (uint8_t*)out);
  return LLMOS_OK;
}
