# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small files written by torch, and malformed ones: the corpora of the
fuzz targets `torch` and `pickle`, which the unit tests read as well.

    python3 tools/goldens/corpus_torch.py     (torch >= 2.1 and numpy)
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.imports(__file__)

import argparse
import collections
import io
import pathlib
import pickle
import struct
import zipfile

import numpy
import torch

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus"
TORCH, PICKLE = CORPUS / "torch", CORPUS / "pickle"


def count(n, dtype=torch.float32):
    return torch.arange(n, dtype=torch.float32).to(dtype)


def save(name, value, **options):
    torch.save(value, TORCH / name, **options)
    print(name, (TORCH / name).stat().st_size)


def good():
    kinds = [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.int32, torch.int8,
             torch.uint8]
    dtypes = collections.OrderedDict((str(k).removeprefix("torch."), count(6, k).reshape(2, 3)) for k in kinds)
    save("dtypes.pt", {"module": dtypes})
    save("protocol4.pt", {"module": dtypes}, pickle_protocol=4)
    for protocol in (2, 3, 4, 5):
        save(f"legacy{protocol}.pt", {"module": dtypes}, pickle_protocol=protocol, _use_new_zipfile_serialization=False)
    save("state_dict.pt", {"state_dict": {"vae.a": count(4)}, "step": 3})
    save("ema.pt", {"ema": {"a": count(4)}})
    whole = count(12).reshape(3, 4)
    views = {
        "whole": whole, "rows": whole[1:], "columns": whole[:, 1:], "turned": whole.t(), "spread": count(1).expand(5),
        "one_row": whole[1:2, :].unsqueeze(0), "scalar": torch.tensor(2.5), "none": torch.zeros(0, 7),
        "parameter": torch.nn.Parameter(count(3)), "many": torch.zeros(1, 1, 1, 1, 1, 1), "double": count(2, torch.float64),
        "number": 1.5, "text": "abc", "again": whole, "last": count(24).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
        "double_turned": count(6, torch.float64).reshape(2, 3).t(), "short": count(2, torch.int16)}
    save("views.pt", views)
    save("legacy_views.pt", views, _use_new_zipfile_serialization=False)
    save("map.pt", {"module": {"double_blocks.0.img_mod.linear": torch.tensor([0.25]), "single_blocks.0.linear1": 0.5}})
    training = {
        "module": {"a": count(4)}, "args": argparse.Namespace(lr=1e-4, names=["a", {"b": (1, 2)}]), "seed": numpy.int64(3),
        "optimizer": {"state": {0: {"step": 5, "exp_avg": count(4)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]},
        "big": 1 << 100, "negative": -5, "set": {1, 2}, "dtype": torch.bfloat16, "size": torch.Size([1, 2])}
    save("training.pt", training)
    save("training4.pt", training, pickle_protocol=4)


class Branch(torch.nn.Module):
    """Module contents: modules in sequence, one of them twice, buffers, whole numbers, lists, constants."""
    def __init__(self):
        super().__init__()
        self.row = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))
        self.first, self.again = self.row[0], self.row[0]
        self.register_buffer("table", count(4).reshape(2, 2).t())
        self.register_buffer("small", count(3, torch.float16))
        self.list = [count(2), count(3)]
        self.number, self.text, self.none = 3, "abc", None

    def forward(self, x):
        return self.row(x) + self.table[0, 0]


def modules():
    torch.manual_seed(1)
    whole = Branch().eval()
    with torch.no_grad():
        for p in whole.parameters():
            p.copy_(count(p.numel()).reshape(p.shape))
    torch.jit.save(torch.jit.script(whole), TORCH / "script.pt")
    torch.jit.save(torch.jit.trace(whole, torch.zeros(1, 1, 2, 2)), TORCH / "traced.pt")
    torch.jit.save(torch.jit.freeze(torch.jit.script(whole)), TORCH / "frozen.pt")


def refused():
    save("object.pt", torch.nn.Linear(2, 2))
    save("legacy.pt", {"a": count(4)}, _use_new_zipfile_serialization=False)
    save("legacy_object.pt", torch.nn.Linear(2, 2), _use_new_zipfile_serialization=False)
    old = (TORCH / "legacy.pt").read_bytes()
    (TORCH / "legacy_truncated.pt").write_bytes(old[:-1])
    (TORCH / "legacy_empty.pt").write_bytes(old[:14])
    for name, n in (("long", 1 << 62), ("negative", -1), ("other", 3)):
        (TORCH / f"legacy_{name}.pt").write_bytes(old[:-24] + struct.pack("<q", n) + old[-16:])
    (TORCH / "legacy_big_endian.pt").write_bytes(old.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    (TORCH / "legacy_1002.pt").write_bytes(old.replace(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xea\x03."))
    whole = (TORCH / "dtypes.pt").read_bytes()
    (TORCH / "truncated.pt").write_bytes(whole[:-200])
    (TORCH / "lfs.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 25982986368\n")
    (TORCH / "page.pt").write_bytes(b"<!DOCTYPE html><html><body>404: Not Found</body></html>\n")
    directory = whole.index(b"PK\x01\x02")
    lies = bytearray(whole)  # an entry of 4 GiB - 2
    lies[directory + 20:directory + 28] = struct.pack("<II", 0xFFFFFFFE, 0xFFFFFFFE)
    (TORCH / "long_entry.pt").write_bytes(lies)
    lies = bytearray(whole)  # two entries at one place
    second = whole.index(b"PK\x01\x02", directory + 4)
    lies[second + 42:second + 46] = whole[directory + 42:directory + 46]
    (TORCH / "overlap.pt").write_bytes(lies)
    lies = bytearray(whole)  # 65534 entries, in the record that torch always writes
    record = whole.index(b"PK\x06\x06")
    lies[record + 24:record + 40] = struct.pack("<QQ", 65534, 65534)
    (TORCH / "many_entries.pt").write_bytes(lies)


def archive(name, data, method=zipfile.ZIP_STORED, storages=None, constants=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(zipfile.ZipInfo("archive/data.pkl"), data, method)
        if constants is not None:
            z.writestr(zipfile.ZipInfo("archive/constants.pkl"), constants)
        z.writestr(zipfile.ZipInfo("archive/byteorder"), "little")
        for key, value in (storages or {"0": bytes(range(16))}).items():
            z.writestr(zipfile.ZipInfo(f"archive/data/{key}"), value, method)
    (TORCH / name).write_bytes(out.getvalue())


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True) if value >= 1 << 63 else \
        b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(size, stride, offset=0, n=4, kind=b"ctorch\nFloatStorage\n", key="0"):
    return (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + kind + text(key) + text("cpu") + integer(n) + b"tQ"
            + integer(offset) + b"(" + b"".join(map(integer, size)) + b"t(" + b"".join(map(integer, stride)) + b"t\x89"
            + b"ccollections\nOrderedDict\n)RtR")


def dict_of(**tensors):
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in tensors.items()) + b"u."


def hostile():
    archive("shapes.pt", dict_of(
        good=tensor([2, 2], [2, 1]), huge=tensor([1 << 62, 4], [4, 1]), huger=tensor([1 << 63], [1]),
        negative=tensor([-4], [1]), backwards=tensor([4], [-1]), far=tensor([4], [1], offset=1),
        further=tensor([1], [1], offset=1 << 62), empty=tensor([0, 1 << 62, 1 << 62], [1, 1, 1]),
        short=tensor([4], [1], n=5), missing=tensor([4], [1], key="7"), outside=tensor([4], [1], key="../data.pkl"),
        uneven=tensor([4], [1, 1]), wide=tensor([1] * 40, [1] * 40), odd=tensor([2], [1], kind=b"ctorch\nOddStorage\n"),
        still=tensor([1 << 40], [0])))
    archive("compressed.pt", dict_of(a=tensor([4], [1])), zipfile.ZIP_DEFLATED)
    archive("bomb.pt", b"\x80\x02}X\1\0\0\0acposix\nsystem\nX\x08\0\0\0echo boo\x85Rs.")
    # lists of ten lists of ten lists ...: on the stack, and each alone
    laughs = b"\x80\x02]q\x00" + b"".join(b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(60)) + b"."
    one = b"\x80\x02]q\x000" + b"".join(
        b"](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) + b"0" for i in range(60)) + b"h<."
    selfish = b"\x80\x02}q\x00(" + text("module") + b"h\x00u."
    nested = b"\x80\x02" + b"]" * 3000 + b"a" * 2999 + b"."
    wrapped = b"\x80\x02}" + text("a") + b"".join(b"ctorch._utils\n_rebuild_parameter\n(" for _ in range(60)) + \
        tensor([4], [1]) + b"\x89NtR" * 60 + b"s."
    marks = b"\x80\x02" + b"(" * 3000
    for name, data in {"laughs": laughs, "stack": one, "selfish": selfish, "nested": nested, "wrapped": wrapped, "marks": marks,
                       "long_text": b"\x80\x02X\xff\xff\xff\xffabc.", "long_text8": b"\x80\x04\x8d" + b"\xff" * 8 + b"abc.",
                       "long_int": b"\x80\x02\x8b\xff\xff\xff\xff\x01.", "far_memo": b"\x80\x02Nr\xff\xff\xff\xffj\xff\xff\xff\xff0.",
                       "no_key": b"\x80\x02}(K\1u.", "pop": b"\x80\x0200.", "odd_items": b"\x80\x02N(K\1K\2u.",
                       "call": b"\x80\x02cbuiltins\neval\nX\x03\0\0\x001+1\x85R.", "protocol9": b"\x80\x09N."}.items():
        (PICKLE / name).write_bytes(data)
        if len(data) < 2500:
            archive(f"pickle_{name}.pt", data)


def module(*attributes, name=b"M"):
    return (b"c__torch__\n" + name + b"\n)\x81}(" + b"".join(text(key) + value for key, value in attributes) + b"ub")


def scripts():
    """Modules that would take exponential time, or that reference missing objects."""
    none = b"\x80\x02)."
    one = tensor([4], [1])
    deep = module(("w", one))
    for _ in range(60):
        deep = module(("m", deep))
    # each holds the one before it ten times: 10^12 ways to one tensor
    laughs = b"\x80\x02" + module(("w", one)) + b"q\x00"
    for i in range(12):
        laughs += b"0" + module(*((str(j), b"h" + bytes([i])) for j in range(10))) + b"q" + bytes([i + 1])
    selfish = b"\x80\x02c__torch__\nM\n)\x81q\x00}(" + text("me") + b"h\x00" + text("too") + b"h\x00ub."
    for name, data in {
            "deep": b"\x80\x02" + deep + b".", "laughs": laughs + b".", "selfish": selfish,
            "names": b"\x80\x02" + module(("a" * 600, one), ("b", one)) + b".", "tensor": b"\x80\x02" + one + b".",
            "unbuilt": b"\x80\x02c__torch__\nM\n)\x81.", "list": b"\x80\x02" + module(("l", b"](" + one * 3 + b"e")) + b".",
            "shapes": b"\x80\x02" + module(("good", one), ("huge", tensor([1 << 62, 4], [4, 1])), ("call", b"cposix\nsystem\nNR"),
                                           ("far", tensor([4], [1], offset=1)), ("state", b"N")) + b".",
    }.items():
        archive(f"script_{name}.pt", data, constants=none)
    archive("script_constants.pt", b"\x80\x02" + module(("w", one)) + b".", constants=b"\x80\x02" + tensor([1], [1]) + b"\x85.")
    archive("script_odd_constants.pt", b"\x80\x02" + module(("w", one)) + b".", constants=b"\x80\x02(.")


def strides():
    """Tensors that must be copied, and those that only appear to."""
    f64 = b"ctorch\nDoubleStorage\n"
    data = struct.pack("<12d", *range(12))
    archive("strides.pt", dict_of(
        wide=tensor([3, 4], [4, 1], n=12, kind=f64), wide_turned=tensor([4, 3], [1, 4], n=12, kind=f64),
        steps=tensor([3], [3], offset=2, n=12, kind=f64), repeats=tensor([3, 4], [0, 1], n=12, kind=f64),
        overlaps=tensor([10, 4], [1, 1], n=12, kind=f64), far=tensor([3, 4], [5, 1], n=12, kind=f64),
        far_steps=tensor([2, 2], [1 << 62, 1 << 62], n=12, kind=f64), none=tensor([0, 4], [1, 9], n=12, kind=f64),
        ones=tensor([1, 1, 3], [1 << 40, 7, 1], n=12, kind=f64)), storages={"0": data})
    # each copy is as large as the file: the second and all after it are refused
    many = {f"t{i}": tensor([4, 1024], [1, 4], n=4096) for i in range(50)}
    archive("copies.pt", dict_of(**many), storages={"0": bytes(16384)})


def pickles():
    value = {"a": [1, 300, 70000, -1, 1 << 40, -(1 << 40), 1 << 80, 1.5, None, True, False], "b": ("x", (), (1,), (1, 2), (1, 2, 3)),
             "c": {"set": {1}, "bytes": b"abc"}, "d": collections.OrderedDict(x=1), "é": torch.float16}
    for protocol in (2, 3, 4, 5):
        (PICKLE / f"protocol{protocol}").write_bytes(pickle.dumps(value, protocol))


TORCH.mkdir(parents=True, exist_ok=True)
PICKLE.mkdir(parents=True, exist_ok=True)
good()
modules()
refused()
hostile()
scripts()
strides()
pickles()
