// y = x W^T (+ bias) (+ add) over packed weights: blocks of 16 rows, one lane per row.
//
// A lane sums its own row in order of k (int8, int4: exact integers within a group, groups in order), whatever the number of
// tokens and row blocks that a tile holds in registers. So the tiling is free to fit the machine and the result is the
// same bytes. One tile of the team is a few row blocks and all tokens: weights are read once from memory, then from L2.
//
// While a tile is multiplied, the rows that its thread probably claims next are on their way to L2. A processor fetches ahead
// within a page, but not from the end of one row block to wherever the next tile begins (8 tokens, int4, K = 896: 393 GOP/s
// without, 650 with; into L1, which they exceed: 488).
#pragma once
#include "llmos/best.h"
#include "llmos/rows.h"

namespace llmos {

#if defined(__AVX512F__)
constexpr int kTokenTile = 8, kRowTile = 2;  // 16 sums in 32 registers
constexpr int kGroupTile = 6;                // 12, and as many of a group's integers
#else
constexpr int kTokenTile = 4, kRowTile = 1;  // 4 sums of two or four registers each
constexpr int kGroupTile = 4;
#endif
// tile.operator()<M>(t) for tiles of M tokens that cover all of them, kMost or 4, 2 and 1.
template <int kMost, class F>
LLMOS_INLINE void EachTile(int tokens, F tile) {
  int t = 0;
  for (; t + kMost <= tokens; t += kMost) tile.template operator()<kMost>(t);
  if constexpr (kMost > 4)
    for (; t + 4 <= tokens; t += 4) tile.template operator()<4>(t);
  for (; t + 2 <= tokens; t += 2) tile.template operator()<2>(t);
  for (; t < tokens; ++t) tile.template operator()<1>(t);
}
// One token: where every sum waits for the one before, four row blocks are read side by side to hide that; groups of integers
// hide it by themselves and are read block after block, because a processor fetches one long stream ahead better than four short
// ones (int4, K = 896, memory roof 36 GB/s: 34 GB/s against 20).
constexpr int kDecodeRowTile = 4;

// For each row block of a tile, how far from it the rows lie that are fetched meanwhile; 0: none, since it is there itself.
template <int R>
struct Ahead {
  size_t bytes[R] = {};
};

// Whether M tokens fetch rows ahead. Few tokens wait for nothing but the memory, and long blocks come faster by the processor's
// own fetching, which has more misses in flight (2 tokens, int8, K = 4864: 56 GB/s, by our fetching 42).
constexpr size_t kLongBlock = 48 << 10;
constexpr bool Fetches(int M, int most, size_t block_bytes) { return M >= most || (M > 1 && block_bytes <= kLongBlock); }

// kBytes from what lies `ahead` of p, where there is something to fetch.
template <size_t kBytes>
LLMOS_INLINE void Fetch(const uint8_t* p, size_t ahead) {
  if (ahead == 0) return;
  for (size_t i = 0; i < kBytes; i += 64) __builtin_prefetch(p + ahead + i, 0, 2);
}

// Row blocks of a tile for one token: as many as come to 32 KB, a microsecond's work, so that no thread waits long for another.
constexpr int DecodeBlocks(int rows, size_t block_bytes) {
  const size_t together = (size_t)rows * block_bytes;
  return rows * (int)(together < 32768 ? 32768 / together : 1);
}

// Weights: `Dot` adds the products of M tokens and R row blocks, kApart bytes from each other, to acc.
template <int K>
struct F32Weights {
  static constexpr int kDecodeRows = kDecodeRowTile, kTokens = kTokenTile;
  static constexpr size_t kBlockBytes = (size_t)K * 64;
  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    for (int k = 0; k < K; ++k) {
      F16 v[R];
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes); ++r) Fetch<64>(w + r * kApart + (size_t)k * 64, ahead.bytes[r]);
      for (int r = 0; r < R; ++r) v[r] = Load((const float*)(w + r * kApart + (size_t)k * 64));
      for (int m = 0; m < M; ++m) {
        const F16 s = Set(((const float*)(x + m * x_row))[k]);
        for (int r = 0; r < R; ++r) acc[m][r] = Fma(v[r], s, acc[m][r]);
      }
    }
  }
};

// float16 is a way of storing: products and sums are those of float32.
template <int K>
struct HalfWeights {
  static constexpr int kDecodeRows = kDecodeRowTile, kTokens = kTokenTile;
  static constexpr size_t kBlockBytes = (size_t)K * 32;
  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    for (int k = 0; k < K; ++k) {
      F16 v[R];
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes) && k % 2 == 0; ++r) Fetch<64>(w + r * kApart + (size_t)k * 32, ahead.bytes[r]);
      for (int r = 0; r < R; ++r) v[r] = LoadHalf((const uint16_t*)(w + r * kApart + (size_t)k * 32));
      for (int m = 0; m < M; ++m) {
        const F16 s = Set(((const float*)(x + m * x_row))[k]);
        for (int r = 0; r < R; ++r) acc[m][r] = Fma(v[r], s, acc[m][r]);
      }
    }
  }
};

template <int K>
struct Bf16Weights {
  static constexpr int kDecodeRows = kDecodeRowTile, kTokens = kTokenTile;
  static constexpr int kPairs = (K + 1) / 2;
  static constexpr size_t kBlockBytes = (size_t)kPairs * 64;
  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    for (int k = 0; k < kPairs; ++k) {
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes); ++r) Fetch<64>(w + r * kApart + (size_t)k * 64, ahead.bytes[r]);
      for (int m = 0; m < M; ++m) {
        uint32_t pair;
        memcpy(&pair, x + m * x_row + 4 * (size_t)k, 4);
        for (int r = 0; r < R; ++r)
          acc[m][r] = DotBf16(acc[m][r], (const uint16_t*)(w + r * kApart + (size_t)k * 64), pair);
      }
    }
  }
};

template <int K>
struct I8Weights {
  static constexpr int kDecodeRows = 1, kTokens = kTokenTile;
  static constexpr int kGroups = (K + kGroup - 1) / kGroup;
  static constexpr size_t kGroupBytes = 16 * kGroup + 32;
  static constexpr size_t kBlockBytes = kGroups * kGroupBytes;
  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    for (int g = 0; g < kGroups; ++g) {
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes); ++r) Fetch<kGroupBytes>(w + r * kApart + g * kGroupBytes, ahead.bytes[r]);
      I16 sums[M][R];
      for (int m = 0; m < M; ++m) {
        const I8Group& group = ((const I8Group*)(x + m * x_row))[g];
        for (int r = 0; r < R; ++r) sums[m][r] = I16{} - (kBiased ? 128 * group.sum : 0);
      }
      for (int q = 0; q < kGroup / 4; ++q)
        for (int m = 0; m < M; ++m) {
          int32_t four;
          memcpy(&four, ((const I8Group*)(x + m * x_row))[g].q + 4 * q, 4);
          for (int r = 0; r < R; ++r) sums[m][r] = Dot4(sums[m][r], w + r * kApart + g * kGroupBytes + 64 * q, four);
        }
      for (int r = 0; r < R; ++r) {
        const F16 scale = LoadHalf((const uint16_t*)(w + r * kApart + g * kGroupBytes + 16 * kGroup));
        for (int m = 0; m < M; ++m) {
          const float xs = ((const I8Group*)(x + m * x_row))[g].scale;
          acc[m][r] = Fma(ToFloat(sums[m][r]), scale * Set(xs), acc[m][r]);
        }
      }
    }
  }
};

// Sums of M tokens' activations, groups of `Group`, times the codes of R row blocks. Four-bit codes: 64 bytes hold four columns of
// the first half of a group in their low halves, and those 16 further in their high halves.
//
// For one token the high halves are multiplied where they are, 16 times too large, into sums of their own: a shift less for
// every load. For more, the shift is shared among tokens and the registers are not there.
template <int M, int R, size_t kApart, class Group>
LLMOS_INLINE void AddNibbles(const uint8_t* w, const uint8_t* x, size_t x_row, NibbleSums (&sums)[M][R]) {
  constexpr bool kInPlace = M == 1 && NibbleSums::kSixteenfold;
  NibbleSums sixteenfold[M][R] = {};
  for (int q = 0; q < kGroup / 8; ++q) {
    B64 low[R], high[R];
    for (int r = 0; r < R; ++r) {
      memcpy(&high[r], w + r * kApart + 64 * q, sizeof high[r]);
      low[r] = high[r] & 15;
      high[r] = kInPlace ? high[r] & 0xf0 : high[r] >> 4;
    }
    for (int m = 0; m < M; ++m) {
      const int8_t* codes = ((const Group*)(x + m * x_row))->q + 4 * q;
      int32_t first, second;
      memcpy(&first, codes, 4);
      memcpy(&second, codes + kGroup / 2, 4);
      for (int r = 0; r < R; ++r) {
        sums[m][r].Add(low[r], first);
        (kInPlace ? sixteenfold : sums)[m][r].Add(high[r], second);
      }
    }
  }
  for (int m = 0; m < M; ++m)
    for (int r = 0; r < R; ++r) sums[m][r].Take(sixteenfold[m][r]);
}

// The value of a code is (code - 8) * scale: eight times the activations' sum is taken away. Their scales are powers of two.
template <int K>
struct I4Weights {
  static constexpr int kDecodeRows = 1, kTokens = kGroupTile;
  static constexpr int kGroups = (K + kGroup - 1) / kGroup;
  static constexpr size_t kCodes = 16 * kGroup / 2, kGroupBytes = kCodes + 32;
  static constexpr size_t kBlockBytes = kGroups * kGroupBytes;

  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    const uint8_t* rows = x;
    uint64_t heads = 0;
    for (int g = 0; g < kGroups; ++g, w += kGroupBytes, x += sizeof(Pow2Group)) {
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes); ++r) Fetch<kGroupBytes>(w + r * kApart, ahead.bytes[r]);
      const auto group = [&](int m) -> const Pow2Group& { return *(const Pow2Group*)(x + m * x_row); };
      NibbleSums sums[M][R] = {};
      for (int m = 0; m < M; ++m)
        for (int r = 0; r < R; ++r) sums[m][r].Start(group(m).offset);
      AddNibbles<M, R, kApart, Pow2Group>(w, x, x_row, sums);
      for (int r = 0; r < R; ++r) {
        const F16 scale = NotZero(LoadHalf((const uint16_t*)(w + r * kApart + kCodes)));  // sums of a scale 0 are 0: codes are 8
        for (int m = 0; m < M; ++m) {
          const I16 total = sums[m][r].Total() + (NibbleSums::kSixteenfold ? 0 : group(m).offset);
          acc[m][r] = Fma(ToFloat(total), TimesPower(scale, group(m).power), acc[m][r]);
        }
      }
      for (int m = 0; m < M; ++m) {
        uint64_t head;  // of power and offset, since compilers would make the power's broadcast one of a register
        memcpy(&head, &group(m), sizeof head);
        heads |= head;
      }
    }
    if (__builtin_expect(heads & kNoNumber, 0)) {  // tokens with a group that is none of numbers have no sums
      const uint32_t none = NoNumbers(rows, x_row, M);
      for (int m = 0; m < M; ++m)
        for (int r = 0; r < R; ++r) acc[m][r] = none >> m & 1 ? Set(__builtin_nanf("")) : acc[m][r];
    }
  }

  static __attribute__((noinline)) uint32_t NoNumbers(const uint8_t* x, size_t x_row, int tokens) {
    uint32_t none = 0;
    for (int m = 0; m < tokens; ++m)
      for (int g = 0; g < kGroups; ++g) none |= (uint32_t)(((const Pow2Group*)(x + m * x_row))[g].power & kNoNumber) << m;
    return none;
  }
};

// The value of a code is code * scale + minimum, which meets the activations' sum.
template <int K>
struct U4Weights {
  static constexpr int kDecodeRows = 1, kTokens = kTokenTile;
  static constexpr int kGroups = (K + kGroup - 1) / kGroup;
  static constexpr size_t kCodes = 16 * kGroup / 2, kGroupBytes = kCodes + 64;
  static constexpr size_t kBlockBytes = kGroups * kGroupBytes;

  template <int M, int R, size_t kApart = kBlockBytes>
  LLMOS_INLINE void Dot(const uint8_t* w, const uint8_t* x, size_t x_row, const Ahead<R>& ahead, F16 (&acc)[M][R]) {
    for (int g = 0; g < kGroups; ++g, w += kGroupBytes, x += sizeof(I8Group)) {
      for (int r = 0; r < R && Fetches(M, kTokens, kBlockBytes); ++r) Fetch<kGroupBytes>(w + r * kApart, ahead.bytes[r]);
      NibbleSums sums[M][R] = {};
      AddNibbles<M, R, kApart, I8Group>(w, x, x_row, sums);
      for (int r = 0; r < R; ++r) {
        const uint16_t* halves = (const uint16_t*)(w + r * kApart + kCodes);
        const F16 scale = LoadHalf(halves), minimum = LoadHalf(halves + kLanes);
        for (int m = 0; m < M; ++m) {
          const I8Group& group = *(const I8Group*)(x + m * x_row);
          acc[m][r] = Fma(ToFloat(sums[m][r].Total()), scale * Set(group.scale), acc[m][r]);
          acc[m][r] = Fma(minimum, Set(group.scale * (float)group.sum), acc[m][r]);
        }
      }
    }
  }
};

// kBest: `best` may point to where the largest values of rows are kept instead of the rows (best.h).
template <class Weights, int N, bool kBias, bool kAdd, bool kBest = false>
struct Linear {
  static constexpr int kBlocks = (N + kLanes - 1) / kLanes;
  const uint8_t* w;
  const uint8_t* x;
  size_t x_row;
  const float *bias, *add;
  int ldadd;
  float* y;
  int ldy;
  BestLists best = {};

  // M tokens from `t` and R row blocks from `block`.
  template <int M, int R>
  LLMOS_MEMBER void Tile(int t, int block, const Ahead<R>& ahead = {}) const {
    for (int m = 0; m < M && M > 1 && !kBest; ++m)  // a page of y for each token: their misses would wait for one another at the end
      for (int r = 0; r < R; ++r) __builtin_prefetch(y + (size_t)(t + m) * ldy + (block + r) * kLanes, 1);
    F16 acc[M][R] = {};
    Weights::template Dot<M, R>(w + block * Weights::kBlockBytes, x + t * x_row, x_row, ahead, acc);
    for (int m = 0; m < M; ++m)
      for (int r = 0; r < R; ++r) Finish(acc[m][r], t + m, (block + r) * kLanes);
  }

  LLMOS_MEMBER void Finish(F16 v, int t, int n) const {
    const int valid = N - n < kLanes ? N - n : kLanes;
    if (kBias) v = v + LoadPart(bias + n, valid);
    if (kAdd) v = v + LoadPart(add + (size_t)t * ldadd + n, valid);
    if (kBest && best.Take(t, v, n, valid)) return;
    Store(y + (size_t)t * ldy + n, v);
  }

  // What the tile of tokens at `t` fetches of the row blocks `bytes` further: the first one all, or where there are more to
  // share it, the first two a half each, so that the memory does not rest during the second.
  template <int R>
  LLMOS_MEMBER Ahead<R> NextRows(int t, int tokens, size_t bytes) const {
    constexpr int kFirst = Weights::kTokens;
    const bool share = tokens >= kFirst + kFirst / 2;
    Ahead<R> ahead;
    for (int r = 0; r < R; ++r)
      if (t == (share && r >= (R + 1) / 2 ? kFirst : 0)) ahead.bytes[r] = bytes;
    return ahead;
  }

  template <int R>
  LLMOS_MEMBER void Rows(int block, int tokens, size_t bytes) const {
    EachTile<Weights::kTokens>(tokens, [&]<int M>(int t) { Tile<M, R>(t, block, NextRows<R>(t, tokens, bytes)); });
  }

  void Run(Team& team, int tokens) const { tokens == 1 ? RunOne(team) : RunMany(team, tokens); }

  LLMOS_MEMBER void RunOne(Team& team) const {
    constexpr int kTileBlocks = DecodeBlocks(Weights::kDecodeRows, Weights::kBlockBytes);
    team.RunTiles((kBlocks + kTileBlocks - 1) / kTileBlocks, [&](int tile) {
      int block = tile * kTileBlocks;
      const int end = block + kTileBlocks < kBlocks ? block + kTileBlocks : kBlocks;
      for (; block + Weights::kDecodeRows <= end; block += Weights::kDecodeRows) Tile<1, Weights::kDecodeRows>(0, block);
      for (; block < end; ++block) Tile<1, 1>(0, block);
    });
  }

  // A thread's tiles follow one another (team.h), so that the rows it takes next are those behind this tile's.
  LLMOS_MEMBER void RunMany(Team& team, int tokens) const {
    team.RunTiles((kBlocks + kRowTile - 1) / kRowTile, [&](int tile) {
      const int block = tile * kRowTile;
      constexpr size_t kNext = kRowTile * Weights::kBlockBytes;
      block + kRowTile <= kBlocks ? Rows<kRowTile>(block, tokens, kNext) : Rows<1>(block, tokens, kNext);
    });
  }
};

// x: rows in the weights' activation format, x_row bytes apart. y: rows of RoundUp(N, 16) floats, ldy apart; whole blocks
// of 16 are stored. add may be y.
template <int N, int K, bool kBias, bool kAdd>
void LinearF32(Team& team, const uint8_t* w, const float* x, size_t x_row, const float* bias, const float* add, int ldadd,
               float* y, int ldy, int tokens) {
  Linear<F32Weights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}
template <int N, int K, bool kBias, bool kAdd>
void LinearF16(Team& team, const uint8_t* w, const float* x, size_t x_row, const float* bias, const float* add, int ldadd,
               float* y, int ldy, int tokens) {
  Linear<HalfWeights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}
template <int N, int K, bool kBias, bool kAdd>
void LinearBf16(Team& team, const uint8_t* w, const uint16_t* x, size_t x_row, const float* bias, const float* add, int ldadd,
                float* y, int ldy, int tokens) {
  Linear<Bf16Weights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}
template <int N, int K, bool kBias, bool kAdd>
void LinearI8(Team& team, const uint8_t* w, const I8Group* x, size_t x_row, const float* bias, const float* add, int ldadd,
              float* y, int ldy, int tokens) {
  Linear<I8Weights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}
template <int N, int K, bool kBias, bool kAdd>
void LinearI4(Team& team, const uint8_t* w, const Pow2Group* x, size_t x_row, const float* bias, const float* add, int ldadd,
              float* y, int ldy, int tokens) {
  Linear<I4Weights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}
template <int N, int K, bool kBias, bool kAdd>
void LinearU4(Team& team, const uint8_t* w, const I8Group* x, size_t x_row, const float* bias, const float* add, int ldadd,
              float* y, int ldy, int tokens) {
  Linear<U4Weights<K>, N, kBias, kAdd>{w, (const uint8_t*)x, x_row, bias, add, ldadd, y, ldy}.Run(team, tokens);
}

template <Format kFormat, int K>
constexpr auto WeightsFor() {
  if constexpr (kFormat == Format::kF32) return F32Weights<K>{};
  if constexpr (kFormat == Format::kF16) return HalfWeights<K>{};
  if constexpr (kFormat == Format::kBf16) return Bf16Weights<K>{};
  if constexpr (kFormat == Format::kI8) return I8Weights<K>{};
  if constexpr (kFormat == Format::kI4) return I4Weights<K>{};
  if constexpr (kFormat == Format::kU4) return U4Weights<K>{};
}
template <Format kFormat, int K>
using WeightsOf = decltype(WeightsFor<kFormat, K>());

// The product that makes scores, of c.n_outputs rows: where a step needs only the largest of a row, these are kept instead.
template <Format kFormat, int N, int K, bool kBias>
void OutputHead(Team& team, const Call& c, const uint8_t* w, const void* x, size_t x_row, const float* bias, float* y, int ldy) {
  using Product = Linear<WeightsOf<kFormat, K>, N, kBias, false, true>;
  Product{w, (const uint8_t*)x, x_row, bias, nullptr, 0, y, ldy, BestLists::Of<N>(c, team.rank)}.Run(team, c.n_outputs);
}

// Rows act(x G^T) * (x U^T) in the format of `Rows`, which the next product reads; G has N rows of w and U the N behind them. A
// tile makes a group of 32 columns, so that what the products give is not written, nor read again: for 512 tokens, N = 4864, those
// are 20 MB.
template <class Weights, int N, Act kAct, class Rows>
struct Gated {
  static_assert(N % kGroup == 0, "whole groups are made");
  static constexpr int kBlocks = N / kLanes, kOfGroup = kGroup / kLanes;
  static constexpr size_t kApart = (size_t)kBlocks * Weights::kBlockBytes;
  const uint8_t* w;
  const uint8_t* x;
  size_t x_row;
  Rows y;

  void Run(Team& team, int tokens) const { tokens == 1 ? RunOne(team) : RunMany(team, tokens); }

  LLMOS_MEMBER void Put(int t, int block, const F16* values) const {
    const int from = block * kLanes;
    y.template Put<N>(t, from, from + kGroup, [&](int i, int) { return values[(i - from) / kLanes]; });
  }

  // One token: many blocks of G, then those of U, since a processor fetches long streams ahead better.
  LLMOS_MEMBER void RunOne(Team& team) const {
    constexpr int kWanted = (int)RoundUp(DecodeBlocks(Weights::kDecodeRows, Weights::kBlockBytes), kOfGroup);
    constexpr int kTileBlocks = kWanted < 32 ? kWanted : 32;
    team.RunTiles((kBlocks + kTileBlocks - 1) / kTileBlocks, [&](int tile) {
      const int first = tile * kTileBlocks, n = kBlocks - first < kTileBlocks ? kBlocks - first : kTileBlocks;
      F16 gate[kTileBlocks], up[kTileBlocks];
      Blocks(w + first * Weights::kBlockBytes, n, gate);
      Blocks(w + kApart + first * Weights::kBlockBytes, n, up);
      for (int i = 0; i < n; ++i) gate[i] = Apply<kAct>(gate[i]) * up[i];
      for (int i = 0; i < n; i += kOfGroup) Put(0, first + i, gate + i);
    });
  }
  LLMOS_MEMBER void Blocks(const uint8_t* from, int n, F16* out) const {
    int i = 0;
    for (; i + Weights::kDecodeRows <= n; i += Weights::kDecodeRows) Some<Weights::kDecodeRows>(from + i * Weights::kBlockBytes, out + i);
    for (; i < n; ++i) Some<1>(from + i * Weights::kBlockBytes, out + i);
  }
  template <int R>
  LLMOS_MEMBER void Some(const uint8_t* from, F16* out) const {
    F16 acc[1][R] = {};
    Weights::template Dot<1, R>(from, x, x_row, {}, acc);
    for (int r = 0; r < R; ++r) out[r] = acc[0][r];
  }

  // The tiles of a thread follow one another, so that what it reads next are the blocks behind these.
  LLMOS_MEMBER void RunMany(Team& team, int tokens) const {
    team.RunTiles(kBlocks / kOfGroup, [&](int tile) {
      EachTile<Weights::kTokens>(tokens, [&]<int M>(int t) { Tile<M>(t, tile * kOfGroup, tokens); });
    });
  }

  template <int M>
  LLMOS_MEMBER void Tile(int t, int block, int tokens) const {
    constexpr int kFirst = Weights::kTokens;
    for (int m = 0; m < M; ++m) __builtin_prefetch(y.At(t + m, block * kLanes), 1);
    F16 values[M][kOfGroup];
    for (int i = 0; i < kOfGroup; ++i) {
      // The first tile of tokens fetches for the next group, or where there is a second one, that does a half of it.
      const bool fetch = t == (i > 0 && tokens >= kFirst + kFirst / 2 ? kFirst : 0);
      const uint8_t* from = w + (block + i) * Weights::kBlockBytes;
      F16 acc[M][2] = {};
      if constexpr (kRowTile > 1) {
        Ahead<2> ahead;
        if (fetch) ahead.bytes[0] = ahead.bytes[1] = kOfGroup * Weights::kBlockBytes;
        Weights::template Dot<M, 2, kApart>(from, x + t * x_row, x_row, ahead, acc);
      } else {
        Ahead<1> ahead;
        if (fetch) ahead.bytes[0] = kOfGroup * Weights::kBlockBytes;
        for (int half = 0; half < 2; ++half) {
          F16 one[M][1] = {};
          Weights::template Dot<M, 1>(from + half * kApart, x + t * x_row, x_row, ahead, one);
          for (int m = 0; m < M; ++m) acc[m][half] = one[m][0];
        }
      }
      for (int m = 0; m < M; ++m) values[m][i] = Apply<kAct>(acc[m][0]) * acc[m][1];
    }
    for (int m = 0; m < M; ++m) Put(t + m, block, values[m]);
  }
};

template <Format kFormat, int N, int K, Act kAct, class Rows>
void GatedLinear(Team& team, const uint8_t* w, const void* x, size_t x_row, const Rows y, int tokens) {
  Gated<WeightsOf<kFormat, K>, N, kAct, Rows>{w, (const uint8_t*)x, x_row, y}.Run(team, tokens);
}

}  // namespace llmos
