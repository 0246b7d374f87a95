// Sixteen lanes, whatever the machine: float arithmetic by compiler vectors, three primitives by intrinsics.
//
// Compiler vectors of 64 bytes become one zmm, two ymm or four xmm registers; every lane is computed alike, so a float
// result differs between targets only where one has no fused multiply-add, or multiplies bf16 by `vdpbf16ps` (products, attention
// to bf16 keys), which rounds in its own way; where a result is then rounded to an eight-bit code, that code may turn. Integer dot
// products are exact everywhere.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define LLMOS_INLINE static inline __attribute__((always_inline))
#define LLMOS_MEMBER inline __attribute__((always_inline))
#if defined(_WIN32)
#define LLMOS_EXPORT extern "C" __declspec(dllexport)
#else
#define LLMOS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace llmos {

constexpr int kLanes = 16;
typedef float F16 __attribute__((vector_size(64)));
typedef int32_t I16 __attribute__((vector_size(64)));
typedef uint32_t U16 __attribute__((vector_size(64)));
typedef uint16_t H16 __attribute__((vector_size(32)));
typedef uint8_t B64 __attribute__((vector_size(64)));

// The largest of a list of sizes.
template <int n>
constexpr uint64_t Largest(const uint64_t (&sizes)[n]) {
  uint64_t largest = 0;
  for (const uint64_t size : sizes) largest = size > largest ? size : largest;
  return largest;
}

constexpr size_t RoundUp(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

LLMOS_INLINE F16 Load(const float* p) {
  F16 v;
  memcpy(&v, p, sizeof v);
  return v;
}
LLMOS_INLINE void Store(float* p, F16 v) { memcpy(p, &v, sizeof v); }
LLMOS_INLINE F16 Set(float x) { return F16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

// The first n lanes from memory, zero in the rest; 0 < n <= 16.
LLMOS_INLINE F16 LoadPart(const float* p, int n) {
  if (n >= kLanes) return Load(p);
  F16 v = Set(0);
  for (int i = 0; i < kLanes; ++i)
    if (i < n) v[i] = p[i];
  return v;
}
LLMOS_INLINE void StorePart(float* p, F16 v, int n) {
  if (n >= kLanes) return Store(p, v);
  for (int i = 0; i < kLanes; ++i)
    if (i < n) p[i] = v[i];
}

LLMOS_INLINE F16 Fma(F16 a, F16 b, F16 c) {
#if (defined(__FMA__) || defined(__ARM_FEATURE_FMA)) && __has_builtin(__builtin_elementwise_fma)
  return __builtin_elementwise_fma(a, b, c);
#elif defined(__FMA__)
  for (int i = 0; i < kLanes; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
#else
  return a * b + c;  // no fused instruction on this target: two roundings
#endif
}
LLMOS_INLINE F16 Max(F16 a, F16 b) { return a > b ? a : b; }
LLMOS_INLINE F16 Abs(F16 a) { return (F16)((U16)a & 0x7fffffffu); }
LLMOS_INLINE F16 ToFloat(I16 v) { return __builtin_convertvector(v, F16); }

LLMOS_INLINE uint32_t BitsOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
LLMOS_INLINE float FloatOf(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// v times 2^n, power = n * 2^23, by an addition: for v whose exponents, and those with n, are those of numbers, not of 0. An infinite
// or NaN scale of weights, which packers refuse and checksums tell of, becomes any number.
LLMOS_INLINE F16 TimesPower(F16 v, int32_t power) { return (F16)((I16)v + power); }
// v with 2^-24 for 0.
LLMOS_INLINE F16 NotZero(F16 v) {
  const U16 bits = (U16)(v + Set(0)), least = U16{} + 0x33800000u;  // -0 has become 0, and a negative number exceeds all others
  return (F16)(bits > least ? bits : least);
}

// The upper half of the first 2n lanes in the place of the lower one.
template <int n, class V>
LLMOS_INLINE V Fold(V v) {
#if __has_builtin(__builtin_shufflevector)
  if constexpr (n == 8) return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
  if constexpr (n == 4) return __builtin_shufflevector(v, v, 4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if constexpr (n == 2) return __builtin_shufflevector(v, v, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if constexpr (n == 1) return __builtin_shufflevector(v, v, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  for (int i = 0; i < n; ++i) v[i] = v[i + n];
  return v;
#endif
}

// What `join` makes of all lanes, always as the same tree.
template <class V, class F>
LLMOS_INLINE auto OverLanes(V v, F join) {
  v = join(v, Fold<8>(v));
  v = join(v, Fold<4>(v));
  v = join(v, Fold<2>(v));
  return join(v, Fold<1>(v))[0];
}
LLMOS_INLINE float Sum(F16 v) {
  return OverLanes(v, [](F16 a, F16 b) { return a + b; });
}
// Not by OverLanes: clang 22 makes wrong code of that tree for integers that were widened from bytes.
LLMOS_INLINE int32_t Sum(I16 v) {
  int32_t sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += v[i];
  return sum;
}
LLMOS_INLINE float MaxLane(F16 v) {
  return OverLanes(v, [](F16 a, F16 b) { return a > b ? a : b; });
}
LLMOS_INLINE uint32_t MaxLane(U16 v) {
#if defined(__AVX512F__)
  const __m256i eight = _mm256_max_epu32(_mm512_castsi512_si256((__m512i)v), _mm512_extracti64x4_epi64((__m512i)v, 1));
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1)));
#endif
  return OverLanes(v, [](U16 a, U16 b) { return a > b ? a : b; });
}

// The larger magnitude of each lane, and the largest of all lanes of magnitudes; NaN where there is one, because its bits
// exceed those of infinity.
LLMOS_INLINE F16 LargerMagnitude(F16 v, F16 w) {
  const U16 a = (U16)Abs(v), b = (U16)Abs(w);
  return (F16)(a > b ? a : b);
}
LLMOS_INLINE float LargestMagnitude(F16 v) {
  const uint32_t largest = MaxLane((U16)v);
  float x;
  memcpy(&x, &largest, sizeof x);
  return x;
}

// e^x to 2 units in the last place; 0 below -87.3, largest finite power above 88.3; NaN stays NaN. Cephes' polynomial.
LLMOS_INLINE F16 Exp(F16 x) {
  const F16 low = Set(-87.3f), high = Set(88.3f);
  F16 y = x < low ? low : (x > high ? high : x);
  const F16 magic = Set(12582912.0f);  // 1.5 * 2^23: adding it rounds to the nearest integer
  const F16 n = (y * Set(1.44269504088896341f) + magic) - magic;
  F16 r = Fma(n, Set(-0.693359375f), y);
  r = Fma(n, Set(2.12194440e-4f), r);
  F16 p = Set(1.9875691500e-4f);
  p = Fma(p, r, Set(1.3981999507e-3f));
  p = Fma(p, r, Set(8.3334519073e-3f));
  p = Fma(p, r, Set(4.1665795894e-2f));
  p = Fma(p, r, Set(1.6666665459e-1f));
  p = Fma(p, r, Set(5.0000001201e-1f));
  p = Fma(p, r * r, r) + Set(1.0f);
  const U16 power = ((U16)(n + magic) - 0x4b400000u + 127u) << 23;
  const F16 value = x < low ? Set(0) : p * (F16)power;
  return x == x ? value : x;
}

LLMOS_INLINE F16 Tanh(F16 x) { return Set(1) - Set(2) / (Exp(x * Set(2)) + Set(1)); }

// Error function, absolute error below 2e-7. Abramowitz and Stegun 7.1.26.
LLMOS_INLINE F16 Erf(F16 x) {
  const F16 a = Abs(x), t = Set(1) / Fma(Set(0.3275911f), a, Set(1));
  F16 p = Set(1.061405429f);
  p = Fma(p, t, Set(-1.453152027f));
  p = Fma(p, t, Set(1.421413741f));
  p = Fma(p, t, Set(-0.284496736f));
  p = Fma(p, t, Set(0.254829592f));
  const F16 y = Set(1) - p * t * Exp(-a * a);
  return x < Set(0) ? -y : y;
}

// Sixteen bfloat16 values as floats, and floats rounded to the nearest bfloat16 (ties to even; NaN stays NaN).
LLMOS_INLINE F16 LoadBf16(const uint16_t* p) {
  H16 h;
  memcpy(&h, p, sizeof h);
  return (F16)(__builtin_convertvector(h, U16) << 16);
}
LLMOS_INLINE uint16_t ToBf16(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  if (x != x) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
LLMOS_INLINE void StoreBf16(uint16_t* p, F16 v) {
  const U16 u = (U16)v, rounded = (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
  const H16 h = __builtin_convertvector(v != v ? (u >> 16 | 0x40u) : rounded, H16);
  memcpy(p, &h, sizeof h);
}
LLMOS_INLINE float FromBf16(uint16_t h) {
  const uint32_t u = (uint32_t)h << 16;
  float x;
  memcpy(&x, &u, 4);
  return x;
}

// The value of a float16: exact, subnormal numbers, infinities and NaN (made quiet) included.
LLMOS_INLINE F16 HalfBits(U16 bits) {
  const U16 magnitude = (bits & 0x7fffu) << 13;
  const U16 v = (U16)((F16)magnitude * Set(0x1p112f));  // the exponent's bias: 15 becomes 127
  const U16 infinite = (U16)(magnitude >= 0x0f800000u) & 0x7f800000u, quiet = (U16)(magnitude > 0x0f800000u) & 0x400000u;
  return (F16)(v | infinite | quiet | (bits & 0x8000u) << 16);
}
LLMOS_INLINE F16 LoadHalf(const uint16_t* p) {
#if defined(__AVX512F__)
  return (F16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
  const __m256 out[2] = {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p + 1))};
  F16 v;
  memcpy(&v, out, sizeof v);
  return v;
#elif defined(__aarch64__)
  float32x4_t out[4];
  for (int quarter = 0; quarter < 4; ++quarter) out[quarter] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * quarter)));
  F16 v;
  memcpy(&v, out, sizeof v);
  return v;
#else
  H16 h;
  memcpy(&h, p, sizeof h);
  return HalfBits(__builtin_convertvector(h, U16));
#endif
}
LLMOS_INLINE float FromHalf(uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#elif defined(__aarch64__)
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
#else
  return HalfBits(U16{} + h)[0];
#endif
}

// The nearest float16, ties to even; infinity from 65520 on; NaN stays NaN.
LLMOS_INLINE uint16_t ToHalf(float x) {
#if defined(__F16C__)
  return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__aarch64__)
  return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(x))), 0);
#else
  uint32_t u;
  memcpy(&u, &x, 4);
  const uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
  if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (a >= 0x38800000) return (uint16_t)(sign | ((a + 0xfff + (a >> 13 & 1) - 0x38000000) >> 13));
  float magnitude;
  memcpy(&magnitude, &a, 4);
  magnitude += 0.5f;  // whose last place is 2^-24, the smallest float16
  memcpy(&u, &magnitude, 4);
  return (uint16_t)(sign | (u - 0x3f000000));
#endif
}
LLMOS_INLINE void StoreHalf(uint16_t* p, F16 v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  float32x4_t in[4];
  memcpy(in, &v, sizeof v);
  for (int quarter = 0; quarter < 4; ++quarter) vst1_u16(p + 4 * quarter, vreinterpret_u16_f16(vcvt_f16_f32(in[quarter])));
#else
  for (int i = 0; i < kLanes; ++i) p[i] = ToHalf(v[i]);
#endif
}

// acc[r] += w[2r] * x[0] + w[2r+1] * x[1] for 16 rows of bfloat16 pairs; `x` holds the pair.
LLMOS_INLINE F16 DotBf16(F16 acc, const uint16_t* w, uint32_t x) {
#if defined(__AVX512BF16__)
  return (F16)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_loadu_si512(w), (__m512bh)_mm512_set1_epi32((int)x));
#else
  U16 v;
  memcpy(&v, w, sizeof v);
  const U16 xs = U16{} + x;
  acc = Fma((F16)(v << 16), (F16)(xs << 16), acc);
  return Fma((F16)(v & 0xffff0000u), (F16)(xs & 0xffff0000u), acc);
#endif
}

// Four rows of four signed products each, added to their sums.
#if defined(__aarch64__)
LLMOS_INLINE int32x4_t DotQuarter(int32x4_t acc, int8x16_t w, int8x16_t x) {
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(acc, w, x);
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x))), high = vpaddlq_s16(vmull_high_s8(w, x));
  return vaddq_s32(acc, vpaddq_s32(low, high));
#endif
}
#endif

// acc[r] += sum of four products of unsigned weights w[4r..4r+3] (stored + 128) and signed x. kBiased: the stored weights
// were multiplied as they are, so 128 * sum(x) is still to be taken away; otherwise it is done already.
#if defined(__AVX512VNNI__) || !(defined(__AVX2__) || defined(__aarch64__))
constexpr bool kBiased = true;
#else
constexpr bool kBiased = false;
#endif

LLMOS_INLINE I16 Dot4(I16 acc, const uint8_t* w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (I16)_mm512_dpbusd_epi32((__m512i)acc, _mm512_loadu_si512(w), _mm512_set1_epi32(x));
#elif defined(__AVX2__)
  // |w| * (x with the sign of w): at most 128 * 127, so a pair of products fits 16 bits.
  const __m256i xs = _mm256_set1_epi32(x), ones = _mm256_set1_epi16(1);
  const __m256i flip = _mm256_set1_epi8((char)0x80);
  __m256i out[2];
  memcpy(out, &acc, sizeof acc);
  for (int half = 0; half < 2; ++half) {
    const __m256i ws = _mm256_xor_si256(_mm256_loadu_si256((const __m256i*)(w + 32 * half)), flip);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(ws), _mm256_sign_epi8(xs, ws));
    out[half] = _mm256_add_epi32(out[half], _mm256_madd_epi16(pairs, ones));
  }
  memcpy(&acc, out, sizeof acc);
  return acc;
#elif defined(__aarch64__)
  const int8x16_t xs = vreinterpretq_s8_s32(vdupq_n_s32(x));
  int32x4_t out[4];
  memcpy(out, &acc, sizeof acc);
  for (int quarter = 0; quarter < 4; ++quarter) {
    const int8x16_t ws = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 16 * quarter), vdupq_n_u8(0x80)));
    out[quarter] = DotQuarter(out[quarter], ws, xs);
  }
  memcpy(&acc, out, sizeof acc);
  return acc;
#else
  int8_t xs[4];
  memcpy(xs, &x, 4);
  for (int r = 0; r < kLanes; ++r) acc[r] += w[4 * r] * xs[0] + w[4 * r + 1] * xs[1] + w[4 * r + 2] * xs[2] + w[4 * r + 3] * xs[3];
  return acc;
#endif
}

// Exact sums of 16 rows over a group: four unsigned codes of at most 15 (codes[4r..4r+3]) times four signed bytes at most 127
// in magnitude, added at most eight times. Without VNNI, pairs of columns are summed in 16 bits: 8 * 2 * 15 * 127 < 2^15.
// kSixteenfold: there is room for codes times 16 as well, which Take adds a sixteenth of, and for a first summand, Start.
struct NibbleSums {
#if defined(__AVX512VNNI__)
  static constexpr bool kSixteenfold = true;
  __m512i sums = _mm512_setzero_si512();
  LLMOS_MEMBER void Start(int32_t first) { sums = _mm512_set1_epi32(first); }
  LLMOS_MEMBER void Add(B64 codes, int32_t x) { sums = _mm512_dpbusd_epi32(sums, (__m512i)codes, _mm512_set1_epi32(x)); }
  LLMOS_MEMBER I16 Total() const { return (I16)sums; }
  LLMOS_MEMBER void Take(const NibbleSums& sixteenfold) { sums = _mm512_add_epi32(sums, _mm512_srai_epi32(sixteenfold.sums, 4)); }
#else
  static constexpr bool kSixteenfold = false;
  LLMOS_MEMBER void Start(int32_t) {}
  LLMOS_MEMBER void Take(const NibbleSums&) {}
#if defined(__AVX512BW__)
  __m512i pairs = _mm512_setzero_si512();
  LLMOS_MEMBER void Add(B64 codes, int32_t x) {
    pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16((__m512i)codes, _mm512_set1_epi32(x)));
  }
  LLMOS_MEMBER I16 Total() const { return (I16)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)); }
#elif defined(__AVX2__)
  __m256i pairs[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  LLMOS_MEMBER void Add(B64 codes, int32_t x) {
    __m256i half[2];
    memcpy(half, &codes, sizeof codes);
    for (int i = 0; i < 2; ++i) pairs[i] = _mm256_add_epi16(pairs[i], _mm256_maddubs_epi16(half[i], _mm256_set1_epi32(x)));
  }
  LLMOS_MEMBER I16 Total() const {
    __m256i out[2];
    for (int i = 0; i < 2; ++i) out[i] = _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1));
    I16 total;
    memcpy(&total, out, sizeof total);
    return total;
  }
#elif defined(__aarch64__)
  int32x4_t sums[4] = {};
  LLMOS_MEMBER void Add(B64 codes, int32_t x) {
    int8x16_t w[4];
    memcpy(w, &codes, sizeof codes);
    for (int i = 0; i < 4; ++i) sums[i] = DotQuarter(sums[i], w[i], vreinterpretq_s8_s32(vdupq_n_s32(x)));
  }
  LLMOS_MEMBER I16 Total() const {
    I16 total;
    memcpy(&total, sums, sizeof total);
    return total;
  }
#else
  I16 sums = {};
  LLMOS_MEMBER void Add(B64 codes, int32_t x) {
    int8_t xs[4];
    memcpy(xs, &x, 4);
    for (int i = 0; i < 4; ++i) sums += (I16)((U16)codes >> 8 * i & 255u) * xs[i];
  }
  LLMOS_MEMBER I16 Total() const { return sums; }
#endif
#endif
};

}  // namespace llmos
