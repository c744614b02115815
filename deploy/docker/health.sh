#!/bin/sh
# Asks the coordinator of this container for /live or /ready; exit status 0 where it says yes.
# Where it listens and whether it speaks TLS is read from the environment, not from its flags.
set -eu

path=${1:-/ready}
http=${GRADSWEEP_HTTP:-127.0.0.1:9600}
at=127.0.0.1:${http##*:}$path
# A folder with cert.pem and key.pem of a client, where --mutual-tls wants that of this caller too.
own=${GRADSWEEP_HEALTH_CREDENTIALS:-}

ask() {
    # Docker knows the statuses 0 and 1 alone.
    curl --silent --show-error --fail --max-time 4 --output /dev/null "$@" || exit 1
}

# The certificate names the hosts that others reach, which the loopback need not be among.
if [ -z "${GRADSWEEP_CREDENTIALS:-}" ]; then
    ask "http://$at"
elif [ -z "$own" ]; then
    ask --insecure "https://$at"
else
    ask --insecure --cert "$own/cert.pem" --key "$own/key.pem" "https://$at"
fi
