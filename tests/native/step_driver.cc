// Runs a compiled model without Python: a prompt in two chunks, then greedy tokens one by one. What it reads and writes are the
// bytes of one machine: tests/compiler/test_emulated_models.py makes and reads them.
//
//   step_driver INPUT OUTPUT
//   INPUT:  int32 context, vocab, prompt tokens, tokens to draw, threads, floats of the rope tables; weights; rope; prompt
//   OUTPUT: float logits [prompt tokens][vocab], int32 drawn tokens
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "llmos/step.h"

// Zeroed, on a boundary of 64 bytes, never given back.
static void* Memory(size_t bytes) {
  void* memory = calloc(1, bytes + 128);
  if (memory == nullptr) abort();
  return (void*)(((uintptr_t)memory + 63) / 64 * 64);
}

static void Read(FILE* file, void* out, size_t bytes) {
  if (fread(out, 1, bytes, file) != bytes) abort();
}

struct Header {
  int32_t context, vocab, n_prompt, n_drawn, threads, n_rope;
};

// n tokens from `position`, whose scores go to `logits` and the token drawn after the last one to `drawn`.
static void Step(const LlmosModel& model, const int32_t* ids, int32_t position, int32_t n, float* logits, int32_t* drawn) {
  const int32_t n_pages = model.n_pages;
  int32_t positions[64], sequence[64] = {}, rows[64], sampled[64], pages[64];
  LlmosSampling sampling[64] = {};
  for (int32_t i = 0; i < n; ++i) positions[i] = position + i, rows[i] = i, sampling[i].top_p = sampling[i].repetition_penalty = 1;
  for (int32_t i = 0; i < n_pages; ++i) pages[i] = n_pages - 1 - i;
  LlmosStep step{};
  step.abi_version = LLMOS_ABI_VERSION;
  step.struct_bytes = sizeof step;
  step.n_tokens = step.n_outputs = n;
  step.n_sequences = 1;
  step.max_pages = n_pages;
  step.token_ids = ids;
  step.positions = positions;
  step.sequence = sequence;
  step.block_table = pages;
  step.output_rows = rows;
  step.logits = logits;
  step.sampling = sampling;
  step.sampling_bytes = sizeof sampling[0];
  step.sampled = sampled;
  const int32_t status = llmos_step(&model, &step);
  if (status != LLMOS_OK) {
    fprintf(stderr, "status %d\n", status);
    exit(1);
  }
  *drawn = sampled[n - 1];
}

int main(int argc, char** argv) {
  FILE* in = argc == 3 ? fopen(argv[1], "rb") : nullptr;
  FILE* out = argc == 3 ? fopen(argv[2], "wb") : nullptr;
  if (in == nullptr || out == nullptr) return 2;
  Header h;
  Read(in, &h, sizeof h);
  LlmosModel model{};
  model.abi_version = LLMOS_ABI_VERSION;
  model.struct_bytes = sizeof model;
  model.weights_bytes = llmos_weights_bytes();
  uint8_t* weights = (uint8_t*)Memory(model.weights_bytes);
  Read(in, weights, model.weights_bytes);
  float* rope = (float*)Memory((size_t)h.n_rope * sizeof(float));
  Read(in, rope, (size_t)h.n_rope * sizeof(float));
  int32_t* ids = (int32_t*)Memory((size_t)(h.n_prompt + h.n_drawn + 1) * sizeof(int32_t));
  Read(in, ids, (size_t)h.n_prompt * sizeof(int32_t));
  model.weights = weights;
  model.rope = rope;
  model.context = h.context;
  model.n_pages = (h.context + LLMOS_PAGE_TOKENS - 1) / LLMOS_PAGE_TOKENS;
  model.kv = (uint8_t*)Memory((size_t)model.n_pages * llmos_page_bytes());
  model.max_tokens = model.max_outputs = 64;
  model.workspace = (uint8_t*)Memory(llmos_workspace_bytes(64, 64));
  model.pool = llmos_pool_create(h.threads);
  if (model.pool == nullptr) return 3;
  float* logits = (float*)Memory((size_t)h.n_prompt * h.vocab * sizeof(float));
  int32_t* drawn = ids + h.n_prompt;
  const int32_t first = h.n_prompt / 2;
  Step(model, ids, 0, first, logits, drawn);
  Step(model, ids + first, first, h.n_prompt - first, logits + (size_t)first * h.vocab, drawn);
  for (int32_t i = 1; i < h.n_drawn; ++i) Step(model, drawn + i - 1, h.n_prompt + i - 1, 1, nullptr, drawn + i);
  fwrite(logits, sizeof(float), (size_t)h.n_prompt * h.vocab, out);
  fwrite(drawn, sizeof(int32_t), (size_t)h.n_drawn, out);
  llmos_pool_destroy(model.pool);
  return fclose(out) == 0 ? 0 : 4;
}
