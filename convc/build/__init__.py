"""Builds emitted source: finds compilers, runs them, keeps what they made, and reads off it what kernels take."""
