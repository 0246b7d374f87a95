#include "testing.h"

#include "llmos/check.h"

using namespace llmos;

constexpr Scores kScores{0.3f, 0, 0};

// A query's number as it meets keys in bfloat16.
static double Rounded(double x, const Scores& how) {
  const double factor = how.cap != 0 ? how.scale / how.cap : how.scale * kLog2E;
  return FromBf16(ToBf16((float)(x * factor))) / factor;
}

// A model of one attention layer, its pages full of NaN before they are written.
template <int H, int KV, int d, Kv kFormat, int kRope>
struct Problem {
  static constexpr int kLd = (int)RoundUp((H + 2 * KV) * d, 16), kLdOut = (int)RoundUp(H * d, 16), kPages = 24, kContext = 300;
  static constexpr uint64_t kLayer = 128, kPageBytes = kLayer + KvLayerBytes<KV, d, kFormat>() + 64;
  static_assert(KvLayerBytes<KV, d, kFormat>() % 64 == 0, "pages stay aligned");
  using Head = KvHead<d, kFormat>;
  static constexpr bool kDots = kFormat == Kv::kBf16 && kPairDots;
  int length;
  Scores how = kScores;
  Random random{(uint64_t)H * 100 + d};
  Array<float> input, rope{(size_t)kContext * (d / 2) * 2 + 1};

  explicit Problem(int n) : length(n), input((size_t)n * kLd, random, 2) {
    for (int p = 0; p < kContext; ++p)
      for (int i = 0; i < d / 2; ++i) {
        const double angle = p * pow(1e4, -2.0 * i / d);
        rope[p * (d / 2) + i] = (float)cos(angle);
        rope[(kContext + p) * (d / 2) + i] = (float)sin(angle);
      }
  }

  // Computes tokens first .. first + n - 1 into their rows of out; pages of the sequence are 3 p + offset mod kPages.
  void Step(int threads, int first, int n, uint8_t* kv, int offset, float* out) {
    Array<int32_t> positions(n), sequence(n), table(kPages);
    for (int t = 0; t < n; ++t) positions[t] = first + t;
    for (int p = 0; p < kPages; ++p) table[p] = (5 * p + offset) % kPages;
    LlmosModel model{};
    model.kv = kv;
    model.rope = rope;
    model.context = kContext;
    LlmosStep step{};
    step.n_tokens = n;
    step.max_pages = kPages;
    step.positions = positions;
    step.sequence = sequence;
    step.block_table = table;
    Array<float> rows((size_t)n * kLd);
    memcpy(rows, input + (size_t)first * kLd, (size_t)n * kLd * sizeof(float));
    const Call call(model, step, 0, 0);
    OnTeam(threads, [&](Team& team) {
      RopeAppend<H, KV, d, kFormat, kRope ? d : 0, 0>(team, rows, kLd, call, kPageBytes, kLayer);
      Attention<H, KV, d, kFormat>(team, rows, kLd, call, kPageBytes, kLayer, how, out + (size_t)first * kLdOut, kLdOut);
    });
  }

  // Element i of a head (of H queries, then KV keys, then KV values) after rotation.
  double Rotated(int t, int head, int i) {
    const float* x = input + (size_t)t * kLd + head * d;
    if (!kRope || head >= H + KV) return x[i];
    const double c = rope[t * (d / 2) + i % (d / 2)], s = rope[(kContext + t) * (d / 2) + i % (d / 2)];
    return i < d / 2 ? x[i] * c - x[i + d / 2] * s : x[i] * c + x[i - d / 2] * s;
  }

  // What is stored of a key (or value), as a number.
  static double Stored(const uint8_t* kv, int offset, int t, int h, int i, bool value) {
    const Head head{(uint8_t*)kv + (size_t)((5 * (t / 32) + offset) % kPages) * kPageBytes + kLayer + h * Head::kBytes};
    const int slot = t % 32, pair = kFormat == Kv::kBf16 ? 2 : 1;
    const size_t index = value ? ((size_t)(slot / pair) * Head::kPadded + i) * pair + slot % pair : ((size_t)(i / pair) * 32 + slot) * pair + i % pair;
    const uint8_t* base = value ? head.values() : head.keys();
    if (kFormat == Kv::kF32) return ((const float*)base)[index];
    if (kFormat == Kv::kF16) return FromHalf(((const uint16_t*)base)[index]);
    if (kFormat == Kv::kBf16) return FromBf16(((const uint16_t*)base)[index]);
    const float* scales = value ? head.value_scales() : head.key_scales();
    return (double)(int8_t)base[index] * scales[t % 32];
  }

  void StoredValuesAreClose(const uint8_t* kv, int offset) {
    for (int t = 0; t < length; ++t)
      for (int h = 0; h < 2 * KV; ++h) {
        double largest = 0;
        for (int i = 0; i < d; ++i) largest = fmax(largest, fabs(Rotated(t, H + h, i)));
        for (int i = 0; i < d; ++i) {
          const double want = Rotated(t, H + h, i), got = Stored(kv, offset, t, h % KV, i, h >= KV);
          const double tolerance = kFormat == Kv::kF32 ? 3e-7 * largest : kFormat == Kv::kBf16 ? fabs(want) / 255 + 1e-6 : kFormat == Kv::kF16 ? fabs(want) / 2040 + 1e-6 : largest / 253;
          EXPECT(Near(got, want, tolerance), "%d of token %d: stored %.9g, want %.9g", h, t, got, want);
        }
      }
  }

  double Score(const uint8_t* kv, int offset, int t, int h, int j) {
    double dot = 0;
    for (int i = 0; i < d; ++i) {
      const double x = Rotated(t, h, i);
      dot += (kDots ? Rounded(x, how) : x) * Stored(kv, offset, j, h / (H / KV), i, false);
    }
    return how.cap != 0 ? how.cap * tanh(dot * how.scale / how.cap) : dot * how.scale;
  }

  // Scores are sums of d products; a weight in bfloat16 is off by up to 2^-9, and so is their sum. Values are below 2.
  void AgreesWithDefinition(const float* out, const uint8_t* kv, int offset) {
    const double tolerance = kDots ? 0x1p-7 : d > 64 ? d * 1.5e-7 : 1e-5;
    for (int t = 0; t < length; ++t)
      for (int h = 0; h < H; ++h) {
        const int oldest = how.window && t >= how.window ? t - how.window + 1 : 0;
        Array<double> weight(t + 1);
        double largest = -1e300, sum = 0;
        for (int j = oldest; j <= t; ++j) largest = fmax(largest, weight[j] = Score(kv, offset, t, h, j));
        for (int j = oldest; j <= t; ++j) sum += weight[j] = exp(weight[j] - largest);
        for (int i = 0; i < d; ++i) {
          double want = 0;
          for (int j = oldest; j <= t; ++j) want += weight[j] / sum * Stored(kv, offset, j, h / (H / KV), i, true);
          const float got = out[(size_t)t * kLdOut + h * d + i];
          EXPECT(Near(got, want, tolerance), "H %d KV %d d %d: out[%d][%d][%d] = %.9g, want %.9g", H, KV, d, t, h, i, got, want);
        }
      }
  }

  void Check() {
    Array<uint8_t> kv(kPages * kPageBytes);
    Array<float> out((size_t)length * kLdOut), other((size_t)length * kLdOut);
    memset(kv, 0xff, kv.n);
    Step(1, 0, length, kv, 0, out);
    StoredValuesAreClose(kv, 0);
    AgreesWithDefinition(out, kv, 0);
    for (int chunk : Ints{1, 7, 32, 33, length}) {
      memset(kv, 0xff, kv.n);
      for (int first = 0; first < length; first += chunk) Step(1 + chunk % 3, first, length - first < chunk ? length - first : chunk, kv, chunk, other);
      EXPECT(memcmp(out, other, sizeof(float) * out.n) == 0, "chunks of %d change d %d", chunk, d);
    }
  }
};

TEST(float32_pages) {
  Problem<1, 1, 1, Kv::kF32, 0>(33).Check();
  Problem<2, 1, 2, Kv::kF32, 1>(70).Check();
  Problem<8, 4, 8, Kv::kF32, 1>(100).Check();
  Problem<6, 2, 17, Kv::kF32, 0>(65).Check();
  Problem<14, 2, 64, Kv::kF32, 1>(97).Check();
}
TEST(bf16_pages) {
  Problem<3, 3, 15, Kv::kBf16, 0>(64).Check();
  Problem<8, 4, 8, Kv::kBf16, 1>(100).Check();
  Problem<4, 1, 48, Kv::kBf16, 1>(40).Check();
  Problem<14, 2, 64, Kv::kBf16, 1>(97).Check();
}
TEST(float16_pages) {
  Problem<1, 1, 1, Kv::kF16, 0>(33).Check();
  Problem<8, 4, 8, Kv::kF16, 1>(100).Check();
  Problem<5, 1, 20, Kv::kF16, 1>(66).Check();
  Problem<14, 2, 64, Kv::kF16, 1>(97).Check();
}
TEST(int8_pages) {
  Problem<1, 1, 1, Kv::kI8, 0>(33).Check();
  Problem<8, 4, 8, Kv::kI8, 1>(100).Check();
  Problem<5, 1, 20, Kv::kI8, 1>(66).Check();
  Problem<14, 2, 64, Kv::kI8, 1>(97).Check();
}

TEST(windows_and_caps) {
  for (int window : Ints{1, 5, 32, 40, 64}) {
    Problem<4, 2, 16, Kv::kF32, 1> exact(110);
    exact.how = {0.3f, window % 2 ? 1.5f : 0, window};
    exact.Check();
    Problem<7, 1, 24, Kv::kBf16, 1> pairs(110);
    pairs.how = {0.3f, window % 2 ? 0 : 1.5f, window};
    pairs.Check();
    Problem<2, 2, 24, Kv::kI8, 1> bytes(70);
    bytes.how = {0.3f, 0, window};
    bytes.Check();
  }
}

// What a tile keeps on its stack does not grow with the model: queries and slices of a head are taken in turn.
TEST(queries_in_turn) {
  Problem<16, 1, 8, Kv::kF32, 1>(40).Check();
  Problem<40, 1, 8, Kv::kBf16, 1>(70).Check();
  Problem<34, 2, 20, Kv::kI8, 1>(40).Check();
  Problem<100000, 1, 1, Kv::kF32, 0>(2).Check();
}
TEST(slices_of_large_heads) {
  Problem<2, 1, 512, Kv::kF32, 1>(35).Check();
  Problem<2, 1, 530, Kv::kF32, 1>(35).Check();
  Problem<18, 1, 1100, Kv::kBf16, 1>(33).Check();
  Problem<2, 2, 1024, Kv::kI8, 0>(33).Check();
}

// Rows of several sequences in one step, one token of each sequence apart.
TEST(neighbours_change_nothing) {
  constexpr int H = 4, KV = 2, d = 8, kTokens = 40, kSequences = 3, kMaxPages = 2;
  using P = Problem<H, KV, d, Kv::kBf16, 1>;
  P problem(kTokens * kSequences);
  Array<float> alone((size_t)problem.length * P::kLdOut), crowd((size_t)problem.length * P::kLdOut), rows(problem.input.n);
  Array<uint8_t> kv(P::kPages * P::kPageBytes);
  Array<int32_t> positions(problem.length), sequence(problem.length), table(kSequences * kMaxPages);
  for (int p = 0; p < kSequences * kMaxPages; ++p) table[p] = 7 * p % P::kPages;
  LlmosModel model{};
  LlmosStep step{};
  model.kv = kv;
  model.rope = problem.rope;
  model.context = P::kContext;
  step.max_pages = kMaxPages;
  step.positions = positions;
  step.sequence = sequence;
  step.block_table = table;
  const auto run = [&](int first, int n, float* out) {
    step.n_tokens = n;
    memcpy(rows, problem.input.data() + (size_t)first * P::kLd, (size_t)n * P::kLd * sizeof(float));
    const Call call(model, step, 0, 0);
    OnTeam(2, [&](Team& team) {
      RopeAppend<H, KV, d, Kv::kBf16, d, 0>(team, rows, P::kLd, call, P::kPageBytes, P::kLayer);
      Attention<H, KV, d, Kv::kBf16>(team, rows, P::kLd, call, P::kPageBytes, P::kLayer, kScores, out, P::kLdOut);
    });
  };
  for (int i = 0; i < problem.length; ++i) {
    positions[0] = i / kSequences;
    sequence[0] = i % kSequences;
    run(i, 1, alone + (size_t)i * P::kLdOut);
  }
  memset(kv, 0xff, kv.n);
  for (int i = 0; i < problem.length; ++i) {
    positions[i] = i / kSequences;
    sequence[i] = i % kSequences;
  }
  run(0, problem.length, crowd);
  EXPECT(memcmp(alone, crowd, sizeof(float) * alone.n) == 0);
}

// Sequences that stand whole and one after another: every token attends to all of its own, as the last does where it is causal.
TEST(whole_sequences) {
  constexpr int H = 4, KV = 2, d = 12, kSequences = 4, kLengths[kSequences] = {1, 33, 64, 7}, kTokens = 105;
  using P = Problem<H, KV, d, Kv::kF32, 0>;
  P problem(kTokens);
  Array<int32_t> positions(kTokens), sequence(kTokens), table(kSequences * 2);
  for (int p = 0; p < kSequences * 2; ++p) table[p] = p;
  Array<uint8_t> kv(P::kPages * P::kPageBytes);
  memset(kv, 0xff, kv.n);
  LlmosModel model{};
  LlmosStep step{};
  model.kv = kv;
  model.context = P::kContext;
  step.n_tokens = kTokens;
  step.max_pages = 2;
  step.positions = positions;
  step.sequence = sequence;
  step.block_table = table;
  for (int s = 0, t = 0; s < kSequences; ++s)
    for (int p = 0; p < kLengths[s]; ++p, ++t) positions[t] = p, sequence[t] = s;
  EXPECT(CheckWhole(step) == LLMOS_OK);
  Array<float> rows(problem.input.n), whole((size_t)kTokens * P::kLdOut), causal(whole.n);
  const Call call(model, step, 0, 0);
  for (int s = 0, first = 0; s < kSequences; first += kLengths[s++])
    for (int t = first; t < first + kLengths[s]; ++t) {  // every token in turn asks as if it were the last of its sequence
      memcpy(rows, problem.input.data(), problem.input.n * sizeof(float));
      const int last = first + kLengths[s] - 1;
      for (int i = 0; i < H * d; ++i) rows[(size_t)last * P::kLd + i] = rows[(size_t)t * P::kLd + i];
      OnTeam(1, [&](Team& team) {
        RopeAppend<H, KV, d, Kv::kF32, 0, 0>(team, rows, P::kLd, call, P::kPageBytes, P::kLayer);
        Attention<H, KV, d, Kv::kF32>(team, rows, P::kLd, call, P::kPageBytes, P::kLayer, kScores, causal, P::kLdOut);
        Attention<H, KV, d, Kv::kF32, false>(team, rows, P::kLd, call, P::kPageBytes, P::kLayer, kScores, whole, P::kLdOut);
      });
      const float* want = causal.data() + (size_t)last * P::kLdOut;
      for (int row : Ints{t, last}) EXPECT(memcmp(whole.data() + (size_t)row * P::kLdOut, want, H * d * sizeof(float)) == 0, "token %d", t);
    }
}

// Tokens 0 .. 19 see nothing of token 20, whose key or value is no number; those from 20 on do, in whatever chunks.
template <Kv kFormat>
static void NoNumbers(int place, float bad) {
  Problem<2, 1, 8, kFormat, 1> problem(70), sound(70);
  problem.input[20 * problem.kLd + place] = bad;
  Array<uint8_t> kv(problem.kPages * problem.kPageBytes);
  Array<float> out((size_t)problem.length * problem.kLdOut), want(out.n), chunks(out.n);
  sound.Step(1, 0, 70, kv, 0, want);
  problem.Step(2, 0, 70, kv, 0, out);
  EXPECT(memcmp(out, want, 20 * problem.kLdOut * sizeof(float)) == 0, "a later token reached an earlier one");
  EXPECT(memcmp(out + 20 * problem.kLdOut, want + 20 * problem.kLdOut, 16 * sizeof(float)) != 0);
  for (int first = 0; first < 70; first += 7) problem.Step(1, first, 7, kv, 0, chunks);
  for (size_t i = 0; i < out.n; ++i) EXPECT(memcmp(out + i, chunks + i, sizeof(float)) == 0 || (isnan(out[i]) && isnan(chunks[i])));
}
TEST(infinities_and_nan_pass_through) {
  for (float bad : Floats{NAN, __builtin_inff(), -__builtin_inff(), 3e38f})
    for (int place : Ints{17, 24, 31}) {
      NoNumbers<Kv::kF32>(place, bad);
      NoNumbers<Kv::kF16>(place, bad);
      NoNumbers<Kv::kBf16>(place, bad);
      NoNumbers<Kv::kI8>(place, bad);
    }
}

int main() { return RunTests(); }
