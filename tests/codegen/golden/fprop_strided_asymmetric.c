/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=17,4,11,10|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=17, chw:440)
 *           map() { store 0[n, chw / 110, (chw / 10) % 11, chw % 10] = $0[n, chw / 110, (chw / 10) % 11, chw % 10] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 86.2 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(x_ptr + n * 440 + chw_block * 16,
                    0 - (chw_block * 16), 440 - (chw_block * 16), 0.0f) :
                    f32x16_load(x_ptr + n * 440 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 440))
                    x_blocked_ptr[(n / 16) * 7024 + chw_block * 256 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 28; ++chw_block)
            if (chw_block * 16 + 15 < 440)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* conv1_fprop_f32_6x4x16
 * from    conv1, by assign_layout, lower, select_tile
 *         %0_blocked: f32[n<=17,6,5,4|0123.0x16] = gemm(%x_blocked, %w) {
 *           title="fprop"
 *           phase {
 *             batch(g:1) m(k:6) n(n:n<=17, p:5, q:4) k(c:4, r:3, s:3)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, p*2 + r, q*3 + s - 1]
 *             store 0[n, k, p, q] = acc
 *             schedule {lanes=n, width=16, m_tile=k:6, n_tile=q:4}
 *           }
 *         } loc(conv1: assign_layout, lower, select_tile)
 * GEMM    M = k(6) = 6, N = n(n<=17)*p(5)*q(4) = 340, K = c(4)*r(3)*s(3) = 36
 * tile    6 k x 4 q in registers, 16 lanes along n
 * work    122 kFLOP, 72.5 kB moved at least, 1.69 FLOP/B
 * saved   49 kB of im2col matrix that is never stored
 */

/* One term of a tile's sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_6x4x16_term(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long n_block, const long p, const long k0,
        const long q0, const long c, const long r, const long s, const long tm_size, const long tn_size,
        const int guarded, const int partial, f32x16 acc[6][4])
{
    (void)guarded, (void)partial;
    f32x16 held[4];
    UNROLL for (long tn = 0; tn < tn_size; ++tn)
        held[tn] = (!guarded || (q0 * 3 + tn * 3 + s - 1 >= 0 && q0 * 3 + tn * 3 + s - 1 < 10) ?
                f32x16_load(x_blocked_ptr + n_block * 7040 + c * 1760 + p * 320 + r * 160 + q0 * 48 +
                tn * 48 + s * 16 - 16) : f32x16_splat(0.0f));
    UNROLL for (long tm = 0; tm < tm_size; ++tm) {
        const float streamed = w_ptr[k0 * 36 + tm * 36 + c * 9 + r * 3 + s];
        UNROLL for (long tn = 0; tn < tn_size; ++tn)
            acc[tm][tn] += held[tn] * streamed;
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_f32_6x4x16_tile(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long n_block, const long p, const long k0,
        const long q0, const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[6][4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long c = 0; c < 4; ++c) {
            for (long r = 0; r < 3; ++r) {
                for (long s = 0; s < 3; ++s) {
                    if (!guarded && q0 * 3 + s >= 1 && q0 * 3 + s < 2)
                        conv1_fprop_f32_6x4x16_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p,
                                k0, q0, c, r, s, tm_size, tn_size, 0, partial, acc);
                    else
                        conv1_fprop_f32_6x4x16_term(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p,
                                k0, q0, c, r, s, tm_size, tn_size, 1, partial, acc);
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t0_blocked_ptr + n_block * 1920 + k0 * 320 + tm * 320 + p * 64 + q0 * 16 + tn * 16,
                acc_value);
    }
}

void conv1_fprop_f32_6x4x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t0_blocked_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = ((rows + 15) / 16) * (1) * (5);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long p = rest % (5);
            rest /= (5);
            const long k0 = rest % (1) * 6;
            rest /= (1);
            const long n_block = rest;
            long q0 = 0;
            for (; q0 + 4 <= 4; q0 += 4) {
                conv1_fprop_f32_6x4x16_tile(x_blocked_ptr, w_ptr, t0_blocked_ptr, rows, n_block, p, k0, q0,
                        6, 4, 0, 0);
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %0: f32[n<=17,6,5,4] = loops(%0_blocked) {
 *           title="relayout"
 *           for(n:n<=17, chw:120)
 *           map() { store 0[n, chw / 20, (chw / 4) % 5, chw % 4] = $0[n, chw / 20, (chw / 4) % 5, chw % 4] }
 *           schedule {lanes=chw, width=8}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   8 lanes along chw
 * work    0 FLOP, 23.5 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point. */
INLINE void relayout_f32_2_point(const float *restrict t0_blocked_ptr, float *restrict t0_ptr,
        const long rows, const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        f32x8_store(t0_ptr + n * 120 + chw_block * 8, ({
            f32x8 lanes;
            for (int lane = 0; lane < 8; ++lane)
                lanes[lane] = t0_blocked_ptr[(n / 16) * 1904 + chw_block * 128 + lane * 16 + n];
            lanes;
        }));
    }
}

void relayout_f32_2(const float *restrict t0_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 15; ++chw_block)
            relayout_f32_2_point(t0_blocked_ptr, t0_ptr, rows, n, chw_block, 0);
    }
}

/* case: 3 kernels, 71680 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_fprop_f32_6x4x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
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
            (float *)(call->arena + 0),
                rows, thread, threads);

    barrier();
    /* conv1_fprop_f32_6x4x16: %0_blocked */
    conv1_fprop_f32_6x4x16(
        (float *)(call->arena + 0),
            (float *)call->stores[0],
                (float *)(call->arena + 56320),
                    rows, thread, threads);

    barrier();
    /* relayout_f32_2: %0 */
    relayout_f32_2(
        (float *)(call->arena + 56320),
            (float *)call->outputs[0],
                rows, thread, threads);
}
