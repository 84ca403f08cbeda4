# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by pipelines/* and tests/run: installs Debian packages that are missing and builds.
# Every function says on stderr what it does when it takes time, and returns non-zero on failure
# after one line that begins with "error:".

AVATAR_ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)

# OpenMP threads that spin while they wait take the cores from the encoder; they read this at start.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# What building and running needs; the second list is for the tests only.
AVATAR_PACKAGES=(build-essential meson ninja-build pkgconf libglib2.0-dev libjson-glib-dev
  libgdk-pixbuf-2.0-dev libdnnl-dev zlib1g-dev libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
  gstreamer1.0-plugins-ugly gstreamer1.0-libav)
AVATAR_TEST_PACKAGES=(clang-14 clang-format-14 libclang-rt-14-dev ffmpeg python3)

# avatar_install PACKAGE...: those that are not installed yet, by apt-get, as root or with sudo.
avatar_install ()
{
  local missing=() package as_root=()
  for package in "$@"; do
    # Provides counts, so that pkg-config does for pkgconf.
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      { [ "$package" = pkgconf ] && command -v pkg-config >/dev/null; } || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "error: this is not a Debian system; please install the equivalents of: ${missing[*]}" >&2
    return 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "error: not root and no sudo; as root, run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
  local log
  log=$(mktemp)
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update >"$log" 2>&1 ||
    ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    echo "error: apt-get could not install: ${missing[*]}" >&2
    return 1
  fi
  rm -f "$log"
}

# avatar_build FOLDER "MESON OPTIONS" [TARGET...]: configures if need be, then builds what has
# changed. A folder that was configured with other options gets these in addition: what else somebody
# has set there stays.
avatar_build ()
{
  local folder=$AVATAR_ROOT/$1 options=$2
  shift 2
  mkdir -p "$folder" || return 1
  local log=$folder/build-log.txt wanted=$folder/build-options.txt
  # What to call; "setup --reconfigure" of meson 1.0 passes over b_sanitize and its like.
  local configure=(meson setup "$folder" "$AVATAR_ROOT")
  if [ ! -e "$folder/build.ninja" ] || [ "$(cat "$wanted" 2>/dev/null)" != "$options" ]; then
    [ ! -e "$folder/build.ninja" ] || configure=(meson configure "$folder")
    echo "configuring ${folder#"$AVATAR_ROOT"/}/ (log: $log)" >&2
    # $options is a list of words.
    # shellcheck disable=SC2086
    if ! "${configure[@]}" $options >"$log" 2>&1; then
      tail -n 15 "$log" >&2
      echo "error: meson could not configure $folder (whole log: $log)" >&2
      return 1
    fi
    printf '%s\n' "$options" >"$wanted"
  fi
  echo "building ${folder#"$AVATAR_ROOT"/}/" >&2
  if ! ninja -C "$folder" "$@" >"$log" 2>&1; then
    grep -E -A 3 'error:|FAILED:' "$log" | head -n 30 >&2
    echo "error: the build in $folder failed (whole log: $log)" >&2
    return 1
  fi
}
