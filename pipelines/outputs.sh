# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by pipelines/live and pipelines/two-hosts: the words of a pipeline from raw video and
# audio to servers and files. Needs words.sh.

# An output: the muxer and the sink of the video and the sound, as gst-launch-1.0 takes them.
# Sets mux, pads, the names of its pads, and prefix, which comes before it on the branch of the
# video. The array inputs has the files that must not be overwritten.
choose_output () # NAME VALUE
{
  local input_file segment
  prefix=() pads=(video audio)
  case $2 in
    rtmp://* | rtmps://*)
      [[ $2 =~ ^rtmps?://[^/]+/[^/]+/.+ ]] || die "$1 is '$2', expected rtmp://HOST/APP/KEY"
      mux=(flvmux name=mux streamable=true ! rtmp2sink "location=$(gst_quote "$2")")
      ;;
    srt://*)
      read_address "$1" "$2"
      prefix=(h264parse name=video config-interval=-1) pads=('' '')
      mux=(mpegtsmux name=mux alignment=7 ! srtsink "uri=$(gst_quote "$2")" auto-reconnect=false
        wait-for-connection=false)
      ;;
    */)
      mkdir -p -- "$2" || die "folder '$2' cannot be made"
      [ -w "$2" ] || die "folder '$2' cannot be written (permissions)"
      prefix=(h264parse name=video)
      segment=$(plain_path "$2") # a format of printf
      segment=${segment//%/%%}segment%05d.ts
      mux=(hlssink2 name=mux target-duration=2 max-files=10 playlist-length=5
        "location=$(gst_quote "$segment")"
        "playlist-location=$(gst_quote "$(plain_path "$2")playlist.m3u8")")
      ;;
    *.mp4 | *.mkv)
      [ ! -d "$2" ] || die "'$2' is a folder, expected a file name for the video"
      [ -d "$(dirname -- "$2")" ] || die "no folder '$(dirname -- "$2")' to write '$2' in"
      for input_file in "${inputs[@]}"; do
        [ ! "$2" -ef "$input_file" ] || die "'$2' is the input '$input_file' itself; name another output"
      done
      case $2 in
        *.mp4) mux=(mp4mux name=mux fragment-duration=1000) ;;
        *) mux=(matroskamux name=mux min-cluster-duration=500000000 max-cluster-duration=1000000000) ;;
      esac
      pads=(video_0 audio_0)
      mux+=(! filesink "location=$(gst_quote "$(plain_path "$2")")" buffer-mode=unbuffered)
      ;;
    *) die "$1 is '$2', expected rtmp://HOST/APP/KEY, srt://HOST:PORT, NAME.mp4, NAME.mkv, FOLDER/ or preview" ;;
  esac
}

# AAC encoders delay the sound without reporting it, by 1024 samples (libav) or 1600 (VisualOn). The
# filter, which changes nothing else, removes as many first.
choose_aac () # [ENCODER]
{
  local encoder=${1:-avenc_aac}
  [ -n "${1:-}" ] || gst-inspect-1.0 --exists avenc_aac || encoder=voaacenc
  case $encoder in
    avenc_aac) aac=(audiofirfilter latency=1024 ! avenc_aac) ;;
    *) aac=(audiofirfilter latency=1600 ! audioconvert ! voaacenc) ;;
  esac
}

# Audio waits in its queue until the video of the same time is there, so the queue has no limit.
waiting=(queue max-size-time=0 max-size-bytes=0 max-size-buffers=0)

# encode_video KBIT-PER-SECOND, encode_audio: append the encoders to command, each with a tee, "v"
# or "a", behind it.
encode_video ()
{
  command+=(! 'video/x-raw,format=I420' ! x264enc tune=zerolatency speed-preset=veryfast
    key-int-max=50 option-string=scenecut=0 "bitrate=$1"
    ! 'video/x-h264,profile=main,stream-format=avc' ! tee name=v)
}
encode_audio ()
{
  command+=(! audioconvert ! audioresample ! 'audio/x-raw,rate=[44100,48000],channels=[1,2]'
    ! "${aac[@]}" ! aacparse ! tee name=a)
}

# add_outputs PROGRAM RETRY: appends the outputs that the array outputs names, with their values in
# option. For avatar-live they are in the element that connects again, at most RETRY seconds apart;
# for gst-launch-1.0 they are plain.
add_outputs ()
{
  local name retry
  for name in "${outputs[@]}"; do
    choose_output "--$name" "${option[$name]}"
    if [ "$1" = gst-launch-1.0 ]; then
      command+=("${mux[@]/#name=mux/name=$name}")
      if [ ${#prefix[@]} -gt 0 ]; then
        command+=(v. ! queue ! "${prefix[0]}" "${prefix[@]:2}" ! "$name.${pads[0]}")
      else
        command+=(v. ! queue ! "$name.${pads[0]}")
      fi
      command+=(a. ! "${waiting[@]}" ! "$name.${pads[1]}")
    else
      retry=()
      [[ ${option[$name]} == *://* ]] || retry=(retry=false)
      # The caps of hlssink2 name the format, those of mpegtsmux allow several.
      [ ${#prefix[@]} -eq 0 ] ||
        prefix+=(! 'video/x-h264,stream-format=byte-stream,alignment=au' ! mux.)
      command+=(liveoutput "name=$name" "${retry[@]}" "max-wait=${2}000000000"
        "description=$(gst_quote "${mux[*]} ${prefix[*]}")"
        v. ! "${waiting[@]}" ! "$name.video" a. ! "${waiting[@]}" ! "$name.audio")
    fi
  done
}
