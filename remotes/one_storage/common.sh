# shellcheck shell=bash
# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Helpers for drivers in bash: source this file. The names are those that shell drivers know (contract-ds 5.5,
# contract-tm 5.1 to 5.3); docs/writing-a-driver.md has a table of them. Where a value goes into a script for another
# shell, give it after the message: it is "$1", "$2", … there. Nothing here is evaluated.
#
# A failure is one plain line on stderr (the reason that the user sees), log lines with the details, and an exit code.
# A command is ended after ONE_STORAGE_COMMAND_TIMEOUT seconds (3600).

export LANG=C
export PATH="/bin:/sbin:/usr/bin:/usr/sbin:$PATH"

# Tools: a script says ${QEMU_IMG}, a site may set another one in the environment.
: "${AWK:=awk}" "${CEPH:=ceph}" "${CUT:=cut}" "${DATE:=date}" "${DD:=dd}" "${DF:=df}" "${DU:=du}" "${GREP:=grep}"
: "${LN:=ln}" "${LVCHANGE:=lvchange}" "${LVCREATE:=lvcreate}" "${LVEXTEND:=lvextend}"
: "${LVREMOVE:=lvremove}" "${LVS:=lvs}" "${LVSCAN:=lvscan}" "${MD5SUM:=md5sum}" "${MKFS:=mkfs}" "${MKSWAP:=mkswap}"
: "${QEMU_IMG:=qemu-img}" "${RADOS:=rados}" "${RBD:=rbd}" "${READLINK:=readlink}" "${RM:=rm}" "${CP:=cp}"
: "${SED:=sed -r}" "${SSH:=ssh}" "${SUDO:=sudo -n}" "${SYNC:=sync}" "${TAR:=tar}" "${TR:=tr}"
: "${VGDISPLAY:=vgdisplay}" "${WGET:=wget}"
: "${SSH_FWD:=$SSH -o ForwardAgent=yes -o ControlMaster=no -o ControlPath=none}"

: "${SCRIPT_NAME:=$(basename -- "$0")}"
if [ -n "${ONE_LOCATION:-}" ]; then
    : "${ONE_LOCAL_VAR:=$ONE_LOCATION/var}"
else
    : "${ONE_LOCAL_VAR:=/var/lib/one}"
fi
: "${DS_DIR:=$ONE_LOCAL_VAR/datastores}"
: "${ONE_STORAGE_LOCKS:=/var/lock/one}"

_one_storage_here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# Before every script that another bash runs: messages in English, the administrator's tools.
# shellcheck disable=SC2016  # the other bash expands it
_one_storage_prologue='export LANG=C LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin'

# --- words

# Text as one line, without what could be taken for another one.
_one_storage_line() {
    local text=${1//[[:cntrl:]]/ }
    printf '%s' "${text:0:${2:-2000}}"
}

# log_date: the time now, Thu Jan 01 00:00:00 1970
log_date() {
    LC_ALL=C date '+%a %b %d %H:%M:%S %Y'
}

# log_function SEVERITY MESSAGE: a line for oned's log; ERROR, WARN, INFO or DEBUG
log_function() {
    printf '%s: %s: %s\n' "$1" "$SCRIPT_NAME" "$(_one_storage_line "$2")" >&2
}

log() { log_function INFO "$1"; }
log_info() { log_function INFO "$1"; }
log_warn() { log_function WARN "$1"; }
log_error() { log_function ERROR "$1"; }
log_debug() { log_function DEBUG "$1"; }

# error_message MESSAGE: the reason that the user sees, once for a script
error_message() {
    printf '%s\n' "$(_one_storage_line "$1" 600)" >&2
}

# --- values

# fix_dir_slashes PATH: single slashes, none at the end
fix_dir_slashes() {
    local path
    path=$(printf '%s' "$1" | tr -s /)
    case $path in
    /) printf '/\n' ;;
    *) printf '%s\n' "${path%/}" ;;
    esac
}

# arg_host HOST:PATH, arg_path HOST:PATH: the parts; both print all of an argument without a host
arg_host() {
    case $1 in
    *:*) printf '%s\n' "${1%%:*}" ;;
    *) fix_dir_slashes "$1" ;;
    esac
}

arg_path() {
    fix_dir_slashes "${1#*:}"
}

# is_disk PATH: whether it is a disk's, or lies in one's snapshot directory
is_disk() {
    [[ $1 =~ /disk\.[0-9]+ ]]
}

# is_yes VALUE: whether a value of a template means yes
is_yes() {
    case $1 in
    yes | YES | Yes | true | TRUE | True) return 0 ;;
    *) return 1 ;;
    esac
}

# contains LIST ELEMENT SEPARATOR: whether an element stands in a list
contains() {
    local separator=${3:-,}
    case "$separator$1$separator" in
    *"$separator$2$separator"*) return 0 ;;
    *) return 1 ;;
    esac
}

# xml_esc VALUE: as text or attribute of a document; the ampersand first, so that nothing is escaped twice
xml_esc() {
    printf '%s\n' "$1" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g' -e 's/"/\&quot;/g' -e "s/'/\&apos;/g"
}

# xpath [-b DATA] [-s] [-t] XPATH...: values of a document on stdin, each followed by a NUL
xpath() {
    "$_one_storage_here/xpath" "$@"
}

# one_quote WORD...: words for the command line of another shell, whichever it is
one_quote() {
    local word line=
    for word in "$@"; do
        line+=" '${word//\'/\'\"\'\"\'}'"
    done
    printf '%s\n' "${line# }"
}

# --- running

# _one_storage_capture COMMAND...: run it; what it says is in ONE_OUT and ONE_ERR, its exit code is returned. Without
# NUL bytes, and without empty lines at the end.
_one_storage_capture() {
    local code=255
    {
        IFS= read -r -d '' ONE_OUT
        IFS= read -r -d '' code
        IFS= read -r -d '' ONE_ERR
    } < <(
        # $() drops the NUL bytes of what the command says, so that it cannot be taken for what we say
        exec 3>&1 2>/dev/null
        err=$({
            code=0
            out=$("$@" 3>&-) || code=$?
            printf '%s\0%d\0' "$out" "$code" >&3
        } 2>&1)
        printf '%s\0' "$err"
    )
    return "${code:-255}"
}

# _one_storage_bounded SECONDS COMMAND...: run a program; it ends within the time, with code 143
_one_storage_bounded() {
    local seconds=$1 begun=$SECONDS code=0
    shift
    timeout --kill-after=5 "$seconds" "$@" || code=$?
    _one_storage_code "$code" "$begun" "$seconds"
}

# _one_storage_code CODE BEGUN SECONDS: the code, or 143 when it is what timeout(1) says and the time is over
_one_storage_code() {
    case $1 in
    124 | 137) [ $((SECONDS - $2)) -lt "$3" ] || return 143 ;;
    esac
    return "$1"
}

# _one_storage_run SECONDS COMMAND...: run a program in so many seconds, or a function of the script
_one_storage_run() {
    local seconds=$1
    shift
    if [ "$(type -t -- "$1")" = function ]; then
        _one_storage_capture "$@"
    else
        _one_storage_capture _one_storage_bounded "$seconds" "$@"
    fi
}

# Scripts go whole or not at all, and no command in one reads the rest of it as its stdin.
_one_storage_block() {
    printf '%s\n{\n:\n%s\n} </dev/null\n' "$_one_storage_prologue" "$1"
}

_one_storage_local() {
    local script=$1
    shift
    _one_storage_block "$script" |
        _one_storage_bounded "${ONE_STORAGE_COMMAND_TIMEOUT:-3600}" "$BASH" -s -- "$@"
}

# _one_storage_remote HOST SCRIPT [VALUE...]
_one_storage_remote() {
    local host=$1 script=$2 seconds=${ONE_STORAGE_COMMAND_TIMEOUT:-3600} begun=$SECONDS code=0
    local -a program
    shift 2
    case $host in
    '' | -* | *[!A-Za-z0-9._:%-]*)
        printf "'%s' is not the name of a host\n" "$(_one_storage_line "$host" 80)" >&2
        return 255
        ;;
    esac
    IFS=$' \t\n' read -r -a program <<<"$SSH"
    _one_storage_block "$script" | _one_storage_bounded "$((seconds + 30))" "${program[@]}" \
        -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 -T -- \
        "$host" "$(one_quote timeout --kill-after=5 "$seconds" bash -s -- "$@")" || code=$?
    _one_storage_code "$code" "$begun" "$seconds"
}

# _one_storage_tell CODE WHAT STDERR [MESSAGE]: log what happened; the reason is in ERROR
_one_storage_tell() {
    local said=$3
    if [ "$1" -eq 143 ] && [ -z "$said" ]; then
        log_error "Timeout executing $2"
        ERROR="Timeout executing $2"
    else
        log_error "Command \"$2\" failed: ${said:-it ended with code $1}"
        ERROR="Error executing \"$2\": ${said:-it ended with code $1}"
    fi
    ERROR=$(_one_storage_line "${4:-$ERROR}" 600)
}

# _one_storage_command [-m MESSAGE] -- COMMAND ARGUMENT..., or LINE [MESSAGE] whose blanks part the arguments. The parts
# are in ONE_WORDS and ONE_MESSAGE.
_one_storage_command() {
    ONE_MESSAGE=
    case ${1:-} in
    -m | --)
        if [ "$1" = -m ]; then
            ONE_MESSAGE=${2:-}
            shift 2
        fi
        [ "${1:-}" != -- ] || shift
        ONE_WORDS=("$@")
        ;;
    *)
        # no pathname expansion, no quotes: what has blanks in it needs the other form
        IFS=$' \t\n' read -r -d '' -a ONE_WORDS < <(printf '%s\0' "${1:-}")
        ONE_MESSAGE=${2:-}
        ;;
    esac
    if [ "${#ONE_WORDS[@]}" -eq 0 ]; then
        ONE_WORDS=(false)
    fi
}

# _one_storage_execute [SECONDS]: run ONE_WORDS; ERROR is set when it fails
_one_storage_execute() {
    local code=0
    _one_storage_run "${1:-${ONE_STORAGE_COMMAND_TIMEOUT:-3600}}" "${ONE_WORDS[@]}" || code=$?
    [ "$code" -eq 0 ] || _one_storage_tell "$code" "${ONE_WORDS[*]}" "$ONE_ERR" "$ONE_MESSAGE"
    return "$code"
}

_one_storage_leave() {
    error_message "$ERROR"
    exit "$1"
}

# exec_and_log LINE [MESSAGE], exec_and_log [-m MESSAGE] -- COMMAND ARGUMENT...: run it, stdout dropped; exit on failure
exec_and_log() {
    _one_storage_command "$@"
    _one_storage_execute || _one_storage_leave $?
}

# exec_and_set_error …: the same, but the sentence is in ERROR, which is empty when it went well
exec_and_set_error() {
    ERROR=
    _one_storage_command "$@"
    _one_storage_execute || return 0
}

# timeout_exec_and_log SECONDS LINE, timeout_exec_and_log SECONDS [-m MESSAGE] -- COMMAND ARGUMENT...
timeout_exec_and_log() {
    local seconds=$1
    shift
    _one_storage_command "$@"
    _one_storage_execute "$seconds" || _one_storage_leave $?
}

# multiline_exec_and_log SCRIPT [MESSAGE [VALUE...]]: run a script of bash, stdout dropped; exit on failure
multiline_exec_and_log() {
    _one_storage_script "$@" || _one_storage_leave $?
}

# multiline_exec_and_set_error SCRIPT [MESSAGE [VALUE...]]
multiline_exec_and_set_error() {
    ERROR=
    _one_storage_script "$@" || return 0
}

_one_storage_script() {
    local code=0
    _one_storage_capture _one_storage_local "$1" "${@:3}" || code=$?
    [ "$code" -eq 0 ] || _one_storage_tell "$code" "a script" "$ONE_ERR" "${2:-}"
    return "$code"
}

# monitor_and_log SCRIPT [NAME [VALUE...]]: what a script of bash prints; exit on failure
monitor_and_log() {
    local code=0
    _one_storage_capture _one_storage_local "$1" "${@:3}" || code=$?
    if [ "$code" -ne 0 ]; then
        _one_storage_tell "$code" "${2:-monitor script}" "$ONE_ERR"
        _one_storage_leave "$code"
    fi
    printf '%s\n' "$ONE_OUT"
}

# retry TIMES FUNCTION [ARGUMENT...]: once a second until it succeeds
retry() {
    local times=$1
    shift
    while [ "$times" -gt 0 ]; do
        "$@" && return 0
        times=$((times - 1))
        [ "$times" -eq 0 ] || sleep 1
    done
    return 1
}

# retry_if_no_error PATTERN TRIES SECONDS COMMAND...: again while it fails and its stderr matches; what it said last is
# printed
retry_if_no_error() {
    local pattern=$1 tries=$2 pause=$3 code
    shift 3
    while true; do
        code=0
        _one_storage_run "${ONE_STORAGE_COMMAND_TIMEOUT:-3600}" "$@" || code=$?
        tries=$((tries - 1))
        if [ "$code" -eq 0 ] || [ "$tries" -le 0 ] || ! grep -q -e "$pattern" <<<"$ONE_ERR"; then
            break
        fi
        sleep "$pause"
    done
    [ -z "$ONE_OUT" ] || printf '%s\n' "$ONE_OUT"
    [ -z "$ONE_ERR" ] || printf '%s\n' "${ONE_ERR%$'\n'}" >&2
    return "$code"
}

# retry_if …: the same, and it exits
retry_if() {
    local code=0
    retry_if_no_error "$@" || code=$?
    exit "$code"
}

# exclusive NAME SECONDS COMMAND...: hold a lock of the front-end while a command runs; exit 254 without it
exclusive() {
    local name=$1 seconds=$2 before code=0
    shift 2
    case $name in
    '' | . | .. | */*)
        log_error "'$name' is not the name of a lock"
        exit 254
        ;;
    esac
    before=$(umask)
    umask 0027
    # the test first: an exec that fails would end the script without a word
    if ! { : >>"$ONE_STORAGE_LOCKS/$name"; } 2>/dev/null; then
        umask "$before"
        log_error "Could not open or create lock $ONE_STORAGE_LOCKS/$name"
        error_message "Cannot open the lock $ONE_STORAGE_LOCKS/$name"
        exit 254
    fi
    exec 210>>"$ONE_STORAGE_LOCKS/$name"
    umask "$before"
    if ! flock -w "$seconds" 210; then
        log_error "Could not acquire exclusive lock on $ONE_STORAGE_LOCKS/$name"
        error_message "The lock $ONE_STORAGE_LOCKS/$name is still held after $seconds seconds"
        exit 254
    fi
    # bash keeps a copy for itself; what the command starts has none, so that nothing which lives on keeps the lock
    "$@" 210>&- || code=$?
    exec 210>&-
    return "$code"
}

# --- other hosts

# ssh_forward COMMAND...: run a function below with our SSH agent lent to the host
ssh_forward() {
    SSH=$SSH_FWD "$@"
}

# ssh_exec_and_log HOST SCRIPT [MESSAGE [VALUE...]]: run a script on a host, stdout dropped; exit on failure
ssh_exec_and_log() {
    _one_storage_there "$1" "$2" "${3:-}" 0 "${@:4}" || _one_storage_leave $?
}

# ssh_exec_and_log_no_error HOST SCRIPT [MESSAGE [CODE [VALUE...]]]: the same, but it returns; CODE is no failure either
ssh_exec_and_log_no_error() {
    local code=0 ok=${4:-0}
    _one_storage_there "$1" "$2" "${3:-}" "$ok" "${@:5}" || code=$?
    [ "$code" -eq 0 ] || [ "$code" -eq "$ok" ] || error_message "$ERROR"
    return "$code"
}

# ssh_exec_and_log_stdin HOST SCRIPT FILE [MESSAGE [VALUE...]]: the same, after the text of a file of ours
ssh_exec_and_log_stdin() {
    local library
    if ! library=$(cat -- "$3"); then
        error_message "Cannot read $3"
        exit 1
    fi
    ssh_exec_and_log "$1" "$library
$2" "${4:-}" "${@:5}"
}

# ssh_monitor_and_log HOST SCRIPT [NAME [VALUE...]]: what a script on a host prints; exit on failure
ssh_monitor_and_log() {
    local code=0
    _one_storage_capture _one_storage_remote "$1" "$2" "${@:4}" || code=$?
    if [ "$code" -ne 0 ]; then
        _one_storage_tell "$code" "${3:-monitor script} on $1" "$ONE_ERR"
        _one_storage_leave "$code"
    fi
    printf '%s\n' "$ONE_OUT"
}

# ssh_make_path HOST PATH: make a directory with its parents
ssh_make_path() {
    # shellcheck disable=SC2016  # the host expands it
    ssh_exec_and_log "$1" 'test -d "$1" || mkdir -p -- "$1"' "Error creating directory $2 at $1" "$2"
}

# enable_local_monitoring HOST VM_DIRECTORY DRIVER, disable_local_monitoring HOST VM_DIRECTORY: the marker .monitor of
# the datastore; the argument is the directory of a VM in it (contract-tm 5.4)
enable_local_monitoring() {
    local marker
    marker=$(_one_storage_marker "$2") || exit 1
    # shellcheck disable=SC2016  # the host expands it
    ssh_exec_and_log "$1" 'test "$(cat "$1" 2>/dev/null)" = "$2" && exit 0
        mkdir -p -- "${1%/*}" && printf "%s\n" "$2" >"$1.$$.new" && mv -f -- "$1.$$.new" "$1"' \
        "Cannot enable local monitoring on $1" "$marker" "$3"
}

disable_local_monitoring() {
    local marker
    marker=$(_one_storage_marker "$2") || exit 1
    # shellcheck disable=SC2016  # the host expands it
    ssh_exec_and_log "$1" 'rm -f -- "$1"' "Cannot disable local monitoring on $1" "$marker"
}

_one_storage_marker() {
    local path
    path=$(fix_dir_slashes "$1")
    if ! [[ $path =~ ^/.*/[0-9]+/[0-9]+$ ]]; then
        error_message "'$path' is not the directory of a VM in a datastore"
        return 1
    fi
    printf '%s/.monitor\n' "${path%/*}"
}

_one_storage_there() {
    local code=0 host=$1 script=$2 message=$3 ok=$4
    shift 4
    _one_storage_capture _one_storage_remote "$host" "$script" "$@" || code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne "$ok" ]; then
        _one_storage_tell "$code" "a script on $host" "$ONE_ERR" "$message"
    fi
    return "$code"
}

# --- images

# mkfs_command PATH FORMAT SIZE_MB SUPPORTED [FS [OPTIONS]]: print the commands that make an empty image, every value
# quoted, for a script: commands=$(mkfs_command …) || exit. OPTIONS are words as in a shell: FS_OPTS_<FS> of
# datastore.conf.
mkfs_command() {
    local path=$1 format=$2 size=${3:-0} supported=$4 fs=${5:-} options=${6:-} first=raw word words=
    case $format in
    raw | swap) ;;
    qcow2) [ -n "$fs" ] || first=qcow2 ;;
    *)
        error_message "'$format' is not a format for an empty image: raw, qcow2, swap"
        exit 255
        ;;
    esac
    if [ -n "$fs" ] && ! contains "$supported" "$fs" ,; then
        log_error "Unsupported file system type: $fs. Supported types are: $supported"
        error_message "Unsupported file system type: $fs. Supported types are: $supported"
        exit 255
    fi
    case $size in
    '' | *[!0-9]*)
        error_message "The size '$size' is not a number of MB"
        exit 255
        ;;
    esac
    if [ -n "$options" ]; then
        # xargs takes quotes away as a shell does, and evaluates nothing
        while IFS= read -r -d '' word; do
            words+=" $(one_quote "$word")"
        done < <(xargs printf '%s\0' <<<"$options")
    fi
    path=$(one_quote "$path")
    printf 'set -e -o pipefail\n'
    printf '%s create -q -f %s %s %sM\n' "$QEMU_IMG" "$first" "$path" "$size"
    if [ "$fs" = xfs ]; then
        printf 'mkfs.xfs -f%s %s\n' "$words" "$path"
    elif [ -n "$fs" ]; then
        printf '%s -t %s -F%s %s\n' "$MKFS" "$fs" "$words" "$path"
    fi
    if [ -n "$fs" ] && [ "$format" = qcow2 ]; then
        printf '%s convert -f raw -O qcow2 %s %s.qcow2\n' "$QEMU_IMG" "$path" "$path"
        printf 'mv -f -- %s.qcow2 %s\n' "$path" "$path"
    fi
    if [ "$format" = swap ]; then
        printf '%s -L swap %s\n' "$MKSWAP" "$path"
    fi
}
