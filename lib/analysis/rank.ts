/** How many directions features use. */
import type { CrossSums } from './cross-sums';
import { symmetricEigen } from './linear-algebra';

/**
 * RankMe (Garrido et al. 2023, 2210.02885, eq. 2): exp(-sum p ln p), p_k = s_k / sum s, s the singular values of the features
 * (nothing subtracted). d for features that use all directions alike, r for a rank-r isotropic matrix, 1 for a single direction.
 *
 * @param sums of (X, X). @throws HK_ARGUMENT when the features are not finite
 */
export async function rankMe(sums: CrossSums): Promise<number> {
  const { values } = await symmetricEigen(sums.secondMoment());
  const singular = values.map((value) => Math.sqrt(Math.max(value - nullShare * values[0], 0)));
  const total = singular.reduce((a, b) => a + b, 0);
  if (total === 0) return 0;
  return Math.exp(-singular.reduce((sum, s) => (s > 0 ? sum + (s / total) * Math.log(s / total) : sum), 0));
}

/** Rounding leaves null directions this share of the largest squared singular value, or less. */
const nullShare = 1e-13;
