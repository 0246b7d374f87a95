#include "llmos/pages.h"

#include "testing.h"

using namespace llmos;

// What docs/step_abi.md says of where a number lies.
template <int d, Kv kFormat>
static double Number(const KvHead<d, kFormat>& head, int slot, int i, bool value) {
  const int pair = kFormat == Kv::kBf16 ? 2 : 1, padded = (d + 15) / 16 * 16;
  const int at = value ? (slot / pair * padded + i) * pair + slot % pair : (i / pair * 32 + slot) * pair + i % pair;
  const uint8_t* base = value ? head.values() : head.keys();
  if (kFormat == Kv::kF32) return ((const float*)base)[at];
  if (kFormat == Kv::kF16) return FromHalf(((const uint16_t*)base)[at]);
  if (kFormat == Kv::kBf16) return FromBf16(((const uint16_t*)base)[at]);
  return (double)(int8_t)base[at] * (value ? head.value_scales() : head.key_scales())[slot];
}

template <int d, Kv kFormat>
static void Check(double relative) {
  using Head = KvHead<d, kFormat>;
  Random random(d);
  Array<uint8_t> page(Head::kBytes);
  memset(page, 0xff, Head::kBytes);
  Array<float> keys((size_t)kPage * d, random, 2), values((size_t)kPage * d, random, 2);
  const Head head{page};
  for (int i = 0; i < kPage; ++i) {
    const int slot = i * 5 % kPage;
    head.Append(slot, keys + slot * d, values + slot * d);
  }
  for (int slot = 0; slot < kPage; ++slot)
    for (int i = 0; i < 2 * d; ++i) {
      const double want = (i < d ? keys : values)[slot * d + i % d], got = Number(head, slot, i % d, i >= d);
      EXPECT(Near(got, want, relative * (kFormat == Kv::kI8 ? 2 : fabs(want))), "d %d slot %d place %d: %g, not %g", d, slot, i, got, want);
    }
  if (d % 2 && kFormat == Kv::kBf16) EXPECT(Number(head, 3, d, false) == 0, "the missing half of the last pair is 0");
  EXPECT(head.Finite(0, kPage));
  for (float bad : Floats{NAN, __builtin_inff(), -__builtin_inff()}) {
    Array<float> row(d, random, 2);
    row[d - 1] = bad;
    head.Append(7, row, row);
    EXPECT(head.Finite(0, 7) && head.Finite(8, kPage) && head.Finite(3, 3));
    EXPECT(head.Finite(5, 8) == (kFormat == Kv::kI8));
  }
}

TEST(keys_and_values_lie_where_they_are_read) {
  Check<1, Kv::kF32>(0), Check<17, Kv::kF32>(0), Check<64, Kv::kF32>(0);
  Check<1, Kv::kF16>(0x1p-11), Check<33, Kv::kF16>(0x1p-11), Check<64, Kv::kF16>(0x1p-11);
  Check<1, Kv::kBf16>(0x1p-8), Check<2, Kv::kBf16>(0x1p-8), Check<15, Kv::kBf16>(0x1p-8), Check<64, Kv::kBf16>(0x1p-8);
  Check<1, Kv::kI8>(0x1p-7), Check<20, Kv::kI8>(0x1p-7), Check<64, Kv::kI8>(0x1p-7);
}

int main() { return RunTests(); }
