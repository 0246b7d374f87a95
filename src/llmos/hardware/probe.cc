// Measures the roofs of a machine: bytes read from memory, and int8, bf16 and float32 operations, per second. Built for the
// same target as models are, so that the peaks are those of the instructions which models use. Timing is the caller's.
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

typedef uint64_t Lanes __attribute__((vector_size(64), aligned(64)));

// Reads `bytes` (a multiple of 512) from a 64-byte aligned address, as four streams: one alone does not keep enough lines in
// flight. The sum is returned so that no load can be dropped.
EXPORT uint64_t llmos_probe_read(const void* memory, size_t bytes) {
  const size_t quarter = bytes / sizeof(Lanes) / 4;
  const Lanes* at = static_cast<const Lanes*>(memory);
  Lanes a = {}, b = {}, c = {}, d = {};
  for (size_t i = 0; i < quarter; i += 2) {
    a += at[i] ^ at[i + 1];
    b += at[i + quarter] ^ at[i + quarter + 1];
    c += at[i + 2 * quarter] ^ at[i + 2 * quarter + 1];
    d += at[i + 3 * quarter] ^ at[i + 3 * quarter + 1];
  }
  a += b + c + d;
  uint64_t sum = 0;
  for (int i = 0; i < 8; i++) sum += a[i];
  return sum;
}

// Runs `rounds` rounds of int8 dot products on registers and returns the operations done (a multiply and an add are two).
#if defined(__AVX512VNNI__)
EXPORT uint64_t llmos_probe_int8(uint64_t rounds) {
  __m512i sums[12];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
      sum = _mm512_dpbusd_epi32(sum, a, b);
      asm volatile("" : "+v"(sum));
    }
  }
  return rounds * 12 * 128;
}
#elif defined(__AVX2__)
EXPORT uint64_t llmos_probe_int8(uint64_t rounds) {
  __m256i sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
      asm volatile("" : "+x"(a));  // keeps the products inside the loop
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
      asm volatile("" : "+x"(sum));
    }
  }
  return rounds * 8 * 64;
}
#elif defined(__ARM_FEATURE_DOTPROD)
EXPORT uint64_t llmos_probe_int8(uint64_t rounds) {
  int32x4_t sums[16];
  for (auto& sum : sums) sum = vdupq_n_s32(0);
  int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
      sum = vdotq_s32(sum, a, b);
      asm volatile("" : "+w"(sum));
    }
  }
  return rounds * 16 * 32;
}
#else
EXPORT uint64_t llmos_probe_int8(uint64_t rounds) {
  int32_t sums[16] = {};
  volatile int8_t seed = 3;
  int32_t a = seed, b = seed + 2;
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
      asm volatile("" : "+r"(a));
      sum += a * b;
    }
  }
  int32_t total = 0;
  for (auto sum : sums) total += sum;
  volatile int32_t sink = total;
  (void)sink;
  return rounds * 16 * 2;
}
#endif

// Floats of a vector register, and one fused multiply-add (a product and a sum where the target has none) of two of them.
#if defined(__AVX512F__)
typedef __m512 Floats;
#define REGISTER "v"
static const int kSums = 12;
static inline Floats All(float x) { return _mm512_set1_ps(x); }
static inline Floats MulAdd(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
[[maybe_unused]] static inline Floats Low(Floats x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 16));
}
[[maybe_unused]] static inline Floats High(Floats x) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0xffff0000)));
}
#elif defined(__AVX2__) && defined(__FMA__)
typedef __m256 Floats;
#define REGISTER "x"
static const int kSums = 8;
static inline Floats All(float x) { return _mm256_set1_ps(x); }
static inline Floats MulAdd(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
[[maybe_unused]] static inline Floats Low(Floats x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 16));
}
[[maybe_unused]] static inline Floats High(Floats x) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0xffff0000)));
}
#elif defined(__x86_64__)
typedef __m128 Floats;
#define REGISTER "x"
static const int kSums = 8;
static inline Floats All(float x) { return _mm_set1_ps(x); }
static inline Floats MulAdd(Floats a, Floats b, Floats c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
[[maybe_unused]] static inline Floats Low(Floats x) {
  return _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(x), 16));
}
[[maybe_unused]] static inline Floats High(Floats x) {
  return _mm_castsi128_ps(_mm_and_si128(_mm_castps_si128(x), _mm_set1_epi32(0xffff0000)));
}
#elif defined(__aarch64__)
typedef float32x4_t Floats;
#define REGISTER "w"
static const int kSums = 16;
static inline Floats All(float x) { return vdupq_n_f32(x); }
static inline Floats MulAdd(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
[[maybe_unused]] static inline Floats Low(Floats x) {
  return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x), 16));
}
[[maybe_unused]] static inline Floats High(Floats x) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0xffff0000)));
}
#else
#error "the probe of float peaks is written for x86-64 and aarch64"
#endif
static const int kFloats = sizeof(Floats) / sizeof(float);

// As llmos_probe_int8, of float32 products.
EXPORT uint64_t llmos_probe_float32(uint64_t rounds) {
  Floats sums[kSums];
  for (auto& sum : sums) sum = All(0);
  Floats a = All(0.5f), b = All(0.25f);
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
      sum = MulAdd(a, b, sum);
      asm volatile("" : "+" REGISTER(sum));
    }
  }
  return rounds * kSums * kFloats * 2;
}

// As llmos_probe_int8, of bf16 products: two to a lane by the processor's own instruction, or shifted to float32.
EXPORT uint64_t llmos_probe_bf16(uint64_t rounds) {
  Floats sums[kSums];
  for (auto& sum : sums) sum = All(0);
#if defined(__AVX512BF16__)
  const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f00), b = (__m512bh)_mm512_set1_epi16(0x3e80);
#else
  Floats pairs = All(0.5f), a = All(0.25f);
#endif
  for (uint64_t i = 0; i < rounds; i++) {
    for (auto& sum : sums) {
#if defined(__AVX512BF16__)
      sum = _mm512_dpbf16_ps(sum, a, b);
#else
      asm volatile("" : "+" REGISTER(pairs));  // keeps the shifts inside the loop
      sum = MulAdd(High(pairs), a, MulAdd(Low(pairs), a, sum));
#endif
      asm volatile("" : "+" REGISTER(sum));
    }
  }
  return rounds * kSums * kFloats * 2 * 2;
}
