/* Conversions between number formats, one lane at a time. */
#pragma once

#include <fenv.h>
#include <math.h>

#include "lanes.h"

enum number { S8, U8, S16, U16, S32, U32, S64, U64, F16, BF16, F32, F64, TF32 }; /* as in decode.py */
enum rounding { TO_NEAREST, TO_ZERO, DOWN, UP, AWAY }; /* as in decode.py */

INLINE uint32_t bits_of(float x) { uint32_t u; memcpy(&u, &x, 4); return u; }
INLINE float float_of(uint32_t u) { float x; memcpy(&x, &u, 4); return x; }
INLINE uint64_t bits_of64(double x) { uint64_t u; memcpy(&u, &x, 8); return u; }
INLINE double double_of(uint64_t u) { double x; memcpy(&x, &u, 8); return x; }

static float from_half(uint16_t h) {
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, size = (uint32_t)(h & 0x7fff) << 13;
  if (size >= 31u << 23) return float_of(sign | 0x7f800000u | size);
  return float_of(sign | bits_of(float_of(size) * 0x1p112f)); /* exact, of subnormal numbers too */
}
INLINE float from_bfloat(uint16_t h) { return float_of((uint32_t)h << 16); }

static const int MODES[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD, FE_TONEAREST};

/* x as a multiple of `unit` (a power of two), by the rounding mode asked for. */
static double to_multiple(double x, double unit, int rounding) {
  const double q = x / unit; /* exact but for subnormal doubles, which lie below every format here */
  switch (rounding) {
    case TO_ZERO: return trunc(q) * unit;
    case DOWN: return floor(q) * unit;
    case UP: return ceil(q) * unit;
    case AWAY: return round(q) * unit;
    default: return nearbyint(q) * unit;
  }
}

/* x rounded to `bits` of significand, and to multiples of 2^lowest; what exceeds `largest` becomes infinity. */
static double to_format(double x, int bits, int lowest, double largest, int rounding) {
  if (!isfinite(x) || x == 0) return x;
  int exponent;
  frexp(x, &exponent);
  const int unit = exponent - bits > lowest ? exponent - bits : lowest;
  const double y = to_multiple(x, ldexp(1, unit), rounding);
  if (fabs(y) <= largest) return copysign(y, x);
  const int keep = rounding == TO_ZERO || (rounding == DOWN && x > 0) || (rounding == UP && x < 0);
  return copysign(keep ? largest : INFINITY, x);
}

static uint16_t to_half(double x, int rounding) {
  if (isnan(x)) return 0x7fff;
  const float near = (float)x;
  if (near == x && rounding == TO_NEAREST && fabsf(near) >= 0x1p-14f && fabsf(near) < 65520) {
    /* The common case, quickly: to the nearest number that has 10 bits of fraction, a tie to the even one. */
    const uint32_t u = bits_of(near), size = (u & 0x7fffffffu) + 0xfff + (u >> 13 & 1);
    return (uint16_t)(u >> 16 & 0x8000) | (uint16_t)((size >> 13) - (112 << 10));
  }
  const double y = to_format(x, 11, -24, 65504, rounding);
  const uint16_t sign = signbit(y) ? 0x8000 : 0;
  if (isinf(y)) return sign | 0x7c00;
  const double size = fabs(y);
  if (size < 0x1p-14) return sign | (uint16_t)(size * 0x1p24);
  int exponent;
  const double fraction = frexp(size, &exponent); /* size = fraction * 2^exponent, fraction in [1/2, 1) */
  return sign | (uint16_t)((exponent + 14) << 10) | ((uint16_t)(fraction * 2048) & 0x3ff);
}
static uint16_t to_bfloat(double x, int rounding) {
  if (isnan(x)) return 0x7fff;
  const float near = (float)x;
  if (near == x && rounding == TO_NEAREST) { /* quickly, as above; what is too large carries into infinity */
    const uint32_t u = bits_of(near);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
  /* A float holds it exactly: the same exponents, and more bits. */
  return (uint16_t)(bits_of((float)to_format(x, 8, -133, 0x1.fep127, rounding)) >> 16);
}
static float to_tf32(double x, int rounding) {
  if (isnan(x)) return float_of(0x7fffffffu);
  return (float)to_format(x, 11, -136, 0x1.ffcp127, rounding);
}

/* p + c rounded to odd: rounding once more, to fewer bits, gives what rounding once would have given. */
static double add_to_odd(double p, double c) {
  const double sum = p + c, tail = sum - p, error = (p - (sum - tail)) + (c - tail);
  uint64_t bits = bits_of64(sum);
  if (error == 0 || !isfinite(sum) || (bits & 1)) return sum;
  return double_of((error > 0) == (sum > 0) ? bits + 1 : bits - 1);
}

INLINE float half_value(uint16_t h, int bfloat) { return bfloat ? from_bfloat(h) : from_half(h); }
INLINE uint16_t half_bits(double x, int bfloat) { return bfloat ? to_bfloat(x, TO_NEAREST) : to_half(x, TO_NEAREST); }

INLINE int64_t limit(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

static int64_t clamp_integer(int64_t x, int is_u64, int to) {
  const int64_t most = is_u64 && x < 0 ? INT64_MAX : x; /* an unsigned source beyond the signed ones */
  switch (to) {
    case S8: return limit(most, INT8_MIN, INT8_MAX);
    case U8: return limit(most, 0, UINT8_MAX);
    case S16: return limit(most, INT16_MIN, INT16_MAX);
    case U16: return limit(most, 0, UINT16_MAX);
    case S32: return limit(most, INT32_MIN, INT32_MAX);
    case U32: return limit(most, 0, UINT32_MAX);
    case S64: return most;
    default: return is_u64 ? x : limit(x, 0, INT64_MAX);
  }
}

/* A float, already whole, to an integer: clamped to its range, NaN to 0. */
static uint64_t float_to_integer(double x, int to) {
  if (isnan(x)) return 0;
  if (to == U64) return x <= 0 ? 0 : x >= 0x1p64 ? UINT64_MAX : (uint64_t)x;
  const int64_t whole = x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (int64_t)x;
  return (uint64_t)clamp_integer(whole, 0, to);
}

static double round_whole(double x, int rounding) {
  switch (rounding) {
    case TO_ZERO: return trunc(x);
    case DOWN: return floor(x);
    case UP: return ceil(x);
    default: return nearbyint(x);
  }
}

/* The low bits of an integer, extended as its type says. */
static uint64_t extend(uint64_t x, int type) {
  switch (type) {
    case S8: return (uint64_t)(int64_t)(int8_t)x;
    case U8: return (uint8_t)x;
    case S16: return (uint64_t)(int64_t)(int16_t)x;
    case U16: return (uint16_t)x;
    case S32: return (uint64_t)(int64_t)(int32_t)x;
    case U32: return (uint32_t)x;
    default: return x;
  }
}

typedef struct {
  int to, from, rounding, whole, saturate, flush, relu;
} Conversion;

static uint64_t encode(double x, Conversion c) {
  if (c.saturate && c.to >= F16) x = isnan(x) ? 0 : x < 0 ? 0 : x > 1 ? 1 : x;
  if (c.relu && !(x > 0)) x = isnan(x) ? x : 0;
  switch (c.to) {
    case F16: return to_half(x, c.rounding);
    case BF16: return to_bfloat(x, c.rounding);
    case TF32: return bits_of(to_tf32(x, c.rounding));
    case F64: return bits_of64(x);
    case F32: {
      float y = (float)x; /* in the rounding mode that is set */
      if (c.flush && fabsf(y) < 0x1p-126f) y = copysignf(0, y);
      return bits_of(y);
    }
    default: return float_to_integer(round_whole(x, c.rounding), c.to);
  }
}

/* The value of `bits`, of the format c.from, in the format c.to. */
static uint64_t convert(uint64_t bits, Conversion c) {
  int64_t whole;
  switch (c.from) {
    case S8: whole = (int8_t)bits; break;
    case U8: whole = (uint8_t)bits; break;
    case S16: whole = (int16_t)bits; break;
    case U16: whole = (uint16_t)bits; break;
    case S32: whole = (int32_t)bits; break;
    case U32: whole = (uint32_t)bits; break;
    case S64:
    case U64: whole = (int64_t)bits; break;
    default: {
      double x = c.from == F64 ? double_of(bits) : c.from == F32 ? float_of((uint32_t)bits)
                 : c.from == F16 ? from_half((uint16_t)bits) : from_bfloat((uint16_t)bits);
      if (c.flush && c.from == F32 && fabs(x) < 0x1p-126) x = copysign(0, x);
      return encode(c.whole && c.to >= F16 ? round_whole(x, c.rounding) : x, c);
    }
  }
  if (c.to < F16) return extend((uint64_t)(c.saturate ? clamp_integer(whole, c.from == U64, c.to) : whole), c.to);
  /* Once, not by way of double: 64 bits do not fit there. */
  if (c.to == F32) {
    const float y = c.from == U64 ? (float)(uint64_t)whole : (float)whole;
    return bits_of(c.saturate ? (y < 0 ? 0 : y > 1 ? 1 : y) : y);
  }
  return encode(c.from == U64 ? (double)(uint64_t)whole : (double)whole, c);
}
