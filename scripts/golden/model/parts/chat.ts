import { readFileSync } from 'node:fs';
import { loadChatTemplate, type Message } from '../../../../lib/index.ts';
import type { Checks } from '../checks.ts';
import { parseKeepingFloats, withTextArguments } from '../floats.ts';
import type { ModelFolder } from '../modelFolder.ts';
import { onlyKeys } from '../values.ts';
import { checkEndToEnd, type EndToEnd } from './endToEnd.ts';

interface Conversation {
  name: string;
  messages: Message[];
  kwargs: { tools?: unknown[]; add_vision_id?: boolean };
  rendered: string;
  with_generation_prompt: string;
  ids_rendered: Record<string, number[]>;
  ids_with_generation_prompt: Record<string, number[]>;
}
interface GoldenChat {
  template: string;
  conversations: Conversation[];
  end_to_end: EndToEnd[];
}

const KEYS = ['name', 'messages', 'kwargs', 'rendered', 'with_generation_prompt', 'ids_rendered', 'ids_with_generation_prompt']; // prettier-ignore

/** `cases/chat.json`: conversations as text and as ids, and whole prompts through processor and model. */
export async function chat(folder: ModelFolder, file: string, checks: Checks): Promise<void> {
  const golden = folder.json<GoldenChat>(file);
  const written = parseKeepingFloats(readFileSync(folder.path(file), 'utf8')) as GoldenChat;
  await checks.run('file', (check) => {
    onlyKeys(file, golden, ['note', 'template', 'conversations', 'end_to_end']);
    check.same('conversations', golden.conversations.length > 0, true);
  });
  for (const [k, conversation] of golden.conversations.entries())
    await checks.run(conversation.name, async (check) => {
      onlyKeys(conversation.name, conversation, KEYS);
      const { kwargs, ids_rendered: ids, ids_with_generation_prompt: promptIds } = conversation;
      onlyKeys('kwargs', kwargs, ['tools', 'add_vision_id']);
      const { tools, add_vision_id: addVisionId } = kwargs;
      const options = { ...(tools && { tools }), ...(addVisionId !== undefined && { addVisionId }) };
      const messages = withTextArguments(written.conversations[k]!.messages);
      check.same('ids: checkpoints', Object.keys(ids), Object.keys(promptIds));
      for (const checkpoint of Object.keys(ids)) {
        const dir = folder.path(`checkpoints/${checkpoint}`);
        const template = await loadChatTemplate(dir);
        check.same(`template of ${checkpoint}`, golden.template, folder.json<{ chat_template: string }>(`checkpoints/${checkpoint}/chat_template.json`).chat_template); // prettier-ignore
        const tokenizer = await folder.tokenizer(checkpoint);
        const rendered = template.render(messages, options);
        const prompted = template.render(messages, { ...options, addGenerationPrompt: true });
        check.same('rendered', conversation.rendered, rendered);
        check.same('with_generation_prompt', conversation.with_generation_prompt, prompted);
        check.same(`ids_rendered.${checkpoint}`, ids[checkpoint], tokenizer.encode(rendered));
        check.same(`ids_with_generation_prompt.${checkpoint}`, promptIds[checkpoint], tokenizer.encode(prompted));
      }
    });
  for (const each of golden.end_to_end) await checkEndToEnd(folder, each, checks);
}
