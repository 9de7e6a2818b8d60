"""What stands between a frame's file and native code: lengths, one reading, files alone."""

import os
import re

import cv2
import numpy as np
import pytest

from harness.fc2 import decode as decode_module
from harness.fc2.decode import decode_triplet, fingerprint, read_flow, read_image
from harness.fc2.errors import SampleError
from harness.fc2.layout import list_triplets
from harness.fc2.synthetic import write_dataset
from tests.hostile_frames import HARMLESS, IMAGE, LYING, by_hand, chunk
from tests.limited import in_child


@pytest.fixture
def triplet(tmp_path):
    write_dataset(tmp_path / "fc2", train=1, val=1, height=21, width=37)
    return list_triplets(tmp_path / "fc2" / "train")[0]


@pytest.mark.parametrize(
    "what", ["refuse_lying_frames", "read_harmless_frames", "refuse_long_files",
             "say_out_of_memory"],
)  # fmt: skip
def test_a_frame_takes_no_more_memory_than_its_file_can_fill(tmp_path, what):
    in_child(f"tests.hostile_frames:{what}", tmp_path / "0000004-img_0.png")


def test_a_folder_whose_name_is_no_utf_8_is_read(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xff\xfe\xe9"
    write_dataset(tmp_path / "fc2", train=1, val=1, height=21, width=37)
    (tmp_path / "fc2").rename(os.fsdecode(folder))
    [found] = list_triplets(type(tmp_path)(os.fsdecode(folder)) / "train")
    assert decode_triplet(found).content == fingerprint(found)


def test_each_file_is_read_once_and_what_was_read_is_decoded(triplet, monkeypatch):
    opened, whole = [], decode_triplet(triplet)

    def open_once(path):
        opened.append(path.name)
        file = real(path)
        path.unlink()  # whoever reads it again finds nothing
        return file

    real = decode_module.open_regular
    monkeypatch.setattr(decode_module, "open_regular", open_once)
    found = decode_triplet(triplet)
    assert opened == [path.name for path in (triplet.img_0, triplet.img_1, triplet.flow)]
    assert found.content == whole.content
    np.testing.assert_array_equal(found.frames, whole.frames)
    np.testing.assert_array_equal(found.flow, whole.flow)


def test_flow_has_the_bits_that_opencv_reads(tmp_path):
    bits = np.random.default_rng(2).integers(0, 2**32, (13, 21, 2), dtype=np.uint32)
    flow = np.where(np.isnan(bits.view(np.float32)), np.float32(-0.0), bits.view(np.float32))
    path = tmp_path / "a.flo"
    path.write_bytes(b"PIEH\x15\0\0\0\x0d\0\0\0" + flow.tobytes())
    found = read_flow(path)
    assert found.tobytes() == cv2.readOpticalFlow(str(path)).tobytes() == flow.tobytes()
    assert found.dtype == np.float32
    assert found.flags.writeable
    assert found.flags.aligned


@pytest.mark.parametrize("depth", [1, 8])
def test_a_palette_has_the_pixels_that_opencv_reads(tmp_path, depth):
    from PIL import Image

    picture = Image.fromarray(IMAGE).quantize(2 if depth == 1 else 200)
    picture.save(tmp_path / "a.png", bits=depth)
    content = np.frombuffer((tmp_path / "a.png").read_bytes(), np.uint8)
    wanted = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), wanted)


def test_what_stands_beside_the_pixels_is_not_printed(tmp_path, capfd):
    for content in HARMLESS.values():
        (tmp_path / "a.png").write_bytes(content)
        read_image(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


def test_transparent_colours_are_refused_as_a_fourth_channel(tmp_path):
    (tmp_path / "a.png").write_bytes(by_hand(IMAGE, before=chunk(b"tRNS", bytes(6))))
    with pytest.raises(SampleError, match=r"expected 8-bit BGR.*found uint8 \(13, 21, 4\)"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "a JPEG"), (".bmp", "a BMP"), (".tiff", "a TIFF"),
                         (".ppm", "a PPM"), (".webp", "a WebP")],
)  # fmt: skip
def test_another_format_under_the_name_of_a_png_is_named(tmp_path, suffix, kind):
    path = tmp_path / "0000004-img_0.png"
    path.write_bytes(cv2.imencode(suffix, IMAGE)[1].tobytes())
    with pytest.raises(SampleError, match=rf"{re.escape(str(path))}: .* {kind}, not a PNG$"):
        read_image(path)


@pytest.mark.parametrize("member", ["img_0", "img_1", "flow"])
@pytest.mark.parametrize("read", [decode_triplet, fingerprint])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(triplet, member, read):
    path = getattr(triplet, member)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SampleError, match=rf"{path.name}: expected a file, found a pipe"):
        read(triplet)


@pytest.mark.parametrize("bit", [13, 24, 30, 31])
def test_a_chunk_longer_than_the_file_is_named_with_its_place(tmp_path, bit):
    path = tmp_path / "0000004-img_0.png"
    path.write_bytes(LYING[f"one bit of the length, {bit}"])
    with pytest.raises(
        SampleError, match=r"chunk b'IDAT' at byte 33 claims \d+ bytes, \d+ are left"
    ):
        read_image(path)
