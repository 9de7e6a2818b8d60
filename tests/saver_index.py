"""The index of a TensorFlow Saver as bytes: where its blocks lie, and checksums that hold."""

import struct

_MAGIC = 0xDB4775248B80FB57


def _table():
    found = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
        found.append(value)
    return found


_TABLE = _table()


def masked_crc(content):
    """Return CRC-32C as LevelDB stores it: rotated, plus a constant."""
    value = 0xFFFFFFFF
    for byte in content:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(content, at):
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def blocks(content):
    """Return (start, length) of each block of an index that is whole."""
    footer = content[-48:]
    assert struct.unpack("<Q", footer[-8:])[0] == _MAGIC
    found, at = [], 0
    for _ in range(2):  # what describes the table, and what lists the blocks
        start, at = varint(footer, at)
        length, at = varint(footer, at)
        found.append((start, length))
    start, length = found[1]
    end = start + length - 4 - 4 * struct.unpack_from("<I", content, start + length - 4)[0]
    at = start
    while at < end:
        _, at = varint(content, at)
        key, at = varint(content, at)
        value, at = varint(content, at)
        place, inner = varint(content, at + key)
        size, _ = varint(content, inner)
        found.append((place, size))
        at += key + value
    return found


def sealed(content, whole):
    """Return a damaged index of the same length whose blocks have checksums that hold."""
    found = bytearray(content)
    for start, length in blocks(whole):
        end = start + length + 1
        struct.pack_into("<I", found, end, masked_crc(found[start:end]))
    return bytes(found)
