// C[M, N] = A[M, K] * B[K, N], all multiples of the tile, with tensor cores: a warp for each 16x16 of C.
#define DEPTH 16
#define PRODUCT(name, type)                                                                                     \
  __device__ __forceinline__ void name(float (&d)[4], const u32 (&a)[4], const u32* b) {                        \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "    \
                 "{%8,%9}, {%0,%1,%2,%3};"                                                                      \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                               \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                           \
  }
PRODUCT(product_f16, "f16")
PRODUCT(product_bf16, "bf16")

__device__ __forceinline__ void load4(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}
__device__ __forceinline__ void load4_transposed(u32 (&r)[4], const void* p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(p)) : "memory");
}

// Blocks of 4 warps, 32x32 of C; two stages of copies.
#define GEMM(name, half, product)                                                                                \
  extern "C" __global__ void __launch_bounds__(128) name(const half* A, const half* B, float* C, int N, int K) {  \
    __shared__ __align__(16) half As[2][32][DEPTH + 8];                                                          \
    __shared__ __align__(16) half Bs[2][DEPTH][32 + 8];                                                          \
    const int t = threadIdx.x, lane = t % 32, wm = t / 64 * 16, wn = t / 32 % 2 * 16;                             \
    const int m0 = blockIdx.y * 32, n0 = blockIdx.x * 32;                                                        \
    float sum[2][4] = {};                                                                                        \
    auto load = [&](int stage, int k0) {                                                                         \
      if (t < 64) copy16(&As[stage][t / 2][t % 2 * 8], A + (m0 + t / 2) * K + k0 + t % 2 * 8);                    \
      else copy16(&Bs[stage][(t - 64) / 4][t % 4 * 8], B + (k0 + (t - 64) / 4) * N + n0 + t % 4 * 8);             \
      commit();                                                                                                  \
    };                                                                                                           \
    load(0, 0);                                                                                                  \
    for (int k0 = 0, stage = 0; k0 < K; k0 += DEPTH, stage ^= 1) {                                               \
      wait(0);                                                                                                   \
      __syncthreads();                                                                                           \
      if (k0 + DEPTH < K) load(stage ^ 1, k0 + DEPTH);                                                           \
      u32 a[4], b[4];                                                                                            \
      load4(a, &As[stage][wm + lane % 16][lane / 16 * 8]);                                                       \
      load4_transposed(b, &Bs[stage][lane % 16][wn + lane / 16 * 8]);                                            \
      product(sum[0], a, b);                                                                                     \
      product(sum[1], a, b + 2);                                                                                 \
    }                                                                                                            \
    for (int j = 0; j < 2; j++)                                                                                  \
      for (int i = 0; i < 4; i++)                                                                                \
        C[(m0 + wm + lane / 4 + i / 2 * 8) * N + n0 + wn + j * 8 + lane % 4 * 2 + i % 2] = sum[j][i];            \
  }
GEMM(gemm_f16, __half, product_f16)
GEMM(gemm_bf16, __nv_bfloat16, product_bf16)

// One warp, 16x8 of C, without shared memory.
extern "C" __global__ void __launch_bounds__(32) gemm_tf32(const float* A, const float* B, float* C, int N, int K) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4, m = blockIdx.y * 16, n = blockIdx.x * 8;
  float d[4] = {};
  for (int k = 0; k < K; k += 8) {
    float v[6] = {A[(m + g) * K + k + t], A[(m + g + 8) * K + k + t], A[(m + g) * K + k + t + 4],
                  A[(m + g + 8) * K + k + t + 4], B[(k + t) * N + n + g], B[(k + t + 4) * N + n + g]};
    u32 r[6];
    for (int i = 0; i < 6; i++) asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r[i]) : "f"(v[i]));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3]), "r"(r[4]), "r"(r[5]));
  }
  for (int i = 0; i < 4; i++) C[(m + g + i / 2 * 8) * N + n + 2 * t + i % 2] = d[i];
}
