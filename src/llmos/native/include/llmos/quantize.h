// Rows of activations in the format that a weight format is multiplied with: where kernels of rows.h leave what they make.
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

// The same with a scale that is a power of two, for weights of four bits, which are some sixteen times as coarse. Such a scale is
// multiplied with by adding to the exponent, which the units of dot products are not needed for (docs/kernels.md).
struct Pow2Group {
  int32_t power;   // what the scale adds to the bits of a float; odd where a value was no number or beyond all scales
  int32_t offset;  // -8 times the sum of q
  int8_t q[kGroup];
};
static_assert(sizeof(Pow2Group) == sizeof(I8Group), "compiler/passes/plan_memory.py counts on it");
constexpr uint32_t kOneBits = 0x3f800000;
constexpr int32_t kNoNumber = 1;

// Lanes i .. i + 15 of a row of D by value(i, n), n of them; zero behind the row's end.
template <int D, class F>
LLMOS_INLINE F16 LanesOf(int i, F value) {
  if (D - i >= kLanes) return value(i, kLanes);
  if (D - i <= 0) return Set(0);
  F16 v = value(i, D - i);
  for (int lane = D - i; lane < kLanes; ++lane) v[lane] = 0;
  return v;
}

// Rows of floats. Each of these kinds of rows says where a value will lie, and takes the values `from` to `to` - 1 of row `row` of D values, as value(i, n)
// gives n of them at a time; from is a multiple of 32, and to too or D.
struct FloatRows {
  float* y;
  int ld;
  LLMOS_MEMBER const void* At(int row, int column) const { return y + (size_t)row * ld + column; }
  template <int D, class F>
  LLMOS_MEMBER void Put(int row, int from, int to, F value) const {
    float* out = y + (size_t)row * ld;
    for (int i = from; i < to; i += kLanes) {
      const int n = to - i < kLanes ? to - i : kLanes;
      StorePart(out + i, value(i, n), n);
    }
  }
};

// Rows of bfloat16 pairs, an odd D padded with zero.
struct Bf16Rows {
  uint16_t* y;
  size_t row_bytes;
  LLMOS_MEMBER const void* At(int row, int column) const { return (const uint8_t*)y + (size_t)row * row_bytes + 2 * (size_t)column; }
  template <int D, class F>
  LLMOS_MEMBER void Put(int row, int from, int to, F value) const {
    uint16_t* out = (uint16_t*)((uint8_t*)y + (size_t)row * row_bytes);
    for (int i = from; i < to; i += kLanes) {
      const F16 v = LanesOf<D>(i, value);
      if (D - i >= kLanes) {
        StoreBf16(out + i, v);
      } else {
        for (int lane = 0; lane < D - i + D % 2; ++lane) out[i + lane] = ToBf16(v[lane]);
      }
    }
  }
};

// q[i] = x[i] * inverse to the nearest integer, ties to even: the low byte of the sum with a large number. Returns the sum of q.
LLMOS_INLINE int32_t Round(F16 a, F16 b, float inverse, int8_t* q) {
  const F16 magic = Set(12582912.0f);
  a = a * Set(inverse) + magic;
  b = b * Set(inverse) + magic;
#if defined(__AVX512VNNI__)
  const __m256i codes = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm512_cvtepi32_epi8((__m512i)a)), _mm512_cvtepi32_epi8((__m512i)b), 1);
  _mm256_storeu_si256((__m256i*)q, codes);
  const __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), codes);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
#else
  typedef int8_t B16 __attribute__((vector_size(16)));
  const I16 qa = (I16)a << 24 >> 24, qb = (I16)b << 24 >> 24;
  const B16 bytes[2] = {__builtin_convertvector(qa, B16), __builtin_convertvector(qb, B16)};
  memcpy(q, bytes, sizeof bytes);
  return Sum(qa + qb);
#endif
}

// |q| <= 127: scale is the largest magnitude of the group over 127; nearest, ties to even. A group with an infinity or NaN has a
// scale that is none of the finite numbers, so that it shows in every sum.
LLMOS_INLINE void ToGroup(F16 a, F16 b, I8Group& out) {
  const float largest = LargestMagnitude(LargerMagnitude(a, b));
  out.sum = Round(a, b, largest > 0 ? 127.0f / largest : 0.0f, out.q);
  out.scale = largest / 127.0f;
}
// The smallest power of two with |q| <= 127, of 2^-100 to 2^100. A group with an infinity, NaN or more than that is marked as none
// of numbers.
LLMOS_INLINE void ToGroup(F16 a, F16 b, Pow2Group& out) {
  constexpr uint32_t kLeast = kOneBits - (100u << 23), kMost = kOneBits + (100u << 23);
  const uint32_t least = BitsOf(LargestMagnitude(LargerMagnitude(a, b)) / 127.0f);
  const uint32_t up = (least + 0x7fffffu) & 0x7f800000u, scale = up < kLeast ? kLeast : up;
  const bool number = least <= kMost;  // no: NaN too, whose bits exceed those of infinity
  out.offset = number ? -8 * Round(a, b, FloatOf(2 * kOneBits - scale), out.q) : 0;
  out.power = number ? (int32_t)(scale - kOneBits) : kNoNumber;
}

// Groups of 32.
template <class Group>
struct GroupRows {
  Group* y;
  size_t row_bytes;
  LLMOS_MEMBER Group* Row(int row) const { return (Group*)((uint8_t*)y + (size_t)row * row_bytes); }
  LLMOS_MEMBER const void* At(int row, int column) const { return Row(row) + column / kGroup; }
  template <int D, class F>
  LLMOS_MEMBER void Put(int row, int from, int to, F value) const {
    Group* out = Row(row);
    for (int g = from / kGroup; g * kGroup < to; ++g) ToGroup(LanesOf<D>(g * kGroup, value), LanesOf<D>(g * kGroup + kLanes, value), out[g]);
  }
};
using I8Rows = GroupRows<I8Group>;
using Pow2Rows = GroupRows<Pow2Group>;

// Columns of a tile where a row is worked at by several threads; a multiple of the group.
constexpr int kColumns = 1024;

// y = value(row, i, n), a row of D in pieces of kColumns.
template <int D, class Rows, class F>
LLMOS_INLINE void EachPiece(Team& team, const Rows& y, int rows, F value) {
  constexpr int kPieces = (D + kColumns - 1) / kColumns;
  team.RunTiles(rows * kPieces, [&](int tile) {
    const int row = tile / kPieces, from = tile % kPieces * kColumns, to = D - from < kColumns ? D : from + kColumns;
    y.template Put<D>(row, from, to, [&](int i, int n) { return value(row, i, n); });
  });
}

// Rows of K floats, `ldx` floats apart, in another format.
template <int K, class Rows>
void Quantize(Team& team, const float* x, int ldx, const Rows& y, int rows) {
  EachPiece<K>(team, y, rows, [&](int row, int i, int n) { return LoadPart(x + (size_t)row * ldx + i, n); });
}
template <int K>
void QuantBf16(Team& team, const float* x, int ldx, uint16_t* y, size_t row_bytes, int rows) {
  Quantize<K>(team, x, ldx, Bf16Rows{y, row_bytes}, rows);
}
template <int K>
void QuantPow2(Team& team, const float* x, int ldx, Pow2Group* y, size_t row_bytes, int rows) {
  Quantize<K>(team, x, ldx, Pow2Rows{y, row_bytes}, rows);
}
template <int K>
void QuantI8(Team& team, const float* x, int ldx, I8Group* y, size_t row_bytes, int rows) {
  Quantize<K>(team, x, ldx, I8Rows{y, row_bytes}, rows);
}

}  // namespace llmos
