"""A HuBERT pretraining step in PyTorch: the same model, loss, clip and AdamW as hubertkit's, without dropout.

  python3 step.py FOLDER PRECISION THREADS [cuda eager|compile]
FOLDER holds model.json and model.safetensors (HubertModel.save) and inputs.safetensors: waveform [B, N], labels and mask [B, T].
Commands on standard input: `run N` makes N updates and answers {seconds: [N], loss, gradient_norm}, the last two before the last update.
What makes PyTorch fastest on CPUs is set here and in peer.ts: q, k and v as one product, no attention mask where no row is padded,
the head on masked frames alone, fused AdamW, denormals flushed; in bf16 (autocast) attention as plain products, since the CPU's
flash attention is slow there. On a GPU PyTorch chooses the attention itself, cuDNN searches for the fastest convolutions, and the
masked frames are picked by index, so that their number is not read back in every step.
"""
import json
import os
import sys

from peer import read_safetensors, require, seconds_of, serve

torch, np = require("torch", "numpy")
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils.parametrizations import weight_norm


class ConvLayer(nn.Module):
    """Convolution, norm (GroupNorm with one channel a group, LayerNorm over channels, or none), GELU: [B, C, N] -> [B, C', N']."""

    def __init__(self, channels, out, kernel, stride, norm):
        super().__init__()
        self.conv = nn.Conv1d(channels, out, kernel, stride=stride, bias=False)
        self.layer_norm = {"group": lambda: nn.GroupNorm(out, out), "layer": lambda: nn.LayerNorm(out)}.get(norm, nn.Identity)()

    def forward(self, x):
        x = self.conv(x)
        if isinstance(self.layer_norm, nn.LayerNorm):
            return F.gelu(self.layer_norm(x.transpose(1, 2))).transpose(1, 2)
        return F.gelu(self.layer_norm(x))


class FeatureExtractor(nn.Module):
    def __init__(self, c):
        super().__init__()
        sizes = list(zip(c["convKernels"], c["convStrides"]))
        norms = ["layer"] * len(sizes) if c["convNorm"] == "layer" else ["group"] + ["none"] * (len(sizes) - 1)
        self.conv_layers = nn.ModuleList(
            ConvLayer(1 if i == 0 else c["convDim"], c["convDim"], kernel, stride, norms[i]) for i, (kernel, stride) in enumerate(sizes))

    def forward(self, waveform):
        x = waveform[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class PositionalConv(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.kernel = c["hiddenSize"], c["posConvKernel"]
        self.conv = weight_norm(nn.Conv1d(d, d, self.kernel, padding=self.kernel // 2, groups=c["posConvGroups"]), dim=2)

    def forward(self, x):
        y = self.conv(x.transpose(1, 2))
        return F.gelu(y[:, :, :-1] if self.kernel % 2 == 0 else y).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.qkv_proj, self.out_proj = heads, nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv_proj(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d))


class FeedForward(nn.Module):
    def __init__(self, d, wide):
        super().__init__()
        self.intermediate_dense, self.output_dense = nn.Linear(d, wide), nn.Linear(wide, d)

    def forward(self, x):
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class EncoderLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, self.norm_first = c["hiddenSize"], c["normFirst"]
        self.attention, self.feed_forward = Attention(d, c["heads"]), FeedForward(d, c["intermediateSize"])
        self.layer_norm, self.final_layer_norm = nn.LayerNorm(d), nn.LayerNorm(d)

    def forward(self, x):
        if self.norm_first:
            x = x + self.attention(self.layer_norm(x))
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x))


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm_first = c["normFirst"]
        self.pos_conv_embed, self.layer_norm = PositionalConv(c), nn.LayerNorm(c["hiddenSize"])
        self.layers = nn.ModuleList(EncoderLayer(c) for _ in range(c["layers"]))

    def forward(self, x):
        x = x + self.pos_conv_embed(x)
        if not self.norm_first:
            x = self.layer_norm(x)
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x) if self.norm_first else x


class Hubert(nn.Module):
    """Parameters have Hugging Face's names, but q, k and v are one block."""

    def __init__(self, c, clusters):
        super().__init__()
        d, projection = c["hiddenSize"], c["projectionSize"]
        self.temperature, self.feature_grad_mult = c["logitTemperature"], c["featureGradMult"]
        self.masked_spec_embed = nn.Parameter(torch.empty(d))
        self.feature_extractor = FeatureExtractor(c)
        self.feature_projection = nn.ModuleDict(dict(layer_norm=nn.LayerNorm(c["convDim"]), projection=nn.Linear(c["convDim"], d)))
        self.encoder = Encoder(c)
        self.final_proj = nn.Linear(d, projection)
        self.label_embs_concat = nn.Parameter(torch.empty(clusters, projection))

    def forward(self, waveform, mask, picked, targets):
        """Mean cross-entropy of masked frames + 10 mean(features^2). waveform [B, N], mask [B, T], picked: an index of the masked
        frames, targets: their labels."""
        features = self.feature_extractor(waveform)
        if self.feature_grad_mult != 1:
            features.register_hook(lambda gradient: gradient * self.feature_grad_mult)
        penalty = features.float().pow(2).mean()
        x = self.feature_projection["projection"](self.feature_projection["layer_norm"](features))
        x = torch.where(mask[..., None], self.masked_spec_embed.to(x.dtype), x)
        projected = self.final_proj(self.encoder(x)[picked])
        with torch.autocast(waveform.device.type, enabled=False):
            cosines = F.normalize(projected.float(), dim=-1) @ F.normalize(self.label_embs_concat, dim=-1).t()
            return F.cross_entropy(cosines / self.temperature, targets) + 10 * penalty


def with_joined_qkv(weights):
    """Hugging Face's names -> ours: q_proj, k_proj and v_proj of a layer become the rows of qkv_proj."""
    joined = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    for name in [n for n in joined if ".q_proj." in n]:
        parts = [joined.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")]
        joined[name.replace("q_proj", "qkv_proj")] = torch.cat(parts)
    return joined


def main(folder, precision, threads, device="cpu", how="eager"):
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = False  # as elsewhere: f32 is f32
    elif precision == "bf16":
        torch.backends.cuda.enable_flash_sdp(False)  # the CPU's too
    with open(os.path.join(folder, "model.json")) as file:
        description = json.load(file)
    model = Hubert(description["config"], description["clusters"]).train()
    model.load_state_dict(with_joined_qkv(read_safetensors(os.path.join(folder, "model.safetensors"))))
    model.to(device)
    objective = torch.compile(model) if how == "compile" else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01, fused=True)
    inputs = {name: torch.from_numpy(np.array(value)).to(device)
              for name, value in read_safetensors(os.path.join(folder, "inputs.safetensors")).items()}
    mask = inputs["mask"].bool()
    picked = mask.nonzero(as_tuple=True) if device == "cuda" else mask
    targets = inputs["labels"][mask].long()
    last = {}

    def update():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = objective(inputs["waveform"], mask, picked, targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0, foreach=True)
        optimiser.step()
        last.update(loss=loss.item(), gradient_norm=norm.item())
        if device == "cuda":
            torch.cuda.synchronize()

    def run(count):
        return dict(seconds=[seconds_of(update) for _ in range(count)], **last)

    serve(dict(run=run), peer="PyTorch", version=torch.__version__)


main(*sys.argv[1:])
