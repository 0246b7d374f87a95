// Weights into the layouts that linear.h reads (docs/step_abi.md, Numbers). `weights/pack.py` is the definition: equal bytes.
//
// It runs once, when a model is loaded, over memory that was just read: a block of 16 rows is written in order while 16 rows
// are read side by side.
#pragma once
#include "llmos/quantize.h"

namespace llmos {

// Element i of a row of float32 (kBf16 false) or bfloat16 numbers; rows need not be aligned.
template <bool kBf16>
LLMOS_INLINE float Element(const uint8_t* row, int64_t i) {
  if (kBf16) {
    uint16_t h;
    memcpy(&h, row + 2 * i, 2);
    return FromBf16(h);
  }
  float x;
  memcpy(&x, row + 4 * i, 4);
  return x;
}

template <bool kBf16>
LLMOS_INLINE uint16_t ElementBf16(const uint8_t* row, int64_t i) {
  if (!kBf16) return ToBf16(Element<false>(row, i));
  uint16_t h;
  memcpy(&h, row + 2 * i, 2);
  return h;
}

// The 32 numbers of a group, zero past the end of the row.
template <bool kBf16>
LLMOS_INLINE void LoadGroup(const uint8_t* row, int64_t start, int64_t columns, float* x) {
  if (start + kGroup <= columns) {
    for (int i = 0; i < kGroup; ++i) x[i] = Element<kBf16>(row, start + i);
  } else {
    for (int i = 0; i < kGroup; ++i) x[i] = start + i < columns ? Element<kBf16>(row, start + i) : 0.0f;
  }
}

// The smallest bfloat16 that is at least largest / 127, so that no code is clipped.
LLMOS_INLINE uint16_t GroupScale(float largest) {
  const float exact = largest / 127.0f;
  uint32_t bits;
  memcpy(&bits, &exact, 4);
  bits = (bits + 0xffff) >> 16;
  return (uint16_t)(bits < 0x7f7f ? bits : 0x7f7f);
}

// One row's group at `out` (its lane within the block's group). False where a number is infinite or NaN.
LLMOS_INLINE bool PackGroup(const float* x, uint8_t* out, uint8_t* scale_out) {
  const F16 a = Load(x), b = Load(x + kLanes);
  const float largest = LargestMagnitude(LargerMagnitude(a, b));
  const uint16_t scale = GroupScale(largest);
  memcpy(scale_out, &scale, 2);
  const float step = FromBf16(scale);
  const F16 magic = Set(12582912.0f), low = Set(-127), high = Set(127);
  uint8_t codes[kGroup];
  for (int half = 0; half < 2; ++half) {
    const F16 v = half ? b : a;
    F16 q = step > 0 ? v / Set(step) : Set(0);
    q = q < low ? low : (q > high ? high : q);
    const I16 code = (I16)(q + magic) - 0x4b400000 + 128;
    for (int i = 0; i < kLanes; ++i) codes[half * kLanes + i] = (uint8_t)code[i];
  }
  for (int quad = 0; quad < kGroup / 4; ++quad) memcpy(out + 64 * quad, codes + 4 * quad, 4);
  return largest - largest == 0;
}

template <bool kBf16>
static inline bool PackI8(int64_t rows, int64_t columns, const uint8_t* w, uint8_t* out) {
  const int64_t row_bytes = columns * (kBf16 ? 2 : 4), groups = (columns + kGroup - 1) / kGroup;
  bool finite = true;
  float x[kGroup];
  for (int64_t block = 0; block < rows; block += kLanes)
    for (int64_t g = 0; g < groups; ++g, out += 16 * kGroup + 32)
      for (int lane = 0; lane < kLanes; ++lane) {
        if (block + lane < rows) {
          LoadGroup<kBf16>(w + (block + lane) * row_bytes, g * kGroup, columns, x);
        } else {
          memset(x, 0, sizeof x);
        }
        finite &= PackGroup(x, out + 4 * lane, out + 16 * kGroup + 2 * lane);
      }
  return finite;
}

template <bool kBf16>
static inline void PackBf16(int64_t rows, int64_t columns, const uint8_t* w, uint8_t* out) {
  const int64_t row_bytes = columns * (kBf16 ? 2 : 4);
  for (int64_t block = 0; block < rows; block += kLanes)
    for (int64_t k = 0; k < columns; k += 2, out += 64)
      for (int lane = 0; lane < kLanes; ++lane) {
        uint16_t pair[2] = {0, 0};
        if (block + lane < rows) {
          const uint8_t* row = w + (block + lane) * row_bytes;
          pair[0] = ElementBf16<kBf16>(row, k);
          if (k + 1 < columns) pair[1] = ElementBf16<kBf16>(row, k + 1);
        }
        memcpy(out + 4 * lane, pair, 4);
      }
}

template <bool kBf16>
static inline void PackF32(int64_t rows, int64_t columns, const uint8_t* w, uint8_t* out) {
  const int64_t row_bytes = columns * (kBf16 ? 2 : 4);
  for (int64_t block = 0; block < rows; block += kLanes)
    for (int64_t k = 0; k < columns; ++k, out += 64)
      for (int lane = 0; lane < kLanes; ++lane) {
        const float x = block + lane < rows ? Element<kBf16>(w + (block + lane) * row_bytes, k) : 0.0f;
        memcpy(out + 4 * lane, &x, 4);
      }
}

template <bool kBf16>
static inline int32_t PackRows(int32_t format, int64_t rows, int64_t columns, const uint8_t* w, uint8_t* out) {
  if (format == LLMOS_FLOAT32) return PackF32<kBf16>(rows, columns, w, out), LLMOS_OK;
  if (format == LLMOS_BF16) return PackBf16<kBf16>(rows, columns, w, out), LLMOS_OK;
  if (format == LLMOS_INT8) return PackI8<kBf16>(rows, columns, w, out) ? LLMOS_OK : LLMOS_BAD_NUMBER;
  return LLMOS_UNSUPPORTED;
}

}  // namespace llmos

LLMOS_EXPORT int32_t llmos_pack(int32_t format, int32_t stored, int64_t rows, int64_t columns, const void* w, void* out) {
  if (rows < 0 || columns <= 0 || !w || !out) return LLMOS_BAD_SHAPE;
  if (stored == LLMOS_FLOAT32) return llmos::PackRows<false>(format, rows, columns, (const uint8_t*)w, (uint8_t*)out);
  if (stored == LLMOS_BF16) return llmos::PackRows<true>(format, rows, columns, (const uint8_t*)w, (uint8_t*)out);
  return LLMOS_UNSUPPORTED;
}
