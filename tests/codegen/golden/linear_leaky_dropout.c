/* relayout_f32
 * from    the graph, by assign_layout, lower, schedule
 *         %x_blocked: f32[n<=20,33|01.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, c:33)
 *           map() { store 0[n, c] = $0[n, c] }
 *           schedule {lanes=c, width=4}
 *         } loc(: assign_layout, lower, schedule)
 * loops   4 lanes along c
 * work    0 FLOP, 6.86 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long c_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x4 lanes = (partial ? f32x4_load_lanes(x_ptr + n * 33 + c_block * 4, 0 - (c_block * 4),
                    33 - (c_block * 4), 0.0f) : f32x4_load(x_ptr + n * 33 + c_block * 4));
            for (int lane = 0; lane < 4; ++lane)
                if (!partial || (c_block * 4 + lane < 33))
                    x_blocked_ptr[(n / 16) * 528 + c_block * 64 + lane * 16 + n % 16] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long c_block = 0; c_block < 9; ++c_block)
            if (c_block * 4 + 3 < 33)
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, c_block, 0);
            else
                relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, c_block, 1);
    }
}

/* fc1_fprop_leaky_relu_dropout_f32_7x2x16
 * from    fc1, by fuse_epilogue, assign_layout, lower, select_tile
 *         %2_blocked: f32[n<=20,7|01.0x16] = gemm(%x_blocked, %w, %seed, %step) {
 *           title="fprop_leaky_relu_dropout"
 *           phase {
 *             batch() m(k:7) n(n:n<=20) k(c:33)
 *             a = $1[k, c]
 *             b = $0[n, c]
 *             store 0[n, k] = select(random(n*7 + k, 1, $2[], $3[]) >= 0.30000001192092896, select(acc > 0.0, acc, acc * 0.2) * 1.4285714285714286, 0.0)
 *             schedule {lanes=n, width=16, m_tile=k:7, n_tile=n:2}
 *           }
 *         } loc(fc1: fuse_epilogue, assign_layout, lower, select_tile)
 * GEMM    M = k(7) = 7, N = n(n<=20) = 20, K = c(33) = 33
 * tile    7 k x 2 n in registers, 16 lanes along n
 * work    9.24 kFLOP, 6.05 kB moved at least, 1.53 FLOP/B
 */

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void fc1_fprop_leaky_relu_dropout_f32_7x2x16_tile(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, const int32_t *restrict seed_ptr, const int32_t *restrict step_ptr,
        float *restrict t2_blocked_ptr, const long rows, const long k0, const long n_block,
        const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[7][2];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long c = 0; c < 33; ++c) {
            f32x16 held[2];
            UNROLL for (long tn = 0; tn < tn_size; ++tn)
                held[tn] = f32x16_load(x_blocked_ptr + n_block * 528 + tn * 528 + c * 16);
            UNROLL for (long tm = 0; tm < tm_size; ++tm) {
                const float streamed = w_ptr[k0 * 33 + tm * 33 + c];
                UNROLL for (long tn = 0; tn < tn_size; ++tn)
                    acc[tm][tn] += held[tn] * streamed;
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t2_blocked_ptr + n_block * 112 + tn * 112 + k0 * 16 + tm * 16,
                f32x16_select(f32x16_random(n_block * 112 + tn * 112 + k0 + tm, 7, 1u, (uint32_t)seed_ptr[0],
                (uint32_t)step_ptr[0]) >= f32x16_splat(0.30000001192092896f),
                (f32x16_select(acc_value > f32x16_splat(0.0f), acc_value,
                (acc_value * 0.2f)) * 1.4285714285714286f), f32x16_splat(0.0f)));
    }
}

void fc1_fprop_leaky_relu_dropout_f32_7x2x16(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, const int32_t *restrict seed_ptr, const int32_t *restrict step_ptr,
        float *restrict t2_blocked_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long k0 = rest * 7;
            long n_block = 0;
            for (; n_block + 2 <= (rows + 15) / 16; n_block += 2) {
                fc1_fprop_leaky_relu_dropout_f32_7x2x16_tile(x_blocked_ptr, w_ptr, seed_ptr, step_ptr,
                        t2_blocked_ptr, rows, k0, n_block, 7, 2, 0, 0);
            }
            for (; n_block < (rows + 15) / 16; n_block += 1) {
                fc1_fprop_leaky_relu_dropout_f32_7x2x16_tile(x_blocked_ptr, w_ptr, seed_ptr, step_ptr,
                        t2_blocked_ptr, rows, k0, n_block, 7, 1, 0, 0);
            }
        }
    }
}

/* relayout_f32_2
 * from    the graph, by assign_layout, lower, schedule
 *         %2: f32[n<=20,7] = loops(%2_blocked) {
 *           title="relayout"
 *           for(n:n<=20, c:7)
 *           map() { store 0[n, c] = $0[n, c] }
 *           schedule {lanes=c, width=8}
 *         } loc(: assign_layout, lower, schedule)
 * loops   8 lanes along c
 * work    0 FLOP, 1.46 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_f32_2_point(const float *restrict t2_blocked_ptr, float *restrict t2_ptr,
        const long rows, const long n, const long c_block, const int partial)
{
    (void)partial;
    {
        if (!partial)
            f32x8_store(t2_ptr + n * 7, (partial ? ({
            f32x8 lanes;
            for (int lane = 0; lane < 8; ++lane)
                lanes[lane] = lane < 7 ? t2_blocked_ptr[(n / 16) * 112 + lane * 16 + n % 16] : 0.0f;
            lanes;
        }) : ({
            f32x8 lanes;
            for (int lane = 0; lane < 8; ++lane)
                lanes[lane] = t2_blocked_ptr[(n / 16) * 112 + lane * 16 + n % 16];
            lanes;
        })));
        else {
            const f32x8 lanes = (partial ? ({
                f32x8 lanes;
                for (int lane = 0; lane < 8; ++lane)
                    lanes[lane] = lane < 7 ? t2_blocked_ptr[(n / 16) * 112 + lane * 16 + n % 16] : 0.0f;
                lanes;
            }) : ({
                f32x8 lanes;
                for (int lane = 0; lane < 8; ++lane)
                    lanes[lane] = t2_blocked_ptr[(n / 16) * 112 + lane * 16 + n % 16];
                lanes;
            }));
            for (int lane = 0; lane < 8; ++lane)
                if (lane < 7)
                    t2_ptr[n * 7 + lane] = lanes[lane];
        }
    }
}

void relayout_f32_2(const float *restrict t2_blocked_ptr, float *restrict t2_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long c_block = 0; c_block < 1; ++c_block)
            if (7 < 7)
                relayout_f32_2_point(t2_blocked_ptr, t2_ptr, rows, n, c_block, 0);
            else
                relayout_f32_2_point(t2_blocked_ptr, t2_ptr, rows, n, c_block, 1);
    }
}

/* case: 3 kernels, 5120 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void fc1_fprop_leaky_relu_dropout_f32_7x2x16(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, const int32_t *restrict seed_ptr, const int32_t *restrict step_ptr,
        float *restrict t2_blocked_ptr, const long rows, const long thread, const long threads);
void relayout_f32_2(const float *restrict t2_blocked_ptr, float *restrict t2_ptr, const long rows,
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
    /* fc1_fprop_leaky_relu_dropout_f32_7x2x16: %2_blocked */
    fc1_fprop_leaky_relu_dropout_f32_7x2x16(
        (float *)(call->arena + 0),
            (float *)call->stores[0],
                (int32_t *)(call->scalars + 0),
                    (int32_t *)(call->scalars + 1),
                        (float *)(call->arena + 4224),
                            rows, thread, threads);

    barrier();
    /* relayout_f32_2: %2 */
    relayout_f32_2(
        (float *)(call->arena + 4224),
            (float *)call->outputs[0],
                rows, thread, threads);
}
