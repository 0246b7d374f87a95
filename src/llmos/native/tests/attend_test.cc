#include "llmos/attend.h"

#include "testing.h"

using namespace llmos;

TEST(powers_of_two) {
  for (int i = 0; i <= 1 << 16; ++i) {
    const float x = -125 + 133 * (float)i / (1 << 16);
    const double want = exp2((double)x);
    const float exact = PowerOf2(Set(x))[0], rough = RoughPowerOf2(Set(x))[0];
    EXPECT(Near(exact, want, 1.5e-7 * want), "2^%g = %g, want %g", x, exact, want);
    EXPECT(Near(rough, want, 7.6e-5 * want), "2^%g = %g, want %g", x, rough, want);
  }
  for (float low : Floats{-126, -1e30f, -__builtin_inff()}) EXPECT(PowerOf2(Set(low))[0] < 1e-37f && RoughPowerOf2(Set(low))[0] < 1e-37f);
  EXPECT(isnan(PowerOf2(Set(NAN))[0]) && isnan(RoughPowerOf2(Set(-NAN))[0]));
}

TEST(whole_groups_stand_side_by_side) {
  for (int group = 1; group < 100; ++group) {
    EXPECT(2 * Abreast(group) > kMostAbreast && Abreast(group) <= kMostAbreast, "%d of groups of %d", Abreast(group), group);
    if (group <= kMostAbreast && group > kMostAbreast / 2) EXPECT(Abreast(group) == group);
  }
}

// One block of queries at many positions against each of them alone: equal bytes.
template <int d, Kv kFormat>
static void Together(int n, int window, float cap) {
  using Block = QueryBlock<d, kFormat, 1>;
  constexpr int kPages = 4;
  Random random(d + n);
  Array<uint8_t> pages(kPages * KvHead<d, kFormat>::kBytes);
  Array<float> rows((size_t)kPages * kPage * d, random, 2), out((size_t)n * d), alone((size_t)n * d);
  Array<int32_t> table(kPages);
  for (int p = 0; p < kPages; ++p) table[p] = (p * 3 + 1) % kPages;
  for (int t = 0; t < kPages * kPage; ++t)
    KvHead<d, kFormat>{pages + table[t / kPage] * KvHead<d, kFormat>::kBytes}.Append(t % kPage, rows + t * d, rows + t * d);
  const Scores how{0.4f, cap, window};
  Block together(how);
  for (int q = 0; q < n; ++q) {
    const int position = q * 3 % (kPages * kPage), oldest = position >= window ? position - window + 1 : 0;
    Block one(how);
    one.query[one.n++] = {rows + q * d, alone + q * d, 0, position, oldest, position};
    together.query[together.n++] = {rows + q * d, out + q * d, 0, position, oldest, position};
    one.Run(pages, table, KvHead<d, kFormat>::kBytes);
  }
  together.Run(pages, table, KvHead<d, kFormat>::kBytes);
  EXPECT(memcmp(out, alone, sizeof(float) * out.n) == 0, "%d queries of %d, window %d", n, d, window);
}

TEST(a_query_is_the_same_alone_and_in_a_block) {
  for (int window : Ints{1, 20, 1000})
    for (int n : Ints{1, 2, 3, 7, 8, 9, 15, 31}) {
      Together<5, Kv::kF32>(n, window, 0);
      Together<32, Kv::kF16>(n, window, 2);
      Together<40, Kv::kBf16>(n, window, 0);
      Together<64, Kv::kI8>(n, window, 0);
    }
  Together<700, Kv::kBf16>(8, 50, 0);
}

int main() { return RunTests(); }
