#include "testing.h"

using namespace llmos;

// A matrix with what is awkward: a row of zeros, a row of numbers that are not normal, one large number.
static void Fill(float* w, int rows, int columns) {
  for (int k = 0; k < columns; ++k) {
    if (rows > 1) w[columns + k] = 0;
    if (rows > 2) w[2 * columns + k] *= 1e-39f;
  }
  w[0] = 3e4f;
}

static int32_t Id(Format format) {
  constexpr int32_t kIds[] = {LLMOS_FLOAT32, LLMOS_FLOAT16, LLMOS_BF16, LLMOS_INT8, LLMOS_INT4, LLMOS_UINT4};
  return kIds[(int)format];
}

// Writes numbers as they are stored, and leaves what that rounds them to.
static void Store(int32_t stored, float* w, size_t n, uint8_t* out) {
  for (size_t i = 0; i < n; ++i) {
    const uint16_t half = stored == LLMOS_BF16 ? ToBf16(w[i]) : ToHalf(w[i]);
    if (stored == LLMOS_FLOAT32) {
      memcpy(out + 4 * i, &w[i], 4);
    } else {
      w[i] = stored == LLMOS_BF16 ? FromBf16(half) : FromHalf(half);
      memcpy(out + 2 * i, &half, 2);
    }
  }
}

static void Check(Format format, int rows, int columns) {
  Random random(rows * 1000 + columns);
  const size_t n = (size_t)rows * columns, bytes = PackedBytes(format, rows, columns);
  for (int stored : Ints{LLMOS_FLOAT32, LLMOS_BF16, LLMOS_FLOAT16}) {
    Array<float> w(n, random);
    Fill(w, rows, columns);
    Array<uint8_t> got(bytes), want(bytes), memory(n * 4 + 1);
    uint8_t* unaligned = memory + 1;
    Store(stored, w, n, unaligned);
    EXPECT(llmos_pack(Id(format), stored, rows, columns, unaligned, got) == LLMOS_OK);
    Pack(format, w, rows, columns, want);
    for (size_t i = 0; i < bytes; ++i) EXPECT(got[i] == want[i], "%d rows of %d, stored as %d, byte %zu", rows, columns, stored, i);
  }
}

TEST(packed_as_the_definition_says) {
  using Formats = const Format[];
  for (Format format : Formats{Format::kF32, Format::kF16, Format::kBf16, Format::kI8})
    for (int rows : Ints{1, 15, 16, 17, 50})
      for (int columns : Ints{1, 2, 31, 32, 33, 101, 896}) Check(format, rows, columns);
}

// Random groups are packed as they are, whatever lies in memory behind them.
static void CheckGroups(Format format, int rows, int columns) {
  const int groups = (columns + 31) / 32;
  Random random(rows + columns);
  Array<uint8_t> codes((size_t)rows * columns), got(PackedBytes(format, rows, columns)), want(got.n);
  Array<uint16_t> scales((size_t)rows * groups), minimums(scales.n);
  ZeroGroups(format, want, want.n);
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < columns; ++k) {
      const int code = random.Below(format == Format::kI8 ? 256 : 16);
      uint8_t* group = want + ((size_t)(row / 16) * groups + k / 32) * GroupBytes(format);
      codes[(size_t)row * columns + k] = (uint8_t)(format == Format::kI8 ? code - 128 : code);
      PutCode(format, group, row % 16, k % 32, code);
      uint16_t* halves = (uint16_t*)(group + CodeBytes(format)) + row % 16;
      halves[0] = scales[(size_t)row * groups + k / 32] = ToHalf(1 + (float)(row + k / 32));
      if (format == Format::kU4) halves[16] = minimums[(size_t)row * groups + k / 32] = ToHalf(-(float)(row * 2 + k / 32));
    }
  EXPECT(llmos_pack_groups(Id(format), rows, columns, codes, scales, format == Format::kU4 ? minimums.data() : nullptr, got) == LLMOS_OK);
  for (size_t i = 0; i < got.n; ++i) EXPECT(got[i] == want[i], "format %d: %d rows of %d, byte %zu", (int)format, rows, columns, i);
}

TEST(groups_are_packed_as_they_are) {
  using Formats = const Format[];
  for (Format format : Formats{Format::kI8, Format::kI4, Format::kU4})
    for (int rows : Ints{1, 16, 37})
      for (int columns : Ints{1, 31, 32, 33, 101}) CheckGroups(format, rows, columns);
}

TEST(groups_refuse_what_is_no_number_and_what_is_too_large) {
  const float kMost[] = {127 * 65504.0f, 8 * 65504.0f, 65504.0f};
  const Format kFormats[] = {Format::kI8, Format::kI4, Format::kU4};
  for (int i = 0; i < 3; ++i)
    for (float bad : Floats{NAN, __builtin_inff(), -__builtin_inff(), kMost[i] * 1.001f, -kMost[i] * 1.001f, kMost[i], -kMost[i]})
      for (int at : Ints{0, 40, 99}) {
        Random random(1);
        Array<float> w(100, random);
        Array<uint8_t> out(PackedBytes(kFormats[i], 2, 50));
        w[at] = bad;
        const int32_t want = fabsf(bad) <= kMost[i] ? LLMOS_OK : LLMOS_BAD_NUMBER;
        EXPECT(llmos_pack(Id(kFormats[i]), LLMOS_FLOAT32, 2, 50, w, out) == want, "%g as %d", bad, (int)kFormats[i]);
      }
}

TEST(float16_refuses_finite_numbers_that_it_does_not_reach) {
  for (float x : Floats{NAN, __builtin_inff(), -__builtin_inff(), 65504, -65519, 65520, -1e30f}) {
    Array<float> w(5);
    Array<uint8_t> out(PackedBytes(Format::kF16, 1, 5));
    w[3] = x;
    EXPECT(llmos_pack(LLMOS_FLOAT16, LLMOS_FLOAT32, 1, 5, w, out) == (isfinite(x) && fabsf(x) >= 65520 ? LLMOS_BAD_NUMBER : LLMOS_OK), "%g", x);
    EXPECT(llmos_pack(LLMOS_FLOAT16, LLMOS_FLOAT16, 1, 5, w, out) == LLMOS_OK);
  }
}

TEST(unknown_formats_and_shapes_are_refused) {
  float w[1] = {1};
  uint8_t out[544];
  EXPECT(llmos_pack(7, LLMOS_FLOAT32, 1, 1, w, out) == LLMOS_UNSUPPORTED);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_INT8, 1, 1, w, out) == LLMOS_UNSUPPORTED);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_FLOAT32, -1, 1, w, out) == LLMOS_BAD_SHAPE);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_FLOAT32, 1, 1, nullptr, out) == LLMOS_BAD_SHAPE);
  EXPECT(llmos_pack_groups(LLMOS_BF16, 1, 1, w, w, nullptr, out) == LLMOS_UNSUPPORTED);
  EXPECT(llmos_pack_groups(LLMOS_INT4, 1, 1, w, w, w, out) == LLMOS_BAD_SHAPE);
  EXPECT(llmos_pack_groups(LLMOS_UINT4, 1, 1, w, w, nullptr, out) == LLMOS_BAD_SHAPE);
}

int main() { return RunTests(); }
