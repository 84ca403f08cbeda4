#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the requirements of a script and reports what is missing:   python3 tools/need.py [--cuda] SCRIPT.py   (status 1: something is missing)

In a script, before its first import of a module outside of the standard library:
    import need; need.imports(__file__)        every module that it, or a file in its folder, may import
    need.programs("ffmpeg")                    programs that it runs
    need.arguments(1, "make_vae.py UPSTREAM")  minimum number of arguments
    need.cuda()                                a GPU usable by torch
"""
import ast
import importlib.util
import os
import shutil
import sys

# Upstream's modules come from the folder on the command line.
ELSEWHERE = {"hymm_sp"}
PACKAGES = {"PIL": "Pillow", "cv2": "opencv-python-headless"}


def fail(text):
    sys.exit(f"error: {text}")


def imported(path):
    """Top-level names of all imports of the file, nested ones included."""
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read(), path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def missing(script):
    here = os.path.dirname(os.path.abspath(script))
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    folders = [here] + [os.path.join(top, *p) for p in (["tools"], ["tools", "demo-model"], ["tests", "bench"])]
    files, seen, lacking = [script], {script}, set()
    while files:
        for name in imported(files.pop()):
            own = next((p for p in (os.path.join(d, name + ".py") for d in folders) if os.path.isfile(p)), None)
            if own and own not in seen:
                seen.add(own)
                files.append(own)
            elif not own and name not in ELSEWHERE and name not in sys.builtin_module_names \
                    and importlib.util.find_spec(name) is None:
                lacking.add(PACKAGES.get(name, name))
    return sorted(lacking)


def check(script):
    lacking = missing(script)
    if lacking:
        fail(f"{os.path.basename(script)} needs Python modules that {sys.executable} does not have; "
             f"there, run: pip install {' '.join(lacking)}")


def imports(script):
    # an imported script was checked together with its importer
    if os.path.abspath(sys.argv[0]) == os.path.abspath(script):
        check(script)


def programs(*names):
    lacking = [name for name in names if not shutil.which(name)]
    if lacking:
        fail(f"{os.path.basename(sys.argv[0])} needs programs that are not installed: {', '.join(lacking)}")


def cuda():
    import torch
    if not torch.cuda.is_available():
        fail(f"{os.path.basename(sys.argv[0])} needs an NVIDIA GPU and a PyTorch that can use it")


def arguments(n, usage):
    if len(sys.argv) <= n:
        fail(f"found {len(sys.argv) - 1} arguments, expected: {usage}")


if __name__ == "__main__":
    arguments(1, "need.py [--cuda] SCRIPT.py")
    check(sys.argv[-1])
    if sys.argv[1] == "--cuda":
        cuda()
