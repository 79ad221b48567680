"""k-means in scikit-learn: python3 kmeans_sklearn.py FOLDER CLUSTERS THREADS; FOLDER/rows.safetensors holds `rows` [N, D].
Commands: `assign`, `lloyd` (one iteration), `minibatch` (k-means++ on 30000 rows and 100 steps of 10000; N must divide a million), each {seconds: [1]}.
"""
import os
import sys
import warnings

from peer import read_safetensors, require, seconds_of, serve

sklearn, cluster, np = require("sklearn", "sklearn.cluster", "numpy")
folder, clusters, _ = sys.argv[1:]
clusters = int(clusters)
rows = np.array(read_safetensors(os.path.join(folder, "rows.safetensors"))["rows"])
warnings.filterwarnings("ignore", category=sklearn.exceptions.ConvergenceWarning)


def lloyd_fit(iterations):
    return cluster.KMeans(clusters, init=rows[:clusters], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(rows)


def lloyd():
    """Of fits with 1 and with 4 iterations: what is done once cancels."""
    return dict(seconds=[(seconds_of(lambda: lloyd_fit(4)) - seconds_of(lambda: lloyd_fit(1))) / 3])


def minibatch():
    batch = min(10000, len(rows))
    fit = cluster.MiniBatchKMeans(clusters, init="k-means++", n_init=1, batch_size=batch, init_size=min(3 * batch, len(rows)),
                                  max_iter=max(1, 100 * batch // len(rows)), max_no_improvement=None, tol=0, reassignment_ratio=0,
                                  compute_labels=False, random_state=1)
    return dict(seconds=[seconds_of(lambda: fit.fit(rows))])


fitted = lloyd_fit(1)
serve(dict(assign=lambda: dict(seconds=[seconds_of(lambda: fitted.predict(rows))]), lloyd=lloyd, minibatch=minibatch),
      peer="scikit-learn", version=sklearn.__version__)
