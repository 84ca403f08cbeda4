# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by scripts here and in tests/: checks the requirements of a script and reports a missing
# one in one line.

need_here=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)

need_fail ()
{
  echo "error: $*" >&2
  exit 1
}

# need_programs PROGRAM:PACKAGE...
need_programs ()
{
  local pair missing=() packages=()
  for pair; do
    command -v "${pair%%:*}" >/dev/null || { missing+=("${pair%%:*}"); packages+=("${pair##*:}"); }
  done
  [ ${#missing[@]} -eq 0 ] ||
    need_fail "${0##*/} needs ${missing[*]}: apt-get install ${packages[*]}"
}

# need_built FILE: checks that a file of a build exists.
need_built ()
{
  [ -e "$1" ] || need_fail "${0##*/} needs $1: build it first (pipelines/talk or ninja does)"
}

need_gpu ()
{
  compgen -G '/dev/nvidia[0-9]*' >/dev/null || [ -e /dev/dxg ] || nvidia-smi -L >/dev/null 2>&1 ||
    need_fail "${0##*/} needs an NVIDIA GPU, but found none"
}

# need_cuda_in BUILD: checks that a build has the CUDA back-end.
need_cuda_in ()
{
  [ -n "$(find "$1" -name 'libavatar-cuda.so' -print -quit)" ] ||
    need_fail "$1 has no CUDA back-end, as nvcc, cuBLASLt or cuDNN was not found or -Dcuda=disabled" \
      "is set (see $1/meson-logs/meson-log.txt)"
}

# has_python [--cuda] SCRIPT.py: true if ${PYTHON:-python3} has the imports of a script; otherwise
# prints why the comparison with PyTorch is skipped. PyTorch has libraries of its own, hence the
# empty LD_LIBRARY_PATH.
has_python ()
{
  local why
  why=$(LD_LIBRARY_PATH='' "${PYTHON:-python3}" "$need_here/need.py" "$@" 2>&1) && return
  why=$(tail -n 1 <<<"$why")
  echo "without the comparison with PyTorch: ${why#error: } (or set PYTHON)" >&2
  return 1
}
