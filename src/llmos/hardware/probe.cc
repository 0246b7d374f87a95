// Measures two roofs of a machine: bytes read from memory and int8 operations, per second. Built for the same target as
// models are, so that the peak is that of the instructions which models use. Timing is the caller's.
#include <stddef.h>
#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EXPORT extern "C" __attribute__((visibility("default")))

typedef uint64_t Lanes __attribute__((vector_size(64), aligned(64)));

// Reads `bytes` (a multiple of 512) from a 64-byte aligned address. The sum is returned so that no load can be dropped.
EXPORT uint64_t llmos_probe_read(const void* memory, size_t bytes) {
  const Lanes* at = static_cast<const Lanes*>(memory);
  const Lanes* end = at + bytes / sizeof(Lanes);
  Lanes a = {}, b = {}, c = {}, d = {};
  for (; at < end; at += 8) {
    a += at[0] ^ at[4];
    b += at[1] ^ at[5];
    c += at[2] ^ at[6];
    d += at[3] ^ at[7];
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
