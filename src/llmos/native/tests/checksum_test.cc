#include "testing.h"

using namespace llmos;

// The definition, word by word: what a file of another machine was written with must be the same here.
static uint64_t Defined(const uint8_t* data, int64_t n_bytes) {
  uint64_t sums[8] = {};
  for (int64_t at = 0; at < n_bytes; at += 8) {
    uint64_t word = 0;
    for (int64_t i = 0; i < 8 && at + i < n_bytes; ++i) word |= (uint64_t)data[at + i] << (8 * i);
    const uint64_t lane = (uint64_t)(at / 8 % 8), stripe = (uint64_t)(at / 64);
    const uint64_t mixed = word ^ (0x9E3779B97F4A7C15u * (lane + 1) + 0xC2B2AE3D27D4EB4Fu * stripe);
    sums[lane] += (mixed % 0x100000000u) * (mixed / 0x100000000u) + (word % 0x100000000u * 0x100000000u + word / 0x100000000u);
  }
  for (int64_t lane = (n_bytes + 7) / 8 % 8; n_bytes % 64 && lane % 8; ++lane) {  // words of zeros that fill the last stripe
    const uint64_t mixed = 0x9E3779B97F4A7C15u * (uint64_t)(lane + 1) + 0xC2B2AE3D27D4EB4Fu * (uint64_t)(n_bytes / 64);
    sums[lane] += (mixed % 0x100000000u) * (mixed / 0x100000000u);
  }
  uint64_t sum = MixedSum((uint64_t)n_bytes);
  for (int lane = 0; lane < 8; ++lane) sum = MixedSum(sum ^ sums[lane]) * 0x9E3779B97F4A7C15u;
  return sum;
}

static void FillBytes(Array<uint8_t>& data) {
  Random random(7);
  for (size_t i = 0; i < data.n; ++i) data[i] = (uint8_t)random.Next();
}

TEST(the_checksum_is_that_of_its_definition) {
  Array<uint8_t> data(70000);
  FillBytes(data);
  for (int n : Ints{0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 1000, 4096, 65536, 69990})
    for (int start : Ints{0, 1, 5}) EXPECT(llmos_checksum(data + start, n) == Defined(data + start, n), "%d bytes from %d", n, start);
}

TEST(a_bit_that_flips_is_seen) {
  Array<uint8_t> data(4096);
  FillBytes(data);
  const uint64_t whole = llmos_checksum(data, 4096);
  for (int bit = 0; bit < 8 * 4096; bit += 13) {  // every bit of a byte, sooner or later
    data[bit / 8] = (uint8_t)(data[bit / 8] ^ 1 << bit % 8);
    EXPECT(llmos_checksum(data, 4096) != whole, "bit %d", bit);
    data[bit / 8] = (uint8_t)(data[bit / 8] ^ 1 << bit % 8);
  }
}

TEST(places_and_lengths_count) {
  Array<uint8_t> data(4096), kept(4096), zeros(8192);
  FillBytes(data);
  memcpy(kept, data, 4096);
  const uint64_t whole = llmos_checksum(data, 4096);
  for (int other = 64; other + 64 <= 4096; other += 64) {
    memcpy(data, kept + other, 64), memcpy(data + other, kept, 64);
    EXPECT(llmos_checksum(data, 4096) != whole, "stripes 0 and %d change places", other / 64);
    memcpy(data, kept, 4096);
    data[7] ^= 0x80, data[other + 7] ^= 0x80;  // these cancel in a plain sum
    EXPECT(llmos_checksum(data, 4096) != whole, "highest bits of stripes 0 and %d", other / 64);
    memcpy(data, kept, 4096);
  }
  EXPECT(llmos_checksum(zeros, 4096) != llmos_checksum(zeros, 4097));
}

int main() { return RunTests(); }
