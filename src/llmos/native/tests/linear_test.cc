#include "testing.h"

using namespace llmos;

constexpr int kTokens = 19;  // every tile of tokens: 8 + 8 + 2 + 1 or three of 6 and 1

template <Format kFormat, int N, int K, bool kBias, bool kAdd>
struct Problem {
  static constexpr int kRows = (int)RoundUp(N, 16), kLd = kRows + 16;
  static constexpr size_t kRowBytes = RowBytes(kFormat, K);
  Random random{(uint64_t)N * 1000 + K};
  Array<float> w{(size_t)N * K, random}, x{(size_t)kTokens * K, random}, bias{N, random}, add{(size_t)kTokens * kLd, random};
  Array<uint8_t> packed{PackedBytes(kFormat, N, K)}, rows{kTokens * kRowBytes};

  Problem() {
    Pack(kFormat, w, N, K, packed);
    OnTeam(1, [&](Team& team) { ToRows<kFormat, K>(team, x, rows, kRowBytes, kTokens); });
  }

  double Activation(int t, int k) {
    const uint8_t* row = rows + t * kRowBytes;
    if (kFormat == Format::kF32 || kFormat == Format::kF16) return ((const float*)row)[k];
    if (kFormat == Format::kBf16) return FromBf16(((const uint16_t*)row)[k]);
    if (kFormat == Format::kI4) {
      const Pow2Group& group = ((const Pow2Group*)row)[k / 32];
      return (double)group.q[k % 32] * ScaleOf(group);
    }
    const I8Group& group = ((const I8Group*)row)[k / 32];
    return (double)group.q[k % 32] * group.scale;
  }

  void Run(int threads, int first, int tokens, const float* added, float* y) {
    const uint8_t* in = rows + first * kRowBytes;
    OnTeam(threads, [&](Team& team) {
      if constexpr (kFormat == Format::kF32) LinearF32<N, K, kBias, kAdd>(team, packed, (const float*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
      if constexpr (kFormat == Format::kF16) LinearF16<N, K, kBias, kAdd>(team, packed, (const float*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
      if constexpr (kFormat == Format::kBf16) LinearBf16<N, K, kBias, kAdd>(team, packed, (const uint16_t*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
      if constexpr (kFormat == Format::kI8) LinearI8<N, K, kBias, kAdd>(team, packed, (const I8Group*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
      if constexpr (kFormat == Format::kI4) LinearI4<N, K, kBias, kAdd>(team, packed, (const Pow2Group*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
      if constexpr (kFormat == Format::kU4) LinearU4<N, K, kBias, kAdd>(team, packed, (const I8Group*)in, kRowBytes, bias, added, kLd, y, kLd, tokens);
    });
  }

  void AgreesWithDefinition(float* y) {
    for (int t = 0; t < kTokens; ++t)
      for (int n = 0; n < N; ++n) {
        double want = (kBias ? bias[n] : 0) + (kAdd ? (double)add[t * kLd + n] : 0), size = fabs(want);
        for (int k = 0; k < K; ++k) {
          const double product = Activation(t, k) * w[n * K + k];
          want += product;
          size += fabs(product);
        }
        const double tolerance = size * 6e-8 * (8 + sqrt(K));
        EXPECT(Near(y[t * kLd + n], want, tolerance), "format %d N %d K %d: y[%d][%d] = %.9g, want %.9g", (int)kFormat, N, K, t, n, y[t * kLd + n], want);
      }
  }

  bool SameRows(const float* a, const float* b, int tokens) {
    for (int t = 0; t < tokens; ++t)
      if (memcmp(a + t * kLd, b + t * kLd, N * sizeof(float)) != 0) return false;
    return true;
  }

  void Check() {
    Array<float> y(kTokens * kLd), other(kTokens * kLd);
    Run(1, 0, kTokens, add, y);
    AgreesWithDefinition(y);
    Run(3, 0, kTokens, add, other);
    EXPECT(SameRows(y, other, kTokens), "threads change N %d K %d", N, K);
    for (int t = 0; t < kTokens; ++t) Run(2, t, 1, add + t * kLd, other + t * kLd);
    EXPECT(SameRows(y, other, kTokens), "one by one changes N %d K %d", N, K);
    for (int tokens : Ints{2, 3, 5, 7, 9, 10, 15}) {
      Run(1, 1, tokens, add + kLd, other);
      EXPECT(SameRows(y + kLd, other, tokens), "%d tokens change N %d K %d", tokens, N, K);
    }
    memcpy(other, add, kTokens * kLd * sizeof(float));
    Run(2, 0, kTokens, other, other);
    EXPECT(SameRows(y, other, kTokens), "in place changes N %d K %d", N, K);
    for (int t = 0; t < kTokens; ++t)
      for (int n = kRows; n < kLd; ++n) EXPECT(y[t * kLd + n] == 0, "written past the last block of N %d", N);
  }
};

template <Format kFormat>
static void CheckSizes() {
  Problem<kFormat, 1, 1, true, false>().Check();
  Problem<kFormat, 15, 31, false, true>().Check();
  Problem<kFormat, 16, 32, true, true>().Check();
  Problem<kFormat, 33, 17, false, false>().Check();
  Problem<kFormat, 172, 64, false, true>().Check();
  Problem<kFormat, 130, 333, true, true>().Check();
  Problem<kFormat, 600, 40, false, true>().Check();  // so many row blocks that a thread claims several at once
}

TEST(float32) { CheckSizes<Format::kF32>(); }
TEST(bf16) { CheckSizes<Format::kBf16>(); }
TEST(int8) { CheckSizes<Format::kI8>(); }
TEST(float16) { CheckSizes<Format::kF16>(); }
TEST(int4) { CheckSizes<Format::kI4>(); }
TEST(uint4) { CheckSizes<Format::kU4>(); }

// The largest sums that there can be: all codes and activations at their ends, int8's -128 among them.
template <Format kFormat>
static void CheckExtremes() {
  Problem<kFormat, 32, 64, false, false> problem;
  for (int i = 0; i < 32 * 64; ++i) problem.w[i] = 0;
  Array<float> y(kTokens * problem.kLd);
  for (int pattern = 0; pattern < 4; ++pattern) {
    for (int row = 0; row < 32; ++row)
      for (int k = 0; k < 64; ++k) {
        uint8_t* group = problem.packed + (row / 16 * 2 + k / 32) * GroupBytes(kFormat);
        const int code = (pattern & 1) == (k & 1) ? (kFormat == Format::kI8 ? 255 : 15) : (row & 1 ? 0 : (kFormat == Format::kI8 ? 255 : 15));
        PutCode(kFormat, group, row % 16, k % 32, code);
        uint16_t* halves = (uint16_t*)(group + CodeBytes(kFormat));
        halves[row % 16] = ToHalf(1);
        if (kFormat == Format::kU4) halves[16 + row % 16] = ToHalf(-3);
        problem.w[row * 64 + k] = (float)(code - (kFormat == Format::kI8 ? 128 : kFormat == Format::kI4 ? 8 : 3));
      }
    for (int t = 0; t < kTokens; ++t)
      for (int k = 0; k < 64; ++k) {
        const int8_t q = (int8_t)((pattern & 2) == 0 || k % 2 == 0 ? -127 : 127);
        uint8_t* row = problem.rows + t * problem.kRowBytes;
        if (kFormat == Format::kI4) {
          Pow2Group& group = ((Pow2Group*)row)[k / 32];
          if (k % 32 == 0) group.power = group.offset = 0;
          group.q[k % 32] = q;
          group.offset -= 8 * q;
        } else {
          I8Group& group = ((I8Group*)row)[k / 32];
          if (k % 32 == 0) group.sum = 0, group.scale = 1;
          group.q[k % 32] = q;
          group.sum += q;
        }
      }
    problem.Run(1, 0, kTokens, nullptr, y);
    problem.AgreesWithDefinition(y);
  }
}

TEST(extremes_do_not_overflow) {
  CheckExtremes<Format::kI8>();
  CheckExtremes<Format::kI4>();
  CheckExtremes<Format::kU4>();
}

// Gate, up and activation at once give the bytes of the three one after another, in every kind of rows.
template <Format kFormat, int N, int K, Act kAct>
static void GatedIsThreeOperations() {
  Problem<kFormat, 2 * N, K, false, false> problem;
  constexpr size_t kBytes = RowBytes(Format::kF32, N);
  Array<float> both((size_t)kTokens * problem.kLd);
  Array<uint8_t> want(kTokens * kBytes), got(kTokens * kBytes);
  problem.Run(1, 0, kTokens, nullptr, both);
  const auto compare = [&](const char* rows, auto to) {
    for (size_t i = 0; i < want.n; ++i) want[i] = 0x5a;
    OnTeam(1, [&](Team& team) { GatedActivate<kAct, N>(team, both, problem.kLd, to(want.data()), kTokens); });
    for (int threads : Ints{1, 3})
      for (int tokens : Ints{1, 2, 7, 13, kTokens}) {
        for (size_t i = 0; i < got.n; ++i) got[i] = 0x5a;
        OnTeam(threads, [&](Team& team) { GatedLinear<kFormat, N, K, kAct>(team, problem.packed, problem.rows, problem.kRowBytes, to(got.data()), tokens); });
        EXPECT(memcmp(got, want, tokens * kBytes) == 0, "format %d N %d K %d: %s, %d tokens, %d threads", (int)kFormat, N, K, rows, tokens, threads);
        for (size_t i = tokens * kBytes; i < got.n; ++i) EXPECT(got[i] == 0x5a, "written behind %d tokens", tokens);
      }
  };
  compare("floats", [](uint8_t* p) { return FloatRows{(float*)p, (int)(kBytes / 4)}; });
  compare("pairs", [](uint8_t* p) { return Bf16Rows{(uint16_t*)p, kBytes}; });
  compare("groups", [](uint8_t* p) { return I8Rows{(I8Group*)p, kBytes}; });
  compare("groups of powers", [](uint8_t* p) { return Pow2Rows{(Pow2Group*)p, kBytes}; });
}
template <Format kFormat>
static void GatedSizes() {
  GatedIsThreeOperations<kFormat, 32, 33, Act::kSilu>();
  GatedIsThreeOperations<kFormat, 96, 64, Act::kGeluTanh>();
  GatedIsThreeOperations<kFormat, 1088, 40, Act::kSilu>();
}

TEST(gated_float32) { GatedSizes<Format::kF32>(); }
TEST(gated_bf16) { GatedSizes<Format::kBf16>(); }
TEST(gated_int8) { GatedSizes<Format::kI8>(); }
TEST(gated_float16) { GatedSizes<Format::kF16>(); }
TEST(gated_int4) { GatedSizes<Format::kI4>(); }
TEST(gated_uint4) { GatedSizes<Format::kU4>(); }

// A value that is no number, in whatever token of a tile and group of a row, is seen in all of its token's sums and in no other's.
TEST(int4_of_no_number_is_no_number) {
  constexpr int kColumns = 160;
  Problem<Format::kI4, 48, kColumns, false, false> problem;
  Array<float> y(kTokens * problem.kLd), want(kTokens * problem.kLd);
  problem.Run(1, 0, kTokens, nullptr, want);
  for (float bad : Floats{NAN, __builtin_inff(), -3e38f})
    for (int at : Ints{0, 5, 6, 17, 18}) {
      const float good = problem.x[at * kColumns + 7 * at];
      const auto run = [&](float value) {
        problem.x[at * kColumns + 7 * at] = value;
        OnTeam(1, [&](Team& team) { ToRows<Format::kI4, kColumns>(team, problem.x, problem.rows, problem.kRowBytes, kTokens); });
        problem.Run(2, 0, kTokens, nullptr, y);
      };
      run(bad);
      for (int t = 0; t < kTokens; ++t)
        for (int n = 0; n < 48; ++n)
          EXPECT(t == at ? isnan(y[t * problem.kLd + n]) : y[t * problem.kLd + n] == want[t * problem.kLd + n], "%g in token %d: %g of token %d", bad, at, y[t * problem.kLd + n], t);
      problem.Run(1, at, 1, nullptr, y);
      EXPECT(isnan(y[0]), "alone: %g", y[0]);
      run(good);
      EXPECT(problem.SameRows(y, want, kTokens));
    }
}

// A group of which every weight is 0 has a scale of 0, or -0, and codes of 0; sums are 0 whatever the exponents of activations.
TEST(int4_scales_of_0) {
  Problem<Format::kI4, 16, 32, false, false> problem;
  Array<float> y(kTokens * problem.kLd);
  ZeroGroups(Format::kI4, problem.packed, problem.packed.n);
  for (int lane = 0; lane < 16; ++lane) ((uint16_t*)(problem.packed + CodeBytes(Format::kI4)))[lane] = lane % 2 == 0 ? 0 : 0x8000;
  for (float size : Floats{1e-35f, 1e-20f, 1e-3f, 0.25f, 1, 100, 127, 128, 1e6f, 1e20f, 1e30f}) {
    for (int i = 0; i < kTokens * 32; ++i) problem.x[i] = problem.random.Float(size);
    OnTeam(1, [&](Team& team) { ToRows<Format::kI4, 32>(team, problem.x, problem.rows, problem.kRowBytes, kTokens); });
    problem.Run(1, 0, kTokens, nullptr, y);
    for (int t = 0; t < kTokens; ++t)
      for (int n = 0; n < 16; ++n) EXPECT(y[t * problem.kLd + n] == 0, "%g: %g", size, y[t * problem.kLd + n]);
  }
}

// The smallest scale there is, 2^-24, is multiplied like any other.
TEST(int4_scales_that_are_subnormal) {
  Problem<Format::kI4, 16, 32, false, false> problem;
  Array<float> y(kTokens * problem.kLd);
  for (int lane = 0; lane < 16; ++lane) ((uint16_t*)(problem.packed + CodeBytes(Format::kI4)))[lane] = (uint16_t)(lane + 1 + (lane % 2 << 15));
  for (int n = 0; n < 16; ++n)
    for (int k = 0; k < 32; ++k) {
      const uint8_t byte = problem.packed[k % 16 / 4 * 64 + n * 4 + k % 4];
      problem.w[n * 32 + k] = (float)((k < 16 ? byte & 15 : byte >> 4) - 8) * (n % 2 == 0 ? 1 : -1) * (float)(n + 1) * 0x1p-24f;
    }
  problem.Run(1, 0, kTokens, nullptr, y);
  problem.AgreesWithDefinition(y);
}

TEST(no_tokens_write_nothing) {
  Problem<Format::kI8, 33, 17, false, false> problem;
  Array<float> y(64);
  y[0] = 7;
  problem.Run(2, 0, 0, nullptr, y);
  EXPECT(y[0] == 7);
}

int main() { return RunTests(); }
