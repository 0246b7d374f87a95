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

// What a group of int8, int4 or uint4 is stored with, chosen plainly: any choice will do where kernels read it.
struct GroupNumbers {
  uint16_t scale = 0, minimum = 0;

  GroupNumbers(Format format, const float* x, int n) {
    float high = x[0], low = x[0];
    for (int i = 1; i < n; ++i) high = fmaxf(high, x[i]), low = fminf(low, x[i]);
    const float largest = fmaxf(fabsf(high), fabsf(low));
    if (format == Format::kI8) scale = (uint16_t)(ToHalf(largest / 127) + (FromHalf(ToHalf(largest / 127)) < largest / 127));
    if (format == Format::kI4) scale = ToHalf((high == largest ? largest : -largest) / -8);
    if (format == Format::kU4) minimum = ToHalf(low), scale = ToHalf((high - low) / 15);
  }
  float Value(Format format, int code) const {
    const int offset = format == Format::kI8 ? 128 : format == Format::kI4 ? 8 : 0;
    return (float)(code - offset) * FromHalf(scale) + (format == Format::kU4 ? FromHalf(minimum) : 0);
  }
  int Code(Format format, float x) const {
    if (format == Format::kI8) return scale == 0 ? 128 : 128 + (int)nearbyintf(x / FromHalf(scale));
    int best = format == Format::kI4 ? 8 : 0;
    for (int code = 0; code <= 15; ++code)
      if (fabs((double)Value(format, code) - x) < fabs((double)Value(format, best) - x)) best = code;
    return best;
  }
};

constexpr bool InGroups(Format format) { return format == Format::kI8 || format == Format::kI4 || format == Format::kU4; }

// Bytes of a group of 32 columns in a block, and of its codes.
constexpr size_t GroupBytes(Format format) { return format == Format::kI8 ? 544 : format == Format::kI4 ? 288 : 320; }
constexpr size_t CodeBytes(Format format) { return format == Format::kI8 ? 512 : 256; }

constexpr size_t PackedBytes(Format format, int rows, int columns) {
  const size_t blocks = RoundUp((size_t)rows, 16) / 16, k = (size_t)columns;
  if (InGroups(format)) return blocks * ((k + 31) / 32) * GroupBytes(format);
  return blocks * (format == Format::kF32 ? k * 64 : format == Format::kF16 ? k * 32 : (k + 1) / 2 * 64);
}

// Activations of a row in the format that weights are multiplied with.
template <Format kFormat, int K>
void ToRows(Team& team, const float* x, uint8_t* rows, size_t row_bytes, int n) {
  if constexpr (kFormat == Format::kF32 || kFormat == Format::kF16)
    for (int t = 0; t < n; ++t) memcpy(rows + t * row_bytes, x + t * K, K * sizeof(float));
  if constexpr (kFormat == Format::kBf16) QuantBf16<K>(team, x, K, (uint16_t*)rows, row_bytes, n);
  if constexpr (kFormat == Format::kI8 || kFormat == Format::kU4) QuantI8<K>(team, x, K, (I8Group*)rows, row_bytes, n);
  if constexpr (kFormat == Format::kI4) QuantPow2<K>(team, x, K, (Pow2Group*)rows, row_bytes, n);
}
inline float ScaleOf(const Pow2Group& group) { return FloatOf((uint32_t)group.power + kOneBits); }

constexpr size_t RowBytes(Format format, int columns) {
  const size_t k = (size_t)columns;
  return RoundUp(InGroups(format) ? 40 * ((k + 31) / 32) : format == Format::kBf16 ? 2 * (k + k % 2) : 4 * k, 64);
}

// One weight's code of a group that starts at `group`, as docs/step_abi.md says.
inline void PutCode(Format format, uint8_t* group, int lane, int k, int code) {
  if (format == Format::kI8) {
    group[k / 4 * 64 + lane * 4 + k % 4] = (uint8_t)code;
  } else {
    uint8_t& byte = group[k % 16 / 4 * 64 + lane * 4 + k % 4];
    byte = (uint8_t)(k < 16 ? (byte & 0xf0) | code : (byte & 15) | code << 4);
  }
}

// Every lane and column of a matrix of groups stands for zero.
inline void ZeroGroups(Format format, uint8_t* out, size_t bytes) {
  memset(out, 0, bytes);
  for (size_t at = 0; at < bytes; at += GroupBytes(format)) memset(out + at, format == Format::kI8 ? 0x80 : format == Format::kI4 ? 0x88 : 0, CodeBytes(format));
}

// Packs w (rows, columns) and replaces it by the values that the packed bytes stand for.
inline void Pack(Format format, float* w, int rows, int columns, uint8_t* out) {
  const size_t bytes = PackedBytes(format, rows, columns);
  InGroups(format) ? ZeroGroups(format, out, bytes) : (void)memset(out, 0, bytes);
  for (int row = 0; row < rows; ++row) {
    const size_t block = (size_t)row / 16, lane = (size_t)row % 16;
    for (int k = 0; k < columns; ++k) {
      float& value = w[(size_t)row * columns + k];
      uint16_t* halves = (uint16_t*)out;
      if (format == Format::kF32) ((float*)out)[(block * columns + k) * 16 + lane] = value;
      if (format == Format::kF16) value = FromHalf(halves[(block * columns + k) * 16 + lane] = ToHalf(value));
      if (format == Format::kBf16) value = FromBf16(halves[((block * ((columns + 1) / 2) + k / 2) * 16 + lane) * 2 + k % 2] = ToBf16(value));
    }
    for (int k = 0; InGroups(format) && k < columns; k += 32) {
      const int n = columns - k < 32 ? columns - k : 32;
      float* x = w + (size_t)row * columns + k;
      const GroupNumbers numbers(format, x, n);
      uint8_t* group = out + (block * ((columns + 31) / 32) + k / 32) * GroupBytes(format);
      for (int i = 0; i < n; ++i) {
        const int code = numbers.Code(format, x[i]);
        PutCode(format, group, (int)lane, i, code);
        x[i] = numbers.Value(format, code);
      }
      memcpy(group + CodeBytes(format) + 2 * lane, &numbers.scale, 2);
      if (format == Format::kU4) memcpy(group + CodeBytes(format) + 32 + 2 * lane, &numbers.minimum, 2);
    }
  }
}

}  // namespace llmos
