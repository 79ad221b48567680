"""What the peers share: reading our files, and answering one JSON line to each line on standard input."""
import importlib
import json
import sys
import time


def require(*names):
    """The modules of these names; says which one is missing and ends where one cannot be imported."""
    modules = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError as error:
            answer(missing=name, reason=str(error))
            sys.exit(0)
    return modules


def answer(**values):
    print(json.dumps(values), flush=True)


(np,) = require("numpy")
DTYPES = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}


def read_safetensors(path):
    """{name: array} of a safetensors file with float32, int32 and uint8 tensors."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {name: np.memmap(path, DTYPES[t["dtype"]], "r", 8 + size + t["data_offsets"][0], tuple(t["shape"])) for name, t in header.items()}


def seconds_of(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def serve(commands, **ready):
    """Says that it is ready, then answers lines `name argument...` (numbers) with what `commands[name]` returns."""
    answer(**ready)
    for line in sys.stdin:
        name, *arguments = line.split()
        answer(**commands[name](*map(int, arguments)))
