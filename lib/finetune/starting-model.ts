/** The network that fine-tuning begins with: pretrained, its top reset or taken off, or nothing pretrained at all. */
import type { HubertConfig } from '../nn/config';
import { HubertModel } from '../nn/model';
import type { FinetuneConfig } from './config';

/** Prefix of the CTC head's parameters. */
export const headPrefix = 'lm_head.';

/**
 * A model with a new CTC head and without the pretraining head. Everything that is not taken over from `folder` begins as at
 * pretraining, from the seed and the parameter's name alone: variants of one seed share the head, and a block that several of
 * them reset begins alike in each.
 *
 * @throws what HubertModel.load throws
 */
export async function startingModel(folder: string, vocabulary: number, o: FinetuneConfig): Promise<HubertModel> {
  const { device } = o;
  await using pretrained = await HubertModel.load(folder, { device });
  const { config } = pretrained;
  const model = HubertModel.create({
    config: { ...config, layers: config.layers - o.dropTop, layerDrop: o.layerDrop },
    vocabulary,
    seed: o.seed,
    device,
  });
  if (o.random) return model;
  for (const name of model.store.names()) {
    if (!name.startsWith(headPrefix)) model.store.write(name, pretrained.store.read(name));
  }
  model.resetLayers(o.resetTop, o.seed);
  return model;
}

/** The convolutions never train (wav2vec 2.0, 2006.11477, section 4.3). */
const alwaysFrozen = ['feature_extractor.'];

/**
 * Prefixes of the parameters that rest during a phase. Freeze phase, `all`: everything but the head; `pretrained-only`:
 * everything that was pretrained, so that reset blocks learn with the head before the gradient reaches what is below them (a
 * network of which nothing was pretrained has nothing to rest).
 */
export function frozenPrefixes(o: FinetuneConfig, model: HubertConfig, phase: 'freeze' | 'train'): string[] {
  if (phase === 'train' || (o.random && o.freeze === 'pretrained-only')) return alwaysFrozen;
  const reset = o.freeze === 'all' ? 0 : o.resetTop;
  const blocks = Array.from({ length: model.layers - reset }, (_, layer) => `encoder.layers.${layer}.`);
  // Pre-LN models have the encoder's norm at the top, where it is reset with the blocks; post-LN models have it below them.
  const norm = reset > 0 && model.normFirst ? [] : ['encoder.layer_norm.'];
  return [...alwaysFrozen, 'feature_projection.', 'masked_spec_embed', 'encoder.pos_conv_embed.', ...norm, ...blocks];
}
