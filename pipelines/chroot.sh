# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by scripts that need minimal Debian systems in folders.
# Uses the mirror and settings of this machine's apt.

# chroot_missing PROGRAM:PACKAGE...: prints why no chroot can be made here; false if one can.
chroot_missing ()
{
  local program
  if [ "$(id -u)" -ne 0 ]; then
    echo "a chroot needs root"
    return
  fi
  for program in apt-get:apt debootstrap:debootstrap unshare:util-linux "$@"; do
    if ! command -v "${program%:*}" >/dev/null; then
      echo "${program%:*} is missing: apt-get install ${program#*:}"
      return
    fi
  done
  return 1
}

# chroot_name CODENAME: prints the name of the release, or fails if it is not supported.
chroot_name ()
{
  case $1 in
    bookworm) echo 'Debian 12' ;;
    trixie) echo 'Debian 13' ;;
    *) return 1 ;;
  esac
}

# chroot_mirror CODENAME: prints the mirror of this machine's apt, or nothing if debootstrap cannot
# use it. A mirror of one Debian release has the other ones, too.
chroot_mirror ()
{
  local codename
  for codename in "$1" bookworm trixie; do
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' \
      "Codename: $codename" 2>/dev/null | grep -E '^(https?|file|copy):'
  done | head -n 1
}

# chroot_make FOLDER CODENAME: makes a system of Debian's required packages, with this machine's
# network settings.
chroot_make ()
{
  local proxy='' mirror
  local -a debootstrap_options=(--variant=minbase)
  mirror=$(chroot_mirror "$2")
  [[ $mirror != https:* ]] || debootstrap_options+=(--include=ca-certificates)
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  http_proxy=${proxy:-${http_proxy:-}} debootstrap "${debootstrap_options[@]}" "$2" "$1" ${mirror:+"$mirror"} ||
    return 1
  cp -L /etc/hosts /etc/resolv.conf "$1/etc/" || return 1
  apt-config dump | grep -E '^Acquire::(https?|Check-|ForceIP|Retries)' \
    >"$1/etc/apt/apt.conf.d/99as-outside" || true
}

# chroot_run FOLDER COMMAND: runs it in /root, with a clean environment, /proc, terminals, shared
# memory, and the folder CHROOT_BIND of this machine, if it is set, at the same place. Mounts are in
# a namespace that ends with the command, so that nobody removes a folder through them. The root is
# a mount, as "ip netns" requires.
chroot_run ()
{
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child sh -c 'mount --bind "$1" "$1" && mount -t proc proc "$1/proc" &&
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts" &&
    mount -t tmpfs tmpfs "$1/dev/shm" &&
    { [ -z "$3" ] || { mkdir -p "$1$3" && mount --bind -o ro "$3" "$1$3"; }; } &&
    exec chroot "$1" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin \
      ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
      ${no_proxy:+no_proxy="$no_proxy"} /bin/bash -c "cd /root && $2"' \
    sh "$1" "$2" "${CHROOT_BIND:-}"
}
