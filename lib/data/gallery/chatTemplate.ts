/**
 * How a conversation becomes text for a policy of the gallery: turns between `<|im_start|>` and `<|im_end|>`, pictures and
 * videos as placeholders. It has no tools, and says so.
 */
export const CHAT_TEMPLATE = `{%- macro written(content) -%}
    {%- if content is string -%}
        {{- content -}}
    {%- else -%}
        {%- for part in content -%}
            {%- if part.type == 'text' -%}
                {{- part.text -}}
            {%- elif part.type == 'image' or part.type == 'video' -%}
                {{- '<|vision_start|><|' + part.type + '_pad|><|vision_end|>' -}}
            {%- else -%}
                {{- raise_exception('a message may hold text, image and video') -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if tools is defined and tools -%}
    {{- raise_exception('this policy knows no tools') -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message.role not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('a message is by system, user or assistant') -}}
    {%- endif -%}
    {{- '<|im_start|>' + message.role + '\\n' + written(message.content) + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
`;
