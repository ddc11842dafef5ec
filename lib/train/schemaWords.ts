/** The parts of a JSON schema that zod writes and that are read here. */
export interface JsonSchema {
  type?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: JsonSchema[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  additionalProperties?: JsonSchema | boolean;
  items?: JsonSchema;
  prefixItems?: JsonSchema[];
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** Bounds that every count has are not told. */
const [FAR, COUNT] = [Number.MAX_SAFE_INTEGER, 2 ** 31 - 1];

/** What a value may be, in a few words; a text may be a path. */
export function wordsOf(schema: JsonSchema, text: 'text' | 'path' = 'text'): string {
  const words = (each: JsonSchema) => wordsOf(each, text);
  const { type, items, prefixItems, additionalProperties } = schema;
  if (schema.enum) return schema.enum.map(String).join(', ');
  if (schema.const !== undefined) return String(schema.const);
  if (schema.anyOf) return [...new Set(schema.anyOf.map(words))].join(', or ');
  if (prefixItems) return `[${prefixItems.map(words).join('; ')}]`;
  if (items) return `list of ${words(items).replace(/^(text|path|(?:whole )?number)/, '$1s')}`;
  if (type === 'integer') return `whole number${rangeOf(schema)}`;
  if (type === 'number') return `number${rangeOf(schema)}`;
  if (type === 'boolean') return 'true or false';
  if (type === 'string') return text;
  return typeof additionalProperties === 'object'
    ? `by name: ${words(additionalProperties)}`
    : Object.keys(schema.properties ?? {}).join(', ') || 'keys';
}

function rangeOf({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  const told = (bound: number | undefined) => bound !== undefined && Math.abs(bound) < FAR && bound !== COUNT;
  return [
    told(minimum) ? ` from ${minimum}` : '',
    told(exclusiveMinimum) ? ` above ${exclusiveMinimum}` : '',
    told(maximum) ? (told(minimum) || told(exclusiveMinimum) ? ` to ${maximum}` : ` up to ${maximum}`) : '',
    told(exclusiveMaximum) ? ` below ${exclusiveMaximum}` : '',
  ].join('');
}
