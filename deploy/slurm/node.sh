#!/usr/bin/env bash
# The worker of one node; worker.sbatch starts it through srun with the environment that it needs.
#
# Slurm sends a signal to every process of a step, and a trainer that gets SIGTERM dies instead of
# writing its checkpoint. So the job says USR1, which worker and trainers are started to ignore, and
# this script alone turns it into a SIGTERM for the worker.
set -euo pipefail

worker=
trap 'told=1; [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null || true' USR1

# A folder of this job: two workers on one node must not share it, and a job that is queued again
# finds it.
state=$GRADSWEEP_RUN/workers/$SLURM_JOB_ID/$SLURMD_NODENAME
mkdir -p "$state"
(
    trap '' USR1
    exec "$GRADSWEEP_HOME/target/release/worker" --state "$state" "$@"
) &
worker=$!
while :; do
    told='' status=0
    wait "$worker" || status=$?
    # A signal ends the wait, not the worker.
    [ -n "$told" ] || break
done
# 143: it was told to leave, and did.
[ "$status" -ne 143 ] || status=0
exit "$status"
