# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by the tests of pipelines/live after common.sh. The tests of outputs use a picture that
# turns white and black every 0.8 s instead of the avatar, which needs little time on any machine.
# The sound beeps while it is white, so that both can be compared in what arrives.
blink='fakesink async=false sync=false videotestsrc pattern=blink
  ! video/x-raw,format=I420,width=64,height=64,framerate=5/4 ! videorate ! video/x-raw,framerate=25/1 ! clocksync'
blink=$(tr '\n' ' ' <<<"$blink")

live ()
{
  AVATAR_BUILD=$build_root exec env --default-signal=INT "$source_root/pipelines/live" "$@"
}

# beeps FILE SECONDS: the sound of the picture. videorate shows a frame from 40 ms after the middle
# between it and the one before.
beeps ()
{
  python3 - "$@" <<'END'
import math, struct, sys, wave
rate = 16000
with wave.open(sys.argv[1], 'wb') as out:
    out.setparams((1, 2, rate, 0, 'NONE', ''))
    for second in range(int(sys.argv[2])):
        out.writeframes(b''.join(
            struct.pack('<h', int(8000 * math.sin(2 * math.pi * 1000 * i / rate)
                                  * (int((i / rate + 0.36) / 0.8) % 2)))
            for i in range(second * rate, (second + 1) * rate)))
END
}

# picture_edges FILE, sound_edges FILE: "TIME on|off" for each change.
picture_edges ()
{
  ffmpeg -nostdin -v error -i "$1" -an -vf signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=- \
    -f null - | awk '/pts_time/ { sub (/.*pts_time:/, ""); time = $0 }
      /YAVG/ { sub (/.*=/, ""); on = $0 + 0 > 100 ? "on" : "off"
        if (last != "" && on != last) print time, on; last = on }'
}
sound_edges ()
{
  ffmpeg -nostdin -v info -i "$1" -vn -af silencedetect=n=-30dB:d=0.2 -f null - 2>&1 | tr '\r' '\n' |
    sed -nE 's/.*silence_start: ([0-9.]+).*/\1 off/p; s/.*silence_end: ([0-9.]+).*/\1 on/p'
}

# check_sync FILE EDGES: H.264 and AAC, and at least EDGES changes of the picture at which the sound
# changes within 20 ms.
check_sync ()
{
  local found
  found=$(ffprobe -v error -show_entries stream=codec_name -of csv=p=0 "$1" | sed '/^$/d' | sort -u | paste -sd+)
  [ "$found" = aac+h264 ] || fail "$1: codecs '$found', expected aac+h264"
  picture_edges "$1" >picture.txt
  sound_edges "$1" >sound.txt
  found=$(awk 'NR == FNR { time[++n] = $1; way[n] = $2; next }
    { best = 9; for (i = 1; i <= n; i++) if (way[i] == $2) { d = $1 - time[i]; if (d < 0) d = -d
        if (d < best) best = d }
      if (best <= 0.020) good++; else bad = bad " " $1 "(" best ")" }
    END { print good + 0 (bad == "" ? "" : " off:" bad) }' sound.txt picture.txt)
  # The first and last change may have no partner in a stream that was cut there.
  [ "${found%% *}" -ge "$2" ] && [ "$(wc -w <<<"${found#* }")" -le 3 ] ||
    fail "$1: $found of $(wc -l <picture.txt) changes of the picture within 20 ms of the sound, expected $2;" \
      "picture: $(paste -sd, picture.txt); sound: $(paste -sd, sound.txt)"
  echo "ok $1: sound and picture change together $found times"
}

# wait_until WHAT PID COMMAND...: waits for a condition while the process runs.
wait_until ()
{
  local what=$1 pid=$2
  shift 2
  until "$@"; do
    kill -0 "$pid" 2>/dev/null || fail "ended before $what: $(tail -n 3 said)"
    sleep 0.1
  done
}
said () # PATTERN
{
  grep -qE -- "$1" said
}

# Ends what runs in the background, also after a failure.
stop_all ()
{
  local pid
  for pid in $(jobs -p); do
    kill -CONT "$pid" 2>/dev/null || true
    kill -9 "$pid" 2>/dev/null || true
  done
  wait
  rm -rf -- "$work"
}
trap stop_all EXIT
