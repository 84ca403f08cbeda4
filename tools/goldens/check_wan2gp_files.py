# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the transformers of `avatar-random --layout wan2gp` again with mmgp's writer and compares
every byte; and the int8 weights with the 16-bit ones they stand for.

    python3 tools/goldens/check_wan2gp_files.py FOLDER

FOLDER is the argument of avatar-random, with --parts transformer,transformer-int8. Needs torch and mmgp
(last run with torch 2.15.0 and mmgp 3.8.2; of the latter only safetensors2.py). Exits non-zero at the
first difference.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import need  # noqa: E402

need.arguments(1, "check_wan2gp_files.py FOLDER")
need.imports(__file__)

import base64
import importlib.util
import json
import pathlib
import struct
import tempfile
import unittest.mock

import torch

DTYPES = {"BF16": torch.bfloat16, "I8": torch.int8}


def writer():
    """Loads mmgp/safetensors2.py alone; its other imports are needed for reading only."""
    for name in "safetensors", "accelerate":
        sys.modules.setdefault(name, unittest.mock.MagicMock())
    for folder in sys.path:
        path = pathlib.Path(folder) / "mmgp" / "safetensors2.py"
        if path.is_file():
            spec = importlib.util.spec_from_file_location("safetensors2", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.torch_write_file
    sys.exit("mmgp is not installed")


def read(path):
    data = path.read_bytes()
    n, = struct.unpack("<Q", data[:8])
    table = json.loads(data[8:8 + n])
    metadata = table.pop("__metadata__", {})
    tensors = {}
    for name, e in table.items():
        begin, end = (8 + n + o for o in e["data_offsets"])
        raw = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.uint8)
        tensors[name] = raw.view(DTYPES[e["dtype"]]).reshape(e["shape"])
    return data, tensors, metadata, n


def rewritten(tensors, quantization_map):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "x.safetensors"
        writer()(tensors, str(path), quantization_map=quantization_map)
        return path.read_bytes()


def main():
    top = pathlib.Path(sys.argv[1]) / "ckpts"
    exact = {}
    for kind in "bf16", "quanto_bf16_int8":
        path = top / f"hunyuan_video_avatar_720_{kind}.safetensors"
        data, tensors, metadata, n = read(path)
        text = metadata.get("quantization_map_base64")
        found = json.loads(base64.b64decode(text)) if text else None
        if rewritten(tensors, found) != data:
            sys.exit(f"{path}: mmgp writes other bytes")
        print(f"{path}: {len(tensors)} tensors, as mmgp writes them; the data begin at byte {8 + n}")
        if not found:
            exact = tensors
            continue
        for module in found:
            want = exact[module + ".weight"].float()
            scale = tensors[module + ".weight._scale"].float()
            error = (tensors[module + ".weight._data"].float() * scale - want).abs().max()
            # half a step of int8, and the rounding to bfloat16 of both
            if error > 0.5 * scale.max() + 2 ** -8 * want.abs().max():
                sys.exit(f"{path}: {module} is off by {error}")


if __name__ == "__main__":
    main()
