import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.fc2.layout import MEMBERS, LayoutError, Left, left_lines, list_triplets, member_name

# What the data set holds beside the three members, twenty per sample.
COMPANIONS = [
    *(f"{kind}_{way}.png" for kind in ("occ", "occ_weights", "oids", "mb") for way in ("01", "10")),
    *(f"{kind}_{i}.png" for kind in ("oids", "mb_weights", "disp", "seg") for i in (0, 1)),
    "flow_10.flo", "img_2.png", "img_0.jpg", "img_00.png",
]  # fmt: skip


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def put_sample(folder, *numbers, members=MEMBERS):
    put(folder, *(member_name(number, member) for number in numbers for member in members))


def ids(root):
    return [triplet.id for triplet in list_triplets(root)]


class Listing:
    """A folder's entries in an order that a file system might well return."""

    def __init__(self, entries, key):
        self._entries = iter(sorted(entries, key=key))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)


def answer_in_order(monkeypatch, key):
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Listing(list(scan(path)), key))


FORWARD, BACKWARD = (lambda e: e.name), (lambda e: tuple(-ord(c) for c in e.name))


def test_a_sample_is_three_files_beside_one_another(tmp_path):
    put_sample(tmp_path, 7)
    (triplet,) = list_triplets(tmp_path)
    assert triplet.id == "0000007"
    assert triplet.img_0 == tmp_path / "0000007-img_0.png"
    assert triplet.img_1 == tmp_path / "0000007-img_1.png"
    assert triplet.flow == tmp_path / "0000007-flow_01.flo"
    assert all(path.is_file() for path in (triplet.img_0, triplet.img_1, triplet.flow))


@given(st.permutations([3, 10, 9_999_999, 0, 21]))
@settings(max_examples=10)
def test_the_order_in_which_files_were_made_does_not_matter(tmp_path_factory, numbers):
    root = tmp_path_factory.mktemp("made")
    put_sample(root, *numbers, members=MEMBERS[::-1])
    assert ids(root) == ["0000000", "0000003", "0000010", "0000021", "9999999"]


@pytest.mark.parametrize("key", [FORWARD, BACKWARD], ids=["forward", "backward"])
def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch, key):
    put_sample(tmp_path / "b", 2, 1)
    put_sample(tmp_path / "a" / "z", 4)
    put_sample(tmp_path, 3)
    answer_in_order(monkeypatch, key)
    assert ids(tmp_path) == ["0000003", "a/z/0000004", "b/0000001", "b/0000002"]


def test_nested_folders_are_part_of_the_id(tmp_path):
    put_sample(tmp_path / "part3" / "deep", 7)
    put_sample(tmp_path / "part1", 7)
    assert ids(tmp_path) == ["part1/0000007", "part3/deep/0000007"]
    assert list_triplets(tmp_path)[1].flow == tmp_path / "part3/deep/0000007-flow_01.flo"


def test_companions_are_passed_over(tmp_path):
    put_sample(tmp_path, 5)
    put(tmp_path, *(member_name(number, c) for number in (5, 6) for c in COMPANIONS))
    put(tmp_path, "README.txt", "img_0.png", "0000008-img_0.png.part", "0000009_img_0.png")
    assert ids(tmp_path) == ["0000005"]


def test_every_missing_member_is_listed(tmp_path):
    put_sample(tmp_path, 0, 1, 2)
    (tmp_path / "0000000-flow_01.flo").unlink()
    (tmp_path / "0000002-img_0.png").unlink()
    (tmp_path / "0000002-img_1.png").unlink()
    members = "0000000-flow_01.flo, 0000002-img_0.png, 0000002-img_1.png"
    wanted = f"{tmp_path}: 3 missing members in 3 samples: {members}. Restore"
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(wanted)}"):
        list_triplets(tmp_path)


def test_many_missing_members_are_counted_and_the_first_ten_listed(tmp_path):
    put_sample(tmp_path, *range(11), members=MEMBERS[:2])
    shown = ", ".join(f"{number:07d}-flow_01.flo" for number in range(10))
    wanted = f"11 missing members in 11 samples: {shown}, .... Restore"
    with pytest.raises(FileNotFoundError, match=re.escape(wanted)):
        list_triplets(tmp_path)


def test_a_member_in_another_folder_is_missing(tmp_path):
    put_sample(tmp_path / "a", 1, members=MEMBERS[:2])
    put_sample(tmp_path / "b", 1, members=MEMBERS[2:])
    with pytest.raises(FileNotFoundError, match="3 missing members in 2 samples: a/0000001-flow"):
        list_triplets(tmp_path)


@pytest.mark.parametrize(
    "stem", ["1", "000001", "00000001", "part-0000001", "000000x", "\u0660" * 7]
)
def test_a_stem_without_seven_digits_is_named(tmp_path, stem):
    put_sample(tmp_path, 4)
    put(tmp_path / "odd", f"{stem}-img_1.png")
    wanted = f"{tmp_path / 'odd'}/{stem}-img_1.png: expected seven digits before -img_1.png"
    with pytest.raises(ValueError, match=f"^{re.escape(wanted)}$"):
        list_triplets(tmp_path)


def test_a_folder_without_samples_is_named(tmp_path):
    put(tmp_path, *(member_name(0, companion) for companion in COMPANIONS))
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(str(tmp_path))}: no sample found"):
        list_triplets(tmp_path)


def test_an_absent_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    for name in ("absent", "file"):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {tmp_path / name}"):
            list_triplets(tmp_path / name)


def test_a_linked_folder_is_followed(tmp_path):
    put_sample(tmp_path / "elsewhere", 1)
    put_sample(tmp_path / "root", 2)
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    assert ids(tmp_path / "root") == ["0000002", "linked/0000001"]


@pytest.mark.parametrize("target", [".", "a", "a/b"])
def test_a_loop_of_links_ends_and_repeats_no_sample(tmp_path, target):
    put_sample(tmp_path / "a" / "b", 1)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / target)
    assert ids(tmp_path) == ["a/b/0000001"]


def test_a_linked_root_gives_the_same_ids(tmp_path):
    put_sample(tmp_path / "root" / "part", 1, 2)
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert ids(tmp_path / "link") == ids(tmp_path / "root") == ["part/0000001", "part/0000002"]


def test_a_folder_reached_twice_has_the_same_id_on_every_file_system(tmp_path):
    put_sample(tmp_path / "b", 1)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    found = []
    for key in (FORWARD, BACKWARD):
        with pytest.MonkeyPatch.context() as patch:
            answer_in_order(patch, key)
            found.append(ids(tmp_path))
    assert found[0] == found[1]
    assert len(found[0]) == 1


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    put_sample(tmp_path, 1)
    put_sample(tmp_path / "locked", 2)
    scan = os.scandir

    def deny(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(OSError, match="locked"):
        list_triplets(tmp_path)


def test_many_samples_among_their_companions_take_one_walk(tmp_path, monkeypatch):
    folders = [tmp_path / "part0", tmp_path / "part1", tmp_path]
    for number in range(101):
        folder = folders[number % 3]
        folder.mkdir(exist_ok=True)
        for member in (*MEMBERS, *COMPANIONS):
            (folder / member_name(number, member)).touch()
    scans, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scans.append(str(path)) or scan(path))
    found = ids(tmp_path)
    assert len(COMPANIONS) == 20
    assert len(found) == len(set(found)) == 101
    assert sorted(scans) == sorted(map(str, folders))


HIDDEN = [".Trash-1000", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_a_sample_in_a_hidden_folder_is_not_taken_and_the_folder_is_told(tmp_path, hidden):
    put_sample(tmp_path / "train", 1)
    put_sample(tmp_path / "train" / hidden / "files", 2)
    put_sample(tmp_path / "train" / "part" / hidden, 3)
    assert ids(tmp_path / "train") == ["0000001"]
    assert left_lines(list_triplets(tmp_path / "train")) == [
        f"note: {tmp_path / 'train'}: passed over: 2 hidden folders "
        f"({', '.join(sorted([hidden, f'part/{hidden}']))})"
    ]


def test_a_hidden_folder_is_not_entered(tmp_path):
    put_sample(tmp_path / "train", 1)
    (tmp_path / "train" / "lost+found").mkdir(mode=0)
    assert ids(tmp_path / "train") == ["0000001"]


def test_a_split_that_lies_in_a_hidden_folder_is_listed(tmp_path):
    put_sample(tmp_path / ".cache" / "train", 1)
    assert ids(tmp_path / ".cache" / "train") == ["0000001"]


def test_resource_forks_of_members_are_passed_over_and_told(tmp_path):
    put_sample(tmp_path / "train", 0, 1)
    put(tmp_path / "train", "._0000000-img_0.png", "._0000001-flow_01.flo", ".DS_Store", "._README")
    samples = list_triplets(tmp_path / "train")
    assert [sample.id for sample in samples] == ["0000000", "0000001"]
    assert samples.left == Left(hidden=("._0000000-img_0.png", "._0000001-flow_01.flo"))
    assert left_lines(samples)[0].endswith(
        "2 hidden files (._0000000-img_0.png, ._0000001-flow_01.flo)"
    )


@pytest.mark.parametrize(
    "names",
    [
        ("IMG_0.PNG", "IMG_1.PNG", "FLOW_01.FLO"),
        ("img_0.jpg", "img_1.jpg", "flow_01.flo"),
        ("img_0.png", "img_1.png", "flow_01.FLO"),
        ("img_0.ppm", "img_1.ppm", "flow_01.flo"),
        ("img_0.png.part", "img_1.png", "flow_01.flo"),
        ("img_0.png", "Img_1.png", "flow_01.pfm"),
    ],
)
def test_a_sample_whole_but_for_case_or_suffix_is_refused_and_named(tmp_path, names):
    put_sample(tmp_path, 4)
    put(tmp_path / "part", *(f"0000005-{name}" for name in names))
    with pytest.raises(InputError) as caught:
        list_triplets(tmp_path)
    said = str(caught.value)
    assert "part/0000005" in said
    odd = sorted(set(names) - set(MEMBERS))
    assert all(f"0000005-{name}" in said for name in odd)
    assert "\n" not in said


def test_what_is_nearly_a_member_of_no_sample_is_told_and_of_a_sample_is_not(tmp_path):
    put_sample(tmp_path / "train", 4)
    put(tmp_path / "train", "0000004-img_0.jpg", "0000005-img_0.jpg", "0000006-img_0.PNG")
    samples = list_triplets(tmp_path / "train")
    assert samples.left == Left(nearly=("0000005-img_0.jpg", "0000006-img_0.PNG"))
    assert "2 files named almost as members (0000005-img_0.jpg, 0" in left_lines(samples)[0]


def test_members_beside_the_split_are_told(tmp_path):
    put_sample(tmp_path / "train", 4)
    put_sample(tmp_path / "val", 4)
    put(tmp_path, "0000007-img_0.png", "README.txt")
    lines = left_lines(*(list_triplets(tmp_path / split) for split in ("train", "val")))
    assert lines == [
        f"note: {tmp_path / split}: passed over: 1 file beside it (0000007-img_0.png)"
        for split in ("train", "val")
    ]


def test_a_clean_folder_tells_nothing(tmp_path):
    put_sample(tmp_path / "train", 4)
    assert left_lines(list_triplets(tmp_path / "train")) == []


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link that leads nowhere", "a socket"])
def test_a_member_that_is_no_file_is_named(tmp_path, kind):
    put_sample(tmp_path, 4)
    path = tmp_path / "0000004-img_1.png"
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.symlink_to("nowhere")
    wanted = rf"^{re.escape(str(path))}: is {kind}, expected a file$"
    with pytest.raises(InputError, match=wanted):
        list_triplets(tmp_path)


@pytest.mark.parametrize("fill", [None, "hidden", "readme"])
def test_an_empty_split_is_one_line_with_what_is_there_instead(tmp_path, fill):
    (tmp_path / "train").mkdir()
    if fill == "hidden":
        put_sample(tmp_path / "train" / ".Trash-1000", 1)
    elif fill == "readme":
        put(tmp_path / "train", "README")
    with pytest.raises(InputError, match=r"train: no sample found, expected files named") as caught:
        list_triplets(tmp_path / "train")
    assert "\n" not in str(caught.value)
    assert (".Trash-1000" in str(caught.value)) is (fill == "hidden")


def test_a_name_of_several_lines_is_told_in_one(tmp_path):
    put_sample(tmp_path / "train", 4)
    put_sample(tmp_path / "train" / ".a\nb", 5)
    [line] = left_lines(list_triplets(tmp_path / "train"))
    assert line.isprintable()


def test_a_sample_whose_id_is_no_text_is_refused(tmp_path):
    inner = tmp_path / "train" / os.fsdecode(b"p\xff")
    put_sample(inner, 7)
    with pytest.raises(LayoutError, match="folder whose name is no UTF-8"):
        list_triplets(tmp_path / "train")
    assert len(list_triplets(inner)) == 1, "what a split lies in is no part of an id"


def test_a_split_within_the_other_is_told(tmp_path):
    put_sample(tmp_path / "fc2" / "train", 0)
    put_sample(tmp_path / "fc2" / "val", 1)
    val = list_triplets(tmp_path / "fc2" / "val")
    assert left_lines(list_triplets(tmp_path / "fc2" / "train"), val) == []
    (tmp_path / "same").symlink_to("fc2/val")
    for train in (tmp_path / "fc2", tmp_path / "same"):
        [line] = left_lines(list_triplets(train), val)
        assert line.endswith("what is trained on is scored, too")
