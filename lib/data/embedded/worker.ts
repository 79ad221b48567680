/**
 * The process that renders streams. The synthesiser keeps state that belongs to a whole process (native/speech/synthesis.h), and
 * should it ever end its process, only this one is gone.
 */
import { serve } from '../../processes';
import { type Recording, renderStream, type Stream, type StreamOptions } from './stream';

export interface StreamJob {
  stream: Stream;
  options: StreamOptions;
}

serve<StreamJob, Recording, void>(({ stream, options }, emit) => renderStream(stream, options, emit));
