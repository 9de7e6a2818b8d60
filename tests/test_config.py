import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.config import (
    Config,
    ConfigError,
    WatchConfig,
    dump_config,
    field_kinds,
    load_config,
    parse_config,
    with_fc2_root,
    with_overrides,
)

BORROWED = Path(__file__).parent / "edgeflownas.yaml"
FIXED = [key for key, kind in field_kinds().items() if kind == "fixed"]
FLOATS = [
    "train.lr",
    "train.weight_decay",
    "train.grad_clip_global_norm",
    "data.flow_clip",
    "eval.flow_clip",
    "eval.early_stop_min_delta",
]


def leaves(tree, prefix=""):
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def nested(key, value):
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def resolved(config):
    return leaves(config.model_dump(mode="json", by_alias=True))


def edgeflownas_files():
    folder = os.environ.get("SAMEBITS_EDGEFLOWNAS")
    if not folder:
        pytest.skip("SAMEBITS_EDGEFLOWNAS names no folder with EdgeFlowNAS's configs/*.yaml")
    files = sorted(Path(folder, "configs").glob("*.yaml"))
    assert files, f"{folder}/configs holds no *.yaml"
    return files


def test_every_key_of_edgeflownas_loads_with_its_value_kept():
    given_values = leaves(yaml.safe_load(BORROWED.read_text(encoding="utf-8")))
    config = resolved(load_config(BORROWED))
    assert len(given_values) == 41
    assert {key: config[key] for key in given_values} == given_values


def test_the_borrowed_file_moves_every_key_that_is_free():
    default, moved = resolved(Config()), resolved(load_config(BORROWED))
    named = leaves(yaml.safe_load(BORROWED.read_text(encoding="utf-8")))
    assert {key for key in named if default[key] == moved[key]} == set(FIXED) & set(named)


def test_each_configuration_that_edgeflownas_shipped_loads_with_its_values_kept():
    for path in edgeflownas_files():
        given_values = leaves(yaml.safe_load(path.read_text(encoding="utf-8")))
        config = resolved(load_config(path))
        assert {key: config[key] for key in given_values} == given_values


def test_the_borrowed_file_has_exactly_the_keys_that_edgeflownas_shipped():
    shipped = set()
    for path in edgeflownas_files():
        shipped |= set(leaves(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert set(leaves(yaml.safe_load(BORROWED.read_text(encoding="utf-8")))) == shipped


def test_an_empty_file_is_the_default(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load_config(path) == Config() == parse_config(None)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("train.batchsize", "train.batch_size"),
        ("eval.seed", "runtime.seed"),
        ("seed", "runtime.seed"),
        ("trian", "train"),
        ("train.distill.enable", "train.distill.enabled"),
        ("train.distill.lr", "train.lr"),
        ("data.flow_clipping", "data.flow_clip"),
    ],
)
def test_an_unknown_key_names_the_right_one(wrong, right):
    wanted = f"unknown key `{wrong}`: did you mean `{right}`?"
    with pytest.raises(ConfigError, match=f"^{re.escape(wanted)}$"):
        parse_config(nested(wrong, 3))


def test_an_unknown_key_unlike_any_lists_what_is_known():
    known = ", ".join(WatchConfig.model_fields)
    with pytest.raises(ConfigError, match=rf"unknown key `watch\.zzz`: known here are {known}$"):
        parse_config({"watch": {"zzz": 1}})


def test_every_unknown_key_is_listed_at_once():
    tree = {"train": {"batchsize": 3, "distill": {"enable": False}}, "eval": {"seed": 2}}
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    for key in ("`train.batchsize`", "`train.distill.enable`", "`eval.seed`"):
        assert f"unknown key {key}" in str(caught.value)


def test_every_value_out_of_range_is_listed_at_once():
    with pytest.raises(ConfigError) as caught:
        parse_config({"train": {"lr": -1, "num_epochs": 0}, "data": {"input_width": "wide"}})
    for key, value in (("train.lr", -1), ("train.num_epochs", 0), ("data.input_width", "wide")):
        assert re.search(f"`{key}`: [^;]*got {value!r}", str(caught.value))


@pytest.mark.parametrize(
    ("tree", "keys"),
    [
        ({"train": {"optimizer": "sgd", "lr_schedule": "step"}}, ["optimizer", "lr_schedule"]),
        ({"train": {"optimizer": "sgd", "lr": -1}}, ["optimizer", "lr"]),
        ({"train": {"batchsize": 3, "lr": -1}}, ["batchsize", "lr"]),
    ],
    ids=["two-fixed", "fixed-and-range", "unknown-and-range"],
)
def test_problems_of_different_sorts_are_listed_at_once(tree, keys):
    with pytest.raises(ConfigError) as caught:
        parse_config(tree)
    for key in keys:
        assert re.search(rf"[`.]{key}`", str(caught.value))


def test_the_keys_that_must_be_fixed_are():
    train = {"optimizer", "lr_schedule", "supernet_mode", "uncertainty_type", "fast_mode"}
    others = {"train.distill.enabled", "data.flow_channels", "data.dataset"}
    assert {f"train.{key}" for key in train} | others <= set(FIXED)


@pytest.mark.parametrize("key", FIXED)
def test_a_fixed_key_takes_its_one_value_and_refuses_another_by_name(key):
    only = resolved(Config())[key]
    other = {bool: True, int: 3, float: 0.5, str: "other"}[type(only)]
    section, leaf = key.rsplit(".", 1)
    wanted = f"`{leaf}` is fixed: got {other!r}, only {only!r} is implemented"
    assert parse_config(nested(key, only)) == Config()
    with pytest.raises(ConfigError, match=rf"^in `{section}(\.{leaf})?`: {re.escape(wanted)}$"):
        parse_config(nested(key, other))


def test_every_leaf_declares_a_kind():
    kinds = field_kinds()
    assert set(kinds) == set(resolved(Config()))
    assert set(kinds.values()) == {"dynamics", "protocol", "observation", "environment", "fixed"}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("train.clip_position", "dynamics"),
        ("eval.crop", "protocol"),
        ("checkpoint.every_steps", "observation"),
        ("runtime.threads", "environment"),
        ("train.distill.lambda", "fixed"),
    ],
)
def test_a_leaf_is_of_the_kind_that_its_effect_makes_it(key, kind):
    assert field_kinds()[key] == kind


@given(
    seed=st.integers(0, 2**63),
    lr=st.floats(min_value=1.2e-38, max_value=3e38),
    crop=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
    # A file's text that begins with a tilde, or holds a variable, is another place's name.
    name=st.text(st.characters(exclude_characters="\0$", codec="utf-8"), min_size=1).filter(
        lambda name: not name.startswith("~")
    ),
    batches=st.just("full") | st.integers(1, 99),
)
@example(seed=1, lr=0.1, crop=None, name="a\x85b\u2028\u2029", batches=1)
@settings(max_examples=50)
def test_a_dumped_configuration_reads_back_equal(tmp_path_factory, seed, lr, crop, name, batches):
    tree = {
        "runtime": {"seed": seed, "experiment_name": name},
        "train": {"lr": lr},
        "eval": {"crop": crop, "eval_batches_per_arch": batches},
    }
    config = parse_config(tree)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config
    assert (config.runtime.seed, config.train.lr, config.eval.crop) == (seed, lr, crop)


def test_a_dumped_file_loads_back_equal(tmp_path):
    config, path = load_config(BORROWED), tmp_path / "resolved.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    assert load_config(path) == config != Config()


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("train.lr=1e-3", "train.lr", 0.001),
        ("train.lr=2.5E-4", "train.lr", 0.00025),
        ("eval.crop=[32, 48]", "eval.crop", [32, 48]),
        ("data.flow_clip=null", "data.flow_clip", None),
        ("runtime.onednn=false", "runtime.onednn", False),
        ("runtime.experiment_name=a=b", "runtime.experiment_name", "a=b"),
        ("runtime.experiment_name=1e5", "runtime.experiment_name", "1e5"),
        ("eval.eval_batches_per_arch=full", "eval.eval_batches_per_arch", "full"),
        ("train.distill.lambda=1", "train.distill.lambda", 1.0),
    ],
)
def test_an_override_sets_its_key_and_no_other(assignment, key, value):
    before = load_config(BORROWED)
    changed = resolved(with_overrides(before, [assignment]))
    assert changed == resolved(before) | {key: value}
    assert type(changed[key]) is type(value)


def test_the_last_of_several_overrides_wins():
    config = with_overrides(Config(), ["train.batch_size=3", "train.lr=1", "train.batch_size=5"])
    assert (config.train.batch_size, config.train.lr) == (5, 1.0)


@pytest.mark.parametrize(
    ("assignment", "wanted"),
    [
        ("train.lr", r"expected KEY=VALUE such as train\.lr=1e-3, got 'train\.lr'"),
        ("train.lr.deep=1", "`train.lr.deep`: `lr` is a value, not a section"),
        ("train.batchsize=3", "did you mean `train.batch_size`"),
        ("train.lr=0", "`train.lr`: .*greater than 0, got 0"),
        ("train.lr=[1", r"train\.lr=\[1"),
        ("runtime.experiment_name=a: b: c", r"runtime\.experiment_name=a: b: c"),
    ],
)
def test_a_wrong_override_is_named(assignment, wanted):
    with pytest.raises(ConfigError, match=wanted):
        with_overrides(Config(), [assignment])


@pytest.mark.parametrize(
    ("mode", "sampling", "needed"),
    [
        ("full_pass", "random", "shuffle_no_replacement"),
        ("fixed_steps", "shuffle_no_replacement", "random"),
    ],
)
def test_a_sampling_mode_that_the_epoch_mode_cannot_serve_is_refused(mode, sampling, needed):
    wanted = f"`train_sampling_mode` is '{sampling}', but epoch_mode '{mode}' needs '{needed}'"
    with pytest.raises(ConfigError, match=f"in `train`: {wanted}"):
        parse_config({"train": {"epoch_mode": mode, "train_sampling_mode": sampling}})
    right = {"epoch_mode": mode, "train_sampling_mode": needed}
    assert parse_config({"train": right}).train.train_sampling_mode == needed


def test_a_micro_batch_larger_than_the_batch_is_refused():
    with pytest.raises(ConfigError, match="`micro_batch_size` is 6, larger than `batch_size` 5"):
        parse_config({"train": {"batch_size": 5, "micro_batch_size": 6}})
    whole = parse_config({"train": {"batch_size": 5, "micro_batch_size": 5}})
    assert whole.train.micro_batch == parse_config({"train": {"batch_size": 5}}).train.micro_batch


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("key", FLOATS)
def test_a_number_that_is_not_finite_is_refused(key, value):
    with pytest.raises(ConfigError, match=f"`{key}`: .*finite number, got {value}"):
        parse_config(nested(key, float(value)))


def test_the_list_of_float_keys_is_complete():
    finite = resolved(Config()) | {"data.flow_clip": 1.0, "eval.flow_clip": 1.0}
    floats = {key for key, value in finite.items() if isinstance(value, float)}
    assert floats - set(FIXED) == set(FLOATS)


@pytest.mark.parametrize("crop", [[0, 48], [32, -1], [32], [1, 2, 3], 32])
def test_a_crop_that_is_no_positive_height_and_width_is_refused(crop):
    with pytest.raises(ConfigError, match=r"`eval\.crop"):
        parse_config({"eval": {"crop": crop}})


@pytest.mark.parametrize("key", ["train", "watch", "train.distill"])
@pytest.mark.parametrize("value", [None, 3, "text", [1, 2]], ids=["empty", "int", "str", "list"])
def test_a_section_that_is_no_mapping_is_refused_in_plain_words(key, value):
    with pytest.raises(
        ConfigError, match=rf"`{key}`.* section.* got {re.escape(repr(value))}"
    ) as e:
        parse_config(nested(key, value))
    assert "instance of" not in str(e.value)


@pytest.mark.parametrize("value", [0, "half", 2.5])
def test_a_wrong_batch_count_is_refused_under_its_own_key(value):
    with pytest.raises(ConfigError, match=r"`eval\.eval_batches_per_arch`: ") as caught:
        parse_config({"eval": {"eval_batches_per_arch": value}})
    assert "constrained-int" not in str(caught.value)


@pytest.mark.parametrize("key", ["train.batch_size", "runtime.seed", "train.lr"])
def test_a_truth_value_is_no_number(key):
    with pytest.raises(ConfigError, match=f"`{key}`.*got True"):
        parse_config(nested(key, True))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- train\n- eval\n", "expected sections such as `train:`, found list"),
        ("just words\n", "expected sections such as `train:`, found str"),
        ("train: [1\n", "not readable as YAML"),
        ("train: {lr: 0}\n", "`train.lr`: .*got 0"),
        ("train: {batchsize: 0}\n", "did you mean `train.batch_size`"),
        ("train:\n  lr: 1.0\n  lr: 2.0\n", "`?lr`?.*(twice|duplicate)|duplicate.*lr"),
    ],
    ids=["list", "text", "broken", "range", "unknown", "twice"],
)
def test_a_wrong_file_is_named(tmp_path, text, wanted):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(path))}: (?s:.)*({wanted})"):
        load_config(path)


@pytest.mark.parametrize(
    ("root", "wanted"),
    [
        ("nowhere", "nowhere: expected a folder train/ in it; there is no such folder"),
        ("fc2/val", "val: expected a folder train/ in it; name the folder above it, which holds"),
        ("other", "other: expected a folder train/ in it, found b, c, d, ..."),
        ("flat", "flat: expected a folder train/ in it, found no folder there"),
    ],
)
def test_a_root_without_splits_is_told_what_is_there(tmp_path, root, wanted):
    for name in ("fc2/train", "fc2/val", "flat", *(f"other/{letter}" for letter in "bcde")):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "flat" / "a.txt").touch()
    with pytest.raises(ConfigError, match=re.escape(wanted)):
        with_fc2_root(Config(), tmp_path / root)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no such configuration file: .*absent\.yaml"):
        load_config(tmp_path / "absent.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xff\xfe\x00train")
    with pytest.raises(ConfigError, match=r"run\.yaml: not readable as YAML"):
        load_config(path)


def test_a_configuration_cannot_be_changed_in_place():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.train.lr = 1.0


def test_an_evaluation_takes_training_values_where_it_has_none_of_its_own():
    own = {"eval": {"batch_size": 3, "crop": [20, 30]}}
    common = {"train": {"batch_size": 5}, "data": {"input_height": 32, "input_width": 48}}
    plain, apart = parse_config(common), parse_config(common | own)
    assert (plain.eval_batch_size, plain.eval_crop, plain.train_crop) == (5, (32, 48), (32, 48))
    assert (apart.eval_batch_size, apart.eval_crop, apart.train_crop) == (3, (20, 30), (32, 48))


def test_a_split_lies_below_the_base_path():
    config = load_config(BORROWED)
    assert config.data.split_dir("train") == Path("../frames/some/train")
    assert config.data.split_dir("val") == Path("../frames/some/val")


@pytest.mark.parametrize("key", ["train.lr", "train.grad_clip_global_norm", "train.weight_decay"])
def test_a_number_that_float32_takes_for_0_is_refused(key):
    with pytest.raises(ConfigError, match=r"is 0 in float32, in which .*: got 1e-46"):
        with_overrides(parse_config({}), [f"{key}=1e-46"])
    assert with_overrides(parse_config({}), [f"{key}=1e-37"])


@pytest.mark.parametrize("text", ["train={}", "train={lr: 0.5}", "train.distill={}"])
def test_an_override_of_a_whole_section_is_refused(text):
    with pytest.raises(ConfigError, match="is a section, whose other keys would be lost"):
        with_overrides(parse_config({"train": {"batch_size": 7}}), [text])
