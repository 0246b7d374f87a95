// Weights into the layouts that linear.h reads (docs/step_abi.md, Numbers). `weights/pack.py` is the definition: equal bytes.
//
// It runs once, when a model is loaded, over memory that was just read: 16 rows are read side by side, 32 columns at a time,
// and turned so that a vector is a column; a block is then written in order.
#pragma once
#include "llmos/groups.h"

namespace llmos {

// A matrix of LLMOS_FLOAT32, LLMOS_FLOAT16 or LLMOS_BF16: rows one after another, not aligned.
struct Stored {
  const uint8_t* w;
  int64_t rows, columns;
  int32_t format;
  LLMOS_MEMBER const uint8_t* at(int64_t row, int64_t column) const { return w + (row * columns + column) * (format == LLMOS_FLOAT32 ? 4 : 2); }
};

// 32 columns of 16 rows, zero beyond the matrix.
struct Columns {
  float x[kGroup][kLanes];
  LLMOS_MEMBER F16 operator[](int k) const { return Load(x[k]); }
};

// One function for all packers: what is inlined into each of them costs time whenever a model is compiled.
__attribute__((noinline)) static void LoadColumns(const Stored& m, int64_t block, int64_t start, int n, Columns& out) {
  for (int lane = 0; lane < kLanes; ++lane) {
    float row[kGroup] = {};
    if (block + lane < m.rows && m.format == LLMOS_FLOAT32) {
      memcpy(row, m.at(block + lane, start), (size_t)n * 4);
    } else if (block + lane < m.rows) {
      uint16_t bits[kGroup] = {};
      memcpy(bits, m.at(block + lane, start), (size_t)n * 2);
      for (int i = 0; i < kGroup; i += kLanes) Store(row + i, m.format == LLMOS_BF16 ? LoadBf16(bits + i) : LoadHalf(bits + i));
    }
    for (int k = 0; k < kGroup; ++k) out.x[k][lane] = row[k];
  }
}

// f(columns, n) for the groups of each block in order, until one is refused.
template <class F>
LLMOS_INLINE int32_t EachGroup(const Stored& m, F f) {
  Columns columns;
  for (int64_t block = 0; block < m.rows; block += kLanes)
    for (int64_t start = 0; start < m.columns; start += kGroup) {
      const int n = m.columns - start < kGroup ? (int)(m.columns - start) : kGroup;
      LoadColumns(m, block, start, n, columns);
      if (!f(columns, n)) return LLMOS_BAD_NUMBER;
    }
  return LLMOS_OK;
}

LLMOS_INLINE bool AnyLane(I16 mask) {
  int32_t any = 0;
  for (int lane = 0; lane < kLanes; ++lane) any |= mask[lane];
  return any != 0;
}

static inline int32_t PackF32(const Stored& m, uint8_t* out) {
  return EachGroup(m, [&](const Columns& columns, int n) {
    for (int k = 0; k < n; ++k, out += 64) Store((float*)out, columns[k]);
    return true;
  });
}

// Finite numbers that float16 does not reach are refused; NaN and infinities stay.
static inline int32_t PackF16(const Stored& m, uint8_t* out) {
  return EachGroup(m, [&](const Columns& columns, int n) {
    I16 lost = {};
    for (int k = 0; k < n; ++k, out += 32) {
      const F16 size = Abs(columns[k]);
      lost |= (size >= Set(65520)) & (size < Set(__builtin_inff()));
      StoreHalf((uint16_t*)out, columns[k]);
    }
    return !AnyLane(lost);
  });
}

static inline int32_t PackBf16(const Stored& m, uint8_t* out) {
  const auto rounded = [](F16 x) {
    const U16 u = (U16)x, nearest = (u + 0x7fffu + (u >> 16 & 1u)) >> 16, quiet = u >> 16 | 0x40u;
    return x == x ? nearest : quiet;
  };
  return EachGroup(m, [&](const Columns& columns, int n) {
    for (int k = 0; k < n; k += 2, out += 64) {
      const U16 pair = rounded(columns[k]) | rounded(columns[k + 1]) << 16;
      memcpy(out, &pair, sizeof pair);
    }
    return true;
  });
}

// Numbers of two bytes as they are, kTogether columns of a row side by side.
template <int kTogether>
static inline int32_t CopyHalves(const Stored& m, uint8_t* out) {
  for (int64_t block = 0; block < m.rows; block += kLanes)
    for (int64_t k = 0; k < m.columns; k += kTogether, out += 2 * kTogether * kLanes)
      for (int lane = 0; lane < kLanes; ++lane) {
        uint16_t bits[kTogether] = {};
        const int n = m.columns - k < kTogether ? 1 : kTogether;
        if (block + lane < m.rows) memcpy(bits, m.at(block + lane, k), 2 * (size_t)n);
        memcpy(out + 2 * kTogether * lane, bits, sizeof bits);
      }
  return LLMOS_OK;
}

LLMOS_INLINE F16 Largest(const Columns& x, int n) {
  F16 largest = Set(0);
  for (int k = 0; k < n; ++k) largest = LargerMagnitude(x[k], largest);
  return largest;
}
// Whether every magnitude is a number and at most `most`.
LLMOS_INLINE bool Within(F16 magnitudes, float most) { return !AnyLane(~(magnitudes <= Set(most))); }

// Four columns' bytes of each lane: byte(j) is that of column j, as a vector of integers.
template <class F>
LLMOS_INLINE void PutQuad(uint8_t* out, F byte) {
  const U16 word = byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
  memcpy(out, &word, sizeof word);
}

static inline int32_t PackI8(const Stored& m, uint8_t* out) {
  return EachGroup(m, [&](const Columns& x, int n) {
    const F16 largest = Largest(x, n);
    if (!Within(largest, 127 * kHalfMax)) return false;
    uint16_t scales[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) scales[lane] = HalfAbove(largest[lane] / 127.0f);
    const F16 step = LoadHalf(scales);
    for (int quad = 0; quad < kGroup / 4; ++quad, out += 64)
      PutQuad(out, [&](int j) {
        const F16 q = step > Set(0) ? x[4 * quad + j] / step : Set(0);
        return (U16)(__builtin_convertvector(RoundedIn(q, -127, 127), I16) + 128);
      });
    memcpy(out, scales, sizeof scales);
    out += sizeof scales;
    return true;
  });
}

template <bool kMinimum>
static inline int32_t PackNibbles(const Stored& m, uint8_t* out) {
  return EachGroup(m, [&](const Columns& columns, int n) {
    if (!Within(Largest(columns, n), kMinimum ? kHalfMax : 8 * kHalfMax)) return false;
    F16 x[kGroup];
    for (int k = 0; k < n; ++k) x[k] = columns[k];
    Choice choice = {};
    kMinimum ? ChooseUint4(x, n, choice) : ChooseInt4(x, n, choice);
    for (int k = n; k < kGroup; ++k) choice.codes[k] = Set(kMinimum ? 0 : 8);
    const auto code = [&](int k) { return (U16)__builtin_convertvector(choice.codes[k], I16); };
    for (int q = 0; q < kGroup / 2; q += 4, out += 64) PutQuad(out, [&](int j) { return code(q + j) | code(q + j + kGroup / 2) << 4; });
    memcpy(out, choice.scales, 32);
    if (kMinimum) memcpy(out + 32, choice.minimums, 32);
    out += kMinimum ? 64 : 32;
    return true;
  });
}

static inline int32_t PackRows(int32_t format, const Stored& m, uint8_t* out) {
  if (format == LLMOS_FLOAT32) return PackF32(m, out);
  if (format == LLMOS_FLOAT16) return m.format == format ? CopyHalves<1>(m, out) : PackF16(m, out);
  if (format == LLMOS_BF16) return m.format == format ? CopyHalves<2>(m, out) : PackBf16(m, out);
  if (format == LLMOS_INT8) return PackI8(m, out);
  if (format == LLMOS_INT4) return PackNibbles<false>(m, out);
  if (format == LLMOS_UINT4) return PackNibbles<true>(m, out);
  return LLMOS_UNSUPPORTED;
}

// One row's codes of a group at its lane of `out`.
LLMOS_INLINE void PutCodes(int32_t format, const uint8_t* codes, uint8_t* out) {
  uint32_t words[kGroup / 4];
  memcpy(words, codes, sizeof words);
  for (int quad = 0; quad < (format == LLMOS_INT8 ? 8 : 4); ++quad) {
    const uint32_t word = format == LLMOS_INT8 ? words[quad] ^ 0x80808080u : words[quad] | words[quad + 4] << 4;
    memcpy(out + 64 * quad, &word, 4);
  }
}

static inline void PackGiven(int32_t format, int64_t rows, int64_t columns, const uint8_t* codes, const uint8_t* scales,
                             const uint8_t* minimums, uint8_t* out) {
  const int64_t groups = (columns + kGroup - 1) / kGroup;
  const size_t code_bytes = format == LLMOS_INT8 ? 512 : 256, group_bytes = code_bytes + (format == LLMOS_UINT4 ? 64 : 32);
  for (int64_t block = 0; block < rows; block += kLanes)
    for (int64_t group = 0; group < groups; ++group, out += group_bytes) {
      memset(out + code_bytes, 0, group_bytes - code_bytes);
      const int64_t start = group * kGroup, n = columns - start < kGroup ? columns - start : kGroup;
      for (int lane = 0; lane < kLanes; ++lane) {
        uint8_t row[kGroup];
        memset(row, format == LLMOS_INT4 ? 8 : 0, sizeof row);
        if (block + lane < rows) {
          const int64_t at = (block + lane) * groups + group;
          uint16_t scale;
          memcpy(&scale, scales + 2 * at, 2);
          if (format != LLMOS_INT4 || (scale & 0x7fff) != 0)  // the product takes codes of a scale 0 for those of 0, which they are then
            memcpy(row, codes + (block + lane) * columns + start, (size_t)n);
          memcpy(out + code_bytes + 2 * lane, scales + 2 * at, 2);
          if (minimums) memcpy(out + code_bytes + 32 + 2 * lane, minimums + 2 * at, 2);
        }
        PutCodes(format, row, out + 4 * lane);
      }
    }
}

}  // namespace llmos

LLMOS_EXPORT int32_t llmos_pack(int32_t format, int32_t stored, int64_t rows, int64_t columns, const void* w, void* out) {
  if (rows < 0 || columns <= 0 || !w || !out) return LLMOS_BAD_SHAPE;
  if (stored != LLMOS_FLOAT32 && stored != LLMOS_FLOAT16 && stored != LLMOS_BF16) return LLMOS_UNSUPPORTED;
  return llmos::PackRows(format, llmos::Stored{(const uint8_t*)w, rows, columns, stored}, (uint8_t*)out);
}

LLMOS_EXPORT int32_t llmos_pack_groups(int32_t format, int64_t rows, int64_t columns, const void* codes, const void* scales,
                                       const void* minimums, void* out) {
  if (rows < 0 || columns <= 0 || !codes || !scales || !out || !minimums != (format != LLMOS_UINT4)) return LLMOS_BAD_SHAPE;
  if (format != LLMOS_INT8 && format != LLMOS_INT4 && format != LLMOS_UINT4) return LLMOS_UNSUPPORTED;
  llmos::PackGiven(format, rows, columns, (const uint8_t*)codes, (const uint8_t*)scales, (const uint8_t*)minimums, (uint8_t*)out);
  return LLMOS_OK;
}
