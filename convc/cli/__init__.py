"""The command line, `convc`. Each command lies in a module of its own, which is imported when it is asked for."""

from __future__ import annotations

from convc.cli.group import LazyGroup

EXAMPLE = """A compiler for convolutional networks: the whole train step as one program you can read.

\b
Example:
  convc inspect lenet5 --kernel conv1
"""

main = LazyGroup(
    name="convc",
    help=EXAMPLE,
    lazy={
        "study": ("convc.cli.study:study", "Train one model at several learning rates, and report."),
        "train": ("convc.cli.train:train", "Train a model on a data set."),
        "eval": ("convc.cli.evaluate:evaluate", "Loss and accuracy of trained weights on a data set."),
        "lr-find": ("convc.cli.lr_find:lr_find", "Suggest a learning rate by a range test."),
        "compile": ("convc.cli.compile:compile_", "Write a program to a folder: IR, source and manifest."),
        "run": ("convc.cli.run:run", "Run a program once and check its results, in the emulator or as C."),
        "inspect": ("convc.cli.inspect:inspect", "Show a program: kernels, source, what each pass did."),
        "opt": ("convc.cli.opt:opt", "Run passes on a graph in its text form."),
        "passes": ("convc.cli.passes:passes", "List the passes, each with its rewrite."),
        "doctor": ("convc.cli.doctor:doctor", "Say what this machine can run, and what is missing."),
    },
)
