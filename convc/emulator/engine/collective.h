/* Instructions that the lanes of a warp carry out together. */
#pragma once

#include "memory.h"

enum shuffle { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX }; /* as in decode.py */

static void wrong_lanes(Run *run, const Warp *w, const Op *i, uint32_t lane) {
  report(run, WARP_SYNC, (int)(i - run->launch->code), w->number * LANES + (int)lane, 0, NOWHERE, 0, 0);
}

INLINE void put_predicate(Warp *w, int32_t predicate, uint32_t m, uint32_t value) {
  if (predicate >= 0) w->predicates[predicate] = (w->predicates[predicate] & ~m) | (value & m);
}

/* a: result 0, value 1, lane 2, clamp and segments 3, how 4, predicate or -1 5 */
static void shuffle(Run *run, Warp *w, const Op *i, uint32_t m) {
  const uint32_t *value = reg(w, i->a[1]), *lanes = reg(w, i->a[2]), *clamps = reg(w, i->a[3]);
  uint32_t result[LANES], inside = 0;
  EACH_IN(m) {
    const int by = lanes[l] & 31, segment = clamps[l] >> 8 & 31, clamp = clamps[l] & 31, lane = (int)l;
    const int low = lane & segment, high = low | (clamp & ~segment);
    int from, valid;
    switch (i->a[4]) {
      case SHUFFLE_UP: from = lane - by, valid = from >= high; break;
      case SHUFFLE_DOWN: from = lane + by, valid = from <= high; break;
      case SHUFFLE_BFLY: from = lane ^ by, valid = from <= high; break;
      default: from = low | (by & ~segment), valid = from <= high;
    }
    if (!valid) from = lane;
    inside |= (uint32_t)valid << l;
    result[l] = m >> from & 1 ? value[from] : FULL;
    if (!(m >> from & 1)) wrong_lanes(run, w, i, l);
  }
  uint32_t *to = reg(w, i->a[0]);
  if (i->a[0] >= 0) EACH_IN(m) to[l] = result[l];
  put_predicate(w, i->a[5], m, inside);
}

/* a: result 0, value 1, bytes 3, all or any 4, predicate or -1 5 */
static void match(Warp *w, const Op *i, uint32_t m) {
  const void *value = reg(w, i->a[1]);
  uint32_t result[LANES], all = FULL;
  EACH_IN(m) {
    result[l] = 0;
    const uint64_t mine = get_lane(value, i->a[3], l);
    for (uint32_t k = 0; k < LANES; k++)
      if (m >> k & 1 && get_lane(value, i->a[3], k) == mine) result[l] |= 1u << k;
    if (result[l] != m) all = 0;
  }
  uint32_t *to = reg(w, i->a[0]);
  EACH_IN(m) to[l] = i->a[4] ? all & m : result[l];
  put_predicate(w, i->a[5], m, all);
}

/* a: result 0, value 1, operation 3, number 4 */
static void reduce(Warp *w, const Op *i, uint32_t m) {
  const uint32_t *value = reg(w, i->a[1]);
  uint32_t sum = 0;
  int first = 1;
  EACH_IN(m) {
    sum = first ? value[l] : (uint32_t)combine(i->a[3], i->a[4], sum, value[l], 0);
    first = 0;
  }
  uint32_t *to = reg(w, i->a[0]);
  EACH_IN(m) to[l] = sum;
}

/* a: results 0..3, address 4 5 6, space 7, matrices 8, transposed 9 */
static void ldmatrix(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int n = i->a[8];
  Places p;
  if (m != FULL) wrong_lanes(run, w, i, (uint32_t)__builtin_ctz(m));
  const uint32_t rows = n == 4 ? FULL : (1u << 8 * n) - 1; /* the lanes that give the address of a row */
  locate_all(run, w, i, rows & m, 4, i->a[7], 16, 0, &p);
  EACH_IN(rows & ~m) p.host[l] = NULL;
  if (run->launch->check) {
    EACH_IN(rows & m) check_lane(run, w, i, l, &p, 16, READ);
    count(run, i, 0, &p, rows & m, 16);
  }
  for (int k = 0; k < n; k++) {
    uint16_t matrix[8][8];
    for (int r = 0; r < 8; r++) {
      if (p.host[8 * k + r]) memcpy(matrix[r], p.host[8 * k + r], 16);
      else memset(matrix[r], 0xff, 16);
    }
    uint32_t *to = reg(w, i->a[k]);
    EACH_IN(m) {
      const int r = (int)l / 4, c = 2 * ((int)l % 4);
      const uint16_t low = i->a[9] ? matrix[c][r] : matrix[r][c], high = i->a[9] ? matrix[c + 1][r] : matrix[r][c + 1];
      to[l] = low | (uint32_t)high << 16;
    }
  }
}

/* D = A * B + C of 16x8 = 16xK * Kx8. a: D 0..3, A 4..7, B 8..9, C 10..13, number 14; K 15, + 256 where D, C are f16.
 * Lane l holds row l / 4, and in B column l / 4; the rows 8 further down in the next register. */
typedef float f32x8 __attribute__((vector_size(32), aligned(4)));

static void mma(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int depth = i->a[15] & 255, narrow = i->a[15] >> 8, tf32 = i->a[14] == TF32, bfloat = i->a[14] == BF16;
  float a[16][16], b[16][8], c[16][8];
  if (m != FULL) wrong_lanes(run, w, i, (uint32_t)__builtin_ctz(m));
  const int blocks = tf32 ? depth / 4 : depth / 8; /* registers of B */
  for (int k = 0; k < 2 * blocks; k++) {
    const uint32_t *x = reg(w, i->a[4 + k]), *y = reg(w, i->a[8 + k / 2]);
    EACH_LANE {
      const int row = l / 4 + 8 * (k & 1), column = l / 4, t = l % 4;
      if (tf32) {
        const int at = t + 4 * (k / 2);
        a[row][at] = float_of(x[l] & 0xffffe000u);
        b[at][column] = float_of(y[l] & 0xffffe000u);
        continue;
      }
      const int at = 2 * t + 8 * (k / 2);
      a[row][at] = half_value((uint16_t)x[l], bfloat), a[row][at + 1] = half_value((uint16_t)(x[l] >> 16), bfloat);
      b[at][column] = half_value((uint16_t)y[l], bfloat);
      b[at + 1][column] = half_value((uint16_t)(y[l] >> 16), bfloat);
    }
  }
  for (int k = 0; k < 4; k++) {
    const uint32_t *z = reg(w, i->a[10 + (narrow ? k / 2 : k)]);
    EACH_LANE c[l / 4 + 8 * (k / 2)][2 * (l % 4) + (k & 1)] =
        narrow ? from_half((uint16_t)(z[l] >> 16 * (k & 1))) : float_of(z[l]);
  }
  for (int row = 0; row < 16; row++) {
    f32x8 sum = *(f32x8 *)c[row];
    for (int k = 0; k < depth; k++) sum += a[row][k] * *(f32x8 *)b[k];
    *(f32x8 *)c[row] = sum;
  }
  for (int k = 0; k < (narrow ? 2 : 4); k++) {
    uint32_t *d = reg(w, i->a[k]);
    EACH_IN(m) {
      const int row = (int)l / 4 + 8 * (narrow ? k : k / 2), column = 2 * ((int)l % 4);
      d[l] = narrow ? to_half(c[row][column], TO_NEAREST) | (uint32_t)to_half(c[row][column + 1], TO_NEAREST) << 16
                    : bits_of(c[row][column + (k & 1)]);
    }
  }
}
