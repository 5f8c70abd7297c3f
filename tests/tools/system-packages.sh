#!/usr/bin/env bash
# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Install those packages of a list (a file, one name a line) that this machine does not have. Nothing is asked, no
# daemon starts, and a machine that has them all is left alone: no root, no network. Exit code 3: some are missing and
# there are no rights to install them; the caller may try its luck.
set -euo pipefail

list=$1
policy=/usr/sbin/policy-rc.d
aside=/usr/sbin/policy-rc.d.one_storage-saved
marker='one_storage.drivers: no daemon starts while the packages of its tests are installed'

wanted=()
while read -r name _; do
    case $name in '' | '#'*) ;; *) wanted+=("$name") ;; esac
done <"$list"

if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian system. Please see to it that it has what these packages give: ${wanted[*]}" >&2
    exit 0
fi

missing=()
for name in "${wanted[@]}"; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) || state=''
    [ "$state" = installed ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    # Without a terminal sudo cannot ask for its password.
    if ! command -v sudo >/dev/null || { ! [ -t 0 ] && ! sudo -n true 2>/dev/null; }; then
        echo "These packages are missing, and installing them needs root: ${missing[*]}" >&2
        exit 3
    fi
    exec sudo -- "$BASH" "$(realpath -- "$0")" "$(realpath -- "$list")"
fi

# Maintainer scripts ask policy-rc.d whether a daemon may start: 101 is no. The machine's own answer is put aside and
# comes back at the end, also after a signal; what a killed run left is recognised by its marker and repaired first.
exec 9>/run/lock/one_storage-packages
flock -w 900 9 || { echo "Another installation holds /run/lock/one_storage-packages." >&2; exit 1; }
restore_policy() {
    if grep -qsF -- "$marker" "$policy"; then rm -f -- "$policy"; fi
    if [ -e "$aside" ] || [ -L "$aside" ]; then mv -f -- "$aside" "$policy"; fi
}
restore_policy
trap restore_policy EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ -e "$policy" ] || [ -L "$policy" ]; then mv -f -- "$policy" "$aside"; fi
printf '#!/bin/sh\n# %s\nexit 101\n' "$marker" >"$policy"
chmod 755 "$policy"

echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
options=(-qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
apt-get "${options[@]}" update </dev/null 9>&-
apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null 9>&- >/dev/null
