/* Loads, stores and atomics. */
#pragma once

#include "counters.h"

INLINE uint64_t get_bytes(const uint8_t *at, int size) {
  switch (size) {
    case 1: return *at;
    case 2: { uint16_t x; memcpy(&x, at, 2); return x; }
    case 4: { uint32_t x; memcpy(&x, at, 4); return x; }
    default: { uint64_t x; memcpy(&x, at, 8); return x; }
  }
}

INLINE void put_lane(void *to, int width, uint32_t lane, uint64_t value) {
  if (width == 8) ((uint64_t *)to)[lane] = value;
  else ((uint32_t *)to)[lane] = (uint32_t)value;
}
INLINE uint64_t get_lane(const void *from, int width, uint32_t lane) {
  return width == 8 ? ((const uint64_t *)from)[lane] : ((const uint32_t *)from)[lane];
}

/* a: registers 0..3, address 4 5 6, space 7, bytes of an element 8, elements 9, signed 10, register bytes 11 */
static void load(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int each = i->a[8], n = i->a[9], size = each * n, width = i->a[11];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 0, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, READ);
    count(run, i, 0, &p, m, size);
  }
  for (int k = 0; k < n; k++) {
    if (i->a[k] < 0) continue;
    void *to = reg(w, i->a[k]);
    if (each == 4 && width == 4) {
      EACH_IN(m) {
        uint32_t x = FULL;
        if (p.host[l]) memcpy(&x, p.host[l] + 4 * k, 4);
        ((uint32_t *)to)[l] = x;
      }
      continue;
    }
    const int spare = 64 - 8 * each;
    EACH_IN(m) {
      uint64_t x = p.host[l] ? get_bytes(p.host[l] + each * k, each) : UINT64_MAX;
      x = i->a[10] ? (uint64_t)((int64_t)(x << spare) >> spare) : x << spare >> spare;
      put_lane(to, width, l, x);
    }
  }
}

static void store(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int each = i->a[8], n = i->a[9], size = each * n, width = i->a[11];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 1, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, WRITE);
    count(run, i, 0, &p, m, size);
  } else {
    mark_written(run, m, &p, size);
  }
  for (int k = 0; k < n; k++) {
    const void *from = reg(w, i->a[k]);
    EACH_IN(m) {
      if (!p.host[l]) continue;
      const uint64_t x = get_lane(from, width, l);
      memcpy(p.host[l] + each * k, &x, (size_t)each);
    }
  }
}

enum atomic { ADD, MIN, MAX, AND, OR, XOR, EXCH, CAS, INC, DEC }; /* as in decode.py */

static uint64_t combine_halves(int op, int bfloat, int n, uint64_t old, uint64_t x) {
  uint64_t result = 0;
  for (int k = 0; k < n; k++) {
    const float a = half_value((uint16_t)(old >> 16 * k), bfloat), b = half_value((uint16_t)(x >> 16 * k), bfloat);
    const double y = op == ADD ? (double)a + b : op == MIN ? fmin(a, b) : fmax(a, b);
    result |= (uint64_t)half_bits(y, bfloat) << 16 * k;
  }
  return result;
}

static uint64_t combine(int op, int type, uint64_t old, uint64_t x, uint64_t y) {
  switch (op) {
    case ADD:
      if (type == F32) return bits_of(float_of((uint32_t)old) + float_of((uint32_t)x));
      if (type == F64) return bits_of64(double_of(old) + double_of(x));
      return old + x;
    case MIN:
    case MAX: {
      const int less = type == S32   ? (int32_t)old < (int32_t)x
                       : type == S64 ? (int64_t)old < (int64_t)x
                                     : old < x;
      return (op == MIN) == less ? old : x;
    }
    case AND: return old & x;
    case OR: return old | x;
    case XOR: return old ^ x;
    case EXCH: return x;
    case CAS: return old == x ? y : old;
    case INC: return old >= x ? 0 : old + 1;
    default: return old == 0 || old > x ? x : old - 1;
  }
}

/* a: result 0 or -1, value 1, second value 2, address 4 5 6, space 7, bytes 8, number 9, operation 10, register
 * bytes 11, halves in the word 12 */
static void atom(Run *run, Warp *w, const Op *i, uint32_t m) {
  const int size = i->a[8], width = i->a[11], type = i->a[9], op = i->a[10];
  Places p;
  locate_all(run, w, i, m, 4, i->a[7], size, 1, &p);
  if (run->launch->check) {
    EACH_IN(m) check_lane(run, w, i, l, &p, size, UPDATE);
    count(run, i, 0, &p, m, size);
  } else {
    mark_written(run, m, &p, size);
  }
  EACH_IN(m) {
    uint64_t old = UINT64_MAX;
    if (p.host[l]) {
      old = get_bytes(p.host[l], size);
      const uint64_t x = get_lane(reg(w, i->a[1]), width, l), y = get_lane(reg(w, i->a[2]), width, l);
      const uint64_t made = i->a[12] ? combine_halves(op, type == BF16, i->a[12], old, x)
                                     : combine(op, type, old, size == 2 ? x & 0xffff : x, y);
      memcpy(p.host[l], &made, (size_t)size);
    }
    if (i->a[0] >= 0) put_lane(reg(w, i->a[0]), width, l, old);
  }
}
