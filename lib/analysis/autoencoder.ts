/** How far the top of the network turns back towards its input. */
import { HubertkitError } from '../errors';

/**
 * (S(top) - min_l S(l)) / (1 - min_l S(l)), where S(l) is the similarity of layer l to layer 0 (linear CKA or CCA), S(0) = 1.
 * 0: the layers only ever move away from the input; 1: the top layer is as near to the input as layer 0 itself. The shape
 * it measures is the "autoencoder behaviour" of Pasad et al. (2107.04734, section 4) and Vielzeuf (2405.08402); the index
 * itself is hubertkit's.
 *
 * @param similarity one value for each layer 0..L. 0 is returned when all layers equal the input.
 */
export function autoencoderIndex(similarity: readonly number[]): number {
  if (similarity.length < 2) {
    throw new HubertkitError('HK_ARGUMENT', `The autoencoder index needs at least 2 layers; got ${similarity.length}.`);
  }
  const lowest = Math.min(...similarity);
  if (!(lowest < 1)) return Number.isNaN(lowest) ? Number.NaN : 0;
  return (similarity[similarity.length - 1] - lowest) / (1 - lowest);
}

/** max_l I(l) - I(top): what the top layer has lost of a kind of information (PNMI, probe accuracy, CCA) against the best one. */
export function dropAtTop(information: readonly number[]): number {
  if (information.length === 0) throw new HubertkitError('HK_ARGUMENT', 'Drop-at-top needs at least one layer.');
  return Math.max(...information) - information[information.length - 1];
}
