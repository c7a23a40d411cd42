/* The engine: the functions of the opcodes. Included in this order: lanes, numbers, state (what a launch is), shadow
 * (the check), places and counters, memory, copies, collective, barriers, schedule, grid (the entry, convc_emulate). */
#include <stdlib.h>

#include "collective.h"
#include "copies.h"
#include "scalar.h"

enum opcode {
#define OP(name, ...) OP_##name,
#define LANE OP
#define FLOAT OP
#define FLOAT_LANE OP
#define HALF OP
#define HALF_BITS OP
#define SPECIAL OP
#include "ops.h"
#include "special.h"
#undef OP
#undef LANE
#undef FLOAT
#undef FLOAT_LANE
#undef HALF
#undef HALF_BITS
#undef SPECIAL
};

#define READ_ABC(type)                                                         \
  const __typeof__(get_##type(ap)) a = get_##type(ap), b = get_##type(bp), c = get_##type(cp); \
  (void)a, (void)b, (void)c
#define OP(name, to, from, value)                                 \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {       \
    OPERANDS;                                                     \
    READ_ABC(from);                                               \
    put_##to(reg(w, i->a[0]), (__typeof__(get_##to(ap)))(value), m); \
  }
#define LANE(name, to, from, value)                               \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {       \
    OPERANDS;                                                     \
    const __typeof__(get_##from(ap)) va = get_##from(ap), vb = get_##from(bp), vc = get_##from(cp); \
    __typeof__(get_##to(ap)) result;                              \
    EACH_LANE {                                                   \
      const lane_##from a = va[l], b = vb[l], c = vc[l];          \
      (void)a, (void)b, (void)c;                                  \
      result[l] = (lane_##to)(value);                             \
    }                                                             \
    put_##to(reg(w, i->a[0]), result, m);                         \
  }
#define FLUSHED(x) ((i->flags & FLAG_FLUSH) ? flush(x) : (x))
#define FINISHED(x) ((i->flags & FLAG_SATURATE) ? saturate(FLUSHED(x)) : FLUSHED(x))
#define FLOAT(name, value)                                                                                \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {                                               \
    OPERANDS;                                                                                             \
    const f32v a = FLUSHED(get_f32(ap)), b = FLUSHED(get_f32(bp)), c = FLUSHED(get_f32(cp));              \
    (void)a, (void)b, (void)c;                                                                            \
    const f32v result = (value);                                                                          \
    put_f32(reg(w, i->a[0]), FINISHED(result), m);                                                        \
  }
#define FLOAT_LANE(name, value)                                    \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {        \
    OPERANDS;                                                      \
    const f32v va = FLUSHED(get_f32(ap));                          \
    f32v result = {};                                              \
    EACH_IN(m) {                                                   \
      const float a = va[l];                                       \
      result[l] = (value);                                         \
    }                                                              \
    put_f32(reg(w, i->a[0]), FINISHED(result), m);                 \
  }
/* a[5]: 1 where these are bf16, a[6]: halves in a lane, a[7]: ReLU */
#define HALF(name, value)                                                                                \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {                                              \
    OPERANDS;                                                                                            \
    const u32v va = get_u32(ap), vb = get_u32(bp), vc = get_u32(cp);                                     \
    u32v result = {};                                                                                    \
    EACH_IN(m) for (int k = 0; k < i->a[6]; k++) {                                                       \
      const double x = half_value((uint16_t)(va[l] >> 16 * k), i->a[5]);                                 \
      const double y = half_value((uint16_t)(vb[l] >> 16 * k), i->a[5]);                                 \
      const double z = half_value((uint16_t)(vc[l] >> 16 * k), i->a[5]);                                 \
      (void)y, (void)z;                                                                                  \
      double r = (value);                                                                                \
      if (i->a[7] && r < 0) r = 0;                                                                       \
      if ((i->flags & FLAG_SATURATE) && !(r >= 0 && r <= 1)) r = r > 1 ? 1 : 0;                          \
      result[l] |= (uint32_t)half_bits(r, i->a[5]) << 16 * k;                                            \
    }                                                                                                    \
    put_u32(reg(w, i->a[0]), result, m);                                                                 \
  }
#define HALF_BITS(name, value)                                           \
  static void do_##name(Warp *w, const Op *i, uint32_t m) {              \
    OPERANDS;                                                            \
    const u32v va = get_u32(ap);                                         \
    u32v result = {};                                                    \
    EACH_IN(m) for (int k = 0; k < i->a[6]; k++) {                       \
      const uint16_t h = (uint16_t)(va[l] >> 16 * k);                    \
      result[l] |= (uint32_t)(uint16_t)(value) << 16 * k;                \
    }                                                                    \
    put_u32(reg(w, i->a[0]), result, m);                                 \
  }
#include "ops.h"
#undef OP
#undef LANE
#undef FLOAT
#undef FLOAT_LANE
#undef HALF
#undef HALF_BITS

/* A predicate as an operand: its number + 1, negative where it is negated. */
INLINE uint32_t predicate(const Warp *w, int32_t p) { return p > 0 ? w->predicates[p - 1] : ~w->predicates[-p - 1]; }

enum comparison { LESS = 1, EQUAL = 2, GREATER = 4, UNORDERED = 8 }; /* sums of these; as in decode.py */
enum logic { LOGIC_NONE, LOGIC_AND, LOGIC_OR, LOGIC_XOR };          /* as in decode.py */

INLINE uint32_t logic(int how, uint32_t a, uint32_t b) {
  return how == LOGIC_AND ? a & b : how == LOGIC_OR ? a | b : how == LOGIC_XOR ? a ^ b : a;
}

/* a: predicate 0, its complement or -1 1, operands 2 3, comparison 4, logic 5, third predicate 6 */
INLINE void set_predicates(Warp *w, const Op *i, uint32_t m, uint32_t less, uint32_t equal, uint32_t greater) {
  const int c = i->a[4];
  const uint32_t yes = (c & LESS ? less : 0) | (c & EQUAL ? equal : 0) | (c & GREATER ? greater : 0) |
                       (c & UNORDERED ? ~(less | equal | greater) : 0);
  const uint32_t third = i->a[5] ? predicate(w, i->a[6]) : 0;
  put_predicate(w, i->a[0], m, logic(i->a[5], yes, third));
  put_predicate(w, i->a[1], m, logic(i->a[5], ~yes, third));
}
#define SETP(type, mask)                                                              \
  static void do_setp_##type(Warp *w, const Op *i, uint32_t m) {                      \
    __typeof__(get_##type(NULL)) a = get_##type(reg(w, i->a[2])), b = get_##type(reg(w, i->a[3])); \
    PREPARE_##type;                                                                   \
    set_predicates(w, i, m, mask(a < b), mask(a == b), mask(a > b));                  \
  }
#define PREPARE_u16
#define PREPARE_s16
#define PREPARE_u32
#define PREPARE_s32
#define PREPARE_u64
#define PREPARE_s64
#define PREPARE_f64
#define PREPARE_f32 a = FLUSHED(a), b = FLUSHED(b)
SETP(u16, mask32)
SETP(s16, mask32)
SETP(u32, mask32)
SETP(s32, mask32)
SETP(f32, mask32)
SETP(u64, mask64)
SETP(s64, mask64)
SETP(f64, mask64)

enum test { FINITE, INFINITE, NUMBER, NOT_A_NUMBER, NORMAL, SUBNORMAL }; /* as in decode.py */

/* a: predicate 0, operand 1, test 2 */
static void testp(Warp *w, const Op *i, uint32_t m, int width) {
  uint32_t yes = 0;
  EACH_IN(m) {
    const uint64_t bits = get_lane(reg(w, i->a[1]), width, l);
    const int kind = width == 8 ? fpclassify(double_of(bits)) : fpclassify(float_of((uint32_t)bits));
    int r = 0;
    switch (i->a[2]) {
      case FINITE: r = kind != FP_NAN && kind != FP_INFINITE; break;
      case INFINITE: r = kind == FP_INFINITE; break;
      case NUMBER: r = kind != FP_NAN; break;
      case NOT_A_NUMBER: r = kind == FP_NAN; break;
      case NORMAL: r = kind == FP_NORMAL; break;
      default: r = kind == FP_SUBNORMAL;
    }
    yes |= (uint32_t)r << l;
  }
  put_predicate(w, i->a[0], m, yes);
}

/* a: result 0, operands 1 2 3, truth table 4 */
static void lop3(Warp *w, const Op *i, uint32_t m) {
  const u32v a = get_u32(reg(w, i->a[1])), b = get_u32(reg(w, i->a[2])), c = get_u32(reg(w, i->a[3]));
  u32v r = {};
  for (int k = 0; k < 8; k++)
    if (i->a[4] >> k & 1) r |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
  put32(reg(w, i->a[0]), r, m);
}

/* a: result 0, operands 1 2, bytes 3, subtract 4, takes the carry 5, leaves it 6. The carry is predicate 0. */
static void add_carry(Warp *w, const Op *i, uint32_t m) {
  const int width = i->a[3];
  const uint32_t in = i->a[5] ? w->predicates[0] : 0;
  uint32_t out = 0;
  EACH_IN(m) {
    const uint64_t x = get_lane(reg(w, i->a[1]), width, l), y = get_lane(reg(w, i->a[2]), width, l), k = in >> l & 1;
    const unsigned __int128 r = i->a[4] ? (unsigned __int128)x - y - k : (unsigned __int128)x + y + k;
    put_lane(reg(w, i->a[0]), width, l, (uint64_t)r);
    out |= (uint32_t)(r >> (8 * width) & 1) << l;
  }
  if (i->a[6]) put_predicate(w, 0, m, out);
}

/* a: result 0, operand 1, to 2, from 3, rounding 4, whole 5, register bytes of result 6 and operand 7, ReLU 8 */
static Conversion conversion(const Op *i) {
  return (Conversion){.to = i->a[2], .from = i->a[3], .rounding = i->a[4], .whole = i->a[5], .relu = i->a[8],
                      .saturate = i->flags & FLAG_SATURATE, .flush = i->flags & FLAG_FLUSH};
}
static void cvt(Warp *w, const Op *i, uint32_t m) {
  const Conversion c = conversion(i);
  EACH_IN(m) put_lane(reg(w, i->a[0]), i->a[6], l, convert(get_lane(reg(w, i->a[1]), i->a[7], l), c));
}
/* Two floats to the halves of one register: operand 1 is the upper one, 9 the lower. */
static void cvt_pair(Warp *w, const Op *i, uint32_t m) {
  const Conversion c = conversion(i);
  const uint32_t *high = reg(w, i->a[1]), *low = reg(w, i->a[9]);
  uint32_t *to = reg(w, i->a[0]);
  EACH_IN(m) to[l] = (uint32_t)convert(high[l], c) << 16 | ((uint32_t)convert(low[l], c) & 0xffff);
}

/* a: whole 0, its bytes 1, parts 2, their bytes 3 (1: a quarter, kept in 4 bytes), registers 4.. */
static void pack(Warp *w, const Op *i, uint32_t m) {
  EACH_IN(m) {
    uint64_t x = 0;
    for (int k = 0; k < i->a[2]; k++) {
      const uint64_t part = get_lane(reg(w, i->a[4 + k]), i->a[3] == 8 ? 8 : 4, l);
      x |= (part & (UINT64_MAX >> (64 - 8 * i->a[3]))) << (8 * i->a[3] * k);
    }
    put_lane(reg(w, i->a[0]), i->a[1], l, x);
  }
}
static void unpack(Warp *w, const Op *i, uint32_t m) {
  EACH_IN(m) {
    const uint64_t x = get_lane(reg(w, i->a[0]), i->a[1], l);
    for (int k = 0; k < i->a[2]; k++)
      if (i->a[4 + k] >= 0)
        put_lane(reg(w, i->a[4 + k]), i->a[3] == 8 ? 8 : 4, l,
                 x >> (8 * i->a[3] * k) & (UINT64_MAX >> (64 - 8 * i->a[3])));
  }
}

/* a: result 0, operand 1, bytes of both 2 3, window 4 */
static void change_space(Warp *w, const Op *i, uint32_t m, int to_generic) {
  const uint64_t base = (uint64_t)i->a[4] << WINDOW;
  EACH_IN(m) {
    const uint64_t x = get_lane(reg(w, i->a[1]), i->a[3], l);
    put_lane(reg(w, i->a[0]), i->a[2], l, to_generic ? x + base : x - base);
  }
}
/* a: predicate 0, operand 1, window 4; 0: neither shared nor local */
static void is_space(Warp *w, const Op *i, uint32_t m) {
  const uint64_t *x = reg(w, i->a[1]);
  uint32_t yes = 0;
  EACH_IN(m) {
    const uint64_t window = x[l] >> WINDOW;
    const int own = window == SHARED_WINDOW || window == LOCAL_WINDOW;
    yes |= (uint32_t)(i->a[4] ? window == (uint64_t)i->a[4] : !own) << l;
  }
  put_predicate(w, i->a[0], m, yes);
}

enum vote { VOTE_ALL, VOTE_ANY, VOTE_UNI, VOTE_BALLOT }; /* as in decode.py */

/* a: result 0, predicate 1, how 3 */
static void vote(Warp *w, const Op *i, uint32_t m) {
  const uint32_t yes = predicate(w, i->a[1]) & m;
  switch (i->a[3]) {
    case VOTE_ALL: put_predicate(w, i->a[0], m, yes == m ? FULL : 0); break;
    case VOTE_ANY: put_predicate(w, i->a[0], m, yes ? FULL : 0); break;
    case VOTE_UNI: put_predicate(w, i->a[0], m, yes == m || !yes ? FULL : 0); break;
    default: put32(reg(w, i->a[0]), (u32v){} + yes, m);
  }
}

#include "grid.h" /* last: its loop over instructions calls all of the above */
