/* Functions of one lane, and of whole registers, that ops.h names. */
#pragma once

#include "memory.h"

static uint64_t reverse(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
  x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
  return __builtin_bswap64(x);
}

/* The highest bit that differs from the sign, FULL where none does. */
static uint32_t find_top(uint64_t x) {
  if (x >> 63) x = ~x;
  return x ? 63 - (uint32_t)__builtin_clzll(x) : FULL;
}

static uint32_t shift_to_top(int32_t x) {
  const uint32_t top = find_top((uint64_t)(int64_t)x);
  return top == FULL ? FULL : 31 - top;
}

static uint64_t extract(uint64_t a, uint32_t at, uint32_t length, uint32_t width, int is_signed) {
  at &= 255, length &= 255;
  const uint32_t top = at + length - 1 < width - 1 ? at + length - 1 : width - 1;
  const uint64_t sign = is_signed && length && (a >> top & 1) ? UINT64_MAX : 0;
  if (length == 0) return 0;
  uint64_t bits = at < width ? a >> at : 0;
  const uint32_t valid = at < width ? (length < width - at ? length : width - at) : 0;
  if (valid < 64) bits = (bits & ((1ull << valid) - 1)) | sign << valid;
  return bits;
}

static uint64_t insert(uint64_t a, uint64_t b, uint32_t at, uint32_t length, uint32_t width) {
  at &= 255, length &= 255;
  if (length == 0 || at >= width) return b;
  const uint64_t ones = length >= 64 ? UINT64_MAX : (1ull << length) - 1;
  return (b & ~(ones << at)) | (a & ones) << at;
}

enum permute { PLAIN, F4E, B4E, RC8, ECL, ECR, RC16 }; /* as in decode.py */

static uint32_t permute(uint64_t bytes, uint32_t selector, int mode) {
  static const uint16_t FIXED[][4] = {
      {0x3210, 0x4321, 0x5432, 0x6543}, {0x5670, 0x6701, 0x7012, 0x0123}, {0x0000, 0x1111, 0x2222, 0x3333},
      {0x3210, 0x3211, 0x3222, 0x3333}, {0x0000, 0x1110, 0x2210, 0x3210}, {0x1010, 0x3232, 0x1010, 0x3232}};
  if (mode != PLAIN) selector = FIXED[mode - 1][selector & 3];
  uint32_t result = 0;
  for (int k = 0; k < 4; k++) {
    const uint32_t pick = selector >> 4 * k & 15;
    uint32_t byte = (uint32_t)(bytes >> 8 * (pick & 7)) & 255;
    if (pick & 8) byte = byte & 128 ? 255 : 0;
    result |= byte << 8 * k;
  }
  return result;
}

/* The smaller, the other where one is NaN, and -0 before +0. */
INLINE f32v smaller(f32v a, f32v b) {
  const u32v first = (u32v)(a < b) | (u32v)(b != b), r = choose32(first, (u32v)a, (u32v)b);
  return (f32v)(r | ((u32v)(a == b) & (u32v)a));
}

#define WIDE(x) __builtin_convertvector(x, u64v)
#define WIDES(x) __builtin_convertvector(x, s64v)
#define TO32(x) __builtin_convertvector(x, u32v)
#define TO32S(x) __builtin_convertvector(x, s32v)
#define ROUND_TF32(x) \
  choose32((u32v)(((x) & 0x7fffffffu) > 0x7f800000u), (u32v){} + 0x7fffffffu, ((x) + 0x1000u) & 0xffffe000u)

INLINE u32v get_u32(const void *p) { return *(const u32v *)p; }
INLINE s32v get_s32(const void *p) { return *(const s32v *)p; }
INLINE u32v get_u16(const void *p) { return *(const u32v *)p & 0xffff; }
INLINE s32v get_s16(const void *p) { return *(const s32v *)p << 16 >> 16; }
INLINE u64v get_u64(const void *p) { return *(const u64v *)p; }
INLINE s64v get_s64(const void *p) { return *(const s64v *)p; }
INLINE f32v get_f32(const void *p) { return *(const f32v *)p; }
INLINE f64v get_f64(const void *p) { return *(const f64v *)p; }

INLINE void put32(void *to, u32v x, uint32_t m) {
  *(u32v *)to = m == FULL ? x : choose32(lanes32(m), x, *(u32v *)to);
}
INLINE void put64(void *to, u64v x, uint32_t m) {
  *(u64v *)to = m == FULL ? x : choose64(lanes64(m), x, *(u64v *)to);
}
INLINE void put_u32(void *to, u32v x, uint32_t m) { put32(to, x, m); }
INLINE void put_s32(void *to, s32v x, uint32_t m) { put32(to, (u32v)x, m); }
INLINE void put_f32(void *to, f32v x, uint32_t m) { put32(to, (u32v)x, m); }
INLINE void put_u64(void *to, u64v x, uint32_t m) { put64(to, x, m); }
INLINE void put_s64(void *to, s64v x, uint32_t m) { put64(to, (u64v)x, m); }
INLINE void put_f64(void *to, f64v x, uint32_t m) { put64(to, (u64v)x, m); }

typedef uint32_t lane_u32; typedef int32_t lane_s32; typedef uint32_t lane_u16; typedef int32_t lane_s16;
typedef uint64_t lane_u64; typedef int64_t lane_s64; typedef float lane_f32; typedef double lane_f64;

/* One function for each line of ops.h: b, c and d are read where the operation has them. */
#define OPERANDS                                                                        \
  void *const ap = reg(w, i->a[1]), *const bp = reg(w, i->a[2]), *const cp = reg(w, i->a[3]), \
             *const dp = reg(w, i->a[4]);                                               \
  (void)ap, (void)bp, (void)cp, (void)dp
#define B(type) get_##type(bp)
