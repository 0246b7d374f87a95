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

static int32_t Id(Format format) { return format == Format::kF32 ? LLMOS_FLOAT32 : format == Format::kBf16 ? LLMOS_BF16 : LLMOS_INT8; }

static void Check(Format format, int rows, int columns) {
  Random random(rows * 1000 + columns);
  const size_t n = (size_t)rows * columns, bytes = PackedBytes(format, rows, columns);
  Array<float> w(n, random);
  Fill(w, rows, columns);
  for (int bf16 : Ints{0, 1}) {
    Array<uint8_t> got(bytes), want(bytes), stored(n * 4 + 1);
    uint8_t* unaligned = stored + 1;
    for (size_t i = 0; i < n; ++i) {
      const uint16_t half = ToBf16(w[i]);
      if (bf16) w[i] = FromBf16(half);
      bf16 ? memcpy(unaligned + 2 * i, &half, 2) : memcpy(unaligned + 4 * i, &w[i], 4);
    }
    EXPECT(llmos_pack(Id(format), bf16 ? LLMOS_BF16 : LLMOS_FLOAT32, rows, columns, unaligned, got) == LLMOS_OK);
    Array<float> copy(n);
    memcpy(copy.data(), w.data(), n * sizeof(float));
    Pack(format, copy, rows, columns, want);
    for (size_t i = 0; i < bytes; ++i) EXPECT(got[i] == want[i], "%d rows of %d, stored as %s, byte %zu", rows, columns, bf16 ? "bf16" : "float32", i);
  }
}

TEST(packed_as_the_definition_says) {
  using Formats = const Format[];
  for (Format format : Formats{Format::kF32, Format::kBf16, Format::kI8})
    for (int rows : Ints{1, 15, 16, 17, 50})
      for (int columns : Ints{1, 2, 31, 32, 33, 101, 896}) Check(format, rows, columns);
}

TEST(int8_refuses_what_is_no_number) {
  for (float bad : Floats{NAN, __builtin_inff(), -__builtin_inff()})
    for (int at : Ints{0, 40, 99}) {
      Random random(1);
      Array<float> w(100, random);
      Array<uint8_t> out(PackedBytes(Format::kI8, 2, 50));
      w[at] = bad;
      EXPECT(llmos_pack(LLMOS_INT8, LLMOS_FLOAT32, 2, 50, w, out) == LLMOS_BAD_NUMBER);
    }
}

TEST(unknown_formats_and_shapes_are_refused) {
  float w[1] = {1};
  uint8_t out[544];
  EXPECT(llmos_pack(7, LLMOS_FLOAT32, 1, 1, w, out) == LLMOS_UNSUPPORTED);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_INT8, 1, 1, w, out) == LLMOS_UNSUPPORTED);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_FLOAT32, -1, 1, w, out) == LLMOS_BAD_SHAPE);
  EXPECT(llmos_pack(LLMOS_FLOAT32, LLMOS_FLOAT32, 1, 1, nullptr, out) == LLMOS_BAD_SHAPE);
}

int main() { return RunTests(); }
