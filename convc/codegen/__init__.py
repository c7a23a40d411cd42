"""From planned kernels to source text: Python decides and computes, templates write."""
