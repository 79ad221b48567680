/** All weights of a model at one moment, in memory: the best so far. */
import * as path from 'node:path';
import { float32Tensor, readSafetensors, toFloat32, writeSafetensors } from '../formats/safetensors';
import type { ParameterStore } from '../nn/store';

export class Snapshot {
  private constructor(private readonly values: Map<string, Float32Array>) {}

  static of(store: ParameterStore): Snapshot {
    return new Snapshot(new Map(store.names().map((name) => [name, store.read(name)])));
  }

  restore(store: ParameterStore): void {
    for (const [name, values] of this.values) store.write(name, values);
  }

  async save(folder: string, store: ParameterStore): Promise<void> {
    const tensors = [...this.values].map(([name, values]) => [name, float32Tensor(store.shape(name), values)] as const);
    await writeSafetensors(path.join(folder, file), new Map(tensors));
  }

  static async load(folder: string): Promise<Snapshot> {
    const { tensors } = await readSafetensors(path.join(folder, file));
    return new Snapshot(new Map([...tensors].map(([name, tensor]) => [name, toFloat32(tensor)])));
  }
}

const file = 'best.safetensors';
