import pytest

from convc.build.nvrtc_library import find_library_file
from convc.cli import doctor
from convc.errors import ToolchainError


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """A terminal in which nothing is wrapped."""
    monkeypatch.setenv("COLUMNS", "1000")


def lines_of(text):
    """State and text by name."""
    found = {}
    for line in text.splitlines():
        if not line.startswith((" ", "The")) and line:
            found[line[8:22].strip()] = (line[:8].strip(), line[22:])
    return found


def test_every_check_has_its_line_and_the_cpu_target_works(convc):
    result = convc("doctor")
    found = lines_of(result.out)
    assert list(found) == list(doctor.CHECKS)
    assert (result.code, result.err) == (0, "")
    assert found["cpu target"][0] == "ok"
    assert found["C compiler"][0] == "ok"
    assert all(
        "not needed for the cpu target" in found[name][1] for name in ("CUDA driver", "PyCUDA", "NVRTC", "nvdisasm")
    )
    assert result.out.endswith("\nThe cpu target works here.\n")


@pytest.mark.parametrize(
    ("variable", "value", "name", "line"),
    [
        (
            "CONVC_CC",
            "no-such-compiler",
            "C compiler",
            "CONVC_CC names 'no-such-compiler', which is no program on PATH",
        ),
        ("CONVC_NUM_THREADS", "many", "threads", "a number of threads is a whole number from 1 to 1024"),
        ("CONVC_CACHE_DIR", "/dev/null/cache", "cache", "cache folder /dev/null/cache cannot be written"),
    ],
)
def test_what_is_missing_is_said_and_the_exit_code_is_1(convc, monkeypatch, variable, value, name, line):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr("convc.runtime.pool._chosen", None)
    monkeypatch.setattr("convc.runtime.pool._library", _no_library)
    result = convc("doctor")
    state, text = lines_of(result.out)[name]
    assert (result.code, state) == (1, "missing")
    assert text.startswith(line)
    assert result.out.endswith("\nThe cpu target does not work here.\n")


def _no_library():
    raise ToolchainError("no pool")


def test_a_library_that_does_not_load_is_no_crash(convc, monkeypatch):
    def refuse(*_):
        raise OSError("library.so: failed to map segment from shared object")

    monkeypatch.setattr("ctypes.CDLL", refuse)
    result = convc("doctor")
    assert result.code == 1
    assert "failed to map segment" in lines_of(result.out)["cpu target"][1]


def test_a_wrong_result_is_not_called_working(convc, monkeypatch):
    real = doctor.interpret
    monkeypatch.setattr(doctor, "interpret", lambda *a: {k: v + 1e-3 for k, v in real(*a).items()})
    result = convc("doctor")
    assert result.code == 1
    assert "a convolution is wrong by 0.001" in result.out
    assert "mend it: CONVC_CC=" in result.out


def test_cuda_tools_that_are_not_installed_come_with_their_command(convc, monkeypatch, tmp_path):
    for module in ("nvidia", "sass"):
        monkeypatch.setattr(f"convc.build.{module}.wheel_roots", list)
        monkeypatch.setattr(f"convc.build.{module}.toolkit_roots", list)
    monkeypatch.setattr("convc.build.nvrtc_library.find_library", lambda name: None)
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in ("NVRTC", "nvdisasm", "Python")})
    monkeypatch.setenv("PATH", str(tmp_path))
    result = convc("doctor")
    assert lines_of(result.out)["NVRTC"] == ("-", "absent; not needed for the cpu target, only to compile CUDA")
    assert lines_of(result.out)["nvdisasm"] == ("-", "absent; not needed for the cpu target, only to read SASS")
    assert result.out.count("mend it: pip install 'convc[emit]'") == 2
    assert result.code == 0


def test_nvrtc_comes_with_its_version_and_architectures(convc, monkeypatch):
    library = find_library_file()
    if library is None:
        pytest.skip("NVRTC is not installed: pip install 'convc[emit]'")
    state, text = lines_of(convc("doctor").out)["NVRTC"]
    assert state == "ok"
    assert f" at {library}, for sm_80, sm_86, " in text
    monkeypatch.setattr(doctor, "find_nvrtc", _no_library)
    assert lines_of(convc("doctor").out)["NVRTC"] == ("missing", "no pool")


def test_packages_that_are_not_installed_come_with_their_command(convc, monkeypatch):
    monkeypatch.setattr(doctor, "_installed", lambda package: "")
    names = ("PyTorch", "matplotlib", "PyCUDA", "cuda-bindings", "Python")
    monkeypatch.setattr(doctor, "CHECKS", {name: doctor.CHECKS[name] for name in names})
    result = convc("doctor")
    assert "mend it: pip install 'convc[witness]'" in result.out
    assert "mend it: pip install matplotlib" in result.out
    assert lines_of(result.out)["PyCUDA"] == ("-", "absent; not needed for the cpu target, only to run CUDA")
    assert result.out.count("mend it: python -m convc.build.pycuda && pip install 'convc[cuda]'") == 1
    assert result.out.count("mend it: pip install 'convc[cuda]'") == 1
