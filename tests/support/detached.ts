/** A list whose memory was given away. */
export function detached<T extends ArrayBufferView>(list: T): T {
  structuredClone(list.buffer, { transfer: [list.buffer as ArrayBuffer] });
  return list;
}
