"""13 MFCC with deltas and their deltas in torchaudio: python3 mfcc_torchaudio.py FOLDER THREADS; FOLDER/samples.safetensors holds
`samples` [N]. Command: `run N` answers {seconds: [N]}.
"""
import os
import sys

from peer import read_safetensors, require, seconds_of, serve

torchaudio, kaldi, torch, np = require("torchaudio", "torchaudio.compliance.kaldi", "torch", "numpy")
folder, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
samples = torch.from_numpy(np.array(read_safetensors(os.path.join(folder, "samples.safetensors"))["samples"]))[None]


def mfcc():
    cepstra = kaldi.mfcc(samples, sample_frequency=16000, use_energy=False).t()
    deltas = torchaudio.functional.compute_deltas(cepstra)
    return torch.cat([cepstra, deltas, torchaudio.functional.compute_deltas(deltas)])


mfcc()
serve(dict(run=lambda count: dict(seconds=[seconds_of(mfcc) for _ in range(count)])), peer="torchaudio", version=torchaudio.__version__)
