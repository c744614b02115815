#!/usr/bin/env bash
# The worker of one node; worker.sbatch starts it through srun with the environment that it needs.
#
# A worker drains at its first SIGTERM and leaves at once at a second, and Slurm sends a signal to
# every process of a step. So what the job says to its steps is USR1, which worker and trainers are
# started to ignore, and this script turns it into a SIGTERM for the worker. One of Slurm's own
# (`scancel`, preemption) has reached the worker too: there is nothing to pass on. Either way the
# step lasts until the worker has left.
set -euo pipefail

drains=''
trap 'drains=1' TERM

# A folder of this job: two workers on one node must not share it, and a job that is queued again
# finds it.
state=$GRADSWEEP_RUN/workers/$SLURM_JOB_ID/$SLURMD_NODENAME
mkdir -p "$state"
trap '' USR1
"$GRADSWEEP_HOME/target/release/worker" --state "$state" "$@" &
worker=$!
trap '[ -n "$drains" ] || kill -TERM "$worker" || true; drains=1' USR1
while :; do
    status=0
    wait "$worker" || status=$?
    # A signal ends the wait, not the worker.
    kill -0 "$worker" 2>/dev/null || break
done
# 143: it was told to leave, and did; 138 or 143 too where a signal came just as it went.
case $status in 138 | 143) status=0 ;; esac
exit "$status"
