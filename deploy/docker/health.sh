#!/bin/sh
# Asks the coordinator of this container for /live or /ready; exit status 0 where it says yes.
# Where it listens and whether it speaks TLS is read from the environment, not from its flags.
set -eu

path=${1:-/ready}
http=${GRADSWEEP_HTTP:-127.0.0.1:9600}
at=127.0.0.1:${http##*:}$path
credentials=${GRADSWEEP_CREDENTIALS:-}

ask() {
    # Docker knows the statuses 0 and 1 alone.
    curl --silent --show-error --fail --max-time 4 --output /dev/null "$@" || exit 1
}

if [ -z "$credentials" ]; then
    ask "http://$at"
    exit
fi
# The certificate names the hosts that others reach, which the loopback need not be among.
ask --insecure --cert "$credentials/cert.pem" --key "$credentials/key.pem" "https://$at"
