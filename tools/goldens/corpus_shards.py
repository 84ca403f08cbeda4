# SPDX-License-Identifier: LGPL-2.1-or-later
"""The corpus of the fuzz target `shards`: an index, a 0, and the shards, each after its length.

    python3 tools/goldens/corpus_shards.py
"""
import base64
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parents[2] / "tests" / "fuzz" / "corpus" / "shards"


def shard(tensors, metadata=None):
    table, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, n in tensors.items():
        table[name] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
        at += n
    header = json.dumps(table, separators=(",", ":")).encode()
    return struct.pack("<Q", len(header)) + header + bytes(range(at))


def save(name, weight_map, *shards):
    index = json.dumps({"metadata": {"total_size": 9}, "weight_map": weight_map}).encode()
    (CORPUS / name).write_bytes(
        index + b"\0" + b"".join(struct.pack("<I", len(s)) + s for s in shards))


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    two = {"a": "1.safetensors", "b": "1.safetensors", "c": "2.safetensors"}
    tied = {"map": base64.b64encode(b'{"c":["d","e"]}').decode()}
    save("two", two, shard({"a": 3, "b": 1}), shard({"c": 5}))
    save("absent", two, shard({"a": 3, "b": 1}), shard({}))
    save("twice", two, shard({"a": 3, "b": 1}), shard({"c": 5, "a": 3}))
    save("unknown", two, shard({"a": 3, "b": 1, "x": 1}), shard({"c": 5}))
    save("few", two, shard({"a": 3, "b": 1}))
    save("tied", two | {"d": "2.safetensors"}, shard({"a": 3, "b": 1}, {"z": "a", "format": "pt"}),
         shard({"c": 5}, {"tied_weights_map_base64": tied["map"]}))
    save("outside", {"a": "../1.safetensors", "b": "/etc/passwd", "c": ".", "d": "", "e": 1})
    save("none", {})
