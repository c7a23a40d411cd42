/* relayout_f32
 * from    the graph, by assign_layout, lower, merge_axes, schedule
 *         %x_blocked: f32[n<=20,2,6,6|0123.0x16] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, chw:72)
 *           map() { store 0[n, chw / 36, (chw / 6) % 6, chw % 6] = $0[n, chw / 36, (chw / 6) % 6, chw % 6] }
 *           schedule {lanes=chw, width=8}
 *         } loc(: assign_layout, lower, merge_axes, schedule)
 * loops   8 lanes along chw
 * work    0 FLOP, 15 kB moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point. */
INLINE void relayout_f32_point(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long n, const long chw_block, const int partial)
{
    (void)partial;
    {
        {
            const f32x8 lanes = f32x8_load(x_ptr + n * 72 + chw_block * 8);
            for (int lane = 0; lane < 8; ++lane)
                x_blocked_ptr[(n / 16) * 1136 + chw_block * 128 + lane * 16 + n] = lanes[lane];
        }
    }
}

void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (rows);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n = job;
        for (long chw_block = 0; chw_block < 9; ++chw_block)
            relayout_f32_point(x_ptr, x_blocked_ptr, rows, n, chw_block, 0);
    }
}

/* relayout_i32
 * from    the graph, by assign_layout, lower, schedule
 *         %labels_blocked: i32[n<=20|0.0x16] = loops(%labels) {
 *           title="relayout"
 *           for(n:n<=20)
 *           map() { store 0[n] = $0[n] }
 *           schedule {lanes=n, width=16}
 *         } loc(: assign_layout, lower, schedule)
 * loops   16 lanes along n
 * work    0 FLOP, 208 B moved at least, 0.00 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void relayout_i32_point(const float *restrict labels_ptr, float *restrict labels_blocked_ptr,
        const long rows, const long n_block, const int partial)
{
    (void)partial;
    {
        f32x16_store(labels_blocked_ptr + n_block * 16, (partial ?
                f32x16_load_lanes(labels_ptr + n_block * 16, 0 - (n_block * 16), rows - (n_block * 16),
                0.0f) : f32x16_load(labels_ptr + n_block * 16)));
    }
}

void relayout_i32(const float *restrict labels_ptr, float *restrict labels_blocked_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        if (n_block * 16 + 15 < rows)
            relayout_i32_point(labels_ptr, labels_blocked_ptr, rows, n_block, 0);
        else
            relayout_i32_point(labels_ptr, labels_blocked_ptr, rows, n_block, 1);
    }
}

/* conv1_fprop_relu_f32_3x4x16
 * from    conv1, by fuse_epilogue, assign_layout, lower, select_tile
 *         %1: f32[n<=20,3,4,4|0123.0x16] = gemm(%x_blocked, %w) {
 *           title="fprop_relu"
 *           phase {
 *             batch(g:1) m(k:3) n(n:n<=20, p:4, q:4) k(c:2, r:3, s:3)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, p + r, q + s]
 *             store 0[n, k, p, q] = max(acc, 0.0)
 *             schedule {lanes=n, width=16, m_tile=k:3, n_tile=q:4}
 *           }
 *         } loc(conv1: fuse_epilogue, assign_layout, lower, select_tile)
 * GEMM    M = k(3) = 3, N = n(n<=20)*p(4)*q(4) = 320, K = c(2)*r(3)*s(3) = 18
 * tile    3 k x 4 q in registers, 16 lanes along n
 * work    34.6 kFLOP, 15.6 kB moved at least, 2.22 FLOP/B
 * saved   23 kB of im2col matrix that is never stored
 */

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_fprop_relu_f32_3x4x16_tile(const float *restrict x_blocked_ptr,
        const float *restrict w_ptr, float *restrict t1_ptr, const long rows, const long n_block,
        const long p, const long k0, const long q0, const long tm_size, const long tn_size,
        const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][4];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        for (long c = 0; c < 2; ++c) {
            for (long r = 0; r < 3; ++r) {
                for (long s = 0; s < 3; ++s) {
                    float held[3];
                    UNROLL for (long tm = 0; tm < tm_size; ++tm)
                        held[tm] = w_ptr[k0 * 18 + tm * 18 + c * 9 + r * 3 + s];
                    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
                        const f32x16 streamed = f32x16_load(x_blocked_ptr + n_block * 1152 + c * 576 +
                                p * 96 + r * 96 + q0 * 16 + s * 16 + tn * 16);
                        UNROLL for (long tm = 0; tm < tm_size; ++tm)
                            acc[tm][tn] += streamed * held[tm];
                    }
                }
            }
        }
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const f32x16 acc_value = acc[tm][tn];
        f32x16_store(t1_ptr + n_block * 768 + k0 * 256 + tm * 256 + p * 64 + q0 * 16 + tn * 16,
                f32x16_max(acc_value, f32x16_splat(0.0f)));
    }
}

void conv1_fprop_relu_f32_3x4x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t1_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = ((rows + 15) / 16) * (1) * (4);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long p = rest % (4);
            rest /= (4);
            const long k0 = rest % (1) * 3;
            rest /= (1);
            const long n_block = rest;
            long q0 = 0;
            for (; q0 + 4 <= 4; q0 += 4) {
                conv1_fprop_relu_f32_3x4x16_tile(x_blocked_ptr, w_ptr, t1_ptr, rows, n_block, p, k0, q0, 3,
                        4, 0, 0);
            }
        }
    }
}

/* pool1_max_pool_f32
 * from    pool1, by autodiff, assign_layout, lower, merge_axes, schedule
 *         %2: f32[n<=20,3,2,2|0123.0x16], %2_saved: i32[n<=20,3,2,2|0123.0x16] = loops(%1) {
 *           title="max_pool"
 *           for(n:n<=20, cp:6, q:2)
 *           reduce(r:2, s:2) best, at = argmax($0[n, cp / 2, (cp % 2)*2 + r, q*2 + s ; -inf], #(r*2 + s))
 *           map() { store 0[n, cp / 2, cp % 2, q] = best; store 1[n, cp / 2, cp % 2, q] = at }
 *           schedule {lanes=n, width=16}
 *         } loc(pool1: autodiff, assign_layout, lower, merge_axes, schedule)
 * loops   16 lanes along n
 * work    960 FLOP, 9.22 kB moved at least, 0.10 FLOP/B
 */

/* All stages of one outer point. */
INLINE void pool1_max_pool_f32_point(const float *restrict t1_ptr, float *restrict t2_ptr,
        int32_t *restrict t2_saved_ptr, const long rows, const long n_block, const long cp, const long q,
        const int partial)
{
    (void)partial;
    f32x16 best_value = f32x16_splat(-INFINITY);
    f32x16 at_value = f32x16_splat(-1.0f);
    for (long r = 0; r < 2; ++r) {
        for (long s = 0; s < 2; ++s) {
            {
                const f32x16 value = f32x16_load(t1_ptr + n_block * 768 + cp * 128 + r * 64 + q * 32 +
                        s * 16);
                const f32x16 index = f32x16_splat((float)(r * 2 + s));
                const i32x16 wins = (value > best_value) | ((value != value) &
                        (best_value == best_value)) | (at_value < 0.0f);
                best_value = f32x16_select(wins, value, best_value);
                at_value = f32x16_select(wins, index, at_value);
            }
        }
    }
    {
        f32x16_store(t2_ptr + n_block * 192 + cp * 32 + q * 16, best_value);
        f32x16_store_i32(t2_saved_ptr + n_block * 192 + cp * 32 + q * 16, at_value);
    }
}

void pool1_max_pool_f32(const float *restrict t1_ptr, float *restrict t2_ptr, int32_t *restrict t2_saved_ptr,
        const long rows, const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16) * (6);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        long rest = job;
        const long cp = rest % (6);
        rest /= (6);
        const long n_block = rest;
        for (long q = 0; q < 2; ++q)
            pool1_max_pool_f32_point(t1_ptr, t2_ptr, t2_saved_ptr, rows, n_block, cp, q, 0);
    }
}

/* loss_cross_entropy_f32
 * from    loss, by canonicalize, assign_layout, lower, fuse_loops, schedule
 *         %4: f32[n<=20|0.0x16] = loops(%labels_blocked, %2) {
 *           title="cross_entropy"
 *           for(n:n<=20)
 *           reduce(j:12) top = max($1[n, j / 4, (j / 2) % 2, j % 2])
 *           reduce(j:12) chosen = sum(select($0[n] == #(j), $1[n, j / 4, (j / 2) % 2, j % 2], 0.0))
 *           reduce(j:12) others = sum(select($0[n] == #(j), 0.0, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)))
 *           map() { store 0[n] = log1p(others + expm1(chosen - top)) - (chosen - top) }
 *           schedule {lanes=n, width=16}
 *         } loc(loss: canonicalize, assign_layout, lower, fuse_loops, schedule)
 * loops   16 lanes along n
 * work    1.78 kFLOP, 1.79 kB moved at least, 0.99 FLOP/B
 */

/* All stages of one outer point. */
INLINE void loss_cross_entropy_f32_point(const int32_t *restrict labels_blocked_ptr,
        const float *restrict t2_ptr, float *restrict t4_ptr, const long rows, const long n_block,
        const int partial)
{
    (void)partial;
    f32x16 top_value = f32x16_splat(-INFINITY);
    for (long j = 0; j < 12; ++j) {
        top_value = f32x16_max(top_value, f32x16_load(t2_ptr + n_block * 192 + j * 16));
    }
    f32x16 chosen_value = f32x16_splat(0.0f);
    for (long j = 0; j < 12; ++j) {
        chosen_value += f32x16_select(f32x16_load_i32(labels_blocked_ptr +
                n_block * 16) == f32x16_splat((float)(j)), f32x16_load(t2_ptr + n_block * 192 + j * 16),
                f32x16_splat(0.0f));
    }
    f32x16 others_value = f32x16_splat(0.0f);
    for (long j = 0; j < 12; ++j) {
        others_value += f32x16_select(f32x16_load_i32(labels_blocked_ptr +
                n_block * 16) == f32x16_splat((float)(j)), f32x16_splat(0.0f),
                f32x16_exp((f32x16_load(t2_ptr + n_block * 192 + j * 16) - top_value)));
    }
    {
        const f32x16 t3_0 = (chosen_value - top_value);
        f32x16_store(t4_ptr + n_block * 16, (f32x16_log1p((others_value + f32x16_expm1(t3_0))) - t3_0));
    }
}

void loss_cross_entropy_f32(const int32_t *restrict labels_blocked_ptr, const float *restrict t2_ptr,
        float *restrict t4_ptr, const long rows, const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        loss_cross_entropy_f32_point(labels_blocked_ptr, t2_ptr, t4_ptr, rows, n_block, 0);
    }
}

/* loss_sum_f32
 * from    loss, by lower, schedule
 *         %loss: f32[] = loops(%4) {
 *           title="sum"
 *           for()
 *           reduce(n:n<=20) total = sum($0[n])
 *           map() { store 0[] = total / rows }
 *           schedule {lanes=n, width=16}
 *         } loc(loss: lower, schedule)
 * loops   16 lanes along n
 * work    21 FLOP, 132 B moved at least, 0.16 FLOP/B
 */

/* All stages of one outer point. */
INLINE void loss_sum_f32_point(const float *restrict t4_ptr, float *restrict loss_ptr, const long rows,
        const int partial)
{
    (void)partial;
    f32x16 total_value_lanes = f32x16_splat(0.0f);
    {
        f32x16 total_value = total_value_lanes;
        for (long n_block = 0; n_block < (rows + 15) / 16; ++n_block) {
            const int partial = n_block * 16 + 16 > rows;
            (void)partial;
            total_value += (partial ? f32x16_first((partial ? f32x16_first(f32x16_load(t4_ptr +
                    n_block * 16), rows - (n_block * 16), 0.0f) : f32x16_load(t4_ptr + n_block * 16)),
                    rows - (n_block * 16), 0.0f) : (partial ? f32x16_first(f32x16_load(t4_ptr +
                    n_block * 16), rows - (n_block * 16), 0.0f) : f32x16_load(t4_ptr + n_block * 16)));
        }
        total_value_lanes = total_value;
    }
    const float total_value = f32x16_sum_lanes(total_value_lanes);
    {
        loss_ptr[0] = (total_value / (float)rows);
    }
}

void loss_sum_f32(const float *restrict t4_ptr, float *restrict loss_ptr, const long rows, const long thread,
        const long threads)
{
    const long jobs = 1;
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        loss_sum_f32_point(t4_ptr, loss_ptr, rows, 0);
    }
}

/* loss_cross_entropy_grad_f32
 * from    loss, by canonicalize, assign_layout, lower, autodiff, fuse_loops, schedule
 *         %6: f32[n<=20,12|01.0x16] = loops(%labels_blocked, %2) {
 *           title="cross_entropy_grad"
 *           for(n:n<=20)
 *           reduce(j:12) top = max($1[n, j / 4, (j / 2) % 2, j % 2])
 *           reduce(j:12) chosen = sum(select($0[n] == #(j), $1[n, j / 4, (j / 2) % 2, j % 2], 0.0))
 *           reduce(j:12) others = sum(select($0[n] == #(j), 0.0, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)))
 *           map(j:12) { store 0[n, j] = 1.0 / rows * (select($0[n] == #(j), -others, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)) / (others + exp(chosen - top))) }
 *           schedule {lanes=n, width=16}
 *         } loc(loss: canonicalize, assign_layout, lower, autodiff, fuse_loops, schedule)
 * loops   16 lanes along n
 * work    4.08 kFLOP, 3.2 kB moved at least, 1.27 FLOP/B
 */

/* All stages of one outer point. */
INLINE void loss_cross_entropy_grad_f32_point(const int32_t *restrict labels_blocked_ptr,
        const float *restrict t2_ptr, float *restrict t6_ptr, const long rows, const long n_block,
        const int partial)
{
    (void)partial;
    f32x16 top_value = f32x16_splat(-INFINITY);
    for (long j = 0; j < 12; ++j) {
        top_value = f32x16_max(top_value, f32x16_load(t2_ptr + n_block * 192 + j * 16));
    }
    f32x16 chosen_value = f32x16_splat(0.0f);
    for (long j = 0; j < 12; ++j) {
        chosen_value += f32x16_select(f32x16_load_i32(labels_blocked_ptr +
                n_block * 16) == f32x16_splat((float)(j)), f32x16_load(t2_ptr + n_block * 192 + j * 16),
                f32x16_splat(0.0f));
    }
    f32x16 others_value = f32x16_splat(0.0f);
    for (long j = 0; j < 12; ++j) {
        others_value += f32x16_select(f32x16_load_i32(labels_blocked_ptr +
                n_block * 16) == f32x16_splat((float)(j)), f32x16_splat(0.0f),
                f32x16_exp((f32x16_load(t2_ptr + n_block * 192 + j * 16) - top_value)));
    }

    for (long j = 0; j < 12; ++j) {
        f32x16_store(t6_ptr + n_block * 192 + j * 16,
                ((1.0f / (float)rows) * (f32x16_select(f32x16_load_i32(labels_blocked_ptr +
                n_block * 16) == f32x16_splat((float)(j)), (-others_value),
                f32x16_exp((f32x16_load(t2_ptr + n_block * 192 + j * 16) - top_value))) / (others_value +
                f32x16_exp((chosen_value - top_value))))));
    }

}

void loss_cross_entropy_grad_f32(const int32_t *restrict labels_blocked_ptr, const float *restrict t2_ptr,
        float *restrict t6_ptr, const long rows, const long thread, const long threads)
{
    const long jobs = ((rows + 15) / 16);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long n_block = job;
        loss_cross_entropy_grad_f32_point(labels_blocked_ptr, t2_ptr, t6_ptr, rows, n_block, 0);
    }
}

/* pool1_max_pool_grad_relu_grad_f32
 * from    pool1, by autodiff, assign_layout, lower, fuse_loops, merge_axes, schedule
 *         %9: f32[n<=20,3,4,4|0123.0x16] = loops(%2_saved, %1, %6) {
 *           title="max_pool_grad_relu_grad"
 *           for(n:n<=20, cp:6, q:2)
 *           map(r:2, s:2) { store 0[n, cp / 2, (cp % 2)*2 + r, q*2 + s] = select($1[n, cp / 2, (cp % 2)*2 + r, q*2 + s] <= 0.0, 0.0, select($0[n, cp / 2, cp % 2, q ; -1.0] == #(r*2 + s), $2[n, (cp / 2)*4 + (cp % 2)*2 + q], 0.0)) }
 *           schedule {lanes=n, width=16}
 *         } loc(pool1: autodiff, assign_layout, lower, fuse_loops, merge_axes, schedule)
 * loops   16 lanes along n
 * work    1.92 kFLOP, 15.4 kB moved at least, 0.12 FLOP/B
 */

/* All stages of one outer point. */
INLINE void pool1_max_pool_grad_relu_grad_f32_point(const int32_t *restrict t2_saved_ptr,
        const float *restrict t1_ptr, const float *restrict t6_ptr, float *restrict t9_ptr, const long rows,
        const long n_block, const long cp, const long q, const int partial)
{
    (void)partial;

    for (long r = 0; r < 2; ++r) {
        for (long s = 0; s < 2; ++s) {
            f32x16_store(t9_ptr + n_block * 768 + cp * 128 + r * 64 + q * 32 + s * 16,
                    f32x16_select(f32x16_load(t1_ptr + n_block * 768 + cp * 128 + r * 64 + q * 32 +
                    s * 16) <= f32x16_splat(0.0f), f32x16_splat(0.0f),
                    f32x16_select(f32x16_load_i32(t2_saved_ptr + n_block * 192 + cp * 32 +
                    q * 16) == f32x16_splat((float)(r * 2 + s)), f32x16_load(t6_ptr + n_block * 192 +
                    cp * 32 + q * 16), f32x16_splat(0.0f))));
        }
    }

}

void pool1_max_pool_grad_relu_grad_f32(const int32_t *restrict t2_saved_ptr, const float *restrict t1_ptr,
        const float *restrict t6_ptr, float *restrict t9_ptr, const long rows, const long thread,
        const long threads)
{
    const long jobs = ((rows + 15) / 16) * (6);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        long rest = job;
        const long cp = rest % (6);
        rest /= (6);
        const long n_block = rest;
        for (long q = 0; q < 2; ++q)
            pool1_max_pool_grad_relu_grad_f32_point(t2_saved_ptr, t1_ptr, t6_ptr, t9_ptr, rows, n_block, cp,
                    q, 0);
    }
}

/* conv1_wgrad_f32_3x3x16
 * from    conv1, by autodiff, lower, select_tile
 *         %11: f32[3,2,3,3] = gemm(%9, %x_blocked) {
 *           title="wgrad"
 *           phase {
 *             batch(g:1) m(k:3) n(c:2, r:3, s:3) k(n:n<=20, p:4, q:4)
 *             a = $0[n, k, p, q]
 *             b = $1[n, c, p + r, q + s]
 *             store 0[k, c, r, s] = acc
 *             schedule {lanes=n, width=16, m_tile=k:3, n_tile=s:3}
 *           }
 *         } loc(conv1: autodiff, lower, select_tile)
 * GEMM    M = k(3) = 3, N = c(2)*r(3)*s(3) = 18, K = n(n<=20)*p(4)*q(4) = 320
 * tile    3 k x 3 s in registers, 16 lanes along n
 * work    34.6 kFLOP, 15.6 kB moved at least, 2.22 FLOP/B
 * saved   23 kB of im2col matrix that is never stored
 */

/* The terms of one block of lanes; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_wgrad_f32_3x3x16_add(const float *restrict t9_ptr, const float *restrict x_blocked_ptr,
        float *restrict t11_ptr, const long rows, const long c, const long r, const long k0, const long s0,
        const long n_block, const long tm_size, const long tn_size, const int guarded, const int partial,
        f32x16 acc[3][3])
{
    (void)guarded, (void)partial;
    for (long p = 0; p < 4; ++p) {
        for (long q = 0; q < 4; ++q) {
            f32x16 held[3];
            UNROLL for (long tn = 0; tn < tn_size; ++tn)
                held[tn] = (partial ? f32x16_first(f32x16_load(x_blocked_ptr + n_block * 1152 + c * 576 +
                        p * 96 + r * 96 + q * 16 + s0 * 16 + tn * 16), rows - (n_block * 16), 0.0f) :
                        f32x16_load(x_blocked_ptr + n_block * 1152 + c * 576 + p * 96 + r * 96 + q * 16 +
                        s0 * 16 + tn * 16));
            UNROLL for (long tm = 0; tm < tm_size; ++tm) {
                const f32x16 streamed = (partial ? f32x16_first(f32x16_load(t9_ptr + n_block * 768 +
                        k0 * 256 + tm * 256 + p * 64 + q * 16), rows - (n_block * 16), 0.0f) :
                        f32x16_load(t9_ptr + n_block * 768 + k0 * 256 + tm * 256 + p * 64 + q * 16));
                UNROLL for (long tn = 0; tn < tn_size; ++tn)
                    acc[tm][tn] += held[tn] * streamed;
            }
        }
    }
}

/* One register tile of tm_size x tn_size sums; `guarded` tests what can fail at the edge, `partial` the last lanes. */
INLINE void conv1_wgrad_f32_3x3x16_tile(const float *restrict t9_ptr, const float *restrict x_blocked_ptr,
        float *restrict t11_ptr, const long rows, const long c, const long r, const long k0, const long s0,
        const long tm_size, const long tn_size, const int guarded, const int partial)
{
    (void)guarded, (void)partial;
    f32x16 acc[3][3];
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) acc[tm][tn] = f32x16_splat(0.0f);
    {
        const long full_blocks = rows / 16;
        for (long n_block = 0; n_block < full_blocks; ++n_block)
            conv1_wgrad_f32_3x3x16_add(t9_ptr, x_blocked_ptr, t11_ptr, rows, c, r, k0, s0, n_block, tm_size,
                    tn_size, guarded, 0, acc);
        if (full_blocks * 16 < rows)
            conv1_wgrad_f32_3x3x16_add(t9_ptr, x_blocked_ptr, t11_ptr, rows, c, r, k0, s0, full_blocks,
                    tm_size, tn_size, guarded, 1, acc);
    }
    UNROLL for (long tm = 0; tm < tm_size; ++tm)
    UNROLL for (long tn = 0; tn < tn_size; ++tn) {
        const float acc_value = f32x16_sum_lanes(acc[tm][tn]);
        t11_ptr[k0 * 18 + tm * 18 + c * 9 + r * 3 + s0 + tn] = acc_value;
    }
}

void conv1_wgrad_f32_3x3x16(const float *restrict t9_ptr, const float *restrict x_blocked_ptr,
        float *restrict t11_ptr, const long rows, const long thread, const long threads)
{
    {
        const long jobs = (1) * (2) * (3);
        for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
            long rest = job;
            const long r = rest % (3);
            rest /= (3);
            const long c = rest % (2);
            rest /= (2);
            const long k0 = rest * 3;
            long s0 = 0;
            for (; s0 + 3 <= 3; s0 += 3) {
                conv1_wgrad_f32_3x3x16_tile(t9_ptr, x_blocked_ptr, t11_ptr, rows, c, r, k0, s0, 3, 3, 0, 0);
            }
        }
    }
}

/* w_sgd_momentum_f32
 * from    w, by apply_optimizer, lower, merge_axes, schedule
 *         %w.new: f32[3,2,3,3], %w.velocity.new: f32[3,2,3,3] = loops(%w, %11, %w.velocity, %lr, %momentum, %weight_decay) {
 *           title="sgd_momentum"
 *           for(nchw:54)
 *           map() {
 *             store 0[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] = $0[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] - $3[] * ($4[] * $2[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] + ($1[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] + $5[] * $0[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3]))
 *             store 1[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] = $4[] * $2[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] + ($1[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3] + $5[] * $0[nchw / 18, (nchw / 9) % 2, (nchw / 3) % 3, nchw % 3])
 *           }
 *           schedule {lanes=nchw, width=16}
 *         } loc(w: apply_optimizer, lower, merge_axes, schedule)
 * loops   16 lanes along nchw
 * work    540 FLOP, 1.09 kB moved at least, 0.49 FLOP/B
 */

/* All stages of one outer point; `partial` tests the last lanes. */
INLINE void w_sgd_momentum_f32_point(const float *w_ptr, const float *restrict t11_ptr,
        const float *w_velocity_ptr, const float *restrict lr_ptr, const float *restrict momentum_ptr,
        const float *restrict weight_decay_ptr, float *w_new_ptr, float *w_velocity_new_ptr, const long rows,
        const long nchw_block, const int partial)
{
    (void)partial;
    {
        const f32x16 t0_0 = (partial ? f32x16_load_lanes(w_ptr + nchw_block * 16, 0 - (nchw_block * 16),
                54 - (nchw_block * 16), 0.0f) : f32x16_load(w_ptr + nchw_block * 16));
        const f32x16 t0_1 = ((momentum_ptr[0] * (partial ? f32x16_load_lanes(w_velocity_ptr +
                nchw_block * 16, 0 - (nchw_block * 16), 54 - (nchw_block * 16), 0.0f) :
                f32x16_load(w_velocity_ptr + nchw_block * 16))) + ((partial ?
                f32x16_load_lanes(t11_ptr + nchw_block * 16, 0 - (nchw_block * 16), 54 - (nchw_block * 16),
                0.0f) : f32x16_load(t11_ptr + nchw_block * 16)) + (weight_decay_ptr[0] * t0_0)));
        if (!partial)
            f32x16_store(w_new_ptr + nchw_block * 16, (t0_0 - (lr_ptr[0] * t0_1)));
        else {
            const f32x16 lanes = (t0_0 - (lr_ptr[0] * t0_1));
            for (int lane = 0; lane < 16; ++lane)
                if (nchw_block * 16 + lane < 54)
                    w_new_ptr[nchw_block * 16 + lane] = lanes[lane];
        }
        if (!partial)
            f32x16_store(w_velocity_new_ptr + nchw_block * 16, t0_1);
        else {
            const f32x16 lanes = t0_1;
            for (int lane = 0; lane < 16; ++lane)
                if (nchw_block * 16 + lane < 54)
                    w_velocity_new_ptr[nchw_block * 16 + lane] = lanes[lane];
        }
    }
}

void w_sgd_momentum_f32(const float *w_ptr, const float *restrict t11_ptr, const float *w_velocity_ptr,
        const float *restrict lr_ptr, const float *restrict momentum_ptr,
        const float *restrict weight_decay_ptr, float *w_new_ptr, float *w_velocity_new_ptr, const long rows,
        const long thread, const long threads)
{
    const long jobs = (4);
    for (long job = jobs * thread / threads; job < jobs * (thread + 1) / threads; ++job) {
        const long nchw_block = job;
        if (nchw_block * 16 + 15 < 54)
            w_sgd_momentum_f32_point(w_ptr, t11_ptr, w_velocity_ptr, lr_ptr, momentum_ptr, weight_decay_ptr,
                    w_new_ptr, w_velocity_new_ptr, rows, nchw_block, 0);
        else
            w_sgd_momentum_f32_point(w_ptr, t11_ptr, w_velocity_ptr, lr_ptr, momentum_ptr, weight_decay_ptr,
                    w_new_ptr, w_velocity_new_ptr, rows, nchw_block, 1);
    }
}

/* case: 10 kernels, 24576 bytes of intermediates in one arena.
 * Every thread runs this function; a barrier stands where a kernel needs what another
 * has written, or overwrites what another has read.
 */
void relayout_f32(const float *restrict x_ptr, float *restrict x_blocked_ptr, const long rows,
        const long thread, const long threads);
void relayout_i32(const float *restrict labels_ptr, float *restrict labels_blocked_ptr, const long rows,
        const long thread, const long threads);
void conv1_fprop_relu_f32_3x4x16(const float *restrict x_blocked_ptr, const float *restrict w_ptr,
        float *restrict t1_ptr, const long rows, const long thread, const long threads);
void pool1_max_pool_f32(const float *restrict t1_ptr, float *restrict t2_ptr, int32_t *restrict t2_saved_ptr,
        const long rows, const long thread, const long threads);
void loss_cross_entropy_f32(const int32_t *restrict labels_blocked_ptr, const float *restrict t2_ptr,
        float *restrict t4_ptr, const long rows, const long thread, const long threads);
void loss_sum_f32(const float *restrict t4_ptr, float *restrict loss_ptr, const long rows, const long thread,
        const long threads);
void loss_cross_entropy_grad_f32(const int32_t *restrict labels_blocked_ptr, const float *restrict t2_ptr,
        float *restrict t6_ptr, const long rows, const long thread, const long threads);
void pool1_max_pool_grad_relu_grad_f32(const int32_t *restrict t2_saved_ptr, const float *restrict t1_ptr,
        const float *restrict t6_ptr, float *restrict t9_ptr, const long rows, const long thread,
        const long threads);
void conv1_wgrad_f32_3x3x16(const float *restrict t9_ptr, const float *restrict x_blocked_ptr,
        float *restrict t11_ptr, const long rows, const long thread, const long threads);
void w_sgd_momentum_f32(const float *w_ptr, const float *restrict t11_ptr, const float *w_velocity_ptr,
        const float *restrict lr_ptr, const float *restrict momentum_ptr,
        const float *restrict weight_decay_ptr, float *w_new_ptr, float *w_velocity_new_ptr, const long rows,
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

    /* relayout_i32: %labels_blocked */
    relayout_i32(
        (float *)call->inputs[1],
            (float *)(call->arena + 16896),
                rows, thread, threads);

    barrier();
    /* conv1_fprop_relu_f32_3x4x16: %1 */
    conv1_fprop_relu_f32_3x4x16(
        (float *)(call->arena + 0),
            (float *)call->stores[0],
                (float *)(call->arena + 9216),
                    rows, thread, threads);

    barrier();
    /* pool1_max_pool_f32: %2, %2_saved */
    pool1_max_pool_f32(
        (float *)(call->arena + 9216),
            (float *)(call->arena + 15360),
                (int32_t *)(call->arena + 21504),
                    rows, thread, threads);

    barrier();
    /* loss_cross_entropy_f32: %4 */
    loss_cross_entropy_f32(
        (int32_t *)(call->arena + 16896),
            (float *)(call->arena + 15360),
                (float *)(call->arena + 17024),
                    rows, thread, threads);

    barrier();
    /* loss_sum_f32: %loss */
    loss_sum_f32(
        (float *)(call->arena + 17024),
            (float *)call->outputs[0],
                rows, thread, threads);

    /* loss_cross_entropy_grad_f32: %6 */
    loss_cross_entropy_grad_f32(
        (int32_t *)(call->arena + 16896),
            (float *)(call->arena + 15360),
                (float *)(call->arena + 23040),
                    rows, thread, threads);

    barrier();
    /* pool1_max_pool_grad_relu_grad_f32: %9 */
    pool1_max_pool_grad_relu_grad_f32(
        (int32_t *)(call->arena + 21504),
            (float *)(call->arena + 9216),
                (float *)(call->arena + 23040),
                    (float *)(call->arena + 15360),
                        rows, thread, threads);

    barrier();
    /* conv1_wgrad_f32_3x3x16: %11 */
    conv1_wgrad_f32_3x3x16(
        (float *)(call->arena + 15360),
            (float *)(call->arena + 0),
                (float *)(call->arena + 9216),
                    rows, thread, threads);

    barrier();
    /* w_sgd_momentum_f32: %w.new, %w.velocity.new */
    w_sgd_momentum_f32(
        (float *)call->stores[0],
            (float *)(call->arena + 9216),
                (float *)call->stores[1],
                    (float *)(call->scalars + 0),
                        (float *)(call->scalars + 1),
                            (float *)(call->scalars + 2),
                                (float *)call->stores[0],
                                    (float *)call->stores[1],
                                        rows, thread, threads);
}
