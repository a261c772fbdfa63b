#!/bin/sh
# Installs shunt on this node from the bundle that this script is in; run it again from a newer bundle to upgrade.
#
#   ./install.sh                 check the bundle, install, enable and start the service
#   ./install.sh --no-start      install only
#
# An upgrade does not interrupt a connection: the files are replaced, the old agent is killed, which leaves its programs at work, and the
# service manager starts the new one, which goes on from there. ./uninstall.sh removes what was installed.
set -eu

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

start=yes
case "${1-}" in
    "") ;;
    --no-start) start=no ;;
    *) fail "'$1' is not known; the only option is --no-start" ;;
esac
[ "$(id -u)" = 0 ] || fail "this installs into /usr/local and /etc: run it as root"
cd "$(dirname "$0")"
sha256sum --check --quiet --strict SHA256SUMS || fail "the bundle is damaged or incomplete: copy it here again"
machine=$(uname -m)
[ -f "bin/$machine/shunt" ] || fail "the bundle has nothing for this machine, which is $machine, but for $(ls bin)"

# What uninstall.sh goes by: files, and folders that were not there before.
record=/usr/local/share/shunt/installed
make() { # folder
    [ -d "$1" ] && return
    make "$(dirname "$1")"
    mkdir "$1"
    made="$made$1
"
}
made=
make "$(dirname "$record")"

# What was there before is replaced by a rename, so that nobody ever sees half a file and a running binary is left alone.
put() { # file of the bundle, where it goes
    make "$(dirname "/$2")"
    cp -p "$1" "/$2.new"
    chown 0:0 "/$2.new"
    mv -f "/$2.new" "/$2"
    made="$made/$2
"
}
put "bin/$machine/shunt" usr/local/bin/shunt
for file in $(cd root && find . -type f | sed 's|^\./||' | LC_ALL=C sort); do
    case "$file" in
        # The operator's, once it is there.
        etc/shunt/*) [ ! -e "/$file" ] || continue ;;
    esac
    put "root/$file" "$file"
done
printf %s "$made" >>"$record"

if [ "$start" = yes ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet shunt.service
    if systemctl is-active --quiet shunt.service; then
        # Restart=on-failure starts the new one.
        systemctl kill --signal=SIGKILL shunt.service
    else
        systemctl start shunt.service
    fi
    echo "shunt is installed and started: systemctl status shunt, shunt status, man shunt"
else
    echo "shunt is installed: shunt run, man shunt"
fi
