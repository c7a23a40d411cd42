"""Whatever stands on the command line: an exit code that is not zero, one line that says what to do, no file."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from convc.cli import main

TRAIN = "train lenet5 --data mnist5k --out out"
CASES = {
    # usage: the exit code is 2, and the line ends with where the options are listed
    "insect": "no command 'insect'; did you mean 'inspect'?; see `convc --help`",
    "--colour": "No such option '--colour'; see `convc --help`",
    "study --lr 0.1,0.01": "numbers stand apart by blanks, not '0.1,0.01'; give --lr 0.1 0.01; see `convc study",
    "study --seed 0 1 2": (
        "--seed takes one number, but 3 were given (0 1 2); run the command once each; see `convc study --help`"
    ),
    "study --seed=0 1": "--seed takes one number, but 2 were given (0 1)",
    "study --epochs 1,2": "--epochs takes one number, not '1,2'; give --epochs 1",
    "study --epochs x": "Invalid value for '--epochs': 'x' is not a valid integer",
    "study --epochs 1.5": "Invalid value for '--epochs': '1.5' is not a valid integer",
    "study --seed 1e3": "Invalid value for '--seed': '1e3' is not a valid integer",
    "study --seed None": "Invalid value for '--seed': 'None' is not a valid integer",
    "study --lr fast": "Invalid value for '--lr': 'fast' is not a valid float",
    "study --epoch 3": "No such option '--epoch'. Did you mean '--epochs'?",
    "study lenet5 alexnet": "Got unexpected extra argument (alexnet)",
    f"{TRAIN} --lr 0.1 0.2": "--lr takes one number, but 2 were given (0.1 0.2); run the command once each",
    f"{TRAIN} --optimizer adma": "'adma' is not one of 'sgd', 'adam', 'adamw', 'rmsprop'; did you mean 'adam'?",
    "train lenet5 --data mnist5k": "Missing option '--out'",
    "inspect": "Missing argument 'MODEL'",
    "inspect lenet5 --mode trian": "'trian' is not one of 'infer', 'eval', 'train'; did you mean 'train'?",
    "inspect lenet5 --shape 1,1,28,x": "a shape is N,C,H,W (or N,features), numbers of at least 1, not '1,1,28,x'",
    "inspect lenet5 --shape 0,1,28,28": "numbers of at least 1, not '0,1,28,28'",
    "inspect lenet5 --shape ٣,1,28,28": "numbers of at least 1, not '٣,1,28,28'",
    "inspect lenet5 --level 9": "Invalid value for '--level': 9 is not in the range 0<=x<=5",
    "compile lenet5 --target emulator --emit out": "'emulator' is not one of 'cpu', 'cuda'",
    "compile lenet5 --emit": "Option '--emit' requires an argument",
    "run lenet5 --target gpu": "'gpu' is not one of 'emulator', 'cpu', 'cuda'",
    "run lenet5 --rows 0": "0 is not in the range x>=1",
    "run lenet5 --device -1": "-1 is not in the range x>=0",
    "doctor now": "Got unexpected extra argument (now)",
    "passes all": "Got unexpected extra argument (all)",
    # what a command refuses: the exit code is 1
    "study --lr nan": "a learning rate is a positive number, not nan; give another --lr",
    "study --lr inf": "a learning rate is a positive number, not inf",
    "study --lr 1e39": "a learning rate is a number that float32 holds, at most 3.4e+38, not 1e+39",
    "study --lr 0.1 0.1": "a study needs learning rates that differ, not 0.1 0.1",
    "study --momentum 1": "momentum is a number with 0 <= number < 1, not 1.0; give another",
    "study --seed -1": "a seed is a whole number from 0 to 2^64 - 1, not -1; give another --seed",
    "study --seed 18446744073709551616": "a seed is a whole number from 0 to 2^64 - 1, not 18446744073709551616",
    "study --batch 0": "batch is a whole number of at least 1, not 0; give another --batch",
    "study --batch -5": "batch is a whole number of at least 1, not -5",
    "study --epochs 0": "epochs is a whole number of at least 1, not 0",
    "study --data mnst5k": "did you mean 'mnist5k'?",
    "study --data ''": "a data set is ",
    "study lenet --epochs 1": "MODEL is a name from the zoo, file.py:function or file.conv, but not 'lenet'",
    "study none.py:net": "cannot read none.py: there is no such file",
    f"{TRAIN} --weight-decay inf": "SGD: weight_decay is a number of at least 0, not inf",
    f"{TRAIN} --weight-decay nan": "SGD: weight_decay is a number of at least 0, not nan",
    f"{TRAIN} --momentum -0.1": "SGD: momentum is a number with 0 <= number < 1, not -0.1",
    f"{TRAIN} --optimizer adam --lr -1": "Adam: lr is a number of at least 0, not -1.0",
    f"{TRAIN} --lr 0": "a learning rate is a positive number, not 0.0",
    f"{TRAIN} --schedule cosin": "a schedule is constant, cosine, linear, exponential:FACTOR, step:EPOCHS,FACTOR",
    f"{TRAIN} --schedule step:0,1": "step:EPOCHS,FACTOR in a schedule has EPOCHS >= 1, but it is 'step:0,1'",
    f"{TRAIN} --schedule warmup:9+cosine --epochs 3": "a warm-up of 9 epochs leaves nothing of 3 epochs for cosine",
    f"{TRAIN} --target cpu --device 1": "--device goes with target cuda, not with cpu",
    "eval lenet5 --weights none --data mnist5k": "cannot read weights from none",
    "eval lenet5 --weights . --data mnist5k": "cannot read weights from .",
    "eval lenet5 --weights none --data mnist5k --batch 0": "batch is a whole number of at least 1, not 0",
    "inspect lenet": "did you mean 'lenet5'?",
    "inspect lenet5 --shape 8,28,28,1": "[8, 28, 28, 1] looks like [N, H, W, C]; give (8, 1, 28, 28)",
    "inspect lenet5 --kernel cnv1_fprop_bias_relu_f32": "did you mean 'conv1_fprop_bias_relu",
    "inspect lenet5 --pass fuse_epilog": "no pass 'fuse_epilog' ran; did you mean 'fuse_epilogue'?",
    "inspect lenet5 --ptx": "--ptx shows what CUDA is compiled to: add --target cuda",
    "inspect lenet5 --target cuda --arch sm_9": "unknown GPU architecture 'sm_9'; did you mean 'sm_90'?",
    "opt none.conv -p lower": "cannot read none.conv",
    "opt none.conv -p canonicalise": "unknown pass 'canonicalise'; did you mean 'canonicalize'?",
    "opt none.conv -p ''": "unknown pass ''",
    "run none": "MODEL is a name from the zoo",
    "run .": ". is no folder of `convc compile`",
    "run lenet5 --target cpu --counters": "--counters is for the emulator, not target cpu",
}


@pytest.mark.parametrize("command", CASES)
def test_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command), prog_name="convc")
    out, error = capsys.readouterr()
    assert ended.value.code in (1, 2)
    assert error.startswith("convc: error: ")
    assert error.count("\n") == 1
    assert CASES[command] in error
    assert error.rstrip().endswith("--help`") == (ended.value.code == 2)
    assert out == ""
    assert not any(tmp_path.iterdir())
