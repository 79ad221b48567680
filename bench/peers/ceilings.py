"""What a GPU can do at most, through PyTorch: python3 ceilings.py.
Command `measure`: {card, copy_gbytes_per_s (bytes read and written), f32_tflops, bf16_tflops (8192 x 8192 x 8192 on normal numbers)}, each
the median of ten after three that are not counted.
"""
import sys

from peer import require, serve

(torch,) = require("torch")
SIZE = 8192
BYTES = 4 * 2**30


def seconds_of(work):
    """Between two events on the GPU."""
    times = []
    for i in range(13):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1000)
    return sorted(times[3:])[5]


def tflops(dtype):
    a, b, c = (torch.randn(SIZE, SIZE, device="cuda", dtype=dtype) for _ in range(3))
    return 2 * SIZE**3 / seconds_of(lambda: torch.matmul(a, b, out=c)) / 1e12


def copy():
    source, target = (torch.zeros(BYTES, device="cuda", dtype=torch.uint8) for _ in range(2))
    return 2 * BYTES / seconds_of(lambda: target.copy_(source)) / 1e9


def measure():
    return dict(card=torch.cuda.get_device_name(), copy_gbytes_per_s=copy(), f32_tflops=tflops(torch.float32), bf16_tflops=tflops(torch.bfloat16))


try:
    torch.cuda.init()
except Exception as error:
    sys.exit(f"PyTorch {torch.__version__} finds no GPU: {error}")
serve(dict(measure=measure), peer="PyTorch", version=torch.__version__)
