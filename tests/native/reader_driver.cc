// What reads memory that a file or a caller filled (llmos_pack, llmos_pack_groups, CheckStep), over random shapes and contents. Every
// array ends right before a page that nobody may touch, or begins right after one: reading past it is the end of the program.
//
//   reader_driver CASES SEED
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "llmos/check.h"
#include "llmos/pack.h"

using namespace llmos;

static uint64_t state;

static uint64_t Next() {
  state += 0x9e3779b97f4a7c15ull;
  uint64_t x = state;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

static int Below(int n) { return (int)(Next() % (uint64_t)n); }

static void Require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  exit(1);
}

// n objects between two pages without access, at the one or the other, filled at random.
template <class T>
struct Fenced {
  uint8_t* pages;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), inside;
  T* data;

  explicit Fenced(size_t n, bool filled = true) : inside((n * sizeof(T) + page - 1) / page * page + (n == 0 ? page : 0)) {
    pages = (uint8_t*)mmap(nullptr, inside + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Require(pages != MAP_FAILED && mprotect(pages + page, inside, PROT_READ | PROT_WRITE) == 0, "no memory");
    data = (T*)(pages + page + (Below(4) ? inside - n * sizeof(T) : 0));
    uint64_t word = 0;
    for (size_t i = 0; filled && i < n * sizeof(T); ++i, word >>= 8) {
      if (i % 8 == 0) word = Next();
      ((uint8_t*)data)[i] = (uint8_t)word;
    }
  }
  Fenced(const Fenced&) = delete;
  ~Fenced() { munmap(pages, inside + 2 * page); }
};

static size_t PackedBytes(int32_t format, size_t rows, size_t columns) {
  const size_t blocks = (rows + 15) / 16, groups = (columns + 31) / 32;
  switch (format) {
    case LLMOS_FLOAT32: return blocks * columns * 64;
    case LLMOS_FLOAT16: return blocks * columns * 32;
    case LLMOS_BF16: return blocks * ((columns + 1) / 2) * 64;
    case LLMOS_INT8: return blocks * groups * 544;
    case LLMOS_INT4: return blocks * groups * 288;
    default: return blocks * groups * 320;
  }
}

static void PackSomething() {
  const int32_t stored[] = {LLMOS_FLOAT32, LLMOS_FLOAT16, LLMOS_BF16}, kind = stored[Below(3)], format = Below(6);
  const int rows = Below(70), columns = 1 + Below(Below(2) ? 140 : 4);
  Fenced<uint8_t> w((size_t)rows * columns * (kind == LLMOS_FLOAT32 ? 4 : 2)), out(PackedBytes(format, rows, columns));
  const int32_t status = llmos_pack(format, kind, rows, columns, w.data, out.data);
  Require(status == LLMOS_OK || status == LLMOS_BAD_NUMBER, "llmos_pack returns another status");
}

static void PackGroups() {
  const int32_t formats[] = {LLMOS_INT8, LLMOS_INT4, LLMOS_UINT4}, format = formats[Below(3)];
  const int rows = Below(70), columns = 1 + Below(140), groups = (columns + 31) / 32;
  Fenced<uint8_t> codes((size_t)rows * columns), out(PackedBytes(format, rows, columns));
  Fenced<uint16_t> scales((size_t)rows * groups), minimums((size_t)rows * groups);
  const bool has_minimums = format == LLMOS_UINT4;
  Require(llmos_pack_groups(format, rows, columns, codes.data, scales.data, has_minimums ? minimums.data : nullptr, out.data) == LLMOS_OK,
          "llmos_pack_groups refuses");
}

constexpr int kVocab = 50, kContext = 70, kPages = 5;

// Mostly a number below n, else one at an edge.
static int32_t Index(int n) {
  const int32_t edges[] = {-1, n, n - 1, INT32_MAX, INT32_MIN};
  return Below(40) ? Below(n) : edges[Below(5)];
}

static void FillIndices(int32_t* out, int n, int below) {
  for (int i = 0; i < n; ++i) out[i] = Index(below);
}

static bool Indices(const int32_t* values, int n, int below) {
  for (int i = 0; i < n; ++i)
    if (values[i] < 0 || values[i] >= below) return false;
  return true;
}

// Counts are those of the arrays, or too large for the workspace; what the arrays hold is anything.
static int CheckSomeStep() {
  const int tokens = Below(5), sequences = Below(4), pages = 1 + Below(3), outputs = Below(4), history = Below(6);
  Fenced<int32_t> ids(tokens), positions(tokens), sequence(tokens), table(sequences * pages), rows(outputs), scored(outputs), past(history);
  Fenced<LlmosSampling> sampling(outputs, false);
  FillIndices(ids.data, tokens, kVocab);
  FillIndices(positions.data, tokens, kContext);
  FillIndices(sequence.data, tokens, sequences ? sequences : 1);
  FillIndices(table.data, sequences * pages, kPages);
  FillIndices(rows.data, outputs, tokens ? tokens : 1);
  FillIndices(scored.data, outputs, kVocab);
  FillIndices(past.data, history, kVocab);
  for (int o = 0; o < outputs; ++o) {
    sampling.data[o].history = past.data;
    sampling.data[o].n_history = Below(20) ? history : -1;
    sampling.data[o].n_prompt = Index(history + 1);
  }
  int32_t sampled[4] = {};
  float logprobs[4] = {};
  LlmosModel model{};
  LlmosStep step{};
  model.abi_version = step.abi_version = LLMOS_ABI_VERSION;
  model.struct_bytes = sizeof model;
  step.struct_bytes = sizeof step;
  model.n_pages = kPages;
  model.context = kContext;
  model.max_tokens = model.max_outputs = 4;
  step.n_tokens = Below(20) ? tokens : -tokens;
  step.n_sequences = sequences;
  step.max_pages = pages;
  step.n_outputs = outputs;
  step.token_ids = ids.data;
  step.positions = positions.data;
  step.sequence = sequence.data;
  step.block_table = table.data;
  step.output_rows = rows.data;
  step.score_ids = scored.data;
  step.score_logprobs = logprobs;
  step.sampling = sampling.data;
  step.sampling_bytes = sizeof(LlmosSampling);
  step.sampled = sampled;
  if (CheckStep(&model, &step, kVocab) != LLMOS_OK) return 0;
  Require(Indices(ids.data, step.n_tokens, kVocab) && Indices(positions.data, step.n_tokens, kContext), "a token is let through");
  Require(Indices(sequence.data, step.n_tokens, sequences) && Indices(rows.data, outputs, step.n_tokens), "a row is let through");
  for (int t = 0; t < step.n_tokens; ++t) {
    const int last = positions.data[t] / LLMOS_PAGE_TOKENS;
    Require(last < pages && Indices(table.data + sequence.data[t] * pages, last + 1, kPages), "a page is let through");
  }
  Require(outputs == 0 || Indices(past.data, history, kVocab), "a history is let through");
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  state = strtoull(argv[2], nullptr, 10);
  int passed = 0;
  const int cases = atoi(argv[1]);
  for (int i = 0; i < cases; ++i) {
    PackSomething();
    PackGroups();
    for (int n = 0; n < 8; ++n) passed += CheckSomeStep();
  }
  printf("%d cases, %d steps in order\n", cases, passed);
  return passed > cases / 10 ? 0 : 3;
}
