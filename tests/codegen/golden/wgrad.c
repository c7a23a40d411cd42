/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %dy_blocked: f32[n<=20,5,7,7|0123.0x16] = loops(%dy) {
 *           title="relayout"
 *           for(n:n<=20, chw:245)
 *           map() { store 0[n, chw / 49, (chw / 7) % 7, chw % 7] = $0[n, chw / 49, (chw / 7) % 7, chw % 7] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 51 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(dy_ptr + n * 245 + chw_block * 16,
                    0 - (chw_block * 16), 245 - (chw_block * 16), 0.0f) :
                    f32x16_load(dy_ptr + n * 245 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 245))
                    dy_blocked_ptr[(n / 16) * 3904 + chw_block * 256 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 16; ++chw_block)
            if (chw_block * 16 + 15 < 245)
                relayout_f32_point(dy_ptr, dy_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_point(dy_ptr, dy_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=20,3,7,7|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, chw:147)
 *           map() { store 0[n, chw / 49, (chw / 7) % 7, chw % 7] = $0[n, chw / 49, (chw / 7) % 7, chw % 7] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 30.6 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_2_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(x_ptr + n * 147 + chw_block * 16,
                    0 - (chw_block * 16), 147 - (chw_block * 16), 0.0f) :
                    f32x16_load(x_ptr + n * 147 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 147))
                    x_blocked_ptr[(n / 16) * 2336 + chw_block * 256 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 10; ++chw_block)
            if (chw_block * 16 + 15 < 147)
                relayout_f32_2_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_2_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* conv1_wgrad_f32_5x3x16
 * from    conv1, by lower, select_tile
 *         %0: f32[5,3,3,3] = gemm(%dy_blocked, %x_blocked) {
 *           title="wgrad"
 *           phase {
 *             batch(g:1) m(k:5) n(c:3, r:3, s:3) k(n:n<=20, p:7, q:7)
 *             a = $0[n, k, p, q]
 *             b = $1[n, c, p + r - 1, q + s - 1]
 *             store 0[k, c, r, s] = acc
 *             schedule {lanes=n, width=16, m_tile=k:5, n_tile=s:3}
 *           }
 *         } loc(conv1: lower, select_tile)
 * GEMM    M = k(5) = 5, N = c(3)*r(3)*s(3) = 27, K = n(n<=20)*p(7)*q(7) = 980
 * tile    5 k x 3 s in registers, 16 lanes along n
 * work    217 kFLOP, 50.7 kB moved at least, 4.27 FLOP/B
 * saved   106 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_wgrad_f32_5x3x16_term(const float *restrict dy_blocked_ptr,
        const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows, const long c,
        const long r, const long k0, const long s0, const long n_block, const long p, const long q,
        const long tm_size, const long tn_size, const int guarded, const int partial, f32x16 acc[5][3])
{
    (void)guarded, (void)partial;
    f32x16 held[3];
    UNROLL for (long tn = 0; tn < tn_size; ++tn)
        held[tn] = (partial ? f32x16_first((q + s0 + tn - 1 >= 0 && q + s0 + tn - 1 < 7 ?
                f32x16_load(x_blocked_ptr + n_block * 2352 + c * 784 + p * 112 + r * 112 + q * 16 + s0 * 16 +
                tn * 16 - 128) : f32x16_splat(0.0f)), rows - (n_block * 16), 0.0f) : guarded ?
                (q + s0 + tn - 1 >= 0 && q + s0 + tn - 1 < 7 ? f32x16_load(x_blocked_ptr + n_block * 2352 +
                c * 784 + p * 112 + r * 112 + q * 16 + s0 * 16 + tn * 16 - 128) : f32x16_splat(0.0f)) :
                f32x16_load(x_blocked_ptr + n_block * 2352 + c * 784 + p * 112 + r * 112 + q * 16 + s0 * 16 +
                tn * 16 - 128));
    UNROLL for (long tm = 0; tm < tm_size; ++tm) {
        const f32x16 streamed = (partial ? f32x16_first(f32x16_load(dy_blocked_ptr + n_block * 3920 +
                k0 * 784 + tm * 784 + p * 112 + q * 16), rows - (n_block * 16), 0.0f) :
                f32x16_load(dy_blocked_ptr + n_block * 3920 + k0 * 784 + tm * 784 + p * 112 + q * 16));
        UNROLL for (long tn = 0; tn < tn_size; ++tn)
            acc[tm][tn] += held[tn] * streamed;
    }
}

/* The terms of one block of lanes; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_wgrad_f32_5x3x16_add(const float *restrict dy_blocked_ptr,
        const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows, const long c,
        const long r, const long k0, const long s0, const long n_block, const long tm_size,
        const long tn_size, const int guarded, const int partial, f32x16 acc[5][3])
{
    (void)guarded, (void)partial;
    for (long p = 0; p < 7; ++p) {
        if (!(p + r - 1 >= 0 && p + r - 1 < 7)) continue;
        for (long q = 0; q < 7; ++q) {
            if (!guarded && q + s0 >= 1 && q + s0 < 6)
                conv1_wgrad_f32_5x3x16_term(dy_blocked_ptr, x_blocked_ptr, t0_ptr, rows, c, r, k0, s0,
                        n_block, p, q, tm_size, tn_size, 0, partial, acc);
            else
                conv1_wgrad_f32_5x3x16_term(dy_blocked_ptr, x_blocked_ptr, t0_ptr, rows, c, r, k0, s0,
                        n_block, p, q, tm_size, tn_size, 1, partial, acc);
        }
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_wgrad_f32_5x3x16_tile(const float *restrict dy_blocked_ptr,
        const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows, const long c,
        const long r, const long k0, const long s0, const long tm_size, const long tn_size,
        const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[5][3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        const long full_blocks = rows / 16;
        for (long n_block = 0; n_block < full_blocks; ++n_block)
            conv1_wgrad_f32_5x3x16_add(dy_blocked_ptr, x_blocked_ptr, t0_ptr, rows, c, r, k0, s0, n_block,
                    tm_size, tn_size, guarded, 0, acc);
        if (full_blocks * 16 < rows)
            conv1_wgrad_f32_5x3x16_add(dy_blocked_ptr, x_blocked_ptr, t0_ptr, rows, c, r, k0, s0,
                    full_blocks, tm_size, tn_size, guarded, 1, acc);
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const float acc_value = f32x16_sum_lanes(acc[tm][tn]);
        t0_ptr[k0 * 27 + tm * 27 + c * 9 + r * 3 + s0 + tn] = acc_value;
    }
}

void conv1_wgrad_f32_5x3x16(const float *restrict dy_blocked_ptr, const float *restrict x_blocked_ptr,
        float *restrict t0_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1) * (3) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long r = rest % (3);
            rest /= (3);
            const long c = rest % (3);
            rest /= (3);
            const long k0 = rest * 5;
            long s0 = 0;
            for (; s0 + 3 <= 3; s0 += 3) {
                conv1_wgrad_f32_5x3x16_tile(dy_blocked_ptr, x_blocked_ptr, t0_ptr, rows, c, r, k0, s0, 5, 3,
                        0, 0);
            }
        }
    }
}

/* case: 3 kernels, 50176 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict dy_ptr, float *restrict dy_blocked_ptr, const long rows,
        const long thread, const long threads);
void relayout_f32_2(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_wgrad_f32_5x3x16(const float *restrict dy_blocked_ptr, const float *restrict x_blocked_ptr,
        float *restrict t0_ptr, const long rows, const long thread, const long threads);

void case_step(void *context, int thread, int threads, void (*barrier)(void))
{
    const convc_call *const call = context;
    const long rows = call->rows;

    /* relayout_f32: %dy_blocked */
    relayout_f32(
        (float *)call->inputs[0],
            (float *)(call->arena + 0),
                rows, thread, threads);

    /* relayout_f32_2: %x_blocked */
    relayout_f32_2(
        (float *)call->inputs[1],
            (float *)(call->arena + 31360),
                rows, thread, threads);

    barrier();
    /* conv1_wgrad_f32_5x3x16: %0 */
    conv1_wgrad_f32_5x3x16(
        (float *)(call->arena + 0),
            (float *)(call->arena + 31360),
                (float *)call->outputs[0],
                    rows, thread, threads);
}
