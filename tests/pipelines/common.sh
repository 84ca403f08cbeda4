# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by the tests in this folder, each called as TEST SOURCE-ROOT BUILD-ROOT: a scratch folder
# $work that goes away, makers of input, and checks that say what was found and expected.
set -euo pipefail
source_root=$(cd -- "$1" && pwd)
build_root=$(cd -- "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cd -- "$work"
export AVATAR_MODEL=$source_root/models/demo
export GST_PLUGIN_PATH=$build_root/gst
export GST_REGISTRY=$work/registry.bin
# encoded prompts of this run only
export XDG_CACHE_HOME=$work/cache
hello=$source_root/samples/hello.wav
portrait=$source_root/samples/portrait.png

fail ()
{
  echo "FAILED: $*"
  exit 1
}

# Prints a TCP and UDP port that nobody uses.
free_port ()
{
  python3 -c 'import socket
s = socket.socket (); s.bind (("127.0.0.1", 0)); print (s.getsockname ()[1])'
}

talk ()
{
  AVATAR_BUILD=$build_root "$source_root/pipelines/talk" "$@"
}

# speech OUT SECONDS [FFMPEG-OPTION...]: a cut of the sample's speech in any format.
speech ()
{
  local out=$1 seconds=$2
  shift 2
  ffmpeg -nostdin -v error -y -ss 0.4 -t "$seconds" -i "$hello" "$@" "$out"
}

# Prints the number of frames for the decoded sound: one per 40 ms, rounded up.
expected_frames () # AUDIO
{
  gst-launch-1.0 -q filesrc location="\"$1\"" ! decodebin ! audioconvert ! audioresample \
    ! audio/x-raw,format=S16LE,rate=16000,channels=1 ! filesink location=expected.raw
  echo $((($(stat -c %s expected.raw) / 2 + 639) / 640))
}

# found_lag AUDIO VIDEO [FFMPEG-OPTION...]: by how many ms the sound in VIDEO is late, as ffmpeg, or
# with "gstreamer" GStreamer, decodes it.
found_lag ()
{
  local audio=$1 video=$2
  shift 2
  ffmpeg -nostdin -v error -y -i "$audio" -ac 1 -ar 16000 -f s16le lag-a.raw
  if [ "${1:-}" = gstreamer ]; then
    gst-launch-1.0 -q filesrc location="$video" ! decodebin caps=audio/x-raw expose-all-streams=false ! audioconvert ! audioresample ! audiorate \
      ! audio/x-raw,format=S16LE,rate=16000,channels=1 ! filesink location=lag-b.raw
  else
    ffmpeg -nostdin -v error -y "$@" -i "$video" -map 0:a:0 -ac 1 -ar 16000 -f s16le lag-b.raw
  fi
  "$build_root/tests/pipelines/lag" lag-a.raw lag-b.raw
}

# frames_of VIDEO
frames_of ()
{
  ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames \
    -of csv=p=0 "$1"
}

# check_clean FOLDER: no temporary file of talk's is left in it.
check_clean ()
{
  [ -z "$(find "$1" -maxdepth 1 -name '.talk-*')" ] || fail "left behind: $(ls -A "$1")"
}

# check_video AUDIO VIDEO [WIDTHxHEIGHT]: H.264 + AAC, 25 frames a second, as long as the sound to
# one frame.
check_video ()
{
  local expected found
  [ -s "$2" ] || fail "$2: no video was written"
  check_clean "$(dirname -- "$2")"
  found=$(ffprobe -v error -show_entries stream=codec_name -of csv=p=0 "$2" | sort | paste -sd+)
  [ "$found" = aac+h264 ] || fail "$2: codecs $found, expected aac+h264"
  expected=$(expected_frames "$1")
  found=$(frames_of "$2")
  [ $((found - expected)) -le 1 ] && [ $((expected - found)) -le 1 ] ||
    fail "$2: $found frames, expected $expected to one frame, as $1 is long"
  found=$(ffprobe -v error -select_streams v -show_entries stream=avg_frame_rate,pix_fmt \
    -of csv=p=0 "$2")
  [[ $found == yuv420p,25/1 ]] || [ "$expected" -le 2 ] || fail "$2: $found, expected yuv420p,25/1"
  if [ -n "${3:-}" ]; then
    found=$(ffprobe -v error -select_streams v -show_entries stream=width,height \
      -of csv=p=0:s=x "$2")
    [ "$found" = "$3" ] || fail "$2: size $found, expected $3"
  fi
}
