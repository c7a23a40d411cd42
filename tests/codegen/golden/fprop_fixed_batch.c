/* conv1_fprop_f32_4x6x8
 * from    conv1, by lower, select_tile
 *         %0: f32[3,4,6,6] = gemm(%x, %w) {
 *           title="fprop"
 *           phase {
 *             batch(g:1) m(k:4) n(n:3, p:6, q:6) k(c:7, r:3, s:2)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, p + r - 1, q + s - 1]
 *             store 0[n, k, p, q] = acc
 *             schedule {lanes=q, width=8, m_tile=k:4, n_tile=p:6}
 *           }
 *         } loc(conv1: lower, select_tile)
 * GEMM    M = k(4) = 4, N = n(3)*p(6)*q(6) = 108, K = c(7)*r(3)*s(2) = 42
 * tile    4 k x 6 p in registers, 8 lanes along q
 * work    26.9 kFLOP, 4.92 kB moved at least, 5.46 FLOP/B
 * saved   18.1 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_4x6x8_term(const float *restrict x_ptr, const float *restrict w_ptr,
        float *restrict t0_ptr, const long rows, const long n, const long k0, const long p0, const long c,
        const long r, const long s, const long tm_size, const long tn_size, const int guarded,
        const int partial, f32x8 acc[4][6])
{
    (void)guarded, (void)partial;
    float held[4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
        held[tm] = w_ptr[k0 * 42 + tm * 42 + c * 6 + r * 2 + s];
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x8 streamed = (partial ? (p0 + r + tn - 1 >= 0 && p0 + r + tn - 1 < 6 ?
                f32x8_load_lanes(x_ptr + n * 210 + c * 30 + p0 * 5 + r * 5 + tn * 5 + s - 6,
                long_max(0 - (s - 1), 0 - (0)), long_min(5 - (s - 1), 6 - (0)), 0.0f) : f32x8_splat(0.0f)) :
                guarded ? (p0 + r + tn - 1 >= 0 && p0 + r + tn - 1 < 6 ?
                f32x8_load_lanes(x_ptr + n * 210 + c * 30 + p0 * 5 + r * 5 + tn * 5 + s - 6, 0 - (s - 1),
                5 - (s - 1), 0.0f) : f32x8_splat(0.0f)) : f32x8_load(x_ptr + n * 210 + c * 30 + p0 * 5 +
                r * 5 + tn * 5 + s - 6));
        UNROLL for (long tm = 0; tm < tm_size; ++tm)
            acc[tm][tn] += streamed * held[tm];
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_4x6x8_tile(const float *restrict x_ptr, const float *restrict w_ptr,
        float *restrict t0_ptr, const long rows, const long n, const long k0, const long p0,
        const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x8 acc[4][6];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x8_splat(0.0f);
    {
        for (long c = 0; c < 7; ++c) {
            for (long r = 0; r < 3; ++r) {
                for (long s = 0; s < 2; ++s) {
                    if (!guarded && p0 + r >= 1 && p0 + r < 2 && s >= 1 && s < -1)
                        conv1_fprop_f32_4x6x8_term(x_ptr, w_ptr, t0_ptr, rows, n, k0, p0, c, r, s, tm_size,
                                tn_size, 0, partial, acc);
                    else
                        conv1_fprop_f32_4x6x8_term(x_ptr, w_ptr, t0_ptr, rows, n, k0, p0, c, r, s, tm_size,
                                tn_size, 1, partial, acc);
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x8 acc_value = acc[tm][tn];
        if (!partial)
            f32x8_store(t0_ptr + n * 144 + k0 * 36 + tm * 36 + p0 * 6 + tn * 6, acc_value);
        else {
            const f32x8 lanes = acc_value;
            for (int lane = 0; lane < 8; ++lane)
                if (lane < 6)
                    t0_ptr[n * 144 + k0 * 36 + tm * 36 + p0 * 6 + tn * 6 + lane] = lanes[lane];
        }
    }
}

void conv1_fprop_f32_4x6x8(const float *restrict x_ptr, const float *restrict w_ptr, float *restrict t0_ptr,
        const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long n = rest % (3);
            rest /= (3);
            const long k0 = rest * 4;
            long p0 = 0;
            for (; p0 + 6 <= 6; p0 += 6) {
                if (7 < 6)
                    conv1_fprop_f32_4x6x8_tile(x_ptr, w_ptr, t0_ptr, rows, n, k0, p0, 4, 6, 0, 0);
                else
                    conv1_fprop_f32_4x6x8_tile(x_ptr, w_ptr, t0_ptr, rows, n, k0, p0, 4, 6, 1, 1);
            }
        }
    }
}

/* case: 1 kernels, 0 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void conv1_fprop_f32_4x6x8(const float *restrict x_ptr, const float *restrict w_ptr, float *restrict t0_ptr,
        const long rows, const long thread, const long threads);

void case_step(void *context, int thread, int threads, void (*barrier)(void))
{
    const convc_call *const call = context;
    const long rows = call->rows;

    /* conv1_fprop_f32_4x6x8: %0 */
    conv1_fprop_f32_4x6x8(
        (float *)call->inputs[0],
            (float *)call->inputs[1],
                (float *)call->outputs[0],
                    rows, thread, threads);
}
