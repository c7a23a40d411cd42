/* case: 3 kernels in 1 launches, one after the other on one stream;
 * 0 bytes of intermediates in one arena. Every grid is planned for the full batch; the
 * batch rows of a run are read from device memory.
 *
 *   1. pool_avg_pool_f32_and_2_more<<<70, 128>>>
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

/* 4 neighbouring numbers at once; their address is a multiple of 16 bytes. */
static __device__ __forceinline__ void load4(float *to, const float *from)
{
    const float4 v = *reinterpret_cast<const float4 *>(from);
    to[0] = v.x; to[1] = v.y; to[2] = v.z; to[3] = v.w;
}

/* 2 neighbouring numbers at once; their address is a multiple of 8 bytes. */
static __device__ __forceinline__ void store2(float *to, const float *from)
{
    *reinterpret_cast<float2 *>(to) = make_float2(from[0], from[1]);
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

/* The sum of a column's numbers, in each of its threads: `team` threads that are `apart` from each other. */
static __device__ __forceinline__ float column_sum(float x, float *partials, const int team, const int apart)
{
    partials[threadIdx.x] = x;
    __syncthreads(); /* all numbers are there */
    x = partials[threadIdx.x % apart];
    UNROLL for (int member = 1; member < team; ++member) {
        const float other = partials[member * apart + threadIdx.x % apart];
        x = x + other;
    }
    __syncthreads(); /* and have been read */
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


/* pool_avg_pool_f32
 * from    pool, by lower, merge_axes, schedule
 *         %0: f32[n<=90,10,4,4] = loops(%x) {
 *           title="avg_pool"
 *           for(n:n<=90, cp:40, q:4)
 *           reduce(r:2, s:2) total = sum($0[n, cp / 4, (cp % 4)*2 + r, q*2 + s])
 *           map() { store 0[n, cp / 4, cp % 4, q] = total / 4.0 }
 *           schedule {threads=128, team=1, vector=2, window=2}
 *         } loc(pool: lower, merge_axes, schedule)
 * loops   2 points a thread, 2 of a window at once, 128 threads a block
 * launch  57 blocks of 128 threads
 * vectors 16-byte loads, 8-byte stores
 * bound   0.086 us on an H100: 0.00121 us of FP32, 0.086 us of memory
 * work    72 kFLOP, 288 kB moved at least, 0.25 FLOP/B
 */
static __device__ __forceinline__ void pool_avg_pool_f32(const int block, const float *__restrict__ x_ptr,
        float *__restrict__ t0_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    const int point = block * 128 + threadIdx.x;
    if (point >= rows * 80) return;
    const int n = point / 80, cp = (point / 2) % 40, q_block = point % 2;
    float total_value[2] = {0.0f, 0.0f};
    UNROLL for (int r = 0; r < 2; ++r) {
        float x_lanes[4];
        load4(x_lanes, x_ptr + n * 640 + cp * 16 + r * 8 + q_block * 4);
        UNROLL for (int lane = 0; lane < 2; ++lane)
        UNROLL for (int s = 0; s < 2; ++s) {
            total_value[lane] += x_lanes[lane * 2 + s];
        }
    }
    {
        float stored0[2];
        UNROLL for (int lane = 0; lane < 2; ++lane) {
            stored0[lane] = (total_value[lane] / 4.0f);
        }
        store2(t0_ptr + n * 160 + cp * 4 + q_block * 2, stored0);
    }
}


/* total_sum_f32
 * from    total, by lower, schedule
 *         %1: f32[11] = loops(%z) {
 *           title="sum"
 *           for(c:11)
 *           reduce(n:n<=90) total = sum($0[n, c])
 *           map() { store 0[c] = total }
 *           schedule {threads=128, team=8, apart=16}
 *         } loc(total: lower, schedule)
 * loops   8 threads a point, 16 apart, 128 threads a block
 * launch  1 blocks of 128 threads, 512 B of shared memory
 * bound   0.0012 us on an H100: 1.67e-05 us of FP32, 0.0012 us of memory
 * work    990 FLOP, 4 kB moved at least, 0.25 FLOP/B
 */
static __device__ __forceinline__ void total_sum_f32(const int block, float *shared,
        const float *__restrict__ z_ptr, float *__restrict__ t1_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    const int point = block * 16 + threadIdx.x % 16, lane = threadIdx.x / 16;
    const bool inside = point < 11;
    const int c = point;
    float total_value = 0.0f;
    if (inside) for (int element = lane; element < rows; element += 8) {
        const int n = element;
        total_value += z_ptr[n * 11 + c];
    }
    total_value = column_sum(total_value, shared, 8, 16);
    if (inside && lane == 0) {
        t1_ptr[c] = total_value;
    }
}


/* softmax_softmax_f32
 * from    softmax, by lower, schedule
 *         %2: f32[n<=90,11] = loops(%z) {
 *           title="softmax"
 *           for(n:n<=90)
 *           reduce(c:11) top = max($0[n, c])
 *           reduce(c:11) total = sum(exp($0[n, c] - top))
 *           map(c:11) { store 0[n, c] = exp($0[n, c] - top) / total }
 *           schedule {threads=128, team=16}
 *         } loc(softmax: lower, schedule)
 * loops   16 threads a point, 128 threads a block
 * launch  12 blocks of 128 threads
 * bound   0.00236 us on an H100: 0.000117 us of FP32, 0.00236 us of memory
 * work    6.93 kFLOP, 7.92 kB moved at least, 0.88 FLOP/B
 */
static __device__ __forceinline__ void softmax_softmax_f32(const int block, const float *__restrict__ z_ptr,
        float *__restrict__ t2_ptr, const int *__restrict__ rows_ptr)
{
    const int rows = *rows_ptr;
    const int point = block * 8 + threadIdx.x / 16, lane = threadIdx.x % 16;
    if (point >= rows) return;
    const int n = point;
    float top_value = -INFINITY;
    for (int element = lane; element < 11; element += 16) {
        const int c = element;
        top_value = nan_max(top_value, z_ptr[n * 11 + c]);
    }
    top_value = warp_max(top_value, 16);
    float total_value = 0.0f;
    for (int element = lane; element < 11; element += 16) {
        const int c = element;
        total_value += expf((z_ptr[n * 11 + c] - top_value));
    }
    total_value = warp_sum(total_value, 16);
    for (int element = lane; element < 11; element += 16) {
        const int c = element;
        t2_ptr[n * 11 + c] = (expf((z_ptr[n * 11 + c] - top_value)) / total_value);
    }
}


/* 3 kernels that do not wait for each other: each takes its own range of blocks. */
extern "C" __global__ void __launch_bounds__(128)
    pool_avg_pool_f32_and_2_more(const float *__restrict__ x_ptr, float *__restrict__ t0_ptr,
            const int *__restrict__ rows_ptr, const float *__restrict__ z_ptr, float *__restrict__ t1_ptr,
            float *__restrict__ t2_ptr)
{
    const int block = blockIdx.x;
    __shared__ __align__(16) float shared[128];
    if (block < 57) pool_avg_pool_f32(block, x_ptr, t0_ptr, rows_ptr);
    else if (block < 58) total_sum_f32(block - 57, shared, z_ptr, t1_ptr, rows_ptr);
    else softmax_softmax_f32(block - 58, z_ptr, t2_ptr, rows_ptr);
}
