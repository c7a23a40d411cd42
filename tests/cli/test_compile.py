import json
from pathlib import Path

import pytest

from convc.build.cache import Cache
from convc.build.toolchain import Unit, build_shared
from convc.codegen.emission import write_emission
from convc.codegen.emit import emit_c
from convc.codegen.main_program import SUPPORT
from convc.errors import DataError, ToolchainError
from convc.ir.text import parse_graph
from convc.passes.plan_memory import unplanned_bytes

FILES = {"ir/00_input.conv": b"a\n", "src/a.c": b"b\n", "manifest.json": b'{"files": {}}'}


def names(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def emission_of(texts):
    """Files with a manifest that fits them."""
    from hashlib import sha256

    hashes = {name: sha256(text.encode()).hexdigest() for name, text in texts.items()}
    contents = {name: text.encode() for name, text in texts.items()}
    return {**contents, "manifest.json": json.dumps({"files": hashes}).encode()}


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    """LeNet-5's train step, not built."""
    from convc.cli import main

    folder = tmp_path_factory.mktemp("emit") / "lenet5"
    args = ["compile", "lenet5", "--mode", "train", "--shape", "8,1,28,28", "--emit", str(folder), "--no-build"]
    with pytest.raises(SystemExit) as ended:
        main(args, prog_name="convc")
    assert ended.value.code == 0
    return folder


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_the_ir_after_every_pass_is_there_and_parses(emitted):
    passes = ["input", *manifest_of(emitted)["passes"]]
    files = sorted((emitted / "ir").iterdir())
    assert [f.name for f in files] == [f"{i:02}_{name}.conv" for i, name in enumerate(passes)]
    assert "autodiff" in passes
    for f in files:
        text = f.read_text()
        assert f"{parse_graph(text)}\n" == text


def test_the_source_is_what_is_compiled(emitted):
    last = parse_graph(sorted((emitted / "ir").iterdir())[-1].read_text())
    source = emit_c(last)
    assert (emitted / "src/convc.h").read_text() == source.header
    around = {Path(name).name for name in SUPPORT}
    assert set(names(emitted / "src")) - around == {"convc.h", *(f"{name}.c" for name, _ in source.units())}
    for name, text in source.units():
        assert (emitted / f"src/{name}.c").read_text() == text
    for kernel in source.kernels:
        assert f"\n/* {kernel.name}\n * from    " in (emitted / f"src/{kernel.name}.c").read_text()


def test_the_manifest_has_the_numbers_of_the_program(emitted):
    manifest = manifest_of(emitted)
    last = parse_graph(sorted((emitted / "ir").iterdir())[-1].read_text())
    assert [manifest[k] for k in ("model", "mode", "target", "input_shape", "entry")] == [
        "lenet5", "train", "cpu", [8, 1, 28, 28], "lenet5_step",
    ]  # fmt: skip
    kernels = {k["name"]: k for k in manifest["kernels"]}
    conv1 = next(k for name, k in kernels.items() if name.startswith("conv1_fprop"))
    assert conv1["path"] == "conv1"
    assert conv1["gemm"] == [{"groups": 1, "m": 6, "n": 8 * 28 * 28, "k": 25}]
    taps = 28 * 5 - 2 * (2 + 1)  # in one dimension, those that do not fall in the padding
    assert conv1["flops"] == 2 * 6 * 8 * taps**2
    assert conv1["im2col_bytes_avoided"] == 4 * 25 * 8 * 28 * 28
    assert "fuse_epilogue" in conv1["passes"]
    assert len(conv1["schedules"]) == 1
    assert {"conv1.weight", "conv1.bias"} < {p["buffer"] for p in conv1["parameters"]}
    assert [p["written"] for p in conv1["parameters"]] == [False, False, False, True]
    buffers = {b["name"]: b for b in manifest["buffers"]}
    assert {p["buffer"] for k in kernels.values() for p in k["parameters"]} <= set(buffers)
    assert buffers["conv1.weight"] == {
        "name": "conv1.weight", "type": "f32[6,1,5,5]", "bytes": 600, "role": "parameter",
        "arena_offset": None, "inside": None, "first": None, "last": None, "gradient_of": None,
    }  # fmt: skip
    assert buffers["conv1.weight.new"]["role"] == "update"
    assert buffers["conv1.weight.new"]["inside"] == "conv1.weight"
    assert buffers["loss"]["role"] == "output"
    placed = [b for b in buffers.values() if b["role"] == "intermediate"]
    assert {b["name"]: b["arena_offset"] for b in placed} == {
        name: p.offset for name, p in last.placements.items() if p.inside is None and buffers[name]["role"] != "output"
    }
    totals = manifest["totals"]
    assert totals["parameters"] == 61706
    assert totals["arena_bytes"] == last.arena_bytes < totals["arena_bytes_without_reuse"] == unplanned_bytes(last)
    assert totals["flops"] == sum(k["flops"] for k in kernels.values())


def test_an_emission_is_the_same_every_time_and_replaces_the_one_before(convc, emitted, tmp_path):
    folder = tmp_path / "out"
    args = ("compile", "lenet5", "--shape", "8,1,28,28", "--emit", folder, "--no-build", "--mode")
    assert convc(*args, "infer").code == 0
    assert not (folder / "ir/05_autodiff.conv").exists()
    assert convc(*args, "train").code == 0
    assert names(folder) == names(emitted)
    assert all((folder / name).read_bytes() == (emitted / name).read_bytes() for name in names(folder))
    assert convc(*args, "infer").code == 0
    assert not (folder / "ir/05_autodiff.conv").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", "data", "flags", "ir", "manifest.json", "src"]


def test_it_is_built_and_says_what_was_written(convc, graph_file, tmp_path):
    result = convc("compile", graph_file, "--emit", tmp_path / "out")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"wrote {tmp_path / 'out'}: ")
    assert "net: " in result.out
    assert "without reuse" in result.out


def test_a_build_that_fails_is_an_error_and_leaves_the_source_to_look_at(convc, graph_file, tmp_path, monkeypatch):
    def refuse(*_args, **_settings):
        raise ToolchainError("C compiler cc failed on unit conv1")

    monkeypatch.setattr("convc.build.log.build_shared", refuse)
    result = convc("compile", graph_file, "--emit", tmp_path / "out")
    assert (result.code, result.err) == (1, "convc: error: C compiler cc failed on unit conv1\n")
    assert manifest_of(tmp_path / "out")["name"] == "net"
    assert convc("compile", graph_file, "--emit", tmp_path / "out", "--no-build").code == 0


def test_a_folder_with_anything_else_is_left_alone(convc, graph_file, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = convc("compile", graph_file, "--emit", tmp_path, "--no-build")
    assert result.code == 1
    assert result.err == (
        f"convc: error: {tmp_path} holds notes.txt, which convc did not write; choose another folder, or move it away\n"
    )
    assert names(tmp_path) == ["notes.txt"]


def test_a_file_that_was_edited_is_left_alone(tmp_path):
    folder = tmp_path / "out"
    write_emission(folder, emission_of({"src/a.c": "int a;\n"}))
    (folder / "src/a.c").write_text("int b;\n")
    with pytest.raises(DataError, match=r"src/a\.c was edited since convc wrote it; choose another folder"):
        write_emission(folder, emission_of({"src/a.c": "int c;\n"}))
    assert (folder / "src/a.c").read_text() == "int b;\n"


@pytest.mark.parametrize("manifest", ["", "[]", '{"files": 3}', "{}", '"files"'])
def test_a_manifest_of_somebody_else_gives_no_right_to_overwrite(tmp_path, manifest):
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=r"holds manifest\.json, which convc did not write"):
        write_emission(tmp_path, FILES)
    assert (tmp_path / "manifest.json").read_text() == manifest


def test_a_link_to_elsewhere_is_not_ours(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "src").symlink_to(other)
    with pytest.raises(DataError, match="holds src, which convc did not write"):
        write_emission(folder, FILES)
    assert not list(other.iterdir())


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="out is a file; choose another name for the folder"):
        write_emission(tmp_path / "out", FILES)


@pytest.mark.parametrize("before", ["absent", "empty", "emission"])
def test_a_failure_half_way_leaves_what_was_there(tmp_path, monkeypatch, before):
    folder = tmp_path / "out"
    old = emission_of({"src/old.c": "old\n"})
    if before == "empty":
        folder.mkdir()
    if before == "emission":
        write_emission(folder, old)
    there = names(tmp_path)
    written = []

    def write_bytes(path, content):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_text(content.decode())

    monkeypatch.setattr("pathlib.Path.write_bytes", write_bytes)
    with pytest.raises(DataError, match=r"cannot write .*out: No space left on device; choose a folder"):
        write_emission(folder, FILES)
    assert len(written) == 2
    assert names(tmp_path) == there
    assert folder.exists() == (before != "absent")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*: Not a directory; choose a folder that can be written"):
        write_emission(tmp_path / "file" / "out", FILES)


def test_what_was_emitted_compiles_as_it_lies_on_disk(emitted, tmp_path):
    entry = manifest_of(emitted)["entry"]
    kernel = next(f for f in sorted((emitted / "src").glob("fc3_*.c")))
    units = [Unit(kernel.stem, kernel.read_text())]
    library = build_shared(
        units, cache=Cache(tmp_path / "cache"), headers={"convc.h": (emitted / "src/convc.h").read_text()}
    )
    assert library.is_file()
    assert kernel.stem in (emitted / f"src/{entry}.c").read_text()
