#!/usr/bin/env bash
#SBATCH --job-name=iris-ray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
# A sweep on a Ray cluster of its own within a Slurm allocation, submitted from the project's root:
#
#     sbatch cluster/deploy/slurm.sh my-sweep.toml
#
# The manifest's root must be a directory that all nodes see. When the time is up, submit it again: it goes on.
set -euo pipefail

manifest=${1:?"usage: sbatch cluster/deploy/slurm.sh MANIFEST.toml"}
cpus=${SLURM_CPUS_PER_TASK:-16}
source "${VENV:-.venv}/bin/activate"

# Only who knows the token can use the cluster; Slurm hands the environment to every node.
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN
export RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(srun --nodes=1 --ntasks=1 -w "${nodes[0]}" hostname --ip-address | awk '{ print $1 }')
port=$((20000 + SLURM_JOB_ID % 20000)) # several users may share a node
export RAY_API_SERVER_ADDRESS="http://127.0.0.1:$((port + 1))"

srun --nodes=1 --ntasks=1 -w "${nodes[0]}" ray start --head --block --node-ip-address "$head" --port "$port" \
    --dashboard-host 127.0.0.1 --dashboard-port $((port + 1)) --num-cpus "$cpus" &
until python -c "import socket; socket.create_connection(('$head', $port), 1)" 2>/dev/null; do
    kill -0 $! || exit 1
    sleep 1
done
for node in "${nodes[@]:1}"; do
    srun --nodes=1 --ntasks=1 -w "$node" ray start --block --address "$head:$port" --num-cpus "$cpus" &
done

# Shortly before the time is up, every run finishes its commit: `stop` asks for it, the sweep ends when all have.
python -m pipeline.sweep resume "$manifest" &
sweep=$!
trap 'python -m pipeline.sweep stop "$manifest"' TERM
status=0
wait "$sweep" || status=$?
if kill -0 "$sweep" 2>/dev/null; then # the signal broke off the wait, not the sweep
    status=0
    wait "$sweep" || status=$?
fi
kill $(jobs -p) 2>/dev/null || true
exit "$status"
