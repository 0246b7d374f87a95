// What the kernel tests share: cases that register themselves, random numbers, teams of threads, plain packers.
#pragma once
#include <math.h>
#include <stdio.h>

#include "llmos/kernels.h"

namespace llmos {

struct Case {
  const char* name;
  void (*run)();
  Case* next;
};
inline Case* g_cases = nullptr;
inline bool g_failed = false;

struct Register {
  explicit Register(Case* entry) {
    entry->next = g_cases;
    g_cases = entry;
  }
};

#define TEST(name)                                   \
  static void name();                                \
  static llmos::Case name##_case{#name, name, nullptr}; \
  static llmos::Register name##_register(&name##_case); \
  static void name()

#define EXPECT(condition, ...)                                        \
  do {                                                                \
    if (!(condition)) {                                               \
      if (!llmos::g_failed) {                                         \
        printf("%s:%d: %s; ", __FILE__, __LINE__, #condition);        \
        printf(" " __VA_ARGS__);                                       \
        printf("\n");                                                 \
      }                                                               \
      llmos::g_failed = true;                                         \
    }                                                                 \
  } while (0)

// Runs every case; the exit status says whether one failed.
inline int RunTests() {
  int passed = 0, failed = 0;
  for (Case* c = g_cases; c != nullptr; c = c->next) {
    g_failed = false;
    c->run();
    if (g_failed) printf("FAILED %s\n", c->name);
    g_failed ? ++failed : ++passed;
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0;
}

// To loop over a list without the standard library: for (int n : Ints{1, 2, 3}).
using Ints = const int[];
using Floats = const float[];

struct Random {
  uint64_t state;
  explicit Random(uint64_t seed) : state(seed) {}
  uint64_t Next() {
    state += 0x9e3779b97f4a7c15ull;
    return Mix(state);
  }
  int Below(int n) { return (int)(Next() % (uint64_t)n); }
  float Float(float largest = 1) { return largest * ((float)(Next() >> 40) * 0x1p-23f - 1); }
};

// Zeroed memory on a 64-byte boundary, with red zones of 64 bytes that must keep their pattern.
template <class T>
struct Array {
  size_t n;
  uint8_t* memory;
  explicit Array(size_t count) : n(count) {
    const size_t bytes = RoundUp(n * sizeof(T), 64);
    memory = (uint8_t*)AlignedAlloc(bytes + 128);
    if (memory == nullptr) abort();
    memset(memory, 0xa5, bytes + 128);
    memset(memory + 64, 0, n * sizeof(T));
  }
  Array(size_t count, Random& random, float largest = 1) : Array(count) {
    for (size_t i = 0; i < n; ++i) data()[i] = (T)random.Float(largest);
  }
  Array(const Array&) = delete;
  ~Array() {
    bool intact = true;
    for (int i = 0; i < 64; ++i) intact = intact && memory[i] == 0xa5 && memory[64 + n * sizeof(T) + i] == 0xa5;
    EXPECT(intact, "written outside of %zu elements", n);
    AlignedFree(memory);
  }
  T* data() { return (T*)(memory + 64); }
  operator T*() { return data(); }
};

// f(team) on every thread of a team of n.
template <class F>
void OnTeam(int n, F f) {
  void* pool = n == 1 ? nullptr : llmos_pool_create(n);
  EXPECT(n == 1 || pool != nullptr);
  PoolRun((Pool*)pool, [](Team& team, const void* p) { (*(const F*)p)(team); }, &f);
  llmos_pool_destroy(pool);
}

inline bool Near(double got, double want, double tolerance) {
  return fabs(got - want) <= tolerance || (isnan(got) && isnan(want)) || got == want;
}

inline int8_t Code(float x, float scale) { return scale == 0 ? (int8_t)0 : (int8_t)nearbyintf(x / scale); }

// One weight, packed as docs/step_abi.md says; `scale` is the bfloat16 scale of its row and group.
inline void PackValue(Format format, uint8_t* out, int columns, int row, int k, float value, uint16_t scale) {
  const size_t block = (size_t)row / 16, lane = (size_t)row % 16;
  if (format == Format::kF32) ((float*)out)[(block * columns + k) * 16 + lane] = value;
  if (format == Format::kBf16) ((uint16_t*)out)[((block * ((columns + 1) / 2) + k / 2) * 16 + lane) * 2 + k % 2] = ToBf16(value);
  if (format == Format::kI8) {
    uint8_t* group = out + (block * ((columns + 31) / 32) + k / 32) * 544;
    group[(k % 32) / 4 * 64 + lane * 4 + k % 4] = (uint8_t)(Code(value, FromBf16(scale)) + 128);
    ((uint16_t*)(group + 512))[lane] = scale;
  }
}

constexpr size_t PackedBytes(Format format, int rows, int columns) {
  const size_t blocks = RoundUp((size_t)rows, 16) / 16;
  return blocks * (format == Format::kF32 ? (size_t)columns * 64 : format == Format::kBf16 ? (size_t)(columns + 1) / 2 * 64 : (size_t)(columns + 31) / 32 * 544);
}

// Packs w (rows, columns) and replaces it by the values that the packed bytes stand for.
inline void Pack(Format format, float* w, int rows, int columns, uint8_t* out) {
  memset(out, 0, PackedBytes(format, rows, columns));
  if (format == Format::kI8)
    for (size_t at = 0; at < PackedBytes(format, rows, columns); at += 544) memset(out + at, 128, 512);
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < columns; ++k) {
      float largest = 0;
      for (int j = k / 32 * 32; j < columns && j < k / 32 * 32 + 32 && k % 32 == 0; ++j) largest = fmaxf(largest, fabsf(w[(size_t)row * columns + j]));
      static uint16_t scale;
      if (k % 32 == 0) scale = (uint16_t)(ToBf16(largest / 127) + (FromBf16(ToBf16(largest / 127)) < largest / 127));
      float& value = w[(size_t)row * columns + k];
      PackValue(format, out, columns, row, k, value, scale);
      if (format == Format::kBf16) value = FromBf16(ToBf16(value));
      if (format == Format::kI8) value = Code(value, FromBf16(scale)) * FromBf16(scale);
    }
}

}  // namespace llmos
