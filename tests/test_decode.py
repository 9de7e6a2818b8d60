import re
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.fc2.decode import decode_triplet, read_flow, read_image
from harness.fc2.errors import SampleError
from harness.fc2.layout import MEMBERS, list_triplets, member_name

HEIGHT, WIDTH = 13, 21
BIG = np.float32(3e10)


def image(seed=0, shape=(HEIGHT, WIDTH, 3), dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def motion(seed=0, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).normal(0, 9, (height, width, 2)).astype(np.float32)


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


def flo(flow, width=None, height=None):
    height, width = height or flow.shape[0], width or flow.shape[1]
    return b"PIEH" + struct.pack("<ii", width, height) + flow.astype("<f4").tobytes()


def bare(width, height):
    return b"PIEH" + struct.pack("<ii", width, height)


def write(path, content):
    path.write_bytes(content)
    return path


def sample(root, **replaced):
    contents = (png(image(1)), png(image(2)), flo(motion(3)))
    for member, content in zip(MEMBERS, contents, strict=True):
        name = member.split(".")[0]
        write(root / member_name(4, member), replaced.get(name, content))
    return list_triplets(root)[0]


def sized(png_bytes, width, height):
    """Return the file with another size in its header and the checksum to match."""
    header = b"IHDR" + struct.pack(">II", width, height) + png_bytes[24:29]
    return png_bytes[:12] + header + struct.pack(">I", zlib.crc32(header)) + png_bytes[33:]


def test_an_image_decodes_to_the_pixels_it_was_made_of(tmp_path):
    path = write(tmp_path / "a.png", png(image()))
    assert read_image(path).dtype == np.uint8
    np.testing.assert_array_equal(read_image(path), image())


def test_channels_are_blue_green_red(tmp_path):
    # One pixel, written by hand: PNG stores red first.
    rows = zlib.compress(b"\x00" + bytes([200, 100, 50]))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"IDAT", rows)]
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in [*chunks, (b"IEND", b"")]:
        crc = zlib.crc32(name + body)
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)
    path = write(tmp_path / "a.png", content)
    assert read_image(path).tolist() == [[[50, 100, 200]]]


def test_a_flow_file_decodes_to_the_numbers_it_was_made_of(tmp_path):
    path = write(tmp_path / "a.flo", flo(motion()))
    assert (read_flow(path).dtype, read_flow(path).shape) == (np.float32, (HEIGHT, WIDTH, 2))
    np.testing.assert_array_equal(read_flow(path), motion())


@pytest.mark.parametrize("value", [-0.0, 1e-45, 1e9, 3.4e38, -np.inf])
def test_a_flow_value_keeps_its_bits(tmp_path, value):
    flow = motion()
    flow[5, 7, 1] = value
    path = write(tmp_path / "a.flo", flo(flow))
    assert read_flow(path).tobytes() == flow.tobytes()


def test_a_sample_decodes_to_its_three_files(tmp_path):
    decoded = decode_triplet(sample(tmp_path))
    assert decoded.frames.shape == (HEIGHT, WIDTH, 6)
    np.testing.assert_array_equal(decoded.frames[..., :3], image(1))
    np.testing.assert_array_equal(decoded.frames[..., 3:], image(2))
    np.testing.assert_array_equal(decoded.flow, motion(3))
    assert decoded.valid.shape == (HEIGHT, WIDTH)
    assert decoded.valid.all()


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (b"", r"the \.flo magic b'PIEH'", "b''"),
        (b"PIE", r"the \.flo magic b'PIEH'", "b'PIE'"),
        (b"HEIP" + flo(motion())[4:], r"the \.flo magic b'PIEH'", "b'HEIP'"),
        (flo(motion())[:11], "a header of 12 bytes", "11 bytes"),
        (bare(-21, 13) + bytes(2184), "positive width and height", "-21 x 13"),
        (bare(-21, -13) + bytes(2184), "positive width and height", "-21 x -13"),
        (bare(21, 0), "positive width and height", "21 x 0"),
        (bare(0, 0), "positive width and height", "0 x 0"),
        (bare(-(2**31), 1), "positive width and height", "-2147483648 x 1"),
        (flo(motion())[:-1], "2196 bytes for 21 x 13", "2195 bytes"),
        (flo(motion()) + b"\0", "2196 bytes for 21 x 13", "2197 bytes"),
        (flo(motion()) * 2, "2196 bytes for 21 x 13", "4392 bytes"),
        (flo(motion(), width=22), "2300 bytes for 22 x 13", "2196 bytes"),
        (flo(motion(), height=12), "2028 bytes for 21 x 12", "2196 bytes"),
        (bare(2**31 - 1, 2**31 - 1), "bytes for 2147483647 x 2147483647", "12 bytes"),
        (bare(2**15, 2**14), "4294967308 bytes for 32768 x 16384", "12 bytes"),  # 0 modulo 2**32
    ],
    ids=[
        "empty", "three-bytes", "magic", "header", "width", "both", "flat", "nothing", "least",
        "short", "long", "twice", "wider", "lower", "huge", "overflow",
    ],
)  # fmt: skip
def test_a_wrong_flow_file_is_named_with_what_is_expected_and_found(
    tmp_path, content, expected, found
):
    path = write(tmp_path / "0000004-flow_01.flo", content)
    wanted = rf"^{re.escape(str(path))}: expected .*{expected}, found {re.escape(found)}$"
    with pytest.raises(SampleError, match=wanted) as caught:
        read_flow(path)
    assert caught.value.path == path


def test_nan_in_a_flow_file_is_named_with_its_place(tmp_path):
    flow = motion()
    flow[3, 17, 1] = flow[9, 2, 0] = np.nan
    path = write(tmp_path / "a.flo", flo(flow))
    wanted = r"a\.flo: expected no NaN in the flow, found NaN at row 3, column 17$"
    with pytest.raises(SampleError, match=wanted):
        read_flow(path)


@pytest.mark.parametrize("unknown", [BIG, -BIG, np.inf, -np.inf, np.float32(1.0000001e9)])
def test_an_unknown_flow_is_masked_in_both_components_and_counted(tmp_path, unknown):
    flow = motion(3)
    flow[2, 5, 0] = flow[11, 20, 1] = flow[0, 0, 0] = flow[0, 0, 1] = unknown
    flow[6, 6] = 1e9, -1e9  # the largest that is known
    decoded = decode_triplet(sample(tmp_path, flow_01=flo(flow)))
    places = [(0, 0), (2, 5), (11, 20)]
    assert [tuple(place) for place in np.argwhere(~decoded.valid)] == places
    for place in places:
        flow[place] = 0.0
    np.testing.assert_array_equal(decoded.flow, flow)


@pytest.mark.parametrize(
    ("content", "expected", "found"),
    [
        (b"", "an image", "0 bytes that do not decode"),
        (b"no image", "an image", "8 bytes that do not decode"),
        (png(image())[:-40], "an image", r"\d+ bytes that do not decode"),
        (png(image())[:30], "an image", "30 bytes that do not decode"),
        (sized(png(image()), 40_000, 40_000), "an image", ".*do not decode|.*40000"),
        (png(image(dtype=np.uint16)), r"8-bit BGR \(H, W, 3\)", r"uint16 \(13, 21, 3\)"),
        (png(image(shape=(13, 21))), r"8-bit BGR \(H, W, 3\)", r"uint8 \(13, 21\)"),
        (png(image(shape=(13, 21, 4))), r"8-bit BGR \(H, W, 3\)", r"uint8 \(13, 21, 4\)"),
    ],
    ids=["empty", "text", "short", "header", "huge", "16-bit", "gray", "alpha"],
)
def test_a_wrong_image_is_named_with_what_is_expected_and_found(tmp_path, content, expected, found):
    path = write(tmp_path / "0000004-img_1.png", content)
    wanted = rf"^{re.escape(str(path))}: expected {expected}, found ({found})"
    with pytest.raises(SampleError, match=wanted) as caught:
        read_image(path)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("member", "content", "found"),
    [
        ("img_1", png(image(2, (HEIGHT, WIDTH + 1, 3))), "13 x 22"),
        ("img_1", png(image(2, (WIDTH, HEIGHT, 3))), "21 x 13"),
        ("flow_01", flo(motion(3, WIDTH, HEIGHT)), "21 x 13"),
        ("flow_01", flo(motion(3, HEIGHT - 1)), "12 x 21"),
    ],
    ids=["wider-frame", "turned-frame", "turned-flow", "lower-flow"],
)
def test_a_file_that_does_not_fit_the_first_frame_is_named(tmp_path, member, content, found):
    triplet = sample(tmp_path, **{member: content})
    wanted = rf"0000004-{member}\.\w+: expected 13 x 21 \(H x W\) as img_0, found {found}$"
    with pytest.raises(SampleError, match=wanted):
        decode_triplet(triplet)


@pytest.mark.parametrize("member", ["img_0", "img_1", "flow_01"])
def test_a_damaged_member_of_a_sample_is_named(tmp_path, member):
    triplet = sample(tmp_path, **{member: b"damaged"})
    with pytest.raises(SampleError, match=rf"0000004-{member}\.\w+: expected .*, found ") as caught:
        decode_triplet(triplet)
    assert caught.value.path.name.startswith(f"0000004-{member}")


@pytest.mark.parametrize("member", ["img_0", "img_1", "flow_01"])
def test_the_content_digest_follows_every_file(tmp_path, member):
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
    other = flo(motion(8)) if member == "flow_01" else png(image(8))
    one = decode_triplet(sample(tmp_path / "one")).content
    assert decode_triplet(sample(tmp_path / "two")).content == one
    assert decode_triplet(sample(tmp_path / "other", **{member: other})).content != one


def test_swapped_frames_have_another_content_digest(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    one = decode_triplet(sample(tmp_path / "one")).content
    swapped = sample(tmp_path / "other", img_0=png(image(2)), img_1=png(image(1)))
    assert decode_triplet(swapped).content != one


def check_header(path, header):
    """The numbers come back exactly where the size is one that the length allows; else refused."""
    write(path, header + motion().tobytes())
    width, height = struct.unpack("<ii", header[4:])
    if header[:4] == b"PIEH" and width > 0 and height > 0 and width * height == WIDTH * HEIGHT:
        np.testing.assert_array_equal(read_flow(path), motion().reshape(height, width, 2))
        return
    with pytest.raises(SampleError, match=rf"{path.name}: expected .*, found "):
        read_flow(path)


@given(st.dictionaries(st.integers(0, 11), st.integers(0, 255), max_size=12))
@settings(max_examples=100)
def test_a_flow_file_with_a_damaged_header_is_refused(tmp_path_factory, damage):
    header = bytearray(bare(WIDTH, HEIGHT))
    for place, value in damage.items():
        header[place] = value
    check_header(tmp_path_factory.getbasetemp() / "damaged.flo", bytes(header))


SIDES = st.sampled_from([-21, -1, 0, 1, 3, 7, 13, 21, 39, 91, 273]) | st.integers(
    -(2**31), 2**31 - 1
)


@given(SIDES, SIDES)
@settings(max_examples=200)
def test_a_flow_file_is_read_only_where_its_size_fits_its_length(tmp_path_factory, width, height):
    check_header(tmp_path_factory.getbasetemp() / "sized.flo", bare(width, height))


PLACES = range(len(png(image())))


@given(st.sampled_from(PLACES), st.integers(1, 255))
@settings(max_examples=200)
def test_a_damaged_image_never_decodes_to_other_pixels(tmp_path_factory, place, flip):
    content = bytearray(png(image()))
    content[place] ^= flip
    path = write(tmp_path_factory.getbasetemp() / "damaged.png", bytes(content))
    try:
        decoded = read_image(path)
    except SampleError:
        return
    np.testing.assert_array_equal(decoded, image())


@given(st.integers(0, len(png(image())) - 1))
@settings(max_examples=50)
def test_a_truncated_image_is_refused_at_every_length(tmp_path_factory, length):
    path = write(tmp_path_factory.getbasetemp() / "cut.png", png(image())[:length])
    with pytest.raises(SampleError, match=rf"cut\.png: expected an image, found {length} bytes"):
        read_image(path)
