"""Attention alone in PyTorch, in bf16: python3 attention.py FOLDER HEADS DEVICE.
FOLDER/attention.safetensors holds qkv [B, T, 3 D] (q, k and v side by side), the gradient of the output [B, T, D], and what hubertkit
made of them, `output` [B, T, D] and `gradient` of qkv.
Commands: `check` answers {output_error, gradient_error}, how far hubertkit's lie from PyTorch's (norm of the difference as a share of the
norm); `time PERCENT`, with so much dropout, {kernel, forward_s, backward_s} of one call of the fastest of PyTorch's own choice,
FlashAttention and cuDNN. The gradients are those of q, k and v apart: joining them would be a pass over memory more.
"""
import os
import sys
from contextlib import nullcontext

from peer import read_safetensors, require, seconds_of, serve

torch, np = require("torch", "numpy")
import torch.nn.functional as F

CALLS = 20  # of one measurement
folder, heads, device = sys.argv[1:]
arrays = {name: torch.from_numpy(np.array(value)).to(device)
          for name, value in read_safetensors(os.path.join(folder, "attention.safetensors")).items()}
B, T, D = arrays["output"].shape
qkv = arrays["qkv"].bfloat16().requires_grad_()
upstream = arrays["output gradient"].bfloat16().view(B, T, int(heads), -1).transpose(1, 2)
q, k, v = qkv.view(B, T, 3, int(heads), -1).permute(2, 0, 3, 1, 4).unbind(0)


def error(ours, theirs):
    return ((ours - theirs.float()).norm() / theirs.float().norm()).item()


def check():
    out = F.scaled_dot_product_attention(q, k, v)
    (gradient,) = torch.autograd.grad(out, qkv, upstream)
    return dict(output_error=error(arrays["output"], out.transpose(1, 2).reshape(B, T, D)), gradient_error=error(arrays["gradient"], gradient))


def seconds_of_one(work):
    """Median of ten measurements of CALLS calls, after three that are not counted; on a GPU between two events."""
    def calls():
        for _ in range(CALLS):
            work()

    def on_gpu():
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        calls()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1000

    return sorted([on_gpu() if device == "cuda" else seconds_of(calls) for _ in range(13)][3:])[5] / CALLS


def times(dropout):
    parts = [x.detach().requires_grad_() for x in (q, k, v)]
    attend = lambda: F.scaled_dot_product_attention(*parts, dropout_p=dropout)
    out = attend()
    return dict(forward_s=seconds_of_one(attend),
                backward_s=seconds_of_one(lambda: torch.autograd.grad(out, parts, upstream, retain_graph=True)))


def kernels():
    """By name, what makes PyTorch choose it."""
    found = {"own choice": nullcontext}
    if device == "cuda":
        from torch.nn.attention import SDPBackend, sdpa_kernel
        for name, backend in ("FlashAttention", "FLASH_ATTENTION"), ("cuDNN", "CUDNN_ATTENTION"):
            if hasattr(SDPBackend, backend):
                found[name] = lambda backend=getattr(SDPBackend, backend): sdpa_kernel(backend)
    return found


def time(percent):
    done = []
    for name, chosen in kernels().items():
        try:
            with chosen():
                done.append(dict(kernel=name, **times(percent / 100)))
        except RuntimeError as refused:  # not for this card or shape
            print(f"{name}: {refused}", file=sys.stderr)
    return min(done, key=lambda one: one["forward_s"] + one["backward_s"])


serve(dict(check=check, time=time), peer="PyTorch", version=torch.__version__)
