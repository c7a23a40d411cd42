// Arguments and arrays whose elements are picked at run time: these lie in memory of their own.
struct Pack {
  const float* in[4];
  float* out;
  int n[4];
  int ways;
};

// out[t] = scale * sum of the first n[t % ways] elements of in[t % ways]
extern "C" __global__ void gather(Pack p, float scale) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x, way = t % p.ways;
  float sum = 0;
  for (int i = 0; i < p.n[way]; i++) sum += p.in[way][i];
  p.out[t] = sum * scale;
}

// Swaps elements of a local array in an order that only the loop knows.
extern "C" __global__ void local(float* out, const float* in, int n) {
  float a[16];
  for (int i = 0; i < 16; i++) a[i] = in[i] * threadIdx.x;
  for (int i = 0; i < n; i++) {
    const int j = i * 5 & 15, k = j + 3 & 15;
    const float x = a[j];
    a[j] = a[k];
    a[k] = x;
  }
  for (int i = 0; i < 16; i++) out[threadIdx.x * 16 + i] = a[i];
}
