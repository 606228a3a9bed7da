#!/bin/bash
# Training on several nodes. Edit the first lines, then, from the repository:
#   sbatch sdxl/configs/slurm.sh --config sdxl/configs/ffhq_500.yaml --data noisy/ffhq_500 --out runs/ffhq_500
# The same sbatch again goes on where it stopped. All nodes must see the same folders.
#SBATCH --job-name=exact-ambient
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)  # all is read: head would end scontrol early, and pipefail the job

# 24 hours are 1440 minutes: saved and left ten before SLURM's end. --batch must be a multiple of the processes, here 16.
srun torchrun \
  --nnodes "$SLURM_NNODES" \
  --nproc-per-node "$SLURM_GPUS_ON_NODE" \
  --rdzv-id "$SLURM_JOB_ID" \
  --rdzv-backend c10d \
  --rdzv-endpoint "$head:29500" \
  -m sdxl train --time-limit 1430 "$@"
