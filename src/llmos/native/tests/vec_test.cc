#include "testing.h"

using namespace llmos;

// Largest |got - want| over the lanes of f, relative to `unit(want)`.
template <class F, class Want>
static void Compare(F f, Want want, float from, float to, double relative, double absolute) {
  for (int step = 0; step < 4000; ++step) {
    F16 x;
    for (int i = 0; i < kLanes; ++i) x[i] = from + (to - from) * (float)(step * kLanes + i) / 64000.0f;
    const F16 y = f(x);
    for (int i = 0; i < kLanes; ++i) {
      const double w = want((double)x[i]);
      EXPECT(fabs(y[i] - w) <= relative * fabs(w) + absolute, "f(%.9g) = %.9g, want %.9g", x[i], y[i], w);
    }
  }
}

TEST(exp_is_within_two_units) {
  Compare([](F16 x) { return Exp(x); }, [](double x) { return exp(x); }, -87.2f, 88.2f, 2.4e-7, 0);
}
TEST(tanh_is_close) {
  Compare([](F16 x) { return Tanh(x); }, [](double x) { return tanh(x); }, -20, 20, 0, 4e-7);
}
TEST(erf_is_close) {
  Compare([](F16 x) { return Erf(x); }, [](double x) { return erf(x); }, -6, 6, 0, 5e-7);
}

TEST(exp_of_special_values) {
  const float inf = __builtin_inff();
  EXPECT(Exp(Set(0))[3] == 1);
  EXPECT(Exp(Set(-inf))[0] == 0);
  EXPECT(Exp(Set(-200))[0] == 0);
  EXPECT(Exp(Set(inf))[0] > 2e38f);
  EXPECT(isnan(Exp(Set(NAN))[15]));
  EXPECT(Tanh(Set(inf))[0] == 1 && Tanh(Set(-inf))[0] == -1);
  EXPECT(Erf(Set(inf))[0] == 1 && Erf(Set(-inf))[0] == -1);
}

TEST(reductions_see_every_lane) {
  for (int lane = 0; lane < kLanes; ++lane) {
    F16 v = Set(0);
    v[lane] = 3;
    EXPECT(Sum(v) == 3 && MaxLane(v) == 3);
    v = v - Set(5);
    EXPECT(MaxLane(v) == -2 && MaxLane(Abs(v)) == 5);
  }
}

TEST(parts_touch_only_their_lanes) {
  for (int n = 1; n <= kLanes; ++n) {
    Array<float> in(n), out(n);
    for (int i = 0; i < n; ++i) in[i] = (float)(i + 1);
    const F16 v = LoadPart(in, n);
    for (int i = 0; i < kLanes; ++i) EXPECT(v[i] == (i < n ? (float)(i + 1) : 0));
    StorePart(out, v, n);
    EXPECT(memcmp(in, out, n * sizeof(float)) == 0);
  }
}

TEST(bf16_rounds_to_nearest_even) {
  Random random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint32_t bits = (uint32_t)random.Next();
    float x;
    memcpy(&x, &bits, 4);
    if (isnan(x)) {
      EXPECT(isnan(FromBf16(ToBf16(x))));
      continue;
    }
    const uint16_t low = (uint16_t)(bits >> 16);
    const double below = FromBf16(low), half = ((double)FromBf16((uint16_t)(low + 1)) - below) / 2;
    const bool up = fabs(x - below) > fabs(half) || (fabs(x - below) == fabs(half) && low % 2 == 1);
    if (isfinite(half)) EXPECT(ToBf16(x) == (uint16_t)(low + up), "%a -> %04x", x, ToBf16(x));
  }
  EXPECT(FromBf16(ToBf16(__builtin_inff())) == __builtin_inff());
}

// The value of a float16 by its definition.
static double HalfValue(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const double sign = h & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * __builtin_inf();
  return sign * (exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25));
}

TEST(every_float16_is_read_exactly) {
  for (int first = 0; first < 65536; first += kLanes) {
    uint16_t in[kLanes], out[kLanes];
    for (int i = 0; i < kLanes; ++i) in[i] = (uint16_t)(first + i);
    const F16 v = LoadHalf(in), software = HalfBits(__builtin_convertvector(*(H16*)memcpy(out, in, sizeof in), U16));
    StoreHalf(out, v);
    for (int i = 0; i < kLanes; ++i) {
      const double want = HalfValue(in[i]);
      EXPECT(Near(v[i], want, 0) && signbit(v[i]) == in[i] >> 15, "%04x is %.9g", in[i], v[i]);
      EXPECT(memcmp((char*)&software + 4 * i, (char*)&v + 4 * i, 4) == 0, "%04x by software", in[i]);
      EXPECT(Near(FromHalf(in[i]), want, 0));
      EXPECT(isnan(want) ? isnan(HalfValue(out[i])) && isnan(HalfValue(ToHalf(v[i]))) : out[i] == in[i] && ToHalf(v[i]) == in[i]);
    }
  }
}

TEST(float16_rounds_to_nearest_even) {
  Random random(6);
  for (int i = 0; i < 100000; ++i) {
    const uint16_t low = (uint16_t)(random.Next() & 0x7fff);
    if (low >= 0x7bff) continue;
    const double below = HalfValue(low), above = HalfValue((uint16_t)(low + 1));
    const float middle = (float)((below + above) / 2), x = (float)(below + (above - below) * random.Below(1 << 12) / (1 << 12));
    EXPECT(ToHalf(middle) == (uint16_t)(low + low % 2) && ToHalf(-middle) == (uint16_t)((low + low % 2) | 0x8000), "middle %a", middle);
    const bool up = above - x < x - below || (above - x == x - below && low % 2);
    EXPECT(ToHalf(x) == (uint16_t)(low + up), "%a -> %04x", x, ToHalf(x));
  }
  EXPECT(ToHalf(65519.996f) == 0x7bff && ToHalf(65520) == 0x7c00 && ToHalf(-1e30f) == 0xfc00 && ToHalf(__builtin_inff()) == 0x7c00);
  EXPECT(ToHalf(0x1p-25f) == 0 && ToHalf(0x1.000002p-25f) == 1 && ToHalf(-1e-45f) == 0x8000 && isnan(FromHalf(ToHalf(NAN))));
}

TEST(sums_of_nibbles_are_exact) {
  Random random(7);
  for (int trial = 0; trial < 500; ++trial) {
    const bool extreme = trial % 4 == 0;
    NibbleSums sums;
    int want[kLanes] = {};
    for (int quad = 0; quad < 8; ++quad) {
      B64 codes;
      int8_t x[4];
      for (int i = 0; i < 64; ++i) codes[i] = (uint8_t)(extreme ? 15 : random.Below(16));
      for (auto& v : x) v = (int8_t)(extreme ? (trial % 8 ? 127 : -127) : random.Below(255) - 127);
      int32_t four;
      memcpy(&four, x, 4);
      sums.Add(codes, four);
      for (int i = 0; i < 64; ++i) want[i / 4] += codes[i] * x[i % 4];
    }
    const I16 got = sums.Total();
    for (int r = 0; r < kLanes; ++r) EXPECT(got[r] == want[r], "row %d: %d, want %d", r, got[r], want[r]);
  }
}

TEST(dot4_is_exact) {
  Random random(2);
  for (int trial = 0; trial < 2000; ++trial) {
    alignas(64) uint8_t w[64];
    int8_t x[4];
    const bool extreme = trial % 4 == 0;
    for (auto& v : w) v = (uint8_t)(extreme ? (random.Below(2) ? 255 : 0) : random.Below(256));
    for (auto& v : x) v = (int8_t)(extreme ? (random.Below(2) ? 127 : -127) : random.Below(255) - 127);
    int32_t four, sum = 0;
    memcpy(&four, x, 4);
    for (int8_t v : x) sum += v;
    const I16 got = Dot4(I16{} - (kBiased ? 128 * sum : 0), w, four);
    for (int r = 0; r < kLanes; ++r) {
      int want = 0;
      for (int i = 0; i < 4; ++i) want += ((int)w[4 * r + i] - 128) * x[i];
      EXPECT(got[r] == want, "row %d: %d, want %d", r, got[r], want);
    }
  }
}

TEST(dot_of_bf16_pairs) {
  Random random(3);
  for (int trial = 0; trial < 1000; ++trial) {
    uint16_t w[32], x[2] = {ToBf16(random.Float()), ToBf16(random.Float())};
    for (auto& v : w) v = ToBf16(random.Float());
    uint32_t pair;
    memcpy(&pair, x, 4);
    const F16 got = DotBf16(Set(0.5f), w, pair);
    for (int r = 0; r < kLanes; ++r) {
      const double want = 0.5 + (double)FromBf16(w[2 * r]) * FromBf16(x[0]) + (double)FromBf16(w[2 * r + 1]) * FromBf16(x[1]);
      EXPECT(Near(got[r], want, 4e-7), "%.9g, want %.9g", got[r], want);
    }
  }
}

int main() { return RunTests(); }
