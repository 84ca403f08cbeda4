#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts the results in meson's testlog.json files; the last line is "N passed, N failed".

A log that is missing or empty counts as a failure: tests that did not run have not passed.
"""
import json
import pathlib
import sys

passed, failed, skipped = 0, [], []
for path in sys.argv[1:]:
    try:
        with open(path, encoding="utf-8") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except OSError:
        tests = []
    if not tests:
        failed.append(f"{path}: no test ran")
    for test in tests:
        name = f"{pathlib.Path(path).parts[-3]}: {test['name']}"
        if test["result"] in ("OK", "EXPECTEDFAIL"):
            passed += 1
        elif test["result"] == "SKIP":
            skipped.append(name)
        else:
            failed.append(f"{name}: {test['result']}")
for name in skipped:
    print(f"skipped: {name}")
for name in failed:
    print(f"FAILED: {name}")
print(f"{passed} passed, {len(failed)} failed")
sys.exit(1 if failed else 0)
