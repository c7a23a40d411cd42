/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=20,6,7,5|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, chw:210)
 *           map() { store 0[n, chw / 35, (chw / 5) % 7, chw % 5] = $0[n, chw / 35, (chw / 5) % 7, chw % 5] }
 *           schedule {lanes=chw, width=16}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along chw
 * work    0 FLOP, 43.7 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x16 lanes = (partial ? f32x16_load_lanes(x_ptr + n * 210 + chw_block * 16,
                    0 - (chw_block * 16), 210 - (chw_block * 16), 0.0f) :
                    f32x16_load(x_ptr + n * 210 + chw_block * 16));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (chw_block * 16 + lane < 210))
                    x_blocked_ptr[(n / 16) * 3344 + chw_block * 256 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 14; ++chw_block)
            if (chw_block * 16 + 15 < 210)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 1);
    }
}

/* norm1_lrn_f32
 * from    norm1, by assign_layout, lower, merge_axes, schedule
 *         %0: f32[n<=20,6,7,5|0123.0x16] = loops(%x_blocked) {
 *           title="lrn"
 *           for(n:n<=20, c:6, hw:35)
 *           reduce(j:5) squares = sum($0[n, c + j - 2, hw / 5, hw % 5] * $0[n, c + j - 2, hw / 5, hw % 5])
 *           map() { store 0[n, c, hw / 5, hw % 5] = $0[n, c, hw / 5, hw % 5] / (sqrt(2.0 + 0.1 * squares) * sqrt(sqrt(2.0 + 0.1 * squares))) }
 *           schedule {lanes=n, width=16}
 *         } loc(norm1: assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    67.2 kFLOP, 53.8 kB moved at least, 1.25 FLOP/B
 */

/* All stages of one outer point. */
INLINE void norm1_lrn_f32_point(const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long n_block, const long c, const long hw, const int partial)
{
    (void)partial;
    f32x16 squares_value = f32x16_splat(0.0f);
    for (long j = 0; j < 5; ++j) {
        const f32x16 t0_0 = (c + j - 2 >= 0 && c + j - 2 < 6 ? f32x16_load(x_blocked_ptr + n_block * 3360 +
                c * 560 + j * 560 + hw * 16 - 1120) : f32x16_splat(0.0f));
        squares_value += (t0_0 * t0_0);
    }
    {
        const f32x16 t1_0 = f32x16_sqrt((2.0f + (0.1f * squares_value)));
        f32x16_store(t0_ptr + n_block * 3360 + c * 560 + hw * 16,
                (f32x16_load(x_blocked_ptr + n_block * 3360 + c * 560 +
                hw * 16) / (t1_0 * f32x16_sqrt(t1_0))));
    }
}

void norm1_lrn_f32(const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16) * (6);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        long rest = job;
        const long c = rest % (6);
        rest /= (6);
        const long n_block = rest;
        for (long hw = 0; hw < 35; ++hw)
            norm1_lrn_f32_point(x_blocked_ptr, t0_ptr, rows, n_block, c, hw, 0);
    }
}

/* pool1_adaptive_avg_pool_relayout_f32
 * from    pool1, by assign_layout, lower, fuse_loops, schedule
 *         %1: f32[n<=20,6,5,3] = loops(%0) {
 *           title="adaptive_avg_pool_relayout"
 *           for(n:n<=20, c:6, p:5, q:3)
 *           reduce(r:3, s:3) total = sum($0[n, c, (p*2) / 5 + p + r, (q*2) / 3 + q + s | (p*2) / 5 + r - (p*2 + 1) / 5 - 2 in [-3, 0), (q*2) / 3 + s - (q*2 + 1) / 3 - 2 in [-3, 0)])
 *           map() { store 0[n, c, p, q] = total / (#((p*2 + 1) / 5 - (p*2) / 5 + 2) * #((q*2 + 1) / 3 - (q*2) / 3 + 2)) }
 *           schedule {lanes=n, width=16}
 *         } loc(pool1: assign_layout, lower, fuse_loops, schedule)
 * loops   16 lanes along n
 * work    19.8 kFLOP, 34.1 kB moved at least, 0.58 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void pool1_adaptive_avg_pool_relayout_f32_point(const float *restrict t0_ptr, float *restrict t1_ptr,
        const long rows, const long n_block, const long c, const long p, const long q, const int partial)
{
    (void)partial;
    f32x16 total_value = f32x16_splat(0.0f);
    for (long r = 0; r < 3; ++r) {
        for (long s = 0; s < 3; ++s) {
            total_value += ((p * 2) / 5 + r - (p * 2 + 1) / 5 - 2 < 0 &&
                    (q * 2) / 3 + s - (q * 2 + 1) / 3 - 2 < 0 && (p * 2) / 5 + p + r < 7 &&
                    (q * 2) / 3 + q + s < 5 ? f32x16_load(t0_ptr + n_block * 3360 + c * 560 +
                    ((p * 2) / 5) * 80 + p * 80 + r * 80 + ((q * 2) / 3) * 16 + q * 16 + s * 16) :
                    f32x16_splat(0.0f));
        }
    }
    {
        {
            const f32x16 lanes = (total_value / ((float)((p * 2 + 1) / 5 - (p * 2) / 5 +
                    2) * (float)((q * 2 + 1) / 3 - (q * 2) / 3 + 2)));
            for (int lane = 0; lane < 16; ++lane)
                if (!partial || (n_block * 16 + lane < rows))
                    t1_ptr[n_block * 1440 + lane * 90 + c * 15 + p * 3 + q] = lanes[lane];
        }
    }
}

void pool1_adaptive_avg_pool_relayout_f32(const float *restrict t0_ptr, float *restrict t1_ptr,
        const long rows, const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16) * (6) * (5);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        long rest = job;
        const long p = rest % (5);
        rest /= (5);
        const long c = rest % (6);
        rest /= (6);
        const long n_block = rest;
        for (long q = 0; q < 3; ++q)
            if (n_block * 16 + 15 < rows)
                pool1_adaptive_avg_pool_relayout_f32_point(t0_ptr, t1_ptr, rows, n_block, c, p, q, 0);
            else
                pool1_adaptive_avg_pool_relayout_f32_point(t0_ptr, t1_ptr, rows, n_block, c, p, q, 1);
    }
}

/* case: 3 kernels, 53760 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void norm1_lrn_f32(const float *restrict x_blocked_ptr, float *restrict t0_ptr, const long rows,
        const long thread, const long threads);
void pool1_adaptive_avg_pool_relayout_f32(const float *restrict t0_ptr, float *restrict t1_ptr,
        const long rows, const long thread, const long threads);

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
    /* norm1_lrn_f32: %0 */
    norm1_lrn_f32(
        (float *)(call->arena + 0),
            (float *)(call->arena + 26880),
                rows, thread, threads);

    barrier();
    /* pool1_adaptive_avg_pool_relayout_f32: %1 */
    pool1_adaptive_avg_pool_relayout_f32(
        (float *)(call->arena + 26880),
            (float *)call->outputs[0],
                rows, thread, threads);
}
