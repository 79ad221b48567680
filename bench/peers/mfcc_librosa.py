"""13 MFCC with deltas and their deltas in librosa: python3 mfcc_librosa.py FOLDER THREADS; FOLDER/samples.safetensors holds `samples` [N].
Command: `run N` answers {seconds: [N]}.
"""
import os
import sys

from peer import read_safetensors, require, seconds_of, serve

librosa, np = require("librosa", "numpy")
samples = np.array(read_safetensors(os.path.join(sys.argv[1], "samples.safetensors"))["samples"])


def mfcc():
    cepstra = librosa.feature.mfcc(y=samples, sr=16000, n_mfcc=13, n_fft=400, hop_length=160, n_mels=23, center=False)
    return np.concatenate([cepstra, librosa.feature.delta(cepstra), librosa.feature.delta(cepstra, order=2)])


mfcc()
serve(dict(run=lambda count: dict(seconds=[seconds_of(mfcc) for _ in range(count)])), peer="librosa", version=librosa.__version__)
