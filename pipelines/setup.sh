# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by pipelines/* and tests/run: installs missing Debian packages and builds in a folder of
# this checkout, also if the checkout was copied together with a build folder. Functions report long
# operations on stderr. On failure they print one line that begins with "error:" and return
# non-zero.

AVATAR_ROOT=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)

# Keeps waiting OpenMP threads from spinning on the cores that the video encoder needs.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

# Packages for building and running; the last list is for the tests only.
AVATAR_PACKAGES=(build-essential meson ninja-build pkgconf libglib2.0-dev libjson-glib-dev
  libgdk-pixbuf-2.0-dev libjpeg-dev liblcms2-dev libdnnl-dev zlib1g-dev libgstreamer1.0-dev
  libgstreamer-plugins-base1.0-dev gstreamer1.0-tools gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav)
# Packages of avatar-server.
AVATAR_SERVER_PACKAGES=(libsoup-3.0-dev libgstreamer-plugins-bad1.0-dev libhiredis-dev gstreamer1.0-nice)
AVATAR_TEST_PACKAGES=(curl ffmpeg iproute2 libnginx-mod-rtmp nginx python3 redis-server)
# Debian 13 has no clang 14, by which the sources are formatted.
case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null) in
  trixie)
    AVATAR_CLANG=clang-19
    AVATAR_TEST_PACKAGES+=(clang-19 libclang-rt-19-dev libomp-19-dev)
    ;;
  *)
    AVATAR_CLANG=clang-14
    AVATAR_TEST_PACKAGES+=(clang-14 clang-format-14 libclang-rt-14-dev libomp-14-dev)
    ;;
esac

# avatar_install PACKAGE...: installs missing packages with apt-get, as root or with sudo.
avatar_install ()
{
  local missing=() package as_root=()
  for package in "$@"; do
    # pkg-config provides pkgconf.
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      { [ "$package" = pkgconf ] && command -v pkg-config >/dev/null; } || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "error: this is not a Debian system; install the equivalents of: ${missing[*]}" >&2
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

# Prints the source or build folder that meson has recorded in a build folder.
avatar_recorded () # source|build FOLDER
{
  sed -n -E "s@.*\"directories\": *\{[^}]*\"$1\": *\"([^\"]*)\".*@\1@p" \
    "$2/meson-info/meson-info.json" 2>/dev/null | head -n 1
}

# avatar_is_foreign FOLDER: true if the folder came with a copied or moved checkout. Its ninja must
# not run, because it would configure the original folder.
avatar_is_foreign ()
{
  [ -e "$1/build.ninja" ] || return 1
  ! { [ "$(avatar_recorded source "$1")" -ef "$AVATAR_ROOT" ] &&
    [ "$(avatar_recorded build "$1")" -ef "$1" ]; }
}

# avatar_is_others FOLDER: true if another existing checkout builds in this folder.
avatar_is_others ()
{
  local source
  source=$(avatar_recorded source "$1")
  [ "$(avatar_recorded build "$1")" -ef "$1" ] && [ -e "$source/meson.build" ] &&
    ! [ "$source" -ef "$AVATAR_ROOT" ]
}

# avatar_is_built FOLDER "MESON OPTIONS" [TARGET...]: true if there is nothing to build. Writes
# nothing.
avatar_is_built ()
{
  local folder=$1 options=$2
  shift 2
  [ -e "$folder/build.ninja" ] && ! avatar_is_foreign "$folder" &&
    [ "$(cat "$folder/build-options.txt" 2>/dev/null)" = "$options" ] &&
    ninja -C "$folder" -n "$@" 2>/dev/null | grep -q '^ninja: no work to do'
}

# avatar_is_writable FOLDER: true if the folder, or its parent, and the files that a build rewrites
# are.
avatar_is_writable ()
{
  local file
  if [ ! -e "$1" ]; then
    [ -w "$(dirname -- "$1")" ]
    return
  fi
  for file in "$1" "$1"/{build-log.txt,build-options.txt,build.ninja,.ninja_log,meson-private}; do
    [ ! -e "$file" ] || [ -w "$file" ] || return 1
  done
}

# avatar_configure FOLDER "MESON OPTIONS": configures, and records the options in build-options.txt.
avatar_configure ()
{
  local folder=$1 options=$2 log status=0
  # "setup --reconfigure" of meson 1.0 ignores options such as b_sanitize.
  local configure=(meson setup "$folder" "$AVATAR_ROOT")
  if avatar_is_foreign "$folder"; then
    echo "$folder came with a copied or moved checkout: rebuilding" >&2
    configure=(meson setup --wipe "$folder" "$AVATAR_ROOT")
  elif [ -e "$folder/build.ninja" ]; then
    configure=(meson configure "$folder")
  fi
  echo "configuring ${folder#"$AVATAR_ROOT"/}/ (log: $folder/build-log.txt)" >&2
  log=$(mktemp) || return 1 # the folder may be emptied
  # $options is split into words.
  # shellcheck disable=SC2086
  "${configure[@]}" $options >"$log" 2>&1 || status=$?
  rm -f -- "$folder/build-log.txt" "$folder/build-options.txt"
  cat -- "$log" >"$folder/build-log.txt"
  if [ $status -ne 0 ]; then
    tail -n 15 "$log" >&2
    echo "error: meson could not configure $folder (whole log: $folder/build-log.txt)" >&2
  else
    printf '%s\n' "$options" >"$folder/build-options.txt"
  fi
  rm -f -- "$log"
  return $status
}

# avatar_make FOLDER "MESON OPTIONS" [TARGET...]: builds in a folder that is writable and locked.
avatar_make ()
{
  local folder=$1 options=$2 log=$1/build-log.txt
  shift 2
  if avatar_is_others "$folder"; then
    echo "error: $folder is the build folder of $(avatar_recorded source "$folder"); a build" \
      "for $AVATAR_ROOT would overwrite it; remove the link" >&2
    return 1
  fi
  if avatar_is_foreign "$folder" || [ ! -e "$folder/build.ninja" ] ||
    [ "$(cat "$folder/build-options.txt" 2>/dev/null)" != "$options" ]; then
    avatar_configure "$folder" "$options" || return 1
  fi
  echo "building ${folder#"$AVATAR_ROOT"/}/" >&2
  rm -f -- "$log"
  if ! ninja -C "$folder" "$@" >"$log" 2>&1; then
    grep -E -A 3 'error:|FAILED:' "$log" | head -n 30 >&2
    echo "error: the build in $folder failed (whole log: $log)" >&2
    return 1
  fi
}

# avatar_own_folder NAME: prints this user's build folder for a checkout of another user.
avatar_own_folder ()
{
  local id
  id=$(printf '%s' "$AVATAR_ROOT" | sha256sum) || return 1
  printf '%s/gst-avatar/build/%s/%s\n' "${XDG_CACHE_HOME:-${HOME:-}/.cache}" "${id:0:16}" "$1"
}

# avatar_locked FOLDER COMMAND...: runs the command with the folder locked. The folder itself is the
# lock, because files in it may be wiped, and read permission is enough.
avatar_locked ()
{
  local folder=$1 lock status=0
  shift
  exec {lock}<"$folder" || return 1
  if ! flock -n "$lock"; then
    echo "waiting for another run that builds in $folder" >&2
    flock "$lock"
  fi
  "$@" || status=$?
  exec {lock}<&-
  return $status
}

# Sets the folder of the CUDA module, for an uninstalled build.
avatar_export_module ()
{
  export AVATAR_MODULE_DIR=${AVATAR_MODULE_DIR:-$AVATAR_BUILT/engine/backends/cuda}
}

# avatar_build NAME "MESON OPTIONS" [TARGET...]: configures if needed and builds, in the folder NAME
# of the checkout, or in a folder of this user if that one is out of date and not writable. Sets
# AVATAR_BUILT to the folder. A folder with other options gets these in addition and keeps the rest.
# Concurrent runs wait for each other.
avatar_build ()
{
  AVATAR_BUILT=$AVATAR_ROOT/$1
  shift
  if ! avatar_is_writable "$AVATAR_BUILT"; then
    ! [ -r "$AVATAR_BUILT" ] || ! avatar_locked "$AVATAR_BUILT" avatar_is_built "$AVATAR_BUILT" "$@" ||
      { avatar_export_module; return 0; }
    echo "$AVATAR_BUILT is not up to date, and $(id -un) may not write it" >&2
    AVATAR_BUILT=$(avatar_own_folder "${AVATAR_BUILT##*/}") || return 1
  fi
  if ! mkdir -p -- "$AVATAR_BUILT" 2>/dev/null || ! avatar_is_writable "$AVATAR_BUILT"; then
    echo "error: cannot write $AVATAR_BUILT; build as the owner of $AVATAR_ROOT, or set" \
      "XDG_CACHE_HOME to a folder of your own" >&2
    return 1
  fi
  avatar_export_module
  avatar_locked "$AVATAR_BUILT" avatar_make "$AVATAR_BUILT" "$@"
}
