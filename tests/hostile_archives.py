"""Archives of arrays that lie about themselves; small files, what they claim is not."""

import io
import zipfile
from pathlib import Path

import numpy as np

from tests.limited import MIB, at_most

ARRAYS = {"E0/kernel": np.arange(12, dtype=np.float32), "step": np.int64(7)}


def archive(compression=zipfile.ZIP_STORED, **members):
    """Return a zip file of members given as bytes or arrays, by name without suffix."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", compression) as writer:
        for name, content in (ARRAYS | members).items():
            writer.writestr(f"{name}.npy", content if isinstance(content, bytes) else npy(content))
    return found.getvalue()


def npy(array):
    found = io.BytesIO()
    np.lib.format.write_array(found, np.asanyarray(array))
    return found.getvalue()


def claimed(header, body=bytes(48), version=1):
    """Return an array's file whose header is the given text."""
    text = header.encode("latin-1")
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + body


def shaped(shape, dtype="'<f4'"):
    return claimed(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n")


def _directory_lies():
    """Return an archive whose directory gives an array a length of 4 GB."""
    content = bytearray(archive())
    at = content.index(b"PK\1\2")
    content[at + 20 : at + 28] = b"\xf0\xff\xff\xff" * 2
    return bytes(content)


def one_body_for_many():
    """Return an archive of 2,000 names for one array of a mebibyte."""
    content = archive(**{"big": np.zeros(MIB, np.uint8)})
    start = content.index(b"PK\1\2")
    end = content.rindex(b"PK\5\6")
    entries, at = content[start:end], content.rindex(b"PK\1\2", 0, end)
    last = content[at:end]
    many = b"".join(last.replace(b"big.npy", b"%03d.npy" % (n % 1000)) for n in range(1000))
    directory = entries + many
    tail = bytearray(content[end:])
    tail[8:12] = (len(ARRAYS) + 1001).to_bytes(2, "little") * 2
    tail[12:16] = len(directory).to_bytes(4, "little")
    return content[:start] + directory + bytes(tail)


def _directory_alone():
    """Return an archive that is all directory."""
    content = archive()
    start, end = content.index(b"PK\1\2"), content.rindex(b"PK\5\6")
    directory = content[start:end] * 150_000
    tail = bytearray(content[end:])
    tail[12:16] = len(directory).to_bytes(4, "little")
    return content[:start] + directory + bytes(tail)


def lying():
    """Return archives that must be refused, by what is wrong with them."""
    f4 = "'<f4'"
    return {
        "an unknown array that inflates": archive(
            zipfile.ZIP_DEFLATED, more=npy(np.zeros(2**26, np.uint8))
        ),
        "a known array that inflates": archive(
            zipfile.ZIP_DEFLATED, **{"E0/kernel": npy(np.zeros(2**26, np.uint8))}
        ),
        "bzip2": archive(zipfile.ZIP_BZIP2),
        "an unknown array": archive(more=np.zeros(3)),
        "a shape of terabytes": archive(**{"E0/kernel": shaped("(1099511627776,)")}),
        "a shape of 400 digits": archive(**{"E0/kernel": shaped(f"({'9' * 400},)")}),
        "a product beyond 64 bits": archive(**{"E0/kernel": shaped("(4294967296, 4294967296)")}),
        "a negative side": archive(**{"E0/kernel": shaped("(-3, -4)")}),
        "a truth value as a side": archive(**{"E0/kernel": shaped("(True, 12)")}),
        "objects": archive(**{"E0/kernel": shaped("(6,)", "'|O'")}),
        "records": archive(**{"E0/kernel": shaped("(12,)", "[('a', '<f4')]")}),
        "text": archive(**{"E0/kernel": shaped("(12,)", "'<U1'")}),
        "nothing, very often": archive(**{"E0/kernel": shaped("(1099511627776,)", "'|V0'")}),
        "a header of minus signs": archive(
            **{"E0/kernel": claimed(f"{{'descr': {f4}, 'shape': ({'-' * 8000}1,)}}")}
        ),
        "a header in brackets": archive(**{"E0/kernel": claimed("(" * 9000)}),
        "a header without end": archive(**{"E0/kernel": claimed("{'descr': (" + " " * 99)}),
        "a header of 4 GB": archive(**{"E0/kernel": b"\x93NUMPY\x02\0\xff\xff\xff\xff{"}),
        "a length of 4 GB": _directory_lies(),
        "a thousand names of one body": one_body_for_many(),
        "a directory alone": _directory_alone(),
        "no archive": b"PK\5\6" + b"\xff" * 18,
        "an array alone": npy(np.zeros(3)),
        "nothing": b"",
    }


def refuse_lying_archives(path):
    """Load each lying archive as a checkpoint's, in memory that the file could fill."""
    from harness.training.checkpoint import CheckpointError, CheckpointStore, load_checkpoint

    meta = {"config": {}, "environment": {}, "identity": ""}
    store = CheckpointStore(Path(path) / "checkpoints")
    store.save("epoch-0001", ARRAYS, {"epoch": 1}, meta)
    folder = Path(path) / "checkpoints" / "epoch-0001"
    for name, content in lying().items():
        (folder / "arrays.npz").write_bytes(content)
        with at_most(2 * len(content)):
            try:
                load_checkpoint(folder)
            except CheckpointError as error:
                found = str(error)
            else:
                found = "accepted"
        assert "epoch-0001" in found, f"{name}: {found}"
        assert len(found) < 500, f"{name}: {found[:900]}"


def refuse_lying_frozen(path):
    """Read each lying archive as frozen batches."""
    from harness.fc2.frozen import FrozenError, read_frozen

    for name, content in lying().items():
        Path(path, "frozen.npz").write_bytes(content)
        with at_most(2 * len(content)):
            try:
                read_frozen(Path(path, "frozen.npz"))
            except FrozenError as error:
                found = str(error)
            else:
                found = "accepted"
        assert "frozen.npz: " in found, f"{name}: {found}"
        assert len(found) < 500, f"{name}: {found[:900]}"


def say_out_of_memory(path):
    """Load a whole checkpoint that does not fit: that is no damage, and the file is named."""
    from harness.training.checkpoint import CheckpointStore, load_checkpoint

    meta = {"config": {}, "environment": {}, "identity": ""}
    store = CheckpointStore(Path(path) / "checkpoints")
    store.save("epoch-0001", {"E0/kernel": np.ones(2**24, np.float32)}, {"epoch": 1}, meta)
    folder = Path(path) / "checkpoints" / "epoch-0001"
    found = "64 MiB fitted"
    try:
        with at_most(0):
            load_checkpoint(folder)
    except MemoryError as error:
        found = str(error)
    assert found.startswith(f"{folder / 'arrays.npz'}: no memory for its arrays"), found
    with at_most(80 * MIB):
        assert load_checkpoint(folder).arrays["E0/kernel"].sum() == 2**24
