"""What somebody writes in a configuration is what is meant, or refused by name in one line."""

import time
from pathlib import Path

import pytest

from harness.config import (
    Config,
    ConfigError,
    dump_config,
    field_kinds,
    load_config,
    with_overrides,
)
from harness.config.tree import WatchConfig
from harness.config.written import MOST_CHARACTERS
from harness.errors import InputError
from harness.expanding import escaped, expanded


def loaded(folder: Path, text: str) -> Config:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert len(said) < 1500
    assert said.startswith(str(folder / "run.yaml"))
    return said.removeprefix(str(folder / "run.yaml"))


@pytest.mark.parametrize("name", [n for n in WatchConfig.model_fields if n != "finite"])
def test_off_is_a_word_where_words_are_chosen_from(tmp_path, name):
    """``off`` without quotes is false to YAML 1.1."""
    assert getattr(loaded(tmp_path, f"watch: {{{name}: off}}").watch, name) == "off"
    assert getattr(with_overrides(Config(), [f"watch.{name}=off"]).watch, name) == "off"


@pytest.mark.parametrize("word", ["no", "on", "yes", "false", "Off", "OFF", "~", "0"])
def test_another_word_is_refused_as_it_was_written(tmp_path, word):
    said = refused(tmp_path, f"watch: {{metric: {word}}}")
    assert "`watch.metric`" in said
    assert "'off'" in said
    assert repr(word) in said or {"~": "None", "0": "0"}.get(word, "absent") in said


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("runtime: {experiment_name: 012}", "runtime.experiment_name", "012"),
        ("runtime: {experiment_name: 2024-01-31}", "runtime.experiment_name", "2024-01-31"),
        ("runtime: {experiment_name: 12:30}", "runtime.experiment_name", "12:30"),
        ("runtime: {experiment_name: on}", "runtime.experiment_name", "on"),
        ("runtime: {experiment_name: 1_000}", "runtime.experiment_name", "1_000"),
        ("runtime: {experiment_name: .inf}", "runtime.experiment_name", ".inf"),
        ("runtime: {experiment_name: =}", "runtime.experiment_name", "="),
        ("data: {train_dir: 007}", "data.train_dir", "007"),
        ("gate: {required: [on, 012, 1e3]}", "gate.required", ("on", "012", "1e3")),
        ("train: {lr: 1e-3}", "train.lr", 1e-3),
        ("train: {lr: 1.0e-3}", "train.lr", 1e-3),
        ("train: {num_epochs: 1_000}", "train.num_epochs", 1000),
        ("runtime: {seed: 0x2A}", "runtime.seed", 42),
        ("runtime: {seed: !!int 7}", "runtime.seed", 7),
        ("runtime: {onednn: off, tf32: yes}", "runtime.onednn", False),
        ("eval: {eval_batches_per_arch: full}", "eval.eval_batches_per_arch", "full"),
        ("eval: {crop: [32, 48]}", "eval.crop", (32, 48)),
        ("data: {flow_clip: ~}", "data.flow_clip", None),
        ("train: {train_sampling_mode: null}", "train.train_sampling_mode", None),
    ],
)  # fmt: skip
def test_a_value_is_read_as_its_key_takes_it(tmp_path, text, key, value):
    section, _, leaf = key.partition(".")
    found = getattr(getattr(loaded(tmp_path, text), section), leaf)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {batch_size: 012}", "`train.batch_size`: got 012, octal to some readers"),
        ("train: {batch_size: '012'}", "`train.batch_size`: got 012, octal"),
        ("train: {num_epochs: 12:30}", "`train.num_epochs`: got 12:30, a number to base 60"),
        ("train: {lr: 1:30.5}", "`train.lr`: got 1:30.5, a number to base 60"),
        ("eval: {crop: [032, 48]}", "`eval.crop`: got 032, octal"),
        ("train: {lr: 2020-13-45}", "`train.lr`: Input should be a valid number"),
        ("train: {lr: 2020-01-31}", "got '2020-01-31'"),
        ("train: {batch_size: ²}", "`train.batch_size`: "),
        ("train: {batch_size: ٣}", "`train.batch_size`: "),
        ("train: {batch_size: !!int abc}", "got 'abc'"),
        ("train: {lr: .nan}", "`train.lr`: "),
        ("train: {lr: 1e400}", "`train.lr`: "),
        ("runtime: {seed: " + "9" * 5000 + "}", "`runtime.seed`: "),
        ("train: {lr: " + "9" * 5000 + ".0}", "`train.lr`: "),
        ("runtime: {threads: 100000}", "`runtime.threads`: Input should be less than or equal"),
        ("model: {width: 1000000000}", "`model.width`: Input should be less than or equal to 4096"),
        ("train: {lr: 1e39}", "`train.lr`: Input should be less than or equal to 3"),
        ("runtime: {experiment_name: null}", "`runtime.experiment_name`: "),
        ('runtime: {experiment_name: "a\\0b"}', "holds a NUL character"),
        ('data: {base_path: "a\\0b"}', "holds a NUL character"),
        ("data: {base_path: " + "a" * 5000 + "}", "`data.base_path`"),
        ("on: {lr: 1}", "unknown key `on`"),
        ("? [a]\n: 1", "line 1: expected the name of a key"),
        ("train: {? {a: 1} : 1}", "line 1: expected the name of a key"),
        ("train: !!set {lr}", "the tag tag:yaml.org,2002:set is not known"),
        ("train: {lr: !!python/object/apply:os.system [ls]}", "is not known here"),
        ("train: {lr: !mine 1}", "the tag !mine is not known"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("train: *nothing", "found undefined alias"),
        ("train:\n\tlr: 1", "line 2: "),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(tmp_path, text, said):
    assert said in refused(tmp_path, text)


def test_a_bom_of_an_editor_is_no_key(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbftrain: {batch_size: 3}\r\n")
    assert load_config(path).train.batch_size == 3


# ---- text that costs more than itself

BOMB = "".join(
    f"{chr(97 + n)}: &{chr(97 + n)} [{','.join([f'*{chr(96 + n)}' if n else 'x'] * 9)}]\n"
    for n in range(12)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{','.join([f'*{chr(97 + n)}'] * 9)}]}}\n"
    for n in range(12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 10000 values"),
        (f"train: {{lr: *l}}\n{BOMB}", "undefined alias"),
        (MERGES, "more than 10000 values"),
        ("a: &a [*a]", "nested more deeply than 20"),
        ("a: &a {b: *a}", "nested more deeply than 20"),
        ("a: &a {<<: *a}", "nested more deeply than 20"),
        ("[" * 100_000, "nested more deeply than 20"),
        ("a: " + "[" * 300 + "]" * 300, "nested more deeply than 20"),
        ("a: " + "{a: " * 15_000, "nested more deeply than 20"),
        ("- " * 60_000 + "a", "nested more deeply than 20"),
        ("#" * (MOST_CHARACTERS + 1), f"at most {MOST_CHARACTERS} characters"),
        ("\n".join(f"key{n}: 1" for n in range(9000)), "and more"),
        ("train:\n" + "\n".join(f"  key{n}: 1" for n in range(9000)), "and more"),
        ("? " + "x" * 200_000 + "\n: 1", "(200000 characters)"),
    ],
    ids=["lists", "undefined", "merges", "itself", "in itself", "merged in itself", "brackets",
         "nested", "braces", "dashes", "long", "keys", "keys of a section", "a long key"],
)  # fmt: skip
def test_no_text_costs_more_than_its_length(tmp_path, text, said):
    start = time.process_time()
    assert said in refused(tmp_path, text)
    assert time.process_time() - start < 10


# ---- merge keys and keys that occur twice


def test_a_merge_key_merges_and_what_stands_beside_it_counts_more(tmp_path):
    found = loaded(
        tmp_path,
        "eval: &base {batch_size: 3, crop: [32, 48]}\n"
        "train:\n  batch_size: 5\n  <<: {batch_size: 7, lr: 0.5, num_epochs: 3}\n"
        "data:\n  <<: [{input_height: 32}, {input_height: 64, input_width: 96}]\n",
    )
    assert (found.train.batch_size, found.train.lr, found.train.num_epochs) == (5, 0.5, 3)
    assert (found.data.input_height, found.data.input_width) == (32, 96)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {lr: 1, lr: 2}", "line 1: key `lr` occurs twice"),
        ("train: {lr: 1, 'lr': 2}", "key `lr` occurs twice"),
        ("train: {lr: 1}\ntrain: {lr: 2}", "line 2: key `train` occurs twice"),
        ("train: {<<: {lr: 1}, <<: {lr: 2}}", "key `<<` occurs twice"),
        ("train: {<<: 3}", "expected a section or a list of sections after <<"),
        ("train: {<<: [3]}", "expected a section or a list of sections after <<"),
        ("train: {<<: {lr: 1, lr: 2}}", "key `lr` occurs twice"),
        ("train: {<<: {batchsize: 1}}", "did you mean `train.batch_size`?"),
    ],
)
def test_a_key_that_occurs_twice_is_refused_within_a_merge_too(tmp_path, text, said):
    assert said in refused(tmp_path, text)


# ---- paths

PATHS = (
    "runtime.experiment_name", "runtime.output_root", "runtime.cache_dir", "data.base_path",
    "data.train_dir", "data.val_dir", "eval.frozen",
)  # fmt: skip


def of(config: Config, key: str) -> str:
    section, _, leaf = key.partition(".")
    return str(getattr(getattr(config, section), leaf))


@pytest.mark.parametrize("key", PATHS)
def test_home_and_variables_stand_for_what_they_name(tmp_path, monkeypatch, key):
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("HOME", "/home/me")
    section, _, leaf = key.partition(".")
    for text, meant in (
        ("$SCRATCH/a", "/scratch/me/a"), ("${SCRATCH}x", "/scratch/mex"), ("~/a", "/home/me/a"),
        ("~", "/home/me"), ("a/~/b", "a/~/b"), ("$$SCRATCH", "$SCRATCH"), ("a$", "a$"),
        ("$1", "$1"),
    ):  # fmt: skip
        assert of(loaded(tmp_path, f"{section}: {{{leaf}: '{text}'}}"), key) == meant
        assert of(with_overrides(Config(), [f"{key}='{text}'"]), key) == meant


@pytest.mark.parametrize("key", PATHS)
def test_a_variable_that_is_not_set_is_refused_by_name(tmp_path, monkeypatch, key):
    monkeypatch.delenv("SCRATCHES", raising=False)
    monkeypatch.setenv("EMPTY", "")
    section, _, leaf = key.partition(".")
    for text, said in (
        ("$SCRATCHES/a", "the variable SCRATCHES is not set"),
        ("$EMPTY/a", "the variable EMPTY is empty"),
        ("${a b}", "expected ${NAME}"), ("${", "expected ${NAME}"),
        ("~nobody-of-this-name/a", "no user has the name ~nobody-of-this-name"),
    ):  # fmt: skip
        found = refused(tmp_path, f"{section}: {{{leaf}: '{text}'}}")
        assert f"`{key}`" in found
        assert said in found


def test_a_run_s_own_configuration_holds_what_was_meant(tmp_path, monkeypatch):
    """The variable may be another, or none, where the run is looked at."""
    monkeypatch.setenv("SCRATCH", "/scratch/$me~")
    config = loaded(tmp_path, "data: {base_path: $SCRATCH/fc2}\nruntime: {output_root: runs}")
    assert config.data.base_path == "/scratch/$me~/fc2"
    monkeypatch.delenv("SCRATCH")
    assert loaded(tmp_path, dump_config(config)) == config
    assert with_overrides(config, ["train.lr=0.5"]).data.base_path == "/scratch/$me~/fc2"


def test_every_key_that_names_a_place_is_expanded():
    texts = {k for k in field_kinds() if isinstance(_default(k), str)}
    chosen_or_fixed = {k for k in texts if field_kinds()[k] == "fixed" or k.startswith("watch.")}
    words = {"train.epoch_mode", "train.train_crop_mode", "train.clip_position", "eval.recal_mode",
             "eval.eval_batches_per_arch", "model.skeleton", "runtime.score_on"}  # fmt: skip
    assert texts - chosen_or_fixed - words == set(PATHS)


def _default(key: str) -> object:
    tree = Config().model_dump(mode="json", by_alias=True)
    for part in key.split("."):
        tree = tree[part]
    return tree


def test_an_escaped_path_expands_to_itself():
    for name in ("$a", "a$$b", "${x}", "$", "a"):
        assert expanded(escaped(name), "--run", {}) == name
    with pytest.raises(InputError, match=r"--run .*NUL"):
        expanded("a\0b", "--run", {})


# ---- overrides


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("train.lr=2020-13-45", "`train.lr`: "),
        ("train.lr=" + "[" * 50_000, "nested more deeply"),
        ("runtime.seed=" + "9" * 5000, "`runtime.seed`: "),
        ("a." * 50_000 + "b=1", "no key has more than 3 parts"),
        ("train=3", "`train`: expected a section"),
        ("=3", "unknown key ``"),
        ("train.lr=\0", "train.lr="),
        ("train.lr=\ud800", "train.lr="),
        ("runtime.output_root=$NOT_SET_AT_ALL", "NOT_SET_AT_ALL is not set"),
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_override_is_refused_in_one_line(assignment, said):
    with pytest.raises(ConfigError) as caught:
        with_overrides(Config(), [assignment])
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
