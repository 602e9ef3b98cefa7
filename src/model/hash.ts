/**
 * FNV-1a of the text, 64 bits in hexadecimal: for stable names. Not for secrets or signatures.
 */
export function fnv1aHash(text: string): string {
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  return hash.toString(16).padStart(16, '0')
}
