#!/bin/bash
# scripts/fuzz.sh [-t TIME] [-j N] [-l] [PATTERN]: runs every fuzz target whose name (package/FuzzName) matches PATTERN, an
# extended regular expression, for TIME each (default 1h), N at a time (default 1). -l only lists them.
#
# A target that finds something leaves the input in testdata/fuzz of its package, where go test runs it from then on; its
# log is shown at the end and the exit code is 1.
set -euo pipefail
cd "$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)"

time=1h jobs=1 list=
while getopts 't:j:lh' o; do
  case $o in
    t) time=$OPTARG ;;
    j) jobs=$OPTARG ;;
    l) list=1 ;;
    *) sed -n '2,6s/^# //p' "$0"; exit 16 ;;
  esac
done
shift $((OPTIND - 1))
pattern="${1:-.}"

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT
go test -list '^Fuzz' ./... > "$logs/list"
# go test prints the names first and then "ok PACKAGE ...".
awk '/^Fuzz/ {n[++i]=$1} $1=="ok" {for (k=1; k<=i; k++) print $2 "/" n[k]; i=0} $1=="?" {i=0}' "$logs/list" > "$logs/all"
grep -E -- "$pattern" "$logs/all" > "$logs/targets" || { echo "no fuzz target matches $pattern" >&2; exit 16; }
if [ -n "$list" ]; then
  cat "$logs/targets"
  exit 0
fi

echo "$(wc -l < "$logs/targets") targets, $time each, $jobs at a time"
one() {
  target=$1 pkg=${1%/*} name=${1##*/}
  log="$3/${target//\//_}.log"
  if go test "$pkg" -run '^$' -fuzz "^$name\$" -fuzztime "$2" -fuzzminimizetime 5x -parallel 2 > "$log" 2>&1; then
    echo "ok    $target  $(grep '^fuzz: elapsed' "$log" | tail -1)"
  else
    echo "FAIL  $target"
    touch "$3/failed"
    sed 's/^/      /' "$log" | tail -40
  fi
}
export -f one
xargs -P "$jobs" -I{} bash -c 'one "$@"' _ {} "$time" "$logs" < "$logs/targets"
[ ! -e "$logs/failed" ]
