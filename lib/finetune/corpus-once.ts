import type { FinetuneOptions } from './config';
import { type FinetuneCorpus, finetuneCorpus, resolveSource } from './finetune';

/** Opens the corpus of the first options that it is asked with, and keeps it for the others. */
export function corpusOnce(): (options: FinetuneOptions) => Promise<FinetuneCorpus> {
  let opened: Promise<FinetuneCorpus> | undefined;
  const open = async (options: FinetuneOptions) => {
    const { config, source } = await resolveSource(options);
    return finetuneCorpus(config, source.model);
  };
  return (options) => {
    opened ??= open(options);
    return opened;
  };
}
