#include "testing.h"

using namespace llmos;

constexpr int kRows = 5;

// Runs kernel(team, x, ldx, y, ldy), compares with want(row, i), and again in place and with another team.
template <int D, class Kernel, class Want>
static void Check(Kernel kernel, Want want, double relative, bool in_place = true, int in = D, uint64_t seed = 7) {
  constexpr int kLdy = D + 3;
  const int ldx = in + (in_place && in == D ? 3 : 1);
  Random random(seed);
  Array<float> x((size_t)kRows * ldx, random, 3), y(kRows * kLdy), again(kRows * kLdy);
  OnTeam(1, [&](Team& team) { kernel(team, x, ldx, y, kLdy); });
  for (int row = 0; row < kRows; ++row)
    for (int i = 0; i < kLdy; ++i) {
      const double w = i < D ? want(x + row * ldx, i) : 0;
      EXPECT(Near(y[row * kLdy + i], w, relative * (fabs(w) + 1)), "D %d [%d][%d] = %.9g, want %.9g", D, row, i, y[row * kLdy + i], w);
    }
  OnTeam(3, [&](Team& team) { kernel(team, x, ldx, again, kLdy); });
  EXPECT(memcmp(y, again, sizeof(float) * y.n) == 0, "threads change D %d", D);
  if (!in_place) return;
  OnTeam(2, [&](Team& team) { kernel(team, x, ldx, x, ldx); });
  for (int row = 0; row < kRows; ++row) EXPECT(memcmp(y + row * kLdy, x + row * ldx, D * sizeof(float)) == 0, "in place changes D %d", D);
}

template <int D>
static void Norms() {
  Random random(D);
  Array<float> scale(D, random), bias(D, random);
  const float eps = 1e-5f;
  Check<D>([&](Team& team, const float* x, int ldx, float* y, int ldy) { RmsNorm<D>(team, x, ldx, scale, eps, FloatRows{y, ldy}, kRows); },
           [&](const float* x, int i) {
             double squares = 0;
             for (int j = 0; j < D; ++j) squares += (double)x[j] * x[j];
             return x[i] / sqrt(squares / D + eps) * scale[i];
           },
           1e-6);
  Check<D>([&](Team& team, const float* x, int ldx, float* y, int ldy) { LayerNorm<D, true>(team, x, ldx, scale, bias, eps, FloatRows{y, ldy}, kRows); },
           [&](const float* x, int i) {
             double mean = 0, variance = 0;
             for (int j = 0; j < D; ++j) mean += (double)x[j] / D;
             for (int j = 0; j < D; ++j) variance += (x[j] - mean) * (x[j] - mean) / D;
             return (x[i] - mean) / sqrt(variance + eps) * scale[i] + bias[i];
           },
           D == 1 ? 1e-3 : 2e-5);
}

TEST(norms) {
  Norms<1>();
  Norms<15>();
  Norms<16>();
  Norms<17>();
  Norms<53>();
  Norms<896>();
}

// What a kernel leaves in a format of products is what it would leave as floats, put into that format afterwards.
template <int D>
static void InFormats() {
  constexpr int kLd = 2 * D;
  constexpr size_t kI8 = RoundUp(40 * ((D + 31) / 32), 64), kBf16 = RoundUp(2 * (D + D % 2), 64);
  Random random(D);
  Array<float> x(kRows * kLd, random, 3), scale(D, random), bias(D, random), plain(kRows * D);
  Array<uint8_t> i8(kRows * kI8), i8_then(kRows * kI8), pow2(kRows * kI8), pow2_then(kRows * kI8), bf16(kRows * kBf16), bf16_then(kRows * kBf16);
  const I8Rows to_i8{(I8Group*)i8.data(), kI8};
  const Pow2Rows to_pow2{(Pow2Group*)pow2.data(), kI8};
  const Bf16Rows to_bf16{(uint16_t*)bf16.data(), kBf16};
  const auto check = [&](const char* what, auto kernel) {
    OnTeam(2, [&](Team& team) {
      kernel(team, FloatRows{plain, D});
      QuantI8<D>(team, plain, D, (I8Group*)i8_then.data(), kI8, kRows);
      QuantPow2<D>(team, plain, D, (Pow2Group*)pow2_then.data(), kI8, kRows);
      QuantBf16<D>(team, plain, D, (uint16_t*)bf16_then.data(), kBf16, kRows);
      kernel(team, to_i8);
      kernel(team, to_pow2);
      kernel(team, to_bf16);
    });
    EXPECT(memcmp(i8, i8_then, i8.n) == 0 && memcmp(pow2, pow2_then, pow2.n) == 0 && memcmp(bf16, bf16_then, bf16.n) == 0, "%s, D %d", what, D);
  };
  check("rms", [&](Team& team, const auto& y) { RmsNorm<D>(team, x, kLd, scale, 1e-5f, y, kRows); });
  check("layer", [&](Team& team, const auto& y) { LayerNorm<D, true>(team, x, kLd, scale, bias, 1e-5f, y, kRows); });
  check("act", [&](Team& team, const auto& y) { Activate<Act::kSilu, D>(team, x, kLd, y, kRows); });
  check("gated", [&](Team& team, const auto& y) { GatedActivate<Act::kSilu, D>(team, x, kLd, y, kRows); });
}

TEST(rows_in_the_formats_of_products) {
  InFormats<1>();
  InFormats<17>();
  InFormats<48>();
  InFormats<53>();
  InFormats<896>();
  InFormats<1056>();
  InFormats<2079>();
}

static double Silu(double x) { return x / (1 + exp(-x)); }
static double Gelu(double x) { return 0.5 * x * (1 + erf(x / sqrt(2.0))); }
static double GeluTanh(double x) { return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x))); }
static double Relu(double x) { return x > 0 ? x : 0; }

template <Act kAct, int F>
static void Activation(double (*definition)(double)) {
  Check<F>([](Team& team, const float* x, int ldx, float* y, int ldy) { Activate<kAct, F>(team, x, ldx, FloatRows{y, ldy}, kRows); },
           [&](const float* x, int i) { return definition(x[i]); }, 1e-6);
  Check<F>([](Team& team, const float* x, int ldx, float* y, int ldy) { GatedActivate<kAct, F>(team, x, ldx, FloatRows{y, ldy}, kRows); },
           [&](const float* x, int i) { return definition(x[i]) * x[F + i]; }, 2e-6, false, 2 * F);
}

TEST(activations) {
  Activation<Act::kSilu, 1>(Silu);
  Activation<Act::kSilu, 172>(Silu);
  Activation<Act::kGelu, 17>(Gelu);
  Activation<Act::kGeluTanh, 15>(GeluTanh);
  Activation<Act::kRelu, 53>(Relu);
}

template <Act kAct>
static void AtTheEnds(bool zero_below) {
  const float inf = __builtin_inff();
  EXPECT(Apply<kAct>(Set(1e4f))[0] == 1e4f && Apply<kAct>(Set(inf))[0] == inf);
  EXPECT(fabsf(Apply<kAct>(Set(-1e4f))[0]) == 0 || !zero_below);
  EXPECT(isnan(Apply<kAct>(Set(NAN))[0]), "not a number is hidden by activation %d", (int)kAct);
}

TEST(activations_at_the_ends) {
  AtTheEnds<Act::kSilu>(false);
  AtTheEnds<Act::kGelu>(true);
  AtTheEnds<Act::kGeluTanh>(true);
  AtTheEnds<Act::kRelu>(true);
  EXPECT(fabsf(Apply<Act::kSilu>(Set(-1e4f))[0]) < 1e-30f, "%g", Apply<Act::kSilu>(Set(-1e4f))[0]);
}

template <int D>
static void Elementwise() {
  Random random(D);
  Array<float> b((size_t)kRows * D, random);
  const auto other = [&](const float* x, const float* first, int ldx, int i) { return (double)b[(size_t)((x - first) / ldx) * D + i]; };
  const float* first = nullptr;
  int stride = 0;
  const auto remember = [&](const float* x, int ldx) { first = first ? first : x, stride = ldx; };
  Check<D>([&](Team& team, const float* x, int ldx, float* y, int ldy) { team.RunTiles(1, [&](int) { remember(x, ldx); }); Add<D>(team, x, ldx, b, D, y, ldy, kRows); },
           [&](const float* x, int i) { return x[i] + other(x, first, stride, i); }, 1e-7);
  first = nullptr;
  Check<D>([&](Team& team, const float* x, int ldx, float* y, int ldy) { team.RunTiles(1, [&](int) { remember(x, ldx); }); Mul<D>(team, x, ldx, b, D, y, ldy, kRows); },
           [&](const float* x, int i) { return x[i] * other(x, first, stride, i); }, 1e-7);
  Check<D>([](Team& team, const float* x, int ldx, float* y, int ldy) { Scale<D>(team, x, ldx, 0.125f, y, ldy, kRows); },
           [](const float* x, int i) { return x[i] * 0.125; }, 0);
}

TEST(elementwise) {
  Elementwise<1>();
  Elementwise<16>();
  Elementwise<53>();
}

template <Format kFormat, int V, int D>
static void EmbedRows() {
  Random random(V + D);
  Array<float> table((size_t)V * D, random), y(4 * (D + 1));
  Array<uint8_t> packed(PackedBytes(kFormat, V, D));
  Pack(kFormat, table, V, D, packed);
  const int32_t ids[4] = {V - 1, 0, V / 2, V - 1};
  OnTeam(2, [&](Team& team) { Embed<V, D, kFormat>(team, packed, ids, y, D + 1, 4, 2.0f); });
  for (int row = 0; row < 4; ++row)
    for (int i = 0; i < D; ++i)
      EXPECT(y[row * (D + 1) + i] == table[(size_t)ids[row] * D + i] * 2, "format %d V %d D %d row %d i %d", (int)kFormat, V, D, row, i);
}

template <Format kFormat>
static void EmbedSizes() {
  EmbedRows<kFormat, 1, 1>();
  EmbedRows<kFormat, 16, 32>();
  EmbedRows<kFormat, 37, 33>();
  EmbedRows<kFormat, 130, 101>();
}

TEST(packed_rows) {
  EmbedSizes<Format::kF32>();
  EmbedSizes<Format::kBf16>();
  EmbedSizes<Format::kI8>();
  EmbedSizes<Format::kF16>();
  EmbedSizes<Format::kI4>();
  EmbedSizes<Format::kU4>();
}

TEST(gathered_rows) {
  Random random(11);
  Array<float> x(6 * 20, random), y(4 * 16);
  const int32_t which[4] = {5, 0, 3, 3};
  OnTeam(2, [&](Team& team) { GatherRows<16>(team, x, 20, which, y, 16, 4); });
  for (int row = 0; row < 4; ++row) EXPECT(memcmp(y + row * 16, x + which[row] * 20, 64) == 0);
  OnTeam(2, [&](Team& team) { PlainRows<20>(team, x, which, y, 20, 3); });
  EXPECT(memcmp(y, x + 100, 80) == 0 && memcmp(y + 20, x, 80) == 0);
}

int main() { return RunTests(); }
