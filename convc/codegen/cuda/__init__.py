"""CUDA: plans for blocks of threads, and the one source file of a program."""
