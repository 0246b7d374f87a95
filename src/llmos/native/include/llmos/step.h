// The step ABI: the one native call of the engine and its data.             Prose and invariants: docs/step_abi.md
//
// Plain C, so that Python (ctypes), C and C++ use the same header. Within a version, structures only grow at their end, by
// fields whose absence changes nothing. The caller says which version and sizes it was compiled with (`abi_version`,
// `struct_bytes`, `sampling_bytes`); the callee refuses any other version and structures smaller than its own, and of larger
// ones reads the part that it knows. So a caller with a newer header runs older code, and older callers are compiled again.
#ifndef LLMOS_STEP_H_
#define LLMOS_STEP_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LLMOS_ABI_VERSION 1
#define LLMOS_PAGE_TOKENS 32  // positions in one KV page; attention splits at multiples of it
#define LLMOS_NO_TOKEN (-1)   // drawn where the scores of a row are no distribution: NaN, plus infinity, or none that is finite
#define LLMOS_NONE_ALLOWED (-2)  // drawn where they are one, and mask, biases and penalties leave none of it

enum LlmosStatus {
  LLMOS_OK = 0,
  LLMOS_BAD_ABI = 1,       // abi_version, struct_bytes or sampling_bytes not understood
  LLMOS_BAD_TOKEN = 2,     // a token id outside 0 .. vocab-1
  LLMOS_BAD_POSITION = 3,  // a position outside 0 .. context-1, without a page in its block table, or of a sequence that is not whole
  LLMOS_BAD_PAGE = 4,      // a page number outside the pool
  LLMOS_BAD_SHAPE = 5,     // counts negative, over the workspace, or rows outside the batch
  LLMOS_UNSUPPORTED = 6,   // a feature (adapters, collectives, sources, scores without a head) or format that this code lacks
  LLMOS_BAD_NUMBER = 7     // a weight that is infinite, NaN or too large for a format that cannot store it
};

enum LlmosFormat {
  LLMOS_FLOAT32 = 0,
  LLMOS_BF16 = 1,
  LLMOS_INT8 = 2,
  LLMOS_FLOAT16 = 3,
  LLMOS_INT4 = 4,
  LLMOS_UINT4 = 5
};

// How one output row is turned into a token. Randomness is a counter hash of (seed, counter), never state.
typedef struct LlmosSampling {
  float temperature;         // 0: the largest logit, ties to the smallest id
  float top_p;               // 1: off
  float min_p;               // 0: off
  float repetition_penalty;  // 1: off; divides positive and multiplies negative logits of ids seen (arXiv:1909.05858)
  float presence_penalty;    // 0: off; subtracted once from ids in the continuation
  float frequency_penalty;   // 0: off; subtracted once per occurrence in the continuation
  int32_t top_k;             // 0: off
  int32_t n_history;         // ids in `history`
  int32_t n_prompt;          // how many of them are the prompt
  int32_t n_bias;            // entries of bias_ids and bias_values
  uint64_t seed;
  uint64_t counter;          // absolute position of the token to be drawn
  const int32_t* history;    // prompt and continuation so far; may be NULL when no penalty is on
  const int32_t* bias_ids;
  const float* bias_values;  // added to the logits
} LlmosSampling;

// What stays the same from step to step.
typedef struct LlmosModel {
  uint32_t abi_version;   // LLMOS_ABI_VERSION
  uint32_t struct_bytes;  // sizeof(LlmosModel)
  const uint8_t* weights; // packed weights, 64-byte aligned; layout fixed when the code was generated
  uint64_t weights_bytes;
  uint8_t* kv;            // page pool, 64-byte aligned: n_pages * llmos_page_bytes()
  int32_t n_pages;
  int32_t context;        // positions that rope tables (and this instance) reach
  const float* rope;      // for each rope table r: cos [context][d/2] then sin [context][d/2], tables one after another
  uint8_t* workspace;     // llmos_workspace_bytes(max_tokens, max_outputs), 64-byte aligned, zeroed once
  int32_t max_tokens;     // largest n_tokens of a step
  int32_t max_outputs;    // largest n_outputs of a step
  void* pool;             // threads, from llmos_pool_create
} LlmosModel;

// The encoded sources of a step's sequences, filled by llmos_encode.
typedef struct LlmosSources {
  uint32_t struct_bytes;       // sizeof(LlmosSources)
  int32_t max_pages;           // columns of the block table
  const int32_t* block_table;  // [S][max_pages] page of source tokens 32 p .. 32 p + 31
  const int32_t* lengths;      // [S] tokens of the source, at least 1
} LlmosSources;

// One step: any mixture of prefill chunks and decode tokens of any sequences.
typedef struct LlmosStep {
  uint32_t abi_version;
  uint32_t struct_bytes;
  int32_t n_tokens;               // T: rows of the batch
  int32_t n_sequences;            // S: rows of the block table
  int32_t max_pages;              // columns of the block table
  int32_t n_outputs;              // O: rows whose scores are wanted
  const int32_t* token_ids;       // [T]
  const int32_t* positions;       // [T] absolute position in its sequence; tokens of a sequence in rising order
  const int32_t* sequence;        // [T] row of the block table
  const int32_t* block_table;     // [S][max_pages] page of positions 32 p .. 32 p + 31
  const int32_t* output_rows;     // [O] index into the batch
  float* logits;                  // [O][vocab], or NULL: not wanted
  const LlmosSampling* sampling;  // [O], each `sampling_bytes` after the one before, or NULL: draw nothing
  uint32_t sampling_bytes;        // sizeof(LlmosSampling), needed with sampling
  int32_t n_top;                  // alternatives wanted per output, 0 for none
  int32_t* sampled;               // [O], needed with sampling; LLMOS_NO_TOKEN or LLMOS_NONE_ALLOWED where there is nothing to draw from
  float* sampled_logprob;         // [O] log-probability of the drawn token in the model's own distribution, or NULL
  int32_t* top_ids;               // [O][n_top], most likely first, ties to the smallest id; LLMOS_NO_TOKEN past the vocabulary
  float* top_logprobs;            // [O][n_top] NaN past the vocabulary, and where the scores are no distribution
  const int32_t* score_ids;       // [O] ids to score, or NULL; negative: skip
  float* score_logprobs;          // [O] NaN where the scores are no distribution
  const uint32_t* logit_mask;     // [O][(vocab + 31) / 32] bit set = allowed, or NULL: all allowed
  const void* adapters;           // reserved for low-rank adapters per token; must be NULL in version 1
  const void* collectives;        // reserved for tensor-parallel groups; must be NULL in version 1
  const LlmosSources* sources;    // what the sequences' cross-attention reads; NULL for models without an encoder, and in llmos_encode
  float* hidden;                  // [O][width] rows as the output head reads them, or NULL: not wanted
} LlmosStep;

// Exported by every compiled model. Windows wants that said where a function is first named.
#if defined(_WIN32)
#define LLMOS_API __declspec(dllexport)
#else
#define LLMOS_API
#endif

LLMOS_API uint32_t llmos_abi_version(void);
LLMOS_API uint64_t llmos_weights_bytes(void);
LLMOS_API uint64_t llmos_page_bytes(void);
LLMOS_API uint64_t llmos_workspace_bytes(int32_t max_tokens, int32_t max_outputs);
LLMOS_API void* llmos_pool_create(int32_t n_threads);  // NULL when the threads cannot be started
LLMOS_API void llmos_pool_destroy(void* pool);
LLMOS_API int32_t llmos_step(const LlmosModel* model, const LlmosStep* step);  // LlmosStatus

// Exported by models with an encoder: reads whole sources, each from position 0 on, one after another in the batch. token_ids,
// positions, sequence and block_table are those of the sources, whose pages keep what `LlmosStep.sources` leads to.
LLMOS_API int32_t llmos_encode(const LlmosModel* model, const LlmosStep* step);  // LlmosStatus

// Packs a matrix w [rows][columns], stored as LLMOS_FLOAT32, LLMOS_FLOAT16 or LLMOS_BF16, into the blocks of `format`:
// (rows + 15) / 16 of them at `out`. Needs no alignment and no model; several threads may pack different rows. Returns LlmosStatus.
LLMOS_API int32_t llmos_pack(int32_t format, int32_t stored, int64_t rows, int64_t columns, const void* w, void* out);

// As llmos_pack, of codes [rows][columns] (signed for LLMOS_INT8, else 0 to 15) and their float16 scales [rows][groups of 32
// columns]; minimums likewise for LLMOS_UINT4, else null.
LLMOS_API int32_t llmos_pack_groups(int32_t format, int64_t rows, int64_t columns, const void* codes, const void* scales, const void* minimums,
                                    void* out);

// A checksum of bytes, for files of packed weights: checksum.h.
LLMOS_API uint64_t llmos_checksum(const void* data, int64_t n_bytes);

#ifdef __cplusplus
}
#endif
#endif  // LLMOS_STEP_H_
