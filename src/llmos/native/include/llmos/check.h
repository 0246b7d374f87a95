// Refuses a step that would read or write outside of what it was given.
#pragma once
#include "llmos/call.h"

namespace llmos {

LLMOS_INLINE int32_t CheckCounts(const LlmosModel& m, const LlmosStep& s) {
  if (s.n_tokens < 0 || s.n_outputs < 0 || s.n_sequences < 0 || s.max_pages < 0 || s.n_top < 0) return LLMOS_BAD_SHAPE;
  if (s.n_tokens > m.max_tokens || s.n_outputs > m.max_outputs) return LLMOS_BAD_SHAPE;
  if (s.n_tokens > 0 && !(s.token_ids && s.positions && s.sequence && s.block_table)) return LLMOS_BAD_SHAPE;
  if (s.n_outputs > 0 && !s.output_rows) return LLMOS_BAD_SHAPE;
  if (s.sampling && !s.sampled) return LLMOS_BAD_SHAPE;
  if (s.n_top > 0 && !(s.top_ids && s.top_logprobs)) return LLMOS_BAD_SHAPE;
  if (s.score_ids && !s.score_logprobs) return LLMOS_BAD_SHAPE;
  return LLMOS_OK;
}

LLMOS_INLINE int32_t CheckToken(const LlmosModel& m, const LlmosStep& s, int t, int vocab) {
  if (s.token_ids[t] < 0 || s.token_ids[t] >= vocab) return LLMOS_BAD_TOKEN;
  if (s.sequence[t] < 0 || s.sequence[t] >= s.n_sequences) return LLMOS_BAD_SHAPE;
  const int32_t position = s.positions[t];
  if (position < 0 || position >= m.context || position / LLMOS_PAGE_TOKENS >= s.max_pages) return LLMOS_BAD_POSITION;
  const int32_t* pages = s.block_table + (int64_t)s.sequence[t] * s.max_pages;
  for (int p = 0; p <= position / LLMOS_PAGE_TOKENS; ++p)
    if (pages[p] < 0 || pages[p] >= m.n_pages) return LLMOS_BAD_PAGE;
  return LLMOS_OK;
}

LLMOS_INLINE int32_t CheckSampling(const LlmosSampling& p, int vocab) {
  if (p.n_history < 0 || p.n_prompt < 0 || p.n_prompt > p.n_history || p.n_bias < 0) return LLMOS_BAD_SHAPE;
  if ((p.n_history > 0 && !p.history) || (p.n_bias > 0 && !(p.bias_ids && p.bias_values))) return LLMOS_BAD_SHAPE;
  for (int i = 0; i < p.n_history; ++i)
    if (p.history[i] < 0 || p.history[i] >= vocab) return LLMOS_BAD_TOKEN;
  for (int i = 0; i < p.n_bias; ++i)
    if (p.bias_ids[i] < 0 || p.bias_ids[i] >= vocab) return LLMOS_BAD_TOKEN;
  return LLMOS_OK;
}

static inline int32_t CheckStep(const LlmosModel* model, const LlmosStep* step, int vocab) {
  if (!model || !step || model->abi_version != LLMOS_ABI_VERSION || step->abi_version != LLMOS_ABI_VERSION) return LLMOS_BAD_ABI;
  if (model->struct_bytes < sizeof(LlmosModel) || step->struct_bytes < sizeof(LlmosStep)) return LLMOS_BAD_ABI;
  if (step->sampling && (step->sampling_bytes < sizeof(LlmosSampling) || step->sampling_bytes % alignof(LlmosSampling))) return LLMOS_BAD_ABI;
  if (step->adapters || step->collectives) return LLMOS_UNSUPPORTED;
  int32_t status = CheckCounts(*model, *step);
  for (int t = 0; status == LLMOS_OK && t < step->n_tokens; ++t) status = CheckToken(*model, *step, t, vocab);
  for (int o = 0; status == LLMOS_OK && o < step->n_outputs; ++o) {
    if (step->output_rows[o] < 0 || step->output_rows[o] >= step->n_tokens) return LLMOS_BAD_SHAPE;
    if (step->score_ids && step->score_ids[o] >= vocab) return LLMOS_BAD_TOKEN;
    if (step->sampling) status = CheckSampling(SamplingOf(*step, o), vocab);
  }
  return status;
}

// For models without an output head: nothing may be asked for that scores are needed for.
LLMOS_INLINE int32_t CheckHeadless(const LlmosStep& s) {
  return WantsScores(s) || s.logit_mask ? LLMOS_UNSUPPORTED : LLMOS_OK;
}

// For models whose tokens attend to later ones: sequences stand one after another in rising order, each from its position 0 on.
LLMOS_INLINE int32_t CheckWhole(const LlmosStep& s) {
  for (int t = 0; t < s.n_tokens; ++t) {
    const bool begins = t == 0 || s.sequence[t] > s.sequence[t - 1];
    if (!begins && s.sequence[t] != s.sequence[t - 1]) return LLMOS_BAD_SHAPE;
    if (s.positions[t] != (begins ? 0 : s.positions[t - 1] + 1)) return LLMOS_BAD_POSITION;
  }
  return LLMOS_OK;
}

// The sources of a step, which a model with an encoder needs and no other may get.
LLMOS_INLINE int32_t CheckSources(const LlmosModel& m, const LlmosStep& s, bool wanted) {
  if (!wanted) return s.sources ? LLMOS_UNSUPPORTED : LLMOS_OK;
  if (!s.sources) return LLMOS_UNSUPPORTED;
  const LlmosSources& sources = *s.sources;
  if (sources.struct_bytes < sizeof(LlmosSources)) return LLMOS_BAD_ABI;
  if (!sources.block_table || !sources.lengths || sources.max_pages < 1) return LLMOS_BAD_SHAPE;
  for (int i = 0; i < s.n_sequences; ++i) {
    if (sources.lengths[i] < 1 || (sources.lengths[i] - 1) / LLMOS_PAGE_TOKENS >= sources.max_pages) return LLMOS_BAD_SHAPE;
    for (int p = 0; p <= (sources.lengths[i] - 1) / LLMOS_PAGE_TOKENS; ++p) {
      const int32_t page = sources.block_table[(int64_t)i * sources.max_pages + p];
      if (page < 0 || page >= m.n_pages) return LLMOS_BAD_PAGE;
    }
  }
  return LLMOS_OK;
}

}  // namespace llmos
