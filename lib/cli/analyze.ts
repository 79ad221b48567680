import type { Command } from 'commander';
import { columns, print, printJson, run } from './command';
import { Progress } from './progress';
