/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=16,6,5,5|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=16, chw:150)
 *           map() { store 0[n, chw / 25, (chw / 5) % 5, chw % 5] = $0[n, chw / 25, (chw / 5) % 5, chw % 5] }
 *           schedule {lanes=n, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    0 FLOP, 19.2 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n_block, const long chw, const int partial)
{
    (void)partial;
    {
        f32x16_store(x_blocked_ptr + chw * 16, (partial ? ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = lane < rows ? x_ptr[lane * 150 + chw] : 0.0f;
            lanes;
        }) : ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = x_ptr[lane * 150 + chw];
            lanes;
        })));
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        for (long chw = 0; chw < 150; ++chw)
            if (15 < rows)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n_block, chw, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n_block, chw, 1);
    }
}

/* conv1_fprop_f32_3x5x16
 * from    conv1, by assign_layout, lower, select_tile
 *         %0_blocked: f32[n<=16,9,5,5|0123.0x16] = gemm(%x_blocked, %w) {
 *           title="fprop"
 *           phase {
 *             batch(g:3) m(k:3) n(n:n<=16, p:5, q:5) k(c:2, r:3, s:3)
 *             a = $1[g*3 + k, c, r, s]
 *             b = $0[n, g*2 + c, p + r - 1, q + s - 1]
 *             store 0[n, g*3 + k, p, q] = acc
 *             schedule {lanes=n, width=16, m_tile=k:3, n_tile=q:5}
 *           }
 *         } loc(conv1: assign_layout, lower, select_tile)
 * GEMM    M = k(3) = 3, N = n(n<=16)*p(5)*q(5) = 400, K = c(2)*r(3)*s(3) = 18, 3 groups
 * tile    3 k x 5 q in registers, 16 lanes along n
 * work    97.3 kFLOP, 24.6 kB moved at least, 3.95 FLOP/B
 * saved   86.4 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_3x5x16_term(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long g, const long p, const long k0,
        const long q0, const long c, const long r, const long s, const long tm_size, const long tn_size,
        const int guarded, const int partial, f32x16 acc[3][5])
{
    (void)guarded, (void)partial;
    float held[3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
        held[tm] = w_ptr[g * 54 + k0 * 18 + tm * 18 + c * 9 + r * 3 + s];
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 streamed = (!guarded || (q0 + s + tn - 1 >= 0 && q0 + s + tn - 1 < 5) ?
                f32x16_load(x_blocked_ptr + g * 800 + c * 400 + p * 80 + r * 80 + q0 * 16 + s * 16 +
                tn * 16 - 96) : f32x16_splat(0.0f));
        UNROLL for (long tm = 0; tm < tm_size; ++tm)
            acc[tm][tn] += streamed * held[tm];
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_3x5x16_tile(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long g, const long p, const long k0,
        const long q0, const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][5];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long c = 0; c < 2; ++c) {
            for (long r = 0; r < 3; ++r) {
                if (!(p + r - 1 >= 0 && p + r - 1 < 5)) continue;
                for (long s = 0; s < 3; ++s) {
                    if (!guarded && q0 + s >= 1 && q0 + s < 2)
                        conv1_fprop_f32_3x5x16_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, g, p, k0, q0,
                                c, r, s, tm_size, tn_size, 0, partial, acc);
                    else
                        conv1_fprop_f32_3x5x16_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, g, p, k0, q0,
                                c, r, s, tm_size, tn_size, 1, partial, acc);
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + g * 1200 + k0 * 400 + tm * 400 + p * 80 + q0 * 16 + tn * 16, acc_value);
    }
}

void conv1_fprop_f32_3x5x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1) * (3) * (5);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long p = rest % (5);
            rest /= (5);
            const long g = rest % (3);
            rest /= (3);
            const long k0 = rest * 3;
            long q0 = 0;
            for (; q0 + 5 <= 5; q0 += 5) {
                conv1_fprop_f32_3x5x16_tile(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, g, p, k0, q0, 3, 5,
                        0, 0);
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %0: f32[n<=16,9,5,5] = loops(%0_blocked) {
 *           title="relayout"
 *           for(n:n<=16, chw:225)
 *           map() { store 0[n, chw / 25, (chw / 5) % 5, chw % 5] = $0[n, chw / 25, (chw / 5) % 5, chw % 5] }
 *           schedule {lanes=n, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    0 FLOP, 28.8 kB moved at least, 0.00 FLOP/B
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
                    t0_ptr[lane * 225 + chw] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        for (long chw = 0; chw < 225; ++chw)
            if (15 < rows)
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n_block, chw, 0);
            else
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n_block, chw, 1);
    }
}

/* case: 3 kernels, 24000 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_fprop_f32_3x5x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads);
void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads);

void case_step(void *context, int thread, int threads, void (*barrier)(void))
{
    const convc_call *const call = context;
    const long rows = call->rows;

    /* relayout_f32: %x_blocked */
    relayout_f32(
        (float *)call->inputs[0],
            (float *)(call->arena + 14400),
                rows, thread, threads);

    barrier();
    /* conv1_fprop_f32_3x5x16: %0_blocked */
    conv1_fprop_f32_3x5x16(
        (float *)(call->arena + 14400),
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
