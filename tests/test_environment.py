"""What an environment's record names, which device is taken, and what two records say."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.environment import gpu as gpu_module
from harness.environment.gpu import (
    EnvironmentMismatchError,
    choose_device,
    driver_version,
    library_version,
    release,
)
from harness.environment.processor import onednn_isa, processor_flags, processor_name
from harness.environment.record import Environment
from harness.environment.variables import LEFT_OUT, auto_clustering, numeric_variables
from harness.errors import InputError, is_out_of_memory, memory_line, one_line
from harness.evaluation.journal import FileJournal
from harness.records.environments import LATER_FIELDS, UNKNOWN, environment_difference

SAPPHIRE = frozenset(
    [
        "sse4_1",
        "avx",
        "avx2",
        "avx_vnni",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512dq",
        "avx512_vnni",
        "avx512_bf16",
        "avx512_fp16",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
    ]
)
CASCADE = SAPPHIRE - {"avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"}
HASWELL = frozenset({"sse4_1", "avx", "avx2"})


# What oneDNN 3.7 prints as "isa" under ONEDNN_VERBOSE=1 on such a processor.
@pytest.mark.parametrize(
    ("flags", "variables", "level"),
    [
        (SAPPHIRE, {}, "avx512_core_amx"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "avx2"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "avx2"}, "avx2"),
        (SAPPHIRE, {"DNNL_MAX_CPU_ISA": "AVX2"}, "avx2"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX"}, "avx2"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX2_VNNI_2"}, "avx2_vnni"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, "avx512_core_vnni"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "AVX10_1_512"}, "avx512_core_fp16"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "avx512_core_amx"),
        (SAPPHIRE, {"ONEDNN_MAX_CPU_ISA": "nonsense"}, "avx512_core_amx"),
        # A virtual machine that hides one of them has none of the levels above it.
        (SAPPHIRE - {"avx512_fp16"}, {}, "avx512_core_bf16"),
        (CASCADE, {}, "avx512_core_vnni"),
        (CASCADE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "avx512_core_vnni"),
        (HASWELL, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "avx2"),
        (frozenset({"sse2"}), {}, "x86_64"),
        (frozenset(), {}, UNKNOWN),
    ],
)
def test_the_instruction_set_is_what_the_processor_offers_capped(flags, variables, level):
    assert onednn_isa(flags, variables) == level


def test_another_architecture_is_not_guessed_at():
    assert onednn_isa(frozenset({"asimd"}), {}, "aarch64") == UNKNOWN


def test_the_processor_is_named_with_family_and_model():
    text = "cpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon 8480+\nflags\t\t: avx avx2"
    assert processor_name(text) == "Xeon 8480+, family 6, model 143"
    assert processor_flags(text) == {"avx", "avx2"}
    assert processor_name("") != ""
    assert processor_flags("") == frozenset()


@pytest.mark.parametrize(
    "name",
    ["TF_XLA_FLAGS", "XLA_FLAGS", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "TF_USE_CUBLASLT",
     "ONEDNN_DEFAULT_FPMATH_MODE", "TF_SET_ONEDNN_FPMATH_MODE", "NVIDIA_TF32_OVERRIDE",
     "TF_ENABLE_WINOGRAD_NONFUSED", "TF_CUDNN_USE_AUTOTUNE", "TF_CONV2D_USE_FP16_ACCUMULATE",
     "CUBLAS_WORKSPACE_CONFIG", "CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", "OMP_NUM_THREADS",
     "MKL_CBWR", "KMP_DETERMINISTIC_REDUCTION", "TF_NEVER_HEARD_OF", "NPY_DISABLE_CPU_FEATURES",
     "GLIBC_TUNABLES", "ONEDNN_CPU_ISA_HINTS", "TF_DISABLE_RZ_CHECK", "OPENBLAS_CORETYPE"],
)  # fmt: skip
def test_a_variable_that_changes_numbers_is_recorded(name):
    assert numeric_variables({name: "--a=1", "PATH": "/bin"}) == {name: "--a=1"}


@pytest.mark.parametrize(
    "name",
    ["TF_CPP_MIN_LOG_LEVEL", "TF_CPP_VMODULE", "TF_CPP_MAX_VLOG_LEVEL", "ONEDNN_VERBOSE",
     "TF_FORCE_GPU_ALLOW_GROWTH", "TF_ENABLE_ONEDNN_OPTS", "TF_DUMP_GRAPH_PREFIX", "TF2_BEHAVIOR",
     "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDNN_LOGINFO_DBG", "CUDNN_LOGDEST_DBG", "OMP_PLACES",
     "ONEDNN_JIT_DUMP", "TF_CLI_CONFIG_FILE", "TF_VAR_password", "TF_TOKEN_app_terraform_io",
     "TF_REGISTRY_SECRET", "HOME", "CUBLAS_LOGINFO_DBG", "TF_GPU_CUPTI_FORCE_CONCURRENT_KERNEL"],
)  # fmt: skip
def test_a_variable_that_cannot_change_numbers_is_left_out(name):
    assert numeric_variables({name: "1"}) == {}


def test_every_pattern_that_is_left_out_has_a_reason_and_reads():
    assert all(reason and re.compile(pattern) for pattern, reason in LEFT_OUT.items())


def test_flags_are_read_from_their_file_and_lose_what_only_dumps(tmp_path):
    (tmp_path / "flags").write_text("--tf_xla_auto_jit=2\n--tf_xla_clustering_debug\n")
    found = numeric_variables(
        {"TF_XLA_FLAGS": str(tmp_path / "flags"), "XLA_FLAGS": "--xla_dump_to=/tmp/x"}
    )
    assert found == {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}
    assert numeric_variables({"XLA_FLAGS": "/no/such/file"}) == {"XLA_FLAGS": "/no/such/file"}


@pytest.mark.parametrize(
    ("flags", "jit", "told"),
    [
        ("--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit", "", "tf_xla_auto_jit=2"),
        ("--tf_xla_auto_jit=fusible", "", "tf_xla_auto_jit=fusible"),
        ("--tf_xla_auto_jit=2 --tf_xla_auto_jit=-1", "autoclustering", ""),
        ("--tf_xla_auto_jit=0", "autoclustering", "tf.config.optimizer.set_jit: autoclustering"),
        ("--tf_xla_min_cluster_size=1", "", ""),
        ("", "", ""),
    ],
)
def test_the_mode_names_what_turned_clustering_on(flags, jit, told):
    assert auto_clustering({"TF_XLA_FLAGS": flags}, jit=jit) == told


def environment(**fields: Any) -> Environment:
    return Environment(
        "3.11", "2.0", "2.21", "5.0", "cpu", "x86_64", 2, 1, onednn=True,
        **{"cpu": "Xeon", "onednn_isa": "avx512_core", **fields},
    )  # fmt: skip


def earlier(**fields: Any) -> dict[str, Any]:
    """Return a record as an earlier version made it."""
    return {k: v for k, v in environment().as_dict().items() if k not in LATER_FIELDS} | fields


def test_the_header_says_what_is_in_force():
    told = environment(tf32=True, mode="graph, XLA auto-clustering (x)", remark="no GPU",
                       variables={"OMP_NUM_THREADS": "3"}).line()  # fmt: skip
    for part in ("cpu (no GPU)", "oneDNN on (avx512_core)", "TF32 on", "XLA auto-clustering (x)",
                 "OMP_NUM_THREADS=3"):  # fmt: skip
        assert part in told
    assert "remark" not in environment().as_dict()
    assert "cpu: Xeon" in list(environment().lines())


def test_two_records_differ_in_each_value_that_both_name():
    old = environment().as_dict()
    new = environment(onednn_isa="avx2", variables={"ONEDNN_MAX_CPU_ISA": "AVX2"}).as_dict()
    found = environment_difference(old, new)
    assert [str(change) for change in found.changed] == [
        "onednn_isa: avx512_core -> avx2", "variables.ONEDNN_MAX_CPU_ISA: absent -> AVX2",
    ]  # fmt: skip
    assert found.unnamed == ()
    assert found.note("it") == ""


def test_what_one_record_does_not_name_is_no_change():
    new = environment(
        mode="graph, XLA auto-clustering (x)", variables={"TF_XLA_FLAGS": "x"}
    ).as_dict()
    for pair in ((earlier(), new), (new, earlier())):
        found = environment_difference(*pair)
        assert found.changed == ()
        assert set(found.unnamed) == {*LATER_FIELDS, "mode"}
        assert "does not name cpu" in found.note("the record")
    gpus = [environment(gpu={"driver": d}).as_dict() for d in (UNKNOWN, "550.54.15")]
    assert environment_difference(*gpus).changed == ()
    assert environment_difference(*gpus).unnamed == ("gpu.driver",)


def test_what_an_earlier_record_names_is_compared():
    found = environment_difference(earlier(tensorflow="2.15"), environment().as_dict())
    assert [str(change) for change in found.changed] == ["tensorflow: 2.15 -> 2.21"]


@given(st.dictionaries(st.sampled_from(sorted(environment().as_dict())), st.integers(), max_size=9))
def test_a_record_equals_itself(part):
    assert environment_difference(part, part).changed == environment_difference(part, {}).changed
    assert environment_difference(part, part).unnamed == ()
    assert set(environment_difference(part, {}).unnamed) == set(part)


class FakeTensorFlow:
    """A TensorFlow that sees so many GPUs; `refuses` names a setter that it has no use for."""

    def __init__(self, gpus: int, details: Any = None, refuses: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        found = [f"GPU:{i}" for i in range(gpus)]
        answers = details if callable(details) else lambda _: details

        def setter(name: str) -> Any:
            def set_it(*values: Any) -> None:
                if name == refuses:
                    msg = "cannot be modified after being initialized"
                    raise RuntimeError(msg)
                self.calls.append((name, *values))

            return set_it

        self.config = SimpleNamespace(
            list_physical_devices=lambda _: found,
            set_visible_devices=setter("visible"),
            LogicalDeviceConfiguration=lambda memory_limit: memory_limit,
            set_logical_device_configuration=setter("limit"),
            experimental=SimpleNamespace(
                set_memory_growth=setter("growth"), get_device_details=answers
            ),
        )
        self.test = SimpleNamespace(is_built_with_cuda=lambda: True)
        self.sysconfig = SimpleNamespace(
            get_build_info=lambda: {"cuda_version": "0.5.1", "cudnn_version": "0"}
        )


def chosen(tf: FakeTensorFlow, index: int | None, **options: Any) -> Any:
    return choose_device(tf, index, **{"variables": {}, "driver": UNKNOWN, **options})


HOPPER = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}


def test_a_gpu_is_taken_with_memory_on_demand_and_recorded():
    tf = FakeTensorFlow(2, HOPPER)
    found = chosen(tf, 1, driver="550.54.15")
    assert tf.calls == [("visible", ["GPU:1"], "GPU"), ("growth", "GPU:1", True)]
    assert found.name == "NVIDIA H100"
    assert found.gpu == {
        "compute_capability": "9.0", "driver": "550.54.15", "cuda": "built with 0.5.1",
        "cudnn": "built with 0", "memory": "on demand",
    }  # fmt: skip


def test_a_memory_limit_is_set_and_recorded():
    tf = FakeTensorFlow(1, HOPPER)
    assert chosen(tf, None, memory_mib=4096).gpu["memory"] == "4096 MiB at most"
    assert tf.calls[1:] == [("limit", "GPU:0", [4096])]


def no_details(_: object) -> None:
    msg = "the driver says no"
    raise ValueError(msg)


@pytest.mark.parametrize(
    "details", [None, {}, {"device_name": None, "compute_capability": ()}, no_details]
)
def test_odd_answers_of_a_driver_are_unknown_and_no_crash(details):
    found = chosen(FakeTensorFlow(1, details), 0)
    assert (found.name, found.gpu["compute_capability"]) == ("gpu", UNKNOWN)


@pytest.mark.parametrize(
    ("index", "gpus", "options", "told"),
    [
        (1, 0, {}, "train.gpu_device is 1, but TensorFlow sees no GPUs"),
        (2, 2, {}, "name one of 0 to 1"),
        (0, 0, {"driver": "550.54.15"}, "install TensorFlow's CUDA libraries"),
        (0, 0, {"variables": {"CUDA_VISIBLE_DEVICES": ""}, "driver": "550.1"}, "_DEVICES is ''"),
        (0, 0, {"variables": {"CUDA_VISIBLE_DEVICES": "7"}, "driver": "550.1"},
         "let CUDA_VISIBLE_DEVICES name the GPU"),
        (0, 0, {"variables": {"CUDA_VISIBLE_DEVICES": "0"}}, "CUDA_VISIBLE_DEVICES is '0'"),
        (0, 0, {"required": True}, "ask the scheduler for a GPU"),
        (None, 0, {"required": True}, "runtime.require_gpu is true, but"),
        (3, 1, {}, "TensorFlow sees 1 GPU (CUDA_VISIBLE_DEVICES is not set, TensorFlow is built"),
    ],
)  # fmt: skip
def test_a_gpu_that_was_asked_for_and_is_not_there_is_one_line(index, gpus, options, told):
    with pytest.raises(EnvironmentMismatchError) as error:
        chosen(FakeTensorFlow(gpus, HOPPER), index, **options)
    assert told in str(error.value)
    instead = "runtime.require_gpu to false" if "required" in options else "train.gpu_device to -1"
    assert str(error.value).endswith(f", or set {instead} for the CPU")
    assert "\n" not in str(error.value)


def test_the_default_takes_what_is_there_and_says_why_it_is_the_cpu():
    assert chosen(FakeTensorFlow(0), None).remark == ""
    assert "driver 550.1" in chosen(FakeTensorFlow(0), None, driver="550.1").remark
    hidden = chosen(FakeTensorFlow(0), None, variables={"CUDA_VISIBLE_DEVICES": "-1"})
    assert (hidden.name, hidden.gpu) == ("cpu", {})
    assert chosen(FakeTensorFlow(1, HOPPER), None).name == "NVIDIA H100"


def test_an_earlier_runs_first_gpu_is_the_cpu_on_a_machine_without_one():
    for variables in ({}, {"CUDA_VISIBLE_DEVICES": "-1"}, {"CUDA_VISIBLE_DEVICES": ""}):
        found = chosen(FakeTensorFlow(0), 0, variables=variables)
        assert (found.name, found.remark) == ("cpu", "there is no GPU; train.gpu_device is 0")


def test_the_cpu_hides_every_gpu():
    tf = FakeTensorFlow(2, HOPPER)
    assert chosen(tf, -1).name == "cpu"
    assert tf.calls == [("visible", [], "GPU")]
    with pytest.raises(InputError, match=r"require_gpu is true and train\.gpu_device is -1"):
        chosen(tf, -1, required=True)


@pytest.mark.parametrize(("what", "memory"), [("visible", None), ("growth", None), ("limit", 9)])
def test_a_setting_that_comes_too_late_is_one_line(what, memory):
    with pytest.raises(EnvironmentMismatchError, match="Start a fresh process"):
        chosen(FakeTensorFlow(1, HOPPER, refuses=what), 0, memory_mib=memory)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build\n"
         "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)", "550.54.15"),
        ("nothing of the kind", UNKNOWN),
    ],
)  # fmt: skip
def test_the_driver_is_read_from_its_file(text, version, tmp_path):
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == version


def test_a_machine_without_a_driver_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert driver_version(tmp_path / "none") == UNKNOWN


def test_a_library_is_told_by_itself_by_its_package_or_by_the_build(monkeypatch):
    assert library_version(FakeTensorFlow(1), "cudnn") == "built with 0"
    monkeypatch.setattr(gpu_module.metadata, "version", lambda name: f"9.3 of {name}")
    assert library_version(FakeTensorFlow(1), "cudnn") == "9.3 of nvidia-cudnn-cu0"
    monkeypatch.setattr(gpu_module, "_asked_library", lambda name, file: f"{name} of {file}")
    assert library_version(FakeTensorFlow(1), "cuda") == "cuda of libcudart.so.0"
    tf = FakeTensorFlow(1)
    tf.sysconfig.get_build_info = dict
    monkeypatch.undo()
    assert library_version(tf, "cuda") == UNKNOWN


@pytest.mark.parametrize(
    ("library", "number", "version"),
    [
        ("cuda", 12050, "12.5"), ("cuda", 13000, "13.0"), ("cuda", 11080, "11.8"),
        ("cudnn", 91900, "9.19.0"), ("cudnn", 90102, "9.1.2"), ("cudnn", 8907, "8.9.7"),
    ],
)  # fmt: skip
def test_a_version_given_as_a_number_is_written_as_people_write_it(library, number, version):
    assert release(library, number) == version


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's."""


def test_memory_that_does_not_suffice_is_one_line():
    error = ResourceExhaustedError(
        "Graph execution error:\n\nDetected at node ...\nOOM when allocating tensor with "
        "shape[8,32,224,320] and type float on /job:localhost/replica:0/task:0/device:GPU:0 by "
        "allocator GPU_0_bfc\n\t [[{{node x}}]]"
    )
    assert is_out_of_memory(error)
    told = memory_line(error)
    assert "no 70 MiB for a tensor of shape [8,32,224,320] and type float on GPU:0" in told
    assert "lower train.micro_batch_size" in told
    assert "\n" not in told
    assert one_line(error) == told
    error.pid = 4711  # type: ignore[attr-defined]  # as a worker's has
    assert "(pid 4711)" in memory_line(error)
    assert "failed to allocate" in memory_line(ResourceExhaustedError("failed to allocate memory"))
    assert not is_out_of_memory(ValueError("shape[1] and type float"))


def test_scores_of_an_earlier_version_are_gone_on_with_and_those_of_elsewhere_are_not(tmp_path):
    new = environment().as_dict()
    for name, there in (("older", earlier()), ("same", new)):
        with FileJournal(tmp_path / name, {"scores": 2, "environment": there}):
            pass
        with FileJournal(tmp_path / name, {"scores": 2, "environment": new}) as journal:
            assert journal.unnamed == (LATER_FIELDS if name == "older" else ())
    for there in ({}, [], {k: v for k, v in new.items() if k != "numpy"}):
        (tmp_path / "odd").unlink(missing_ok=True)
        with FileJournal(tmp_path / "odd", {"scores": 2, "environment": there}):
            pass
        with pytest.raises(InputError, match="holds another evaluation, environment"):
            FileJournal(tmp_path / "odd", {"scores": 2, "environment": new})
    elsewhere = environment(onednn_isa="avx2").as_dict()
    with pytest.raises(InputError, match=r"environment\.onednn_isa: found avx512_core, expected"):
        FileJournal(tmp_path / "same", {"scores": 2, "environment": elsewhere})
