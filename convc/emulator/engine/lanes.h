/* Vectors over the 32 lanes of a warp. A register is 32 lanes of 4 or 8 bytes, side by side in memory. */
#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

#define LANES 32
#define FULL 0xffffffffu
#define EACH_LANE for (int l = 0; l < LANES; l++)
/* Only those lanes that a mask names. */
#define EACH_IN(mask) \
  for (uint32_t left_ = (mask), l = 0; left_ && (l = (uint32_t)__builtin_ctz(left_), 1); left_ &= left_ - 1)

/* aligned(64): registers start at any multiple of 128 bytes in memory that is aligned to 64. */
#define LANE_VECTOR(name, type) typedef type name __attribute__((vector_size(LANES * sizeof(type)), aligned(64)))
LANE_VECTOR(u32v, uint32_t);
LANE_VECTOR(s32v, int32_t);
LANE_VECTOR(f32v, float);
LANE_VECTOR(u64v, uint64_t);
LANE_VECTOR(s64v, int64_t);
LANE_VECTOR(f64v, double);

#define BITS_1(k) 1u << (k), 2u << (k), 4u << (k), 8u << (k)
#define BITS_2(k) BITS_1(k), BITS_1((k) + 4), BITS_1((k) + 8), BITS_1((k) + 12)
static const u32v LANE_BIT = {BITS_2(0), BITS_2(16)};

#define INLINE static inline __attribute__((always_inline))

/* All ones in the lanes of the mask, zeros in the others. */
INLINE u32v lanes32(uint32_t mask) { return (u32v)((((u32v){} + mask) & LANE_BIT) != 0); }
INLINE u64v lanes64(uint32_t mask) { return (u64v)__builtin_convertvector((s32v)lanes32(mask), s64v); }

INLINE u32v choose32(u32v where, u32v yes, u32v no) { return (where & yes) | (~where & no); }
INLINE u64v choose64(u64v where, u64v yes, u64v no) { return (where & yes) | (~where & no); }

/* The lanes whose sign bit is set, as a mask: `where` is a result of a comparison. */
INLINE uint32_t mask32(s32v where) {
#if defined(__AVX512F__)
  const char *p = (const char *)&where;
  const __m512i low = _mm512_loadu_si512(p), high = _mm512_loadu_si512(p + 64);
  return _mm512_test_epi32_mask(low, low) | (uint32_t)_mm512_test_epi32_mask(high, high) << 16;
#elif defined(__AVX2__)
  uint32_t mask = 0;
  for (int k = 0; k < 4; k++)
    mask |= (uint32_t)_mm256_movemask_ps(_mm256_loadu_ps((const float *)&where + 8 * k)) << (8 * k);
  return mask;
#else
  uint32_t mask = 0;
  EACH_LANE mask |= (uint32_t)(where[l] < 0) << l;
  return mask;
#endif
}
INLINE uint32_t mask64(s64v where) { return mask32(__builtin_convertvector(where, s32v)); }

/* a * b + c, rounded once, in the rounding mode that is set. */
INLINE f32v fma_lanes(f32v a, f32v b, f32v c) {
  f32v d;
#if defined(__AVX512F__)
  for (int k = 0; k < LANES; k += 16)
    _mm512_storeu_ps((float *)&d + k,
                     _mm512_fmadd_ps(_mm512_loadu_ps((float *)&a + k), _mm512_loadu_ps((float *)&b + k),
                                     _mm512_loadu_ps((float *)&c + k)));
#elif defined(__FMA__)
  for (int k = 0; k < LANES; k += 8)
    _mm256_storeu_ps((float *)&d + k,
                     _mm256_fmadd_ps(_mm256_loadu_ps((float *)&a + k), _mm256_loadu_ps((float *)&b + k),
                                     _mm256_loadu_ps((float *)&c + k)));
#else
  EACH_LANE d[l] = __builtin_fmaf(a[l], b[l], c[l]);
#endif
  return d;
}

/* Numbers below the smallest normal one become zeros of their sign (.ftz). */
INLINE f32v flush(f32v x) {
  const u32v bits = (u32v)x, tiny = (u32v)((bits & 0x7f800000u) == 0);
  return (f32v)(bits & ~(tiny & 0x7fffffffu));
}

/* Into [0, 1], NaN into 0 (.sat). */
INLINE f32v saturate(f32v x) {
  const u32v above = (u32v)(x > 1.0f), within = (u32v)(x > 0.0f);
  return (f32v)choose32(above, (u32v)((f32v){} + 1.0f), within & (u32v)x);
}
