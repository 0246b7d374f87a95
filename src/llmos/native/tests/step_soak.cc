// step_soak WEIGHTS ROPE CONTEXT STEPS SEED: a whole model (CODE, a generated source) in random steps, on one thread and on three that
// share a core or two, so that some come late or not at all. Sequences are admitted, read in chunks, go on, are forked and cancelled,
// and their pages used again; tokens are drawn from whole rows or from the largest scores. Both teams have memory of their own and
// must give the same bytes.
#include CODE
#include "testing.h"

constexpr int kSlots = 7, kPages = 40, kMost = 48, kMostPages = 8;

template <class T>
static T* FileOf(const char* path) {
  FILE* file = fopen(path, "rb");
  if (file == nullptr) abort();
  fseek(file, 0, SEEK_END);
  const size_t bytes = (size_t)ftell(file);
  rewind(file);
  T* out = (T*)AlignedAlloc(RoundUp(bytes, 64));
  if (out == nullptr || fread(out, 1, bytes, file) != bytes) abort();
  fclose(file);
  return out;
}

struct Sequence {
  bool live = false;
  int length = 0, n_pages = 0;
  int32_t pages[kMostPages];
};

// One of the two teams.
struct Side {
  Array<uint8_t> kv{kPages * llmos_page_bytes()}, workspace{llmos_workspace_bytes(kMost, kSlots)};
  Array<int32_t> sampled{kSlots};
  Array<float> logits{(size_t)kSlots * kVocab};
  LlmosModel model{};

  Side(int threads, const uint8_t* weights, const float* rope, int context) {
    model = {LLMOS_ABI_VERSION, sizeof(LlmosModel), weights, llmos_weights_bytes(), kv, kPages, context, rope, workspace, kMost, kSlots,
             threads == 1 ? nullptr : llmos_pool_create(threads)};
  }
  ~Side() { llmos_pool_destroy(model.pool); }
};

using Sides = Side* const[];

struct Soak {
  Random random;
  Sequence slots[kSlots];
  int users[kPages] = {};
  int context, admitted = 0, forked = 0, cancelled = 0, kept = 0;
  Side *one, *many;

  Soak(uint64_t seed, int positions, Side* first, Side* second) : random(seed), context(positions), one(first), many(second) {}

  int Page() {
    for (int tries = 0, at = random.Below(kPages); tries < kPages; ++tries, at = (at + 1) % kPages)
      if (users[at] == 0) return users[at] = 1, at;
    return -1;
  }
  Sequence* Free() {
    for (Sequence& s : slots)
      if (!s.live) return &s;
    return nullptr;
  }
  void Cancel(Sequence& s) {
    for (int i = 0; i < s.n_pages; ++i) --users[s.pages[i]];
    s = Sequence{};
    ++cancelled;
  }
  // The full pages are shared, the one that is written to next is copied.
  void Fork(const Sequence& from) {
    Sequence* to = Free();
    if (to == nullptr || from.length == 0) return;
    const int full = from.length / kPage;
    const int32_t last = from.length % kPage ? Page() : 0;
    if (last < 0) return;
    *to = from;
    to->n_pages = full;
    for (int i = 0; i < full; ++i) ++users[to->pages[i]];
    if (from.length % kPage) {
      to->pages[to->n_pages++] = last;
      const size_t bytes = llmos_page_bytes();
      for (Side* side : Sides{one, many}) memcpy(side->kv + last * bytes, side->kv + from.pages[full] * bytes, bytes);
    }
    ++forked;
  }
  bool Reach(Sequence& s, int length) {
    while (s.n_pages * kPage < length) {
      const int page = s.n_pages < kMostPages ? Page() : -1;
      if (page < 0) return false;
      s.pages[s.n_pages++] = page;
    }
    return true;
  }

  void Step(int number) {
    if (Sequence* s = Free(); s != nullptr && random.Below(3) == 0) s->live = true, ++admitted;
    if (random.Below(9) == 0) Fork(slots[random.Below(kSlots)]);
    if (Sequence& s = slots[random.Below(kSlots)]; s.live && random.Below(12) == 0) Cancel(s);
    int32_t ids[kMost], positions[kMost], sequence[kMost], rows[kSlots], table[kSlots * kMostPages] = {};
    LlmosSampling sampling[kSlots] = {};
    LlmosStep step{};
    for (Sequence& s : slots) {
      if (!s.live || random.Below(5) == 0) continue;
      int n = random.Below(2) ? 1 : 1 + random.Below(20);
      if (n > kMost - step.n_tokens) n = kMost - step.n_tokens;
      if (n == 0) continue;
      if (s.length + n > context || !Reach(s, s.length + n)) {
        Cancel(s);
        continue;
      }
      for (int i = 0; i < n; ++i, ++step.n_tokens) {
        ids[step.n_tokens] = random.Below(kVocab);
        positions[step.n_tokens] = s.length++;
        sequence[step.n_tokens] = step.n_sequences;
      }
      memcpy(table + step.n_sequences++ * kMostPages, s.pages, sizeof s.pages);
      LlmosSampling& p = sampling[step.n_outputs];
      p.top_p = p.repetition_penalty = 1;
      p.temperature = (float)random.Below(3) / 2;
      p.top_k = random.Below(kMostBest + 20);
      p.seed = random.Next();
      rows[step.n_outputs++] = step.n_tokens - 1;
    }
    for (int i = 0; i < step.n_sequences * kMostPages; ++i)
      if (table[i] < 0 || table[i] >= kPages) table[i] = 0;  // places that are not in use
    step.abi_version = LLMOS_ABI_VERSION, step.struct_bytes = sizeof step, step.sampling_bytes = sizeof(LlmosSampling);
    step.max_pages = kMostPages;
    step.token_ids = ids, step.positions = positions, step.sequence = sequence, step.block_table = table, step.output_rows = rows;
    step.sampling = sampling;
    const bool scores = random.Below(2);
    for (int o = 0; o < step.n_outputs; ++o) kept += !scores && Enough(sampling[o]) > 0 && BestLists::Fit<kVocab>(3);
    for (Side* side : Sides{one, many}) {
      step.sampled = side->sampled;
      step.logits = scores ? side->logits.data() : nullptr;
      const int status = llmos_step(&side->model, &step);
      EXPECT(status == LLMOS_OK, "step %d: status %d", number, status);
    }
    for (int o = 0; o < step.n_outputs; ++o) EXPECT(one->sampled[o] == many->sampled[o], "step %d, row %d: %d and %d", number, o, one->sampled[o], many->sampled[o]);
    const size_t bytes = scores ? (size_t)step.n_outputs * kVocab * sizeof(float) : 0;
    EXPECT(memcmp(one->logits, many->logits, bytes) == 0, "step %d: other scores", number);
  }
};

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  uint8_t* weights = FileOf<uint8_t>(argv[1]);
  float* rope = FileOf<float>(argv[2]);
  const int context = atoi(argv[3]), steps = atoi(argv[4]);
  Side one(1, weights, rope, context), many(3, weights, rope, context);
  Soak soak((uint64_t)atoi(argv[5]), context, &one, &many);
  for (int i = 0; i < steps && !g_failed; ++i) soak.Step(i);
  printf("%d steps, %d admitted, %d forked, %d cancelled, %d drawn from the largest: %s\n", steps, soak.admitted, soak.forked, soak.cancelled, soak.kept,
         g_failed ? "FAILED" : "the same bytes");
  AlignedFree(weights);
  AlignedFree(rope);
  return g_failed;
}
