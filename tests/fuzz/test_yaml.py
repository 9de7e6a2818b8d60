"""Damaged configurations and bombs of YAML: a configuration or one line, soon, in little memory."""

import re
from functools import partial

import pytest

from harness.config import Config, ConfigError, dump_config, load_config
from tests.fuzz.fuzzing import OTHERS, Limits, counts, replay, run_cases, seed
from tests.fuzz.mutators import BYTES, LINES, encoded, one_of

LIMITS = Limits(seconds=5, memory_mib=128)
WHOLE = {
    "written": b"""\
# run.yaml
shared: &shared {lr: 1.0e-3}
model: {skeleton: full, width: 8}
data: {input_height: 64, input_width: 96, base_path: '~/fc2'}
train:
  batch_size: 4
  num_epochs: 3
  lr: 1e-3
eval: {eval_batches_per_arch: full, bn_recal_batches: 8}
watch: {metric: off}
""".replace(b"shared: &shared {lr: 1.0e-3}\n", b""),
    "resolved": dump_config(Config()).encode(),
    "aliases": b"train: &one {batch_size: 2}\neval: {batch_size: 3}\nmodel: {width: 4}\n",
}
ODD = [
    b"off", b"no", b"~", b"null", b"2020-13-45", b"012", b"12:30", b"9" * 5000, b"1e999", b".nan",
    b"-.inf", b"*one", b"&one [*one]", b"<<: *one", b"!!python/object:os.system x", b"!!binary x",
    b"!!int abc", b"!!set {a}", b"? [a]\n: b", b"'", b'"', b"|\n", b"\t", b"[" * 2000,
    b"{a: " * 900, b"- " * 3000, b"%TAG ! x", b"---\n", b"...\n", b"\x85", b"\xe2\x80\xa8",
    b"0x" + b"f" * 4000, b"=", b"!<tag:yaml.org,2002:float> 1", b"1_000", b"0b2", b"-0.0",
    b"1" * 500 + b".5", b"y", b"$HOME/x",
]  # fmt: skip


def _put(random, content):
    """Put a word of YAML in the place of a value, or before a line."""
    values = [match.span(1) for match in re.finditer(rb": ([^\n{},]+)", content)] or [(0, 0)]
    start, end = random.choice(values)
    word = random.choice(ODD)
    if random.random() < 0.3:
        start = end = content.rfind(b"\n", 0, start) + 1
        word += b"\n"
    return content[:start] + word + content[end:]


def bomb(levels=9, width=9, key="lol"):
    """Return a text whose aliases unfold to width ** levels values."""
    rows = [f"{key}0: &a0 [x]"]
    for level in range(1, levels + 1):
        parts = ", ".join([f"*a{level - 1}"] * width)
        rows.append(f"{key}{level}: &a{level} [{parts}]")
    return "\n".join(rows)


BOMBS = {
    "lists": bomb(),
    "in a known key": "train: &a0 {lr: 1}\n" + "\n".join(
        f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)
    ) + "\nmodel: *a9\n",
    "merged": "a0: &a0 {x: 1}\n" + "\n".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)
    ),
    "within itself": "train: &a [*a, *a]\n",
    "deep": "train: " + "[" * 5000 + "]" * 5000,
    "deep mappings": "{a: " * 3000 + "1" + "}" * 3000,
    "many keys": "".join(f"k{n}: 1\n" for n in range(30_000)),
    "long": "train: {lr: '" + "x" * 3_000_000 + "'}\n",
    "one number": "train: {lr: " + "9" * 200_000 + "}\n",
    "spaces": " " * 250_000 + "train:",
}  # fmt: skip


def _read(folder, _, content):
    path = folder / "run.yaml"
    path.write_bytes(content)
    return load_config(path)


def _validated(_, found):
    """What is read is in the run's identity; that it is a whole configuration is all to ask."""
    return None if found == Config.model_validate(found.model_dump(by_alias=True)) else "half"


GIVEN = {"judge": _validated, "expected": (ConfigError,), "named": lambda _: "run.yaml"}


@counts(OTHERS, few=150)
def test_a_damaged_configuration_is_one_line_or_a_configuration(tmp_path, count):
    run_cases(
        "yaml", originals=WHOLE, mutate=one_of(*BYTES, *LINES, encoded, _put, _put),
        read=partial(_read, tmp_path), count=count, seed=seed(), limits=LIMITS, apart=True, **GIVEN,
    ).require_clean()  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line_soon_and_in_little_memory(tmp_path, name):
    tally = run_cases(
        f"yaml-{name}", originals={name: BOMBS[name].encode()}, mutate=lambda _, content: content,
        read=partial(_read, tmp_path), count=1, limits=Limits(seconds=5, memory_mib=96), apart=True,
        **GIVEN,
    )  # fmt: skip
    tally.require_clean()
    assert all(len(reason) <= 500 for reason in tally.reasons)


def test_what_was_found_before_is_one_line_still(tmp_path):
    replay("yaml", read=partial(_read, tmp_path), limits=LIMITS, **GIVEN).require_clean()
