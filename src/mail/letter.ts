// What a mail says, before it is text or HTML. Templates write letters; letter-text.ts and letter-html.ts set them.

export type Letter = Readonly<{
  subject: string;
  parts: readonly LetterPart[];
}>;

export type LetterPart =
  | Readonly<{ kind: 'heading' | 'paragraph'; text: string }>
  /** Somebody's own words. */
  | Readonly<{ kind: 'quote'; text: string }>
  /** `each` and `sum` as people read them: `19.99 EUR`. */
  | Readonly<{ kind: 'items'; items: readonly LetterItem[]; total: string }>;
export type LetterItem = Readonly<{ name: string; quantity: number; each: string; sum: string }>;

/**
 * One line of harmless text. Names and reasons are what somebody typed: line breaks and control characters would break out
 * of their place, and marks that turn the direction of writing make a text read as another.
 */
export function inOneLine(text: string): string {
  return text
    .toWellFormed()
    .replaceAll(/[\u200E\u200F\u202A-\u202E\u2066-\u2069]/g, '')
    .replaceAll(/[\p{Cc}\p{Z}]+/gu, ' ')
    .trim();
}
