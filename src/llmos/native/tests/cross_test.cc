#include "llmos/cross.h"

#include "testing.h"

using namespace llmos;

// Two sequences with sources of different lengths against sums in double. Keys and values are random; stored in float32.
template <int H, int KV, int d>
void Check(int threads, int first_length, int second_length) {
  constexpr int kLdKv = (int)RoundUp(2 * KV * d, 16), kLdQ = (int)RoundUp(H * d, 16), kPages = 8, kQueries = 5;
  constexpr uint64_t kLayer = 64, kPageBytes = kLayer + KvLayerBytes<KV, d, Kv::kF32>();
  const int lengths_in[] = {first_length, second_length}, n = first_length + second_length;
  Random random(H * 100 + d);
  Array<float> kv((size_t)n * kLdKv, random), q((size_t)kQueries * kLdQ, random), out((size_t)kQueries * kLdQ);
  Array<int32_t> positions(n), sequence(n), table(2 * kPages), lengths(2), of_queries(kQueries);
  Array<uint8_t> pages(2 * kPages * kPageBytes);
  for (int i = 0; i < 2 * kPages; ++i) table[i] = (5 * i + 3) % (2 * kPages);
  for (int t = 0; t < n; ++t) {
    sequence[t] = t >= first_length;
    positions[t] = t - (t >= first_length ? first_length : 0);
  }
  for (int i = 0; i < 2; ++i) lengths[i] = lengths_in[i];
  for (int t = 0; t < kQueries; ++t) of_queries[t] = t % 2;
  LlmosModel model{};
  model.kv = pages;
  LlmosStep source{}, step{};
  source.n_tokens = n;
  source.max_pages = kPages;
  source.positions = positions;
  source.sequence = sequence;
  source.block_table = table;
  const LlmosSources sources{sizeof(LlmosSources), kPages, table, lengths};
  step.n_tokens = kQueries;
  step.sequence = of_queries;
  step.sources = &sources;
  const Call reads(model, source, 0, 0), writes(model, step, 0, 0);
  OnTeam(threads, [&](Team& team) {
    AppendCross<KV, d, Kv::kF32>(team, kv, kLdKv, reads, kPageBytes, kLayer);
    CrossAttention<H, KV, d, Kv::kF32>(team, q, kLdQ, writes, kPageBytes, kLayer, Scores{0.4f, 0, 0}, out, kLdQ);
  });
  for (int t = 0; t < kQueries; ++t)
    for (int h = 0; h < H; ++h) {
      const int start = t % 2 ? first_length : 0, group = h / (H / KV);
      double sum = 0, want[d] = {};
      for (int s = 0; s < lengths[t % 2]; ++s) {
        const float* row = kv + (size_t)(start + s) * kLdKv;
        double score = 0;
        for (int i = 0; i < d; ++i) score += (double)q[t * kLdQ + h * d + i] * row[group * d + i];
        const double weight = exp(0.4 * score);
        sum += weight;
        for (int i = 0; i < d; ++i) want[i] += weight * row[(KV + group) * d + i];
      }
      for (int i = 0; i < d; ++i)
        EXPECT(Near(out[t * kLdQ + h * d + i], want[i] / sum, 1e-5), "%g, not %g", out[t * kLdQ + h * d + i], want[i] / sum);
    }
}

TEST(queries_attend_to_the_whole_source_of_their_sequence) {
  for (int threads : Ints{1, 3}) {
    Check<4, 2, 12>(threads, 33, 70);
    Check<3, 3, 5>(threads, 1, 32);
    Check<2, 1, 33>(threads, 100, 2);
  }
}

int main() { return RunTests(); }
