/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %dy_blocked: f32[n<=16,5,4,4|0123.0x16] = loops(%dy) {
 *           title="relayout"
 *           for(n:n<=16, chw:80)
 *           map() { store 0[n, chw / 16, (chw / 4) % 4, chw % 4] = $0[n, chw / 16, (chw / 4) % 4, chw % 4] }
 *           schedule {lanes=n, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    0 FLOP, 10.2 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long n_block, const long chw, const int partial)
{
    (void)partial;
    {
        f32x16_store(dy_blocked_ptr + chw * 16, (partial ? ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = lane < rows ? dy_ptr[lane * 80 + chw] : 0.0f;
            lanes;
        }) : ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = dy_ptr[lane * 80 + chw];
            lanes;
        })));
    }
}

void relayout_f32(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        for (long chw = 0; chw < 80; ++chw)
            if (15 < rows)
                relayout_f32_point(dy_ptr, dy_blocked_ptr, rows, n_block, chw, 0);
            else
                relayout_f32_point(dy_ptr, dy_blocked_ptr, rows, n_block, chw, 1);
    }
}

/* conv1_dgrad_f32_3x4x16
 * from    conv1, by assign_layout, lower, select_tile
 *         %0_blocked: f32[n<=16,3,7,7|0123.0x16] = gemm(%dy_blocked, %w) {
 *           title="dgrad"
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:4) k(k:5, r:1, s:1)
 *             a = $1[k, c, 1, 1]
 *             b = $0[n, k, h, w]
 *             store 0[n, c, h*2, w*2] = acc
 *             schedule {lanes=n, width=16, m_tile=c:3, n_tile=w:4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:4, w:3) k(k:5, r:1, s:2)
 *             a = $1[k, c, 1, s*2]
 *             b = $0[n, k, h, w - s + 1]
 *             store 0[n, c, h*2, w*2 + 1] = acc
 *             schedule {lanes=n, width=16, m_tile=c:3, n_tile=h:4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:4) k(k:5, r:2, s:1)
 *             a = $1[k, c, r*2, 1]
 *             b = $0[n, k, h - r + 1, w]
 *             store 0[n, c, h*2 + 1, w*2] = acc
 *             schedule {lanes=n, width=16, m_tile=c:3, n_tile=w:4}
 *           }
 *           phase {
 *             batch(g:1) m(c:3) n(n:n<=16, h:3, w:3) k(k:5, r:2, s:2)
 *             a = $1[k, c, r*2, s*2]
 *             b = $0[n, k, h - r + 1, w - s + 1]
 *             store 0[n, c, h*2 + 1, w*2 + 1] = acc
 *             schedule {lanes=n, width=16, m_tile=c:3, n_tile=w:3}
 *           }
 *         } loc(conv1: assign_layout, lower, select_tile)
 * phase 0 M = c(3) = 3, N = n(n<=16)*h(4)*w(4) = 256, K = k(5)*r(1)*s(1) = 5
 * tile    3 c x 4 w in registers, 16 lanes along n
 * phase 1 M = c(3) = 3, N = n(n<=16)*h(4)*w(3) = 192, K = k(5)*r(1)*s(2) = 10
 * tile    3 c x 4 h in registers, 16 lanes along n
 * phase 2 M = c(3) = 3, N = n(n<=16)*h(3)*w(4) = 192, K = k(5)*r(2)*s(1) = 10
 * tile    3 c x 4 w in registers, 16 lanes along n
 * phase 3 M = c(3) = 3, N = n(n<=16)*h(3)*w(3) = 144, K = k(5)*r(2)*s(2) = 20
 * tile    3 c x 3 w in registers, 16 lanes along n
 * work    48 kFLOP, 15.1 kB moved at least, 3.19 FLOP/B
 * saved   32 kB of im2col matrix that is never stored
 */

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_dgrad_f32_3x4x16_phase0_tile(const float *restrict dy_blocked_ptr,
        const float *restrict w_ptr, float *restrict t0_blocked_ptr, const long rows, const long h,
        const long c0, const long w0, const long tm_size, const long tn_size, const int guarded,
        const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long k = 0; k < 5; ++k) {
            float held[3];
            UNROLL for (long tm = 0; tm < tm_size; ++tm)
                held[tm] = w_ptr[k * 27 + c0 * 9 + tm * 9 + 4];
            UNROLL for (long tn = 0; tn < tn_size; ++tn) {
                const f32x16 streamed = f32x16_load(dy_blocked_ptr + k * 256 + h * 64 + tn * 16 + w0 * 16);
                UNROLL for (long tm = 0; tm < tm_size; ++tm)
                    acc[tm][tn] += streamed * held[tm];
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + c0 * 784 + tm * 784 + h * 224 + tn * 32 + w0 * 32, acc_value);
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_dgrad_f32_3x4x16_phase1_tile(const float *restrict dy_blocked_ptr,
        const float *restrict w_ptr, float *restrict t0_blocked_ptr, const long rows, const long w,
        const long c0, const long h0, const long tm_size, const long tn_size, const int guarded,
        const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long k = 0; k < 5; ++k) {
            for (long s = 0; s < 2; ++s) {
                float held[3];
                UNROLL for (long tm = 0; tm < tm_size; ++tm)
                    held[tm] = w_ptr[k * 27 + c0 * 9 + tm * 9 + s * 2 + 3];
                UNROLL for (long tn = 0; tn < tn_size; ++tn) {
                    const f32x16 streamed = f32x16_load(dy_blocked_ptr + k * 256 + h0 * 64 + tn * 64 +
                            w * 16 - s * 16 + 16);
                    UNROLL for (long tm = 0; tm < tm_size; ++tm)
                        acc[tm][tn] += streamed * held[tm];
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + c0 * 784 + tm * 784 + h0 * 224 + tn * 224 + w * 32 + 16, acc_value);
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_dgrad_f32_3x4x16_phase2_tile(const float *restrict dy_blocked_ptr,
        const float *restrict w_ptr, float *restrict t0_blocked_ptr, const long rows, const long h,
        const long c0, const long w0, const long tm_size, const long tn_size, const int guarded,
        const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long k = 0; k < 5; ++k) {
            for (long r = 0; r < 2; ++r) {
                float held[3];
                UNROLL for (long tm = 0; tm < tm_size; ++tm)
                    held[tm] = w_ptr[k * 27 + c0 * 9 + tm * 9 + r * 6 + 1];
                UNROLL for (long tn = 0; tn < tn_size; ++tn) {
                    const f32x16 streamed = f32x16_load(dy_blocked_ptr + k * 256 + h * 64 - r * 64 +
                            tn * 16 + w0 * 16 + 64);
                    UNROLL for (long tm = 0; tm < tm_size; ++tm)
                        acc[tm][tn] += streamed * held[tm];
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + c0 * 784 + tm * 784 + h * 224 + tn * 32 + w0 * 32 + 112, acc_value);
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_dgrad_f32_3x4x16_phase3_tile(const float *restrict dy_blocked_ptr,
        const float *restrict w_ptr, float *restrict t0_blocked_ptr, const long rows, const long h,
        const long c0, const long w0, const long tm_size, const long tn_size, const int guarded,
        const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long k = 0; k < 5; ++k) {
            for (long r = 0; r < 2; ++r) {
                for (long s = 0; s < 2; ++s) {
                    f32x16 held[3];
                    UNROLL for (long tn = 0; tn < tn_size; ++tn)
                        held[tn] = f32x16_load(dy_blocked_ptr + k * 256 + h * 64 - r * 64 + tn * 16 +
                                w0 * 16 - s * 16 + 80);
                    UNROLL for (long tm = 0; tm < tm_size; ++tm) {
                        const float streamed = w_ptr[k * 27 + c0 * 9 + tm * 9 + r * 6 + s * 2];
                        UNROLL for (long tn = 0; tn < tn_size; ++tn)
                            acc[tm][tn] += held[tn] * streamed;
                    }
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + c0 * 784 + tm * 784 + h * 224 + tn * 32 + w0 * 32 + 128, acc_value);
    }
}

void conv1_dgrad_f32_3x4x16(const float *restrict dy_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1) * (4);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long h = rest % (4);
            rest /= (4);
            const long c0 = rest * 3;
            long w0 = 0;
            for (; w0 + 4 <= 4; w0 += 4) {
                conv1_dgrad_f32_3x4x16_phase0_tile(dy_blocked_ptr, w_ptr, t0_blocked_ptr, rows, h, c0, w0, 3,
                        4, 0, 0);
            }
        }
    }
    {
        const long jobs = (1) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long w = rest % (3);
            rest /= (3);
            const long c0 = rest * 3;
            long h0 = 0;
            for (; h0 + 4 <= 4; h0 += 4) {
                conv1_dgrad_f32_3x4x16_phase1_tile(dy_blocked_ptr, w_ptr, t0_blocked_ptr, rows, w, c0, h0, 3,
                        4, 0, 0);
            }
        }
    }
    {
        const long jobs = (1) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long h = rest % (3);
            rest /= (3);
            const long c0 = rest * 3;
            long w0 = 0;
            for (; w0 + 4 <= 4; w0 += 4) {
                conv1_dgrad_f32_3x4x16_phase2_tile(dy_blocked_ptr, w_ptr, t0_blocked_ptr, rows, h, c0, w0, 3,
                        4, 0, 0);
            }
        }
    }
    {
        const long jobs = (1) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long h = rest % (3);
            rest /= (3);
            const long c0 = rest * 3;
            long w0 = 0;
            for (; w0 + 3 <= 3; w0 += 3) {
                conv1_dgrad_f32_3x4x16_phase3_tile(dy_blocked_ptr, w_ptr, t0_blocked_ptr, rows, h, c0, w0, 3,
                        3, 0, 0);
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %0: f32[n<=16,3,7,7] = loops(%0_blocked) {
 *           title="relayout"
 *           for(n:n<=16, chw:147)
 *           map() { store 0[n, chw / 49, (chw / 7) % 7, chw % 7] = $0[n, chw / 49, (chw / 7) % 7, chw % 7] }
 *           schedule {lanes=n, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    0 FLOP, 18.8 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_2_point(const float *restrict t0_blocked_ptr, float *restrict t0_ptr,
        const long rows, const long n_block, const long chw, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = f32x16_load(t0_blocked_ptr + chw * 16);
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (lane < rows))
                    t0_ptr[lane * 147 + chw] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        for (long chw = 0; chw < 147; ++chw)
            if (15 < rows)
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n_block, chw, 0);
            else
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n_block, chw, 1);
    }
}

/* case: 3 kernels, 14528 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_dgrad_f32_3x4x16(const float *restrict dy_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads);
void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads);

void case_step(void *context, int thread, int threads, void (*barrier)(void))
{
    const convc_call *const call = context;
    const long rows = call->rows;

    /* relayout_f32: %dy_blocked */
    relayout_f32(
        (float *)call->inputs[0],
            (float *)(call->arena + 9408),
                rows, thread, threads);

    barrier();
    /* conv1_dgrad_f32_3x4x16: %0_blocked */
    conv1_dgrad_f32_3x4x16(
        (float *)(call->arena + 9408),
            (float *)call->stores[0],
                (float *)(call->arena + 0),
                    rows, thread, threads);

    barrier();
    /* relayout_f32_2: %0 */
    relayout_f32_2(
        (float *)(call->arena + 0),
            (float *)call->outputs[0],
                rows, thread, threads);
}
