import hashlib
import re
import shutil
from itertools import pairwise

import pytest

from harness.cli import main
from harness.errors import InputError
from harness.fc2.layout import MEMBERS, list_triplets, member_name
from harness.fc2.subset import choose, write_subset


def put_sample(folder, number):
    folder.mkdir(parents=True, exist_ok=True)
    for member in (*MEMBERS, "occ_01.png"):
        path = folder / member_name(number, member)
        path.write_bytes(str(path.name).encode() * (1 + number % 5))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("full")
    for number in range(13):
        put_sample(root / "train" / f"part{number % 2}", number)
    for number in range(100, 109):
        put_sample(root / "val", number)
    return root


def files(root):
    found = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in found.items()}


def ids(root, split):
    return [triplet.id for triplet in list_triplets(root / split)]


def test_a_subset_holds_the_counts_asked_for_as_copies_of_the_source(source, tmp_path):
    write_subset(source, tmp_path / "out", train=5, val=4)
    assert (len(ids(tmp_path / "out", "train")), len(ids(tmp_path / "out", "val"))) == (5, 4)
    copied, original = files(tmp_path / "out"), files(source)
    del copied["MANIFEST.tsv"]
    assert len(copied) == 3 * (5 + 4)
    assert copied.items() <= original.items()


def test_the_same_seed_gives_the_same_subset(source, tmp_path):
    for name in ("one", "two"):
        write_subset(source, tmp_path / name, train=5, val=4, seed=3)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_another_seed_gives_another_subset(source, tmp_path):
    for seed in (0, 1):
        write_subset(source, tmp_path / str(seed), train=5, val=4, seed=seed)
    for split in ("train", "val"):
        assert ids(tmp_path / "0", split) != ids(tmp_path / "1", split)


def test_the_choice_is_the_same_on_every_version_and_machine(source):
    # Pinned so that a subset can be cut again from the same seed, years later.
    train = choose(list_triplets(source / "train"), 3, seed=0, split="train")
    val = choose(list_triplets(source / "val"), 3, seed=0, split="val")
    assert [t.id for t in train] == ["part0/0000002", "part1/0000001", "part1/0000011"]
    assert [t.id for t in val] == ["0000102", "0000104", "0000106"]


def test_the_choice_depends_on_the_split_and_is_sorted(source):
    samples = list_triplets(source / "train")
    chosen = {split: choose(samples, 6, seed=2, split=split) for split in ("train", "val")}
    assert chosen["train"] != chosen["val"]
    for found in chosen.values():
        assert [t.id for t in found] == sorted({t.id for t in found})
        assert set(found) < set(samples)


def test_a_larger_subset_contains_the_smaller(source):
    samples = list_triplets(source / "train")
    chosen = [set(choose(samples, count, seed=2, split="train")) for count in range(1, 14)]
    assert all(few < more for few, more in pairwise(chosen))
    assert chosen[-1] == set(samples)


def test_the_manifest_names_every_file_with_its_hash_and_size(source, tmp_path):
    manifest = write_subset(source, tmp_path / "out", train=5, val=4)
    assert manifest == tmp_path / "out" / "MANIFEST.tsv"
    head, *lines = manifest.read_text(encoding="utf-8").splitlines()
    assert head == "file\tsha256\tbytes"
    wanted = files(tmp_path / "out")
    del wanted["MANIFEST.tsv"]
    assert sorted(lines) == sorted(
        f"{name}\t{hashlib.sha256(content).hexdigest()}\t{len(content)}"
        for name, content in wanted.items()
    )


def test_an_existing_folder_is_refused_and_left_alone(source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(FileExistsError, match="out"):
        write_subset(source, tmp_path / "out", train=5, val=4)
    assert files(tmp_path / "out") == {"mine.txt": b"keep"}


@pytest.mark.parametrize(
    ("train", "val", "wanted"),
    [
        (14, 4, "train: asked for 14 samples, expected 1 to 13"),
        (5, 10, "val: asked for 10 samples, expected 1 to 9"),
        (0, 4, "train: asked for 0 samples, expected 1 to 13"),
        (5, -1, "val: asked for -1 samples, expected 1 to 9"),
    ],
)
def test_a_count_that_a_split_does_not_have_is_refused_before_a_file_is_written(
    source, tmp_path, train, val, wanted
):
    with pytest.raises(InputError, match=f"^{re.escape(wanted)}$"):
        write_subset(source, tmp_path / "out", train=train, val=val)
    assert not (tmp_path / "out").exists()


def test_all_samples_can_be_asked_for(source, tmp_path):
    write_subset(source, tmp_path / "out", train=13, val=9)
    for split in ("train", "val"):
        assert ids(tmp_path / "out", split) == ids(source, split)


def test_what_the_source_holds_beside_samples_is_told_and_not_copied(source, tmp_path, capsys):
    shutil.copytree(source, tmp_path / "fc2")
    put_sample(tmp_path / "fc2" / "train" / ".Trash-1000", 50)
    (tmp_path / "fc2" / "val" / "._0000100-img_0.png").write_bytes(b"fork")
    words = ["subset", str(tmp_path / "fc2"), str(tmp_path / "out"), "--train", "13", "--val", "9"]
    assert main(words) == 0
    said = capsys.readouterr()
    for line in (
        f"note: {tmp_path}/fc2/train: passed over: 1 hidden folder (.Trash-1000)",
        f"note: {tmp_path}/fc2/val: passed over: 1 hidden file (._0000100-img_0.png)",
    ):
        assert line in (said.out + said.err).splitlines()
    assert not [name for name in files(tmp_path / "out") if "/." in name]
