"""Random graphs of all operators, checked against the interpreter and PyTorch.

    python -m convc.testing.fuzz --graphs 500 --seed 7

case     a graph and how it is run, and its file
draw     graphs from the registry of operators, with hints for some of them
oracle   one case against the float64 interpreter, after every pass and on the target
judge    PyTorch's opinion: of the meaning in float64, of the conditioning in float32
invalid  graphs with something wrong
shrink   makes a case that fails small
run      many cases, in processes of their own
"""
