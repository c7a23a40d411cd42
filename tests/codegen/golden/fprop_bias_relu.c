/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=20,3,7,9|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, chw:189)
 *           map() { store 0[n, chw / 63, (chw / 9) % 7, chw % 9] = $0[n, chw / 63, (chw / 9) % 7, chw % 9] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 39.3 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(x_ptr + n * 189 + chw_block * 16,
                    0 - (chw_block * 16), 189 - (chw_block * 16), 0.0f) :
                    f32x16_load(x_ptr + n * 189 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 189))
                    x_blocked_ptr[(n / 16) * 3008 + chw_block * 256 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 12; ++chw_block)
            if (chw_block * 16 + 15 < 189)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* conv1_fprop_bias_relu_f32_3x9x16
 * from    conv1, by fuse_epilogue, assign_layout, lower, select_tile
 *         %2_blocked: f32[n<=20,5,7,9|0123.0x16] = gemm(%x_blocked, %w, %b) {
 *           title="fprop_bias_relu"
 *           phase {
 *             batch(g:1) m(k:5) n(n:n<=20, p:7, q:9) k(c:3, r:3, s:3)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, p + r - 1, q + s - 1]
 *             store 0[n, k, p, q] = max(acc + $2[k], 0.0)
 *             schedule {lanes=n, width=16, m_tile=k:3, n_tile=q:9}
 *           }
 *         } loc(conv1: fuse_epilogue, assign_layout, lower, select_tile)
 * GEMM    M = k(5) = 5, N = n(n<=20)*p(7)*q(9) = 1260, K = c(3)*r(3)*s(3) = 27
 * tile    3 k x 9 q in registers, 16 lanes along n
 * work    285 kFLOP, 65.1 kB moved at least, 4.38 FLOP/B
 * saved   136 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_bias_relu_f32_3x9x16_term(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, const float *restrict b_ptr, float *restrict t2_blocked_ptr,
        const long rows, const long n_block, const long p, const long k0, const long q0, const long c,
        const long r, const long s, const long tm_size, const long tn_size, const int guarded,
        const int partial, f32x16 acc[3][9])
{
    (void)guarded, (void)partial;
    float held[3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
        held[tm] = w_ptr[k0 * 27 + tm * 27 + c * 9 + r * 3 + s];
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 streamed = (!guarded || (q0 + s + tn - 1 >= 0 && q0 + s + tn - 1 < 9) ?
                f32x16_load(x_blocked_ptr + n_block * 3024 + c * 1008 + p * 144 + r * 144 + q0 * 16 +
                s * 16 + tn * 16 - 160) : f32x16_splat(0.0f));
        UNROLL for (long tm = 0; tm < tm_size; ++tm)
            acc[tm][tn] += streamed * held[tm];
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_bias_relu_f32_3x9x16_tile(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, const float *restrict b_ptr, float *restrict t2_blocked_ptr,
        const long rows, const long n_block, const long p, const long k0, const long q0, const long tm_size,
        const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][9];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long c = 0; c < 3; ++c) {
            for (long r = 0; r < 3; ++r) {
                if (!(p + r - 1 >= 0 && p + r - 1 < 7)) continue;
                for (long s = 0; s < 3; ++s) {
                    if (!guarded && q0 + s >= 1 && q0 + s < 2)
                        conv1_fprop_bias_relu_f32_3x9x16_term(x_blocked_ptr, w_ptr, b_ptr, t2_blocked_ptr,
                                rows, n_block, p, k0, q0, c, r, s, tm_size, tn_size, 0, partial, acc);
                    else
                        conv1_fprop_bias_relu_f32_3x9x16_term(x_blocked_ptr, w_ptr, b_ptr, t2_blocked_ptr,
                                rows, n_block, p, k0, q0, c, r, s, tm_size, tn_size, 1, partial, acc);
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t2_blocked_ptr + n_block * 5040 + k0 * 1008 + tm * 1008 + p * 144 + q0 * 16 + tn * 16,
                f32x16_max((acc_value + b_ptr[k0 + tm]), f32x16_splat(0.0f)));
    }
}

void conv1_fprop_bias_relu_f32_3x9x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        const float *restrict b_ptr, float *restrict t2_blocked_ptr, const long rows, const long thread,
        const long threads)
{
    {
        const long jobs = ((rows + 15) / 16) * (2) * (7);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long p = rest % (7);
            rest /= (7);
            const long k0 = rest % (2) * 3;
            rest /= (2);
            const long n_block = rest;
            if (k0 + 3 <= 5) {
                long q0 = 0;
                for (; q0 + 9 <= 9; q0 += 9) {
                    conv1_fprop_bias_relu_f32_3x9x16_tile(x_blocked_ptr, w_ptr, b_ptr, t2_blocked_ptr, rows,
                            n_block, p, k0, q0, 3, 9, 0, 0);
                }
            } else {
                long q0 = 0;
                for (; q0 + 9 <= 9; q0 += 9) {
                    conv1_fprop_bias_relu_f32_3x9x16_tile(x_blocked_ptr, w_ptr, b_ptr, t2_blocked_ptr, rows,
                            n_block, p, k0, q0, 2, 9, 0, 0);
                }
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %2: f32[n<=20,5,7,9] = loops(%2_blocked) {
 *           title="relayout"
 *           for(n:n<=20, chw:315)
 *           map() { store 0[n, chw / 63, (chw / 9) % 7, chw % 9] = $0[n, chw / 63, (chw / 9) % 7, chw % 9] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 65.5 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_2_point(const float *restrict t2_blocked_ptr, float *restrict t2_ptr,
        const long rows, const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        if (!partial)
            f32x16_store(t2_ptr + n * 315 + chw_block * 16, (partial ? ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = chw_block * 16 + lane < 315 ? t2_blocked_ptr[(n / 16) * 5024 +
                        chw_block * 256 + lane * 16 + n] : 0.0f;
            lanes;
        }) : ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = t2_blocked_ptr[(n / 16) * 5024 + chw_block * 256 + lane * 16 + n];
            lanes;
        })));
        else {
            const f32x16 lanes = (partial ? ({
                f32x16 lanes;
                for (int lane = 0; lane < 16; ++lane)
                    lanes[lane] = chw_block * 16 + lane < 315 ? t2_blocked_ptr[(n / 16) * 5024 +
                            chw_block * 256 + lane * 16 + n] : 0.0f;
                lanes;
            }) : ({
                f32x16 lanes;
                for (int lane = 0; lane < 16; ++lane)
                    lanes[lane] = t2_blocked_ptr[(n / 16) * 5024 + chw_block * 256 + lane * 16 + n];
                lanes;
            }));
            for (int lane = 0; lane < 16; ++lane)
                if (chw_block * 16 + lane < 315)
                    t2_ptr[n * 315 + chw_block * 16 + lane] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict t2_blocked_ptr, float *restrict t2_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 20; ++chw_block)
            if (chw_block * 16 + 15 < 315)
                relayout_f32_2_point(t2_blocked_ptr, t2_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_2_point(t2_blocked_ptr, t2_ptr, rows, n, chw_block, 1);
    }
}

/* case: 3 kernels, 64512 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_fprop_bias_relu_f32_3x9x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        const float *restrict b_ptr, float *restrict t2_blocked_ptr, const long rows, const long thread,
        const long threads);
void relayout_f32_2(const float *restrict t2_blocked_ptr, float *restrict t2_ptr, const long rows,
        const long thread, const long threads);

void case_step(void *context, int thread, int threads, void (*barrier)(void))
{
    const convc_call *const call = context;
    const long rows = call->rows;

    /* relayout_f32: %x_blocked */
    relayout_f32(
        (float *)call->inputs[0],
            (float *)(call->arena + 40320),
                rows, thread, threads);

    barrier();
    /* conv1_fprop_bias_relu_f32_3x9x16: %2_blocked */
    conv1_fprop_bias_relu_f32_3x9x16(
        (float *)(call->arena + 40320),
            (float *)call->stores[0],
                (float *)call->stores[1],
                    (float *)(call->arena + 0),
                        rows, thread, threads);

    barrier();
    /* relayout_f32_2: %2 */
    relayout_f32_2(
        (float *)(call->arena + 0),
            (float *)call->outputs[0],
                rows, thread, threads);
}
