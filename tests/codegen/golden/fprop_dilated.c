/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=5,2,9,9|0123.0x4] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=5, chw:162)
 *           map() { store 0[n, chw / 81, (chw / 9) % 9, chw % 9] = $0[n, chw / 81, (chw / 9) % 9, chw % 9] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 8.42 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(x_ptr + n * 162 + chw_block * 16,
                    0 - (chw_block * 16), 162 - (chw_block * 16), 0.0f) :
                    f32x16_load(x_ptr + n * 162 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 162))
                    x_blocked_ptr[(n / 4) * 644 + chw_block * 64 + lane * 4 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 11; ++chw_block)
            if (chw_block * 16 + 15 < 162)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* conv1_fprop_f32_3x9x4
 * from    conv1, by assign_layout, lower, select_tile
 *         %0_blocked: f32[n<=5,3,9,9|0123.0x4] = gemm(%x_blocked, %w) {
 *           title="fprop"
 *           phase {
 *             batch(g:1) m(k:3) n(n:n<=5, p:9, q:9) k(c:2, r:3, s:3)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, r*2 + p - 2, s*2 + q - 2]
 *             store 0[n, k, p, q] = acc
 *             schedule {lanes=n, width=4, m_tile=k:3, n_tile=q:9}
 *           }
 *         } loc(conv1: assign_layout, lower, select_tile)
 * GEMM    M = k(3) = 3, N = n(n<=5)*p(9)*q(9) = 405, K = c(2)*r(3)*s(3) = 18
 * tile    3 k x 9 q in registers, 4 lanes along n
 * work    31.7 kFLOP, 13.2 kB moved at least, 2.41 FLOP/B
 * saved   29.2 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_3x9x4_term(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long n_block, const long p, const long k0,
        const long q0, const long c, const long r, const long s, const long tm_size, const long tn_size,
        const int guarded, const int partial, f32x4 acc[3][9])
{
    (void)guarded, (void)partial;
    float held[3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
        held[tm] = w_ptr[k0 * 18 + tm * 18 + c * 9 + r * 3 + s];
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x4 streamed = (!guarded || (s * 2 + q0 + tn - 2 >= 0 && s * 2 + q0 + tn - 2 < 9) ?
                f32x4_load(x_blocked_ptr + n_block * 648 + c * 324 + r * 72 + p * 36 + s * 8 + q0 * 4 +
                tn * 4 - 80) : f32x4_splat(0.0f));
        UNROLL for (long tm = 0; tm < tm_size; ++tm)
            acc[tm][tn] += streamed * held[tm];
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_3x9x4_tile(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long n_block, const long p, const long k0,
        const long q0, const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x4 acc[3][9];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x4_splat(0.0f);
    {
        for (long c = 0; c < 2; ++c) {
            for (long r = 0; r < 3; ++r) {
                if (!(r * 2 + p - 2 >= 0 && r * 2 + p - 2 < 9)) continue;
                for (long s = 0; s < 3; ++s) {
                    if (!guarded && s * 2 + q0 >= 2 && s * 2 + q0 < 3)
                        conv1_fprop_f32_3x9x4_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p,
                                k0, q0, c, r, s, tm_size, tn_size, 0, partial, acc);
                    else
                        conv1_fprop_f32_3x9x4_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p,
                                k0, q0, c, r, s, tm_size, tn_size, 1, partial, acc);
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x4 acc_value = acc[tm][tn];
        f32x4_store(t0_blocked_ptr + n_block * 972 + k0 * 324 + tm * 324 + p * 36 + q0 * 4 + tn * 4,
                acc_value);
    }
}

void conv1_fprop_f32_3x9x4(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = ((rows + 3) / 4) * (1) * (9);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long p = rest % (9);
            rest /= (9);
            const long k0 = rest % (1) * 3;
            rest /= (1);
            const long n_block = rest;
            long q0 = 0;
            for (; q0 + 9 <= 9; q0 += 9) {
                conv1_fprop_f32_3x9x4_tile(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p, k0, q0, 3,
                        9, 0, 0);
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %0: f32[n<=5,3,9,9] = loops(%0_blocked) {
 *           title="relayout"
 *           for(n:n<=5, chw:243)
 *           map() { store 0[n, chw / 81, (chw / 9) % 9, chw % 9] = $0[n, chw / 81, (chw / 9) % 9, chw % 9] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 12.6 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_2_point(const float *restrict t0_blocked_ptr, float *restrict t0_ptr,
        const long rows, const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        if (!partial)
            f32x16_store(t0_ptr + n * 243 + chw_block * 16, (partial ? ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = chw_block * 16 + lane < 243 ? t0_blocked_ptr[(n / 4) * 968 + chw_block * 64 +
                        lane * 4 + n] : 0.0f;
            lanes;
        }) : ({
            f32x16 lanes;
            for (int lane = 0; lane < 16; ++lane)
                lanes[lane] = t0_blocked_ptr[(n / 4) * 968 + chw_block * 64 + lane * 4 + n];
            lanes;
        })));
        else {
            const f32x16 lanes = (partial ? ({
                f32x16 lanes;
                for (int lane = 0; lane < 16; ++lane)
                    lanes[lane] = chw_block * 16 + lane < 243 ? t0_blocked_ptr[(n / 4) * 968 +
                            chw_block * 64 + lane * 4 + n] : 0.0f;
                lanes;
            }) : ({
                f32x16 lanes;
                for (int lane = 0; lane < 16; ++lane)
                    lanes[lane] = t0_blocked_ptr[(n / 4) * 968 + chw_block * 64 + lane * 4 + n];
                lanes;
            }));
            for (int lane = 0; lane < 16; ++lane)
                if (chw_block * 16 + lane < 243)
                    t0_ptr[n * 243 + chw_block * 16 + lane] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 16; ++chw_block)
            if (chw_block * 16 + 15 < 243)
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n, chw_block, 1);
    }
}

/* case: 3 kernels, 12992 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_fprop_f32_3x9x4(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
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
            (float *)(call->arena + 7808),
                rows, thread, threads);

    barrier();
    /* conv1_fprop_f32_3x9x4: %0_blocked */
    conv1_fprop_f32_3x9x4(
        (float *)(call->arena + 7808),
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
