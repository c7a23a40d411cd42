"""One convolution of each kind, as text. Extents are chosen so that tiles and lanes leave a rest."""

from __future__ import annotations


def graph(body: str) -> str:
    return f"graph @case({body}\n}}\n"


CASES = {
    "fprop_bias_relu": graph("""%x: f32[n<=20,3,7,9], %w: f32[5,3,3,3] parameter, %b: f32[5] parameter) {
  %0: f32[n<=20,5,7,9] = conv2d(%x, %w) {padding=[1, 1]} loc(conv1)
  %1: f32[n<=20,5,7,9] = bias_add(%0, %b) loc(conv1)
  %2: f32[n<=20,5,7,9] = relu(%1) loc(conv1)
  return %2"""),
    "fprop_fixed_batch": graph("""%x: f32[3,7,6,5], %w: f32[4,7,3,2]) {
  %0: f32[3,4,6,6] = conv2d(%x, %w) {padding=[1, 1]} loc(conv1)
  return %0"""),
    "fprop_strided_asymmetric": graph("""%x: f32[n<=17,4,11,10], %w: f32[6,4,3,3] parameter) {
  %0: f32[n<=17,6,5,4] = conv2d(%x, %w) {stride=[2, 3], padding=[0, 1, 1, 2]} loc(conv1)
  return %0"""),
    "fprop_dilated": graph("""%x: f32[n<=5,2,9,9], %w: f32[3,2,3,3] parameter) {
  %0: f32[n<=5,3,9,9] = conv2d(%x, %w) {padding=[2, 2], dilation=[2, 2]} loc(conv1)
  return %0"""),
    "fprop_grouped": graph("""%x: f32[n<=16,6,5,5], %w: f32[9,2,3,3] parameter) {
  %0: f32[n<=16,9,5,5] = conv2d(%x, %w) {padding=[1, 1], groups=3} loc(conv1)
  return %0"""),
    "fprop_depthwise": graph("""%x: f32[n<=16,7,5,5], %w: f32[7,1,3,3] parameter) {
  %0: f32[n<=16,7,5,5] = conv2d(%x, %w) {padding=[1, 1], groups=7} loc(conv1)
  return %0"""),
    "dgrad_strided": graph("""%dy: f32[n<=16,5,4,4], %w: f32[5,3,3,3] parameter) {
  %0: f32[n<=16,3,7,7] = conv2d_dgrad(%dy, %w) {stride=[2, 2], padding=[1, 1]} loc(conv1)
  return %0"""),
    "wgrad": graph("""%dy: f32[n<=20,5,7,7], %x: f32[n<=20,3,7,7]) {
  %0: f32[5,3,3,3] = conv2d_wgrad(%dy, %x) {padding=[1, 1]} loc(conv1)
  return %0"""),
    "linear_bias": graph("""%x: f32[n<=20,33], %w: f32[7,33] parameter, %b: f32[7] parameter) {
  %0: f32[n<=20,7] = linear(%x, %w) loc(fc1)
  %1: f32[n<=20,7] = bias_add(%0, %b) loc(fc1)
  return %1"""),
    "linear_leaky_dropout": graph("""%x: f32[n<=20,33], %w: f32[7,33] parameter,
  %seed: i32[] scalar, %step: i32[] scalar) {
  %0: f32[n<=20,7] = linear(%x, %w) loc(fc1)
  %1: f32[n<=20,7] = leaky_relu(%0) {slope=0.2} loc(act1)
  %2: f32[n<=20,7] = dropout(%1, %seed, %step) {p=0.3, stream=1} loc(drop1)
  return %2"""),
    "lrn_adaptive_pool": graph("""%x: f32[n<=20,6,7,5]) {
  %0: f32[n<=20,6,7,5] = lrn(%x) {alpha=0.5, k=2.0} loc(norm1)
  %1: f32[n<=20,6,5,3] = adaptive_avg_pool(%0) {output=[5, 3]} loc(pool1)
  return %1"""),
    "train_conv_pool_loss": graph("""%x: f32[n<=20,2,6,6], %labels: i32[n<=20], %w: f32[3,2,3,3] parameter) {
  %0: f32[n<=20,3,4,4] = conv2d(%x, %w) loc(conv1)
  %1: f32[n<=20,3,4,4] = relu(%0) loc(conv1)
  %2: f32[n<=20,3,2,2] = max_pool(%1) loc(pool1)
  %3: f32[n<=20,12] = flatten(%2) loc(flatten)
  %4: f32[n<=20] = cross_entropy(%3, %labels) loc(loss)
  %loss: f32[] = sum(%4) {axes=[0], mean=True} loc(loss)
  return %loss"""),
}

CUDA_CASES = {
    "channels_last_fprop_pool": graph("""%x: f32[n<=20,4,7,9], %w: f32[8,4,3,3] parameter) {
  %0: f32[n<=20,4,7,9|0231] = relayout(%x)
  %1: f32[n<=20,8,7,9|0231] = conv2d(%0, %w) {padding=[1, 1]} loc(conv1)
  %2: f32[n<=20,8,3,4|0231] = max_pool(%1) loc(pool1)
  %3: f32[n<=20,8,3,4] = relayout(%2)
  return %3"""),
    "channels_last_wgrad": graph("""%dy: f32[n<=20,8,7,7], %x: f32[n<=20,4,7,7]) {
  %0: f32[n<=20,8,7,7|0231] = relayout(%dy)
  %1: f32[n<=20,4,7,7|0231] = relayout(%x)
  %2: f32[8,4,3,3] = conv2d_wgrad(%0, %1) {padding=[1, 1]} loc(conv1)
  return %2"""),
    "turned_tiles": graph("""%x: f32[n<=20,40,6,7]) {
  %0: f32[n<=20,40,6,7|0231] = relayout(%x) loc(images)
  %1: f32[40,6,7] = sum(%0) {axes=[0]} loc(total)
  return %1"""),
    "windows_columns_softmax": graph("""%x: f32[n<=90,10,8,8], %z: f32[n<=90,11]) {
  %0: f32[n<=90,10,4,4] = avg_pool(%x) {kernel=[2, 2]} loc(pool)
  %1: f32[11] = sum(%z) {axes=[0]} loc(total)
  %2: f32[n<=90,11] = softmax(%z) loc(softmax)
  return %0, %1, %2"""),
}
"""Images as NHWC, which `assign_layout` chooses where it pays, and schedules of nests: only for blocks of threads."""
