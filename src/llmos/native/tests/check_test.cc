#include "testing.h"

using namespace llmos;

constexpr int kVocab = 50, kContext = 70;

// A step of three tokens of two sequences that is in order; each test breaks one thing.
struct Fixture {
  int32_t ids[3] = {0, 49, 7}, positions[3] = {0, 69, 33}, sequence[3] = {0, 1, 0}, table[6] = {0, 1, 2, 3, 4, 0}, rows[2] = {2, 0};
  int32_t sampled[2], top_ids[8], scored[2] = {-1, 49}, history[2] = {0, 49}, bias_ids[1] = {3};
  float top_logprobs[8], score_logprobs[2], bias[1] = {1};
  LlmosSampling sampling[2] = {};
  LlmosModel model{};
  LlmosStep step{};

  Fixture() {
    model.abi_version = step.abi_version = LLMOS_ABI_VERSION;
    model.struct_bytes = sizeof model;
    step.struct_bytes = sizeof step;
    model.n_pages = 5;
    model.context = kContext;
    model.max_tokens = 3;
    model.max_outputs = 2;
    step.n_tokens = 3;
    step.n_sequences = 2;
    step.max_pages = 3;
    step.n_outputs = 2;
    step.token_ids = ids;
    step.positions = positions;
    step.sequence = sequence;
    step.block_table = table;
    step.output_rows = rows;
    step.sampling = sampling;
    step.sampling_bytes = sizeof *sampling;
    step.sampled = sampled;
    step.n_top = 4;
    step.top_ids = top_ids;
    step.top_logprobs = top_logprobs;
    step.score_ids = scored;
    step.score_logprobs = score_logprobs;
    sampling[0].history = history;
    sampling[0].n_history = 2;
    sampling[0].n_prompt = 1;
    sampling[0].bias_ids = bias_ids;
    sampling[0].bias_values = bias;
    sampling[0].n_bias = 1;
  }
};

#define REFUSED(status, change)                                                          \
  do {                                                                                   \
    Fixture f;                                                                           \
    f.table[5] = 2;                                                                      \
    f.change;                                                                            \
    const int got = CheckStep(&f.model, &f.step, kVocab);                                \
    EXPECT(got == (status), "%s gives %d, want %d", #change, got, (int)(status));        \
  } while (0)

TEST(a_step_in_order_passes) {
  Fixture f;
  EXPECT(CheckStep(&f.model, &f.step, kVocab) == LLMOS_OK);
  f.step.n_tokens = f.step.n_outputs = 0;
  EXPECT(CheckStep(&f.model, &f.step, kVocab) == LLMOS_OK);
}

TEST(versions) {
  Fixture f;
  EXPECT(CheckStep(nullptr, &f.step, kVocab) == LLMOS_BAD_ABI && CheckStep(&f.model, nullptr, kVocab) == LLMOS_BAD_ABI);
  REFUSED(LLMOS_BAD_ABI, model.abi_version = LLMOS_ABI_VERSION + 1);
  REFUSED(LLMOS_BAD_ABI, step.abi_version = 0);
  REFUSED(LLMOS_BAD_ABI, model.struct_bytes -= 1);
  REFUSED(LLMOS_BAD_ABI, step.struct_bytes -= 1);
  REFUSED(LLMOS_OK, step.struct_bytes += 8);
  REFUSED(LLMOS_BAD_ABI, step.sampling_bytes -= 8);
  REFUSED(LLMOS_BAD_ABI, step.sampling_bytes += 4);  // the second one would not be aligned
}

// A caller whose header has a field more.
TEST(larger_sampling_structures_are_checked_where_they_lie) {
  struct Larger {
    LlmosSampling known;
    uint64_t unknown;
  } sampling[2] = {};
  const int32_t bad = kVocab;
  Fixture f;
  sampling[0].unknown = ~0ull;
  f.step.sampling = &sampling[0].known;
  f.step.sampling_bytes = sizeof(Larger);
  EXPECT(CheckStep(&f.model, &f.step, kVocab) == LLMOS_OK);
  sampling[1].known.history = &bad;
  sampling[1].known.n_history = 1;
  EXPECT(CheckStep(&f.model, &f.step, kVocab) == LLMOS_BAD_TOKEN);
}

TEST(tokens_positions_and_pages) {
  REFUSED(LLMOS_BAD_TOKEN, ids[1] = kVocab);
  REFUSED(LLMOS_BAD_TOKEN, ids[2] = -1);
  REFUSED(LLMOS_BAD_POSITION, positions[1] = kContext);
  REFUSED(LLMOS_BAD_POSITION, positions[0] = -1);
  REFUSED(LLMOS_BAD_POSITION, step.max_pages = 2);
  REFUSED(LLMOS_BAD_PAGE, table[1] = 5);
  REFUSED(LLMOS_BAD_PAGE, table[3] = -1);
  REFUSED(LLMOS_OK, table[2] = 99);  // a page that no token reaches
  REFUSED(LLMOS_BAD_SHAPE, sequence[0] = 2);
  REFUSED(LLMOS_BAD_SHAPE, sequence[2] = -1);
}

TEST(counts_and_arrays) {
  REFUSED(LLMOS_BAD_SHAPE, step.n_tokens = -1);
  REFUSED(LLMOS_BAD_SHAPE, step.n_tokens = 4);
  REFUSED(LLMOS_BAD_SHAPE, step.n_outputs = 3);
  REFUSED(LLMOS_BAD_SHAPE, step.n_sequences = -1);
  REFUSED(LLMOS_BAD_SHAPE, step.n_top = -1);
  REFUSED(LLMOS_BAD_SHAPE, rows[0] = 3);
  REFUSED(LLMOS_BAD_SHAPE, rows[1] = -1);
  REFUSED(LLMOS_BAD_SHAPE, step.token_ids = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, step.block_table = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, step.output_rows = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, step.sampled = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, step.top_logprobs = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, step.score_logprobs = nullptr);
}

TEST(sampling_arrays) {
  REFUSED(LLMOS_BAD_TOKEN, scored[1] = kVocab);
  REFUSED(LLMOS_BAD_TOKEN, history[1] = kVocab);
  REFUSED(LLMOS_BAD_TOKEN, history[0] = -1);
  REFUSED(LLMOS_BAD_TOKEN, bias_ids[0] = kVocab);
  REFUSED(LLMOS_BAD_SHAPE, sampling[0].history = nullptr);
  REFUSED(LLMOS_BAD_SHAPE, sampling[0].n_prompt = 3);
  REFUSED(LLMOS_BAD_SHAPE, sampling[0].n_bias = -1);
  REFUSED(LLMOS_BAD_SHAPE, sampling[0].bias_values = nullptr);
}

TEST(what_needs_a_head) {
  Fixture f;
  f.step.sampling = nullptr;
  f.step.score_ids = nullptr;
  EXPECT(CheckHeadless(f.step) == LLMOS_UNSUPPORTED);  // alternatives
  f.step.n_top = 0;
  EXPECT(CheckHeadless(f.step) == LLMOS_OK);
  uint32_t mask[4] = {};
  f.step.logit_mask = mask;
  EXPECT(CheckHeadless(f.step) == LLMOS_UNSUPPORTED);
}

TEST(sequences_that_must_be_whole) {
  const auto check = [](int32_t a, int32_t at_a, int32_t b, int32_t at_b, int32_t c, int32_t at_c) {
    const int32_t sequence[3] = {a, b, c}, positions[3] = {at_a, at_b, at_c};
    LlmosStep step{};
    step.n_tokens = 3;
    step.sequence = sequence;
    step.positions = positions;
    return CheckWhole(step);
  };
  EXPECT(check(0, 0, 0, 1, 1, 0) == LLMOS_OK);
  EXPECT(check(1, 0, 3, 0, 3, 1) == LLMOS_OK);
  EXPECT(check(0, 0, 0, 2, 1, 0) == LLMOS_BAD_POSITION);
  EXPECT(check(0, 0, 0, 1, 1, 2) == LLMOS_BAD_POSITION);
  EXPECT(check(0, 5, 0, 6, 0, 7) == LLMOS_BAD_POSITION);
  EXPECT(check(1, 0, 0, 0, 0, 1) == LLMOS_BAD_SHAPE);
  EXPECT(check(0, 0, 1, 0, 0, 1) == LLMOS_BAD_SHAPE);
}

TEST(what_is_reserved) {
  REFUSED(LLMOS_UNSUPPORTED, step.adapters = "x");
  REFUSED(LLMOS_UNSUPPORTED, step.collectives = "x");
}

TEST(sources) {
  int32_t table[] = {0, 1, 2, 99}, lengths[] = {33, 32};
  LlmosSources sources{sizeof(LlmosSources), 2, table, lengths};
  LlmosModel model{};
  model.n_pages = 3;
  LlmosStep step{};
  step.n_sequences = 2;
  EXPECT(CheckSources(model, step, false) == LLMOS_OK);
  EXPECT(CheckSources(model, step, true) == LLMOS_UNSUPPORTED);
  step.sources = &sources;
  EXPECT(CheckSources(model, step, false) == LLMOS_UNSUPPORTED);
  EXPECT(CheckSources(model, step, true) == LLMOS_OK);
  lengths[1] = 33;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_PAGE);
  lengths[1] = 65;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_SHAPE);
  lengths[1] = 0;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_SHAPE);
  lengths[1] = 1;
  table[0] = -1;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_PAGE);
  table[0] = 0;
  sources.lengths = nullptr;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_SHAPE);
  sources.lengths = lengths;
  sources.struct_bytes = 8;
  EXPECT(CheckSources(model, step, true) == LLMOS_BAD_ABI);
}

int main() { return RunTests(); }
