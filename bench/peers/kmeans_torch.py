"""k-means in PyTorch as one writes it, in f32: python3 kmeans_torch.py FOLDER CLUSTERS DEVICE; FOLDER/rows.safetensors holds `rows` [N, D]
and `labels` [N], hubertkit's of the first CLUSTERS rows as centroids.
Commands: `check` answers {same_labels (share of the rows), inertia_ratio (hubertkit's to PyTorch's)}; `assign` and `lloyd` (one
iteration, from those centroids) {seconds: [5]}.
"""
import os
import sys

from peer import read_safetensors, require, seconds_of, serve

torch, np = require("torch", "numpy")
folder, clusters, device = sys.argv[1:]
clusters = int(clusters)
given = {name: torch.from_numpy(np.array(value)).to(device) for name, value in read_safetensors(os.path.join(folder, "rows.safetensors")).items()}
rows = given["rows"]
start = rows[:clusters].clone()
if device == "cuda":
    torch.backends.cuda.matmul.allow_tf32 = False  # as elsewhere: f32 is f32


def assign(centroids=start):
    return torch.addmm(centroids.square().sum(1) / 2, rows, centroids.t(), alpha=-1).argmin(1)


def lloyd():
    labels = assign()
    sums = torch.zeros_like(start).index_add_(0, labels, rows)
    counts = torch.bincount(labels, minlength=clusters)[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), start)


def inertia(labels):
    return (rows - start[labels]).square().sum(dtype=torch.float64).item()


def check():
    ours, theirs = given["labels"].long(), assign()
    return dict(same_labels=(ours == theirs).double().mean().item(), inertia_ratio=inertia(ours) / inertia(theirs))


def times(work):
    def finished():
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    return dict(seconds=[seconds_of(finished) for _ in range(7)][2:])


serve(dict(check=check, assign=lambda: times(assign), lloyd=lambda: times(lloyd)), peer="PyTorch", version=torch.__version__)
