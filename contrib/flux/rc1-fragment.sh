#!/bin/sh
# Recover the state directory before Flux opens it. Source this, or run it, from whatever starts the broker:
#
#   rc1-fragment.sh STATEDIR && exec flux broker ... -Sstatedir=STATEDIR
#
# It must run BEFORE the broker. Inside rc1 the task that loads content-sqlite comes first and locks the database, and
# rc1 has read dump/RESTORE by then; scripts in rc1.d run last of all.
#
# Exit 0: it is safe to start. Anything else: do not start.
set -u

statedir=${1:-${FLUX_STATEDIR:-/var/lib/flux}}
fettle=${FETTLE:-fettle}

"$fettle" flux recover "$statedir"
code=$?
case $code in
0) exit 0 ;;
1)
	# Recovered. The report says what was lost, which jobs were active and which nodes are drained.
	report=$(ls -t "$statedir"/recover-*.txt 2>/dev/null | head -n 1)
	if command -v logger >/dev/null 2>&1; then
		logger -t fettle-flux-recover -p daemon.warning "the Flux state directory was recovered, see ${report:-$statedir}"
	fi
	exit 0
	;;
4) echo "flux recover: the routes that are left were forbidden; see the options --no-*" >&2 ;;
*) echo "flux recover: failed with $code; the database is as it was" >&2 ;;
esac
exit "$code"
