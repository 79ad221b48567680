/** A child for processes.test.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HubertkitError } from '../../lib/errors';
import { serve } from '../../lib/processes';

serve<{ number: number; does: 'square' | 'fail' | 'die' | 'wait' }, string, number>(
  async ({ number, does }, emit, signal) => {
    await emit(`begins ${number}`);
    if (does === 'fail') throw new HubertkitError('HK_CORPUS', `No ${number} today.`);
    if (does === 'die') process.exit(7);
    if (does === 'wait') {
      while (!signal.aborted) await sleep(5);
      await emit('saved');
      throw new HubertkitError('HK_INTERRUPTED', 'Stopped.');
    }
    return number * number;
  },
);
