/* case: 4 kernels in 3 launches, one after the other on one stream;
 * 70080 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. relayout_f32_and_1_more<<<40, 128>>>
 *   2. conv1_wgrad_parts_f32_8x32x16<<<40, 128>>>
 *   3. conv1_sum_parts_f32<<<3, 128>>>
 */

#define UNROLL _Pragma("unroll")
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif

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
/* 16 bytes at once; both addresses are multiples of 16. */
static __device__ __forceinline__ void copy4_async(float *to, const float *from, const bool inside)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::
        "r"((unsigned)__cvta_generic_to_shared(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
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


/* relayout_f32
 * from    the graph, by lower, merge_axes, schedule
 *         %0: f32[n<=20,8,7,7|0231] = loops(%dy) {
 *           title="relayout"
 *           for(n:n<=20, hw:49, c:8)
 *           map() { store 0[n, c, hw / 7, hw % 7] = $0[n, c, hw / 7, hw % 7] }
 *           schedule {reads=hw:49, stores=c:8, threads=128}
 *         } loc(: lower, merge_axes, schedule)
 * loops   tiles of 49 hw x 8 c that turn in shared memory, 128 threads a block
 * launch  20 blocks of 128 threads, 1.66 kB of shared memory
 * bound   0.0187 us on an H100: 0 us of FP32, 0.0187 us of memory
 * work    0 FLOP, 62.7 kB moved at least, 0.00 FLOP/B
 */
static __device__ __forceinline__ void relayout_f32(const int block, float *shared,
        const float *__restrict__ dy_ptr, float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    if (block >= rows) return;
    const int n = block;
    /* the operands, in the order in which they lie */
    UNROLL for (int first = 0; first < 392; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element % 49, c = element / 49;
        if (element >= 392) continue;
        shared[(element / 49) * 52 + element % 49] = dy_ptr[n * 392 + c * 49 + hw];
    }
    __syncthreads(); /* the tile is whole */
    /* the results, in theirs */
    UNROLL for (int first = 0; first < 392; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element / 8, c = element % 8;
        if (element >= 392) continue;
        const float dy_value = shared[(element % 8) * 52 + element / 8];
        t0_ptr[n * 392 + hw * 8 + c] = dy_value;
    }
}


/* relayout_f32_2
 * from    the graph, by lower, merge_axes, schedule
 *         %1: f32[n<=20,4,7,7|0231] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, hw:49, c:4)
 *           map() { store 0[n, c, hw / 7, hw % 7] = $0[n, c, hw / 7, hw % 7] }
 *           schedule {reads=hw:49, stores=c:4, threads=128}
 *         } loc(: lower, merge_axes, schedule)
 * loops   tiles of 49 hw x 4 c that turn in shared memory, 128 threads a block
 * launch  20 blocks of 128 threads, 896 B of shared memory
 * bound   0.00936 us on an H100: 0 us of FP32, 0.00936 us of memory
 * work    0 FLOP, 31.4 kB moved at least, 0.00 FLOP/B
 */
static __device__ __forceinline__ void relayout_f32_2(const int block, float *shared,
        const float *__restrict__ x_ptr, float *__restrict__ t1_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    if (block >= rows) return;
    const int n = block;
    /* the operands, in the order in which they lie */
    UNROLL for (int first = 0; first < 196; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element % 49, c = element / 49;
        if (element >= 196) continue;
        shared[(element / 49) * 56 + element % 49] = x_ptr[n * 196 + c * 49 + hw];
    }
    __syncthreads(); /* the tile is whole */
    /* the results, in theirs */
    UNROLL for (int first = 0; first < 196; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element / 4, c = element % 4;
        if (element >= 196) continue;
        const float x_value = shared[(element % 4) * 56 + element / 4];
        t1_ptr[n * 196 + hw * 4 + c] = x_value;
    }
}


/* 2 kernels that do not wait for each other: each takes its own range of blocks. */
extern "C" __global__ void __launch_bounds__(128)
    relayout_f32_and_1_more(const float *__restrict__ dy_ptr, float *__restrict__ t0_ptr,
            const int *__restrict__ rows_ptr, const float *__restrict__ x_ptr, float *__restrict__ t1_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float shared[416];
    if (block < 20) relayout_f32(block, shared, dy_ptr, t0_ptr, rows_ptr);
    else relayout_f32_2(block - 20, shared, x_ptr, t1_ptr, rows_ptr);
}

/* conv1_wgrad_parts_f32_8x32x16
 * from    conv1, by lower, order_axes, split_k, select_tile
 *         %2.parts: f32[n<=20,8,4,3,3|01342] = gemm(%0, %1) {
 *           title="wgrad_parts"
 *           phase {
 *             batch(n:n<=20, g:1) m(k:8) n(r:3, s:3, c:4) k(p:7, q:7)
 *             a = $0[n, k, p, q]
 *             b = $1[n, c, p + r - 1, q + s - 1]
 *             store 0[n, k, c, r, s] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: lower, order_axes, split_k, select_tile)
 * GEMM    M = k(8) = 8, N = r(3)*s(3)*c(4) = 36, K = p(7)*q(7) = 49, 20 groups
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  40 blocks of 128 threads, 10.2 kB of shared memory
 * gather  A along M, 4 cache lines for 32 elements; B along N, 2 cache lines for 32 elements
 * vectors 16-byte copies of A, copies of B; 8-byte stores
 * bound   0.0209 us on an H100: 0.00779 us of FP32, 0.0209 us of memory
 * model   2.41 us; 2.49 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    462 kFLOP, 70.1 kB moved at least, 6.59 FLOP/B
 * saved   141 kB of im2col matrix that is never stored
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_wgrad_parts_f32_8x32x16(const float *__restrict__ t0_ptr, const float *__restrict__ t1_ptr,
            float *__restrict__ t2_parts_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][8];
    __shared__ __align__(16) float b_tile[4][16][32];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int n_extent = 36, k_extent = 49;
    const int m_first = 0;
    const int n_first = block % 2 * 32;
    const int group = block / 2;
    /* a part behind the last row */
    if (group >= rows) return;
    const int n = group;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along M, 16 bytes at a time */
    const int a_line = thread % 2 * 4, a_depth = thread / 2;
    const int gemm_m = m_first + a_line;
    const float *const a_from = t0_ptr + n * 392 + gemm_m + a_depth * 8;
    /* B: consecutive threads along N, 16 bytes at a time */
    const int b_line = thread % 8 * 4, b_depth = thread / 8;
    const int gemm_n = n_first + b_line;
    const int r = gemm_n / 12, s = (gemm_n / 4) % 3, c = gemm_n % 4;
    const float *const b_from = t1_ptr + n * 196 + r * 28 + s * 4 + c;
    const int b_at0 = r, b_at1 = s;
    const bool b_inside = gemm_n < n_extent;
    const int slices = 4;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            if (thread < 32) copy4_async(&a_tile[stage][depth][line], a_from + slice * 128,
                    gemm_k < k_extent);
        }
        {
            const int line = b_line, depth = b_depth;
            const int gemm_k = slice * 16 + depth;
            const int p = gemm_k / 7, q = gemm_k % 7;
            copy4_async(&b_tile[stage][depth][line], b_from + p * 28 + q * 4 - 32, b_inside &
                    (gemm_k < k_extent) & ((unsigned)(b_at0 + p - 1) < 7) & ((unsigned)(b_at1 + q - 1) < 7));
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
        if (gemm_n < n_extent) {
            const int k = gemm_m, rsc = gemm_n;
            store2(t2_parts_ptr + n * 288 + k * 36 + rsc, acc);
        }
    }
}

/* conv1_sum_parts_f32
 * from    conv1, by lower, order_axes, split_k, merge_axes, schedule
 *         %2: f32[8,4,3,3] = loops(%2.parts) {
 *           title="sum_parts"
 *           for(k:8, rs:9, c:4)
 *           reduce(n_part:n<=20) total = sum($0[n_part, k, c, rs / 3, rs % 3])
 *           map() { store 0[k, c, rs / 3, rs % 3] = total }
 *           schedule {threads=128, team=1}
 *         } loc(conv1: lower, order_axes, split_k, merge_axes, schedule)
 * loops   a thread a point, 128 threads a block
 * launch  3 blocks of 128 threads
 * bound   0.00722 us on an H100: 9.71e-05 us of FP32, 0.00722 us of memory
 * work    5.76 kFLOP, 24.2 kB moved at least, 0.24 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_sum_parts_f32(const float *__restrict__ t2_parts_ptr, float *__restrict__ t2_ptr,
            const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= 288) return;
    const int k = point / 36, rs = (point / 4) % 9, c = point % 4;
    float total_value = 0.0f;
    for (int n_part = 0; n_part < rows; ++n_part) {
        total_value += t2_parts_ptr[n_part * 288 + k * 36 + rs * 4 + c];
    }
    {
        t2_ptr[k * 36 + c * 9 + rs] = total_value;
    }
}
