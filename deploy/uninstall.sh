#!/bin/sh
# Removes what install.sh of this bundle has installed. Connections go on: stopping the service hands them back to TCP.
#
#   ./uninstall.sh               keeps a configuration that was changed
#   ./uninstall.sh --purge       removes that, too
set -eu

fail() {
    echo "uninstall.sh: $*" >&2
    exit 1
}

purge=no
case "${1-}" in
    "") ;;
    --purge) purge=yes ;;
    *) fail "'$1' is not known; the only option is --purge" ;;
esac
[ "$(id -u)" = 0 ] || fail "this removes from /usr/local and /etc: run it as root"
cd "$(dirname "$0")"

if [ -d /run/systemd/system ] && systemctl cat shunt.service >/dev/null 2>&1; then
    systemctl disable --now --quiet shunt.service
fi
if [ -x /usr/local/bin/shunt ] && /usr/local/bin/shunt status --name shunt >/dev/null 2>&1; then
    # What a killed agent left, if there is any: without the binary nobody could take it out.
    /usr/local/bin/shunt detach --name shunt --wait 60 || fail "instance 'shunt' is still at work, see above; nothing was removed"
fi

# What root/ lists, then the folders that were made for it, if nothing else is in them.
(cd root && find . -type f) | sed 's|^\./||' | while read -r file; do
    case "$file" in
        etc/shunt/*)
            if [ "$purge" = no ] && [ -e "/$file" ] && ! cmp -s "root/$file" "/$file"; then
                echo "kept, since it was changed: /$file"
                continue
            fi
            ;;
    esac
    rm -f "/$file"
done
(cd root && find . -mindepth 1 -type d) | sed 's|^\./||' | LC_ALL=C sort -r | while read -r folder; do
    case "$folder" in
        # Every system has these, also when they are empty.
        etc | etc/systemd | etc/systemd/system | usr | usr/local | usr/local/bin | usr/local/share | usr/local/share/man) ;;
        *) rmdir "/$folder" 2>/dev/null || true ;;
    esac
done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "shunt is removed"
