// The command line as a process, its sources compiled on the way. What does that cannot load a module that is being loaded, as
// commands do when they load several at once: so here they are loaded before, one after the other.
import '../../lib/train/readConfig.ts';
import '../../lib/train/preview.ts';
import '../../lib/train/train.ts';
import '../../lib/train/sft.ts';

await import('../../lib/cli/main.ts');
