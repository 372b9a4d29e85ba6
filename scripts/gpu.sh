# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: says what this machine has for CUDA.
#   gpu_architecture  the architecture to compile for, e.g. 90a; empty without a usable GPU
#   gpu_free_mib      free memory of the first GPU in MiB
#   gpu_missing       why there is no usable GPU; empty if there is one
#   nvcc              path of nvcc; empty if there is none

gpu_architecture=
gpu_free_mib=0
gpu_missing=
if ! command -v nvidia-smi >/dev/null; then
  gpu_missing="no NVIDIA driver on this machine"
elif ! gpu_line=$(nvidia-smi -i 0 --query-gpu=compute_cap,memory.free --format=csv,noheader,nounits 2>/dev/null); then
  gpu_missing="the NVIDIA driver sees no GPU"
else
  gpu_capability=${gpu_line%%,*}
  gpu_free_mib=${gpu_line##*, }
  case "$gpu_capability" in
    8.*) gpu_architecture=80 ;;
    9.0 | 10.* | 12.*) gpu_architecture="${gpu_capability/./}a" ;;
    *) gpu_missing="GPU of compute capability $gpu_capability, older than 8.0" ;;
  esac
fi

nvcc=$(command -v nvcc || true)
if [[ -z "$nvcc" && -x "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" ]]; then
  nvcc="${CUDA_PATH:-/usr/local/cuda}/bin/nvcc"
fi
