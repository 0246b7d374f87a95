// What a generated block needs to know of the step that it runs in.
#pragma once
#include "llmos/step.h"
#include "llmos/team.h"

namespace llmos {

enum class Format { kF32, kF16, kBf16, kI8, kI4, kU4 };
enum class Kv { kF32, kF16, kBf16, kI8 };

// A bit per vocabulary entry for each output row: which ids a penalty has met already.
template <int kVocab>
constexpr uint64_t SeenBytes() {
  return RoundUp((kVocab + 7) / 8, 64);
}

// What drawing needs for each output row: the ids seen, then the model's own scores, kept while penalties change them. Pages
// of memory behind the latter are touched only by rows that need them.
template <int kVocab>
constexpr uint64_t DrawBytes() {
  return SeenBytes<kVocab>() + RoundUp(kVocab * sizeof(float), 64);
}

template <int kVocab>
LLMOS_INLINE uint64_t WorkspaceBytes(int32_t max_tokens, int32_t max_outputs, uint64_t token_bytes, uint64_t output_bytes) {
  return (uint64_t)max_tokens * token_bytes + (uint64_t)max_outputs * (output_bytes + DrawBytes<kVocab>());
}

// How output row o is drawn. Rows lie as far apart as in the caller's header.
LLMOS_INLINE const LlmosSampling& SamplingOf(const LlmosStep& step, int o) {
  return *(const LlmosSampling*)((const uint8_t*)step.sampling + (size_t)o * step.sampling_bytes);
}

// Whether anything is wanted that the output head is needed for.
LLMOS_INLINE bool WantsScores(const LlmosStep& step) { return step.logits || step.sampling || step.n_top > 0 || step.score_ids; }

struct Call {
  const LlmosModel& model;
  const LlmosStep& step;
  int n_tokens, n_outputs;
  uint8_t *tokens, *outputs, *scratch;

  Call(const LlmosModel& m, const LlmosStep& s, uint64_t token_bytes, uint64_t output_bytes)
      : model(m), step(s), n_tokens(s.n_tokens), n_outputs(s.n_outputs), tokens(m.workspace),
        outputs(m.workspace + (uint64_t)m.max_tokens * token_bytes),
        scratch(outputs + (uint64_t)m.max_outputs * output_bytes) {}

  // Rows of a value of the token (output) region: `offset` bytes for each row that there may be come before it.
  template <class T>
  LLMOS_MEMBER T* token_rows(uint64_t offset) const {
    return (T*)(tokens + offset * (uint64_t)model.max_tokens);
  }
  template <class T>
  LLMOS_MEMBER T* output_rows(uint64_t offset) const {
    return (T*)(outputs + offset * (uint64_t)model.max_outputs);
  }
  LLMOS_MEMBER const uint8_t* weights(uint64_t offset) const { return model.weights + offset; }
  LLMOS_MEMBER const float* floats(uint64_t offset) const { return (const float*)(model.weights + offset); }
  // The pages of a token's sequence.
  LLMOS_MEMBER const int32_t* pages(int token) const { return step.block_table + (int64_t)step.sequence[token] * step.max_pages; }
  LLMOS_MEMBER uint8_t* page(int token, int index, uint64_t page_bytes) const {
    return model.kv + (uint64_t)pages(token)[index] * page_bytes;
  }
};

using StepFunction = void (*)(Team&, const Call&);

LLMOS_INLINE void RunStep(const LlmosModel& model, const Call& call, StepFunction forward) {
  struct Argument {
    const Call* call;
    StepFunction forward;
  } argument{&call, forward};
  PoolRun((Pool*)model.pool, [](Team& team, const void* p) { ((const Argument*)p)->forward(team, *((const Argument*)p)->call); }, &argument);
}

}  // namespace llmos
