"""k-means in faiss: python3 kmeans_faiss.py FOLDER CLUSTERS THREADS; FOLDER/rows.safetensors holds `rows` [N, D].
Commands: `assign`, `lloyd` (one iteration), each {seconds: [1]}.
"""
import os
import sys

from peer import read_safetensors, require, seconds_of, serve

faiss, np = require("faiss", "numpy")
folder, clusters, threads = sys.argv[1:]
clusters = int(clusters)
faiss.omp_set_num_threads(int(threads))
rows = np.array(read_safetensors(os.path.join(folder, "rows.safetensors"))["rows"])
index = faiss.IndexFlatL2(rows.shape[1])
index.add(rows[:clusters])


def lloyd_fit(iterations):
    faiss.Kmeans(rows.shape[1], clusters, niter=iterations, nredo=1, max_points_per_centroid=len(rows), seed=1).train(
        rows, init_centroids=rows[:clusters])


def lloyd():
    """Of fits with 1 and with 4 iterations: what is done once cancels."""
    return dict(seconds=[(seconds_of(lambda: lloyd_fit(4)) - seconds_of(lambda: lloyd_fit(1))) / 3])


serve(dict(assign=lambda: dict(seconds=[seconds_of(lambda: index.search(rows, 1))]), lloyd=lloyd), peer="faiss", version=faiss.__version__)
