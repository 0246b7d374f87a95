#include "testing.h"

using namespace llmos;

template <int K>
static void CheckBf16() {
  constexpr int kRows = 3, kLd = K + 5;
  constexpr size_t kRowBytes = RoundUp(2 * (K + K % 2), 64);
  Random random(K);
  Array<float> x(kRows * kLd, random);
  Array<uint16_t> y(kRows * kRowBytes / 2);
  OnTeam(2, [&](Team& team) { QuantBf16<K>(team, x, kLd, y, kRowBytes, kRows); });
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < K + K % 2; ++k) {
      const uint16_t want = k < K ? ToBf16(x[row * kLd + k]) : (uint16_t)0;
      EXPECT(y[row * (kRowBytes / 2) + k] == want, "K %d, row %d, k %d", K, row, k);
    }
}

template <int K>
static void CheckI8() {
  constexpr int kRows = 3, kLd = K + 3, kGroups = (K + 31) / 32;
  constexpr size_t kRowBytes = RoundUp(40 * kGroups, 64);
  Random random(K + 1000);
  Array<float> x(kRows * kLd, random, 8);
  for (int k = 0; k < K && k < 32; ++k) x[kLd + k] = 0;  // a group of zeros
  Array<uint8_t> y(kRows * kRowBytes);
  OnTeam(2, [&](Team& team) { QuantI8<K>(team, x, kLd, (I8Group*)(uint8_t*)y, kRowBytes, kRows); });
  for (int row = 0; row < kRows; ++row)
    for (int g = 0; g < kGroups; ++g) {
      const I8Group& group = ((const I8Group*)(y + row * kRowBytes))[g];
      float largest = 0;
      int sum = 0;
      for (int i = 0; i < 32; ++i) {
        const int k = 32 * g + i;
        const float v = k < K ? x[row * kLd + k] : 0;
        largest = fmaxf(largest, fabsf(v));
        sum += group.q[i];
        EXPECT(k < K || group.q[i] == 0, "padding of K %d is %d", K, group.q[i]);
        EXPECT(group.q[i] >= -127);
        EXPECT(fabs((double)group.q[i] * group.scale - v) <= 0.5001 * group.scale, "K %d, k %d: %g", K, k, v);
      }
      EXPECT(group.scale == largest / 127 && group.sum == sum, "K %d group %d", K, g);
    }
}

template <int K>
static void CheckPow2() {
  constexpr int kRows = 3, kLd = K + 3, kGroups = (K + 31) / 32;
  constexpr size_t kRowBytes = RoundUp(40 * kGroups, 64);
  Random random(K + 2000);
  Array<float> x(kRows * kLd, random, 8);
  for (int k = 0; k < K && k < 32; ++k) x[kLd + k] = 0;
  x[2 * kLd] = 127;  // a scale that needs no rounding up
  Array<uint8_t> y(kRows * kRowBytes);
  OnTeam(2, [&](Team& team) { QuantPow2<K>(team, x, kLd, (Pow2Group*)(uint8_t*)y, kRowBytes, kRows); });
  for (int row = 0; row < kRows; ++row)
    for (int g = 0; g < kGroups; ++g) {
      const Pow2Group& group = ((const Pow2Group*)(y + row * kRowBytes))[g];
      const double scale = ScaleOf(group);
      float largest = 0;
      int sum = 0;
      for (int i = 0; i < 32; ++i) {
        const int k = 32 * g + i;
        const float v = k < K ? x[row * kLd + k] : 0;
        largest = fmaxf(largest, fabsf(v));
        sum += group.q[i];
        EXPECT(k < K || group.q[i] == 0, "padding of K %d is %d", K, group.q[i]);
        EXPECT(group.q[i] >= -127 && fabs(group.q[i] * scale - v) <= 0.5001 * scale, "K %d, k %d: %g", K, k, v);
      }
      EXPECT(group.offset == -8 * sum && (group.power & 0x7fffff) == 0, "K %d group %d", K, g);
      EXPECT(largest == 0 ? scale == 0x1p-100 : 127 * scale >= largest && 127 * scale < 2.0001 * largest, "K %d group %d: %g for %g", K, g, scale, largest);
    }
}

TEST(rows_of_powers_at_the_edges) {
  CheckPow2<1>();
  CheckPow2<15>();
  CheckPow2<31>();
  CheckPow2<32>();
  CheckPow2<33>();
  CheckPow2<48>();
  CheckPow2<101>();
  CheckPow2<896>();
}

TEST(bf16_rows_at_the_edges) {
  CheckBf16<1>();
  CheckBf16<15>();
  CheckBf16<16>();
  CheckBf16<17>();
  CheckBf16<53>();
  CheckBf16<896>();
}

TEST(int8_rows_at_the_edges) {
  CheckI8<1>();
  CheckI8<15>();
  CheckI8<31>();
  CheckI8<32>();
  CheckI8<33>();
  CheckI8<48>();
  CheckI8<101>();
  CheckI8<896>();
}

TEST(a_value_that_is_no_number_is_not_hidden) {
  for (float bad : Floats{NAN, __builtin_inff(), -__builtin_inff()})
    for (int at : Ints{0, 17, 31}) {
      Random random(5);
      Array<float> x(32, random);
      Array<I8Group> y(1);
      x[at] = bad;
      OnTeam(1, [&](Team& team) { QuantI8<32>(team, x, 32, y, sizeof(I8Group), 1); });
      EXPECT(!isfinite(y[0].scale), "scale %g with %g at %d", y[0].scale, bad, at);
      Array<Pow2Group> powers(1);
      OnTeam(1, [&](Team& team) { QuantPow2<32>(team, x, 32, powers, sizeof(Pow2Group), 1); });
      EXPECT(powers[0].power == kNoNumber, "power %d with %g at %d", powers[0].power, bad, at);
    }
}

int main() { return RunTests(); }
