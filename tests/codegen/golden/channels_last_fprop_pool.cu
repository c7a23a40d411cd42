/* case: 3 kernels in 3 launches, one after the other on one stream;
 * 60480 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. relayout_f32<<<20, 128>>>
 *   2. conv1_fprop_f32_8x32x16<<<158, 128>>>
 *   3. pool1_max_pool_relayout_f32<<<15, 128>>>
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


/* relayout_f32
 * from    the graph, by lower, merge_axes, schedule
 *         %0: f32[n<=20,4,7,9|0231] = loops(%x) {
 *           title="relayout"
 *           for(n:n<=20, hw:63, c:4)
 *           map() { store 0[n, c, hw / 9, hw % 9] = $0[n, c, hw / 9, hw % 9] }
 *           schedule {reads=hw:63, stores=c:4, threads=128}
 *         } loc(: lower, merge_axes, schedule)
 * loops   tiles of 63 hw x 4 c that turn in shared memory, 128 threads a block
 * launch  20 blocks of 128 threads, 1.15 kB of shared memory
 * bound   0.012 us on an H100: 0 us of FP32, 0.012 us of memory
 * work    0 FLOP, 40.3 kB moved at least, 0.00 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    relayout_f32(const float *__restrict__ x_ptr, float *__restrict__ t0_ptr,
            const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ float shared[288];
    const int rows = *rows_ptr;
    if (block >= rows) return;
    const int n = block;
    /* the operands, in the order in which they lie */
    UNROLL for (int first = 0; first < 252; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element % 63, c = element / 63;
        if (element >= 252) continue;
        shared[(element / 63) * 72 + element % 63] = x_ptr[n * 252 + c * 63 + hw];
    }
    __syncthreads(); /* the tile is whole */
    /* the results, in theirs */
    UNROLL for (int first = 0; first < 252; first += 128) {
        const int element = first + threadIdx.x;
        const int hw = element / 4, c = element % 4;
        if (element >= 252) continue;
        const float x_value = shared[(element % 4) * 72 + element / 4];
        t0_ptr[n * 252 + hw * 4 + c] = x_value;
    }
}

/* conv1_fprop_f32_8x32x16
 * from    conv1, by lower, order_axes, select_tile
 *         %1: f32[n<=20,8,7,9|0231] = gemm(%0, %w) {
 *           title="fprop"
 *           phase {
 *             batch(g:1) m(n:n<=20, p:7, q:9) n(k:8) k(r:3, s:3, c:4)
 *             a = $0[n, c, p + r - 1, q + s - 1]
 *             b = $1[k, c, r, s]
 *             store 0[n, k, p, q] = acc
 *             schedule {block_m=8, block_n=32, block_k=16, thread_m=1, thread_n=2, stages=4}
 *           }
 *         } loc(conv1: lower, order_axes, select_tile)
 * GEMM    M = n(n<=20)*p(7)*q(9) = 1260, N = k(8) = 8, K = r(3)*s(3)*c(4) = 36
 * tile    8 x 32 x 16, 1 x 2 a thread, 4 slices, 128 threads a block
 * launch  158 blocks of 128 threads, 12.3 kB of shared memory
 * gather  A along K, 4 cache lines for 32 elements; B along K, 2 cache lines for 32 elements
 * vectors 8-byte stores
 * bound   0.0184 us on an H100: 0.0103 us of FP32, 0.0184 us of memory
 * model   2.26 us; 2.32 us with 16 x 32 x 16, 2 x 2 a thread, 4 slices
 * work    608 kFLOP, 61.6 kB moved at least, 9.87 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    conv1_fprop_f32_8x32x16(const float *__restrict__ t0_ptr, const float *__restrict__ w_ptr,
            float *__restrict__ t1_ptr, const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float a_tile[4][16][12];
    __shared__ __align__(16) float b_tile[4][16][36];
    const int thread = threadIdx.x;
    const int rows = *rows_ptr;
    const int m_extent = rows * 63, n_extent = 8, k_extent = 36;
    const int m_first = block % 158 * 8;
    const int n_first = 0;
    /* a tile behind the last row */
    if (m_first >= m_extent) return;
    const int m_thread = thread / 16, n_thread = thread % 16 * 2;

    float acc[2] = {};
    /* A: consecutive threads along K */
    const int a_line = thread / 8 % 8, a_depth = thread % 8 + thread / 64 * 8;
    const int gemm_m = m_first + a_line;
    const int n = gemm_m / 63, p = (gemm_m / 9) % 7, q = gemm_m % 9;
    const float *const a_from = t0_ptr + n * 252 + p * 36 + q * 4;
    const int a_at0 = p, a_at1 = q;
    const bool a_inside = gemm_m < m_extent;
    /* B: consecutive threads along K */
    const int b_line = thread / 8, b_depth = thread % 8;
    const float *b_from;
    bool b_inside[2];
    UNROLL for (int part = 0; part < 2; ++part) {
        const int gemm_n = n_first + b_line + part * 16;
        if (part == 0) b_from = w_ptr + gemm_n * 36;
        b_inside[part] = gemm_n < n_extent;
    }
    const int slices = 3;
    /* gathers the next slice of both */
    int slice = 0;
    const auto gather = [&](const int stage) {
        {
            const int line = a_line, depth = a_depth;
            const int gemm_k = slice * 16 + depth;
            const int r = gemm_k / 12, s = (gemm_k / 4) % 3, c = gemm_k % 4;
            copy_async(&a_tile[stage][depth][line], a_from + r * 36 + s * 4 + c - 40, a_inside &
                    (gemm_k < k_extent) & ((unsigned)(a_at0 + r - 1) < 7) & ((unsigned)(a_at1 + s - 1) < 9));
        }
        UNROLL for (int part = 0; part < 4; ++part) {
            const int line = b_line + part % 2 * 16, depth = b_depth + part / 2 * 8;
            const int gemm_k = slice * 16 + depth;
            const int r = gemm_k / 12, s = (gemm_k / 4) % 3, c = gemm_k % 4;
            copy_async(&b_tile[stage][depth][line], b_from + part % 2 * 576 + c * 9 + r * 3 + s,
                    b_inside[part % 2] & (gemm_k < k_extent));
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
            const int n = gemm_m / 63, pq = gemm_m % 63, k = gemm_n;
            store2(t1_ptr + n * 504 + pq * 8 + k, acc);
        }
    }
}

/* pool1_max_pool_relayout_f32
 * from    pool1, by lower, fuse_loops, schedule
 *         %3: f32[n<=20,8,3,4] = loops(%1) {
 *           title="max_pool_relayout"
 *           for(n:n<=20, p:3, q:4, c:8)
 *           reduce(r:2, s:2) best = max($0[n, c, p*2 + r, q*2 + s ; -inf])
 *           map() { store 0[n, c, p, q] = best }
 *           schedule {threads=128, team=1}
 *         } loc(pool1: lower, fuse_loops, schedule)
 * loops   a thread a point, 128 threads a block
 * launch  15 blocks of 128 threads
 * bound   0.0143 us on an H100: 0.00013 us of FP32, 0.0143 us of memory
 * work    7.68 kFLOP, 48 kB moved at least, 0.16 FLOP/B
 */
extern "C" __global__ void __launch_bounds__(128)
    pool1_max_pool_relayout_f32(const float *__restrict__ t1_ptr, float *__restrict__ t3_ptr,
            const int *__restrict__ rows_ptr)
{
    const int block = blockIdx.x;
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= rows * 96) return;
    const int n = point / 96, p = (point / 32) % 3, q = (point / 8) % 4, c = point % 8;
    float best_value = -INFINITY;
    UNROLL for (int r = 0; r < 2; ++r)
    UNROLL for (int s = 0; s < 2; ++s) {
        best_value = nan_max(best_value, t1_ptr[n * 504 + p * 144 + r * 72 + q * 16 + s * 8 + c]);
    }
    {
        t3_ptr[n * 96 + c * 12 + p * 4 + q] = best_value;
    }
}
