import { assemblePrompt } from '../../data/promptText.ts';
import { createTerminal } from '../../report/terminal.ts';
import { defineCommand } from '../command.ts';
import { usageError } from '../parse.ts';

export const generate = defineCommand({
  description: 'ask a policy about pictures and videos',
  args: {
    model: { type: 'string', description: 'checkpoint folder', valueHint: 'DIR', required: true },
    prompt: { type: 'string', description: 'the question', valueHint: 'TEXT', required: true },
    image: { type: 'string', description: 'a picture; may be given several times', valueHint: 'FILE', multiple: true },
    video: {
      type: 'string',
      description: 'a folder of frames; may be given several times',
      valueHint: 'FOLDER',
      multiple: true,
    },
    fps: { type: 'string', number: 'real', description: 'frames per second of the videos', valueHint: 'N' },
    n: { type: 'string', number: 'whole', least: 1, description: 'responses', valueHint: 'N', default: '1' },
    'max-tokens': {
      type: 'string',
      number: 'whole',
      least: 1,
      description: 'of a response',
      valueHint: 'N',
      default: '1024',
    },
    temperature: {
      type: 'string',
      number: 'real',
      least: 0,
      description: '0 takes the most probable token',
      valueHint: 'X',
      default: '0.7',
    },
    'top-p': {
      type: 'string',
      number: 'real',
      above: 0,
      most: 1,
      description: 'share of probability to sample from',
      valueHint: 'X',
    },
    'top-k': {
      type: 'string',
      number: 'whole',
      least: 0,
      description: 'tokens to sample from; 0 is all',
      valueHint: 'N',
    },
    'repetition-penalty': { type: 'string', number: 'real', above: 0, description: '1 is none', valueHint: 'X' },
    stop: {
      type: 'string',
      description: 'ends a response as soon as it holds it; may be given several times',
      valueHint: 'TEXT',
      multiple: true,
    },
    weights: {
      type: 'string',
      description: 'what matrices are kept in: f32 or bf16',
      valueHint: 'TYPE',
      default: 'f32',
    },
    seed: { type: 'string', number: 'whole', description: 'the same seed says the same', valueHint: 'N', default: '0' },
  },
  notes: 'Pictures and videos stand before the question, or where it says <image> and <video>.',
  stoppable: true,
  async run(values, { stdout, stderr, environment, signal }) {
    const { fps } = values;
    if (values.video.length > 0 && fps === undefined)
      throw usageError('--fps is missing: how many frames of a --video make a second');
    if (values.stop.includes('')) throw usageError('--stop must be a text; got ""');
    const { weights: dtype } = values;
    if (dtype !== 'f32' && dtype !== 'bf16') throw usageError(`--weights must be f32 or bf16; got ${dtype}`);
    const videos = values.video.map((frames) => ({ frames, fps: fps! }));
    const terminal = createTerminal(stderr, { color: environment.color });
    try {
      terminal.status(`loading ${values.model}`);
      const { Policy } = await import('../../model/qwen3vl/policy.ts');
      const policy = await Policy.load(values.model, { dtype, trained: false });
      const { prompt: question, image: images } = values;
      const before = (placeholder: string, count: number) =>
        question.includes(placeholder) ? '' : placeholder.repeat(count);
      const problem = before('<image>', images.length) + before('<video>', videos.length) + question;
      const parts = assemblePrompt(
        {
          source: { file: 'command line', row: 1 },
          problem,
          images,
          videos,
          problemType: 'other',
          taskType: 'other',
          options: [],
          answer: '',
          extra: {},
        },
        { template: 'plain' },
      );
      const prompt = await policy.encode(parts);
      terminal.status('generating');
      const begin = performance.now();
      const [responses] = await policy.generate([prompt], {
        n: values.n,
        maxTokens: values['max-tokens'],
        temperature: values.temperature,
        ...(values['top-p'] === undefined ? {} : { topP: values['top-p'] }),
        ...(values['top-k'] === undefined ? {} : { topK: values['top-k'] }),
        ...(values['repetition-penalty'] === undefined ? {} : { repetitionPenalty: values['repetition-penalty'] }),
        stopStrings: values.stop,
        seed: values.seed,
        signal,
      });
      const seconds = (performance.now() - begin) / 1000;
      terminal.close();
      for (const [i, { tokens }] of responses!.entries()) {
        if (responses!.length > 1) stdout.write(`--- ${i + 1} of ${responses!.length}\n`);
        stdout.write(`${policy.tokenizer.decode(tokens, { skipSpecial: true })}\n`);
      }
      const tokens = responses!.reduce((sum, response) => sum + response.tokens.length, 0);
      const cut = responses!.some(({ finish }) => finish === 'length') ? '; cut at --max-tokens' : '';
      terminal.print(terminal.paint('dim', `${tokens} tokens, ${(tokens / seconds).toFixed(1)} per second${cut}`));
      return 0;
    } finally {
      terminal.close();
    }
  },
});
