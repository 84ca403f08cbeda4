# SPDX-License-Identifier: LGPL-2.1-or-later
"""Time of reading a tokenizer once with Hugging Face's tokenizers; prints the same lines as bench-tokenizer.

    tokenizer_hf.py llama|clip FOLDER

Importing the library is not counted.
"""
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import need  # noqa: E402

need.imports(__file__)
need.arguments(2, "tokenizer_hf.py llama|clip FOLDER")

import resource  # noqa: E402
import time  # noqa: E402

from tokenizers import Tokenizer, models  # noqa: E402

kind, folder = sys.argv[1:]
before, start = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
if kind == "clip":
    read = models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"), end_of_word_suffix="</w>")
else:
    read = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
print(f"wall {wall:.3f}")
print(f"host {(after.ru_maxrss - before.ru_maxrss) / 1024:.0f}")
print(f"cpu {after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime:.3f}")
