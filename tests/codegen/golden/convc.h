/* convc: vector types and functions that the kernels of this program use. */
#ifndef CONVC_H
#define CONVC_H
#include <stddef.h>
#include <stdint.h>
#ifndef __has_builtin /* gcc before 10, which has what is asked for below */
#define __has_builtin(name) 1
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) /* they do not see what a builtin reads */
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* What is used of <math.h>, which would take longer to compile than a small kernel. */
float expf(float), expm1f(float), logf(float), log1pf(float), tanhf(float), sqrtf(float), fabsf(float);
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

#define UNROLL _Pragma("GCC unroll 64")
#define INLINE static inline __attribute__((always_inline, unused))
#define CALLED static __attribute__((noinline, unused)) /* too long to be there once for each point of a tile */

/* Floor division and its remainder, for dividends that may be negative; by > 0. */
INLINE long floor_div(long a, long by) { return a / by - (a % by < 0); }
INLINE long floor_mod(long a, long by) { return a % by + (a % by < 0 ? by : 0); }

INLINE long long_min(long a, long b) { return a < b ? a : b; }
INLINE long long_max(long a, long b) { return a > b ? a : b; }

/* What one run of the program is called with. */
typedef struct {
    void *const *inputs;   /* one pointer for each data input, row-major */
        void *const *outputs;  /* one pointer for each output, row-major */
            void *const *stores;   /* parameters and state: one pointer for each */
                const int32_t *scalars; /* learning rate, seed and the like: 4 bytes each, f32 or i32 */
    char *arena;           /* all intermediates */
        int64_t rows;          /* n: the batch rows of this run */
        } convc_call;

INLINE float f32x1_max(float a, float b) { return b > a || b != b ? b : a; }
INLINE float f32x1_min(float a, float b) { return b < a || b != b ? b : a; }
INLINE float f32x1_exp(float x) { return expf(x); }
INLINE float f32x1_log(float x) { return logf(x); }
INLINE float f32x1_expm1(float x) { return expm1f(x); }
INLINE float f32x1_log1p(float x) { return log1pf(x); }
INLINE float f32x1_tanh(float x) { return tanhf(x); }
INLINE float f32x1_sqrt(float x) { return sqrtf(x); }
INLINE float f32x1_abs(float x) { return fabsf(x); }
INLINE float f32x1_splat(float x) { return x; }

/* Uniform in [0, 1): the top 24 bits of word 0 of Philox4x32-10 (Salmon et al., 2011), whose counter is
 * (index, step, 0) and whose key is (seed, stream). */
CALLED float f32x1_random(uint64_t index, uint32_t stream, uint32_t seed, uint32_t step)
{
    uint64_t c0 = index & 0xffffffffu, c1 = index >> 32, c2 = step, c3 = 0;
    UNROLL for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = c0 * 0xd2511f53u, p1 = c2 * 0xcd9e8d57u;
        c0 = (p1 >> 32) ^ c1 ^ seed, c1 = p1 & 0xffffffffu;
        c2 = (p0 >> 32) ^ c3 ^ stream, c3 = p0 & 0xffffffffu;
        seed += 0x9e3779b9u, stream += 0xbb67ae85u;
    }
    return (float)(c0 >> 8) * 5.9604644775390625e-8f;
}

/* 16 lanes of f32. */
typedef float f32x16 __attribute__((vector_size(64)));
typedef float f32x16_unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16_unaligned __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint64_t u64x16 __attribute__((vector_size(128)));

INLINE f32x16 f32x16_splat(float x) /* 0 + x would take the sign of -0, and bits of an integer */
{
    return (f32x16){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
}
INLINE f32x16 f32x16_load(const float *p) { return *(const f32x16_unaligned *)p; }
INLINE f32x16 f32x16_load_i32(const int32_t *p)
{
    return __builtin_convertvector(*(const i32x16_unaligned *)p, f32x16);
}
INLINE void f32x16_store(float *p, f32x16 x) { *(f32x16_unaligned *)p = x; }
INLINE void f32x16_store_i32(int32_t *p, f32x16 x)
{
    *(i32x16_unaligned *)p = __builtin_convertvector(x, i32x16);
}
INLINE f32x16 f32x16_select(i32x16 mask, f32x16 a, f32x16 b)
{
    return (f32x16)((mask & (i32x16)a) | (~mask & (i32x16)b));
}
/* Lanes first <= lane < last of the vector at p, `fill` in the others, whose memory is not touched. */
INLINE f32x16 f32x16_load_lanes(const float *p, long first, long last, float fill)
{
    f32x16 x = f32x16_splat(fill);
#if defined(__AVX512F__) && defined(__AVX512VL__) && __has_builtin(__builtin_ia32_loadups512_mask) && !SANITIZED
    /* One masked load, by the name that <immintrin.h>, slow to compile, has for it. */
    const unsigned below = last <= 0 ? 0u : last >= 16 ? 0xffffu : (1u << last) - 1;
    const unsigned mask = first <= 0 ? below : first >= 16 ? 0u : below & ~((1u << first) - 1);
    return __builtin_ia32_loadups512_mask((const void *)p, x, mask);
#endif
    for (long i = first < 0 ? 0 : first; i < last && i < 16; ++i) x[i] = p[i];
    return x;
}

/* The first `count` lanes of x, `fill` behind. */
INLINE f32x16 f32x16_first(f32x16 x, long count, float fill)
{
    const i32x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return f32x16_select(lane < (int32_t)count, x, f32x16_splat(fill));
}
INLINE f32x16 f32x16_max(f32x16 a, f32x16 b)
{
    return f32x16_select((b > a) | (b != b), b, a);
}
INLINE f32x16 f32x16_min(f32x16 a, f32x16 b)
{
    return f32x16_select((b < a) | (b != b), b, a);
}
INLINE f32x16 f32x16_abs(f32x16 x)
{
    return (f32x16)((i32x16)x & 0x7fffffff);
}
INLINE f32x16 f32x16_sqrt(f32x16 x)
{
    for (int i = 0; i < 16; ++i) x[i] = sqrtf(x[i]);
    return x;
}
INLINE f32x16 f32x16_expm1(f32x16 x)
{
    for (int i = 0; i < 16; ++i) x[i] = expm1f(x[i]);
    return x;
}
INLINE f32x16 f32x16_log1p(f32x16 x)
{
    for (int i = 0; i < 16; ++i) x[i] = log1pf(x[i]);
    return x;
}

/* f32x1_random at the counters first + between * lane. */
CALLED f32x16 f32x16_random(uint64_t first, uint64_t between, uint32_t stream, uint32_t seed, uint32_t step)
{
    const u64x16 lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const u64x16 at = first + between * lane;
    u64x16 c0 = at & 0xffffffffu, c1 = at >> 32, c2 = (u64x16){} + step, c3 = {};
    UNROLL for (int round = 0; round < 10; ++round) {
        const u64x16 p0 = c0 * 0xd2511f53u, p1 = c2 * 0xcd9e8d57u;
        c0 = (p1 >> 32) ^ c1 ^ seed, c1 = p1 & 0xffffffffu;
        c2 = (p0 >> 32) ^ c3 ^ stream, c3 = p0 & 0xffffffffu;
        seed += 0x9e3779b9u, stream += 0xbb67ae85u;
    }
    return __builtin_convertvector(__builtin_convertvector(c0 >> 8, i32x16), f32x16) * 5.9604644775390625e-8f;
}

/* e^x = 2^k * e^r with |r| <= log(2)/2; e^r by its Taylor polynomial of degree 7, remainder below 1e-8. */
INLINE f32x16 f32x16_exp(f32x16 x)
{
    const f32x16 shift = f32x16_splat(12582912.0f); /* 1.5 * 2^23: adding it rounds */
    const f32x16 in = f32x16_min(f32x16_max(x, f32x16_splat(-87.33654f)), f32x16_splat(88.72283f));
    const f32x16 k = (in * 1.44269504f + shift) - shift;
    const f32x16 r = (in - k * 0.693359375f) - k * -2.12194440e-4f;
    f32x16 y = f32x16_splat(1.0f / 5040);
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    const i32x16 half = __builtin_convertvector(k, i32x16) >> 1; /* 2^k in two steps: k may be 128 */
    const i32x16 rest = __builtin_convertvector(k, i32x16) - half;
    y = y * (f32x16)((half + 127) << 23) * (f32x16)((rest + 127) << 23);
    y = f32x16_select(x > 88.72283f, f32x16_splat(INFINITY), y);
    y = f32x16_select(x < -87.33654f, f32x16_splat(0.0f), y);
    return f32x16_select(x != x, x, y);
}

/* log(x) = k*log(2) + log(m), m in [sqrt(1/2), sqrt(2)); log(m) = 2*atanh(s), s = (m-1)/(m+1). */
INLINE f32x16 f32x16_log(f32x16 x)
{
    const i32x16 tiny = x < 1.17549435e-38f; /* subnormal: scaled by 2^23 first */
    const i32x16 bits = (i32x16)f32x16_select(tiny, x * 8388608.0f, x);
    const i32x16 k = (bits - 0x3f3504f3) >> 23;
    const f32x16 m = (f32x16)(bits - (k << 23));
    const f32x16 f = m - 1.0f;
    const f32x16 s = f / (m + 1.0f);
    const f32x16 z = s * s;
    f32x16 p = f32x16_splat(2.0f / 9);
    p = p * z + 2.0f / 7;
    p = p * z + 2.0f / 5;
    p = p * z + 2.0f / 3;
    const f32x16 e = __builtin_convertvector(k - (tiny & 23), f32x16);
    f32x16 y = e * 0.693359375f + (e * -2.12194440e-4f + (s * z * p + s * 2.0f));
    y = f32x16_select(x == 0.0f, f32x16_splat(-INFINITY), y);
    y = f32x16_select(x == INFINITY, x, y);
    return f32x16_select((x < 0.0f) | (x != x), f32x16_splat(NAN), y);
}

/* tanh(x) = 1 - 2 / (e^2x + 1); near 0, where that cancels, its Taylor polynomial. */
INLINE f32x16 f32x16_tanh(f32x16 x)
{
    const f32x16 a = f32x16_abs(x);
    const f32x16 z = x * x;
    f32x16 p = f32x16_splat(-929569.0f / 638512875.0f);
    p = p * z + 21844.0f / 6081075;
    p = p * z - 1382.0f / 155925;
    p = p * z + 62.0f / 2835;
    p = p * z - 17.0f / 315;
    p = p * z + 2.0f / 15;
    p = p * z - 1.0f / 3;
    const f32x16 near = x + x * z * p;
    f32x16 far = 1.0f - 2.0f / (f32x16_exp(a + a) + 1.0f);
    far = f32x16_select(x < 0.0f, -far, far);
    return f32x16_select(a < 0.5f, near, far);
}

/* The sum of all lanes: each step joins every lane with one half as far away as the step before. */
INLINE float f32x16_sum_lanes(f32x16 x)
{
    x = x + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    x = x + __builtin_shufflevector(x, x, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3);
    x = x + __builtin_shufflevector(x, x, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1);
    x = x + __builtin_shufflevector(x, x, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0);
    return x[0];
}

/* The max of all lanes: each step joins every lane with one half as far away as the step before. */
INLINE float f32x16_max_lanes(f32x16 x)
{
    x = f32x16_max(x, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    x = f32x16_max(x, __builtin_shufflevector(x, x, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3));
    x = f32x16_max(x, __builtin_shufflevector(x, x, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1));
    x = f32x16_max(x, __builtin_shufflevector(x, x, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0));
    return x[0];
}
#endif
