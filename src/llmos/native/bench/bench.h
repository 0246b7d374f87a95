// What the kernel benches share: clock, samples, huge pages, one JSON object a line.
#pragma once
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include "llmos/kernels.h"

namespace llmos {

inline double Seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct Times {
  double min, median, max;
};

// Times f(i) for i = 0, 1, ... until `budget_s` is spent; at least 5 and at most 1000 samples, the first call not counted.
template <class F>
Times Measure(double budget_s, F f) {
  static double samples[1000];
  int n = 0;
  f(0);
  for (const double end = Seconds() + budget_s; n < 1000 && (n < 5 || Seconds() < end); ++n) {
    const double start = Seconds();
    f(n + 1);
    samples[n] = Seconds() - start;
    for (int i = n; i > 0 && samples[i] < samples[i - 1]; --i) {
      const double swap = samples[i];
      samples[i] = samples[i - 1];
      samples[i - 1] = swap;
    }
  }
  return {samples[0], samples[n / 2], samples[n - 1]};
}

// Memory for the life of the process, on huge pages where the system gives them. Every byte is written.
inline uint8_t* Memory(size_t bytes, uint8_t fill) {
  constexpr size_t kHuge = 2u << 20;
  uint8_t* memory = (uint8_t*)mmap(nullptr, bytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  memory = (uint8_t*)RoundUp((size_t)memory, kHuge);
  madvise(memory, bytes, MADV_HUGEPAGE);
  memset(memory, fill, bytes);
  return memory;
}

inline float* Floats(size_t n) {
  float* x = (float*)Memory(n * sizeof(float), 0);
  for (size_t i = 0; i < n; ++i) x[i] = (float)(Mix(i) >> 40) * 0x1p-23f - 1;
  return x;
}

template <class F>
void OnPool(Pool* pool, F f) {
  PoolRun(pool, [](Team& team, const void* p) { (*(const F*)p)(team); }, &f);
}

// `facts` is the beginning of a JSON object; rates are those of the fastest sample.
inline void Report(const char* facts, const Times& times, double bytes, double operations) {
  printf("{%s, \"min_s\": %.4g, \"median_s\": %.4g, \"max_s\": %.4g, \"gbytes_per_s\": %.4g, \"gops_per_s\": %.4g}\n", facts, times.min,
         times.median, times.max, bytes / times.min / 1e9, operations / times.min / 1e9);
  fflush(stdout);
}

}  // namespace llmos
