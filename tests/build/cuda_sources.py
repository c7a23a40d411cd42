"""CUDA C++ that the tests of NVRTC, nvdisasm and occupancy compile."""

SAXPY = """\
extern "C" __global__ void saxpy(int n, float a, const float *x, float *y)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] + y[i];
}
"""

# 64 values alive across a barrier, and 32 registers to keep them in: 2 blocks of 1024 threads in 64 K registers.
SPILL = """\
extern "C" __global__ void __launch_bounds__(1024, 2) spill(const float *x, float *y)
{
    __shared__ float tile[1024];
    float v[64];
    for (int i = 0; i < 64; ++i) v[i] = x[i * 1024 + threadIdx.x];
    tile[threadIdx.x] = v[0];
    __syncthreads();
    float w = tile[1023 - threadIdx.x];
    for (int i = 0; i < 64; ++i) w = v[63 - i] * w + v[i];
    for (int i = 0; i < 64; ++i) y[i * 1024 + threadIdx.x] = v[i] * w;
}
"""

# C = A B for multiples of 64: a 64x64x16 tile, 256 threads of 4x4 results each, 16-byte loads. A comes transposed.
SGEMM = """\
extern "C" __global__ void __launch_bounds__(256) sgemm(int n, int k, const float *a, const float *b, float *c)
{
    __shared__ __align__(16) float as[16][64], bs[16][64];
    int t = threadIdx.x, row = t / 16, column = t % 16 * 4;
    const float *a_ptr = a + blockIdx.y * 64 + column, *b_ptr = b + blockIdx.x * 64 + column;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < k; k0 += 16) {
        *(float4 *)&as[row][column] = *(const float4 *)&a_ptr[(size_t)(k0 + row) * n];
        *(float4 *)&bs[row][column] = *(const float4 *)&b_ptr[(size_t)(k0 + row) * n];
        __syncthreads();
#pragma unroll
        for (int q = 0; q < 16; ++q) {
            float4 u = *(const float4 *)&as[q][row * 4], v = *(const float4 *)&bs[q][column];
            float p[4] = {u.x, u.y, u.z, u.w}, r[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int i = 0; i < 4; ++i)
#pragma unroll
                for (int j = 0; j < 4; ++j) sum[i][j] += p[i] * r[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i)
        *(float4 *)&c[(size_t)(blockIdx.y * 64 + row * 4 + i) * n + blockIdx.x * 64 + column] =
            make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
}
"""

SHARED = """\
extern "C" __global__ void shared(const float *x, float *y)
{
    __shared__ float tile[SIZE];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[SIZE - 1 - threadIdx.x];
}
"""
