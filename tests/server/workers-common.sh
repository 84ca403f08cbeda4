# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by tests of workers, each called as TEST SOURCE-ROOT BUILD-ROOT: a Redis with a log of its
# data, and workers, in network namespaces if there is root.
# shellcheck source=tests/server/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh" "$1" "$2"
for program in redis-server redis-cli; do
  command -v $program >/dev/null || { echo "$program is missing: apt-get install redis-server"; exit 77; }
done
"$build_root/tools/server/avatar-server" --worker --queue redis://127.0.0.1/x 2>&1 | grep -q 'without hiredis' &&
  { echo "avatar-server was built without hiredis: apt-get install libhiredis-dev"; exit 77; }
export REDISCLI_AUTH=secret-of-the-test
redis_pid='' workers=() spaces=()
redis_port=$(free_port)

stop_workers ()
{
  local pid space
  for pid in "${workers[@]}" $redis_pid $server_pid; do
    kill -9 "$pid" 2>/dev/null || true
    { wait "$pid" || true; } 2>/dev/null
  done
  for space in "${spaces[@]}"; do
    ip netns del "$space" 2>/dev/null || true
  done
  rm -rf -- "$work"
}
trap stop_workers EXIT

ask_redis ()
{
  redis-cli -p "$redis_port" "$@"
}

# start_redis [OPTION...]: returns when it has read its data.
start_redis ()
{
  mkdir -p redis
  redis-server --port "$redis_port" --bind 0.0.0.0 --dir "$work/redis" --requirepass "$REDISCLI_AUTH" --save '' \
    --appendonly yes "$@" >>redis.log 2>&1 &
  redis_pid=$!
  until [ "$(ask_redis ping 2>/dev/null)" = PONG ]; do
    kill -0 $redis_pid 2>/dev/null || fail "Redis has not started: $(tail -n 5 redis.log)"
    sleep 0.05
  done
}

# kill_redis: as a crash does.
kill_redis ()
{
  kill -9 "$redis_pid"
  { wait "$redis_pid" || true; } 2>/dev/null
}

# make_space N: a network namespace, in which worker N is. nsenter changes the network alone, since
# "ip netns exec" needs more than a chroot has.
make_space ()
{
  local space=avatar-w$1-$$ in
  [ "$(id -u)" -eq 0 ] && command -v ip >/dev/null && ip netns add "$space" 2>/dev/null || return 0
  spaces[$1]=$space
  in=(nsenter "--net=/var/run/netns/$space" --)
  ip link add "aw$1-$$" type veth peer name eth0 netns "$space" &&
    ip addr add "10.214.$1.1/30" dev "aw$1-$$" && ip link set "aw$1-$$" up &&
    "${in[@]}" ip addr add "10.214.$1.2/30" dev eth0 && "${in[@]}" ip link set eth0 up ||
    fail "no link to the namespace $space"
}

# start_worker N [OPTION...]: in its namespace, or at the loopback interface, with the log
# worker-N.log.
start_worker ()
{
  local n=$1 in=() host=127.0.0.1
  shift
  if [ -n "${spaces[$n]:-}" ]; then
    in=(nsenter "--net=/var/run/netns/${spaces[$n]}" --)
    host=10.214.$n.1
  fi
  AVATAR_BUILD=$build_root G_DEBUG=fatal-criticals AVATAR_QUEUE_PASSWORD=$REDISCLI_AUTH "${in[@]}" \
    "$source_root/pipelines/serve" --worker --queue "redis://$host:$redis_port" --queue-lease 2 \
    --data "$work/worker-$n" "$@" >>"worker-$n.log" 2>&1 &
  workers[n]=$!
}

# crash_worker N
crash_worker ()
{
  kill -9 "${workers[$1]}"
  { wait "${workers[$1]}" || true; } 2>/dev/null
}

# lines_of TEXT: lines of the logs of all workers that contain it.
lines_of ()
{
  cat worker-*.log 2>/dev/null | grep -cF -- "$1" || true
}
