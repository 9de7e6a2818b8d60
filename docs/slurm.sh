#!/bin/bash
#SBATCH --job-name=supernet --gres=gpu:1 --time=24:00:00
#SBATCH --requeue --signal=B:USR1@300 --open-mode=append
set -u
RUN=runs/$SLURM_JOB_NAME CONFIG=run.yaml FC2=$HOME/FlyingChairs2
RESUME=; [ -f "$RUN/config.yaml" ] && RESUME=--resume
harness doctor --against "$RUN" || # a first start, or another kind of node
  pytest invariants/ --config "$CONFIG" --fc2-root "$FC2" --gate-file gate.json || exit 1
harness train --config "$CONFIG" --fc2-root "$FC2" --run "$RUN" --require-gate gate.json $RESUME &
TRAIN=$!; trap 'kill -USR1 $TRAIN' USR1
wait $TRAIN; wait $TRAIN; CODE=$? # the signal ends the first wait, the run the second
[ $CODE -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit $CODE
