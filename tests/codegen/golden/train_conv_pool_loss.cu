/* case: 8 kernels in 7 launches, one after the other on one stream;
 * 10112 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. conv1_fprop_relu_f32_8x32x16<<<10, 128>>>
 *   2. pool1_max_pool_f32<<<2, 128>>>
 *   3. loss_cross_entropy_f32<<<3, 128>>>
 *   4. loss_cross_entropy_grad_f32_and_1_more<<<4, 128>>>
 *   5. pool1_max_pool_grad_relu_grad_f32<<<4, 128>>>
 *   6. conv1_wgrad_parts_f32_8x32x16<<<20, 128>>>
 *   7. conv1_sum_parts_sgd_momentum_f32<<<1, 128>>>
 */

#define UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

/* The greater of two numbers; NaN where one is NaN. */
static __device__ __forceinline__ float nan_max(float a, float b) { return b > a || b != b ? b : a; }

/* 2 neighbouring numbers at once; their address is a multiple of 8 bytes. */
static __device__ __forceinline__ void load2(float *to, const float *from)
{
    const float2 v = *reinterpret_cast<const float2 *>(from);
    to[0] = v.x; to[1] = v.y;
}
static __device__ __forceinline__ void store2(float *to, const float *from)
{
    *reinterpret_cast<float2 *>(to) = make_float2(from[0], from[1]);
}

/* Copies from global to shared memory that arrive by themselves: zero where the source is not `inside`. */
static __device__ __forceinline__ void copy_async(float *to, const float *from, const bool inside)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 4 : 0) : "memory");
}
/* The copies since the last commit are one group; a wait leaves the latest `kept` groups on their way. */
static __device__ __forceinline__ void commit_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kept> static __device__ __forceinline__ void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" :: "n"(kept) : "memory");
}

/* The sum of the numbers of a warp, or of the part of it that is a team, in each of the team's lanes: partners half
 * as far apart in each step. */
static __device__ __forceinline__ float warp_sum(float x, const int team)
{
    UNROLL for (int apart = team / 2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = x + other;
    }
    return x;
}

/* The max of the numbers of a warp, or of the part of it that is a team, in each of the team's lanes: partners half
 * as far apart in each step. */
static __device__ __forceinline__ float warp_max(float x, const int team)
{
    UNROLL for (int apart = team / 2; apart > 0; apart /= 2) {
        const float other = __shfl_xor_sync(0xffffffff, x, apart);
        x = nan_max(x, other);
    }
    return x;
}


/* conv1_fprop_relu_f32_8x32x16
 * from    conv1, by fuse_epilogue, lower, select_tile
 *         %1: f32[n<=20,3,4,4] = gemm(%x, %w) {
 *           title="fprop_relu"
 *           phase {
 *             batch(g:1) m(k:3) n(n:n<=20, p:4, q:4) k(c:2, r:3, s:3)
 *             a = $1[k, c, r, s]
 *             b = $0[n, c, p + r, q + s]
 *             store 0[n, k, p, q] = max(acc, 0.0)
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: fuse_epilogue, lower, select_tile)
 * GEMM    M = k(3) = 3, N = n(n<=20)*p(4)*q(4) = 320, K = c(2)*r(3)*s(3) = 18
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  10 blocks of 128 threads, 11.3 kB of shared memory
 * gather  A along K, 2 cache lines for 32 elements; B along N, 2 cache lines for 32 elements
 * vectors 8-byte stores
 * bound   0.00293 us on an H100: 0.000583 us of FP32, 0.00293 us of memory
 * model   1.92 us; 1.98 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    34.6 kFLOP, 9.82 kB moved at least, 3.52 FLOP/B
 * saved   23 kB of im2col matrix that is never stored
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_fprop_relu_f32_8x32x16(const float *__restrict__ x_ptr, const float *__restrict__ w_ptr,
            float *__restrict__ t1_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][12];
    __shared__ __align__(16) float b_tile[4][16][32];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = rows * 16, k_extent = 18;
    const int m_first = 0;
    const int n_first = block * 32;
    /* a tile behind the last row */
    if (n_first >= n_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along K */
    const int a_line = thread / 8 % 8, a_depth = thread % 8 + thread / 64 * 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = w_ptr + gemm_m * 18 + a_depth;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N */
    const int b_line = thread % 32, b_depth = thread / 32;
    const int gemm_n = n_first + b_line;
    const int n = gemm_n / 16, p = (gemm_n / 4) % 4, q = gemm_n % 4;
    const float *const b_from = x_ptr + n * 72 + p * 6 + q;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 2;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            copy_async(&a_tile[stage][depth][line], a_from + slice * 16, a_inside & (gemm_k < k_extent));
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line, depth = b_depth + part * 4;
            const int gemm_k = slice * 16 + depth;
            const int c = gemm_k / 9, r = (gemm_k / 3) % 3, s = gemm_k % 3;
            copy_async(&b_tile[stage][depth][line], b_from + c * 36 + r * 6 + s, b_inside &
                    (gemm_k < k_extent));
        }
        ++slice;
    };
    UNROLL for (int done = 0; done < 3; ++done) {
        if (done < slices) gather(done);
        commit_copies();
    }
    for (int done = 0; done < slices; ++done) {
        /* this slice has arrived, and everyone is done with the one before, whose place the next copies take */
        wait_for_copies<2>();
        __syncthreads();
        if (done + 3 < slices) gather((done + 3) % 4);
        commit_copies();
        const int stage = done % 4;
        UNROLL for (int depth = 0; depth < 16; ++depth) {
            const float a_part = a_tile[stage][depth][m_thread];
            float b_part[2];
            load2(b_part, &b_tile[stage][depth][n_thread]);
            UNROLL for (int tn = 0; tn < 2; ++tn)
                acc[tn] += a_part * b_part[tn];
        }
    }

    {
        const int gemm_m = m_first + m_thread, gemm_n = n_first + n_thread;
        if (gemm_m < m_extent && gemm_n < n_extent) {
            const int k = gemm_m, n = gemm_n / 16, pq = gemm_n % 16;
            float stored0[2];
            UNROLL for (int part = 0; part < 2; ++part) {
                const float acc_value = acc[part];
                stored0[part] = nan_max(acc_value, 0.0f);
            }
            store2(t1_ptr + n * 48 + k * 16 + pq, stored0);
        }
    }
}

/* pool1_max_pool_f32
 * from    pool1, by autodiff, lower, merge_axes, schedule
 *         %2: f32[n<=20,3,2,2], %2_saved: i32[n<=20,3,2,2] = loops(%1) {
 *           title="max_pool"
 *           for(n:n<=20, cp:6, q:2)
 *           reduce(r:2, s:2) best, at = argmax($0[n, cp / 2, (cp % 2)*2 + r, q*2 + s ; -inf], #(r*2 + s))
 *           map() { store 0[n, cp / 2, cp % 2, q] = best; store 1[n, cp / 2, cp % 2, q] = at }
 *           schedule {threads=128, team=1, window=2}
 *         } loc(pool1: autodiff, lower, merge_axes, schedule)
 * loops   a thread a point, 2 of a window at once, 128 threads a block
 * launch  2 blocks of 128 threads
 * vectors 8-byte loads
 * bound   0.00172 us on an H100: 1.62e-05 us of FP32, 0.00172 us of memory
 * work    960 FLOP, 5.76 kB moved at least, 0.17 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    pool1_max_pool_f32(const float *__restrict__ t1_ptr, float *__restrict__ t2_ptr,
            int *__restrict__ t2_saved_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= rows * 12) return;
    const int n = point / 12, cp = (point / 2) % 6, q = point % 2;
    float best_value = -INFINITY, at_value = -1.0f;
    UNROLL for (int r = 0; r < 2; ++r) {
        float t1_lanes[2];
        load2(t1_lanes, t1_ptr + n * 48 + cp * 8 + r * 4 + q * 2);
        UNROLL for (int s = 0; s < 2; ++s) {
            const float value = t1_lanes[s], index = (float)(r * 2 + s);
            if (value > best_value || (value != value && best_value == best_value) || at_value < 0.0f) {
                best_value = value;
                at_value = index;
            }
        }
    }
    {
        t2_ptr[n * 12 + cp * 2 + q] = best_value;
        t2_saved_ptr[n * 12 + cp * 2 + q] = (int)at_value;
    }
}

/* loss_cross_entropy_f32
 * from    loss, by canonicalize, lower, fuse_loops, schedule
 *         %4: f32[n<=20] = loops(%labels, %2) {
 *           title="cross_entropy"
 *           for(n:n<=20)
 *           reduce(j:12) top = max($1[n, j / 4, (j / 2) % 2, j % 2])
 *           reduce(j:12) chosen = sum(select($0[n] == #(j), $1[n, j / 4, (j / 2) % 2, j % 2], 0.0))
 *           reduce(j:12) others = sum(select($0[n] == #(j), 0.0, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)))
 *           map() { store 0[n] = log1p(others + expm1(chosen - top)) - (chosen - top) }
 *           schedule {threads=128, team=16}
 *         } loc(loss: canonicalize, lower, fuse_loops, schedule)
 * loops   16 threads a point, 128 threads a block
 * launch  3 blocks of 128 threads
 * bound   0.000334 us on an H100: 3e-05 us of FP32, 0.000334 us of memory
 * work    1.78 kFLOP, 1.12 kB moved at least, 1.59 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    loss_cross_entropy_f32(const int *__restrict__ labels_ptr, const float *__restrict__ t2_ptr,
            float *__restrict__ t4_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 8 + threadIdx.x / 16, lane = threadIdx.x % 16;
    if (point >= rows) return;
    const int n = point;
    float top_value = -INFINITY;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        top_value = nan_max(top_value, t2_ptr[n * 12 + j]);
    }
    top_value = warp_max(top_value, 16);
    float chosen_value = 0.0f;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        chosen_value += ((float)labels_ptr[n] == (float)(j) ? t2_ptr[n * 12 + j] : 0.0f);
    }
    chosen_value = warp_sum(chosen_value, 16);
    float others_value = 0.0f;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        others_value += ((float)labels_ptr[n] == (float)(j) ? 0.0f : expf((t2_ptr[n * 12 + j] - top_value)));
    }
    others_value = warp_sum(others_value, 16);
    if (lane == 0) {
        const float t3_0 = (chosen_value - top_value);
        t4_ptr[n] = (log1pf((others_value + expm1f(t3_0))) - t3_0);
    }
}

/* loss_sum_f32
 * from    loss, by lower, schedule
 *         %loss: f32[] = loops(%4) {
 *           title="sum"
 *           for()
 *           reduce(n:n<=20) total = sum($0[n])
 *           map() { store 0[] = total / rows }
 *           schedule {threads=128, team=32}
 *         } loc(loss: lower, schedule)
 * loops   a warp a point, 128 threads a block
 * launch  1 blocks of 128 threads
 * bound   2.51e-05 us on an H100: 3.54e-07 us of FP32, 2.51e-05 us of memory
 * work    21 FLOP, 84 B moved at least, 0.25 FLOP/B
 */
static __device__ __forceinline__ void loss_sum_f32(const int block, const float *__restrict__ t4_ptr,
        float *__restrict__ loss_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    const int point = block * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (point >= 1) return;
    float total_value = 0.0f;
    for (int element = lane; element < rows; element += 32) {
        const int n = element;
        total_value += t4_ptr[n];
    }
    total_value = warp_sum(total_value, 32);
    if (lane == 0) {
        loss_ptr[0] = (total_value / (float)rows);
    }
}


/* loss_cross_entropy_grad_f32
 * from    loss, by canonicalize, lower, autodiff, fuse_loops, schedule
 *         %6: f32[n<=20,12] = loops(%labels, %2) {
 *           title="cross_entropy_grad"
 *           for(n:n<=20)
 *           reduce(j:12) top = max($1[n, j / 4, (j / 2) % 2, j % 2])
 *           reduce(j:12) chosen = sum(select($0[n] == #(j), $1[n, j / 4, (j / 2) % 2, j % 2], 0.0))
 *           reduce(j:12) others = sum(select($0[n] == #(j), 0.0, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)))
 *           map(j:12) { store 0[n, j] = 1.0 / rows * (select($0[n] == #(j), -others, exp($1[n, j / 4, (j / 2) % 2, j % 2] - top)) / (others + exp(chosen - top))) }
 *           schedule {threads=128, team=16}
 *         } loc(loss: canonicalize, lower, autodiff, fuse_loops, schedule)
 * loops   16 threads a point, 128 threads a block
 * launch  3 blocks of 128 threads
 * bound   0.000597 us on an H100: 6.88e-05 us of FP32, 0.000597 us of memory
 * work    4.08 kFLOP, 2 kB moved at least, 2.04 FLOP/B
 */
static __device__ __forceinline__ void loss_cross_entropy_grad_f32(const int block,
        const int *__restrict__ labels_ptr, const float *__restrict__ t2_ptr, float *__restrict__ t6_ptr,
        const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    const int point = block * 8 + threadIdx.x / 16, lane = threadIdx.x % 16;
    if (point >= rows) return;
    const int n = point;
    float top_value = -INFINITY;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        top_value = nan_max(top_value, t2_ptr[n * 12 + j]);
    }
    top_value = warp_max(top_value, 16);
    float chosen_value = 0.0f;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        chosen_value += ((float)labels_ptr[n] == (float)(j) ? t2_ptr[n * 12 + j] : 0.0f);
    }
    chosen_value = warp_sum(chosen_value, 16);
    float others_value = 0.0f;
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        others_value += ((float)labels_ptr[n] == (float)(j) ? 0.0f : expf((t2_ptr[n * 12 + j] - top_value)));
    }
    others_value = warp_sum(others_value, 16);
    for (int element = lane; element < 12; element += 16) {
        const int j = element;
        t6_ptr[n * 12 + j] = ((1.0f / (float)rows) * (((float)labels_ptr[n] == (float)(j) ? (-others_value) :
                expf((t2_ptr[n * 12 + j] - top_value))) / (others_value + expf((chosen_value - top_value)))));
    }
}


/* 2 kernels that do not wait for each other: each takes its own range of blocks. */
extern "C" __global__ void __launch_bounds__(128)
    loss_cross_entropy_grad_f32_and_1_more(const float *__restrict__ t4_ptr, float *__restrict__ loss_ptr,
            const int *__restrict__ rows_ptr, const int *__restrict__ labels_ptr,
            const float *__restrict__ t2_ptr, float *__restrict__ t6_ptr)
{
    const int block = blockIdx.x;
    if (block < 1) loss_sum_f32(block, t4_ptr, loss_ptr, rows_ptr);
    else loss_cross_entropy_grad_f32(block - 1, labels_ptr, t2_ptr, t6_ptr, rows_ptr);
}

/* pool1_max_pool_grad_relu_grad_f32
 * from    pool1, by autodiff, lower, fuse_loops, merge_axes, schedule
 *         %9: f32[n<=20,3,4,4] = loops(%2_saved, %1, %6) {
 *           title="max_pool_grad_relu_grad"
 *           for(n:n<=20, cp:6, r:2, q:2, s:2)
 *           map() { store 0[n, cp / 2, (cp % 2)*2 + r, q*2 + s] = select($1[n, cp / 2, (cp % 2)*2 + r, q*2 + s] <= 0.0, 0.0, select($0[n, cp / 2, cp % 2, q ; -1.0] == #(r*2 + s), $2[n, (cp / 2)*4 + (cp % 2)*2 + q], 0.0)) }
 *           schedule {threads=128, team=1, vector=2}
 *         } loc(pool1: autodiff, lower, fuse_loops, merge_axes, schedule)
 * loops   2 points a thread, 128 threads a block
 * launch  4 blocks of 128 threads
 * vectors 8-byte loads and stores
 * bound   0.00287 us on an H100: 3.24e-05 us of FP32, 0.00287 us of memory
 * work    1.92 kFLOP, 9.6 kB moved at least, 0.20 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    pool1_max_pool_grad_relu_grad_f32(const int *__restrict__ t2_saved_ptr, const float *__restrict__ t1_ptr,
            const float *__restrict__ t6_ptr, float *__restrict__ t9_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= rows * 24) return;
    const int n = point / 24, cp = (point / 4) % 6, r = (point / 2) % 2, q = point % 2;
    {
        float t1_lanes[2];
        load2(t1_lanes, t1_ptr + n * 48 + cp * 8 + r * 4 + q * 2);
        float stored0[2];
        UNROLL for (int lane = 0; lane < 2; ++lane) {
            stored0[lane] = (t1_lanes[lane] <= 0.0f ? 0.0f : ((float)t2_saved_ptr[n * 12 + cp * 2 +
                    q] == (float)(r * 2 + lane) ? t6_ptr[n * 12 + cp * 2 + q] : 0.0f));
        }
        store2(t9_ptr + n * 48 + cp * 8 + r * 4 + q * 2, stored0);
    }
}

/* conv1_wgrad_parts_f32_8x32x16
 * from    conv1, by autodiff, lower, split_k, select_tile
 *         %11.parts: f32[n<=20,3,2,3,3] = gemm(%9, %x) {
 *           title="wgrad_parts"
 *           phase {
 *             batch(n:n<=20, g:1) m(k:3) n(c:2, r:3, s:3) k(p:4, q:4)
 *             a = $0[n, k, p, q]
 *             b = $1[n, c, p + r, q + s]
 *             store 0[n, k, c, r, s] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: autodiff, lower, split_k, select_tile)
 * GEMM    M = k(3) = 3, N = c(2)*r(3)*s(3) = 18, K = p(4)*q(4) = 16, 20 groups
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  20 blocks of 128 threads, 11.3 kB of shared memory
 * gather  A along K, 2 cache lines for 32 elements; B along N, 2 cache lines for 32 elements
 * vectors 8-byte stores
 * bound   0.00416 us on an H100: 0.000583 us of FP32, 0.00416 us of memory
 * model   1.68 us; 1.71 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    34.6 kFLOP, 13.9 kB moved at least, 2.48 FLOP/B
 * saved   23 kB of im2col matrix that is never stored
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_wgrad_parts_f32_8x32x16(const float *__restrict__ t9_ptr, const float *__restrict__ x_ptr,
            float *__restrict__ t11_parts_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][12];
    __shared__ __align__(16) float b_tile[4][16][32];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = 3, n_extent = 18;
    const int m_first = 0;
    const int n_first = 0;
    const int group = block;
    /* a part behind the last row */
    if (group >= rows) return;
    const int n = group;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along K */
    const int a_line = thread / 8 % 8, a_depth = thread % 8 + thread / 64 * 8;
    const int gemm_m = m_first + a_line;
    const float *const a_from = t9_ptr + n * 48 + gemm_m * 16 + a_depth;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along N */
    const int b_line = thread % 32, b_depth = thread / 32;
    const int gemm_n = n_first + b_line;
    const int c = gemm_n / 9, r = (gemm_n / 3) % 3, s = gemm_n % 3;
    const float *const b_from = x_ptr + n * 72 + c * 36 + r * 6 + s;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 1;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            copy_async(&a_tile[stage][depth][line], a_from + slice * 16, a_inside);
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line, depth = b_depth + part * 4;
            const int gemm_k = slice * 16 + depth;
            const int p = gemm_k / 4, q = gemm_k % 4;
            copy_async(&b_tile[stage][depth][line], b_from + p * 6 + q, b_inside);
        }
        ++slice;
    };
    UNROLL for (int done = 0; done < 3; ++done) {
        if (done < slices) gather(done);
        commit_copies();
    }
    for (int done = 0; done < slices; ++done) {
        /* this slice has arrived, and everyone is done with the one before, whose place the next copies take */
        wait_for_copies<2>();
        __syncthreads();
        if (done + 3 < slices) gather((done + 3) % 4);
        commit_copies();
        const int stage = done % 4;
        UNROLL for (int depth = 0; depth < 16; ++depth) {
            const float a_part = a_tile[stage][depth][m_thread];
            float b_part[2];
            load2(b_part, &b_tile[stage][depth][n_thread]);
            UNROLL for (int tn = 0; tn < 2; ++tn)
                acc[tn] += a_part * b_part[tn];
        }
    }

    {
        const int gemm_m = m_first + m_thread, gemm_n = n_first + n_thread;
        if (gemm_m < m_extent && gemm_n < n_extent) {
            const int k = gemm_m, crs = gemm_n;
            store2(t11_parts_ptr + n * 54 + k * 18 + crs, acc);
        }
    }
}

/* conv1_sum_parts_sgd_momentum_f32
 * from    conv1, by autodiff, lower, split_k, apply_optimizer, fuse_loops, merge_axes, schedule
 *         %w.new: f32[3,2,3,3], %w.velocity.new: f32[3,2,3,3] = loops(%11.parts, %w, %w.velocity, %lr, %momentum, %weight_decay) {
 *           title="sum_parts_sgd_momentum"
 *           for(kcrs:54)
 *           reduce(n_part:n<=20) total = sum($0[n_part, kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3])
 *           map() {
 *             store 0[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3] = $1[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3] - $3[] * ($4[] * $2[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3] + (total + $5[] * $1[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3]))
 *             store 1[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3] = $4[] * $2[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3] + (total + $5[] * $1[kcrs / 18, (kcrs / 9) % 2, (kcrs / 3) % 3, kcrs % 3])
 *           }
 *           schedule {threads=128, team=1}
 *         } loc(conv1: autodiff, lower, split_k, apply_optimizer, fuse_loops, merge_axes, schedule)
 * loops   a thread a point, 128 threads a block
 * launch  1 blocks of 128 threads
 * bound   0.00155 us on an H100: 2.73e-05 us of FP32, 0.00155 us of memory
 * work    1.62 kFLOP, 5.2 kB moved at least, 0.31 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_sum_parts_sgd_momentum_f32(const float *__restrict__ t11_parts_ptr, const float *w_ptr,
            const float *w_velocity_ptr, const float *__restrict__ lr_ptr,
            const float *__restrict__ momentum_ptr, const float *__restrict__ weight_decay_ptr,
            float *w_new_ptr, float *w_velocity_new_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= 54) return;
    const int kcrs = point;
    float total_value = 0.0f;
    for (int n_part = 0; n_part < rows; ++n_part) {
        total_value += t11_parts_ptr[n_part * 54 + kcrs];
    }
    {
        const float t1_0 = w_ptr[kcrs];
        const float t1_1 = ((momentum_ptr[0] * w_velocity_ptr[kcrs]) + (total_value +
                (weight_decay_ptr[0] * t1_0)));
        w_new_ptr[kcrs] = (t1_0 - (lr_ptr[0] * t1_1));
        w_velocity_new_ptr[kcrs] = t1_1;
    }
}
