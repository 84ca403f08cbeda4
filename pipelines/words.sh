# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# Sourced by pipelines/*: checks of values, and words of the commands that are printed and run.

die ()
{
  echo "${0##*/}: $*" >&2
  exit 1
}

# Quotes a value for gst-launch-1.0, whose parser reads quotes and backslashes inside arguments.
gst_quote ()
{
  local value=$1
  if [[ $value =~ ^[A-Za-z0-9_./,:@%+-]+$ ]]; then
    printf '%s' "$value"
    return
  fi
  value=${value//\\/\\\\}
  value=${value//\"/\\\"}
  printf '"%s"' "$value"
}

# Quotes a word for the shell, if needed, so that the printed command can be pasted.
shell_quote ()
{
  if [[ $1 =~ ^[A-Za-z0-9_./,:@%+=-]+$ || $1 == '!' ]]; then
    printf '%s' "$1"
  else
    printf "'%s'" "${1//\'/\'\\\'\'}"
  fi
}

# print_command WORD...: prints the command with the environment that it needs.
print_command ()
{
  local word
  printf 'AVATAR_MODEL=%s GST_PLUGIN_PATH=%s OMP_WAIT_POLICY=%s' "$(shell_quote "$AVATAR_MODEL")" \
    "$(shell_quote "$GST_PLUGIN_PATH")" "$OMP_WAIT_POLICY"
  [ ! -e "${AVATAR_MODULE_DIR:-}/libavatar-cuda.so" ] ||
    printf ' AVATAR_MODULE_DIR=%s' "$(shell_quote "$AVATAR_MODULE_DIR")"
  for word in "$@"; do
    printf ' '
    shell_quote "$word"
  done
  printf '\n'
}

# Takes no leading zeros, with which the shell and GStreamer read octal numbers.
whole_number () # OPTION VALUE LOWEST HIGHEST
{
  [[ $2 =~ ^(0|[1-9][0-9]{0,17})$ ]] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ] ||
    die "$1 is '$2', expected a whole number from $3 to $4"
}

# Adds ./ to names that begin with a quote or dash, which GStreamer would interpret.
plain_path ()
{
  case $1 in
    [A-Za-z0-9/._]*) printf '%s' "$1" ;;
    *) printf './%s' "$1" ;;
  esac
}

# The model's folder: the option, or AVATAR_MODEL, or the demo model. Sets AVATAR_MODEL.
choose_model () # FOLDER
{
  export AVATAR_MODEL=${1:-${AVATAR_MODEL:-$AVATAR_ROOT/models/demo}}
  [ -d "$AVATAR_MODEL" ] ||
    die "no model folder '$AVATAR_MODEL'; expected a released tree such as models/demo, or a plain folder"
}

# read_options "NAME..." WORD...: sets option[NAME] for each --NAME VALUE or --NAME=VALUE, and the
# array files to the other words. The values of several --lora are joined by commas. Needs
# declare -A option, and a function usage.
read_options ()
{
  local known=" $1 " name
  shift
  files=()
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h)
        usage
        exit 0
        ;;
      --)
        shift
        files+=("$@")
        return
        ;;
      --*=*)
        name=${1%%=*}
        set -- "$name" "${1#*=}" "${@:2}"
        ;;
    esac
    case $1 in
      --*)
        [[ $known == *" ${1#--} "* ]] || die "unknown option '$1' (see --help)"
        [ $# -ge 2 ] || die "$1 needs a value (see --help)"
        # the list of the property lora
        [ "$1" != --lora ] || [ -z "${option[lora]}" ] || set -- "$1" "${option[lora]},$2" "${@:3}"
        option[${1#--}]=$2
        shift 2
        ;;
      -?*) die "unknown option '$1' (see --help)" ;;
      *)
        files+=("$1")
        shift
        ;;
    esac
  done
}

# Sets host and port.
read_address () # NAME URL
{
  [[ $2 =~ ^[a-z]+://(\[[0-9A-Fa-f:]+\]|[^/:?]*):([0-9]{1,5})(/|\?.*)?$ ]] ||
    die "$1 is '$2', expected ${2%%:*}://HOST:PORT"
  host=${BASH_REMATCH[1]//[\[\]]/} port=${BASH_REMATCH[2]}
  whole_number "the port of $1" "$port" 1 65535
}
