#!/bin/sh
# Removes shunt from a cluster. It leaves nothing on any node and interrupts no connection.
#
#   kubernetes/uninstall.sh                      what `kubectl apply -k kubernetes/base` has made
#   kubernetes/uninstall.sh --kustomize FOLDER   what an overlay has made
#   kubernetes/uninstall.sh --helm RELEASE       a release of the chart
#   … --namespace NAMESPACE                      in another namespace than shunt-system
#
# A pod that runs with --keep leaves its datapath to the next one. So pods get --keep=false first, they
# are replaced one after the other, and then each takes its datapath away when it goes.
set -eu

fail() {
    echo "uninstall.sh: $*" >&2
    exit 1
}

how=kustomize
what=$(dirname "$0")/base
namespace=shunt-system
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value, or is not known: see the head of this script"
    case "$1" in
        --kustomize | --helm) how=${1#--} what=$2 ;;
        --namespace) namespace=$2 ;;
        *) fail "$1 is not known: see the head of this script" ;;
    esac
    shift 2
done
k() {
    kubectl --namespace "$namespace" "$@"
}

args='{range .items[0].spec.template.spec.containers[0].args[*]}{@}{"\n"}{end}'
args=$(k get daemonset --selector app.kubernetes.io/name=shunt --output "jsonpath=$args") ||
    fail "no DaemonSet of shunt was found in namespace $namespace; nothing was removed"
if ! printf '%s\n' "$args" | grep -q -x -e --keep=false; then
    path=/spec/template/spec/containers/0/args
    patch="{\"op\":\"add\",\"path\":\"$path/-\",\"value\":\"--keep=false\"}]"
    keep=$(printf '%s\n' "$args" | grep -n -x -e --keep | cut -d : -f 1)
    if [ -n "$keep" ]; then
        at="\"path\":\"$path/$((keep - 1))\""
        patch="{\"op\":\"test\",$at,\"value\":\"--keep\"},{\"op\":\"remove\",$at},$patch"
    fi
    k patch daemonset shunt --type json --patch "[$patch"
fi
# A pod that never runs would leave the datapath of the one before.
k rollout status daemonset/shunt --timeout 30m ||
    fail "not every pod was replaced; nothing was removed: run this again once they are"
case "$how" in
    kustomize) k delete --kustomize "$what" --wait ;;
    helm) helm uninstall "$what" --namespace "$namespace" --wait ;;
esac
echo "shunt is removed"
