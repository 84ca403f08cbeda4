# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by the tests in this folder, each called as TEST SOURCE-ROOT BUILD-ROOT: starts and ends
# avatar-server on a free port, and asks it by curl.
# shellcheck source=tests/pipelines/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/../pipelines/common.sh" "$1" "$2"
command -v curl >/dev/null || { echo "curl is missing: apt-get install curl"; exit 77; }
server_pid=''
trap '[ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null; rm -rf -- "$work"' EXIT
speech short.wav 0.5
speech long.wav 4

# start OPTION...: sets $url and $server_pid. A critical of GLib ends the server, unless $criticals
# is empty.
criticals=fatal-criticals
start ()
{
  : >server.log
  AVATAR_BUILD=$build_root G_DEBUG=$criticals "$source_root/pipelines/serve" \
    --data "$work/data" --port 0 "$@" >server.log 2>&1 &
  server_pid=$!
  until url=$(sed -n 's/^avatar-server: listening at \(.*\)\/$/\1/p' server.log) && [ -n "$url" ]; do
    kill -0 "$server_pid" 2>/dev/null || fail "the server has not started: $(cat server.log)"
    sleep 0.1
  done
}

# stop [SIGNAL]
stop ()
{
  local status=0
  kill "-${1:-TERM}" "$server_pid"
  wait "$server_pid" 2>/dev/null || status=$?
  [ $status -eq 0 ] || [ "${1:-TERM}" != TERM ] ||
    fail "the server ended with status $status: $(tail -n 5 server.log)"
  server_pid=''
}

# ask STATUS CURL-OPTION... PATH: requests a path, checks the status, and prints the body.
ask ()
{
  local expected=$1 found
  shift
  found=$(curl -s --max-time 120 -o answer -D headers -w '%{http_code}' "${@:1:$#-1}" "$url${!#}") || true
  [ "$found" = "$expected" ] || fail "$*: status $found, expected $expected: $(head -c 400 answer)"
  cat answer
}

# value NAME: prints the first string or number of this name in the JSON on stdin.
value ()
{
  grep -oE "\"$1\":(\"[^\"]*\"|[0-9.]+)" | head -n 1 | sed -E 's/^"[^"]*"://; s/"//g'
}

# post AUDIO [CURL-OPTION...]: prints the id of the new job.
post ()
{
  local audio=$1
  shift
  ask 201 -F "audio=@$audio" -F "image=@$portrait" -F steps=1 "$@" /api/jobs | value id
}

# wait_for ID STATE...: waits until the job has one of the states; another end is a failure.
wait_for ()
{
  local id=$1 state
  shift
  while :; do
    state=$(ask 200 "/api/jobs/$id" | value state)
    [[ " $* " != *" $state "* ]] || return 0
    [[ $state == queued || $state == running ]] ||
      fail "job $id is $state, expected $*: $(cat answer)"
    sleep 0.1
  done
}

# content VIDEO: the samples and frames; the file has the time of its creation as well.
content ()
{
  ffmpeg -nostdin -v error -i "$1" -f framemd5 -
}
