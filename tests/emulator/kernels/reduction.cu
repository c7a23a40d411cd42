// y[block] = sum of the block's 128 numbers of x: in shared memory down to a warp, there through shared memory again.
extern "C" __global__ void __launch_bounds__(128) sum(const float* x, float* y, int n) {
  extern __shared__ float s[];
  const int t = threadIdx.x, i = blockIdx.x * 128 + t;
  s[t] = i < n ? x[i] : 0;
  __syncthreads();
  if (t < 64) s[t] += s[t + 64];
  __syncthreads();
  if (t < 32) {
    s[t] += s[t + 32];
    __syncwarp();
    for (int d = 16; d > 0; d /= 2) {
      const float v = t < d ? s[t + d] : 0;
      __syncwarp();
      s[t] += v;
      __syncwarp();
    }
  }
  if (t == 0) y[blockIdx.x] = s[0];
}

// The same by shuffles.
extern "C" __global__ void __launch_bounds__(128) shuffled(const float* x, float* y, int n) {
  __shared__ float s[4];
  const int t = threadIdx.x, i = blockIdx.x * 128 + t;
  float v = i < n ? x[i] : 0;
  for (int d = 16; d > 0; d /= 2) v += __shfl_down_sync(0xffffffffu, v, d);
  if (t % 32 == 0) s[t / 32] = v;
  __syncthreads();
  if (t == 0) y[blockIdx.x] = s[0] + s[1] + s[2] + s[3];
}
