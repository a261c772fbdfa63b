#!/bin/sh
# Removes what install.sh has installed. Connections go on: once the service stops they go by TCP.
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
# What a killed agent left, or one with `keep`, if there is any: without the binary nobody could take
# it out. The configuration may call the instance otherwise, or have its pins elsewhere.
said=$(/usr/local/bin/shunt check-config /etc/shunt/shunt.toml 2>/dev/null || true)
name=$(printf '%s\n' "$said" | sed -n 's/^name: //p')
name=${name:-shunt}
bpffs=$(printf '%s\n' "$said" | sed -n 's/^bpffs: //p')
instance() { # command
    /usr/local/bin/shunt "$1" --name "$name" ${bpffs:+--bpffs "$bpffs"}
}
if [ -x /usr/local/bin/shunt ] && instance status >/dev/null 2>&1; then
    instance detach || fail "instance '$name' is still at work, see above; nothing was removed"
fi

record=/usr/local/share/shunt/installed
[ -e "$record" ] || fail "$record is not there: install.sh has installed nothing on this node"
installed=$(LC_ALL=C sort -ru "$record")
rm "$record"
# In this order a folder comes after what is in it.
for path in $installed; do
    case "$path" in
        /etc/shunt/*)
            if [ "$purge" = no ] && [ -e "$path" ] && ! cmp -s "root$path" "$path"; then
                echo "kept, since it was changed: $path"
                continue
            fi
            ;;
    esac
    if [ -d "$path" ]; then
        # Something else may live there by now.
        rmdir "$path" 2>/dev/null || true
    else
        rm -f "$path"
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "shunt is removed"
